"""ReplayDrafter: what an image has already, offered again as drafts.

Committed tokens outlive the process that held their keys and values. In a new one they are drafted
as chains, so that a few passes bring an image back to where it was; as they are verified like any
draft, they could not change it even if they were wrong.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hawk.cluster.remote_drafter import RemoteDrafter
from hawk.decoding.drafter import Feedback
from hawk.decoding.tree import Shapes, Tree
from hawk.decoding.verifier import Commit
from hawk.drafters.jacobi import MOST_NODES
from hawk.drafters.proposals import at_nodes


class ReplayDrafter:
    """A drafter around another, which takes over when nothing is left to replay. See `Drafter`.

    Args:
        drafter: Drafter that takes over.
        slots: Greatest number of images in flight.
        device: Device of the target.
    """

    def __init__(self, drafter: RemoteDrafter, slots: int, device: torch.device) -> None:
        self.drafter = drafter
        self.name, self.feedback_fields = drafter.name, drafter.feedback_fields
        self.most_nodes = max(drafter.most_nodes, MOST_NODES)
        self._device = device
        self._coming: deque[list[int]] = deque()
        self._left: list[list[int]] = [[] for _ in range(slots)]  # known and not committed yet
        self._chains: dict[int, Shapes] = {}
        self._root = Shapes.chain(0, device)

    def remember(self, tokens: Sequence[int]) -> None:
        """The next image to join has had these tokens, from the first on; none is fine."""
        self._coming.append(list(tokens[1:]))  # the pass of the prompt gives the first

    @property
    def replaying(self) -> bool:
        return any(self._left)

    def request(self, roots_B: Tensor, nodes: int) -> None:
        """As `RemoteDrafter.request`."""
        for slot in range(len(roots_B), len(self._left)):
            self._left[slot] = []  # of images that left
        if not self.replaying:
            self.drafter.request(roots_B, nodes)

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        if not self.replaying:
            return self.drafter.draft(roots_B, nodes)
        left = self._left[: len(roots_B)]
        drafts = min(max(map(len, left)), self.most_nodes - 1)
        if drafts not in self._chains:
            self._chains[drafts] = Shapes.chain(drafts, self._device)
        # Rows with less to replay are filled up with some token: a draft may be anything.
        filled = [(tokens + [0] * drafts)[:drafts] for tokens in left]
        return Tree(
            shapes=self._chains[drafts],
            shape_B=torch.zeros_like(roots_B),
            tokens_BN=torch.cat(
                [roots_B[:, None], torch.tensor(filled, dtype=torch.int64, device=self._device)], 1
            ),
        )

    def join(self, slots: range, feedback: Feedback) -> None:
        for slot in slots:
            self._left[slot] = self._coming.popleft()
        self.drafter.join(slots, feedback)

    def move(self, source: int, target: int) -> None:
        self._left[target], self._left[source] = self._left[source], []
        self.drafter.move(source, target)

    def observe(self, feedback: Feedback) -> None:
        if not self.replaying:
            self.drafter.observe(feedback)
            return
        counts = feedback.commit.counts_B.tolist()
        for slot, count in enumerate(counts):
            del self._left[slot][:count]
        self.drafter.join(range(len(counts)), last_pass(feedback, self._root))


def last_pass(feedback: Feedback, root: Shapes) -> Feedback:
    """What a pass over the last committed node alone would have taught."""
    commit = feedback.commit
    end_B1 = commit.end_B[:, None]
    zeros_B = torch.zeros_like(commit.end_B)
    tokens_B1 = commit.tokens_BL.gather(1, commit.counts_B[:, None] - 1)
    return replace(
        feedback,
        tree=Tree(
            shapes=root, shape_B=zeros_B, tokens_BN=feedback.tree.tokens_BN.gather(1, end_B1)
        ),
        law=feedback.law.at(end_B1),
        picks_BN=feedback.picks_BN.gather(1, end_B1),
        hidden_BND=at_nodes(feedback.hidden_BND, end_B1),
        commit=Commit(
            end_B=zeros_B, counts_B=zeros_B + 1, tokens_BL=tokens_B1, path_BL=zeros_B[:, None]
        ),
    )
