"""One step's view of the memory: tokens of many sequences in one row, each seeing its own past and nothing else.

The idea: a step computes some tokens of some sequences, [sequence 3's next | sequence 8's next | 200 of sequence 9's prompt …].
All that a model does token by token runs over this one row without padding. Only the mixers' memories know the borders: attention
writes the new keys and values to their blocks and reads, for each sequence, the blocks of its table.

Exact to the last bit, whoever shares the step. oneDNN and MKL choose the order of their sums by the shape of a product, so shapes
are chosen here such that the order never changes (float32 on a CPU; `probe.py` checks it on the machine at hand):
  - the query heads that share a key head are rows of one product, and their number is a multiple of `query_tile`;
  - keys are padded to whole blocks, and to lengths at which a sum over keys is cut in the same places as for all longer ones.

Shapes: T tokens of the step, R sequences of a group, L new tokens of each, S keys, N blocks, H query heads, K key heads, G = H/K,
C head width, Q = G·L queries of a key head.
"""

# ruff: noqa: N815 (shapes are suffixes of attributes too)

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from overwinter.engine.blocks import BlockTable
from overwinter.engine.mirror import Mirror, Mirrors
from overwinter.engine.paged import PagedStore
from overwinter.model.attend import Look

QUERY_TILES = (4, 8, 16)
"""Queries that a product takes at once where heads are up to 64, up to 128 and more numbers wide: with fewer, it sums otherwise."""
KEY_TILE = 512
"""Keys that torch's attention takes at once."""
EVEN_KEYS = 192
"""MKL sums up to so many in one piece. Above, some processors cut in halves and others do not, but all cut whole tiles alike."""
SHORT_KEYS = 128
"""Sequences up to here share a group, whatever their lengths: the padding costs less than another call."""


class Span(NamedTuple):
    """Tokens `start` to `start + length` of one sequence, which lie at `row` and after in the step."""

    table: BlockTable
    row: int
    start: int
    length: int


