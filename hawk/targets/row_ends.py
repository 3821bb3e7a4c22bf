"""Row ends: models that write a forced token after every row of the image (Emu3, Lumina-mGPT).

Such a token is certain, so it has no step, no noise, no draft and no place in a Tree: outside of
this module, steps count cells. Here each node that ends a row is followed, in the same pass, by a
companion that holds the forced token, and the law of the next cell is read at the companion.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hawk.decoding.cache import Cache, Layout, Room
from hawk.decoding.grid import Grid
from hawk.decoding.tree import Tree


def image_entries(grid: Grid, nodes: int, *, row_ends: bool) -> int:
    """Largest number of entries that a row stores behind its prompt, with trees of up to `nodes`
    nodes, each of which may end a row."""
    return grid.cells + nodes + (grid.height + nodes if row_ends else 0)


class RowEndCache(Cache):
    """Cache that keeps companions of the nodes that end a row.

    Args:
        layout, slots, branches, room, entries: Arguments of Cache; the last two count companions.
        width: Cells in a row.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        slots: int,
        branches: int,
        room: Room,
        width: int,
        entries: int | None = None,
    ) -> None:
        super().__init__(layout, slots=slots, branches=branches, room=room, entries=entries)
        self._width = width
        self._cells = [0] * slots  # stored cells of each slot, on the host
        self._cells_S = torch.zeros(slots, dtype=torch.int64, device=self.device)
        # Entry of the last pass at which the law after each node is read: its companion where it
        # has one, else the node itself; None where no node has one.
        self.law_BN: Tensor | None = None

    def begin_prompts(self, slots: range, lengths_BG: Tensor) -> tuple[Tensor, Tensor]:
        self._cells_S[slots.start : slots.stop] = 0
        for slot in slots:
            self._cells[slot] = 0
        return super().begin_prompts(slots, lengths_BG)

    def begin_tree(self, tree: Tree) -> tuple[Tensor, Tensor]:
        """`Cache.begin_tree` for the nodes and the X companions behind them: E is N + X."""
        active, nodes = tree.tokens_BN.shape
        depths_BN, ancestors_BNN = tree.depths_BN, tree.shapes.ancestors_ZNN[tree.shape_B]
        most = min(nodes, max(self._most_ends(cells, tree) for cells in self._cells[:active]))
        self.law_BN = None
        if most == 0:
            return self._begin_nodes(depths_BN, ancestors_BNN)
        ends_BN = (self._cells_S[:active, None] + depths_BN + 1) % self._width == 0
        own_N = torch.arange(nodes, device=self.device)
        law_BN = torch.where(ends_BN, nodes - 1 + ends_BN.cumsum(1), own_N)
        self.law_BN = law_BN if self.entries is None else self._padded_law(law_BN, self.entries)
        # The X nodes that get a companion: all row ends first; further companions hang behind other
        # nodes as leaves that nothing reads.
        node_BX = (~ends_BN).int().argsort(dim=1, stable=True)[:, :most]
        rows_BXN = node_BX[..., None].expand(-1, -1, nodes)
        proper_BNN = ancestors_BNN & ~torch.eye(nodes, dtype=torch.bool, device=self.device)
        behind_BNX = (proper_BNN & ends_BN[:, None]).gather(2, rows_BXN.transpose(1, 2))
        rows_BXX = node_BX[..., None].expand(-1, -1, most)
        itself = torch.eye(most, dtype=torch.bool, device=self.device)
        ancestors_BEE = torch.cat(
            [
                torch.cat([ancestors_BNN, behind_BNX], 2),
                torch.cat(
                    [ancestors_BNN.gather(1, rows_BXN), behind_BNX.gather(1, rows_BXX) | itself], 2
                ),
            ],
            1,
        )
        deeper_BN = depths_BN + behind_BNX.sum(2)
        depths_BE = torch.cat([deeper_BN, deeper_BN.gather(1, node_BX) + 1], 1)
        return self._begin_nodes(depths_BE, ancestors_BEE)

    def keep(self, path_BL: Tensor, counts_B: Tensor, counts: Sequence[int], *, move: bool) -> None:
        """`Cache.keep`, with the companions of kept nodes behind them."""
        before = self._cells[: len(path_BL)]
        ends = [self._ends(cells, count) for cells, count in zip(before, counts, strict=True)]
        if self.law_BN is not None and any(ends):
            path_BL, move = self._with_companions(path_BL, self.law_BN), True
        cells_B = self._cells_S[: len(path_BL)]
        ends_B = (cells_B + counts_B) // self._width - cells_B // self._width
        both = [a + b for a, b in zip(counts, ends, strict=True)]
        super().keep(path_BL, counts_B + ends_B, both, move=move)
        cells_B += counts_B
        for slot, count in enumerate(counts):
            self._cells[slot] += count

    def move_slot(self, source: int, target: int) -> None:
        super().move_slot(source, target)
        self._cells_S[target] = self._cells_S[source]
        self._cells[target] = self._cells[source]

    def _with_companions(self, path_BL: Tensor, law_BN: Tensor) -> Tensor:
        """Entries of a path, nodes and companions in the order of the image."""
        active, levels = path_BL.shape
        most = max(self._ends(cells, levels) for cells in self._cells[:active])
        cells_B1 = self._cells_S[:active, None]
        level_L = torch.arange(levels, device=self.device)
        place_BL = level_L + (cells_B1 + level_L) // self._width - cells_B1 // self._width
        entries = torch.zeros(active, levels + most + 1, dtype=torch.int64, device=self.device)
        # Where a node ends no row, the next node overwrites the entry written behind it.
        entries.scatter_(1, place_BL + 1, law_BN.gather(1, path_BL))
        entries.scatter_(1, place_BL, path_BL)
        return entries[:, : levels + most]

    def _padded_law(self, law_BN: Tensor, entries: int) -> Tensor:
        """Entries at which laws are read, for all slots; added entries are read at themselves."""
        active, nodes = law_BN.shape
        law_SE = torch.arange(entries, device=self.device).repeat(self.slots, 1)
        law_SE[:active, :nodes] = law_BN
        return law_SE

    def _ends(self, cells: int, count: int) -> int:
        """Number of row ends among the `count` cells after the first `cells`."""
        return (cells + count) // self._width - cells // self._width

    def _most_ends(self, cells: int, tree: Tree) -> int:
        """Largest number of nodes that end a row in any shape of the tree, after `cells` cells."""
        return sum(
            most
            for depth, most in enumerate(tree.shapes.widest)
            if (cells + depth + 1) % self._width == 0
        )
