"""Cache: keys and values of every image in flight, in static memory, one length per row.

An image owns a slot, and a slot owns one row, or two where guidance runs a second branch. Active
slots are packed at the front, so a pass works on views and copies nothing but its new entries.
A pass writes its whole tree behind each row's length; `keep` then moves the accepted path together
and forgets the rest. The keys and values of one entry lie together in a layer's memory, so that
both are copies of whole entries by index.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hawk.decoding.graphs import Graphs
from hawk.decoding.tree import Tree

# Steps in which the visible length grows, so that few attention shapes occur. On a GPU each shape
# is a graph to capture, and masked entries cost little.
VISIBLE_STEP, VISIBLE_STEP_OF_GRAPHS = 32, 128
PROMPT_STEP = 64  # entries by which the memory grows where a prompt does not fit
WORD = torch.complex128  # 16 bytes, the largest number: copies by index go number by number


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Keys and values of one token: `layers` x 2 x `heads` x `head_size` numbers of `dtype`.

    Attributes:
        layers: Number of layers.
        heads: Number of heads of keys, and of values.
        head_size: Numbers of a head.
        dtype: Type of the numbers.
        device: Device where passes begin and end.
        layer_devices: Device of each layer; empty where it is `device` for all.
    """

    layers: int
    heads: int
    head_size: int
    dtype: torch.dtype
    device: torch.device
    layer_devices: tuple[torch.device, ...] = ()

    @property
    def token_bytes(self) -> int:
        return self.layers * 2 * self.heads * self.head_size * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True)
