"""Pipeline: prompts in, pictures out."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from PIL import Image

from hawk import drafters
from hawk.budget import Budget
from hawk.devices import resolve_devices, resolve_dtype
from hawk.drafters.guesses import Guesses
from hawk.loop import Loop
from hawk.pass_timer import PassTimer
from hawk.request import Finished, Request, new_requests
from hawk.rulebook import load_rule, read_rule
from hawk.sampler import SamplerConfig
from hawk.session import FIXED_NODES, Session
from hawk.stats import Stats
from hawk.targets import load_target
from hawk.targets.base import Target


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One finished image.

    Attributes:
        place: of its request in what was asked.
        request: prompt, seed and settings; they make the same image again.
        image: RGB.
        tokens: in raster order.
        commits: tokens of each forward in turn; all but the last of a forward were drafted.
        stats: what it cost.
    """

    place: int
    request: Request
    image: Image.Image
    tokens: list[int]
    commits: list[int]
    stats: Stats


@dataclass(frozen=True, kw_only=True)
class Result:
    """All pictures in the order of their prompts, and what they cost together.

    Attributes:
        pictures: those of one prompt next to each other.
        stats: counts of the whole call.
        seconds: from the first prompt to the last picture.
        model, drafter, rule: what made them.
        exact: whether the rule leaves the target's law as it is.
    """

    pictures: list[Picture]
    stats: Stats
    seconds: float
    model: str
    drafter: str
    rule: str
    exact: bool

    @property
    def images(self) -> list[Image.Image]:
        return [picture.image for picture in self.pictures]

    def summary(self) -> dict[str, Any]:
        """What it cost, ready for JSON."""
        return {
            "model": self.model,
            "drafter": self.drafter,
            "rule": self.rule,
            "exact": self.exact,
            "tokens": self.stats.tokens,
            "forwards": self.stats.forwards,
            "tokens_per_forward": round(self.stats.tokens_per_forward, 3),
            "nodes_per_forward": round(self.stats.nodes_per_forward, 2),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(len(self.pictures) / self.seconds, 4),
        }


