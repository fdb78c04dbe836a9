"""Decisions side by side as tensors: what a forward pass reads, and where in its output each drawn token is decided.

Rows are padded at their left, where every mixer of the decoder lets padding stand, so the last prompt token is in the last
column. Decisions that were asked the same are one row: episodes of a group begin alike. Each drawn token is one of N: the row and
column whose logits decide it, and the tokens that could be drawn there. With candidates these are the children of a trie node,
as in the engine's constraint; where one candidate begins another, the end token is one of them.

Shapes: B decisions, U rows, L columns, K needed columns, N drawn tokens, A tokens to choose from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.learn.reinforce.decision import Candidates, Decision


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Attributes:
    ids, positions: [UL], left-padded; positions of padding are -1.
    columns: [UK] the columns of each row whose logits are needed; some twice, where others need more.
    unique: [B] each decision's row.
    decision: [N] whose a drawn token is.
    place: [N] where in `columns` of that decision's row its logits are.
    target: [N] the drawn token.
    allowed, is_allowed: [NA] what could be drawn there, and which of the slots count; None where anything could.
    before_slot: [B] place in `columns` whose logits foretell the outcome token; -1 for none.
    """

    ids: Tensor
    positions: Tensor
    columns: Tensor
    unique: Tensor
    decision: Tensor
    place: Tensor
    target: Tensor
    allowed: Tensor | None
    is_allowed: Tensor | None
    before_slot: Tensor

    def to(self, device: torch.device) -> Rows:
        """The same on another device."""
        if self.ids.device == device:
            return self
        moved: dict[str, Any] = {
            name: None if value is None else value.to(device) for name, value in vars(self).items()
        }
        return Rows(**moved)


def collate(decisions: Sequence[Decision], outcome: Sequence[int] | None = None, *, end_id: int | None = None) -> Rows:
    """Rows of a batch.

    Args:
        outcome: the token to put into each decision's slot; None leaves the prompts as they were asked.
        end_id: ends a candidate that begins another one.

    Raises:
        UsageError: decisions with and without candidates in one batch, or an outcome for a prompt without a slot.
    """
    # All ids but the last drawn one, which nothing follows.
    rows = [decision.prompt + decision.ids[:-1] for decision in decisions]
    if outcome is not None:
        rows = [_told(row, decision, token) for row, decision, token in zip(rows, decisions, outcome, strict=True)]
    places = {row: place for place, row in enumerate(dict.fromkeys(rows))}
    ids_UL, positions_UL = left_padded(list(places))
    width = ids_UL.shape[1]
    unique_B = [places[row] for row in rows]
    needed: list[dict[int, int]] = [{} for _ in places]  # of each row: column → its place
    place_N, before_B = [], []
    for decision, row in zip(decisions, unique_B, strict=True):
        mine, count = needed[row], len(decision.ids)
        place_N += [mine.setdefault(column, len(mine)) for column in range(width - count, width)]
        slot = decision.slot
        column = -1 if slot is None else width - len(decision.prompt) - count + slot  # the one before the slot's own
        before_B.append(-1 if slot is None else mine.setdefault(column, len(mine)))
    most = max(map(len, needed))
    target_N = np.array([token for decision in decisions for token in decision.ids])
    allowed, is_allowed = _allowed(decisions, end_id)
    return Rows(
        ids=torch.from_numpy(ids_UL),
        positions=torch.from_numpy(positions_UL),
        columns=torch.tensor([[*mine, *[width - 1] * (most - len(mine))] for mine in needed]),
        unique=torch.tensor(unique_B),
        decision=torch.from_numpy(np.repeat(np.arange(len(decisions)), [len(d.ids) for d in decisions])),
        place=torch.tensor(place_N),
        target=torch.from_numpy(target_N),
        allowed=allowed,
        is_allowed=is_allowed,
        before_slot=torch.tensor(before_B),
    )


def _told(row: tuple[int, ...], decision: Decision, outcome: int) -> tuple[int, ...]:
    if decision.slot is None:
        raise UsageError("a prompt has no place for an outcome", "use a form that writes an outcome line")
    return (*row[: decision.slot], outcome, *row[decision.slot + 1 :])


def left_padded(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids [BL] and positions [BL] of rows of any lengths."""
    width = max(map(len, rows))
    ids_BL = np.zeros((len(rows), width), np.int64)
    positions_BL = np.arange(width)[None] - np.array([width - len(row) for row in rows])[:, None]
    for number, row in enumerate(rows):
        ids_BL[number, width - len(row) :] = row
    return ids_BL, np.maximum(positions_BL, -1)


def _allowed(decisions: Sequence[Decision], end_id: int | None) -> tuple[Tensor | None, Tensor | None]:
    kinds = {decision.candidates is None for decision in decisions}
    if len(kinds) > 1:
        raise UsageError("decisions with and without candidates in one batch", "train them by policies of their own")
    if kinds == {True}:
        return None, None
    choices = [tokens for d in decisions for tokens in path(d.candidates or (), d.ids, end_id)]
    widest = max(map(len, choices))
    allowed_NA = np.zeros((len(choices), widest), np.int64)
    is_allowed_NA = np.arange(widest)[None] < np.array([len(tokens) for tokens in choices])[:, None]
    for number, tokens in enumerate(choices):
        allowed_NA[number, : len(tokens)] = tokens
    return torch.from_numpy(allowed_NA), torch.from_numpy(is_allowed_NA)


def is_one_token(candidates: Candidates) -> bool:
    """Each candidate is one token, so that one row of logits decides."""
    return all(len(candidate) == 1 for candidate in candidates)


def path(candidates: Candidates, ids: Sequence[int], end_id: int | None) -> list[list[int]]:
    """The tokens that could be drawn at each step of `ids`, in the order of the candidates, the end token last.

    Raises:
        UsageError: `ids` do not lead along the candidates, or one begins another and there is no end token.
    """
    if is_one_token(candidates) and len(ids) == 1:
        return [[candidate[0] for candidate in candidates]]
    steps = []
    for depth, token in enumerate(ids):
        before = tuple(ids[:depth])
        left = [candidate for candidate in candidates if candidate[:depth] == before]
        tokens = list(dict.fromkeys(candidate[depth] for candidate in left if len(candidate) > depth))
        if any(len(candidate) == depth for candidate in left):
            if end_id is None:
                raise UsageError(
                    "a candidate begins another one, and no end token tells them apart", "give the policy its end_id"
                )
            tokens.append(end_id)
        if token not in tokens:
            raise UsageError(
                f"token {token} is on no candidate's way after {list(before)}",
                "the decision's ids must be one of its candidates, with the end token where one begins another",
            )
        steps.append(tokens)
    return steps


def spelled(candidates: Candidates, choice: int, end_id: int | None) -> tuple[int, ...]:
    """The ids by which a candidate is drawn: its own, and the end token where it begins another one."""
    chosen = candidates[choice]
    is_beginning = any(each != chosen and each[: len(chosen)] == chosen for each in candidates)
    if is_beginning and end_id is None:
        raise UsageError(
            "a candidate begins another one, and no end token tells them apart", "give the policy its end_id"
        )
    return (*chosen, end_id) if is_beginning and end_id is not None else chosen


def pieces(lengths: NDArray[np.int64], most_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Indices of rows that are computed together: of like length, and with padding at most `most_tokens`; one row at least."""
    order, start = np.argsort(lengths, kind="stable"), 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] * (stop + 1 - start) <= most_tokens:
            stop += 1
        yield order[start:stop]
        start = stop
