"""Corpus: what a target does while it samples, recorded for drafters to learn from.

Images are made by Hawk itself, under the sampler to be used, guidance included. Of every step the
corpus holds the token, the hidden state it was picked after and the law it was picked from; of
every pass, the stale hidden states and laws that stand for the steps ahead: training sees what
drafting sees. Laws are cut to their likeliest tokens.

Letters: I images, T steps, P passes, J steps ahead, D hidden size, K kept tokens, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hawk.budget import Budget
from hawk.drafters.base import Feedback
from hawk.drafters.guesses import Guesses
from hawk.drafters.jacobi import Jacobi
from hawk.drafters.pool import STEPS, at_nodes, committed
from hawk.request import Finished, Request
from hawk.rules import Coupled
from hawk.sampler import Sampler, SamplerConfig
from hawk.session import Session
from hawk.targets.base import Target

KEPT = 64  # tokens of a law
NODES = 24  # of the windows while recording


@dataclass(kw_only=True)
class Corpus:
    """Recorded images.

    Attributes:
        tokens_IT: int32.
        hidden_ITD: float16, the hidden state that each token was picked after.
        law_ITK, law_ids_ITK: float16 log-probabilities and int32 ids of the likeliest tokens.
        seeds_I: int64.
        samplers_I3: float32, temperature, top-k and top-p.
        image_P, step_P: int32, image and last committed step of each pass.
        stale_PJD: float16, hidden states that stand for the steps ahead.
        stale_PJK, stale_ids_PJK: the laws there.
        short_PJ: int32, how many steps they fall short.
    """

    tokens_IT: Tensor
    hidden_ITD: Tensor
    law_ITK: Tensor
    law_ids_ITK: Tensor
    seeds_I: Tensor
    samplers_I3: Tensor
    image_P: Tensor
    step_P: Tensor
    stale_PJD: Tensor
    stale_PJK: Tensor
    stale_ids_PJK: Tensor
    short_PJ: Tensor

    def sampler(self, image_B: Tensor, vocabulary: int) -> Sampler:
        """Of some images."""
        configs = [
            SamplerConfig(temperature=temperature, top_k=int(top_k), top_p=top_p)
            for temperature, top_k, top_p in self.samplers_I3[image_B].tolist()
        ]
        return Sampler(configs, vocabulary, image_B.device)

    @classmethod
    def load(cls, files: Sequence[Path], device: torch.device) -> "Corpus":
        """All shards together, on a device. ValueError where there is none."""
        if not files:
            raise ValueError("no recorded shards to train on")
        shards = [load_file(file, device=str(device)) for file in files]
        first = 0
        for shard in shards:
            shard["image_P"] += first
            first += len(shard["tokens_IT"])
        names = [f.name for f in fields(cls)]
        return cls(**{name: torch.cat([shard[name] for shard in shards]) for name in names})


@dataclass(kw_only=True)
class _Record:
    """One image in the making: a list of entries for each field of the corpus."""

    steps: list[tuple[Tensor, ...]] = field(default_factory=list)
    passes: list[tuple[Tensor, ...]] = field(default_factory=list)


class Recorder(Jacobi):
    """Drafts as jacobi does and keeps what passes by, image by image: seeds have to differ."""

    name = "recorder"
    most_nodes = NODES

    def __init__(self, target: Target, *, slots: int) -> None:
        guesses = Guesses(by_chance=Coupled.by_chance)
        super().__init__(target.identity, slots=slots, guesses=guesses, device=target.device)
        self._steps_J = torch.arange(1, STEPS + 1, device=target.device)
        self._kept = min(KEPT, target.vocabulary)
        self._records: dict[int, _Record] = {}

    def learn(self, slots: slice, feedback: Feedback, length: int) -> None:
        super().learn(slots, feedback, length)
        depth_BJ = feedback.commit.counts_B[:, None] - 1 + self._steps_J
        source_BJ, short_BJ = depth_BJ.clamp(max=length), (depth_BJ - length).clamp(min=0)
        laws = feedback.law.unfiltered_BNV.log_softmax(-1).topk(self._kept, dim=-1)
        steps_BD, hidden_BDX = committed(feedback, feedback.hidden_BND)
        path_BD = feedback.commit.path_BD
        made = (
            steps_BD,
            hidden_BDX.half(),
            at_nodes(laws.values, path_BD).half(),
            at_nodes(laws.indices, path_BD).int(),
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

    def take(self, image: Finished) -> dict[str, Tensor]:
        """The corpus of one image; its passes are of image 0."""
        tokens_T, request = image.tokens_T, image.request
        sampler = request.sampler
        record = self._records.pop(request.seed)
        steps, hidden, law, law_ids = (
            torch.cat(parts) for parts in zip(*record.steps, strict=True)
        )
        assert steps.tolist() == list(range(len(tokens_T))), "every step once, in order"
        step, stale, stale_law, stale_ids, short = (
            torch.stack(parts) for parts in zip(*record.passes, strict=True)
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
    """A file of some images, there or still to be made, `slots` of them at a time."""

    file: Path
    requests: Sequence[Request]
    slots: int

    def write(self, target: Target) -> None:
        """Make the images; the file appears when it is complete."""
        fresh = self.file.with_suffix(".tmp")
        save_file(record_shard(target, self.requests, self.slots), fresh)
        fresh.replace(self.file)


def shards(requests: Sequence[Request], folder: Path, slots: int) -> list[Shard]:
    """A shard for every few images, in a folder that is made where there is none.

    Args:
        slots: images in flight; a shard has twice as many.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = 2 * slots
    return [
        Shard(
            file=folder / f"shard-{first:06d}-{images}.safetensors",
            requests=requests[first : first + images],
            slots=slots,
        )
        for first in range(0, len(requests), images)
    ]


def record(
    target: Target, todo: Sequence[Shard], each: Callable[[int], object] = lambda _: None
) -> None:
    """Make the images of some shards and write what was seen.

    Args:
        todo: their seeds have to differ.
        each: called with the number of images of each shard.
    """
    for shard in todo:
        shard.write(target)
        each(len(shard.requests))


def record_shard(target: Target, requests: Sequence[Request], slots: int) -> dict[str, Tensor]:
    """The corpus of some images, `slots` of them at a time."""
    recorder = Recorder(target, slots=slots)
    guided = any(request.guidance != 1 for request in requests)
    budget = Budget.fixed(NODES)
    session = Session(target, recorder, Coupled(), budget=budget, slots=slots, guided=guided)
    for request in requests:
        session.submit(request)
    images = [recorder.take(image) for image in session.run()]
    for place, image in enumerate(images):
        image["image_P"] += place
    return {name: torch.cat([image[name] for image in images]) for name in images[0]}
