"""RemoteDrafter: a drafter that works in another process, while the target does something else.

No draft can change an image, so every fault has one answer: this round goes without. A drafter
that was lost, came late or sent what is no tree is opened anew; until it is there, rounds are plain
decoding. One that comes back knows nothing of the rows before, and is as good as ever once the next
row or two of the grid are made.
"""

import time
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.cluster.draft_messages import (
    Block,
    DraftCall,
    Move,
    Opening,
    PackedFeedback,
    pack_feedback,
    unpack_block,
)
from hawk.cluster.timeline import Round
from hawk.cluster.transport import DrafterLost, Pending, Transport
from hawk.decoding.drafter import Feedback
from hawk.decoding.grid import Identity
from hawk.decoding.tree import Shapes, Tree
from hawk.drafters import DRAFTERS

RETRY_S = 0.5  # after a fault; doubled by every further one in a row
MOST_RETRY_S = 30.0
LATEST_S = 1e-4  # how long a look at an answer that nobody waits for may take


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Time limits after which a drafter counts as hung.

    Attributes:
        open_s: Seconds for the drafter to load.
        block_s: Seconds for a block.
    """

    open_s: float = 300.0
    block_s: float = 10.0


class RemoteDrafter:
    """See `Drafter`. Whoever drives the session calls `request` after each step, when it is known
    which rows there are; without it there are no drafts.

    Args:
        transport: Connection to the drafter's process.
        lane: Prefix that makes the lane unique there, and its number.
        kind: Name of the drafter.
        identity: Identity of the target.
        slots, by_chance: Those of any drafter.
        device: Device of the target.

    Attributes:
        faults: Number of rounds without drafts by reason: `lost`, `late`, `refused`, `absent`.
        round: Timing of the round under way.
        errors: Message of the last fault of each kind.
    """

    def __init__(  # noqa: PLR0913  # what a drafter takes, and the way to it
        self,
        transport: Transport,
        lane: tuple[str, int],
        kind: str,
        identity: Identity,
        *,
        slots: int,
        by_chance: bool,
        device: torch.device,
        timeouts: Timeouts,
    ) -> None:
        drafter = DRAFTERS[kind]
        self.name, self.most_nodes, self.feedback_fields = (
            kind,
            drafter.most_nodes,
            drafter.feedback_fields,
        )
        self.faults: Counter[str] = Counter()
        self.errors: dict[str, str] = {}
        self.round = Round(lane=lane[1])
        self._transport, self._timeouts = transport, timeouts
        self._lane, self._identity = f"{lane[0]}/{lane[1]}", identity
        self._slots, self._by_chance = slots, by_chance
        self._root = Shapes.chain(0, device)
        self._opening: Pending | None = None
        self._open = False
        self._since_s = self._retry_s = 0.0
        self._failures = self._epoch = self._sequence = 0
        self._events: list[PackedFeedback | Move] = []
        self._pending: Pending | None = None
        self._void = False  # the rows are no longer those that were asked for
        self._drafted = False  # the tree that is being verified is the drafter's

    def await_open(self) -> None:
        """Wait until it has loaded, or is lost. ValueError where it cannot draft for this target,
        TimeoutError where it does not answer."""
        try:
            self._begin().wait(self._timeouts.open_s)
        except DrafterLost as error:
            if isinstance(error.__cause__, ValueError):
                raise error.__cause__ from None
            self._fail("lost", error)
        else:
            self._open = True

    def request(self, roots_B: Tensor, nodes: int) -> None:
        """Ask for the tree of the next round behind these roots; returns at once."""
        self.round = Round(lane=self.round.lane)
        # One that has just come back has to see a pass before it can guess.
        if not self._is_open() or not self._events or not len(roots_B):
            return
        self.round.asked_s = time.perf_counter()
        self._sequence += 1
        call = DraftCall(
            lane=self._lane,
            epoch=self._epoch,
            sequence=self._sequence,
            events=self._events,
            roots=roots_B.cpu().numpy(),
            nodes=nodes,
        )
        self._events, self._void = [], False
        self._pending = self._transport.send(call)
        self.round.sent_s = time.perf_counter()

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        tree = self._receive(roots_B)
        self._drafted = tree is not None
        if tree is None:
            zeros_B = torch.zeros_like(roots_B)
            tree = Tree(shapes=self._root, shape_B=zeros_B, tokens_BN=roots_B[:, None])
        return tree

    def join(self, slots: range, feedback: Feedback) -> None:
        self._learn(feedback, slots)

    def move(self, source: int, target: int) -> None:
        self._void = True
        if self._open:
            self._events.append(Move(source=source, target=target))

    def observe(self, feedback: Feedback) -> None:
        """A round without drafts is, to the drafter, what the pass of a prompt is."""
        self._learn(feedback, None if self._drafted else range(len(feedback.steps_B)))

    def _learn(self, feedback: Feedback, slots: range | None) -> None:
        self._void = True
        if self._open:
            self._events.append(pack_feedback(feedback, self.feedback_fields, slots))

    def _receive(self, roots_B: Tensor) -> Tree | None:
        """The tree that was asked for; None where there is none, for whatever reason."""
        at = self.round
        at.needed_s = at.came_s = at.unpacked_s = time.perf_counter()
        pending, self._pending = self._pending, None
        if pending is None:
            self.faults["absent"] += 1
            return None
        try:
            block = pending.wait(self._timeouts.block_s)
            at.came_s = time.perf_counter()
            tree = self._read(block, roots_B)
        except TimeoutError as error:
            self._transport.restart()
            self._fail("late", error)
        except DrafterLost as error:
            self._fail("lost", error)
        except ValueError as error:
            self._fail("refused", error)
        else:
            at.arrived_s, at.left_s = block.arrived_s, block.left_s
            at.unpacked_s = time.perf_counter()
            self._failures = 0
            return tree
        at.came_s = at.unpacked_s = time.perf_counter()
        return None

    def _read(self, block: Block | None, roots_B: Tensor) -> Tree | None:
        """ValueError where the block is not the answer, or is no tree."""
        if not isinstance(block, Block):
            raise ValueError("no block: the drafter does not know this lane")
        if (block.epoch, block.sequence) != (self._epoch, self._sequence):
            raise ValueError(
                f"block {block.sequence} of epoch {block.epoch}, expected {self._sequence} of "
                f"{self._epoch}"
            )
        if self._void:
            return None
        tree = unpack_block(
            block, roots_B, vocabulary=self._identity.vocabulary, most_nodes=self.most_nodes
        )
        if self._by_chance and tree.drawn is None and tree.shapes.nodes > 1:
            raise ValueError("drafts without the laws that they were drawn from")
        return tree

    def _fail(self, reason: str, error: Exception) -> None:
        self.faults[reason] += 1
        self.errors[reason] = str(error)
        self._open, self._opening = False, None
        self._events = []
        self._retry_s = time.monotonic() + min(RETRY_S * 2**self._failures, MOST_RETRY_S)
        self._failures += 1

    def _begin(self) -> Pending:
        self._epoch, self._sequence = time.time_ns(), 0
        self._since_s = time.monotonic()
        self._opening = self._transport.open(
            Opening(
                lane=self._lane,
                epoch=self._epoch,
                drafter=self.name,
                identity=self._identity,
                slots=self._slots,
                by_chance=self._by_chance,
            )
        )
        return self._opening

    def _is_open(self) -> bool:
        """Whether the drafter is there; opens it anew where it is time to."""
        if self._open:
            return True
        if self._opening is None:
            if time.monotonic() >= self._retry_s:
                self._begin()
            return False
        try:
            self._opening.wait(LATEST_S)
        except TimeoutError as error:
            if time.monotonic() - self._since_s > self._timeouts.open_s:
                self._transport.restart()
                self._fail("late", error)
        except DrafterLost as error:
            self._fail("lost", error)
        else:
            self._open = True
        return self._open
