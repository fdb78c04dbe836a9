"""From hidden rows to chosen tokens and log-probabilities, for all sequences of a step.

Log-probabilities are the model's own, before constraint, bias, penalties and temperature: what training needs and what a
reader can compare between runs. A row from which nothing can be chosen ends its own sequence and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from overwinter.engine import sampling
from overwinter.engine.memory import Span
from overwinter.engine.request import TokenLogprob
from overwinter.engine.sequence import LiveSequence
from overwinter.errors import OverwinterError

Head = Callable[[Tensor], Tensor]
ROWS_AT_ONCE = 128
"""Rows of logits that are held together for the log-probabilities of a prompt."""


def logits_of(rows_RD: Tensor, head: Head) -> Tensor:
    """Logits [R, V] in float32."""
    return head(rows_RD[None])[0].float()


def note_prompt(live: LiveSequence, span: Span, rows_TD: Tensor, head: Head) -> None:
    """Write down the log-probabilities of those prompt tokens that this piece's rows predict."""
    top = live.request.prompt_logprobs
    if top is None:
        return
    first, last = live.wants_prompt_logprob, min(live.prompt_length - 1, span.start + span.length)
    while first <= last:
        stop = min(first + ROWS_AT_ONCE, last + 1)
        at = span.row - span.start - 1  # the row before a token predicts it
        logits_RV = logits_of(rows_TD[at + first : at + stop], head)
        chosen_R = torch.tensor(live.ids[first:stop], device=logits_RV.device)
        live.prompt_logprobs += _listed(logits_RV, chosen_R, [top] * (stop - first))
        first = stop


def choose_next(logits_RV: Tensor, sequences: Sequence[LiveSequence]) -> list[TokenLogprob | str]:
    """Each sequence's next token with its log-probability, or why there is none."""
    allowed_RV = _constrained(logits_RV, sequences)
    states = [live.sampler for live in sequences]
    problems: dict[int, str] = {}
    try:
        chosen_R = sampling.choose(allowed_RV, states)
    except OverwinterError:
        problems = sampling.faults(allowed_RV, states)
        sound = [row for row in range(len(sequences)) if row not in problems]
        chosen_R = torch.zeros(len(sequences), dtype=torch.int64, device=logits_RV.device)
        if sound:
            chosen_R[sound] = sampling.choose(allowed_RV[sound], [states[row] for row in sound])
    for row, live in enumerate(sequences):
        if live.watches is not None and live.watches.forced:
            # The word is forced, its log-probabilities are those of the distribution it was forced into.
            chosen_R[row] = live.watches.forced[0]
            problems.pop(row, None)
    tops = [live.wants_top for live in sequences]
    if all(top is None for top in tops):
        found = [TokenLogprob(token, None) for token in chosen_R.tolist()]
    else:
        found = _listed(logits_RV, chosen_R, [top or 0 for top in tops])
    return [problems.get(row, choice) for row, choice in enumerate(found)]


def _listed(logits_RV: Tensor, chosen_R: Tensor, tops: Sequence[int]) -> list[TokenLogprob]:
    most = max(tops)
    found = sampling.token_logprobs(logits_RV, chosen_R, most)
    chosen, ids = found.chosen.tolist(), chosen_R.tolist()
    top_ids, top = found.top_ids.tolist(), found.top.tolist()
    return [
        TokenLogprob(ids[row], chosen[row], tuple(zip(top_ids[row][:count], top[row][:count], strict=True)))
        for row, count in enumerate(tops)
    ]


def _constrained(logits_RV: Tensor, sequences: Sequence[LiveSequence]) -> Tensor:
    """A copy with -inf for what may not follow; the logits themselves where nothing is constrained."""
    rows_of: dict[int, list[int]] = {}
    for row, live in enumerate(sequences):
        if live.request.constraint is not None:
            rows_of.setdefault(id(live.request.constraint), []).append(row)
    if not rows_of:
        return logits_RV
    allowed_RV = logits_RV.clone()
    for rows in rows_of.values():
        constraint: Any = sequences[rows[0]].request.constraint
        picked_RV = allowed_RV[rows]
        constraint.constrain_(picked_RV, [sequences[row].constraint_state for row in rows])
        allowed_RV[rows] = picked_RV
    return allowed_RV
