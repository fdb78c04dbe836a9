"""What may follow: the protocol by which the engine asks, and the trie behind it.

A constraint is compiled once and serves many sequences; what it knows of one sequence is a state that the engine keeps
beside that sequence and hands back. States are opaque: an integer and a snapshot here, a grammar's matcher elsewhere.

    state = constraint.start()
    constraint.constrain_(logits_RV, [state])          # -inf for what may not follow
    state = constraint.advance(state, token)           # the old state is used up

A preempted, resumed or replayed sequence makes its state anew by advancing over its output ids.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from overwinter.engine.trie import DEAD, ROOT, Trie, TrieHandle
from overwinter.errors import ModelError, UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Constraint", "TrieConstraint", "TrieState", "choices_constraint", "rebuild"]


@runtime_checkable
class Constraint(Protocol):
    """Which tokens may follow. Compiled and immutable; one object may serve any number of sequences.

    Attributes:
        vocab_size: width of the logits it masks; wider logits are a padded head, and the padding becomes -inf.
    """

    @property
    def vocab_size(self) -> int: ...

    def start(self) -> Any:
        """The state of a sequence that has no output yet."""
        ...

    def constrain_(self, logits_RV: Tensor, states: Sequence[Any]) -> None:
        """Set what may not follow to -inf, in place; one state for each row.

        At least one logit of a row stays finite. The exception is a row whose constraint has failed: it keeps none, so that
        its sequence ends in a fault and the others go on.
        """
        ...

    def advance(self, state: Any, token: int) -> Any:
        """The state after `token`. The state that was given may have been changed: use the returned one.

        Raises:
            ModelError: the token may not follow.
        """
        ...

    def is_complete(self, state: Any) -> bool:
        """Nothing but an end token may follow."""
        ...


def rebuild(constraint: Constraint, output_ids: Iterable[int]) -> Any:
    """The state of a sequence that has `output_ids` already: what a preempted or resumed sequence goes on from.

    Raises:
        ModelError: the ids are not what the constraint allows.
    """
    state = constraint.start()
    for token in output_ids:
        state = constraint.advance(state, token)
    return state


def refused(token: int, allowed: Sequence[int]) -> ModelError:
    """The error of a token that may not follow: a sampler that ignored the mask, or ids of another constraint."""
    return ModelError(
        f"token {token} may not follow here: {_listed(allowed)}",
        "mask the logits before sampling, and rebuild a state from the ids of the same constraint",
    )


def _listed(allowed: Sequence[int], most: int = 8) -> str:
    """Allowed tokens in words, for an error."""
    more = f" and {len(allowed) - most} more" if len(allowed) > most else ""
    return f"allowed are {', '.join(map(str, allowed[:most]))}{more}" if allowed else "nothing may follow"


class TrieState(NamedTuple):
    """Where a sequence stands in the snapshot it began with. Never changed: an old one can be gone back to."""

    trie: Trie
    state: int


class TrieConstraint:
    """A finite set of token sequences (engine/trie.py).

    Args:
        source: a trie, or a handle whose content may be swapped. Each sequence keeps to the snapshot that was current at its
            `start`; rows of one snapshot are masked in one call, whatever their depth.
    """

    def __init__(self, source: Trie | TrieHandle) -> None:
        self._source = source
        self._moved: WeakKeyDictionary[Trie, Trie] = WeakKeyDictionary()

    @property
    def vocab_size(self) -> int:
        return self._trie.vocab_size

    @property
    def end_token(self) -> int:
        return self._trie.end_token

    @property
    def _trie(self) -> Trie:
        return self._source.current if isinstance(self._source, TrieHandle) else self._source

    def start(self) -> TrieState:
        return TrieState(self._trie, ROOT)

    def constrain_(self, logits_RV: Tensor, states: Sequence[TrieState]) -> None:
        """See the protocol.

        Raises:
            UsageError: the logits do not fit the states or the vocabulary.
        """
        if logits_RV.dim() != 2 or len(logits_RV) != len(states):
            raise UsageError(
                f"logits {tuple(logits_RV.shape)} do not fit {len(states)} states",
                "give one row of logits for each state",
            )
        rows_of: dict[Trie, list[int]] = {}
        for row, state in enumerate(states):
            rows_of.setdefault(state.trie, []).append(row)
        for trie, rows in rows_of.items():
            placed = self._placed(trie, logits_RV.device)
            states_R = torch.tensor([states[row].state for row in rows], device=logits_RV.device)
            if len(rows) == len(states):
                placed.constrain_(logits_RV, states_R)
            else:
                rows_R = torch.tensor(rows, device=logits_RV.device)
                logits_RV[rows_R] = placed.constrain_(logits_RV[rows_R], states_R)

    def advance(self, state: TrieState, token: int) -> TrieState:
        after = state.trie.follow(state.state, token)
        if after == DEAD:
            raise refused(token, state.trie.allowed(state.state))
        return TrieState(state.trie, after)

    def is_complete(self, state: TrieState) -> bool:
        first_S1 = state.trie.arrays.first_S1
        return bool(first_S1[state.state] == first_S1[state.state + 1])

    def fork(self, state: TrieState) -> TrieState:
        """A copy for beams and drafts: the state itself, since it never changes."""
        return state

    def _placed(self, trie: Trie, device: torch.device) -> Trie:
        """The snapshot where the logits are; moved once."""
        if trie.tokens_E.device == device:
            return trie
        moved = self._moved.get(trie)
        if moved is None or moved.tokens_E.device != device:
            moved = self._moved[trie] = trie.to(device)
        return moved


def choices_constraint(
    choices: Iterable[str], tokenizer: Tokenizer, end_id: int, *, vocab_size: int | None = None
) -> TrieConstraint:
    """One of some texts, such as a world's legal actions, each in the tokens in which the tokenizer itself writes it.

    A text can be cut into tokens in many ways; only this one is allowed, since it is the one a model was trained on, and the
    trie then stays as small as the list. Each choice is encoded by itself: a SentencePiece tokenizer puts its space in front.

    Args:
        end_id: the token that ends an answer.
        vocab_size: width of the model's head; by default the tokenizer's size.

    Raises:
        UsageError: no choice, an empty one, one that these tokens do not write, or one outside the head.
    """
    sequences = []
    for choice in dict.fromkeys(choices):
        encoding = tokenizer.encode(choice, add_special_tokens=False)
        ids = [token for token, real in zip(encoding.ids, encoding.attention_mask, strict=True) if real]  # no padding
        shown = tokenizer.decode(ids)
        if not ids or shown.strip() != choice.strip():
            raise UsageError(
                f"the choice {choice!r} cannot be written: the tokenizer makes {shown!r} of it",
                "word it in characters the tokenizer knows, without names of special tokens",
            )
        sequences.append(ids)
    if not sequences:
        raise UsageError("there is nothing to choose from", "give at least one choice, or no constraint")
    width = max(tokenizer.get_vocab_size(), end_id + 1) if vocab_size is None else vocab_size
    return TrieConstraint(Trie.build(sequences, vocab_size=width, end_token=end_id))
