"""Session: the images in flight, and the loop that moves them on.

Every step is draft -> forward -> verify -> commit over all active slots. Images join and leave at
any step and progress at their own speed: the noise of an image depends on its seed alone, so its
tokens do not depend on the other images in flight. Nor do its errors: an image whose logits are not
finite ends with an error, and the others go on.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from hawk.decoding.budget import Budget
from hawk.decoding.drafter import Drafter, Feedback
from hawk.decoding.noise import Noise, seed_of
from hawk.decoding.noise_buffer import NoiseBuffer
from hawk.decoding.outcome import Outcome, StepResult
from hawk.decoding.request import Finished, Progress, Request
from hawk.decoding.rules import Rule, Verdict
from hawk.decoding.sampler import Law
from hawk.decoding.slots import InFlight, Slots
from hawk.decoding.stats import Clock, Stats
from hawk.decoding.target import Branches, Output, Target
from hawk.decoding.tree import Shapes, Tree
from hawk.decoding.verifier import Commit, verify

FIXED_NODES = 32  # nodes of every pass where all passes have one shape


class Session:
    """A batch of images in flight.

    Args:
        target: Model that verifies.
        drafter: Drafter for this target, with as many slots.
        rule: Rule of acceptance.
        budget: Chooses the number of nodes of trees.
        slots: Largest number of images in flight.
        guided: True where requests may have guidance; without it an image takes one row, not two.
        deterministic: True where every pass has one shape, `slots` images of `FIXED_NODES` nodes,
            whatever is in flight and whatever drafts: rounding is then equal, in half precision
            too. Trees must not branch.
        ahead: True where the next tree is drafted before the host knows the outcome of this one. On
            a GPU the host then prepares a step while the pass runs. Not for drafters that have to
            know first which images left.
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
        most = drafter.most_nodes
        self._slots = Slots(target, slots, most=most)
        self._cache = target.new_cache(
            slots=slots,
            branches=2 if guided else 1,
            nodes=FIXED_NODES if deterministic else most,
            fixed_shape=deterministic,
        )
        self._noise = NoiseBuffer(
            slots,
            target.vocabulary,
            cells=target.grid.cells,
            ahead=(2 if ahead else 1) * most + 1,  # the next tree's too, where it is drafted early
            device=target.device,
        )
        self._root = Shapes.chain(0, target.device)
        self._ahead = ahead
        self._next: tuple[Tree, Tensor] | None = None  # drafted ahead, for the rows as they are
        self._nodes: int | None = None  # nodes of the next tree, once they are chosen
        self._failed: list[Finished] = []  # images that failed in their prompt's pass

    def submit(self, request: Request, branches: Branches | None = None) -> int:
        """Queue an image; returns its ticket. ValueError where the prompt does not fit.

        Args:
            request: Image to make.
            branches: Token ids of its prompt, where they are known already.
        """
        self._tickets += 1
        self._waiting.append((self._tickets, request, branches or self.check(request)))
        return self._tickets

    def check(self, request: Request) -> Branches:
        """Token ids of the prompt. ValueError where it does not fit."""
        if request.guidance != 1 and not self.guided:
            raise ValueError(f"this session runs without guidance, got {request.guidance}")
        return self.target.encode(request.prompt, request.negative_prompt)

    def cancel(self, ticket: int) -> bool:
        """Drop an image, waiting or in flight; its slot is free at once. False if unknown."""
        for entry in self._waiting:
            if entry[0] == ticket:
                self._waiting.remove(entry)
                return True
        slot = self._slots.find(ticket)
        if slot is not None:
            self._leave(slot)
        return slot is not None

    def progress(self, ticket: int) -> Progress | None:
        """Tokens so far of an image in flight; None while it waits, or where it is unknown."""
        slot = self._slots.find(ticket)
        if slot is None:
            return None
        commits = list(self._slots.images[slot].commits)
        return Progress(tokens_T=self._slots.tokens_T(slot), commits=commits)

    @property
    def active(self) -> int:
        """Number of slots in use."""
        return len(self._slots)

    @property
    def roots_B(self) -> Tensor:
        """int64, the last committed token of every active row."""
        return self._slots.roots_B

    @property
    def busy(self) -> bool:
        """True while images are waiting or in flight."""
        return bool(self.active or self._waiting or self._failed)

    def run(self) -> Iterator[Finished]:
        """Images as they finish, until none is left."""
        while self.busy:
            yield from self.step()

    @torch.inference_mode()
    def step(self) -> list[Finished]:
        """Let waiting images in, make one pass over all active ones, return those that ended."""
        self.admit()
        ended, self._failed = self._failed, []
        if not self.active:
            return ended
        clock = Clock()
        tree, valid = self._next or self._draft()
        draft_s = clock.lap()
        output = self.target.forward(tree, self._slots.guidance_B, self._cache)
        forward_s = clock.lap()
        law, verdict, commit = self._verify(tree, output)
        outcome = Outcome(verdict, commit, valid)
        self._slots.append(commit.tokens_BL, commit.counts_B)
        feedback = self._feedback(tree, law, verdict.extra_BN, output, commit)
        verify_s = clock.lap()
        if self._ahead:  # the work of the next step is ready while the device is busy with this one
            self.drafter.observe(feedback)
            self._next = self._draft()
            draft_s += clock.lap()
        result = outcome.read()
        self._keep(commit, result)
        verify_s += clock.lap()
        if not self._ahead:
            if any(result.dirty):
                feedback = feedback.cleaned(verdict.healthy_BN)
            self.drafter.observe(replace(feedback, longest=max(result.counts)))
            draft_s += clock.lap()
        self.stats += Stats(passes=1, draft_s=draft_s, forward_s=forward_s, verify_s=verify_s)
        self._count_step(tree, result.counts, draft_s + forward_s + verify_s)
        return ended + self._finish(result.broken)

    def next_nodes(self) -> int:
        """Nodes that the next tree should have."""
        if not self.active:
            return 1
        if self._nodes is None:
            made = min(image.stats.tokens for image in self._slots.images)
            self._nodes = self.budget.choose(self.active, self.target.grid.cells - made)
        return self._nodes

    def _draft(self) -> tuple[Tree, Tensor]:
        """The drafter's tree, and bool [], True where all its tokens are of the vocabulary. Others
        are clamped until the host learns of them in the step's one transfer."""
        tree = self.drafter.draft(self.roots_B, self.next_nodes())
        self._nodes = None
        tokens_BN = tree.tokens_BN.clamp(0, self.target.vocabulary - 1)
        return replace(tree, tokens_BN=tokens_BN), (tokens_BN == tree.tokens_BN).all()

    def _verify(self, tree: Tree, output: Output) -> tuple[Law, Verdict, Commit]:
        law = self._slots.sampler.law(output.logits_BNV)
        steps_BN = self._slots.counts_B[:, None] + tree.depths_BN
        noise = Noise(
            seeds_B=self._slots.seeds_B,
            steps_BN=steps_BN,
            tokens_BNV=self._noise.at(0, steps_BN),
        )
        verdict = self.rule.judge(tree, law, noise)
        commit = verify(tree, verdict, self.target.grid.cells - self._slots.counts_B)
        return law, verdict, commit

    def _feedback(
        self,
        tree: Tree,
        law: Law,
        picks_BN: Tensor,
        output: Output,
        commit: Commit,
        first: int = 0,
    ) -> Feedback:
        """Feedback of a pass over the rows from `first` on."""
        return Feedback(
            tree=tree,
            law=law,
            picks_BN=picks_BN,
            hidden_BND=output.hidden_BND,
            commit=commit,
            seeds_B=self._slots.seeds_B[first:],
            steps_B=self._slots.counts_B[first:] - 1,
            longest=commit.path_BL.shape[1],
            noise_at=partial(self._noise.at, first),
        )

    def _keep(self, commit: Commit, result: StepResult) -> None:
        """Keep the committed path, and clear keys and values that are not finite: they would spread
        even where they are masked. RuntimeError where drafts are not of the vocabulary."""
        if not result.valid:
            raise RuntimeError(
                f"the drafter {self.drafter.name} proposed tokens outside of 0 .. "
                f"{self.target.vocabulary - 1}: it was made for another vocabulary"
            )
        self._cache.keep(commit.path_BL, commit.counts_B, result.counts, move=result.move)
        self._noise.advance(result.counts)
        for slot, dirty in enumerate(result.dirty):
            if dirty:
                self._cache.clear(slot, whole=result.broken[slot])

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
        seeds = [self._seed(request) for _, request, _ in entering]
        self._slots.enter(images, seeds, guidance_B)
        scales_B = self._slots.sampler_of(slots).noise_scale_B11.flatten()
        self._noise.enter(slots, seeds, scales_B)
        self.stats += Stats(images=len(images))
        self._count(images, [1] * len(images), drafted=0)
        self._first_tokens(slots, output)

    def _seed(self, request: Request) -> int:
        """Seed of an image's noise. Tree sizes are learned from all images in flight: where they
        must not depend on an image's noise, no other image may share it."""
        if self.rule.by_chance:
            return seed_of(request.seed, request.prompt)
        return request.seed

    def _first_tokens(self, slots: range, output: Output) -> None:
        """Commit first tokens: a prompt's pass is a tree of a root alone, before the first step."""
        law = self._slots.sampler_of(slots).law(output.logits_BNV)
        zeros_B = torch.zeros_like(self._slots.seeds_B[slots.start :])
        picks_B1, best_B1 = law.picks(self._noise.at(slots.start, zeros_B[:, None]))
        self._slots.append(picks_B1, zeros_B + 1, slots.start)
        self._noise.advance([1] * len(slots), slots.start)
        tree = Tree(shapes=self._root, shape_B=zeros_B, tokens_BN=picks_B1)
        commit = Commit(
            end_B=zeros_B, counts_B=zeros_B + 1, tokens_BL=picks_B1, path_BL=zeros_B[:, None]
        )
        self.drafter.join(slots, self._feedback(tree, law, picks_B1, output, commit, slots.start))
        healthy = best_B1.isfinite().flatten().tolist()
        broken = [False] * slots.start + [not fine for fine in healthy]
        for slot in slots:
            if broken[slot]:
                self._cache.clear(slot, whole=True)
        self._failed += self._finish(broken)

    def _count_step(self, tree: Tree, counts: Sequence[int], seconds: float) -> None:
        rows, nodes = tree.tokens_BN.shape
        self._count(self._slots.images, counts, drafted=nodes - 1)
        if self._cache.graphs is None or self._cache.graphs.replayed:
            # The whole time of the step: on a GPU its parts overlap.
            self.budget.observe(rows, nodes, sum(counts), seconds)

    def _count(self, images: Sequence[InFlight], counts: Sequence[int], drafted: int) -> None:
        for image, count in zip(images, counts, strict=True):
            stats = Stats(forwards=1, tokens=count, drafted=drafted, accepted=count - 1)
            image.stats += stats
            image.commits.append(count)
            self.stats += stats

    def _finish(self, broken: Sequence[bool]) -> list[Finished]:
        """Release images that are complete, and those whose last logits were not finite."""
        finished: list[Finished] = []
        for slot in reversed(range(self.active)):
            image, tokens_T = self._slots.images[slot], self._slots.tokens_T(slot)
            if broken[slot]:
                finished.append(image.failed(self.target.name, tokens_T))
            elif len(tokens_T) == self.target.grid.cells:
                finished.append(image.finished(tokens_T))
            else:
                continue
            self._leave(slot)
        return finished[::-1]

    def _leave(self, slot: int) -> None:
        """Free a slot; the image that moves into it moves in every part."""
        self._next = None
        last = self._slots.leave(slot)
        if slot != last:
            self._cache.move_slot(last, slot)
            self._noise.move(last, slot)
            self.drafter.move(last, slot)
