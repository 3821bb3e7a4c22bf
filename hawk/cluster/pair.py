"""SpeculativePair: a drafter and its targets in processes of their own.

The targets ask the drafter directly, a `Supervisor` watches over them. The drafter's restarts are
Ray's business, see `RemoteDrafter` for how targets take them.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import ray
from PIL import Image
from ray.util.placement_group import remove_placement_group

from hawk.cluster.beside import start_drafter
from hawk.cluster.placement import Placement
from hawk.cluster.replica import answer
from hawk.cluster.reservation import reserve, settled
from hawk.cluster.supervisor import Supervisor
from hawk.cluster.target_actor import Failed, Making
from hawk.cluster.timeline import Round, split
from hawk.pictures import Failure, Picture, Result, collected
from hawk.request import Request, new_requests
from hawk.sampler import SamplerConfig


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

    def requests(
        self,
        prompts: str | Sequence[str],
        *,
        seed: int,
        n: int,
        guidance: float | None,
        sampler: SamplerConfig | None,
        negative_prompt: str | None = None,
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
        self._targets.check(made)
        return made

    def run(
        self, requests: Sequence[Request], each: Callable[[Picture], object] = lambda _: None
    ) -> Result:
        """As `Pipeline.run`."""
        started = time.perf_counter()
        pictures, failures = collected(self.stream(requests), each)
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

    def stream(self, requests: Sequence[Request]) -> Generator[Picture | Failure, None, None]:
        """Pictures as they finish, and failures as they happen. RuntimeError where targets die
        again and again."""
        for made in self._targets.make(requests):
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
