"""ImageMaker: prompts in, pictures out, wherever tokens are decoded."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Protocol

from hawk.decoding.request import Defaults, Each, Request, new_requests
from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.stats import Stats
from hawk.maker import Maker
from hawk.pictures import Callback, Failure, Picture, Result, collected


class Named(Defaults, Protocol):
    """Model with a name and defaults for requests."""

    @property
    def name(self) -> str: ...


class ImageMaker(ABC):
    """Images of prompts. `Pipeline` decodes in this process, `SpeculativePair` in others."""

    @property
    @abstractmethod
    def target(self) -> Named:
        """Model, or what is known of it here."""

    @property
    @abstractmethod
    def maker(self) -> Maker:
        """Model, drafter and rule, as pictures tell them."""

    @property
    @abstractmethod
    def exact(self) -> bool:
        """True where images have the law of the model alone."""

    @abstractmethod
    def check(self, requests: Sequence[Request]) -> None:
        """ValueError where the model cannot read the prompt of a request."""

    @abstractmethod
    def stream(
        self, requests: Sequence[Request], callback: Callback | None = None
    ) -> Generator[Picture | Failure, None, None]:
        """Pictures as they finish, failures as they happen, nothing of an image that is stopped."""

    @abstractmethod
    def counting(self, requests: Sequence[Request]) -> Callable[[], Stats]:
        """Counts of the passes from now on, asked for when the requests are done."""

    def __call__(  # noqa: PLR0913  # each is a choice of the user
        self,
        prompts: str | Iterable[str],
        *,
        seed: Each[int] = 0,
        n: int = 1,
        guidance: Each[float | None] = None,
        sampler: Each[SamplerConfig | None] = None,
        negative_prompt: Each[str | None] = None,
        callback: Callback | None = None,
    ) -> Result:
        """Make `n` images of every prompt, with seeds `seed`, `seed + 1`, ...

        Args:
            prompts: One text, or several.
            seed, guidance, sampler, negative_prompt: One value for all prompts, or one a prompt.
                None is the model's own default.
            callback: Called with each image in flight, after every step here, some times a second
                where targets are in other processes. Where it returns True, the image stops and is
                left out of the result; what it raises ends the call.

        Raises:
            ValueError: Bad settings or prompts; nothing has been made then.
        """
        requests = self.requests(
            prompts,
            seed=seed,
            n=n,
            guidance=guidance,
            sampler=sampler,
            negative_prompt=negative_prompt,
        )
        return self.run(requests, callback=callback)

    def requests(
        self,
        prompts: str | Iterable[str],
        *,
        seed: Each[int],
        n: int,
        guidance: Each[float | None],
        sampler: Each[SamplerConfig | None],
        negative_prompt: Each[str | None] = None,
    ) -> list[Request]:
        """Requests of a call, checked."""
        made = new_requests(
            prompts,
            self.target,
            seed=seed,
            n=n,
            guidance=guidance,
            sampler=sampler,
            negative_prompt=negative_prompt,
        )
        self.check(made)
        return made

    def run(
        self,
        requests: Sequence[Request],
        each: Callable[[Picture], object] = lambda _: None,
        callback: Callback | None = None,
    ) -> Result:
        """Make the images of some requests; `each` is called with every picture as it finishes."""
        counted = self.counting(requests)
        started = time.perf_counter()
        pictures, failures = collected(self.stream(requests, callback), each)
        return Result(
            pictures=pictures,
            failures=failures,
            stats=counted(),
            seconds=time.perf_counter() - started,
            model=self.maker.model,
            drafter=self.maker.drafter,
            rule=self.maker.rule,
            exact=self.exact,
        )
