"""SpeculativePair: a drafter and its targets in processes of their own.

The targets ask the drafter directly, a `Supervisor` watches over them. The drafter's restarts are
Ray's business, see `RemoteDrafter` for how targets take them.
"""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from typing import Any, Self

import ray
import torch
from PIL import Image
from ray.util.placement_group import remove_placement_group

from hawk.cluster.drafter_process import start_drafter
from hawk.cluster.placement import Placement
from hawk.cluster.reservation import reserve, with_gpus
from hawk.cluster.supervisor import Supervisor
from hawk.cluster.target_actor import FailedImage, TargetInfo
from hawk.cluster.target_handle import answer
from hawk.cluster.timeline import Round, breakdown
from hawk.decoding.request import Request
from hawk.decoding.stats import Stats
from hawk.image_maker import ImageMaker
from hawk.maker import Maker
from hawk.pictures import Callback, Failure, Picture, Step
from hawk.settings import DraftSettings, ModelSettings, refuse_apart


class SpeculativePair(ImageMaker):
    """Takes its part of a Ray cluster at once, and gives it back with `close`.

    Args:
        model, drafting: Settings of what the targets and the drafter load.
        placement: Processes and their resources.

    Raises:
        ValueError: The model or drafter cannot be loaded, or passes were to be deterministic.
        RuntimeError: The cluster has no room.
    """

    def __init__(self, model: ModelSettings, drafting: DraftSettings, placement: Placement) -> None:
        refuse_apart(model, "pair")
        self._placement = with_gpus(placement, model.device)
        with ExitStack() as taken:  # given back where something fails
            group = reserve(self._placement)
            taken.callback(remove_placement_group, group)
            self._drafter = start_drafter(self._placement, group)
            taken.callback(ray.kill, self._drafter)
            self._drafter_pid()  # so it is up
            self._targets = Supervisor(model, drafting, self._placement, group, self._drafter)
            taken.callback(self._targets.close)
            self._facts = self._targets.start()
            self._taken = taken.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes and free their resources; more than once is fine."""
        self._taken.close()

    @property
    def target(self) -> TargetInfo:
        return self._facts

    @property
    def maker(self) -> Maker:
        return self._facts.maker

    @property
    def exact(self) -> bool:
        return self._facts.exact

    def check(self, requests: Sequence[Request]) -> None:
        self._targets.ask("check", requests)

    def counting(self, requests: Sequence[Request]) -> Callable[[], Stats]:
        return lambda: self._targets.stats  # of the last run

    def stream(
        self, requests: Sequence[Request], callback: Callback | None = None
    ) -> Generator[Picture | Failure, None, None]:
        """Pictures as in `Pipeline.stream`. RuntimeError where targets die again and again."""

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
            if isinstance(made, FailedImage):
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
        """Picture of tokens, see `Pipeline.decode`."""
        return self._targets.ask("decode", list(tokens))

    def encode(self, image: Image.Image) -> list[int]:
        """Tokens of a picture, see `Pipeline.encode`."""
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
            "round": breakdown([at for rounds in self.rounds() for at in rounds]),
        }

    def _drafter_pid(self) -> int:
        return answer(self._drafter.pid.remote(), self._placement.start_s)
