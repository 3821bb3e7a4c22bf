"""RequestRunner protocol: it takes requests and makes their images step by step, as a Session."""

from collections.abc import Iterator
from typing import Protocol

from hawk.decoding.budget import Budget
from hawk.decoding.request import Finished, Progress, Request
from hawk.decoding.stats import Stats
from hawk.decoding.target import Branches


class RequestRunner(Protocol):
    """Images in flight, and those that wait.

    Attributes:
        budget: Costs of passes.
        slots: Largest number of images in flight.
        stats: Counts since it was made.
    """

    budget: Budget
    slots: int

    @property
    def stats(self) -> Stats: ...

    @property
    def active(self) -> int:
        """Number of slots in use."""
        ...

    @property
    def busy(self) -> bool:
        """True while images are waiting or in flight."""
        ...

    def submit(self, request: Request, branches: Branches | None = None) -> int:
        """Queue an image; returns its ticket. ValueError where the prompt does not fit.

        Args:
            request: Image to make.
            branches: Token ids of its prompt, where they are known already.
        """
        ...

    def cancel(self, ticket: int) -> bool:
        """Drop an image, waiting or in flight. False where no image has the ticket."""
        ...

    def progress(self, ticket: int) -> Progress | None:
        """Tokens so far of an image in flight; None while it waits, or where it is unknown."""
        ...

    def step(self) -> list[Finished]:
        """Make one pass over some images in flight and return those that finished."""
        ...

    def run(self) -> Iterator[Finished]:
        """Images as they finish, until none is left."""
        ...
