"""Slots: state of the images in flight, one row of every tensor for each."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hawk.decoding.request import Finished, Request
from hawk.decoding.sampler import Sampler
from hawk.decoding.stats import Stats
from hawk.decoding.target import Target


@dataclass(kw_only=True)
class InFlight:
    """An image in a slot; `commits` and `stats` as in `Finished`."""

    ticket: int
    request: Request
    commits: list[int] = field(default_factory=list)
    stats: Stats = field(default_factory=lambda: Stats(images=1))

    def finished(self, tokens_T: Tensor, error: str | None = None) -> Finished:
        """The image with its tokens, or with its error."""
        return Finished(
            ticket=self.ticket,
            request=self.request,
            tokens_T=tokens_T,
            commits=self.commits,
            stats=self.stats,
            error=error,
        )

    def failed(self, model: str, tokens_T: Tensor) -> Finished:
        """The image without tokens, as the model's logits for the last one are not finite."""
        return self.finished(
            tokens_T[:0],
            f"{model} returned logits that are not numbers: its weights are broken or too large "
            f"for half precision (use --dtype bfloat16 or float32), or a guidance of "
            f"{self.request.guidance:g} is too much for it",
        )


class Slots:
    """Images in slots; the active ones come first.

    Args:
        target: Target of the images.
        slots: Largest number of images.
        most: Largest number of tokens of a commit.

    Attributes:
        images: Images of the active slots, in order.
        levels_L: int64, 0, 1, ... `most` - 1.
    """

    def __init__(self, target: Target, slots: int, most: int) -> None:
        self.images: list[InFlight] = []
        self._target, device = target, target.device
        self.levels_L = torch.arange(most, device=device)
        self._tokens_ST = torch.zeros(
            slots, target.grid.cells + most, dtype=torch.int64, device=device
        )
        self._counts_S = torch.zeros(slots, dtype=torch.int64, device=device)
        self._seeds_S = torch.zeros(slots, dtype=torch.int64, device=device)
        self._guidance_S = torch.ones(slots, device=device)
        self._sampler: Sampler | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def counts_B(self) -> Tensor:
        """int64, number of tokens of each image."""
        return self._counts_S[: len(self)]

    @property
    def seeds_B(self) -> Tensor:
        return self._seeds_S[: len(self)]

    @property
    def guidance_B(self) -> Tensor:
        return self._guidance_S[: len(self)]

    @property
    def roots_B(self) -> Tensor:
        """int64, the last token of each image."""
        return self._tokens_ST[: len(self)].gather(1, self.counts_B[:, None] - 1).squeeze(1)

    @property
    def sampler(self) -> Sampler:
        if self._sampler is None:
            self._sampler = self.sampler_of(range(len(self)))
        return self._sampler

    def sampler_of(self, slots: range) -> Sampler:
        configs = [self.images[slot].request.sampler for slot in slots]
        return Sampler(configs, self._target.vocabulary, self._target.device)

    def find(self, ticket: int) -> int | None:
        """Slot of the image with a ticket; None where there is none."""
        tickets = [image.ticket for image in self.images]
        return tickets.index(ticket) if ticket in tickets else None

    def tokens_T(self, slot: int) -> Tensor:
        """A copy of the tokens that the image's stats count."""
        return self._tokens_ST[slot, : self.images[slot].stats.tokens].clone()

    def enter(self, images: Sequence[InFlight], seeds: Sequence[int], guidance_B: Tensor) -> None:
        """Put images into the next slots, without a token."""
        where = slice(len(self), len(self) + len(images))
        self._counts_S[where] = 0
        self._seeds_S[where] = torch.tensor(seeds)
        self._guidance_S[where] = guidance_B
        self.images += images
        self._sampler = None

    def append(self, tokens_BL: Tensor, counts_B: Tensor, first: int = 0) -> None:
        """Append the first `counts_B` tokens of each row, to the rows from `first` on."""
        had_B = self.counts_B[first:]
        places_BL = had_B[:, None] + self.levels_L[: tokens_BL.shape[1]]
        self._tokens_ST[first : len(self)].scatter_(1, places_BL, tokens_BL)
        had_B += counts_B

    def leave(self, slot: int) -> int:
        """Free a slot: the last active image moves into it. Returns the slot that it had."""
        last = len(self) - 1
        self.images[slot] = self.images[last]
        for rows in (self._tokens_ST, self._counts_S, self._seeds_S, self._guidance_S):
            rows[slot] = rows[last]
        self.images.pop()
        self._sampler = None
        return last
