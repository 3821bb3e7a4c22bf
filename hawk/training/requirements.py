"""Disk and memory that training a drafter takes, checked before anything is recorded."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from hawk.decoding.target import Target
from hawk.drafters.baselines.heads import HORIZONTAL, VERTICAL, Heads
from hawk.drafters.local_context import ContextNetwork
from hawk.drafters.proposals import STEPS
from hawk.training.corpus import Shard, image_bytes
from hawk.training.objectives import BATCH, CHANNELS, EMBEDDING

GIB = 2**30
STATE_BYTES = 16  # bytes of a weight, its gradient and the two moments of Adam, in float32
# Largest number of float32 numbers that a batch holds for each of its cells and each token.
NETWORK_SCORES, HEAD_SCORES = 25, 12


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """Bytes that training takes.

    Attributes:
        folder: Folder of the recorded images.
        disk: Bytes on disk of the images that are not recorded yet.
        free: Free bytes of that disk.
        memory: Bytes on the device, besides the target.
    """

    folder: Path
    disk: int
    free: int
    memory: int

    @classmethod
    def of(cls, kind: str, target: Target, todo: Sequence[Shard], folder: Path) -> "Requirements":
        """Requirements of training a kind of drafter, with shards that are still to be made."""
        size = partial(image_bytes, target.identity)
        disk = sum(len(shard.requests) * size(shard.passes) for shard in todo)
        place = folder
        while not place.exists():
            place = place.parent
        weights = sum(weight.numel() for weight in _network(kind, target).parameters())
        if kind == "spatial":
            cells, scores = HORIZONTAL + VERTICAL, HEAD_SCORES
        else:
            cells, scores = STEPS, NETWORK_SCORES
        batch = BATCH * cells * target.vocabulary * scores * 4
        return cls(
            folder=folder,
            disk=disk,
            free=shutil.disk_usage(place).free,
            memory=STATE_BYTES * weights + batch,
        )

    def __str__(self) -> str:
        return (
            f"recording takes up to {self.disk / GIB:.1f} GiB in {self.folder}, where "
            f"{self.free / GIB:.1f} GiB are free; training takes about "
            f"{self.memory / GIB:.1f} GiB of memory beside the model"
        )

    def check(self) -> None:
        """ValueError where the disk has no room."""
        if self.disk > self.free:
            raise ValueError(f"{self}: record fewer images, or give another --run")


def _network(kind: str, target: Target) -> nn.Module:
    head = target.head_VX.shape[1]
    with torch.device("meta"):
        if kind == "spatial":
            return Heads(target.identity, head=head)
        stale = kind == "hawk"
        return ContextNetwork(
            target.identity, stale=stale, channels=CHANNELS, embedding=EMBEDDING, head=head
        )
