"""Checks of images: pixels of known codes, and images by plain decoding and by a drafter."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.check.finding import CheckResult, required
from hawk.check.oracle import Oracle
from hawk.decoding.request import Request
from hawk.decoding.target import Target
from hawk.pipeline import Pipeline

SPREAD = 7919  # a prime: consecutive cells have codes far apart
LEVELS = 2  # largest difference by rounding of convolutions, in levels of 255


@dataclass(frozen=True, kw_only=True)
class DecodedCodes:
    """Tokens of an image, the same on every machine, and its pixels uint8 [height, width, 3]."""

    codes: list[int]
    pixels: Tensor


def decoded(target: Target) -> CheckResult:
    """Pixels of known codes by the target."""
    codes = [(cell * SPREAD + 1) % target.vocabulary for cell in range(target.grid.cells)]
    pixels = target.pixels(torch.tensor([codes], device=target.device))[0].cpu()
    height, width, _ = pixels.shape
    value = DecodedCodes(codes=codes, pixels=pixels)
    return CheckResult(line=f"known codes make {width} x {height} pixels", value=value)


def same_pixels(ours: DecodedCodes | None, oracle: Oracle) -> CheckResult:
    """Whether target and oracle draw the known codes alike."""
    ours = required(ours, "there are no pixels to compare")
    theirs = oracle.pixels(ours.codes).cpu()
    differences = (ours.pixels.int() - theirs.int()).abs()
    largest, mean = int(differences.max()), float(differences.float().mean())
    return CheckResult(
        passed=largest <= LEVELS,
        line=f"known codes differ by {largest} of 255 levels at most, {mean:.2f} in the mean "
        f"(tolerance {LEVELS})",
        numbers={"largest": largest, "mean": mean, "tolerance": LEVELS},
    )


@dataclass(frozen=True, kw_only=True)
class DraftingCheck:
    """One image and how it is made.

    Attributes:
        request: Image to make.
        drafter: Name of the drafter.
        deterministic: True where all passes have one shape.
        exact: True where plain decoding has to make the same image; False where rounding may
            differ.
    """

    request: Request
    drafter: str
    deterministic: bool
    exact: bool


def same_image(target: Target, drafting: DraftingCheck) -> CheckResult:
    """Whether a drafter makes the image of plain decoding, and what it saves; the value is the
    picture."""
    plain, drafted = (
        Pipeline(
            target,
            drafter=drafter,
            rule="coupled",
            slots=1,
            deterministic=drafting.deterministic,
        ).run([drafting.request])
        for drafter in ("plain", drafting.drafter)
    )
    for failure in (*plain.failures, *drafted.failures):
        raise ValueError(failure.error)
    pairs = zip(plain.pictures[0].tokens, drafted.pictures[0].tokens, strict=True)
    different, of = sum(a != b for a, b in pairs), target.grid.cells
    made = "makes the tokens of plain decoding"
    if different:
        made = f"makes {different} of {of} tokens that plain decoding does not"
    stats = drafted.stats
    return CheckResult(
        passed=different == 0 or not drafting.exact,
        line=f"{drafted.drafter} {made}, {stats.tokens_per_forward:.2f} a forward, in "
        f"{drafted.seconds:.2f} s (plain: {plain.seconds:.2f} s)",
        numbers={
            "drafter": drafted.drafter,
            "tokens": of,
            "different": different,
            "forwards": stats.forwards,
            "tokens_per_forward": round(stats.tokens_per_forward, 3),
            "seconds": round(drafted.seconds, 3),
            "plain_seconds": round(plain.seconds, 3),
        },
        value=drafted.pictures[0],
    )
