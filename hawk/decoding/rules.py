"""Rules: which drafts are accepted, and which token follows them. The rules here are exact."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hawk.decoding.noise import ACCEPTANCE, Noise, uniform
from hawk.decoding.sampler import Law
from hawk.decoding.tree import Tree

# Mass of the difference of two laws below which they are equal up to rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Decision of a rule on every node, whether the walk reaches it or not.

    Attributes:
        accepted_BN: bool, True where a node may follow its parent, and for the root.
        extra_BN: int64, token after each node where no accepted child follows.
        healthy_BN: bool, True where the target's logits after a node are finite.
    """

    accepted_BN: Tensor
    extra_BN: Tensor
    healthy_BN: Tensor


class Rule(Protocol):
    """Decides which drafts agree with the target.

    Attributes:
        name: Name that users give.
        exact: True where images have the law of the target alone.
        by_chance: True where drafts must be drawn under noise of their own, with the laws that they
            were drawn from (`Tree.drawn`). The laws and the number of drafts of a step may then
            depend on decisions and on drafts of earlier steps, never on drafts of that step or of
            later ones.
    """

    name: str
    exact: bool
    by_chance: bool

    def judge(self, tree: Tree, law: Law, noise: Noise) -> Verdict:
        """Judge every node.

        Args:
            tree: Tree of drafts.
            law: The target's law after each node.
            noise: Noise of the token after each node.
        """
        ...


class Coupled:
    """A draft is accepted if and only if it equals the target's own pick after its parent.

    Target and drafter share one noise per (seed, step, token), so the committed tokens are those
    of plain decoding whatever was drafted (Daliri, Musco and Suresh, arXiv 2408.07978, for chains).
    """

    name = "coupled"
    exact = True
    by_chance = False

    def judge(self, tree: Tree, law: Law, noise: Noise) -> Verdict:
        """Accept a node whose token is the pick after its parent; equal siblings go together."""
        picks_BN, best_BN = law.picks(noise.tokens_BNV)
        parents_BN = tree.parents_BN
        accepted_BN = tree.tokens_BN == picks_BN.gather(1, parents_BN)
        accepted_BN[:, 0] = True
        return Verdict(accepted_BN=accepted_BN, extra_BN=picks_BN, healthy_BN=best_BN.isfinite())


