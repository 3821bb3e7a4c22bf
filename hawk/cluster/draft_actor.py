"""DraftActor: the process of a drafter. A thin shell around `DraftServer`; it loads no target."""

import os

import torch

from hawk.cluster.draft_server import DraftServer
from hawk.cluster.messages import Block, Call, Opening
from hawk.devices import resolve_device


class DraftActor:
    """Serves any number of lanes of any number of targets.

    Args:
        device: of the drafters.
        threads: of torch.
    """

    def __init__(self, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._server = DraftServer(resolve_device(device))

    def open(self, opening: Opening) -> None:
        self._server.open(opening)

    def answer(self, call: Call) -> Block | None:
        return self._server.answer(call)

    def pid(self) -> int:
        return os.getpid()
