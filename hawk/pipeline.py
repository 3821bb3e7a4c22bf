"""Pipeline: prompts in, pictures out."""

from collections.abc import Callable, Generator, Sequence
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
from hawk.decoding.drafter import DrafterConfig
from hawk.decoding.pass_timer import PassTimer
from hawk.decoding.request import Request
from hawk.decoding.rule_names import load_rule, read_rule
from hawk.decoding.runner import RequestRunner
from hawk.decoding.session import FIXED_NODES, Session
from hawk.decoding.stats import Stats
from hawk.decoding.target import Target, identity_of
from hawk.devices import resolve_devices, resolve_dtype
from hawk.image_maker import ImageMaker
from hawk.maker import Maker
from hawk.pictures import Callback, Failure, Picture, partial_pixels
from hawk.settings import DraftSettings, ModelSettings
from hawk.targets import load_target
from hawk.targets.model_object import target_of


class Pipeline(ImageMaker):
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
        self._target, self.slots, self.deterministic = target, slots, deterministic
        self._nodes = nodes
        self.rule, self.rule_name = load_rule(rule, target), rule
        self._sessions: dict[bool, RequestRunner] = {}

    @classmethod
    def from_pretrained(  # noqa: PLR0913  # each is a choice of the user
        cls,
        model: str = ModelSettings.model,
        *,
        drafter: str = DraftSettings.drafter,
        rule: str = DraftSettings.rule,
        slots: int = ModelSettings.slots,
        prompt_limit: int | None = ModelSettings.prompt_limit,
        deterministic: bool = ModelSettings.deterministic,
        device: str = ModelSettings.device,
        dtype: str = ModelSettings.dtype,
        size: tuple[int, int] | None = None,
        compile: bool = ModelSettings.compile,  # as torch calls it
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
        settings = ModelSettings(
            model=model,
            size=None if size is None else f"{size[1]}x{size[0]}",
            dtype=dtype,
            deterministic=deterministic,
            device=device,
            compile=compile,
            slots=slots,
            prompt_limit=prompt_limit,
        )
        return cls.load(settings, DraftSettings(drafter=drafter, rule=rule))

    @classmethod
    def load(cls, model: ModelSettings, drafting: DraftSettings) -> "Pipeline":
        """Pipeline of some settings, in this process wherever they place the drafter."""
        drafters.check(drafting.drafter)  # before the model takes its time to load
        read_rule(drafting.rule)
        place, *others = resolve_devices(model.device)
        target = load_target(
            model.model,
            dtype=resolve_dtype(model.dtype, place),
            device=place,
            others=others,
            size=model.height_width,
            compile=model.compile,
            slots=model.slots,
            prompt_limit=model.prompt_limit,
        )
        return cls(
            target,
            drafter=drafting.drafter,
            rule=drafting.rule,
            slots=model.slots,
            deterministic=model.deterministic,
        )

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
        drafter: str = DraftSettings.drafter,
        rule: str = DraftSettings.rule,
        slots: int = ModelSettings.slots,
        prompt_limit: int | None = ModelSettings.prompt_limit,
        deterministic: bool = ModelSettings.deterministic,
        compile: bool = ModelSettings.compile,  # as torch calls it
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

    @property
    def target(self) -> Target:
        return self._target

    @property
    def maker(self) -> Maker:
        return Maker(
            model=self.target.name,
            model_revision=self._identity.revision,
            drafter=self.drafter,
            rule=self.rule_name,
            dtype=str(self.target.head_VX.dtype).removeprefix("torch."),
        )

    @property
    def exact(self) -> bool:
        return self.rule.exact

    def check(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self.target.encode(request.prompt, request.negative_prompt)

    def counting(self, requests: Sequence[Request]) -> Callable[[], Stats]:
        session = self._session_of(requests)
        before = replace(session.stats)
        return lambda: session.stats - before

    def stream(
        self, requests: Sequence[Request], callback: Callback | None = None
    ) -> Generator[Picture | Failure, None, None]:
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

    def session(self, *, guided: bool) -> RequestRunner:
        """The session of this pipeline with or without guidance; made at its first use."""
        guided = guided or self.deterministic  # one shape for both
        if guided not in self._sessions:
            budget = self._budget(slots=self.slots, guided=guided)
            config = DrafterConfig(
                identity=self._identity,
                slots=self.slots,
                by_chance=self.rule.by_chance,
                branching=not self.deterministic,
                device=self.target.device,
            )
            self._sessions[guided] = Session(
                self.target,
                drafters.DRAFTERS[self.drafter](config),
                self.rule,
                budget=budget,
                slots=self.slots,
                guided=guided,
                deterministic=self.deterministic,
                ahead=self.target.device.type == "cuda",
            )
        return self._sessions[guided]

    @property
    def sessions(self) -> list[RequestRunner]:
        """Those made so far."""
        return list(self._sessions.values())

    def _session_of(self, requests: Sequence[Request]) -> RequestRunner:
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

    def __call__(
        self, target: Target, *, drafter: str, rule: str, slots: int, deterministic: bool
    ) -> Pipeline: ...
