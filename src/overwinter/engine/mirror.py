"""Keys and values of decoding sequences side by side, so that a step need not gather them from their blocks again.

The blocks stay the memory: a mirror is a copy that follows them, made when a group of sequences first decodes together and thrown
away when the group changes. While it lasts, a step adds one token to it in place of copying the whole past. Its plain
twin is the gathering itself (memory.py), which is also what happens where mirrors would need more than their budget.

Shapes: R sequences of the group, S keys that there is room for, K key heads, C head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from overwinter.engine.blocks import BlockTable
from overwinter.engine.paged import PagedStore

SPARE_KEYS = 128
"""Room for so many steps before a mirror has to be made anew."""


class Mirror:
    """The past of one group, layer by layer. Layers are copied from the blocks when they are first asked for."""

    def __init__(self, tables: Sequence[BlockTable], layers: int, room: int) -> None:
        self.tables = tuple(tables)
        self.room = room
        self.lengths: tuple[int, ...] = ()
        """Tokens of each sequence that the mirror holds, once the step under way is over."""
        self._layers: list[Tensor | None] = [None] * layers
        """Keys and values [R, S, 2, K, C]."""
        self._rows_R = torch.arange(len(tables))

    def follows(self, tables: Sequence[BlockTable], starts: Sequence[int], keys: int) -> bool:
        """Whether it holds just what these tables held before the step's tokens, in this order."""
        same = len(tables) == len(self.tables) and all(a is b for a, b in zip(tables, self.tables, strict=True))
        return same and self.lengths == tuple(starts) and keys <= self.room

    def read(
        self, store: PagedStore, layer: int, blocks_RN: Tensor, keys: int, new: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The first `keys` of all sequences [RSKC], the step's own tokens included.

        Args:
            new: the positions [R] of the step's tokens and their keys and values [R2KC], which the blocks hold already.
        """
        held = self._layers[layer]
        if held is None:
            k_RSKC, v_RSKC = store.gather(layer, blocks_RN, keys)
            sequences, _, heads, width = k_RSKC.shape
            held = self._layers[layer] = k_RSKC.new_zeros(sequences, self.room, 2, heads, width)
            held[:, :keys, 0], held[:, :keys, 1] = k_RSKC, v_RSKC
        else:
            starts_R, kv_R2KC = new
            held[self._rows_R.to(starts_R.device), starts_R] = kv_R2KC
        return held[:, :keys, 0], held[:, :keys, 1]

    def forget(self, layer: int) -> None:
        """Something else has written this layer's blocks: copy them anew when they are asked for."""
        self._layers[layer] = None


class Mirrors:
    """The mirrors of the last step's groups.

    Args:
        store: what is mirrored.
        budget_bytes: of all mirrors of a step; 0 keeps none.
    """

    def __init__(self, store: PagedStore, budget_bytes: int) -> None:
        self.store = store
        self.budget_bytes = budget_bytes
        self.bytes = 0
        self._last: list[Mirror] = []
        self._next: list[Mirror] = []

    def begin(self) -> None:
        """A step begins: what its groups do not ask for is dropped at its end."""
        self._next, self.bytes = [], 0

    def end(self) -> None:
        self._last = self._next

    def of(self, tables: Sequence[BlockTable], starts: Sequence[int], keys: int) -> Mirror | None:
        """The group's mirror, followed on or new; None where it would not fit the budget."""
        mirror = next((each for each in self._last if each.follows(tables, starts, keys)), None)
        room = keys + SPARE_KEYS if mirror is None else mirror.room
        size = len(tables) * room * self.store.token_bytes
        if self.bytes + size > self.budget_bytes:
            return None
        self.bytes += size
        mirror = mirror or Mirror(tables, self.store.config.layers, room)
        mirror.lengths = tuple(start + 1 for start in starts)
        self._next.append(mirror)
        return mirror
