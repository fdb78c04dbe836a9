"""From token sequences to the three arrays of a trie, one level at a time; and the file they are kept in.

Idea: rows are kept in the order of their node. On each level only rows that still share a node are sorted; a row that
is alone in its node is in place already. Random sequences part after two or three tokens, so that the later levels cost
one gather and one comparison. There is no padded N × L matrix, and one long sequence among short ones costs its length.

Changed from the source (arXiv 2602.22647, which sorts all columns and needs one common length): lengths may differ, and
nodes are numbered breadth first, so that the edge at position `e` leads to state `e + 3`; next states are not stored.

Legend: N sequences, E edges, S = E + 3 states (dead, done, root, then one state for each edge).
"""

# ruff: noqa: N815 (shapes are suffixes of attributes too)

from __future__ import annotations

import operator
import os
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overwinter.errors import UsageError

Ints = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]

FORMAT = 1
DEAD, DONE, ROOT = 0, 1, 2
RESERVED = 3
"""States 0, 1 and 2 are dead, done and root; the edge at position e leads to state e + RESERVED."""
MAX_STATES = 2**31 - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class TrieArrays:
    """All that is stored. Children of state s are the edges `first_S1[s]` to `first_S1[s + 1]`, by ascending token.

    `ends_S[s]` says that the end token may follow; `ends_S[DONE]` is true (a finished row goes on ending) and
    `ends_S[DEAD]` is false.
    """

    vocab_size: int
    end_token: int
    tokens_E: Ints
    first_S1: Ints
    ends_S: Bools


def build_arrays(sequences: Iterable[Sequence[int]] | Ints, *, vocab_size: int, end_token: int) -> TrieArrays:
    """The trie of `sequences`: an iterable of token ids, or a 2-D integer array with one sequence per row.

    The end token may stand at the end of a sequence or be left out; it becomes a branch either way.

    Raises:
        UsageError: no sequence, an empty one, a token outside the vocabulary, the end token inside a sequence.
    """
    if not 0 <= end_token < vocab_size:
        raise UsageError(
            f"end token {end_token} is outside the vocabulary of {vocab_size}",
            "give the tokenizer's end-of-sequence id and the model's vocabulary size",
        )
    values_T, start_N, length_N = _flatten(sequences)
    length_N = _checked_lengths(values_T, start_N, length_N, vocab_size, end_token)
    tokens, counts, ends = _levels(values_T, start_N, length_N, vocab_size)
    edges = sum(level.size for level in tokens)
    if edges + RESERVED > MAX_STATES:
        raise UsageError(f"{edges} prefixes do not fit into 31 bits", "split the sequences over several tries")
    first_S1 = np.zeros(edges + RESERVED + 1, dtype=np.int32)
    # Dead and done have no children, so the first two differences stay zero.
    np.cumsum(np.concatenate(counts), out=first_S1[ROOT + 1 :])
    return TrieArrays(
        vocab_size=vocab_size,
        end_token=end_token,
        tokens_E=np.concatenate(tokens),
        first_S1=first_S1,
        ends_S=np.concatenate([np.array([False, True]), *ends]),
    )


def _flatten(sequences: Iterable[Sequence[int]] | Ints) -> tuple[Ints, Ints, Ints]:
    """All tokens behind each other, where each sequence starts, and how long it is."""
    if isinstance(sequences, np.ndarray):
        if sequences.ndim != 2 or not np.issubdtype(sequences.dtype, np.integer):
            raise UsageError(
                f"an array of {sequences.ndim} dimensions of {sequences.dtype} is not a list of token sequences",
                "give a 2-D integer array with one sequence per row, or an iterable of sequences",
            )
        count, length = sequences.shape
        lengths_N: Ints = np.full(count, length, dtype=np.int64)
        values_T: Ints = sequences.astype(np.int64).reshape(-1)
    else:
        try:
            rows = list(sequences)
            lengths_N = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
            # index() refuses 1.5, which numpy would take for 1.
            tokens = map(operator.index, chain.from_iterable(rows))
            values_T = np.fromiter(tokens, dtype=np.int64, count=int(lengths_N.sum()))
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"a sequence is not made of token ids: {error}", "give sequences of integers") from error
    if not lengths_N.size:
        raise UsageError("a trie of no sequences allows nothing", "give at least one token sequence")
    start_N = np.cumsum(lengths_N) - lengths_N
    return values_T, start_N, lengths_N


def _checked_lengths(values_T: Ints, start_N: Ints, length_N: Ints, vocab_size: int, end_token: int) -> Ints:
    """Lengths without a closing end token; whatever cannot be a sequence is refused with its number."""
    outside = values_T.size > 0 and (int(values_T.min()) < 0 or int(values_T.max()) >= vocab_size)
    if outside:
        at = int(np.flatnonzero((values_T < 0) | (values_T >= vocab_size))[0])
        row = int(np.searchsorted(start_N, at, side="right")) - 1
        raise UsageError(
            f"token {int(values_T[at])} of sequence {row} is outside the vocabulary of {vocab_size}",
            "use the tokenizer that belongs to the model, and its full vocabulary size",
        )
    at_end = np.flatnonzero(values_T == end_token)
    owner = np.searchsorted(start_N, at_end, side="right") - 1
    inside = at_end != start_N[owner] + length_N[owner] - 1
    if inside.any():
        raise UsageError(
            f"sequence {int(owner[inside][0])} goes on after the end token {end_token}",
            "cut it there, or choose the end token that the model really stops at",
        )
    without_end = length_N.copy()
    without_end[owner] -= 1
    if not without_end.all():
        raise UsageError(
            f"sequence {int(np.flatnonzero(without_end == 0)[0])} is empty",
            "leave it out: whether to constrain at all is decided before the first token",
        )
    return without_end


