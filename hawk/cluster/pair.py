"""SpeculativePair: a drafter and its targets in processes of their own.

The targets ask the drafter directly, a `Supervisor` watches over them. The drafter's restarts are
Ray's business, see `RemoteDrafter` for how targets take them.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import ray
import torch
from PIL import Image
from ray.util.placement_group import remove_placement_group

from hawk.cluster.beside import start_drafter
from hawk.cluster.placement import Placement
from hawk.cluster.replica import answer
from hawk.cluster.reservation import reserve, settled
from hawk.cluster.supervisor import Supervisor
from hawk.cluster.target_actor import Failed, Making
from hawk.cluster.timeline import Round, split
from hawk.decoding.request import Each, Request, new_requests
from hawk.decoding.sampler import SamplerConfig
from hawk.pictures import Callback, Failure, Picture, Result, Step, collected


class SpeculativePair:
    """Takes its part of a Ray cluster at once, and gives it back with `close`.

    Args:
        making: what to load.
        placement: where.

    ValueError where the model or drafter cannot be loaded, RuntimeError where there is no room.

    Attributes:
        target: what is known of the model.
    """

    def __init__(self, making: Making, placement: Placement) -> None:
        self._placement = settled(placement, making.device)
        with ExitStack() as taken:  # given back where something fails
            group = reserve(self._placement)
            taken.callback(remove_placement_group, group)
            self._drafter = start_drafter(self._placement, group)
            taken.callback(ray.kill, self._drafter)
            self._drafter_pid()  # so it is up
            self._targets = Supervisor(making, self._placement, group, self._drafter)
            taken.callback(self._targets.close)
            self.target = self._targets.start()
            self._taken = taken.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes and free their resources; more than once is fine."""
        self._taken.close()

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
        """As `Pipeline.__call__`; the callback hears of an image whenever its target reports, some
        times a second, and not of its commits."""
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
        """As `Pipeline.requests`."""
        made = new_requests(
            prompts,
            self.target,
            seed=seed,
            n=n,
            guidance=guidance,
            sampler=sampler,
            negative_prompt=negative_prompt,
        )
        self._targets.ask("check", made)
        return made

    def run(
        self,
        requests: Sequence[Request],
        each: Callable[[Picture], object] = lambda _: None,
        callback: Callback | None = None,
    ) -> Result:
        """As `Pipeline.run`."""
        started = time.perf_counter()
        pictures, failures = collected(self.stream(requests, callback), each)
        return Result(
            pictures=pictures,
            failures=failures,
            stats=self._targets.stats,
            seconds=time.perf_counter() - started,
            model=self.target.name,
            drafter=self.target.drafter,
            rule=self.target.rule,
            exact=self.target.exact,
        )

    def stream(
        self, requests: Sequence[Request], callback: Callback | None = None
    ) -> Generator[Picture | Failure, None, None]:
        """As `Pipeline.stream`. RuntimeError where targets die again and again."""

        def told(place: int, tokens: list[int]) -> bool:
            step = Step(
                place=place,
                request=requests[place],
                commits=[],
                tokens_T=torch.tensor(tokens, dtype=torch.int64),
                draw=lambda tokens_T: self.decode(tokens_T.tolist()),
            )
            return callback is not None and bool(callback(step))

        for made in self._targets.make(requests, told if callback else None):
            request = requests[made.place]
            if isinstance(made, Failed):
                yield Failure(place=made.place, request=request, error=made.error)
                continue
            yield Picture(
                place=made.place,
                request=request,
                image=Image.fromarray(made.pixels),
                tokens=made.tokens,
                commits=made.commits,
                stats=made.stats,
            )

    def decode(self, tokens: Sequence[int]) -> Image.Image:
        """As `Pipeline.decode`."""
        return self._targets.ask("decode", list(tokens))

    def encode(self, image: Image.Image) -> list[int]:
        """As `Pipeline.encode`."""
        return self._targets.ask("encode", image)

    def rounds(self) -> list[list[Round]]:
        """The last rounds of every target, oldest first; they are forgotten. None of lost ones."""
        return self._targets.rounds()

    def pids(self) -> tuple[int, list[int]]:
        """Process ids of the drafter and of the targets."""
        return self._drafter_pid(), self._targets.pids()

    @property
    def faults(self) -> Counter[str]:
        """Rounds without drafts by reason, and `targets` that were replaced."""
        return self._targets.faults

    @property
    def resumed(self) -> int:
        """Tokens that images of replaced targets went on from."""
        return self._targets.resumed

    def summary(self) -> dict[str, Any]:
        """How drafter and targets got on in the last run, ready for JSON."""
        return {
            "targets_per_drafter": self._placement.targets_per_drafter,
            "lanes": self._placement.lanes,
            "faults": dict(self.faults),
            "resumed_tokens": self.resumed,
            "round": split([at for rounds in self.rounds() for at in rounds]),
        }

    def _drafter_pid(self) -> int:
        return answer(self._drafter.pid.remote(), self._placement.start_s)
