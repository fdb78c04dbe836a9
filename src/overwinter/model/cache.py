"""What a decoder remembers of the tokens it has seen, as objects that can forget.

A `Cache` holds one `LayerCache` per layer and moves them together. `truncate` takes back tokens (a rejected draft), `snapshot`
and `restore` go back to a moment; both leave a cache from which the logits are those of a cache that never saw the rest.
`append` belongs to each kind, for it takes what its mixer remembers: keys, values and positions in `KVCache`.

Caches are for inference: what is appended is detached from the graph.

Mixers ask less than a whole cache: attention a `KVMemory`, a recurrent mixer a `RecurrentMemory`. So an engine can serve the
same mixers from memory of its own shape, such as blocks shared by many sequences, or a pool of states.

Shapes: B batch, H query heads, K key heads, L new tokens, S all tokens so far, C width of a head, X what a recurrent mixer makes
of a token, I what it gives back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.model.attend import Look

if TYPE_CHECKING:
    from overwinter.model.mamba_state import MambaState

FIRST_CAPACITY = 64


@runtime_checkable
class LayerCache(Protocol):
    """What every kind of layer memory can do. The type of a snapshot is the kind's own affair."""

    @property
    def length(self) -> int:
        """Tokens seen."""
        ...

    @property
    def bytes(self) -> int:
        """Memory of the tokens seen, without room kept for more."""
        ...

    @property
    def shortest(self) -> int:
        """The smallest length that `truncate` can go back to."""
        ...

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        ...

    def snapshot(self) -> Any:
        """A copy of this moment that later tokens do not touch."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Go back to that moment; the snapshot can be used again."""
        ...


@runtime_checkable
class KVMemory(Protocol):
    """All that attention asks of its memory."""

    def attend(self, q_BHLC: Tensor, k_BKLC: Tensor, v_BKLC: Tensor, positions_BL: Tensor, look: Look) -> Tensor:
        """Remember the new keys and values, and look from the queries at them and all earlier ones [BHLC]."""
        ...


class Core(Protocol):
    """The part of a recurrent mixer that looks at more than one token: convolution and scan."""

    def __call__(self, projected_BLX: Tensor, state: MambaState | None = None, mask_BL: Tensor | None = None) -> Tensor:
        """Mix L tokens over time [BLI], each row on its own; a state is read, and moved on by L tokens.

        `mask_BL` is false at padding, which stands before all tokens of its row. It leaves the state as it is.
        """
        ...


@runtime_checkable
class RecurrentMemory(Protocol):
    """All that a recurrent mixer asks of its memory."""

    def mix(self, core: Core, projected_BLX: Tensor, positions_BL: Tensor) -> Tensor:
        """Run the core on the new tokens from the states of their sequences, and keep the states after them [BLI]."""
        ...


@runtime_checkable
class NarrowMemory(Protocol):
    """A memory that can take in tokens of which only some are computed; loops that tokens leave early ask for it.

    `narrow` is called in place of the mixer's own call, once per loop and layer, after `source` (the memory of the same layer
    in the loop before) has taken in the same tokens. It takes in all tokens, each with what `source` remembers of it, and
    returns a `KVMemory` for the active ones: its `attend` gets only those, remembers their keys and values over what was
    copied, and returns only their outputs. With a batch of one row the active tokens come as one shorter row; with one token
    per row they come as fewer rows. Where no token is active, what `narrow` returns is not used.
    """

    def narrow(self, active_BL: Tensor, source: Any) -> KVMemory: ...


@dataclass(frozen=True, kw_only=True)
class KVSnapshot:
    """Copies of keys and values [BKSC] and of positions [BS]."""

    k: Tensor
    v: Tensor
    positions: Tensor


