"""RequestRunner protocol: whatever moves images on, step by step. A Session is one."""

from collections.abc import Iterator
from typing import Protocol

from hawk.decoding.budget import Budget
from hawk.decoding.request import Finished, Progress, Request
from hawk.decoding.stats import Stats


class RequestRunner(Protocol):
    """Images in flight.

    Attributes:
        budget: what passes cost.
        slots: images in flight at most.
        stats: counts since it was made.
    """

    budget: Budget
    slots: int

    @property
    def stats(self) -> Stats: ...

    @property
    def active(self) -> int:
        """Slots in use."""
        ...

    @property
    def busy(self) -> bool:
        """Whether images are waiting or in flight."""
        ...

    def submit(self, request: Request) -> int:
        """Queue an image; returns its ticket. ValueError where the prompt does not fit."""
        ...

    def cancel(self, ticket: int) -> bool:
        """Forget an image, waiting or in flight. False if unknown."""
        ...

    def progress(self, ticket: int) -> Progress | None:
        """How far an image in flight has come; None while it waits, and where it is unknown."""
        ...

    def step(self) -> list[Finished]:
        """One pass over some images in flight; returns those that finished."""
        ...

    def run(self) -> Iterator[Finished]:
        """Step until nothing is left, yielding images as they finish."""
        ...
