"""Check of prompts: token ids by a target and by the family's own processor."""

from hawk.check.finding import CheckResult
from hawk.check.oracle import Oracle
from hawk.decoding.target import Target

PROMPTS = (
    "a red apple",
    "A photo of two cats, 3d style: 50% off!",
    "ein süßer Hund, 苹果 🍎",
    "two  spaces\nand a line",
)
NAMES = ("conditional", "unconditional")


def same_prompts(target: Target, oracle: Oracle) -> CheckResult:
    """Whether both branches of some prompts have the processor's token ids."""
    for prompt in PROMPTS:
        pairs = zip(NAMES, target.encode(prompt), oracle.branches(prompt), strict=True)
        for name, ours, theirs in pairs:
            if ours != theirs:
                return CheckResult(
                    passed=False,
                    line=f"{prompt!r} is {_around(ours, theirs)} in the {name} branch, and "
                    f"{_around(theirs, ours)} by {oracle.processor}",
                    numbers={"prompt": prompt, "ours": ours, "theirs": theirs},
                )
    return CheckResult(
        line=f"{len(PROMPTS)} prompts have the token ids of {oracle.processor}, in both branches",
        numbers={"prompts": len(PROMPTS)},
    )


def _around(ids: list[int], other: list[int]) -> str:
    """Number of ids, and the first ones that differ from `other`."""
    parted = next((n for n, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b), None)
    place = min(len(ids), len(other)) if parted is None else parted
    return f"{len(ids)} tokens with {ids[place : place + 4]} from place {place} on"
