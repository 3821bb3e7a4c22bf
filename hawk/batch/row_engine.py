"""RowEngine: rows become images in a Session that never runs dry."""

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from hawk.batch.job_settings import JobSettings
from hawk.batch.schema import IMAGES
from hawk.batch.shard import Counts
from hawk.batch.worker_messages import Provenance, RowKey
from hawk.decoding.request import Finished, Request
from hawk.decoding.runner import RequestRunner
from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.target import Target
from hawk.images.encoding import encode
from hawk.images.gallery import tokens_sha256
from hawk.images.origin import Origin
from hawk.pipeline import Assemble, Pipeline
from hawk.prompts.row_values import PromptRow

PNG_LEVEL = 6  # of compression: it has time, and files are to be kept


@dataclass(frozen=True, kw_only=True)
class FinishedRow:
    """A finished row: as it is stored, and what it counts for."""

    key: RowKey
    row: dict[str, Any]
    counts: Counts


@dataclass(kw_only=True)
class _RowInFlight:
    key: RowKey
    row: PromptRow
    request: Request
    started: float = 0.0


class RowEngine:
    """A pipeline with a queue before it.

    Args:
        settings: What the rows hold, and the model that makes them.
        guided: Whether rows may have guidance; None where that is left to the job or the model.
        assemble: Maker of the pipeline around the target.
    """

    def __init__(
        self, settings: JobSettings, *, guided: bool | None, assemble: Assemble = Pipeline
    ) -> None:
        self._settings, self._assemble = settings, assemble
        self._notes: list[str] = []
        target = Pipeline.load(settings.model, settings.drafting).target
        self._pipeline = self._around(target, settings.model.slots)
        sampling = settings.sampling
        default = target.default_guidance if sampling.guidance is None else sampling.guidance
        self._guided = default != 1 if guided is None else guided
        blank = torch.zeros(1, target.grid.cells, dtype=torch.int64, device=target.device)
        height, width = target.pixels(blank).shape[1:3]
        self._maker = self._pipeline.maker
        self.provenance = Provenance(
            **asdict(self._maker),
            exact=self._pipeline.exact,
            width=width,
            height=height,
            device=target.device.type,
        )
        self._size = f"{width}x{height}"
        self._in_flight: dict[int, _RowInFlight] = {}
        # A picture of 384 x 384 takes 50 ms to compress: a GPU is not to wait for that.
        self._encoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="png")
        self._encoding: dict[RowKey, Future[FinishedRow]] = {}
        self._refused: list[FinishedRow] = []

    @property
    def slots(self) -> int:
        return self._pipeline.slots

    @property
    def in_flight(self) -> list[RowKey]:
        """Keys of the rows in flight: one of them is to blame if this process dies now."""
        return [place.key for place in self._in_flight.values()] + list(self._encoding)

    @property
    def free(self) -> int:
        """Rows that could join at once."""
        return max(0, self.slots - len(self._in_flight))

    def submit(self, key: RowKey, row: PromptRow) -> None:
        """Let a row in; made or with an error, it comes out of `step`."""
        try:
            place = _RowInFlight(
                key=key, row=row, request=self._request(row), started=time.perf_counter()
            )
            self._enter(place)
        except ValueError as error:
            self.refuse(key, row, kind="InvalidRow", error=str(error))

    def refuse(self, key: RowKey, row: PromptRow, *, kind: str, error: str) -> None:
        """Make a row an error without trying."""
        stored = self._stored(row) | {"error": error, "error_type": kind}
        self._refused.append(
            FinishedRow(key=key, row=stored, counts=Counts(rows=1, errors={kind: 1}))
        )

    def take_notes(self) -> list[str]:
        """Sentences for the user since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def step(self) -> list[FinishedRow]:
        """One pass over the rows in flight; returns the rows that are done."""
        if self._in_flight:
            for image in self._step():
                place = self._in_flight.pop(image.ticket)
                if image.error is None:
                    self._encode(place, image)
                else:
                    self.refuse(place.key, place.row, kind="NotFinite", error=image.error)
        elif not self._refused:  # nothing else to do
            wait(self._encoding.values(), return_when=FIRST_COMPLETED)
        done, self._refused = self._refused, []
        encoded = [key for key, made in self._encoding.items() if made.done()]
        return done + [self._encoding.pop(key).result() for key in encoded]

    def _step(self) -> list[Finished]:
        try:
            return self._session().step()
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            complaint = str(error)  # the error itself holds on to the memory
        places = list(self._in_flight.values())
        self._in_flight.clear()
        if self.slots == 1:
            self._rebuild(1)
            for place in places:
                self.refuse(place.key, place.row, kind="OutOfMemory", error=complaint)
        else:
            self._rebuild(self.slots // 2)
            for place in places:
                self._enter(place)
        return []

    def _enter(self, place: _RowInFlight) -> None:
        self._in_flight[self._session().submit(place.request)] = place

    def _session(self) -> RequestRunner:
        while True:
            try:
                return self._pipeline.session(guided=self._guided)
            except (MemoryError, RuntimeError) as error:
                if self.slots == 1 or not _out_of_memory(error):
                    raise
            self._rebuild(self.slots // 2)

    def _rebuild(self, slots: int) -> None:
        """Start over with empty slots; the model stays."""
        if slots < self.slots:
            self._notes.append(f"out of memory: {self.slots} slots become {slots}")
        target = self._pipeline.target
        self._pipeline = self._around(target, slots)
        if target.device.type == "cuda":
            torch.cuda.empty_cache()

    def _around(self, target: Target, slots: int) -> Pipeline:
        drafting = self._settings.drafting
        return self._assemble(
            target,
            drafter=drafting.drafter,
            rule=drafting.rule,
            slots=slots,
            deterministic=self._settings.model.deterministic,
        )

    def _request(self, row: PromptRow) -> Request:
        if row.error:
            raise ValueError(row.error)
        if row.size not in (None, self._size):
            raise ValueError(
                f"size is {row.size!r:.40}, and this job makes {self._size}: leave it out, or "
                f"give the job another --size"
            )
        return Request(
            prompt=row.prompt,
            seed=row.seed,
            guidance=self._setting("guidance", row, self._pipeline.target.default_guidance),
            sampler=self._sampler(row),
            negative_prompt=row.negative_prompt or self._settings.sampling.negative_prompt,
        )

    def _sampler(self, row: PromptRow) -> SamplerConfig:
        own = self._pipeline.target.default_sampler
        return SamplerConfig(
            temperature=self._setting("temperature", row, own.temperature),
            top_k=self._setting("top_k", row, own.top_k),
            top_p=self._setting("top_p", row, own.top_p),
        )

    def _setting(self, name: str, row: PromptRow, own: Any) -> Any:
        """Setting of the row, else of the job, else the model's own."""
        of_job = getattr(self._settings.sampling, name)
        return next(value for value in (getattr(row, name), of_job, own) if value is not None)

    def _stored(self, row: PromptRow) -> dict[str, Any]:
        """Columns that rows with and without an image have in common."""
        source = self.provenance
        return dict.fromkeys(IMAGES.names) | {
            "id": row.id,
            "item": row.item,
            "copy": row.copy,
            "prompt": row.prompt,
            "negative_prompt": row.negative_prompt,
            "seed": row.seed,
            "model": source.model,
            "model_revision": source.model_revision,
            "drafter": source.drafter,
            "rule": source.rule,
            "exact": source.exact,
        }

    def _encode(self, place: _RowInFlight, image: Finished) -> None:
        pixels = self._pipeline.target.pixels(image.tokens_T[None])[0].cpu().numpy()
        self._encoding[place.key] = self._encoder.submit(self._made, place, image, pixels)

    def _made(self, place: _RowInFlight, image: Finished, pixels: NDArray[np.uint8]) -> FinishedRow:
        sampler, stats = image.request.sampler, image.stats
        fingerprint = tokens_sha256(image.tokens_T.tolist())
        origin = Origin(
            maker=self._maker,
            request=image.request,
            size=self._settings.model.size,
            tokens_sha256=fingerprint,
        )
        data = encode(
            Image.fromarray(pixels),
            place.row.output_format or "png",
            quality=place.row.output_compression,
            origin=origin,
            png_level=PNG_LEVEL,
        )
        row = self._stored(place.row) | {
            "image": {"bytes": data, "path": None},
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "sampler": {
                "guidance": image.request.guidance,
                "temperature": sampler.temperature,
                "top_k": sampler.top_k,
                "top_p": sampler.top_p,
            },
            "tokens_sha256": fingerprint,
            "tokens_per_forward": stats.tokens_per_forward,
            "forwards": stats.forwards,
            "seconds": time.perf_counter() - place.started,
        }
        counts = Counts(rows=1, images=1, tokens=stats.tokens, forwards=stats.forwards)
        return FinishedRow(key=place.key, row=row, counts=counts)


def _out_of_memory(error: Exception) -> bool:
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "not enough memory" in str(error)
