"""Objectives: what each kind of drafter learns from a batch, its own drafts included.

An objective draws a batch from the corpus and has the network guess it as it will in drafting; it
returns named scores of cells together with the truth about them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hawk.decoding.grid import Identity
from hawk.decoding.noise import gumbel
from hawk.decoding.sampler import Sampler
from hawk.decoding.target import Target
from hawk.drafters.baselines.heads import HORIZONTAL, VERTICAL, Heads, product
from hawk.drafters.baselines.local import draft_alone
from hawk.drafters.hawk import refine
from hawk.drafters.local_context import ContextMemory, ContextNetwork, LocalContext, fuse
from hawk.drafters.ring_buffer import RingBuffer
from hawk.training.corpus import Corpus
from hawk.training.distillation import dense

BATCH = 64
CHANNELS, EMBEDDING = 320, 64  # sizes of a ContextNetwork; 3 MB in half precision for `emoji`


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Scores of a network for some cells, and the truth about them.

    Attributes:
        scores: Unnormalised log-probabilities [B, X, V] by source, before filters.
        there: bool [B, X] by source, True where a score is about a cell of the image.
        weights: Weight of each source in the loss.
        law: The target's law [B, X, V], after filters; X is 1 where all scores are of one cell.
        truth: The target's pick [B, X].
        sampler: Sampler of the rows.
        noise: Noise [B, X, V] under which the truth was picked.
    """

    scores: Mapping[str, Tensor]
    there: Mapping[str, Tensor]
    weights: Mapping[str, float]
    law: Tensor
    truth: Tensor
    sampler: Sampler
    noise: Tensor


class Objective(Protocol):
    """A network and how it is trained.

    Attributes:
        kind: Kind of drafter.
        network: Keyword arguments that make the module.
    """

    kind: str
    network: dict[str, int]

    @property
    def module(self) -> nn.Module: ...

    def batches(
        self, corpus: Corpus, images: range, generator: torch.Generator
    ) -> Iterator[Tensor]:
        """Endless batches of places in the corpus that belong to `images`."""
        ...

    def predict(self, corpus: Corpus, places_B: Tensor) -> Predictions: ...


