"""Session: the images in flight, and the loop that moves them on.

Every step is draft -> forward -> verify -> commit over all active slots. Images join and leave at
any step and progress at their own speed: the noise of an image depends on its seed alone, so its
tokens do not depend on who is in flight beside it.

Letters: B active rows, N tree nodes, D tree levels.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hawk.budget import Budget
from hawk.drafters.base import Drafter, Feedback
from hawk.noise import seed_of
from hawk.request import Finished, Progress, Request
from hawk.rules import Rule
from hawk.sampler import Law
from hawk.sent import Sent
from hawk.slots import InFlight, Slots
from hawk.stats import Clock, Stats
from hawk.targets.base import Branches, Output, Target
from hawk.tree import Shapes, Tree
from hawk.verifier import Commit, verify

FIXED_NODES = 8  # in half precision a pass over so many costs about what one over one costs


class Session:
    """A batch of images in flight.

    Args:
        target, drafter, rule: as loaded.
        budget: what passes cost, for the drafter to size its trees.
        slots: images in flight at most.
        guided: whether requests may have guidance; without it an image takes one row, not two.
        deterministic: every pass has one shape, `slots` images of `FIXED_NODES` nodes, whatever is
            in flight and whatever drafts: so it is rounded alike, in half precision too. The budget
            must not ask for more nodes, nor for trees that branch.
        ahead: whether the next tree is drafted before the host knows what became of this one. On a
            GPU the host then has the work of a step ready while the pass runs. Not for drafters
            that must hear first who left.
    """

    def __init__(  # noqa: PLR0913  each is a choice of its own
        self,
        target: Target,
        drafter: Drafter,
        rule: Rule,
        *,
        budget: Budget,
        slots: int,
        guided: bool,
        deterministic: bool = False,
        ahead: bool = False,
    ) -> None:
        self.target, self.drafter, self.rule, self.budget = target, drafter, rule, budget
        self.slots, self.guided = slots, guided
        self.stats = Stats()
        self._tickets = 0
        self._waiting: deque[tuple[int, Request, Branches]] = deque()
        self._slots = Slots(target, slots, most=drafter.most_nodes)
        self._cache = target.new_cache(
            slots=slots,
            branches=2 if guided else 1,
            nodes=FIXED_NODES if deterministic else drafter.most_nodes,
            fixed_shape=deterministic,
        )
        self._root = Shapes.chain(0, target.device)
        self._ahead = ahead
        self._next: tuple[Tree, Tensor] | None = None  # drafted ahead, for the rows as they are

    def submit(self, request: Request) -> int:
        """Queue an image; returns its ticket. ValueError where the prompt does not fit."""
        ids = self.check(request)
        self._tickets += 1
        self._waiting.append((self._tickets, request, ids))
        return self._tickets

    def check(self, request: Request) -> Branches:
        """Token ids of the prompt. ValueError where it does not fit."""
        if request.guidance != 1 and not self.guided:
            raise ValueError(f"this session runs without guidance, got {request.guidance}")
        return self.target.encode(request.prompt, request.negative_prompt)

    def cancel(self, ticket: int) -> bool:
        """Forget an image, waiting or in flight; its slot is free at once. False if unknown."""
        for entry in self._waiting:
            if entry[0] == ticket:
                self._waiting.remove(entry)
                return True
        slot = self._slots.find(ticket)
        if slot is not None:
            self._leave(slot)
        return slot is not None

    def progress(self, ticket: int) -> Progress | None:
        """How far an image in flight has come; None while it waits, and where it is unknown."""
        slot = self._slots.find(ticket)
        if slot is None:
            return None
        commits = list(self._slots.images[slot].commits)
        return Progress(tokens_T=self._slots.tokens_T(slot), commits=commits)

    @property
    def active(self) -> int:
        """Slots in use."""
        return len(self._slots)

    @property
    def roots_B(self) -> Tensor:
        """int64, the last committed token of every active row."""
        return self._slots.roots_B

    @property
    def busy(self) -> bool:
        """Whether images are waiting or in flight."""
        return bool(self.active or self._waiting)

    def run(self) -> Iterator[Finished]:
        """Step until nothing is left, yielding images as they finish."""
        while self.busy:
            yield from self.step()

    @torch.inference_mode()
    def step(self) -> list[Finished]:
        """Let waiting images in, make one pass over all active ones, return those that finished."""
        self.admit()
        if not self.active:
            return []
        clock = Clock()
        tree, valid = self._next or self._draft()
        draft_s = clock.lap()
        output = self.target.forward(tree, self._slots.guidance_B, self._cache)
        forward_s = clock.lap()
        law, commit, healthy = self._verify(tree, output)
        outcome = self._send(commit, healthy, valid)
        self._slots.append(commit.tokens_BD, commit.counts_B)
        verify_s = clock.lap()
        self.drafter.observe(self._feedback(tree, law, output, commit))
        self._next = self._draft() if self._ahead else None
        draft_s += clock.lap()
        counts, move = self._receive(outcome)
        self._cache.keep(commit.path_BD, commit.counts_B, counts, move=move)
        verify_s += clock.lap()
        rows, nodes = tree.tokens_BN.shape
        if self._cache.graphs is None or self._cache.graphs.replayed:
            # As a whole: on a GPU only the sum of the three is a time of its own.
            self.budget.observe(rows, nodes, draft_s + forward_s + verify_s)
        self.stats += Stats(passes=1, draft_s=draft_s, forward_s=forward_s, verify_s=verify_s)
        self._count(self._slots.images, counts, drafted=nodes - 1)
        return self._finish()

    def _draft(self) -> tuple[Tree, Tensor]:
        """The drafter's tree, and whether its tokens are tokens; those that are not are clamped
        until the step's one transfer to the host tells."""
        tree = self.drafter.draft(self.roots_B, self.budget)
        tokens_BN = tree.tokens_BN.clamp(0, self.target.vocabulary - 1)
        return replace(tree, tokens_BN=tokens_BN), (tokens_BN == tree.tokens_BN).all()

    def _verify(self, tree: Tree, output: Output) -> tuple[Law, Commit, Tensor]:
        law = self._slots.sampler.law(output.logits_BNV)
        counts_B1 = self._slots.counts_B[:, None]
        verdict = self.rule.judge(tree, law, self._slots.seeds_B, counts_B1 + tree.depths_BN)
        commit = verify(tree, verdict, self.target.grid.cells - self._slots.counts_B)
        return law, commit, verdict.healthy

    def _send(self, commit: Commit, healthy: Tensor, valid: Tensor) -> Sent:
        """All that the host has to know of a step: the one transfer to it."""
        level_D = self._slots.levels_D[: commit.path_BD.shape[1]]
        out_of_place = (commit.path_BD != level_D) & (level_D < commit.counts_B[:, None])
        flags = torch.stack([out_of_place.any(), healthy, valid])
        return Sent(torch.cat([commit.counts_B, flags]))

    def _receive(self, outcome: Sent) -> tuple[list[int], bool]:
        """The tokens of each row, and whether keys and values have to move.

        ArithmeticError where the target's logits are not numbers, RuntimeError where the drafter's
        tokens are not of the vocabulary.
        """
        *counts, move, is_healthy, is_valid = outcome.list()
        if not is_valid:
            raise RuntimeError(
                f"the drafter {self.drafter.name} proposed tokens outside of 0 .. "
                f"{self.target.vocabulary - 1}: it was made for another vocabulary"
            )
        if not is_healthy:
            raise ArithmeticError(
                f"{self.target.name} returned logits that are not numbers: its weights are broken, "
                f"or too large for half precision (use --dtype bfloat16 or float32)"
            )
        return counts, bool(move)

    def _feedback(
        self, tree: Tree, law: Law, output: Output, commit: Commit, first: int = 0
    ) -> Feedback:
        """Of a pass over the rows from `first` on."""
        return Feedback(
            tree=tree,
            law=law,
            hidden_BND=output.hidden_BND,
            commit=commit,
            seeds_B=self._slots.seeds_B[first:],
            steps_B=self._slots.counts_B[first:] - 1,
        )

    @torch.inference_mode()
    def admit(self) -> None:
        """Prefill as many waiting images as there are free slots, and commit their first token."""
        free = self.slots - self.active
        entering = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
        if not entering:
            return
        self._next = None
        slots = range(self.active, self.active + len(entering))
        guidance = [float(request.guidance) for _, request, _ in entering]
        guidance_B = torch.tensor(guidance, device=self.target.device)
        clock = Clock()
        output = self.target.prefill(
            [ids for _, _, ids in entering], slots, guidance_B, self._cache
        )
        self.stats += Stats(passes=1, forward_s=clock.lap())
        images = [InFlight(ticket=ticket, request=request) for ticket, request, _ in entering]
        self._slots.enter(images, [self._seed(request) for _, request, _ in entering], guidance_B)
        self.stats += Stats(images=len(images))
        self._count(images, [1] * len(images), drafted=0)
        self._first_tokens(slots, output)

    def _seed(self, request: Request) -> int:
        """Seed of an image's noise. Shapes are learned from all images in flight: where they may
        not know an image's noise, no other image may have the same."""
        if self.rule.by_chance:
            return seed_of(request.seed, request.prompt)
        return request.seed

    def _first_tokens(self, slots: range, output: Output) -> None:
        """The prompt's own pass is a tree that is only a root, one step before the image."""
        law = self._slots.sampler_of(slots).law(output.logits_BNV)
        seeds_B = self._slots.seeds_B[slots.start :]
        zeros_B = torch.zeros_like(seeds_B)
        picks_B1, _ = law.picks(seeds_B, zeros_B[:, None])
        self._slots.append(picks_B1, zeros_B + 1, slots.start)
        tree = Tree(shapes=self._root, shape_B=zeros_B, tokens_BN=picks_B1)
        commit = Commit(
            end_B=zeros_B, counts_B=zeros_B + 1, tokens_BD=picks_B1, path_BD=zeros_B[:, None]
        )
        self.drafter.join(slots, self._feedback(tree, law, output, commit, slots.start))

    def _count(self, images: Sequence[InFlight], counts: Sequence[int], drafted: int) -> None:
        for image, count in zip(images, counts, strict=True):
            stats = Stats(forwards=1, tokens=count, drafted=drafted, accepted=count - 1)
            image.stats += stats
            image.commits.append(count)
            self.stats += stats

    def _finish(self) -> list[Finished]:
        finished: list[Finished] = []
        for slot in reversed(range(self.active)):
            image = self._slots.images[slot]
            if image.stats.tokens == self.target.grid.cells:
                finished.append(
                    Finished(
                        ticket=image.ticket,
                        request=image.request,
                        tokens_T=self._slots.tokens_T(slot),
                        commits=image.commits,
                        stats=image.stats,
                    )
                )
                self._leave(slot)
        return finished[::-1]

    def _leave(self, slot: int) -> None:
        """Free a slot; what moves into it moves everywhere."""
        self._next = None
        last = self._slots.leave(slot)
        if slot != last:
            self._cache.move_slot(last, slot)
            self.drafter.move(last, slot)
