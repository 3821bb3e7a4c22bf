"""Corpus: a target's passes while it samples, recorded for drafters to learn from.

Images are made by Hawk itself, under the sampler to be used, guidance included. Of every step the
corpus holds the token, the hidden state it was picked after and the law it was picked from; of
some passes, the stale hidden states and laws that stand for the steps ahead: training sees what
drafting sees. Laws are cut to their likeliest tokens.

A hidden state of a model of 7 B parameters is 8 KB, and a pass has twelve of them. So only some
passes are kept, and large tensors stay on disk until a batch reads them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hawk.decoding.budget import Budget
from hawk.decoding.drafter import DrafterConfig, Feedback
from hawk.decoding.grid import Identity
from hawk.decoding.request import Finished, Request
from hawk.decoding.rules import Coupled
from hawk.decoding.sampler import Sampler, SamplerConfig
from hawk.decoding.session import Session
from hawk.decoding.target import Target
from hawk.drafters.jacobi import Jacobi
from hawk.drafters.proposals import STEPS, at_nodes, committed
from hawk.training.disk_tensor import DiskTensor

KEPT = 64  # tokens kept of a law
HALF_BYTES, INT_BYTES = 2, 4
NODES = 24  # nodes of the windows while recording
PASSES, FEWEST = 200_000, 16  # passes kept: of all images together, and at least of each image
ON_DISK = ("hidden_ITD", "law_ITK", "law_ids_ITK", "stale_PJD", "stale_PJK", "stale_ids_PJK")


@dataclass(kw_only=True)
class Corpus:
    """Recorded images. Hidden states and laws are read from the disk as they are asked for.

    Attributes:
        tokens_IT: int32, tokens of each image.
        hidden_ITD: float16, hidden state after which each token was picked.
        law_ITK: float16, log-probabilities of the likeliest tokens of each step.
        law_ids_ITK: int32, ids of these tokens.
        seeds_I: int64, seed of each image.
        samplers_I3: float32, temperature, top-k and top-p of each image.
        image_P: int32, image of each pass.
        step_P: int32, last committed step of each pass.
        stale_PJD: float16, stale hidden states that stand for the steps ahead.
        stale_PJK: float16, log-probabilities of the likeliest tokens of the stale laws there.
        stale_ids_PJK: int32, ids of these tokens.
        short_PJ: int32, number of steps by which the stale laws fall short.
    """

    tokens_IT: Tensor
    hidden_ITD: DiskTensor
    law_ITK: DiskTensor
    law_ids_ITK: DiskTensor
    seeds_I: Tensor
    samplers_I3: Tensor
    image_P: Tensor
    step_P: Tensor
    stale_PJD: DiskTensor
    stale_PJK: DiskTensor
    stale_ids_PJK: DiskTensor
    short_PJ: Tensor

    def sampler(self, image_B: Tensor, vocabulary: int) -> Sampler:
        """Sampler of some images."""
        configs = [
            SamplerConfig(temperature=temperature, top_k=int(top_k), top_p=top_p)
            for temperature, top_k, top_p in self.samplers_I3[image_B].tolist()
        ]
        return Sampler(configs, vocabulary, image_B.device)

    @classmethod
    def load(cls, files: Sequence[Path], device: torch.device) -> "Corpus":
        """The corpus of all shards, for a device. ValueError where there is none."""
        if not files:
            raise ValueError("no recorded shards to train on")
        shards = [load_file(file) for file in files]  # mapped: nothing is read yet
        parts = {name: [shard[name] for shard in shards] for name in shards[0]}
        held: dict[str, Any] = {
            name: DiskTensor(some, device) if name in ON_DISK else torch.cat(some).to(device)
            for name, some in parts.items()
        }
        starts = accumulate((len(shard["tokens_IT"]) for shard in shards), initial=0)
        images = [shard["image_P"] + first for shard, first in zip(shards, starts, strict=False)]
        held["image_P"] = torch.cat(images).to(device)
        return cls(**held)


@dataclass(kw_only=True)
class _Record:
    """Steps and passes of one image so far, each with an entry for its fields of the corpus."""

    steps: list[tuple[Tensor, ...]] = field(default_factory=list)
    passes: list[tuple[Tensor, ...]] = field(default_factory=list)


class Recorder(Jacobi):
    """Drafter as `jacobi` that keeps what it observes, by seeds of images, which must differ."""

    name = "recorder"
    most_nodes = NODES

    def __init__(self, target: Target, *, slots: int, branching: bool = True) -> None:
        super().__init__(
            DrafterConfig(
                identity=target.identity,
                slots=slots,
                by_chance=Coupled.by_chance,
                branching=branching,
                device=target.device,
            )
        )
        self._steps_J = torch.arange(1, STEPS + 1, device=target.device)
        self._kept = min(KEPT, target.vocabulary)
        self._records: dict[int, _Record] = {}

    def learn(self, slots: slice, feedback: Feedback, length: int) -> None:
        super().learn(slots, feedback, length)
        depth_BJ = feedback.commit.counts_B[:, None] - 1 + self._steps_J
        source_BJ, short_BJ = depth_BJ.clamp(max=length), (depth_BJ - length).clamp(min=0)
        laws = feedback.law.unfiltered_BNV.log_softmax(-1).topk(self._kept, dim=-1)
        steps_BL, hidden_BLD = committed(feedback, feedback.hidden_BND)
        path_BL = feedback.commit.path_BL
        made = (
            steps_BL,
            hidden_BLD.half(),
            at_nodes(laws.values, path_BL).half(),
            at_nodes(laws.indices, path_BL).int(),
        )
        ahead = (
            at_nodes(feedback.hidden_BND, source_BJ).half(),
            at_nodes(laws.values, source_BJ).half(),
            at_nodes(laws.indices, source_BJ).int(),
            short_BJ.int(),
        )
        made, ahead = ([part.cpu() for part in parts] for parts in (made, ahead))
        counts, last_B = feedback.commit.counts_B.tolist(), feedback.steps_B.int().cpu()
        for row, seed in enumerate(feedback.seeds_B.tolist()):
            record = self._records.setdefault(seed, _Record())
            record.steps.append(tuple(part[row, : counts[row]] for part in made))
            record.passes.append((last_B[row], *(part[row] for part in ahead)))

    def take(self, image: Finished, passes: int) -> dict[str, Tensor]:
        """Tensors of the corpus for one image, number 0, with at most `passes` of its passes."""
        tokens_T, request = image.tokens_T, image.request
        sampler = request.sampler
        record = self._records.pop(request.seed)
        steps, hidden, law, law_ids = (
            torch.cat(parts) for parts in zip(*record.steps, strict=True)
        )
        assert steps.tolist() == list(range(len(tokens_T))), "every step once, in order"
        generator = torch.Generator().manual_seed(request.seed)
        kept = torch.randperm(len(record.passes), generator=generator)[:passes].sort().values
        step, stale, stale_law, stale_ids, short = (
            torch.stack(parts)
            for parts in zip(*(record.passes[place] for place in kept.tolist()), strict=True)
        )
        return {
            "tokens_IT": tokens_T.int().cpu()[None],
            "hidden_ITD": hidden[None],
            "law_ITK": law[None],
            "law_ids_ITK": law_ids[None],
            "seeds_I": torch.tensor([request.seed]),
            "samplers_I3": torch.tensor([[sampler.temperature, sampler.top_k, sampler.top_p]]),
            "image_P": torch.zeros(len(step), dtype=torch.int32),
            "step_P": step,
            "stale_PJD": stale,
            "stale_PJK": stale_law,
            "stale_ids_PJK": stale_ids,
            "short_PJ": short,
        }


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A file of some recorded images, complete or still to be made.

    Attributes:
        file: Path of the file.
        requests: Images that it records.
        slots: Number of images in flight.
        passes: Largest number of passes that are kept of an image.
        deterministic: True where all passes have one shape, see `Session`.
    """

    file: Path
    requests: Sequence[Request]
    slots: int
    passes: int
    deterministic: bool = False

    def write(self, target: Target) -> None:
        """Make the images and write the file, which appears when it is complete."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.file.with_suffix(".tmp")
        save_file(record_shard(target, self), fresh)
        fresh.replace(self.file)


def shards(
    requests: Sequence[Request], folder: Path, slots: int, *, deterministic: bool = False
) -> list[Shard]:
    """Shards of some images.

    Args:
        requests: Images to record.
        folder: Folder of the files.
        slots: Number of images in flight; a shard has twice as many.
        deterministic: True where all passes have one shape, see `Session`.
    """
    images, passes = 2 * slots, max(FEWEST, PASSES // max(1, len(requests)))
    return [
        Shard(
            file=folder / f"shard-{first:06d}-{images}.safetensors",
            requests=requests[first : first + images],
            slots=slots,
            passes=passes,
            deterministic=deterministic,
        )
        for first in range(0, len(requests), images)
    ]


def record(
    target: Target, todo: Sequence[Shard], each: Callable[[int], object] = lambda _: None
) -> None:
    """Make the images of some shards and write their files.

    Args:
        target: Model that makes them.
        todo: Shards to make; the seeds of their images must differ.
        each: Called with the number of images of each shard.
    """
    for shard in todo:
        shard.write(target)
        each(len(shard.requests))


def record_shard(target: Target, shard: Shard) -> dict[str, Tensor]:
    """Tensors of the corpus for the images of a shard."""
    fixed = shard.deterministic
    recorder = Recorder(target, slots=shard.slots, branching=not fixed)
    session = Session(
        target,
        recorder,
        Coupled(),
        budget=Budget.fixed(NODES),
        slots=shard.slots,
        guided=fixed or any(request.guidance != 1 for request in shard.requests),
        deterministic=fixed,
    )
    for request in shard.requests:
        session.submit(request)
    images = [recorder.take(image, shard.passes) for image in session.run()]
    for place, image in enumerate(images):
        image["image_P"] += place
    return {name: torch.cat([image[name] for image in images]) for name in images[0]}


def image_bytes(identity: Identity, passes: int) -> int:
    """Bytes of an image in a shard, with `passes` passes."""
    kept = min(KEPT, identity.vocabulary)
    seen = HALF_BYTES * identity.hidden_size + (HALF_BYTES + INT_BYTES) * kept
    cells = identity.grid.cells
    ahead = STEPS * (seen + INT_BYTES) + 2 * INT_BYTES
    return cells * (seen + INT_BYTES) + min(passes, cells) * ahead