class ContextNetworkObjective:
    """Objective of a ContextNetwork: that of `hawk` (with stale laws) or `local` (without)."""

    def __init__(self, target: Target, *, stale: bool, channels: int, embedding: int) -> None:
        self.kind = "hawk" if stale else "local"
        self._identity, self._stale = target.identity, stale
        head_VX = target.head_VX.float()
        sizes = {"channels": channels, "embedding": embedding, "head": head_VX.shape[1]}
        self.network = sizes | {"stale": stale}
        network = ContextNetwork(target.identity, stale=stale, **sizes)
        with torch.no_grad():
            network.head.weight.copy_(head_VX)
            network.head.bias.zero_()
            assert isinstance(network.out, nn.Linear)
            network.out.weight.zero_()  # so that training begins without a correction
            network.out.bias.zero_()
            network.tokens.weight[:-1].copy_(_principal(target.embeddings_VX.float(), embedding))
        self.module = network.to(target.device)

    def batches(
        self, corpus: Corpus, images: range, generator: torch.Generator
    ) -> Iterator[Tensor]:
        inside = (corpus.image_P >= images.start) & (corpus.image_P < images.stop)
        yield from _shuffled(inside.nonzero().flatten(), generator)

    def predict(self, corpus: Corpus, places_B: Tensor) -> Predictions:
        identity, network = self._identity, self.module
        image_B, last_B = corpus.image_P[places_B].long(), corpus.step_P[places_B].long()
        short_BJ = corpus.short_PJ[places_B].long()
        stale_BJX = corpus.stale_PJD[places_B].float()
        hidden: Any = corpus.hidden_ITD  # read as a tensor would be
        memory = ContextMemory(
            RingBuffer(corpus.tokens_IT.long()),
            RingBuffer(hidden),
            identity.grid,
            identity.vocabulary,
        )
        if not self._stale:
            short_BJ, stale_BJX = torch.zeros_like(short_BJ), stale_BJX[..., :0]
        context = memory.context(image_B, last_B, stale_BJX, short_BJ)
        cells = _Cells(corpus, image_B, context.steps_BJ, identity)
        encoded_BJC = network.encode(context)
        given_BJV = network(encoded_BJC, context.left(cells.truth))
        if not self._stale:
            with torch.no_grad():
                drafted = draft_alone(network, context.line_BX, encoded_BJC, cells.noise)
            left_BJX = context.left((drafted + cells.noise).argmax(-1))
            scores = {"drafted": network(encoded_BJC, left_BJX), "given the truth": given_BJV}
            return cells.predictions(scores, {"drafted": 1.0, "given the truth": 1.0})
        laws = self._laws(corpus, places_B, context, cells)
        alone, first, second = refine(network, context, encoded_BJC, laws, cells.noise, rounds=2)
        scores = {
            "laws alone": alone,
            "first round": first,
            "second round": second,
            "given the truth": given_BJV + fuse(network.beside, *laws),
        }
        weights = {
            "laws alone": 0.2,
            "first round": 0.3,
            "second round": 1.0,
            "given the truth": 1.0,
        }
        return cells.predictions(scores, weights)

    def _laws(
        self, corpus: Corpus, places_B: Tensor, context: LocalContext, cells: "_Cells"
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        identity = self._identity
        kept, ids = corpus.stale_PJK[places_B], corpus.stale_ids_PJK[places_B]
        above_BJ = context.steps_BJ - identity.grid.width
        known_BJ = (above_BJ >= 0) & (above_BJ < context.steps_BJ[:, :1])
        above_BJV = _law(
            corpus, cells.image_B1, above_BJ.clamp(0, identity.grid.cells - 1), identity
        )
        return dense(kept, ids, identity.vocabulary), above_BJV, known_BJ, context.short_BJ


class HeadsObjective:
    """Objective of the heads of `spatial`: each on its own, and their product.

    A batch is of cells; for each, one horizontal head at some distance and all vertical heads guess
    it from the hidden states that lie that far before it.
    """

    kind = "spatial"

    def __init__(self, target: Target) -> None:
        self._identity = target.identity
        head_VX = target.head_VX.float()
        self.network = {"head": head_VX.shape[1]}
        heads = Heads(target.identity, **self.network)
        with torch.no_grad():
            heads.head.weight.copy_(head_VX)
            heads.head.bias.zero_()
        self.module = heads.to(target.device)

    def batches(
        self, corpus: Corpus, images: range, generator: torch.Generator
    ) -> Iterator[Tensor]:
        steps = corpus.tokens_IT.shape[1]
        cells = torch.arange(
            images.start * steps, images.stop * steps, device=corpus.tokens_IT.device
        )
        yield from _shuffled(cells, generator)

    def predict(self, corpus: Corpus, places_B: Tensor) -> Predictions:
        identity, heads, steps = self._identity, self.module, corpus.tokens_IT.shape[1]
        image_B, cell_B = places_B // steps, places_B % steps
        ahead = torch.arange(1, HORIZONTAL + 1, device=places_B.device)
        below = torch.arange(1, VERTICAL + 1, device=places_B.device) * identity.grid.width
        before_BO = cell_B[:, None] - torch.cat([ahead, below])
        there_BO = before_BO >= 0
        hidden_BOD = corpus.hidden_ITD[image_B[:, None], before_BO.clamp(min=0)]
        scores_BOV = heads(hidden_BOD, slice(None)).log_softmax(-1)
        fixed_BOV = scores_BOV.detach()  # the product learns its weights only
        along, down = fixed_BOV[:, :HORIZONTAL, None], fixed_BOV[:, None, HORIZONTAL:]
        down = down.expand(-1, HORIZONTAL, -1, -1)
        rows = there_BO[:, None, HORIZONTAL:].expand(-1, HORIZONTAL, -1)
        known = torch.cat([there_BO[:, :HORIZONTAL, None], rows], dim=-1)
        fused = product(heads.weights[:HORIZONTAL], torch.cat([along, down], dim=2), known)
        cells = _Cells(corpus, image_B, cell_B[:, None], identity)
        return Predictions(
            scores={"heads": scores_BOV, "product": fused},
            there={"heads": there_BO, "product": there_BO[:, :HORIZONTAL]},
            weights={"heads": 1.0, "product": 1.0},
            law=cells.law,
            truth=cells.truth,
            sampler=cells.sampler,
            noise=cells.noise,
        )


class _Cells:
    """Truth about some cells [B, J] of some images."""

    def __init__(
        self, corpus: Corpus, image_B: Tensor, steps_BJ: Tensor, identity: Identity
    ) -> None:
        self.there = steps_BJ < identity.grid.cells
        steps_BJ = steps_BJ.clamp(max=identity.grid.cells - 1)
        self.image_B1 = image_B[:, None]
        self.truth = corpus.tokens_IT[self.image_B1, steps_BJ].long()
        self.sampler = corpus.sampler(image_B, identity.vocabulary)
        law = self.sampler.filter(_law(corpus, self.image_B1, steps_BJ, identity))
        self.law = law.log_softmax(-1)
        ids = torch.arange(identity.vocabulary, dtype=torch.int32, device=image_B.device)
        self.noise = gumbel(corpus.seeds_I[image_B], steps_BJ, ids)

    def predictions(self, scores: dict[str, Tensor], weights: dict[str, float]) -> Predictions:
        return Predictions(
            scores=scores,
            there=dict.fromkeys(scores, self.there),
            weights=weights,
            law=self.law,
            truth=self.truth,
            sampler=self.sampler,
            noise=self.noise,
        )


def _law(corpus: Corpus, image_B1: Tensor, steps_BJ: Tensor, identity: Identity) -> Tensor:
    """The target's law of each cell [B, J, V], before filters."""
    kept, ids = corpus.law_ITK[image_B1, steps_BJ], corpus.law_ids_ITK[image_B1, steps_BJ]
    return dense(kept, ids, identity.vocabulary)


def _shuffled(places: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    if len(places) == 0:
        raise ValueError("nothing to learn from: record more images")
    while True:
        order = torch.randperm(len(places), generator=generator)
        yield from places[order.to(places.device)].split(BATCH)


def _principal(vectors_VX: Tensor, size: int) -> Tensor:
    """First principal components of some vectors, of unit mean square; 0 beyond their rank."""
    centred = vectors_VX - vectors_VX.mean(0)
    left, singular, _ = torch.linalg.svd(centred, full_matrices=False)
    found = (left * singular)[:, :size]
    found = found / found.square().mean().sqrt().clamp(min=1e-6)
    return torch.nn.functional.pad(found, (0, size - found.shape[1]))
