"""jacobi: one long window of the target's own stale picks. No training, any target.

A pass over a window of drafts yields the target's law at every one of them. Behind the first wrong
draft these laws stand under a context that is a little wrong; under the shared noise most of their
picks are right nevertheless, and they are the drafts of the next pass: Jacobi iteration (Teng et
al., arXiv 2410.01699) with the noise of every step held fast (So et al., arXiv 2510.24211). A draft
far ahead is not there to be accepted now: each pass brings it nearer to what it will have to be,
five or six times before its turn. So nodes are worth more at the end of one long chain than on
branches; only at the first steps, where most passes end, runners-up stand beside the trunk. They
serve twice: where all drafts of a step are refused, the next step has as many laws, each under
another wrong token, and their mean is right more often than one of them.
"""

import torch
from torch import Tensor

from hawk.decoding.drafter import DrafterConfig, Feedback, FeedbackFields
from hawk.decoding.tree import Shapes, Tree
from hawk.drafters.draft_sampler import DraftSampler

MOST_NODES = 96
# Runners-up beside the first steps of the trunk, by the least number of nodes of such a window.
RUNNERS_UP = {64: (3, 2, 2, 2, 1, 1, 1, 1, 1, 1), 32: (2, 1, 1, 1), 24: (2, 1, 1), 0: ()}
CHANCE_REACH = 16  # least number of steps drawn ahead where each needs a draw and law of its own
PICKS = 1 + max(max(some, default=0) for some in RUNNERS_UP.values())


class Window:
    """A trunk, numbered first and in order, and the runners-up beside its first steps.

    Attributes:
        length: Steps of the trunk behind the root.
        runners_up: Number of steps that have runners-up.
        shapes: The one tree shape.
        depths_N: int64, depth of each node.
        ranks_N: int64, rank of each node among the picks of its step, 0 for the best.
        levels_LM: int64, nodes of each level, that of the trunk first; 0 where there are no more.
    """

    def __init__(self, nodes: int, device: torch.device, *, branching: bool) -> None:
        beside = next(some for least, some in RUNNERS_UP.items() if nodes >= least)
        if not branching:
            beside = ()
        self.length, self.runners_up = nodes - 1 - sum(beside), len(beside)
        places = [(depth, 0) for depth in range(self.length + 1)]
        places += [
            (depth, rank) for depth, some in enumerate(beside, 1) for rank in range(1, some + 1)
        ]
        self.shapes = Shapes([[max(depth - 1, 0) for depth, _ in places]], device)
        self.depths_N, self.ranks_N = torch.tensor(places, device=device).unbind(1)
        levels_LM = torch.zeros(self.length + 1, 1 + max(beside, default=0), dtype=torch.int64)
        levels_LM[self.depths_N.cpu(), self.ranks_N.cpu()] = torch.arange(nodes)
        self.levels_LM = levels_LM.to(device)