class Room:
    """Size of a row's memory, in entries.

    Attributes:
        prompt_limit: Tokens of the longest prompt.
        image: Entries behind a prompt: those of the image and of the largest tree.
    """

    prompt_limit: int
    image: int

    def capacity(self, prompt: int) -> int:
        """Entries of every row where the longest prompt has `prompt` tokens, in whole steps."""
        stepped = -(-prompt // PROMPT_STEP) * PROMPT_STEP
        entries = min(stepped, self.prompt_limit) + self.image
        return -(-entries // VISIBLE_STEP) * VISIBLE_STEP


class Cache:
    """Static key/value memory.

    Args:
        layout: Keys and values of one token.
        slots: Largest number of images in flight.
        branches: Rows of a slot, 2 with guidance.
        room: Size of a row's memory, which grows with the prompts in flight.
        entries: Number of entries of every pass over trees: smaller passes are padded to it, over
            all slots, and see the whole memory, so that all have one shape. None lets shapes vary.

    Attributes:
        capacity: Entries that each row has memory for now.
        visible: Entries of a row's memory that the coming pass sees.
        index: Row [F] and place [F] in the memory of every entry of the pass, for `write`.
        graphs: CUDA graphs of passes over trees; None on a CPU or on several devices.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        slots: int,
        branches: int,
        room: Room,
        entries: int | None = None,
    ) -> None:
        self.slots, self.branches, self.entries = slots, branches, entries
        self._layout, self._room = layout, room
        device = layout.device
        devices = layout.layer_devices or (device,) * layout.layers
        self.graphs = Graphs() if device.type == "cuda" and set(devices) == {device} else None
        self.capacity = 0
        size = (slots * branches, 2 * layout.heads, 0, layout.head_size)
        self._layers = [torch.empty(size, dtype=layout.dtype, device=place) for place in devices]
        self.lengths_SG = torch.zeros(slots, branches, dtype=torch.int64, device=device)
        self._longest = [0] * slots  # host copy of the longest row of each slot
        self._rows = slice(0, 0)
        self.visible = 0
        self._make_room(1 if entries is None else room.prompt_limit)

    @property
    def device(self) -> torch.device:
        return self.lengths_SG.device

    def _make_room(self, prompt: int) -> None:
        """Enlarge the memory where a prompt of `prompt` entries does not fit."""
        capacity = self._room.capacity(prompt)
        if capacity <= self.capacity:
            return
        if self.graphs is not None:
            self.graphs.clear()  # captured over the old memory
        used = max(self._longest)
        for number, old in enumerate(self._layers):
            new = old.new_zeros(*old.shape[:2], capacity, old.shape[3])
            new[:, :, :used] = old[:, :, :used]
            self._layers[number] = new
        self.capacity = capacity
        self._positions_U = torch.arange(capacity, device=self.device)
        self._rows_R1 = torch.arange(len(self._layers[0]), device=self.device)[:, None]

    def pretend(self, length: int) -> None:
        """Set the length of every row to `length` entries, to time passes."""
        self.lengths_SG.fill_(length)
        self._longest = [length] * self.slots

    def begin_prompts(self, slots: range, lengths_BG: Tensor) -> tuple[Tensor, Tensor]:
        """Begin a pass that writes whole prompts, padded on the right, into fresh slots.

        Returns:
            Positions int64 [R, E] and mask [1, 1, E, E] for the attention, E of the longest prompt.
        """
        self.lengths_SG[slots.start : slots.stop] = lengths_BG
        lengths = lengths_BG.amax(1).tolist()
        self._make_room(max(lengths))
        self._longest[slots.start : slots.stop] = lengths
        self.visible = max(lengths)
        self._rows = slice(slots.start * self.branches, slots.stop * self.branches)
        places_E = self._positions_U[: self.visible]
        places_RE = places_E.expand(lengths_BG.numel(), -1)
        self._index(places_RE)
        later_EE = places_E[None, :] > places_E[:, None]
        return places_RE, self._added(later_EE[None, None])

    def begin_tree(self, tree: Tree) -> tuple[Tensor, Tensor]:
        """Begin a pass that writes row b of the tree behind the rows of slot b.

        Returns:
            Depths int64 [B, E] and ancestors bool [B, E, E] of its entries, for `place`.
        """
        return self._begin_nodes(tree.depths_BN, tree.shapes.ancestors_ZNN[tree.shape_B])

    def _begin_nodes(self, depths_BE: Tensor, ancestors_BEE: Tensor) -> tuple[Tensor, Tensor]:
        """`begin_tree` for entries at the given depths that see their ancestors and themselves."""
        longest = max(self._longest[: len(depths_BE)])
        if self.entries is not None:
            depths_BE, ancestors_BEE = _padded(depths_BE, ancestors_BEE, self.slots, self.entries)
        rows, nodes = depths_BE.shape
        if longest + nodes > self.capacity:
            raise ValueError(
                f"a tree of {nodes} nodes does not fit behind {longest} of {self.capacity} entries"
            )
        step = VISIBLE_STEP if self.graphs is None else VISIBLE_STEP_OF_GRAPHS
        if self.entries is not None:
            step = self.capacity
        self.visible = min(self.capacity, -(-(longest + nodes) // step) * step)
        self._rows = slice(0, rows * self.branches)
        return depths_BE, ancestors_BEE

    def place(self, depths_BE: Tensor, ancestors_BEE: Tensor) -> tuple[Tensor, Tensor]:
        """Set where the entries of a tree are stored, and what each sees. It is a part of the pass:
        a graph of a pass must read the lengths of the moment.

        Returns:
            Positions int64 [R, E] and mask [R, 1, E, U] for the attention.
        """
        rows, entries = depths_BE.shape
        lengths_R1 = self.lengths_SG[:rows].reshape(-1, 1)
        self._index(lengths_R1 + self._positions_U[:entries])
        # Distance of each place of the memory behind the last entry before the tree: all entries
        # see what lies before the tree, none what lies behind it.
        unseen_BEX = F.pad(F.pad(~ancestors_BEE, (1, 0)), (0, 1), value=True)
        behind_RU = (self._positions_U[: self.visible] + 1 - lengths_R1).clamp(0, entries + 1)
        unseen_REU = unseen_BEX.repeat_interleave(self.branches, 0).gather(
            2, behind_RU[:, None].expand(-1, entries, -1)
        )
        positions_RE = lengths_R1 + depths_BE.repeat_interleave(self.branches, 0)
        return positions_RE, self._added(unseen_REU[:, None])

    def _index(self, places_RE: Tensor) -> None:
        rows_RE = self._rows_R1[: len(places_RE)].expand_as(places_RE)
        self.index = rows_RE.flatten(), places_RE.flatten()

    def _added(self, unseen: Tensor) -> Tensor:
        """The mask as an addend of the scores, which attention would compute in every layer."""
        zeros = torch.zeros(unseen.shape, dtype=self._layout.dtype, device=unseen.device)
        return zeros.masked_fill_(unseen, -torch.inf)

    def seen(self, layer: int) -> Tensor:
        """Memory [R, 2 x heads, U, D] of the pass's rows: heads of keys, then those of values."""
        return self._layers[layer][self._rows, :, : self.visible]

    def keep(self, path_BL: Tensor, counts_B: Tensor, counts: Sequence[int], *, move: bool) -> None:
        """Keep the first `counts` nodes of each path and drop all else of the last tree.

        Args:
            path_BL: int64, nodes of the last tree, root first.
            counts_B: int64, number of nodes to keep in each slot.
            counts: `counts_B` on the host.
            move: True where some kept node is not in its place already (path[d] != d).
        """
        lengths_BG = self.lengths_SG[: len(path_BL)]
        if move:
            path_RL = path_BL[:, : max(counts)].repeat_interleave(self.branches, 0)
            start_R1 = lengths_BG.reshape(-1, 1)
            source_RL = start_R1 + path_RL
            target_RL = start_R1 + self._positions_U[: path_RL.shape[1]]
            rows_R1 = self._rows_R1[: len(path_RL)]
            for memory in self._layers:
                here = [index.to(memory.device) for index in (rows_R1, source_RL, target_RL)]
                words = memory.view(WORD).transpose(1, 2)
                words[here[0], here[2]] = words[here[0], here[1]]
        lengths_BG += counts_B[:, None]
        for slot, count in enumerate(counts):
            self._longest[slot] += count

    def clear(self, slot: int, *, whole: bool) -> None:
        """Zero the memory behind a slot's entries; with `whole`, the entries too. A NaN would
        spread even where it is masked."""
        for branch, length in enumerate(self.lengths_SG[slot].tolist()):
            row, first = slot * self.branches + branch, 0 if whole else length
            for memory in self._layers:
                memory[row, :, first:] = 0

    def move_slot(self, source: int, target: int) -> None:
        """Copy one slot over another."""
        a, b, used = source * self.branches, target * self.branches, self._longest[source]
        for memory in self._layers:
            memory[b : b + self.branches, :, :used] = memory[a : a + self.branches, :, :used]
        self.lengths_SG[target] = self.lengths_SG[source]
        self._longest[target] = used


def write(seen: Tensor, row_F: Tensor, place_F: Tensor, entries: Tensor) -> None:
    """Write entries [F, 2 x heads, D] to their places in memory [R, 2 x heads, U, D]."""
    if not torch.compiler.is_compiling():  # compiled, it is one copy anyway
        seen, entries = seen.view(WORD), entries.view(WORD)
    seen.transpose(1, 2).index_put_((row_F, place_F), entries)


def _padded(
    depths_BE: Tensor, ancestors_BEE: Tensor, rows: int, nodes: int
) -> tuple[Tensor, Tensor]:
    """Depths and ancestors of `rows` rows of `nodes` entries. Added entries see themselves, since
    attention to nothing is NaN. ValueError where there are too many entries already."""
    more_rows, more = rows - len(depths_BE), nodes - depths_BE.shape[1]
    if more < 0:
        raise ValueError(f"a pass of {depths_BE.shape[1]} entries does not fit into one of {nodes}")
    itself = torch.eye(nodes, dtype=torch.bool, device=depths_BE.device)
    return (
        F.pad(depths_BE, (0, more, 0, more_rows)),
        F.pad(ancestors_BEE, (0, more, 0, more, 0, more_rows)) | itself,
    )
