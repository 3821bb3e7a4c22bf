"""Cache: keys and values of every image in flight, in static memory, one length per row.

An image owns a slot, and a slot owns one row, or two where guidance runs a second branch. Active
slots are packed at the front, so a pass works on views and copies nothing but its new entries.
A pass writes its whole tree behind each row's length; `keep` then moves the accepted path together
and forgets the rest.

Transformers' own static cache keeps one length for all rows, so this class takes its place behind
the interface that the attention modules call (`update`).

Letters: L layers, S slots, R rows, H heads, C capacity, E head size, N nodes, D levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from hawk.graphs import Graphs
from hawk.tree import Tree

# The visible length grows in steps, so that few attention shapes occur. Each of them is
# a graph to capture, on a GPU, where entries that nobody sees cost little.
VISIBLE_STEP, VISIBLE_STEP_OF_GRAPHS = 32, 128


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a decoder stores for one token: `layers` x 2 x `heads` x `head_size` of `dtype`.

    Attributes:
        device: where passes begin and end.
        layer_devices: of each layer, where that is not all.
    """

    layers: int
    heads: int
    head_size: int
    dtype: torch.dtype
    device: torch.device
    layer_devices: tuple[torch.device, ...] = ()


class Cache:
    """Static key/value memory.

    Args:
        layout: of the decoder.
        slots: images in flight at most.
        branches: rows a slot, 2 with guidance.
        capacity: longest prompt plus image plus the largest tree.
        entries: of every pass over trees: smaller ones are padded to it, over all slots, and see
            the whole memory, so that no pass has another shape. None lets shapes vary.

    Attributes:
        visible: entries of the memory that the coming pass over trees sees.
        graphs: of such passes, on a GPU.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        slots: int,
        branches: int,
        capacity: int,
        entries: int | None = None,
    ) -> None:
        self.slots, self.branches, self.capacity = slots, branches, capacity
        self.entries = entries
        size = (2, slots * branches, layout.heads, capacity, layout.head_size)
        devices = layout.layer_devices or (layout.device,) * layout.layers
        # A block for all layers in a row that are on one device.
        self._blocks = [
            torch.zeros(len(list(same)), *size, dtype=layout.dtype, device=device)
            for device, same in groupby(devices)
        ]
        self._layers = [memory for block in self._blocks for memory in block]
        device = layout.device
        self.lengths_SG = torch.zeros(slots, branches, dtype=torch.int64, device=device)
        self._longest = [0] * slots  # host copy of the longest row of each slot
        self._positions_C = torch.arange(capacity, device=device)
        self._rows: slice | Tensor = slice(0, 0)
        self._index: Tensor | None = None
        self.visible = 0
        split = any(block.device != device for block in self._blocks)
        self.graphs = Graphs() if device.type == "cuda" and not split else None

    @property
    def device(self) -> torch.device:
        return self.lengths_SG.device

    def pretend(self, length: int) -> None:
        """Make every row as long as if it held `length` entries; for timing passes."""
        self.lengths_SG.fill_(length)
        self._longest = [length] * self.slots

    def begin_prompts(self, slots: Sequence[int], lengths_RN: Tensor) -> tuple[Tensor, Tensor]:
        """The next forward writes whole prompts, padded on the right, into fresh slots.

        Returns:
            positions int64 [R, P] and mask bool [R, 1, P, P] for the attention, P of the longest.
        """
        first = torch.tensor(slots, device=self.device)[:, None] * self.branches
        self._rows = (first + torch.arange(self.branches, device=self.device)).flatten()
        self._index = None
        self.lengths_SG[list(slots)] = lengths_RN
        for slot, longest in zip(slots, lengths_RN.amax(1).tolist(), strict=True):
            self._longest[slot] = longest
        places_P = self._positions_C[: max(self._longest[slot] for slot in slots)]
        rows, causal_PP = lengths_RN.numel(), places_P[None, :] <= places_P[:, None]
        return places_P.expand(rows, -1), causal_PP.expand(rows, 1, -1, -1)

    def begin_tree(self, tree: Tree) -> tuple[Tensor, Tensor]:
        """The next forward writes row b of the tree behind the rows of slot b.

        Returns:
            depths int64 [B, E] and ancestors bool [B, E, E] of its entries, for `place`.
        """
        return self._begin_nodes(tree.depths_BN, tree.shapes.ancestors_TNN[tree.shape_B])

    def _begin_nodes(self, depths_BN: Tensor, ancestors_BNN: Tensor) -> tuple[Tensor, Tensor]:
        """`begin_tree` for nodes at the given depths, which see their ancestors and themselves."""
        longest = max(self._longest[: len(depths_BN)])
        if self.entries is not None:
            depths_BN, ancestors_BNN = _padded(depths_BN, ancestors_BNN, self.slots, self.entries)
        rows, nodes = depths_BN.shape
        if longest + nodes > self.capacity:
            raise ValueError(
                f"a tree of {nodes} nodes does not fit behind {longest} of {self.capacity} entries"
            )
        step = VISIBLE_STEP if self.graphs is None else VISIBLE_STEP_OF_GRAPHS
        if self.entries is not None:
            step = self.capacity
        self.visible = min(self.capacity, -(-(longest + nodes) // step) * step)
        self._rows = slice(0, rows * self.branches)
        return depths_BN, ancestors_BNN

    def place(self, depths_BE: Tensor, ancestors_BEE: Tensor) -> tuple[Tensor, Tensor]:
        """Where the entries of a tree are stored, and what each sees. A part of the pass itself: a
        graph of it must look at the lengths of its own time.

        Returns:
            positions int64 [R, E] and mask bool [R, 1, E, visible] for the attention.
        """
        rows, entries = depths_BE.shape
        lengths_R1 = self.lengths_SG[:rows].reshape(-1, 1)
        index_RE = lengths_R1 + self._positions_C[:entries]
        self._index = index_RE[:, None, :, None]
        behind_RC = self._positions_C[: self.visible] - lengths_R1
        inside_RC = (behind_RC >= 0) & (behind_RC < entries)
        ancestors_REE = ancestors_BEE.repeat_interleave(self.branches, 0)
        place_REC = behind_RC.clamp(0, entries - 1)[:, None].expand(-1, entries, -1)
        in_tree_REC = ancestors_REE.gather(2, place_REC) & inside_RC[:, None]
        mask_REC = in_tree_REC | (behind_RC < 0)[:, None]
        return lengths_R1 + depths_BE.repeat_interleave(self.branches, 0), mask_REC[:, None]

    # What stands between the compiled parts of a layer, see `DecoderTarget.compile`.
    @torch.compiler.disable()  # pyright: ignore[reportUntypedFunctionDecorator]
    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, **_: object
    ) -> tuple[Tensor, Tensor]:
        """Called by each attention module: store [R, H, N, E], return what it attends to."""
        memory, rows = self._layers[layer_idx], self._rows
        if isinstance(rows, Tensor):
            rows = rows.to(keys.device)
        if self._index is None:
            memory[0, rows, :, : keys.shape[2]] = keys
            memory[1, rows, :, : keys.shape[2]] = values
            return keys, values
        index = self._index.to(keys.device).expand_as(keys)
        all_keys, all_values = memory[0, rows], memory[1, rows]
        all_keys.scatter_(2, index, keys)
        all_values.scatter_(2, index, values)
        return all_keys[:, :, : self.visible], all_values[:, :, : self.visible]

    def keep(self, path_BD: Tensor, counts: Sequence[int], *, move: bool) -> None:
        """Keep the first `counts` nodes of each path; everything else of the last tree is dropped.

        Args:
            path_BD: int64, nodes of the last tree, root first.
            counts: nodes kept in each slot.
            move: whether some kept node is not already in its place (path[d] != d).
        """
        active, levels = path_BD.shape
        lengths_B1 = self.lengths_SG[:active]
        if move:
            rows = active * self.branches
            start_R1 = lengths_B1.reshape(rows, 1)
            source = start_R1 + path_BD.repeat_interleave(self.branches, 0)
            target = start_R1 + self._positions_C[:levels]
            view = (1, 1, rows, 1, levels, 1)
            for block in self._blocks:
                memory = block[:, :, :rows]
                size = (*memory.shape[:4], levels, memory.shape[5])
                there = source.view(view).to(block.device).expand(size)
                here = target.view(view).to(block.device).expand(size)
                memory.scatter_(4, here, memory.gather(4, there))
        lengths_B1 += torch.tensor(counts, device=self.device)[:, None]
        for slot, count in enumerate(counts):
            self._longest[slot] += count

    def move_slot(self, source: int, target: int) -> None:
        """Copy one slot over another."""
        a, b = source * self.branches, target * self.branches
        for block in self._blocks:
            block[:, :, b : b + self.branches] = block[:, :, a : a + self.branches]
        self.lengths_SG[target] = self.lengths_SG[source]
        self._longest[target] = self._longest[source]


def _padded(
    depths_BN: Tensor, ancestors_BNN: Tensor, rows: int, nodes: int
) -> tuple[Tensor, Tensor]:
    """More rows and nodes; those added see themselves, since attention to nothing is not a number.

    ValueError where there are too many already.
    """
    more_rows, more = rows - len(depths_BN), nodes - depths_BN.shape[1]
    if more < 0:
        raise ValueError(f"a pass of {depths_BN.shape[1]} entries does not fit into one of {nodes}")
    itself = torch.eye(nodes, dtype=torch.bool, device=depths_BN.device)
    return (
        F.pad(depths_BN, (0, more, 0, more_rows)),
        F.pad(ancestors_BNN, (0, more, 0, more, 0, more_rows)) | itself,
    )
