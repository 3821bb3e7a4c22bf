"""DraftActor: the drafters of many lanes, each with its own state, in a process without a target.

A plain class: `drafter_process.py` makes it a Ray actor.
"""

import os
import time
from dataclasses import dataclass

import torch

from hawk.cluster.draft_messages import (
    Block,
    DraftCall,
    Move,
    Opening,
    PackedFeedback,
    pack_block,
    unpack_feedback,
)
from hawk.decoding.drafter import Drafter, DrafterConfig, Feedback
from hawk.decoding.tree import Shapes, Tree
from hawk.devices import resolve_device
from hawk.drafters import DRAFTERS


@dataclass(kw_only=True)
class _Lane:
    opening: Opening
    drafter: Drafter
    sequence: int = 0
    tree: Tree | None = None


class DraftActor:
    """Drafters for any number of lanes of any number of targets.

    Args:
        device: Device of the drafters, as settings name it.
        threads: Number of torch's threads.
    """

    def __init__(self, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = resolve_device(device)
        self._lanes: dict[str, _Lane] = {}
        self._root = Shapes.chain(0, self._device)

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
    def answer(self, call: DraftCall) -> Block | None:
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

    def pid(self) -> int:
        return os.getpid()

    def _learn(self, lane: _Lane, lesson: PackedFeedback) -> None:
        if lesson.slots is None:
            assert lane.tree is not None, "a lesson about a tree follows that tree"
            lane.drafter.observe(self._feedback(lane, lesson, lane.tree))
        else:
            rows = len(lesson.numbers)
            zeros = torch.zeros(rows, dtype=torch.int64, device=self._device)
            tree = Tree(shapes=self._root, shape_B=zeros, tokens_BN=zeros[:, None])
            lane.drafter.join(range(*lesson.slots), self._feedback(lane, lesson, tree))

    def _feedback(self, lane: _Lane, lesson: PackedFeedback, tree: Tree) -> Feedback:
        return unpack_feedback(lesson, lane.drafter.feedback_fields, tree, lane.opening.identity)
