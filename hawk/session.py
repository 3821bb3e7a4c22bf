"""Session: the images in flight, and the loop that moves them on.

Every step is draft -> forward -> verify -> commit over all active slots. Images join and leave at
any step and progress at their own speed: the noise of an image depends on its seed alone, so its
tokens do not depend on who is in flight beside it.

Letters: B active rows, S slots, N tree nodes, D tree levels, T cells of the grid.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hawk.budget import Budget
from hawk.drafters.base import Drafter, Feedback
from hawk.noise import seed_of
from hawk.request import Finished, Progress, Request
from hawk.rules import Rule
from hawk.sampler import Law, Sampler
from hawk.stats import Clock, Stats
from hawk.targets.base import Branches, Output, Target
from hawk.tree import Shapes, Tree
from hawk.verifier import Commit, verify

FIXED_NODES = 8  # in half precision a pass over so many costs about what one over one costs


@dataclass(kw_only=True)
class _Image:
    """An image in flight; its tensors are rows of the session's."""

    ticket: int
    request: Request
    commits: list[int]
    stats: Stats


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
    ) -> None:
        self.target, self.drafter, self.rule, self.budget = target, drafter, rule, budget
        self.slots, self.guided = slots, guided
        self.stats = Stats()
        self._tickets = 0
        self._waiting: deque[tuple[int, Request, Branches]] = deque()
        self._active: list[_Image] = []
        self._sampler: Sampler | None = None  # of the active rows; None when those changed
        self._cache = target.new_cache(
            slots=slots,
            branches=2 if guided else 1,
            nodes=FIXED_NODES if deterministic else drafter.most_nodes,
            fixed_shape=deterministic,
        )
        device = target.device
        room = target.grid.cells + drafter.most_nodes  # entries past a count are scratch
        self._tokens_ST = torch.zeros(slots, room, dtype=torch.int64, device=device)
        self._counts_S = torch.zeros(slots, dtype=torch.int64, device=device)
        self._seeds_S = torch.zeros(slots, dtype=torch.int64, device=device)
        self._guidance_S = torch.ones(slots, device=device)
        self._levels_D = torch.arange(drafter.most_nodes, device=device)
        self._root = Shapes.chain(0, device)

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
        for slot, image in enumerate(self._active):
            if image.ticket == ticket:
                self._leave(slot)
                return True
        return False

    def progress(self, ticket: int) -> Progress | None:
        """How far an image in flight has come; None while it waits, and where it is unknown."""
        for slot, image in enumerate(self._active):
            if image.ticket == ticket:
                tokens_T = self._tokens_ST[slot, : image.stats.tokens].clone()
                return Progress(tokens_T=tokens_T, commits=list(image.commits))
        return None

    @property
    def active(self) -> int:
        """Slots in use."""
        return len(self._active)

    @property
    def roots_B(self) -> Tensor:
        """int64, the last committed token of every active row."""
        rows = len(self._active)
        return self._tokens_ST[:rows].gather(1, self._counts_S[:rows, None] - 1).squeeze(1)

    @property
    def busy(self) -> bool:
        """Whether images are waiting or in flight."""
        return bool(self._active or self._waiting)

    def run(self) -> Iterator[Finished]:
        """Step until nothing is left, yielding images as they finish."""
        while self.busy:
            yield from self.step()

    @torch.inference_mode()
    def step(self) -> list[Finished]:
        """Let waiting images in, make one pass over all active ones, return those that finished."""
        self.admit()
        if not self._active:
            return []
        clock = Clock()
        tree, valid = self._draft()
        draft_s = clock.lap()
        output = self.target.forward(tree, self._guidance_S[: len(self._active)], self._cache)
        forward_s = clock.lap()
        law, commit, healthy = self._verify(tree, output)
        counts = self._commit(commit, healthy, valid)
        verify_s = clock.lap()
        self.drafter.observe(self._feedback(tree, law, output, commit))
        draft_s += clock.lap()
        self.budget.add_overhead(draft_s + verify_s)
        self.stats += Stats(passes=1, draft_s=draft_s, forward_s=forward_s, verify_s=verify_s)
        self._count(counts, drafted=tree.tokens_BN.shape[1] - 1)
        return self._finish()

    def _draft(self) -> tuple[Tree, Tensor]:
        """The drafter's tree, and whether its tokens are tokens; those that are not are clamped
        until the step's one transfer to the host tells."""
        tree = self.drafter.draft(self.roots_B, self.budget)
        tokens_BN = tree.tokens_BN.clamp(0, self.target.vocabulary - 1)
        return replace(tree, tokens_BN=tokens_BN), (tokens_BN == tree.tokens_BN).all()

    def _verify(self, tree: Tree, output: Output) -> tuple[Law, Commit, Tensor]:
        rows = len(self._active)
        if self._sampler is None:
            configs = [image.request.sampler for image in self._active]
            self._sampler = Sampler(configs, self.target.vocabulary, self.target.device)
        law = self._sampler.law(output.logits_BNV)
        counts_B = self._counts_S[:rows]
        steps_BN = counts_B[:, None] + tree.depths_BN
        verdict = self.rule.judge(tree, law, self._seeds_S[:rows], steps_BN)
        commit = verify(tree, verdict, self.target.grid.cells - counts_B)
        return law, commit, verdict.healthy

    def _commit(self, commit: Commit, healthy: Tensor, valid: Tensor) -> list[int]:
        """Store the new tokens, keep their keys and values; returns the tokens of each row.

        ArithmeticError where the target's logits are not numbers, RuntimeError where the drafter's
        tokens are not of the vocabulary.
        """
        rows, levels = commit.path_BD.shape
        level_D = self._levels_D[:levels]
        out_of_place = (commit.path_BD != level_D) & (level_D < commit.counts_B[:, None])
        # The one transfer to the host in a step.
        flags = torch.stack([out_of_place.any(), healthy, valid])
        *counts, move, is_healthy, is_valid = torch.cat([commit.counts_B, flags]).tolist()
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
        places = self._counts_S[:rows, None] + level_D
        self._tokens_ST[:rows].scatter_(1, places, commit.tokens_BD)
        self._counts_S[:rows] += commit.counts_B
        self._cache.keep(commit.path_BD, counts, move=bool(move))
        return counts

    def _feedback(self, tree: Tree, law: Law, output: Output, commit: Commit) -> Feedback:
        rows = len(commit.counts_B)
        return Feedback(
            tree=tree,
            law=law,
            hidden_BND=output.hidden_BND,
            commit=commit,
            seeds_B=self._seeds_S[:rows],
            steps_B=self._counts_S[:rows] - 1,
        )

    @torch.inference_mode()
    def admit(self) -> None:
        """Prefill as many waiting images as there are free slots, and commit their first token."""
        free = self.slots - len(self._active)
        entering = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
        if not entering:
            return
        first = len(self._active)
        slots = range(first, first + len(entering))
        requests = [request for _, request, _ in entering]
        self._seeds_S[slots.start : slots.stop] = torch.tensor([self._seed(r) for r in requests])
        self._guidance_S[slots.start : slots.stop] = torch.tensor([r.guidance for r in requests])
        clock = Clock()
        output = self.target.prefill(
            [ids for _, _, ids in entering],
            slots,
            self._guidance_S[slots.start : slots.stop],
            self._cache,
        )
        self.stats += Stats(passes=1, forward_s=clock.lap())
        for ticket, request, _ in entering:
            stats = Stats(images=1, forwards=1, tokens=1)
            self._active.append(_Image(ticket=ticket, request=request, commits=[1], stats=stats))
            self.stats += stats
        self._sampler = None
        self._first_tokens(slots, output)

    def _seed(self, request: Request) -> int:
        """Seed of an image's noise. Shapes are learned from all images in flight: where they may
        not know an image's noise, no other image may have the same."""
        if self.rule.by_chance:
            return seed_of(request.seed, request.prompt)
        return request.seed

    def _first_tokens(self, slots: range, output: Output) -> None:
        """The prompt's own pass is a tree that is only a root, one step before the image."""
        sampler = Sampler(
            [self._active[slot].request.sampler for slot in slots],
            self.target.vocabulary,
            self.target.device,
        )
        law = sampler.law(output.logits_BNV)
        where = slice(slots.start, slots.stop)
        zeros = torch.zeros(len(slots), dtype=torch.int64, device=self.target.device)
        picks_B1, _ = law.picks(self._seeds_S[where], zeros[:, None])
        self._tokens_ST[where, :1] = picks_B1
        self._counts_S[where] = 1
        self.drafter.join(
            slots,
            Feedback(
                tree=Tree(shapes=self._root, shape_B=zeros, tokens_BN=picks_B1),
                law=law,
                hidden_BND=output.hidden_BND,
                commit=Commit(
                    end_B=zeros, counts_B=zeros + 1, tokens_BD=picks_B1, path_BD=zeros[:, None]
                ),
                seeds_B=self._seeds_S[where],
                steps_B=zeros,
            ),
        )

    def _count(self, counts: list[int], drafted: int) -> None:
        for image, count in zip(self._active, counts, strict=True):
            stats = Stats(forwards=1, tokens=count, drafted=drafted, accepted=count - 1)
            image.stats += stats
            image.commits.append(count)
            self.stats += stats

    def _finish(self) -> list[Finished]:
        finished: list[Finished] = []
        cells = self.target.grid.cells
        for slot in reversed(range(len(self._active))):
            image = self._active[slot]
            if image.stats.tokens == cells:
                finished.append(
                    Finished(
                        ticket=image.ticket,
                        request=image.request,
                        tokens_T=self._tokens_ST[slot, :cells].clone(),
                        commits=image.commits,
                        stats=image.stats,
                    )
                )
                self._leave(slot)
        return finished[::-1]

    def _leave(self, slot: int) -> None:
        """Free a slot; the last active image moves into it, so that active slots stay together."""
        last = len(self._active) - 1
        if slot != last:
            self._active[slot] = self._active[last]
            for rows in (self._tokens_ST, self._counts_S, self._seeds_S, self._guidance_S):
                rows[slot] = rows[last]
            self._cache.move_slot(last, slot)
            self.drafter.move(last, slot)
        self._active.pop()
        self._sampler = None