class Residual:
    """A draft from law q is accepted with probability min(1, p / q), p the target's.

    The siblings of a step are tested one after the other. Each refusal leaves what q did not cover,
    p <- norm((p - q)+), for the next; q is the law the draft was really drawn from, source by
    source and without the siblings before it; when all are refused the token is drawn from the
    last p. The token then has the law p exactly: Hawk (arXiv 2510.25739, its acceptance rule and
    appendix A), after Leviathan, Kalman and Matias (arXiv 2211.17192, section 2.3 and appendix A).

    At temperature 0 the law is a point, and accepting its token alone is the same rule.
    """

    name = "residual"
    exact = True
    by_chance = True

    def judge(self, tree: Tree, law: Law, noise: Noise) -> Verdict:
        return by_odds(own_mass, tree, law, noise)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The next child of every node, and the law that it was drawn from.

    Attributes:
        children_BN: int64, the child; 0 where there is none.
        there_BN1: bool, True where there is a child.
        tokens_BN1: int64, the child's token.
        law_BNV: float64, probabilities of the law; zero where there is no child.
        own_BN1: float64, probability of the child's token, 1 where there is no child.
    """

    children_BN: Tensor
    there_BN1: Tensor
    tokens_BN1: Tensor
    law_BNV: Tensor
    own_BN1: Tensor


Weigh = Callable[[Tensor, Trial], tuple[Tensor, Tensor]]


def own_mass(rest_BNV: Tensor, trial: Trial) -> tuple[Tensor, Tensor]:
    """Odds p / q of the token itself, and all of p, which counts after a refusal."""
    return rest_BNV.gather(-1, trial.tokens_BN1) / trial.own_BN1, rest_BNV


def by_odds(weigh: Weigh, tree: Tree, law: Law, noise: Noise) -> Verdict:
    """Verdict by the odds of `residual` with `weigh`; other arguments as in `Rule.judge`."""
    odds = residual(tree, law.scores_BNV.double().softmax(-1), weigh)
    return unless_greedy(decide(tree, *odds, noise), tree, law, noise)


def residual(tree: Tree, target_BNV: Tensor, weigh: Weigh = own_mass) -> tuple[Tensor, Tensor]:
    """Odds of every decision, a function of drafts and laws alone.

    Args:
        tree: Tree of drafts with the laws that they were drawn from.
        target_BNV: float64, the target's probabilities after each node.
        weigh: Function from p and a trial to the odds [B, N, 1] of its token, and to the part of
            p [B, N, V] that counts after a refusal.

    Returns:
        Probability [B, N] that a node is accepted where the siblings before it were refused, and
        law [B, N, V] of the token after a node where all its children were refused.
    """
    rest_BNV = target_BNV
    chance_BN = torch.zeros(tree.tokens_BN.shape, dtype=target_BNV.dtype, device=target_BNV.device)
    for trial in trials(tree, target_BNV.shape[-1]):
        odds_BN1, kept_BNV = weigh(rest_BNV, trial)
        left_BNV = (kept_BNV - trial.law_BNV).clamp(min=0)
        mass_BN1 = left_BNV.sum(-1, keepdim=True)
        # Where both laws are the same up to rounding, nothing would be left after a refusal.
        differ_BN1 = mass_BN1 > ROUNDING
        accept_BN1 = torch.where(differ_BN1, odds_BN1.clamp(max=1), 1.0) * trial.there_BN1
        chance_BN.scatter_(1, trial.children_BN, accept_BN1.squeeze(-1))
        rest_BNV = torch.where(trial.there_BN1 & differ_BN1, left_BNV / mass_BN1, rest_BNV)
    return chance_BN, rest_BNV


def trials(tree: Tree, vocabulary: int) -> Iterator[Trial]:
    """Trials of the first children of all nodes, then of the second ones, and so on."""
    children_BNM = tree.shapes.children_ZNM[tree.shape_B]
    if not children_BNM.shape[-1]:
        return
    drawn = tree.drawn
    assert drawn is not None, (
        "this rule needs the laws of drafts: the drafter must use DraftSampler"
    )
    laws_BQV = drawn.scores_BQV.double().softmax(-1)
    taken_BNV = torch.zeros(
        *tree.tokens_BN.shape, vocabulary, dtype=torch.bool, device=laws_BQV.device
    )
    for children_BN in children_BNM.unbind(-1):
        tokens_BN1 = tree.tokens_BN.gather(1, children_BN)[..., None]
        which_BN1 = drawn.which_BN.gather(1, children_BN)[..., None]
        law_BNV = laws_BQV.gather(1, which_BN1.expand(-1, -1, vocabulary))
        law_BNV = law_BNV.masked_fill(taken_BNV, 0)
        mass_BN1 = law_BNV.sum(-1, keepdim=True)
        # A law with fewer tokens than drafts has no more drafts to offer.
        there_BN1 = (children_BN > 0)[..., None] & (mass_BN1 > 0)
        law_BNV = torch.where(there_BN1, law_BNV / mass_BN1, 0.0)
        own_BN1 = torch.where(there_BN1, law_BNV.gather(-1, tokens_BN1), 1.0)
        assert not (own_BN1 == 0).any(), "the law of a draft, without its siblings, cannot give it"
        yield Trial(
            children_BN=children_BN,
            there_BN1=there_BN1,
            tokens_BN1=tokens_BN1,
            law_BNV=law_BNV,
            own_BN1=own_BN1,
        )
        taken_BNV = taken_BNV.scatter(-1, tokens_BN1, taken_BNV.gather(-1, tokens_BN1) | there_BN1)


def decide(tree: Tree, chance_BN: Tensor, rest_BNV: Tensor, noise: Noise) -> Verdict:
    """Verdict by chance: siblings are tested in order, and the first that is accepted counts.

    Args:
        tree: Tree of drafts.
        chance_BN, rest_BNV: Odds that `residual` returns.
        noise: Noise of the token after each node.
    """
    which = tree.shape_B
    children_BNM = tree.shapes.children_ZNM[which]
    place_BN1 = tree.shapes.place_ZN[which].int()[..., None]
    dice_BN1 = uniform(noise.seeds_B, noise.steps_BN - 1, place_BN1, ACCEPTANCE)
    hit_BN = dice_BN1.squeeze(-1) < chance_BN
    hit_BN[:, 0] = False
    nobody = children_BNM.new_zeros(*children_BNM.shape[:2], 1)
    # The last place stands for no child, and counts where none was accepted.
    hit_BNM = hit_BN[:, None].expand(-1, hit_BN.shape[1], -1).gather(-1, children_BNM)
    hit_BNM = torch.nn.functional.pad(hit_BNM, (0, 1), value=True)
    first_BN1 = hit_BNM.int().argmax(-1, keepdim=True)
    chosen_BN = torch.cat([children_BNM, nobody], -1).gather(-1, first_BN1).squeeze(-1)
    score_BN, extra_BN = (rest_BNV.log() + noise.tokens_BNV).max(-1)
    accepted_BN = chosen_BN.gather(1, tree.parents_BN) == torch.arange(
        hit_BN.shape[1], device=hit_BN.device
    )
    accepted_BN[:, 0] = True
    return Verdict(accepted_BN=accepted_BN, extra_BN=extra_BN, healthy_BN=score_BN.isfinite())


def unless_greedy(verdict: Verdict, tree: Tree, law: Law, noise: Noise) -> Verdict:
    """The verdict, with that of `Coupled` for rows at temperature 0."""
    greedy_B1 = law.sampler.noise_scale_B11.squeeze(-1) == 0
    certain = Coupled().judge(tree, law, noise)
    return Verdict(
        accepted_BN=torch.where(greedy_B1, certain.accepted_BN, verdict.accepted_BN),
        extra_BN=torch.where(greedy_B1, certain.extra_BN, verdict.extra_BN),
        healthy_BN=verdict.healthy_BN & certain.healthy_BN,
    )
