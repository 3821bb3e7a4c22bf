"""Messages between a target and its drafter: what a pass taught goes one way, a tree comes back.

Both are a few numpy arrays. Hidden states and laws travel in half precision: they only guide
guesses, and no guess can change an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hawk.decoding.drafter import Feedback, FeedbackFields
from hawk.decoding.grid import Identity
from hawk.decoding.noise import Noise
from hawk.decoding.sampler import Law, Sampler, SamplerConfig
from hawk.decoding.tree import Drawn, Shapes, Tree
from hawk.decoding.verifier import Commit
from hawk.drafters.proposals import at_nodes

COLUMNS = 4  # of PackedFeedback.numbers besides tokens and path
SHAPES_KEPT = 512
SAMPLERS_KEPT = 64


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A lane begins, or begins anew: whatever the drafter knew of it is void.

    Attributes:
        lane: Name of the lane, unique among all that share the drafter.
        epoch: Number of this beginning; later messages of the lane bear it.
        drafter: Name of the drafter's kind.
        identity: Identity of the target.
        slots: Greatest number of images in flight.
        by_chance: True where the rule draws by chance.
    """

    lane: str
    epoch: int
    drafter: str
    identity: Identity
    slots: int
    by_chance: bool


@dataclass(frozen=True, kw_only=True)
class PackedFeedback:
    """A Feedback on its way.

    Attributes:
        slots: Range of its rows where they had a root only, as a prompt's pass has; None
            where all active rows had the tree that the drafter proposed last.
        numbers: int64 [B, 2 D + COLUMNS]: committed tokens, path, then counts, end, steps, seeds.
        samplers: Sampler settings of each row.
        hidden: float16 [B, P, H] of the committed nodes, or [B, N, H] of all; None if not needed.
        picks: int32 [B, N], the target's token after each node; None if laws are not needed.
        laws: float16 [B, N, V] before top-k and top-p; None if not needed.
    """

    slots: tuple[int, int] | None
    numbers: NDArray[np.int64]
    samplers: tuple[SamplerConfig, ...]
    hidden: NDArray[np.float16] | None
    picks: NDArray[np.int32] | None
    laws: NDArray[np.float16] | None


@dataclass(frozen=True, kw_only=True)
class Move:
    """The image of slot `source` goes on in slot `target`."""

    source: int
    target: int


@dataclass(frozen=True, kw_only=True)
class DraftCall:
    """Request to learn, then to draft.

    Attributes:
        lane, epoch: Those of the `Opening`.
        sequence: Number of the call in its epoch, from 1.
        events: Feedback and moves since the last call, in order.
        roots: int64 [B], last committed tokens of the rows to draft for.
        nodes: Number of nodes that the tree is to have.
    """

    lane: str
    epoch: int
    sequence: int
    events: Sequence[PackedFeedback | Move]
    roots: NDArray[np.int64]
    nodes: int


@dataclass(frozen=True, kw_only=True)
class Block:
    """The tree of a call.

    Attributes:
        epoch, sequence: Those of the call.
        parents: int16 [T, N], the shapes that occur.
        shape: int16 [B].
        tokens: int32 [B, N].
        scores, which: float32 [B, L, V] and int16 [B, N], see `Drawn`; None where no rule asks.
        arrived_s, left_s: Times of arrival and departure, by `time.perf_counter` of the drafter.
    """

    epoch: int
    sequence: int
    parents: NDArray[np.int16]
    shape: NDArray[np.int16]
    tokens: NDArray[np.int32]
    scores: NDArray[np.float32] | None
    which: NDArray[np.int16] | None
    arrived_s: float
    left_s: float


def pack_feedback(
    feedback: Feedback, fields: FeedbackFields, slots: range | None
) -> PackedFeedback:
    """Packed form of a Feedback: what its drafter needs; `slots` as in `PackedFeedback`."""
    commit, law = feedback.commit, feedback.law
    columns = [commit.counts_B, commit.end_B, feedback.steps_B, feedback.seeds_B]
    numbers = torch.cat([commit.tokens_BL, commit.path_BL, torch.stack(columns, 1)], 1)
    numbers = numbers.cpu().numpy()
    hidden = None
    if fields.hidden == "all":
        hidden = half(feedback.hidden_BND)
    elif fields.hidden == "committed":
        longest = int(numbers[:, -COLUMNS].max())
        hidden = half(at_nodes(feedback.hidden_BND, commit.path_BL[:, :longest]))
    return PackedFeedback(
        slots=None if slots is None else (slots.start, slots.stop),
        numbers=numbers,
        samplers=law.sampler.configs,
        hidden=hidden,
        picks=feedback.picks_BN.int().cpu().numpy() if fields.laws else None,
        laws=half(law.unfiltered_BNV) if fields.laws else None,
    )


