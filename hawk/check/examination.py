"""Examination: all checks of a model, with one copy of its weights in memory at a time.

First the target computes everything and is freed; then the oracle is loaded and computes the same;
then both again in float32, unless that is the type of the weights anyway.
"""

import gc
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hawk import drafters
from hawk.bench.peak_memory import PeakMemory
from hawk.check.families import oracle_of
from hawk.check.finding import BadUsage, CheckResult, Record
from hawk.check.image_checks import DraftingCheck, decoded, same_image, same_pixels
from hawk.check.memory_check import device_with_room, same_memory
from hawk.check.oracle import Oracle
from hawk.check.passes import Passes, same_guidance, same_logits, same_tokens, target_passes
from hawk.check.prompt_ids import same_prompts
from hawk.decoding.request import Request
from hawk.decoding.target import Target
from hawk.devices import resolve_devices, resolve_dtype
from hawk.pictures import Picture
from hawk.targets import load_target, locate
from hawk.targets.source import Source

CPU = torch.device("cpu")
BROKEN = "cannot load"  # beginning of `load_target`'s errors about a model that is there


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Model to check with its settings, and prompt and seed of the picture. ValueError where the
    last two are none."""

    model: str
    drafter: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    size: tuple[int, int] | None = None
    prompt: str = "a red apple"
    seed: int = 0

    def __post_init__(self) -> None:
        Request(prompt=self.prompt, seed=self.seed, guidance=1.0)  # before anything is loaded


@dataclass(frozen=True, kw_only=True)
class Examined:
    """Facts about what was examined, besides the findings.

    Attributes:
        model: Facts about the model, ready for JSON; its name alone where it could not be loaded.
        picture: Image by the drafter; None where it could not be made.
    """

    model: dict[str, Any]
    picture: Picture | None = None


def examine(asked: Asked, record: Record) -> Examined:
    """Run all checks. ValueError where there is no such model, device, dtype or drafter."""
    drafters.check(asked.drafter)
    source = _source(asked)
    peak = PeakMemory(source.device)
    peak.reset()
    target: Target | None = record.note("load", _loaded, source)
    if target is None:
        return Examined(model={"name": _public_name(source)})
    model, oracle = _described(target, source), oracle_of(source, target)
    record.note("prompts", same_prompts, target, oracle)
    ours = record.note("passes", target_passes, target, asked.prompt, source.dtype)
    pixels = record.note("decoding", decoded, target)
    picture = _draw(record, target, asked, source.dtype)
    record.note("memory", same_memory, source, peak)
    del target
    _free()
    devices = (CPU,) if source.others else (source.device, CPU)
    _compare(record, ours, oracle, devices, source.dtype)
    record.note("pixels", same_pixels, pixels, oracle)
    oracle.free()
    if source.dtype != torch.float32:
        ours = record.note("passes, float32", _passes_in_float32, source, asked.prompt, devices)
        _compare(record, ours, oracle, devices, torch.float32)
        oracle.free()
    return Examined(model=model, picture=picture)


def _source(asked: Asked) -> Source:
    """Source of the model's files."""
    device, *others = resolve_devices(asked.device)
    location, revision = locate(asked.model)
    return Source(
        location=location,
        name=asked.model,
        revision=revision,
        size=asked.size,
        dtype=resolve_dtype(asked.dtype, device),
        device=device,
        others=tuple(others),
    )


def _target(source: Source) -> Target:
    return load_target(
        source.name,
        dtype=source.dtype,
        device=source.device,
        others=source.others,
        size=source.size,
    )


def _loaded(source: Source) -> CheckResult:
    """Load the target. BadUsage where there is no such model; a broken one fails the check."""
    started = time.perf_counter()
    try:
        target = _target(source)
    except ValueError as error:
        if str(error).startswith(BROKEN):
            raise
        raise BadUsage(str(error)) from error
    grid, dtype = target.grid, _name(source.dtype)
    seconds = time.perf_counter() - started
    return CheckResult(
        line=f"{type(target).__name__}, {grid.width} x {grid.height} tokens of "
        f"{target.vocabulary}, {dtype} on {_places(source)}, in {seconds:.1f} s",
        value=target,
    )


def _described(target: Target, source: Source) -> dict[str, Any]:
    return {
        "name": _public_name(source),
        "family": type(target).__name__,
        "weights": target.identity.revision,
        "grid": [target.grid.height, target.grid.width],
        "vocabulary": target.vocabulary,
        "prompt_limit": target.prompt_limit,
        "guidance": target.default_guidance,
        "sampler": asdict(target.default_sampler),
        "dtype": _name(source.dtype),
        "devices": _places(source),
    }


def _public_name(source: Source) -> str:
    """Name of the model without the folders that it is in."""
    folder = Path(source.location)
    return folder.name if folder.is_dir() else source.name


def _draw(record: Record, target: Target, asked: Asked, dtype: torch.dtype) -> Picture | None:
    """Make the picture by the drafter and by plain decoding. In half precision rounding depends on
    a pass's shape, so only passes of one shape have to make the same image."""
    request = Request(
        prompt=asked.prompt,
        seed=asked.seed,
        guidance=target.default_guidance,
        sampler=target.default_sampler,
    )
    whole = dtype == torch.float32
    drafting = DraftingCheck(
        request=request, drafter=asked.drafter, deterministic=False, exact=whole
    )
    picture = record.note("drafting", same_image, target, drafting)
    if not whole:
        drafting = replace(drafting, deterministic=True, exact=True)
        record.note("drafting, deterministic", same_image, target, drafting)
    return picture


def _compare(
    record: Record,
    ours: Passes | None,
    oracle: Oracle,
    devices: Sequence[torch.device],
    dtype: torch.dtype,
) -> None:
    """Check logits, guidance and tokens against the oracle, which stays loaded."""
    name = _name(dtype)
    theirs = record.note(f"logits, {name}", same_logits, ours, oracle, devices)
    record.note(f"guidance, {name}", same_guidance, ours, theirs)
    record.note(f"greedy tokens, {name}", same_tokens, ours, theirs)


def _passes_in_float32(source: Source, prompt: str, devices: Sequence[torch.device]) -> CheckResult:
    device = device_with_room(source, torch.float32, devices)
    target = _target(replace(source, dtype=torch.float32, device=device, others=()))
    answer = target_passes(target, prompt, torch.float32)
    del target
    _free()
    return replace(answer, line=f"{answer.line}, on {device}")


def _places(source: Source) -> str:
    return ", ".join(str(device) for device in (source.device, *source.others))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _free() -> None:
    gc.collect()
    torch.cuda.empty_cache()