def _levels(
    values_T: Ints, start_N: Ints, length_N: Ints, vocab_size: int
) -> tuple[list[Ints], list[Ints], list[Bools]]:
    """For each level: tokens of its edges; and for each level of nodes from the root: child counts, may it end."""
    # int16 where it fits halves the largest array; torch has no use for unsigned 16-bit indices.
    token_dtype = np.int16 if vocab_size <= 2**15 else np.int32
    tokens: list[Ints] = []
    counts: list[Ints] = []
    ends: list[Bools] = []
    row_A: Ints = np.arange(start_N.size)  # rows that go on, in the order of their node
    node_A: Ints = np.zeros(start_N.size, dtype=np.int64)  # their node, counted within the level
    size, depth = 1, 0
    while row_A.size:
        ended_A = length_N[row_A] == depth
        may_end = np.zeros(size, dtype=np.bool_)
        if ended_A.any():
            may_end[node_A[ended_A]] = True
            row_A, node_A = row_A[~ended_A], node_A[~ended_A]
        ends.append(may_end)
        key_A = node_A * vocab_size + values_T[start_N[row_A] + depth] if row_A.size else row_A
        _sort_shared(row_A, node_A, key_A)
        new_A = np.ones(row_A.size, dtype=np.bool_)
        np.not_equal(key_A[1:], key_A[:-1], out=new_A[1:])
        parent = node_A[new_A]
        counts.append(np.bincount(parent, minlength=size))
        tokens.append((key_A[new_A] - parent * vocab_size).astype(token_dtype))
        node_A = np.cumsum(new_A) - 1
        size, depth = parent.size, depth + 1
    return tokens, counts, ends


def _sort_shared(row_A: Ints, node_A: Ints, key_A: Ints) -> None:
    """Sort by key, in place, the rows whose node is shared; their places are contiguous by node already."""
    same = node_A[1:] == node_A[:-1]
    shared_A = np.zeros(row_A.size, dtype=np.bool_)
    shared_A[1:] |= same
    shared_A[:-1] |= same
    at = np.flatnonzero(shared_A)
    if at.size:
        by_key = at[np.argsort(key_A[at])]
        key_A[at], row_A[at] = key_A[by_key], row_A[by_key]


def save_arrays(arrays: TrieArrays, path: Path) -> None:
    """Write them whole or not at all: temporary name, fsync, rename."""
    head = np.array([FORMAT, arrays.vocab_size, arrays.end_token], dtype=np.int64)
    handle, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, head=head, tokens=arrays.tokens_E, first=arrays.first_S1, ends=arrays.ends_S)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_arrays(path: Path) -> TrieArrays:
    """Read and check what `save_arrays` wrote; nothing in the file is executed.

    Raises:
        UsageError: no such file, not a trie, damaged, or from a newer overwinter.
    """
    again = "build the trie again and save it there"
    try:
        with np.load(path, allow_pickle=False) as file:
            head, tokens, first, ends = (file[name] for name in ("head", "tokens", "first", "ends"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no trie at {path}", "check the path, or build and save it") from error
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is not a trie or is damaged: {error}", again) from error
    if head.shape != (3,) or head.dtype != np.int64:
        raise UsageError(f"{path} is not a trie", again)
    if head[0] != FORMAT:
        raise UsageError(f"{path} has format {head[0]}, this overwinter reads {FORMAT}", again)
    arrays = TrieArrays(vocab_size=int(head[1]), end_token=int(head[2]), tokens_E=tokens, first_S1=first, ends_S=ends)
    if not _is_sound(arrays):
        raise UsageError(f"{path} is damaged: its arrays do not describe a trie", again)
    return arrays


def _is_sound(arrays: TrieArrays) -> bool:
    """Whether every state leads forward, every child list ascends, and no state but dead is without continuation."""
    tokens_E, first_S1, ends_S = arrays.tokens_E, arrays.first_S1, arrays.ends_S
    shapes = tokens_E.ndim == first_S1.ndim == ends_S.ndim == 1 and tokens_E.size > 0
    if not shapes or ends_S.size != tokens_E.size + RESERVED or first_S1.size != ends_S.size + 1:
        return False
    if tokens_E.dtype not in (np.int16, np.int32) or first_S1.dtype != np.int32 or ends_S.dtype != np.bool_:
        return False
    count_S = np.diff(first_S1)
    if first_S1[ROOT] != 0 or first_S1[0] != 0 or first_S1[-1] != tokens_E.size or count_S.min() < 0:
        return False
    if not 0 <= arrays.end_token < arrays.vocab_size or tokens_E.min() < 0 or tokens_E.max() >= arrays.vocab_size:
        return False
    owner_E = np.repeat(np.arange(ends_S.size), count_S)
    ascending = (tokens_E[1:] > tokens_E[:-1]) | (owner_E[1:] != owner_E[:-1])
    forward = owner_E < np.arange(tokens_E.size) + RESERVED
    goes_on = (count_S[DONE:] > 0) | ends_S[DONE:]
    no_end_edge = (tokens_E != arrays.end_token).all()
    return bool(ascending.all() and forward.all() and goes_on.all() and no_end_edge and not ends_S[DEAD])
