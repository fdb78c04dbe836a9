"""Constrained decoding by a vectorised trie: which token may follow, for all rows of a batch at once.

Idea (STATIC, arXiv 2602.22647; github.com/youtube/static-constraint-decoding): the allowed sequences are a trie, flattened
into arrays. A row of the batch is one integer, its state. A step gathers the children of all rows' states with a few
tensor operations, whose cost depends on the widest child list of the batch and not on the number of sequences:

    allowed(s) = tokens[first[s] : first[s + 1]]          next(s, t) = 3 + (position of t among them)

Changed, and why
    No next-state array: nodes are numbered breadth first, so the position of an edge names the node it leads to.
    Lengths may differ: the end token is a branch, kept as one bit per state. Dead and done are ordinary states.
    A list as long as 1/32 of the vocabulary or more is a bit row: it sets the cost of its own row, not of the batch.
    The width is read from the batch, not from the level: continuous batching mixes depths. One host read per step.
    Finding tokens is arithmetic on a few hundred integers, so dispatch is its cost: the same lines run over numpy views
    of the tensors on a CPU, and over the tensors elsewhere (`xp` is the library). Logits are always torch's.

Legend: R rows, V vocabulary, B slots (children side by side), K drafted tokens, S states, E edges, W wide states.
"""

# ruff: noqa: N802, N815 (shapes are suffixes of attributes too)

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from overwinter.engine.trie_build import (
    DEAD,
    DONE,
    RESERVED,
    ROOT,
    Ints,
    TrieArrays,
    build_arrays,
    load_arrays,
    save_arrays,
)
from overwinter.errors import UsageError

__all__ = ["DEAD", "DONE", "ROOT", "Candidates", "Trie", "TrieHandle", "TrieRows", "Walk"]

BYTE_TO_BOOLS = torch.from_numpy(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").view(np.int64).reshape(256)
)
"""Eight booleans as one 8-byte number, for each value of a byte: a bit row unpacks by one gather of long words."""
LEAST_WIDE = 16


class Candidates(NamedTuple):
    """Allowed tokens side by side. Where `valid_RB` is false the slot repeats a token or, in a dead row, is the end."""

    tokens_RB: Tensor
    valid_RB: Tensor


class _Index(NamedTuple):
    """The arrays of a trie in the library that is quickest where they lie. All rules about children are here."""

    xp: ModuleType
    end_token: int
    tokens_E: Any
    first_S1: Any
    ends_S: Any
    slot_B: Any
    root_next_V: Any

    def children(self, states_R: Any) -> tuple[Any, Any]:
        """First edge and number of edges of each state."""
        first_R = self.first_S1[states_R]
        return first_R, self.first_S1[states_R + 1] - first_R

    def children_side_by_side(self, first_R: Any, count_R: Any, slot_B: Any) -> Any:
        """Their tokens; the last is repeated, and a state without children gets an arbitrary token (index -1 at worst)."""
        return self.tokens_E[first_R[:, None] + self.xp.minimum(slot_B, (count_R - 1)[:, None])]

    def slots(self, states_R: Any, first_R: Any, count_R: Any, slots: int) -> Any:
        """Children side by side; what is left over is the end token where it is allowed, else the last child again."""
        slot_B = self.slot_B[:slots]
        tokens_RB = self.children_side_by_side(first_R, count_R, slot_B)
        over_RB = (slot_B >= count_R[:, None]) & (self.ends_S[states_R] | (count_R == 0))[:, None]
        tokens_RB[over_RB] = self.end_token
        return tokens_RB

    def next_wide(self, states_R: Any, tokens_R: Any) -> Any:
        """The first level by table, other long lists by bisection; what is found is compared with the token."""
        where = self.xp.where
        first_R, count_R = self.children(states_R)
        known_R = self.root_next_V[tokens_R.clip(0, len(self.root_next_V) - 1)] - RESERVED
        low_R = where(states_R == ROOT, known_R, first_R).clip(0)
        high_R = where(states_R == ROOT, low_R, first_R + count_R - 1)
        for _ in range(int((high_R - low_R).max()).bit_length()):
            middle_R = (low_R + high_R) >> 1
            below_R = self.tokens_E[middle_R] < tokens_R
            low_R = where(below_R, self.xp.minimum(middle_R + 1, high_R), low_R)
            high_R = where(below_R, high_R, middle_R)
        return (self.tokens_E[low_R] == tokens_R) * (low_R + RESERVED)


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(values) if isinstance(values, np.ndarray) else values


