"""Pipeline: prompts in, pictures out."""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hawk import drafters
from hawk.call import Call
from hawk.decoding import bounds
from hawk.decoding.budget import Budget
from hawk.decoding.loop import Loop
from hawk.decoding.pass_timer import PassTimer
from hawk.decoding.request import Each, Request, new_requests
from hawk.decoding.rule_names import load_rule, read_rule
from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.session import FIXED_NODES, Session
from hawk.decoding.target import Target, identity_of
from hawk.devices import resolve_devices, resolve_dtype
from hawk.drafters.guesses import Guesses
from hawk.pictures import Callback, Failure, Picture, Result, collected, partial_pixels
from hawk.targets import load_target
from hawk.targets.loaded import target_of


class Pipeline:
    """A loaded target with a drafter, ready for prompts.

    Args:
        target: the model; one of your own has all that `Target` names, but for `identity`.
        drafter: one of `DRAFTERS`, the folder of a trained one, or `auto`.
        rule: its name in `RULES`, parameters behind it: `neighbour:limit=0.1`.
        slots: images in flight at most.
        deterministic: pad every pass to one shape, see `Session`: for half precision, where the
            rounding of a pass depends on its shape. Slower; tokens still depend on `slots`.
        nodes: number of nodes of every tree, the root included; None leaves it to the budget.
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
        self.drafter, self._identity = drafters.choose(drafter, identity_of(target))
        if slots < 1:
            raise ValueError(f"slots must be 1 or more, got {slots}")
        most = drafters.DRAFTERS[self.drafter].most_nodes
        if nodes is not None and not 1 <= nodes <= most:
            raise ValueError(f"trees of {self.drafter} have 1 to {most} nodes, got {nodes}")
        if deterministic and nodes is not None and nodes > FIXED_NODES:
            raise ValueError(f"deterministic passes have {FIXED_NODES} nodes at most, got {nodes}")
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

    @classmethod
    def from_model(  # noqa: PLR0913  # each is a choice of the user
        cls,
        model: Any,
        tokenizer: Any,
        *,
        revision: str,
        name: str | None = None,
        files: str | Path | None = None,
        size: tuple[int, int] | None = None,
        drafter: str = "auto",
        rule: str = "coupled",
        slots: int = 8,
        prompt_limit: int | None = None,
        deterministic: bool = False,
        compile: bool = False,  # as torch calls it
    ) -> "Pipeline":
        """A pipeline around a model object of transformers: a merged LoRA, a fine-tuned copy, or
        whatever else is in memory. ValueError where it cannot be run as it is.

        Args:
            model: of a family that Hawk runs, on one device. It is switched to evaluation, and must
                not change afterwards.
            tokenizer: its tokenizer; of a processor, `processor.tokenizer`.
            revision: a name for exactly these weights; a trained drafter fits one only.
            name: what the model is called; None is the name that transformers knows.
            files: folder with what the object does not hold, such as the decoder for pixels that
                `hawk convert` writes; None is where it was loaded from.
        """
        target = target_of(model, tokenizer, revision=revision, name=name, files=files, size=size)
        if prompt_limit is not None:
            target.limit_prompts(prompt_limit)
        if compile:
            target.compile()
        return cls(target, drafter=drafter, rule=rule, slots=slots, deterministic=deterministic)

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
            seed, guidance, sampler, negative_prompt: one for all prompts, or one a prompt. None is
                the model's own default.
            callback: called after every step with each image in flight. Where it returns True, the
                image stops and is left out of the result; what it raises ends the call.

        ValueError for bad settings or prompts, before anything is made.
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

    def run(
        self,
        requests: Sequence[Request],
        each: Callable[[Picture], object] = lambda _: None,
        callback: Callback | None = None,
    ) -> Result:
        """Make the images of some requests; calls `each` with every picture as it finishes."""
        session = self._session_of(requests)
        before = replace(session.stats)
        started = time.perf_counter()
        pictures, failures = collected(self.stream(requests, callback), each)
        return Result(
            pictures=pictures,
            failures=failures,
            stats=session.stats - before,
            seconds=time.perf_counter() - started,
            model=self.target.name,
            drafter=self.drafter,
            rule=self.rule_name,
            exact=self.rule.exact,
        )

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

    def stream(
        self, requests: Sequence[Request], callback: Callback | None = None
    ) -> Generator[Picture | Failure, None, None]:
        """Pictures as they finish, failures as they happen, nothing of an image that is stopped."""
        session = self._session_of(requests)
        call = Call(session=session, requests=requests, draw=self._draw, callback=callback)
        yield from call.stream()

    def decode(self, tokens: Sequence[int]) -> Image.Image:
        """The picture of an image's tokens in raster order; of fewer, the rows that are whole, the
        others grey. ValueError where they are not this model's."""
        grid, vocabulary = self.target.grid, self.target.vocabulary
        numbers = [bounds.whole("a token", token) for token in tokens]
        if len(numbers) > grid.cells or not all(0 <= token < vocabulary for token in numbers):
            wanted = f"up to {grid.cells} tokens from 0 to {vocabulary - 1}"
            raise ValueError(f"{self.target.name} decodes {wanted}: these are others")
        return self._draw(torch.tensor(numbers, dtype=torch.int64, device=self.target.device))

    def encode(self, image: Image.Image) -> list[int]:
        """Tokens of a picture of the model's own size, which `decode` draws again as well as its
        codebook can. ValueError for another size, and where the model has no encoder."""
        codes = getattr(self.target, "codes", None)
        if codes is None:
            raise ValueError(f"{self.target.name} has no encoder for images: it only draws them")
        pixels_HW3 = torch.from_numpy(np.array(image.convert("RGB"))).to(self.target.device)
        return codes(pixels_HW3[None])[0].tolist()

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

    def _session_of(self, requests: Sequence[Request]) -> Loop:
        return self.session(guided=any(request.guidance != 1 for request in requests))

    def _draw(self, tokens_T: Tensor) -> Image.Image:
        return Image.fromarray(partial_pixels(self.target, tokens_T).cpu().numpy())

    def _budget(self, *, slots: int, guided: bool) -> Budget:
        most = drafters.DRAFTERS[self.drafter].most_nodes
        if self.deterministic:
            # Without siblings the keys and values of an accepted token are where plain decoding has
            # them, so that sums over them have one order.
            return Budget.fixed(min(self._nodes or most, FIXED_NODES))
        if self._nodes is not None:
            return Budget.fixed(self._nodes)
        timer = PassTimer(self.target, slots=slots, guided=guided, most_nodes=most)
        return Budget.measure(timer, slots, most)


class Assemble(Protocol):
    """Makes a pipeline around a target; `Pipeline` itself does."""

    def __call__(self, target: Target, *, drafter: str, rule: str, slots: int) -> Pipeline: ...