class Pipeline:
    """A loaded target with a drafter, ready for prompts.

    Args:
        target: the model.
        drafter: one of `DRAFTERS`, the folder of a trained one, or `auto`.
        rule: its name in `RULES`, parameters behind it: `neighbour:limit=0.1`.
        slots: images in flight at most.
        deterministic: pad every pass to one shape, see `Session`: for half precision, where the
            rounding of a pass depends on its shape. Slower; tokens still depend on `slots`.
        nodes: of every tree, the root included; None leaves their size to the budget.
    """

    def __init__(
        self,
        target: Target,
        *,
        drafter: str,
        rule: str,
        slots: int,
        deterministic: bool = False,
        nodes: int | None = None,
    ) -> None:
        self.drafter, self._identity = drafters.choose(drafter, target.identity)
        if slots < 1:
            raise ValueError(f"slots must be 1 or more, got {slots}")
        most = drafters.DRAFTERS[self.drafter].most_nodes
        if nodes is not None and not 1 <= nodes <= most:
            raise ValueError(f"trees of {self.drafter} have 1 to {most} nodes, got {nodes}")
        self.target, self.slots, self.deterministic = target, slots, deterministic
        self._nodes = nodes
        self.rule, self.rule_name = load_rule(rule, target), rule
        self._sessions: dict[bool, Loop] = {}

    @classmethod
    def from_pretrained(  # noqa: PLR0913  # each is a choice of the user
        cls,
        model: str = "emoji",
        *,
        drafter: str = "auto",
        rule: str = "coupled",
        slots: int = 8,
        prompt_limit: int | None = None,
        deterministic: bool = False,
        device: str = "auto",
        dtype: str = "auto",
        size: tuple[int, int] | None = None,
        compile: bool = False,  # as torch calls it
    ) -> "Pipeline":
        """Load an embedded model by name, or another from a folder or transformers hub id.

        Args:
            model: a hub id may end in `@` and a commit, tag or branch, which pins it.
            prompt_limit: longest prompt in tokens. None is 512, or less where the model has no
                positions for so many.
            size: (height, width) in pixels, for families that have a choice; None is their own.
            device: a torch device, or `auto` for CUDA where there is some. Several, as in
                `cuda:0,cuda:1`, divide the layers of a model that is too large for one.
            dtype: float32, bfloat16, float16, or `auto`: bfloat16 on CUDA, float32 elsewhere.
            compile: the model's layers, for long work on a GPU: passes take less time, the first
                ones half a minute more.
        """
        drafters.check(drafter)  # before the model takes its time to load
        read_rule(rule)
        place, *others = resolve_devices(device)
        target = load_target(
            model,
            dtype=resolve_dtype(dtype, place),
            device=place,
            others=others,
            size=size,
            compile=compile,
            slots=slots,
            prompt_limit=prompt_limit,
        )
        return cls(target, drafter=drafter, rule=rule, slots=slots, deterministic=deterministic)

    def __call__(
        self,
        prompts: str | Sequence[str],
        *,
        seed: int = 0,
        n: int = 1,
        guidance: float | None = None,
        sampler: SamplerConfig | None = None,
        negative_prompt: str | None = None,
    ) -> Result:
        """Make `n` images of every prompt, with seeds `seed`, `seed + 1`, ...

        What is not given is the model's own default. ValueError for bad settings or prompts, before
        anything is made.
        """
        return self.run(
            self.requests(
                prompts,
                seed=seed,
                n=n,
                guidance=guidance,
                sampler=sampler,
                negative_prompt=negative_prompt,
            )
        )

    def run(
        self, requests: Sequence[Request], each: Callable[[Picture], object] = lambda _: None
    ) -> Result:
        """Make the images of some requests; calls `each` with every picture as it finishes."""
        session = self.session(guided=any(request.guidance != 1 for request in requests))
        before = replace(session.stats)
        started = time.perf_counter()
        pictures = []
        for picture in self.stream(requests):
            each(picture)
            pictures.append(picture)
        seconds = time.perf_counter() - started
        return Result(
            pictures=sorted(pictures, key=lambda picture: picture.place),
            stats=session.stats - before,
            seconds=seconds,
            model=self.target.name,
            drafter=self.drafter,
            rule=self.rule_name,
            exact=self.rule.exact,
        )

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
        """The requests of a call, checked."""
        made = new_requests(
            prompts,
            self.target,
            seed=seed,
            n=n,
            guidance=guidance,
            sampler=sampler,
            negative_prompt=negative_prompt,
        )
        for request in made:
            self.target.encode(request.prompt, request.negative_prompt)
        return made

    def stream(self, requests: Sequence[Request]) -> Generator[Picture, None, None]:
        """Pictures as they finish."""
        session = self.session(guided=any(request.guidance != 1 for request in requests))
        if session.busy:
            raise ValueError("this pipeline is in the middle of another call: finish that first")
        places = {session.submit(request): place for place, request in enumerate(requests)}
        try:
            for finished in session.run():
                yield self._picture(places.pop(finished.ticket), finished)
        finally:
            for ticket in places:  # nobody waits for the rest
                session.cancel(ticket)

    def session(self, *, guided: bool) -> Loop:
        """The session of this pipeline with or without guidance; made at its first use."""
        guided = guided or self.deterministic  # one shape for both
        if guided not in self._sessions:
            budget = self._budget(slots=self.slots, guided=guided)
            drafter = drafters.DRAFTERS[self.drafter](
                self._identity,
                slots=self.slots,
                guesses=Guesses(by_chance=self.rule.by_chance),
                device=self.target.device,
                branching=not self.deterministic,
            )
            self._sessions[guided] = Session(
                self.target,
                drafter,
                self.rule,
                budget=budget,
                slots=self.slots,
                guided=guided,
                deterministic=self.deterministic,
                ahead=self.target.device.type == "cuda",
            )
        return self._sessions[guided]

    @property
    def sessions(self) -> list[Loop]:
        """Those made so far."""
        return list(self._sessions.values())

    def _picture(self, place: int, finished: Finished) -> Picture:
        pixels = self.target.pixels(finished.tokens_T[None])[0]
        return Picture(
            place=place,
            request=finished.request,
            image=Image.fromarray(pixels.cpu().numpy()),
            tokens=finished.tokens_T.tolist(),
            commits=finished.commits,
            stats=finished.stats,
        )

    def _budget(self, *, slots: int, guided: bool) -> Budget:
        most = drafters.DRAFTERS[self.drafter].most_nodes
        if self.deterministic:
            # Without siblings the keys and values of an accepted token are where plain decoding has
            # them, so that sums over them have one order.
            return Budget.fixed(min(most, FIXED_NODES))
        if self._nodes is not None:
            return Budget.fixed(self._nodes)
        timer = PassTimer(self.target, slots=slots, guided=guided, most_nodes=most)
        return Budget.measure(timer, slots, most)


class Assemble(Protocol):
    """Makes a pipeline around a target; `Pipeline` itself does."""

    def __call__(self, target: Target, *, drafter: str, rule: str, slots: int) -> Pipeline: ...