@dataclass(frozen=True, eq=False)
class Trie:
    """A snapshot that never changes. Make one by `build` or `load`; states are int64 tensors and begin with `start`.

    A token that is not allowed leads to `DEAD`, the end token to `DONE`. Both stay as they are under the end token,
    which is also the only token left to them.
    """

    arrays: TrieArrays
    tokens_E: Tensor
    first_S1: Tensor
    ends_S: Tensor
    slot_B: Tensor
    root_next_V: Tensor
    wide_from: int
    wide_W: Tensor
    forbidden_WV8: Tensor
    byte_to_bools: Tensor
    _index: _Index = field(init=False)

    def __post_init__(self) -> None:
        on_cpu = self.tokens_E.device.type == "cpu"
        tensors = (self.tokens_E, self.first_S1, self.ends_S, self.slot_B, self.root_next_V)
        native: list[Any] = [tensor.numpy() for tensor in tensors] if on_cpu else list(tensors)
        object.__setattr__(self, "_index", _Index(np if on_cpu else torch, self.end_token, *native))

    @classmethod
    def build(
        cls,
        sequences: Iterable[Sequence[int]] | Ints,
        *,
        vocab_size: int,
        end_token: int,
        wide_from: int | None = None,
    ) -> Trie:
        """From token sequences of any lengths, in any order; duplicates and prefixes of one another are fine.

        Args:
            sequences: an iterable of token ids, or a 2-D integer array with one sequence per row.
            wide_from: child lists of this length or more become bit rows; by default where both cost the same memory.

        Raises:
            UsageError: no sequence, an empty one, a token outside the vocabulary, the end token inside a sequence.
        """
        arrays = build_arrays(sequences, vocab_size=vocab_size, end_token=end_token)
        return cls._from_arrays(arrays, wide_from)

    @classmethod
    def load(cls, path: Path | str, *, wide_from: int | None = None) -> Trie:
        """Read what `save` wrote, and check it."""
        return cls._from_arrays(load_arrays(Path(path)), wide_from)

    def save(self, path: Path | str) -> None:
        """Write to one file, whole or not at all."""
        save_arrays(self.arrays, Path(path))

    @classmethod
    def _from_arrays(cls, arrays: TrieArrays, wide_from: int | None) -> Trie:
        threshold = max(LEAST_WIDE, arrays.vocab_size // 32) if wide_from is None else max(1, wide_from)
        count_S = np.diff(arrays.first_S1)
        wide_W = np.flatnonzero(count_S >= threshold)
        root_next_V = np.zeros(arrays.vocab_size, dtype=np.int64)
        root_tokens = arrays.tokens_E[: count_S[ROOT]]
        root_next_V[root_tokens] = np.arange(root_tokens.size) + RESERVED
        return cls(
            arrays=arrays,
            tokens_E=torch.from_numpy(arrays.tokens_E),
            first_S1=torch.from_numpy(arrays.first_S1),
            ends_S=torch.from_numpy(arrays.ends_S),
            slot_B=torch.arange(int(count_S.max()) + 1),
            root_next_V=torch.from_numpy(root_next_V),
            wide_from=threshold,
            wide_W=torch.from_numpy(wide_W),
            forbidden_WV8=torch.from_numpy(_bit_rows(arrays, wide_W)),
            byte_to_bools=BYTE_TO_BOOLS,
        )

    @property
    def vocab_size(self) -> int:
        return self.arrays.vocab_size

    @property
    def end_token(self) -> int:
        return self.arrays.end_token

    @property
    def state_count(self) -> int:
        return self.arrays.ends_S.size

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors that a step may touch."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))

    def to(self, device: torch.device | str) -> Trie:
        """The same snapshot with its tensors on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Trie(arrays=self.arrays, wide_from=self.wide_from, **moved)

    def start(self, rows: int) -> TrieRows:
        """Rows that have not chosen a token yet."""
        return TrieRows(self, torch.full((rows,), ROOT, dtype=torch.int64, device=self.tokens_E.device))

    def candidates(self, states_R: Tensor) -> Candidates:
        """Allowed tokens by ascending id, the end token last: for samplers that need no row of the whole vocabulary.

        Wide lists are given in full here, so their batch is as wide as they are.
        """
        index, states_R = self._index, self._native(states_R)
        first_R, count_R = index.children(states_R)
        slots = int(count_R.max()) + 1 if len(states_R) else 1
        valid_RB = index.slot_B[:slots] < (count_R + index.ends_S[states_R])[:, None]
        return Candidates(_tensor(index.slots(states_R, first_R, count_R, slots)).long(), _tensor(valid_RB))

    def mask(self, states_R: Tensor) -> Tensor:
        """Which tokens are allowed, as booleans [R, V]: for callers that mask something other than logits."""
        zeros_RV = torch.zeros((*states_R.shape, self.vocab_size), device=states_R.device)
        return self.constrain_(zeros_RV, states_R) == 0

    def constrain_(self, logits_RV: Tensor, states_R: Tensor) -> Tensor:
        """Set what may not follow to -inf, in place; any leading shape that both share. Returns the logits.

        A head padded beyond the vocabulary is fine: the padding becomes -inf too.
        """
        if logits_RV.shape[:-1] != states_R.shape or logits_RV.shape[-1] < self.vocab_size:
            raise UsageError(
                f"logits {tuple(logits_RV.shape)} do not fit states {tuple(states_R.shape)} and {self.vocab_size} tokens",
                "give one row of logits for each state, as wide as the vocabulary",
            )
        if states_R.numel():
            # view, not reshape: a copy would be masked instead of the caller's logits.
            self._constrain_flat_(logits_RV.view(-1, logits_RV.shape[-1]), states_R.reshape(-1))
        return logits_RV

    def _constrain_flat_(self, logits_RV: Tensor, states_R: Tensor) -> None:
        native_R = self._native(states_R)
        first_R, count_R = self._index.children(native_R)
        if int(count_R.max()) < self.wide_from:
            self._keep_children_(logits_RV, native_R, first_R, count_R)
            return
        wide_R = (_tensor(count_R) >= self.wide_from).nonzero().squeeze(1)
        if len(wide_R) == len(states_R):
            self._forbid_by_bits_(logits_RV, states_R)
            return
        wide_logits = self._forbid_by_bits_(logits_RV[wide_R], states_R[wide_R])
        # Here wide rows count as rows without children; what they get is overwritten.
        self._keep_children_(logits_RV, native_R, first_R, count_R * (count_R < self.wide_from))
        logits_RV[wide_R] = wide_logits

    def _keep_children_(self, logits_RV: Tensor, native_R: Any, first_R: Any, count_R: Any) -> None:
        tokens_RB = _tensor(self._index.slots(native_R, first_R, count_R, int(count_R.max()) + 1)).long()
        kept_RB = logits_RV.gather(1, tokens_RB)
        logits_RV.fill_(float("-inf"))
        # Slots beyond the children repeat an allowed token of the same row: the same value is written twice.
        logits_RV.scatter_(1, tokens_RB, kept_RB)

    def _forbid_by_bits_(self, logits_RV: Tensor, states_R: Tensor) -> Tensor:
        """For rows in wide states. Rows in one state, like a batch at its first token, share one unpacked row."""
        states_R = states_R[:1] if bool((states_R == states_R[0]).all()) else states_R
        bits_RV8 = self.forbidden_WV8[torch.searchsorted(self.wide_W, states_R)]
        forbidden_RV = self.byte_to_bools[bits_RV8.long()].view(torch.bool)[:, : self.vocab_size]
        logits_RV[:, : self.vocab_size].masked_fill_(forbidden_RV, float("-inf"))
        logits_RV[:, self.vocab_size :] = float("-inf")
        return logits_RV

    def advance(self, states_R: Tensor, tokens_R: Tensor) -> Tensor:
        """The states after the chosen tokens; `DEAD` where a token was not allowed. Any shape that both share."""
        if states_R.shape != tokens_R.shape:
            raise UsageError(
                f"{tuple(tokens_R.shape)} tokens for {tuple(states_R.shape)} states", "give one token for each state"
            )
        if not states_R.numel():
            return states_R.clone()
        next_R = self._advance_flat(self._native(states_R.reshape(-1)), self._native(tokens_R.reshape(-1)))
        return _tensor(next_R).view(states_R.shape)

    def _advance_flat(self, states_R: Any, tokens_R: Any) -> Any:
        index = self._index
        first_R, count_R = index.children(states_R)
        widest = int(count_R.max())
        slot_B = index.slot_B[: min(widest, self.wide_from)]
        found_RB = index.children_side_by_side(first_R, count_R, slot_B) == tokens_R[:, None]
        found_RB &= slot_B < count_R[:, None]
        # At most one edge is found; where none is, the product is zero, which is DEAD.
        next_R = (found_RB * (slot_B + (first_R + RESERVED)[:, None])).sum(1)
        if widest >= self.wide_from:
            wide_R = count_R >= self.wide_from
            next_R[wide_R] = index.next_wide(states_R[wide_R], tokens_R[wide_R])
        # May it end? True is 1, which is DONE; false is 0, which is DEAD.
        return index.xp.where(tokens_R == self.end_token, index.ends_S[states_R], next_R)

    def follow(self, state: int, token: int) -> int:
        """`advance` for one row by bisection on the host: no tensor, no dispatch, and no wait for an accelerator."""
        tokens_E, first, last = self._edges(state)
        if token == self.end_token:
            return DONE if self.arrays.ends_S[state] else DEAD
        edge = bisect_left(tokens_E, token, first, last)
        return edge + RESERVED if edge < last and tokens_E[edge] == token else DEAD

    def allowed(self, state: int) -> list[int]:
        """The tokens that may follow one state, ascending, the end token last."""
        tokens_E, first, last = self._edges(state)
        tokens: list[int] = tokens_E[first:last].tolist()
        return [*tokens, self.end_token] if self.arrays.ends_S[state] else tokens

    def _edges(self, state: int) -> tuple[Any, int, int]:
        arrays = self.arrays
        return arrays.tokens_E, int(arrays.first_S1[state]), int(arrays.first_S1[state + 1])

    def _native(self, tensor: Tensor) -> Any:
        return tensor.numpy() if self._index.xp is np else tensor


def _bit_rows(arrays: TrieArrays, wide_W: Ints) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """One bit for each token that may not follow, the end token included, for each wide state."""
    rows = np.zeros((wide_W.size, (arrays.vocab_size + 7) // 8), dtype=np.uint8)
    forbidden_V = np.empty(arrays.vocab_size, dtype=np.bool_)
    for row, state in enumerate(wide_W):
        forbidden_V[:] = True
        forbidden_V[arrays.tokens_E[arrays.first_S1[state] : arrays.first_S1[state + 1]]] = False
        forbidden_V[arrays.end_token] = not arrays.ends_S[state]
        rows[row] = np.packbits(forbidden_V, bitorder="little")
    return rows


class Walk(NamedTuple):
    """States along drafted tokens: column k is the state before the k-th, and `allowed_R` how many are allowed."""

    states_RK1: Tensor
    allowed_R: Tensor


@dataclass(frozen=True, eq=False)
class TrieRows:
    """Rows under way, bound to the snapshot they began with. Nothing is changed in place: to roll back, keep the old one."""

    trie: Trie
    states_R: Tensor

    @property
    def done_R(self) -> Tensor:
        return self.states_R == DONE

    @property
    def dead_R(self) -> Tensor:
        return self.states_R == DEAD

    def constrain_(self, logits_RV: Tensor) -> Tensor:
        """Set what may not follow to -inf, in place."""
        return self.trie.constrain_(logits_RV, self.states_R)

    def advance(self, tokens_R: Tensor) -> TrieRows:
        """The rows after one chosen token each."""
        return TrieRows(self.trie, self.trie.advance(self.states_R, tokens_R))

    def select(self, index_R: Tensor) -> TrieRows:
        """Rows in another order, repeated or left out: beams, and rows that leave the batch."""
        return TrieRows(self.trie, self.states_R[index_R])

    def walk(self, drafts_RK: Tensor) -> Walk:
        """Follow drafted tokens without choosing them.

        `trie.constrain_(logits, walk.states_RK1)` masks the verification of all of them, and
        `TrieRows(trie, walk.states_RK1[row, accepted])` is the rows behind the accepted ones.
        """
        states = [self.states_R]
        for tokens_R in drafts_RK.unbind(1):
            states.append(self.trie.advance(states[-1], tokens_R))
        states_RK1 = torch.stack(states, dim=1)
        return Walk(states_RK1, (states_RK1[:, 1:] != DEAD).sum(1))


class TrieHandle:
    """The name under which a trie is found while its content changes. Thread-safe; rows in flight keep their snapshot."""

    def __init__(self, trie: Trie) -> None:
        self._lock = threading.Lock()
        self._current = (trie, 1)

    @property
    def current(self) -> Trie:
        return self._current[0]

    @property
    def version(self) -> int:
        """Counts swaps, from 1."""
        return self._current[1]

    def start(self, rows: int) -> TrieRows:
        """New rows, on the snapshot of this moment."""
        return self.current.start(rows)

    def swap(self, new: Trie) -> Trie:
        """Put a new snapshot in place for rows that start from now on; returns the old one.

        Raises:
            UsageError: it is for another vocabulary or another end token.
        """
        with self._lock:
            old, version = self._current
            if (new.vocab_size, new.end_token) != (old.vocab_size, old.end_token):
                raise UsageError(
                    f"the new trie has {new.vocab_size} tokens and ends by {new.end_token},"
                    f" the old one {old.vocab_size} and {old.end_token}",
                    "build it for the same model, or make a handle of its own",
                )
            self._current = (new, version + 1)
            return old
