"""DraftServer: the drafters of many lanes, each with its own state. A plain class, without Ray."""

import time
from dataclasses import dataclass

import torch

from hawk.cluster.messages import Block, Call, Lesson, Move, Opening, pack_block, unpack_lesson
from hawk.decoding.drafter import Drafter, DrafterConfig, Feedback
from hawk.decoding.tree import Shapes, Tree
from hawk.drafters import DRAFTERS


@dataclass(kw_only=True)
class _Lane:
    opening: Opening
    drafter: Drafter
    sequence: int = 0
    tree: Tree | None = None


class DraftServer:
    """Answers calls.

    Args:
        device: of the drafters.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lanes: dict[str, _Lane] = {}
        self._root = Shapes.chain(0, device)

    def open(self, opening: Opening) -> None:
        """Load a drafter for a lane. ValueError as drafters raise it."""
        config = DrafterConfig(
            identity=opening.identity,
            slots=opening.slots,
            by_chance=opening.by_chance,
            branching=True,
            device=self._device,
        )
        drafter = DRAFTERS[opening.drafter](config)
        self._lanes[opening.lane] = _Lane(opening=opening, drafter=drafter)

    @torch.inference_mode()
    def answer(self, call: Call) -> Block | None:
        """Learn and draft; None for a call that is not the lane's next one, which is dropped."""
        arrived_s = time.perf_counter()
        lane = self._lanes.get(call.lane)
        if lane is None or (call.epoch, call.sequence) != (
            lane.opening.epoch,
            lane.sequence + 1,
        ):
            return None
        lane.sequence = call.sequence
        for event in call.events:
            if isinstance(event, Move):
                lane.drafter.move(event.source, event.target)
            else:
                self._learn(lane, event)
        roots_B = torch.from_numpy(call.roots.copy()).to(self._device)
        lane.tree = lane.drafter.draft(roots_B, call.nodes)
        return pack_block(lane.tree, call, arrived_s, time.perf_counter())

    def _learn(self, lane: _Lane, lesson: Lesson) -> None:
        if lesson.slots is None:
            assert lane.tree is not None, "a lesson about a tree follows that tree"
            lane.drafter.observe(self._feedback(lane, lesson, lane.tree))
        else:
            rows = len(lesson.numbers)
            zeros = torch.zeros(rows, dtype=torch.int64, device=self._device)
            tree = Tree(shapes=self._root, shape_B=zeros, tokens_BN=zeros[:, None])
            lane.drafter.join(range(*lesson.slots), self._feedback(lane, lesson, tree))

    def _feedback(self, lane: _Lane, lesson: Lesson, tree: Tree) -> Feedback:
        return unpack_lesson(lesson, lane.drafter.feedback_fields, tree, lane.opening.identity)
