"""Checks of passes: logits after a prompt and some greedy tokens, by a target and by its oracle."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hawk.check.finding import CheckResult, required
from hawk.check.memory_check import device_with_room
from hawk.check.oracle import Branches, Oracle
from hawk.decoding.grid import Grid
from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.target import Target
from hawk.decoding.tree import Shapes, Tree
from hawk.pictures import Step
from hawk.pipeline import Pipeline

GREEDY = 32  # number of tokens, or as many as reach into the second row of the grid
INTO_ROW = 4
# Largest difference of two laws, in standard deviations of a law's logits. Two right computations
# in float32 differ by some 1e-5 of it, wrong ones by 1e-2 and more.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.2, torch.float16: 0.05}
ROUNDED = 2  # ratio by which rounding may put one pass further from the oracle than another
TAIL = 4  # ratio by which one token may differ more than its law does
NOTHING = "there are no passes to compare"


@dataclass(frozen=True, kw_only=True)
class Passes:
    """float32 logits on the host, after the prompt and after each token, X = T + 1 in all.

    Attributes:
        grid: Grid of the image.
        guidance: Guidance scale.
        dtype: Type of the weights.
        branches: Token ids of the prompt's branches.
        tokens: Greedy tokens, with guidance.
        conditional_XV: Logits of the conditional branch alone.
        unconditional_XV: Logits of the other branch alone.
        guided_XV: Logits of both branches with guidance.
    """

    grid: Grid
    guidance: float
    dtype: torch.dtype
    branches: Branches
    tokens: list[int]
    conditional_XV: Tensor
    unconditional_XV: Tensor
    guided_XV: Tensor


@torch.inference_mode()
def target_passes(target: Target, prompt: str, dtype: torch.dtype) -> CheckResult:
    """Passes of a target: greedy tokens step by step as a session makes them, then all logits in
    one pass over them, as if they had been drafted."""
    tokens, branches = _greedy(target, prompt), target.encode(prompt)
    conditional, unconditional = branches
    passes = Passes(
        grid=target.grid,
        guidance=target.default_guidance,
        dtype=dtype,
        branches=branches,
        tokens=tokens,
        conditional_XV=_logits(target, [conditional], tokens, 1.0),
        unconditional_XV=_logits(target, [unconditional], tokens, 1.0),
        guided_XV=_logits(target, branches, tokens, target.default_guidance),
    )
    return CheckResult(
        line=f"a prompt of {len(conditional)} tokens and {len(tokens)} greedy ones",
        numbers={"prompt_tokens": len(conditional), "tokens": len(tokens)},
        value=passes,
    )


def same_logits(
    ours: Passes | None, oracle: Oracle, devices: Sequence[torch.device]
) -> CheckResult:
    """Passes of the oracle, whole sequences without a cache: whether either branch alone has the
    same logits. It stays loaded."""
    ours = required(ours, NOTHING)
    oracle.load(ours.dtype, device_with_room(oracle.source, ours.dtype, devices))
    conditional_XV, unconditional_XV = (
        oracle.logits(ids, ours.tokens).cpu() for ids in ours.branches
    )
    # As in arXiv 2207.12598, where its w is guidance - 1.
    guided_XV = unconditional_XV + ours.guidance * (conditional_XV - unconditional_XV)
    theirs = replace(
        ours,
        conditional_XV=conditional_XV,
        unconditional_XV=unconditional_XV,
        guided_XV=guided_XV,
    )
    found = _branches(ours, theirs)
    return replace(max(found, key=lambda answer: answer.numbers["largest"]), value=theirs)


def same_guidance(ours: Passes | None, theirs: Passes | None) -> CheckResult:
    """Whether both branches together have the same logits."""
    ours, theirs = required(ours, NOTHING), required(theirs, NOTHING)
    guidance, tolerance = ours.guidance, _guided_tolerance(ours, theirs)
    what = f"guidance {guidance:g}"
    answer = _compared(what, ours.guided_XV, theirs.guided_XV, tolerance, ours.grid)
    turned_XV = theirs.conditional_XV.lerp(theirs.unconditional_XV, guidance)
    turned = _compared(what, ours.guided_XV, turned_XV, tolerance, ours.grid)
    if turned.passed and not answer.passed:
        return replace(answer, line=f"the branches are exchanged: {answer.line}")
    return answer


def same_tokens(ours: Passes | None, theirs: Passes | None) -> CheckResult:
    """Whether each greedy token is the best of its law, or as good as rounding can tell."""
    ours, theirs = required(ours, NOTHING), required(theirs, NOTHING)
    laws_TV, tokens_T1 = theirs.guided_XV[:-1], torch.tensor(ours.tokens)[:, None]
    behind_T = laws_TV.amax(1) - laws_TV.gather(1, tokens_T1)[:, 0]
    wrong = int((behind_T > TAIL * _guided_tolerance(ours, theirs) * laws_TV.std(1)).sum())
    same, of = int((behind_T == 0).sum()), len(ours.tokens)
    far = f", {wrong} are further from it than rounding explains" if wrong else ""
    return CheckResult(
        passed=wrong == 0,
        line=f"{same} of {of} greedy tokens are the best of transformers' laws{far}",
        numbers={"tokens": of, "same": same, "wrong": wrong},
    )


def _branches(ours: Passes, theirs: Passes) -> list[CheckResult]:
    tolerance = TOLERANCE[ours.dtype]
    return [
        _compared(f"the {name} branch", own_XV, other_XV, tolerance, ours.grid)
        for name, own_XV, other_XV in (
            ("conditional", ours.conditional_XV, theirs.conditional_XV),
            ("unconditional", ours.unconditional_XV, theirs.unconditional_XV),
        )
    ]


def _guided_tolerance(ours: Passes, theirs: Passes) -> float:
    """Tolerance of both branches together: differences of either add up, g + (g - 1) times."""
    alone = max(answer.numbers["largest"] for answer in _branches(ours, theirs))
    floor = TOLERANCE[ours.dtype] / 100
    return (2 * ours.guidance - 1) * max(ROUNDED * alone, floor)


def _greedy(target: Target, prompt: str) -> list[int]:
    most = min(target.grid.cells - 1, max(GREEDY, target.grid.width + INTO_ROW))
    pipeline = Pipeline(target, drafter="plain", rule="coupled", slots=1)
    seen: list[int] = []

    def enough(step: Step) -> bool:
        seen[:] = step.tokens[:most]
        return len(step.tokens) >= most

    result = pipeline(prompt, sampler=SamplerConfig(temperature=0.0), callback=enough)
    for failure in result.failures:
        raise ValueError(failure.error)
    return seen


def _logits(target: Target, prompt: Branches, tokens: list[int], guidance: float) -> Tensor:
    """Logits [X, V] of one branch or both."""
    device = target.device
    cache = target.new_cache(slots=1, branches=len(prompt), nodes=len(tokens))
    scale_B = torch.tensor([guidance], device=device)
    first = target.prefill([prompt], range(1), scale_B, cache)
    tree = Tree(
        shapes=Shapes.chain(len(tokens) - 1, device),
        shape_B=torch.zeros(1, dtype=torch.int64, device=device),
        tokens_BN=torch.tensor([tokens], device=device),
    )
    rest = target.forward(tree, scale_B, cache)
    return torch.cat([first.logits_BNV, rest.logits_BNV], 1)[0].float().cpu()


def _compared(
    what: str, ours_XV: Tensor, theirs_XV: Tensor, tolerance: float, grid: Grid
) -> CheckResult:
    """Result for the law with the largest root mean square difference, in deviations of theirs."""
    differences_X = (ours_XV - theirs_XV).square().mean(1).sqrt() / theirs_XV.std(1)
    differences_X = differences_X.nan_to_num(torch.inf)
    largest, worst = (float(found) for found in differences_X.max(0))
    row, column = divmod(int(worst), grid.width)
    return CheckResult(
        passed=largest <= tolerance,
        line=f"{what} differs by {largest:.1e} of the spread at most (tolerance {tolerance:.1e}), "
        f"at row {row}, column {column}",
        numbers={
            "largest": largest,
            "mean": float(differences_X.mean()),
            "tolerance": tolerance,
            "row": row,
            "column": column,
        },
    )