def unpack_feedback(
    packed: PackedFeedback, fields: FeedbackFields, tree: Tree, identity: Identity
) -> Feedback:
    """Feedback from its packed form, on the tree's device; what was not packed is zeros.

    Args:
        fields: Fields that it was packed with.
        tree: Tree that was verified.
        identity: Identity of the target.
    """
    device = tree.shape_B.device
    rows, nodes = tree.tokens_BN.shape
    numbers = torch.from_numpy(packed.numbers).to(device)
    counts_B, end_B, steps_B, seeds_B = numbers[:, -COLUMNS:].unbind(1)
    tokens_BL, path_BL = numbers[:, :-COLUMNS].chunk(2, dim=1)
    sampler = _sampler(packed.samplers, identity.vocabulary, device)
    if packed.laws is None or packed.picks is None:
        laws = torch.zeros(1, device=device).expand(rows, nodes, identity.vocabulary)
        picks = torch.zeros(rows, nodes, dtype=torch.int64, device=device)
    else:
        laws = single(packed.laws, device)
        picks = torch.from_numpy(packed.picks.astype(np.int64)).to(device)
    if packed.hidden is None:
        hidden = torch.zeros(1, device=device).expand(rows, nodes, identity.hidden_size)
    elif fields.hidden == "all":
        hidden = single(packed.hidden, device)
    else:
        sent = single(packed.hidden, device)
        index = path_BL[:, : sent.shape[1], None].expand_as(sent)
        hidden = sent.new_zeros(rows, nodes, identity.hidden_size).scatter_(1, index, sent)

    def noise_at(steps_BX: Tensor) -> Tensor:
        scales_B11 = sampler.noise_scale_B11
        return Noise.draw(seeds_B, steps_BX, scales_B11, identity.vocabulary).tokens_BNV

    return Feedback(
        tree=tree,
        law=Law(unfiltered_BNV=laws, sampler=sampler),
        picks_BN=picks,
        hidden_BND=hidden,
        commit=Commit(end_B=end_B, counts_B=counts_B, tokens_BL=tokens_BL, path_BL=path_BL),
        seeds_B=seeds_B,
        steps_B=steps_B,
        longest=int(packed.numbers[:, -COLUMNS].max()),
        noise_at=noise_at,
    )


def pack_block(tree: Tree, call: DraftCall, arrived_s: float, left_s: float) -> Block:
    """A drafter's answer. Times: see `Block`."""
    drawn = tree.drawn
    return Block(
        epoch=call.epoch,
        sequence=call.sequence,
        parents=tree.shapes.parents_ZN.cpu().numpy().astype(np.int16),
        shape=tree.shape_B.cpu().numpy().astype(np.int16),
        tokens=tree.tokens_BN.cpu().numpy().astype(np.int32),
        scores=None if drawn is None else drawn.scores_BQV.cpu().numpy(),
        which=None if drawn is None else drawn.which_BN.cpu().numpy().astype(np.int16),
        arrived_s=arrived_s,
        left_s=left_s,
    )


def unpack_block(block: Block, roots_B: Tensor, *, vocabulary: int, most_nodes: int) -> Tree:
    """The tree of an answer behind these roots. ValueError where it is none."""
    rows, device = len(roots_B), roots_B.device
    for name, sizes in (("parents", 2), ("shape", 1), ("tokens", 2)):
        _check_array(name, getattr(block, name), sizes, "i")
    shapes, nodes = block.parents.shape
    if not (1 <= nodes <= most_nodes and shapes >= 1):
        raise ValueError(f"{shapes} shapes of {nodes} nodes, at most {most_nodes} were expected")
    if block.shape.shape != (rows,) or block.tokens.shape != (rows, nodes):
        raise ValueError(
            f"shapes of {block.shape.shape} rows and tokens {block.tokens.shape}, expected "
            f"{rows} rows of {nodes}"
        )
    if not _within(block.shape, shapes):
        raise ValueError(f"a row of another shape than 0 .. {shapes - 1}")
    if not _within(block.tokens[:, 1:], vocabulary):
        raise ValueError(f"tokens outside of 0 .. {vocabulary - 1}")
    tokens_BN = torch.from_numpy(block.tokens.astype(np.int64)).to(device)
    tokens_BN[:, 0] = roots_B
    return Tree(
        shapes=_shapes(block.parents.tobytes(), shapes, device),
        shape_B=torch.from_numpy(block.shape.astype(np.int64)).to(device),
        tokens_BN=tokens_BN,
        drawn=_drawn(block, vocabulary, device),
    )


def _drawn(block: Block, vocabulary: int, device: torch.device) -> Drawn | None:
    if block.scores is None or block.which is None:
        return None
    _check_array("scores", block.scores, 3, "f")
    _check_array("which", block.which, 2, "i")
    rows, laws, width = block.scores.shape
    if (rows, width) != (len(block.tokens), vocabulary) or block.which.shape != block.tokens.shape:
        raise ValueError(f"laws {block.scores.shape} for tokens {block.tokens.shape}")
    if not _within(block.which, laws):
        raise ValueError(f"a draft of another law than 0 .. {laws - 1}")
    return Drawn(
        scores_BQV=torch.from_numpy(block.scores.copy()).to(device),
        which_BN=torch.from_numpy(block.which.astype(np.int64)).to(device),
    )


@lru_cache(maxsize=SAMPLERS_KEPT)
def _sampler(configs: tuple[SamplerConfig, ...], vocabulary: int, device: torch.device) -> Sampler:
    """Images in flight change far less often than passes are made."""
    return Sampler(configs, vocabulary, device)


@lru_cache(maxsize=SHAPES_KEPT)
def _shapes(parents: bytes, shapes: int, device: torch.device) -> Shapes:
    """Drafters use a few dozen, whose tables are worth keeping."""
    return Shapes(np.frombuffer(parents, np.int16).reshape(shapes, -1).tolist(), device)


def _check_array(name: str, array: Any, sizes: int, kind: str) -> None:
    if not isinstance(array, np.ndarray) or array.ndim != sizes or array.dtype.kind != kind:
        raise ValueError(f"{name} is no array of {sizes} dimensions and kind {kind!r}")


def _within(array: NDArray[Any], end: int) -> bool:
    return bool(((array >= 0) & (array < end)).all())


def half(values: Tensor) -> NDArray[np.float16]:
    """Contiguous, in half precision, on the host."""
    return values.half().contiguous().cpu().numpy()


def single(values: NDArray[np.float16], device: torch.device) -> Tensor:
    """float32 again."""
    return torch.from_numpy(values.astype(np.float32)).to(device)
