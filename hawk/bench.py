"""Bench: what drafting is worth on this machine, one image at a time.

Each image is made by every contender in turn, so that a drift of the machine's speed falls on all
of them; a speed-up is the median over images of the ratio of two neighbouring times. Tokens per
forward says what a drafter saves, seconds say what is left of it after its own cost.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from rich.table import Table

from hawk.pipeline import Pipeline
from hawk.request import Request
from hawk.rulebook import read_rule
from hawk.stats import Stats
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


def load(
    model: str, drafters: Sequence[str], rules: Sequence[str], *, device: str, dtype: str
) -> dict[str, Pipeline]:
    """Plain decoding, then every drafter by every rule, around one target, one slot each."""
    for rule in rules:
        read_rule(rule)
    plain = Pipeline.from_pretrained(model, drafter="plain", slots=1, device=device, dtype=dtype)
    found = {"plain": plain}
    for drafter in drafters:
        for rule in rules:
            made = Pipeline(plain.target, drafter=drafter, rule=rule, slots=1)
            found.setdefault(made.drafter if rule == "coupled" else f"{made.drafter}, {rule}", made)
    return found


def plan(pipeline: Pipeline, images: int, *, seed: int, guidance: float | None) -> list[Request]:
    """The images to make: the prompts in turn, a new seed for each round."""
    if images < 1:
        raise ValueError(f"images must be 1 or more, got {images}")
    rounds = -(-images // len(PROMPTS))
    made = pipeline.requests(PROMPTS, seed=seed, n=rounds, guidance=guidance, sampler=None)
    return sorted(made, key=lambda request: request.seed)[:images]


def run(
    pipelines: Mapping[str, Pipeline], requests: Iterable[Request], *, hf: bool
) -> dict[str, Any]:
    """Time every contender on every request; the first pipeline is the one they are held against.

    Returns:
        one entry a contender with seconds, tokens per forward, and speed-up over plain, and how
        many images came out token for token as by plain decoding.
    """
    target = next(iter(pipelines.values())).target
    contenders: dict[str, Callable[[Request], Any]] = {
        name: lambda request, pipeline=pipeline: pipeline.run([request])
        for name, pipeline in pipelines.items()
    }
    if hf:
        if not isinstance(target, Janus):
            raise ValueError(f"transformers has no image generation for {target.name}: use --no-hf")
        contenders["transformers"] = lambda request: transformers_generate(target, request)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    results: dict[str, list[Any]] = {name: [] for name in contenders}
    warm = False
    for request in requests:
        if not warm:
            for make in contenders.values():
                make(request)
            warm = True
        for name, make in contenders.items():
            started = time.perf_counter()
            results[name].append(make(request))
            seconds[name].append(time.perf_counter() - started)
    return {
        "model": target.name,
        "device": str(target.device),
        "threads": torch.get_num_threads(),
        "images": len(seconds["plain"]),
        "pass_ms_by_nodes": {
            name: session.budget.curve_ms
            for name, pipeline in pipelines.items()
            for session in pipeline.sessions
        },
        "contenders": {name: _entry(name, seconds, results) for name in contenders},
    }


def transformers_generate(target: Janus, request: Request) -> None:
    """The same prompt by `JanusForConditionalGeneration.generate`, with its own noise."""
    ids: Any = torch.tensor(target.encode(request.prompt)[:1], device=target.device)
    sampler = request.sampler
    target.model.generate(
        ids,
        attention_mask=ids * 0 + 1,
        generation_mode="image",
        do_sample=True,
        guidance_scale=request.guidance,
        temperature=sampler.temperature,
        top_k=sampler.top_k,
        top_p=sampler.top_p,
    )


def _entry(
    name: str, seconds: Mapping[str, list[float]], results: Mapping[str, list[Any]]
) -> dict[str, Any]:
    ratios = [plain / own for plain, own in zip(seconds["plain"], seconds[name], strict=True)]
    entry: dict[str, Any] = {
        "seconds_per_image": round(statistics.median(seconds[name]), 4),
        "speed_up_over_plain": round(statistics.median(ratios), 3),
    }
    if name == "transformers":
        return entry
    total = Stats()
    for result in results[name]:
        total += result.stats
    same = sum(
        own.pictures[0].tokens == plain.pictures[0].tokens
        for own, plain in zip(results[name], results["plain"], strict=True)
    )
    all_seconds = sum(seconds[name])
    made = results[name][0]
    return entry | {
        "drafter": made.drafter,
        "rule": made.rule,
        "exact": made.exact,
        "tokens_per_forward": round(total.tokens_per_forward, 3),
        "nodes_per_forward": round(total.nodes_per_forward, 2),
        "identical_to_plain": same,
        "draft_share": round(total.draft_s / all_seconds, 3),
        "forward_share": round(total.forward_s / all_seconds, 3),
        "verify_share": round(total.verify_s / all_seconds, 3),
    }


def table(report: Mapping[str, Any]) -> Table:
    """The report for people."""
    title = "{model} on {device} ({threads} threads), {images} images one at a time".format(
        **report
    )
    heads = ("", "s / image", "speed-up", "tokens / forward", "nodes / forward", "identical")
    shown = Table(*heads, title=title)
    for name, entry in report["contenders"].items():
        shown.add_row(
            name,
            f"{entry['seconds_per_image']:.3f}",
            f"{entry['speed_up_over_plain']:.2f}x",
            f"{entry.get('tokens_per_forward', 1):.2f}",
            f"{entry.get('nodes_per_forward', 1):.1f}",
            str(entry.get("identical_to_plain", "other noise")),
        )
    return shown