class Jacobi:
    """Drafter of one long window, see above."""

    name = "jacobi"
    most_nodes = MOST_NODES
    feedback_fields = FeedbackFields(laws=True)

    def __init__(self, config: DrafterConfig) -> None:
        identity, slots, device = config.identity, config.slots, config.device
        self._sampler = DraftSampler(by_chance=config.by_chance)
        self._branching, self._device = config.branching, device
        self._vocabulary = identity.vocabulary
        most = min(self.most_nodes - 1, identity.grid.cells)
        self._ahead_J = torch.arange(1, most + 1, device=device)
        self._tokens_SJM = torch.zeros(slots, most, PICKS, dtype=torch.int64, device=device)
        # Laws that drafts were drawn from, where the rule asks for them.
        size = (slots if config.by_chance else 0, most, identity.vocabulary)
        self._drawn_SJV = torch.zeros(size, device=device)
        self._shape_S = torch.zeros(slots, dtype=torch.int64, device=device)
        self._reach = min(CHANCE_REACH, most) if config.by_chance else most
        self._windows: dict[int, Window] = {}
        self._window = self._choose(1)

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        rows, window = len(roots_B), self._choose(nodes)
        self._window = window
        tokens_BN = self._tokens_SJM[:rows, window.depths_N - 1, window.ranks_N]
        tokens_BN[:, 0] = roots_B
        tree = Tree(shapes=window.shapes, shape_B=self._shape_S[:rows], tokens_BN=tokens_BN)
        ranks_BN = window.ranks_N.expand(rows, -1)
        drawn_BJV = self._drawn_SJV[:rows, : max(window.length, 1)]
        return self._sampler.tell(tree, ranks_BN, drawn_BJV, sources=1)

    def join(self, slots: range, feedback: Feedback) -> None:
        """Take in new images: a prompt's pass is a root alone, whose law serves every step."""
        self.learn(slice(slots.start, slots.stop), feedback, length=0)

    def move(self, source: int, target: int) -> None:
        self._tokens_SJM[target] = self._tokens_SJM[source]
        if self._sampler.by_chance:
            self._drawn_SJV[target] = self._drawn_SJV[source]

    def observe(self, feedback: Feedback) -> None:
        length = self._window.length
        if self._sampler.by_chance:
            self._reach = min(max(CHANCE_REACH, 2 * length), len(self._ahead_J))
        if length or self._sampler.by_chance:  # plain passes need no drafts
            self.learn(slice(0, len(feedback.steps_B)), feedback, length)

    def seeds(self, feedback: Feedback) -> Tensor:
        """int64 [B], seeds of the noise under which drafts are drawn by chance."""
        return feedback.seeds_B

    def _choose(self, nodes: int) -> Window:
        """The window of `nodes` nodes, or of as many as there are steps to fill."""
        nodes = min(nodes, self._reach + 1)
        if nodes not in self._windows:
            self._windows[nodes] = Window(nodes, self._device, branching=self._branching)
        return self._windows[nodes]

    def learn(self, slots: slice, feedback: Feedback, length: int) -> None:
        """Take the drafts of the next steps from the laws of a pass.

        The last token was picked after a node as deep as drafts were accepted, on the trunk or
        beside it. The law of the j-th step after it is that of the trunk j levels further down; the
        last law of the trunk stands in for the steps beyond its end.

        Args:
            slots: Slots of the rows.
            feedback: Outcome of the pass.
            length: Steps of the trunk in the pass.
        """
        ahead_J = self._ahead_J[: self._reach]
        depth_BJ = feedback.commit.counts_B[:, None] - 1 + ahead_J
        source_BJ = depth_BJ.clamp(max=length)
        steps_BJ = feedback.steps_B[:, None] + ahead_J
        if self._sampler.by_chance:
            scores_BJV = feedback.law.at(source_BJ).scores_BNV
            noisy_BJV = scores_BJV + self._sampler.noise(
                feedback.noise_at, self.seeds(feedback), steps_BJ, self._vocabulary
            )
            self._tokens_SJM[slots, : self._reach] = self._sampler.best([noisy_BJV], PICKS)
            self._drawn_SJV[slots, : self._reach] = scores_BJV
            return
        tokens_BJ = feedback.picks_BN.gather(1, source_BJ)
        end = length or self._reach
        tail = slice(max(end - feedback.longest + 1, 0) if length else 0, end)
        if tail.start < end:
            stand_in = feedback.law.at(source_BJ[:, tail].clamp(min=length))
            picks_BX, _ = stand_in.picks(feedback.noise_at(steps_BJ[:, tail]))
            tokens_BJ[:, tail] = tokens_BJ[:, tail].where(depth_BJ[:, tail] <= length, picks_BX)
        # Longer windows begin with the last token repeated; passes mend it.
        tokens_BJ[:, end:] = tokens_BJ[:, end - 1 : end]
        self._tokens_SJM[slots, :, 0] = tokens_BJ
        beside = slice(0, self._window.runners_up)
        if beside.stop:
            law = feedback.law.at(source_BJ[:, beside])
            scores = torch.cat([self._next_law(feedback, length), law.scores_BNV[:, 1:]], 1)
            noisy = scores + feedback.noise_at(steps_BJ[:, beside])
            best = noisy.topk(PICKS, dim=-1).indices
            self._tokens_SJM[slots, beside, 1:] = best[..., 1:]
            self._tokens_SJM[slots, 0, 0] = best[:, 0, 0]

    def _next_law(self, feedback: Feedback, length: int) -> Tensor:
        """float32 [B, 1, V], log-probabilities of the step after the last token.

        It has a law behind each draft of the last token. Where one of these was right (it was no
        child of the runner-up that the path ended at), its law counts alone; where all were wrong,
        their mean, which hangs least on any wrong token.
        """
        counts_B1 = feedback.commit.counts_B[:, None]
        near_BM = self._window.levels_LM[counts_B1[:, 0].clamp(max=length)]
        there_BM = near_BM > 0
        there_BM[:, 0] = True
        last_B1 = feedback.commit.tokens_BL.gather(1, counts_B1 - 1)
        right_BM = there_BM & (feedback.tree.tokens_BN.gather(1, near_BM) == last_B1)
        chosen_BM = right_BM | (there_BM & ~right_BM.any(1, keepdim=True))
        laws_BMV = feedback.law.at(near_BM).scores_BNV.softmax(-1)
        return (laws_BMV * chosen_BM[..., None]).sum(1, keepdim=True).log()