def padded_keys(keys: int, block_size: int) -> int:
    """The least length that holds `keys`, is whole blocks, and splits as every longer one does."""
    padded = -(-keys // block_size) * block_size
    rest = padded % KEY_TILE
    if rest > EVEN_KEYS:
        padded += KEY_TILE - rest
    return -(-padded // block_size) * block_size


def query_tile(width: int) -> int:
    """The least number of queries that are summed as any multiple of them is, for heads `width` numbers wide."""
    return QUERY_TILES[0] if width <= 64 else QUERY_TILES[1] if width <= 128 else QUERY_TILES[2]


@dataclass(kw_only=True)
class Group:
    """Sequences that attend in one call: all with the same number of new tokens."""

    rows_RL: Tensor
    """Their places in the step."""
    positions_RL: Tensor
    blocks_RN: Tensor
    keys: int
    is_whole_step: bool
    """Its rows are all the step's tokens in order: nothing has to be picked."""
    mirror: Mirror | None = None
    """Of decoding sequences, where there is room for one."""
    _masks: dict[tuple[Look, int, torch.dtype], Tensor] = field(default_factory=dict)

    def attend(self, store: PagedStore, layer: int, q_THC: Tensor, kv_T2KC: Tensor, look: Look) -> Tensor:
        """What its queries see, [R·L, H, C]; the step's keys and values are in the blocks, and in `kv_T2KC` too."""
        (sequences, length), (_, heads, width), kv_heads = self.rows_RL.shape, q_THC.shape, kv_T2KC.shape[2]
        group = heads // kv_heads
        queries = group * length
        picked_NHC = q_THC if self.is_whole_step else q_THC[self.rows_RL.reshape(-1)]
        q_RLKGC = picked_NHC.reshape(sequences, length, kv_heads, group, width)
        q_RKQC = q_RLKGC.permute(0, 2, 3, 1, 4).reshape(sequences, kv_heads, queries, width)
        if queries % query_tile(width):
            q_RKQC = functional.pad(q_RKQC, (0, 0, 0, -queries % query_tile(width)))
        k_RSKC, v_RSKC = self._past(store, layer, kv_T2KC)
        mask = self._mask(look, q_RKQC.shape[2], group, q_RKQC.dtype)
        y_RKQC = look.attend(q_RKQC, k_RSKC.transpose(1, 2), v_RSKC.transpose(1, 2), mask)[:, :, :queries]
        y_RKGLC = y_RKQC.reshape(sequences, kv_heads, group, length, width)
        return y_RKGLC.permute(0, 3, 1, 2, 4).reshape(sequences * length, heads, width)

    def _past(self, store: PagedStore, layer: int, kv_T2KC: Tensor) -> tuple[Tensor, Tensor]:
        if self.mirror is None:
            return store.gather(layer, self.blocks_RN, self.keys)
        new_R2KC = kv_T2KC if self.is_whole_step else kv_T2KC[self.rows_RL[:, 0]]
        return self.mirror.read(store, layer, self.blocks_RN, self.keys, (self.positions_RL[:, 0], new_R2KC))

    def _mask(self, look: Look, queries: int, group: int, dtype: torch.dtype) -> Tensor:
        """One for all layers that look alike: additive, or boolean where the logits are softened by hand [R1QS]."""
        key = (look, group, dtype)
        if key not in self._masks:
            positions_RS = torch.arange(self.keys, device=self.positions_RL.device).expand(len(self.positions_RL), -1)
            queries_RQ = self.positions_RL.repeat(1, group)
            queries_RQ = functional.pad(queries_RQ, (0, queries - queries_RQ.shape[1]))
            visible_R1QS = look.visible(queries_RQ, positions_RS)
            if look.softcap is None:
                zeros = torch.zeros(visible_R1QS.shape, dtype=dtype, device=visible_R1QS.device)
                self._masks[key] = zeros.masked_fill_(~visible_R1QS, -math.inf)
            else:
                self._masks[key] = visible_R1QS
        return self._masks[key]


class StepMemory:
    """Where the tokens of one step go and what they see; shared by all attention layers.

    Args:
        store: holds the blocks.
        spans: in the order of the step's tokens, with room for all of them in their tables.
        rows: tokens of the step, which may end in padding that no span covers.
        mirrors: of groups that decode together for many steps.
    """

    def __init__(self, store: PagedStore, spans: Sequence[Span], rows: int, mirrors: Mirrors) -> None:
        self.store = store
        self.spans = list(spans)
        self.rows = rows
        slots: list[int] = []
        for span in spans:
            slots += span.table.slots(span.start, span.start + span.length)
        self.tokens = len(slots)
        self.places = store.places(slots)
        mirrors.begin()
        self.groups = [self._group(each, mirrors) for each in grouped(spans, store.config.block_size)]
        mirrors.end()

    def narrowed(self, active_T: Tensor) -> StepMemory:
        """The step of those sequences alone whose tokens are active, in rows that are closed up. It reads from the blocks."""
        row_of = (active_T.cumsum(0) - 1).tolist()
        is_active = active_T.tolist()
        kept = [span._replace(row=row_of[span.row]) for span in self.spans if is_active[span.row]]
        return StepMemory(self.store, kept, int(active_T.sum()), Mirrors(self.store, budget_bytes=0))

    def _group(self, spans: Sequence[Span], mirrors: Mirrors) -> Group:
        size, count = self.store.config.block_size, spans[0].length
        keys = max(padded_keys(span.start + span.length, size) for span in spans)
        blocks = [_padded_blocks(span.table.blocks, keys // size) for span in spans]
        device = self.store.config.device
        starts_R1 = torch.tensor([[span.start] for span in spans], device=device)
        rows_R1 = torch.tensor([[span.row] for span in spans], device=device)
        steps_L = torch.arange(count, device=device)
        rows_RL = rows_R1 + steps_L
        in_order = rows_RL.reshape(-1).tolist() == list(range(self.tokens))
        starts = [span.start for span in spans]
        mirror = (
            mirrors.of([span.table for span in spans], starts, keys)
            if count == 1 and self.store.config.layers
            else None
        )
        return Group(
            rows_RL=rows_RL,
            positions_RL=starts_R1 + steps_L,
            blocks_RN=torch.tensor(blocks, device=device),
            keys=keys,
            is_whole_step=in_order,
            mirror=mirror,
        )


def grouped(spans: Sequence[Span], block_size: int) -> list[list[Span]]:
    """Decoding sequences of similar length together, longer pieces each alone. Groups change the speed, not the result."""
    groups: list[list[Span]] = []
    singles = sorted((span for span in spans if span.length == 1), key=lambda span: -span.start)
    for span in singles:
        keys = padded_keys(span.start + 1, block_size)
        longest = padded_keys(groups[-1][0].start + 1, block_size) if groups else 0
        if groups and (longest <= SHORT_KEYS or keys * 4 >= longest * 3):
            groups[-1].append(span)
        else:
            groups.append([span])
    # In the order of the step: a group that is the whole step then needs no picking of rows.
    groups = [sorted(group, key=lambda span: span.row) for group in groups]
    return groups + [[span] for span in spans if span.length > 1]


def _padded_blocks(blocks: Sequence[int], count: int) -> list[int]:
    """Any block will do behind the last one: its keys are masked."""
    return [*blocks[:count], *[blocks[0]] * (count - len(blocks))]


class PagedLayer:
    """One attention layer's memory for one step: the model's `KVMemory`, and its `NarrowMemory` for loops."""

    def __init__(self, step: StepMemory, layer: int) -> None:
        self._step, self._layer = step, layer

    def narrow(self, active_BL: Tensor, source: PagedLayer) -> PagedLayer:
        """Remember of every token what the loop before does; the returned memory is for those that go on."""
        step, data_NLSTHD = self._step, self._step.store.data_NLSTHD
        blocks, offsets = step.places
        data_NLSTHD[:, self._layer][blocks, :, offsets] = data_NLSTHD[:, source.layer][blocks, :, offsets]
        for group in step.groups:
            if group.mirror is not None:
                group.mirror.forget(self._layer)
        return PagedLayer(step.narrowed(active_BL[0]), self._layer)

    @property
    def layer(self) -> int:
        return self._layer

    def attend(self, q_BHLC: Tensor, k_BKLC: Tensor, v_BKLC: Tensor, positions_BL: Tensor, look: Look) -> Tensor:  # noqa: ARG002
        step, store, tokens = self._step, self._step.store, self._step.tokens
        kv_T2KC = torch.stack((k_BKLC[0].transpose(0, 1), v_BKLC[0].transpose(0, 1)), dim=1)[:tokens]
        store.write_both(self._layer, step.places, kv_T2KC)
        q_THC = q_BHLC[0].transpose(0, 1)[:tokens]
        if len(step.groups) == 1 and step.groups[0].is_whole_step:
            y_THC = step.groups[0].attend(store, self._layer, q_THC, kv_T2KC, look)
        else:
            y_THC = q_THC.new_empty(q_THC.shape)
            for group in step.groups:
                y_THC[group.rows_RL.reshape(-1)] = group.attend(store, self._layer, q_THC, kv_T2KC, look)
        if tokens < step.rows:
            y_THC = functional.pad(y_THC, (0, 0, 0, 0, 0, step.rows - tokens))
        return y_THC.transpose(0, 1)[None]
