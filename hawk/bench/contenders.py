"""Contenders: the ways to make images that a bench compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from hawk.decoding.request import Request
from hawk.decoding.rule_names import read_rule
from hawk.decoding.runner import RequestRunner
from hawk.decoding.target import Target
from hawk.pictures import Result
from hawk.pipeline import Pipeline
from hawk.settings import SamplerSettings
from hawk.targets.janus import Janus

PROMPTS = (
    "a red apple, 3d style",
    "a cat with tears of joy, noto style",
    "the flag of Norway, twemoji style",
    "a green dragon, flat style",
    "a slice of pizza, blob style",
    "a rocket, 3d style",
    "a blue heart, twemoji style",
    "a snowman, flat style",
)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to decode.

    Attributes:
        drafter: Name of the drafter.
        rule: Name of the rule, with parameters.
        nodes: Number of nodes of every tree, root included; None leaves it to the budget.
        deterministic: True where all passes have one shape.
    """

    drafter: str
    rule: str = "coupled"
    nodes: int | None = None
    deterministic: bool = False


class Contender(Protocol):
    """A way to make images.

    Attributes:
        drafter: Name in a report.
        rule: Name of the rule; None where Hawk does not decode.
        nodes: Number of nodes of every tree; None where it varies, or there are no trees.
    """

    @property
    def drafter(self) -> str: ...

    @property
    def rule(self) -> str | None: ...

    @property
    def nodes(self) -> int | None: ...

    def prepare(self, *, guided: bool) -> None:
        """Do once all that is not part of making an image."""
        ...

    def make(self, requests: Sequence[Request]) -> Result | None:
        """Make all images at once; None where nothing is counted."""
        ...


class Ours:
    """A method around a target.

    Args:
        target: Model that all methods share.
        method: Drafter, rule and tree size.
        batch: Number of images in flight.
    """

    def __init__(self, target: Target, method: Method, *, batch: int) -> None:
        self._pipeline = Pipeline(
            target,
            drafter=method.drafter,
            rule=method.rule,
            slots=batch,
            nodes=method.nodes,
            deterministic=method.deterministic,
        )
        self.drafter, self.rule, self.nodes = self._pipeline.drafter, method.rule, method.nodes

    def prepare(self, *, guided: bool) -> None:
        self._pipeline.session(guided=guided)

    def make(self, requests: Sequence[Request]) -> Result:
        return self._pipeline.run(requests)

    @property
    def session(self) -> RequestRunner:
        """Session that `prepare` made."""
        [session] = self._pipeline.sessions
        return session


class Transformers:
    """`JanusForConditionalGeneration.generate`, with its own noise.

    ValueError where transformers has no image generation for the target.
    """

    drafter = "transformers"
    rule = None
    nodes = None

    def __init__(self, target: Target) -> None:
        if not isinstance(target, Janus):
            raise ValueError(
                f"transformers has no image generation for {target.name}: no --against"
            )
        if len(set(target.layout.layer_devices)) > 1:
            raise ValueError("transformers runs on one device here: leave out --against")
        self._target = target

    def prepare(self, *, guided: bool) -> None:
        pass

    def make(self, requests: Sequence[Request]) -> None:
        target, sampler = self._target, requests[0].sampler
        prompts = [target.encode(request.prompt)[0] for request in requests]
        longest = max(map(len, prompts))
        padding = [longest - len(ids) for ids in prompts]
        pad = target.model.generation_config.pad_token_id
        ids = [[pad] * missing + ids for missing, ids in zip(padding, prompts, strict=True)]
        mask = [[0] * missing + [1] * (longest - missing) for missing in padding]
        ids_BE: Any = torch.tensor(ids, device=target.device)
        mask_BE: Any = torch.tensor(mask, device=target.device)
        target.model.generate(
            ids_BE,
            attention_mask=mask_BE,
            generation_mode="image",
            do_sample=True,
            guidance_scale=requests[0].guidance,
            temperature=sampler.temperature,
            top_k=sampler.top_k,
            top_p=sampler.top_p,
        )


def methods(
    drafters: Sequence[str],
    rules: Sequence[str],
    nodes: Sequence[int] = (),
    *,
    deterministic: bool = False,
) -> list[Method]:
    """Plain decoding, then every drafter by every rule, with trees of its own choice and of each of
    some sizes. ValueError for a rule that is none."""
    for rule in rules:
        read_rule(rule)
    plain = Method(drafter="plain", deterministic=deterministic)
    asked = [
        Method(drafter=drafter, rule=rule, nodes=size, deterministic=deterministic)
        for drafter in drafters
        for rule in rules
        for size in (None, *nodes)
    ]
    return [plain, *(method for method in asked if method.drafter != "plain")]


def plan(
    pipeline: Pipeline,
    images: int,
    *,
    seed: int,
    prompts: Sequence[str] = PROMPTS,
    sampling: SamplerSettings = SamplerSettings(),
) -> list[Request]:
    """Requests of a bench: the prompts in turn, a new seed for each round."""
    if images < 1:
        raise ValueError(f"prompts must be 1 or more, got {images}")
    rounds = -(-images // len(prompts))
    made = pipeline.requests(
        prompts,
        seed=seed,
        n=rounds,
        guidance=sampling.guidance,
        sampler=pipeline.target.default_sampler.override(**sampling.sampler),
        negative_prompt=sampling.negative_prompt,
    )
    return sorted(made, key=lambda request: request.seed)[:images]