class KVCache:
    """Keys and values of attention, in buffers that double when full, so that a token costs O(1) copies on average."""

    def __init__(self) -> None:
        self._length = 0
        self._buffers: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def length(self) -> int:
        return self._length

    @property
    def shortest(self) -> int:
        return 0

    @property
    def bytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in self._seen())

    def attend(self, q_BHLC: Tensor, k_BKLC: Tensor, v_BKLC: Tensor, positions_BL: Tensor, look: Look) -> Tensor:
        k_BKSC, v_BKSC, positions_BS = self.append(k_BKLC, v_BKLC, positions_BL)
        return look.attend(q_BHLC, k_BKSC, v_BKSC, look.visible(positions_BL, positions_BS))

    def append(self, k_BKLC: Tensor, v_BKLC: Tensor, positions_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Remember new tokens and return all of them: keys, values, positions. The result is a view: use it, do not keep it."""
        new = (k_BKLC.detach(), v_BKLC.detach(), positions_BL)
        if self._buffers is not None and self._buffers[0].shape[0] != k_BKLC.shape[0]:
            raise UsageError(
                f"this cache holds a batch of {self._buffers[0].shape[0]}, the new tokens a batch of {k_BKLC.shape[0]}",
                "make one cache per batch with decoder.new_cache()",
            )
        end = self._length + k_BKLC.shape[2]
        self._reserve(end, new)
        for buffer, part in zip(self._seen(end), new, strict=True):
            _tokens(buffer, self._length, end).copy_(part)
        self._length = end
        k_BKSC, v_BKSC, positions_BS = self._seen()
        return k_BKSC, v_BKSC, positions_BS

    def narrow(self, active_BL: Tensor, source: KVCache) -> KVMemory:
        """See `NarrowMemory`."""
        assert source is not self
        self.append(*source.newest(active_BL.shape[1]))
        return NarrowKV(self, active_BL)

    def newest(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and positions of the last `count` tokens, as views."""
        assert self._buffers is not None, "something was taken in before"
        k_BKLC, v_BKLC, positions_BL = (_tokens(buffer, self._length - count, self._length) for buffer in self._buffers)
        return k_BKLC, v_BKLC, positions_BL

    def truncate(self, length: int) -> None:
        if not 0 <= length <= self._length:
            raise UsageError(
                f"cannot cut a cache of {self._length} tokens to {length}", f"give a length from 0 to {self._length}"
            )
        self._length = length

    def snapshot(self) -> KVSnapshot | None:
        if self._buffers is None:
            return None
        k_BKSC, v_BKSC, positions_BS = (part.clone() for part in self._seen())
        return KVSnapshot(k=k_BKSC, v=v_BKSC, positions=positions_BS)

    def restore(self, snapshot: KVSnapshot | None) -> None:
        self._length, self._buffers = 0, None
        if snapshot is not None:
            self.append(snapshot.k, snapshot.v, snapshot.positions)

    def _seen(self, length: int | None = None) -> tuple[Tensor, ...]:
        end = self._length if length is None else length
        return () if self._buffers is None else tuple(_tokens(buffer, 0, end) for buffer in self._buffers)

    def _reserve(self, length: int, like: tuple[Tensor, Tensor, Tensor]) -> None:
        capacity = 0 if self._buffers is None else self._buffers[2].shape[1]
        if length <= capacity:
            return
        capacity = max(length, 2 * capacity, FIRST_CAPACITY)
        k, v, positions = (_empty(part, capacity) for part in like)
        for old, new in zip(self._seen(), (k, v, positions), strict=False):
            _tokens(new, 0, self._length).copy_(old)
        self._buffers = (k, v, positions)


class NarrowKV:
    """A `KVCache` for those of its newest tokens that are computed: A of B·L, as one row or as rows of one token."""

    def __init__(self, cache: KVCache, active_BL: Tensor) -> None:
        self._cache, self._active_BL = cache, active_BL

    def attend(self, q_BHLC: Tensor, k_BKLC: Tensor, v_BKLC: Tensor, positions_BL: Tensor, look: Look) -> Tensor:
        batch, count = self._active_BL.shape
        for place_BKLC, part_BKLC in zip(self._cache.newest(count), (k_BKLC, v_BKLC), strict=False):
            place_BKLC.transpose(1, 2)[self._active_BL] = part_BKLC.detach().transpose(1, 2).flatten(0, 1)
        seen = self._cache.newest(self._cache.length)
        if batch > 1:
            rows = self._active_BL[:, 0].nonzero()[:, 0]
            seen = (seen[0][rows], seen[1][rows], seen[2][rows])
        k_BKSC, v_BKSC, positions_BS = seen
        return look.attend(q_BHLC, k_BKSC, v_BKSC, look.visible(positions_BL, positions_BS))


def _tokens(buffer: Tensor, start: int, end: int) -> Tensor:
    """Tokens are the last axis of positions and the one before the last of keys and values."""
    return buffer[:, start:end] if buffer.dim() == 2 else buffer[:, :, start:end]


def _empty(like: Tensor, capacity: int) -> Tensor:
    shape = list(like.shape)
    shape[1 if like.dim() == 2 else 2] = capacity
    return torch.empty(shape, dtype=like.dtype, device=like.device)


@dataclass(frozen=True, kw_only=True)
class CacheSnapshot:
    layers: tuple[Any, ...]


class Cache:
    """The memory of all layers of one decoder for one batch of sequences."""

    def __init__(self, layers: Sequence[LayerCache]) -> None:
        self.layers = tuple(layers)

    @property
    def length(self) -> int:
        return self.layers[0].length

    @property
    def bytes(self) -> int:
        return sum(layer.bytes for layer in self.layers)

    @property
    def shortest(self) -> int:
        """The smallest length that `truncate` can go back to."""
        return max(layer.shortest for layer in self.layers)

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens, in every layer or in none."""
        if not self.shortest <= length <= self.length:
            raise UsageError(
                f"cannot cut a cache of {self.length} tokens to {length}: it can go back to {self.shortest}",
                "give a length in between; recurrent layers go back as far as new_cache(rollback=…) says, or to a snapshot",
            )
        for layer in self.layers:
            layer.truncate(length)

    def snapshot(self) -> CacheSnapshot:
        return CacheSnapshot(layers=tuple(layer.snapshot() for layer in self.layers))

    def restore(self, snapshot: CacheSnapshot) -> None:
        if len(snapshot.layers) != len(self.layers):
            raise UsageError(
                f"the snapshot has {len(snapshot.layers)} layers, the cache {len(self.layers)}",
                "restore into a cache of the decoder that the snapshot came from",
            )
        for layer, past in zip(self.layers, snapshot.layers, strict=True):
            layer.restore(past)
