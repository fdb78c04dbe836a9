"""From logits to the next token of every sequence in a batch, each by its own rules.

Notable ideas:

- Randomness has no state. The noise of a token is a hash of (seed, position, token id), so a sequence draws the same tokens
  alone, in any batch, after preemption and after resume; nothing is stored but the seed.
- Gumbel-max: the token with the largest score + Gumbel noise is a draw from softmax(score). Only maxima decide, and a maximum,
  unlike a sum, does not depend on the order in which a device visits the numbers.
- Truncations are floors: top-k, top-p and min-p each find a lowest score and keep what reaches it. Equal scores share
  their fate, whatever their ids.
- `choose` works on the whole batch; `choose_slowly` says the same for one row in plain Python and is its oracle.

Order: allowed mask, banned ids, bias, penalties, temperature, min-p, top-k, top-p, draw. docs/sampling.md has the formulas.

Shapes: B rows of the batch, R rows that need a step, V vocabulary, K listed log-probabilities.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overwinter.engine.noise import gumbel_argmax, noise_key, uniform
from overwinter.errors import ModelError, UsageError

NEVER = -math.inf
MAX_TOP_LOGPROBS = 20
FIRST_LOOK = 1024
"""Top-p sorts this many of the best tokens first, and all of them only where these do not hold enough probability."""


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How one sequence chooses its tokens. The defaults draw from the model's own distribution.

    Args:
        temperature: 0 takes the best token; 1 draws from the model's distribution.
        top_k: keep the k best tokens; 0 keeps all.
        top_p: keep the best tokens until their probability reaches p; 1 keeps all.
        min_p: keep tokens with at least this share of the best token's probability; 0 keeps all.
        repetition_penalty: divides positive and multiplies negative logits of ids in prompt or output; 1 is off.
        presence_penalty: subtracted from ids that are in the output.
        frequency_penalty: subtracted once for each time an id is in the output.
        logit_bias: pairs (token id, amount added to its logit).
        banned_ids: ids that are never chosen.
        seed: None draws a fresh seed per sequence; `SamplerState.seed` tells which.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    banned_ids: tuple[int, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        # Given as lists, as after a round trip through JSON, they become what the annotations say.
        object.__setattr__(self, "logit_bias", tuple((token, amount) for token, amount in self.logit_bias))
        object.__setattr__(self, "banned_ids", tuple(self.banned_ids))
        _demand_number("temperature", self.temperature, 0.0, math.inf, "0 is greedy, 1 the model's own distribution")
        _demand_integer("top_k", self.top_k, 0, 2**31 - 1, "0 switches it off")
        _demand_number("top_p", self.top_p, 0.0, 1.0, "1 switches it off; for the best token alone set temperature=0")
        if self.top_p == 0:
            raise UsageError("top_p is 0, which keeps no token", "give 0 < top_p ≤ 1, or temperature=0 for greedy")
        _demand_number("min_p", self.min_p, 0.0, 1.0, "0 switches it off")
        _demand_number("repetition_penalty", self.repetition_penalty, 0.01, 100.0, "1 switches it off")
        for name in ("presence_penalty", "frequency_penalty"):
            _demand_number(name, getattr(self, name), -2.0, 2.0, "0 switches it off")
        for token, amount in self.logit_bias:
            _demand_integer("an id in logit_bias", token, 0, 2**31 - 1, "ids come from the tokenizer")
            _demand_number(f"logit_bias of id {token}", amount, -100.0, 100.0, "use banned_ids to exclude a token")
        if len({token for token, _ in self.logit_bias}) < len(self.logit_bias):
            raise UsageError("logit_bias names an id twice", "give each id one amount")
        for token in self.banned_ids:
            _demand_integer("an id in banned_ids", token, 0, 2**31 - 1, "ids come from the tokenizer")
        if self.seed is not None:
            _demand_integer(
                "seed", self.seed, -(2**63), 2**63 - 1, "a seed is a 64-bit integer, or None for a fresh one"
            )

    @property
    def has_penalties(self) -> bool:
        """Whether what was said before changes the logits."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)

    @property
    def is_argmax(self) -> bool:
        """Whether the best raw logit is the answer."""
        return self.temperature == 0 and not (self.has_penalties or self.logit_bias or self.banned_ids)


def _demand_number(name: str, value: object, low: float, high: float, hint: str) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (is_number and low <= value <= high):  # type: ignore[operator]
        wanted = f"from {low:g} to {high:g}" if math.isfinite(high) else f"finite and at least {low:g}"
        raise UsageError(f"{name} is {value!r}", f"give a number {wanted}; {hint}")


def _demand_integer(name: str, value: object, low: int, high: int, hint: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{name} is {value!r}", f"give a whole number from {low} to {high}; {hint}")


class SamplerState:
    """What the choice of a sequence's next token depends on beside the logits: its parameters and the ids so far.

    To suspend a sequence, keep `params`, `seed`, the prompt's ids and the output's ids; a state made from them goes on
    with the same tokens.
    """

    def __init__(
        self,
        params: SamplingParams,
        vocabulary: int,
        prompt_ids: Iterable[int] = (),
        output_ids: Iterable[int] = (),
    ) -> None:
        self.params = params
        self.vocabulary = vocabulary
        self.seed = secrets.randbits(63) if params.seed is None else params.seed
        self.prompt_ids = frozenset(prompt_ids)
        self.output_ids: list[int] = []
        self.counts: Counter[int] = Counter()
        for name, ids in (
            ("logit_bias", [token for token, _ in params.logit_bias]),
            ("banned_ids", list(params.banned_ids)),
            ("the prompt", list(self.prompt_ids)),
        ):
            self._demand_known(name, ids)
        for token in output_ids:
            self.append(token)

    def _demand_known(self, name: str, ids: Iterable[int]) -> None:
        unknown = [token for token in ids if not 0 <= token < self.vocabulary]
        if unknown:
            raise UsageError(
                f"{name} holds id {unknown[0]}; the vocabulary has {self.vocabulary} ids, from 0",
                "take ids from this model's tokenizer",
            )

    @property
    def position(self) -> int:
        """Index of the next token within the output; with the seed it names the noise."""
        return len(self.output_ids)

    def append(self, token: int) -> None:
        """Take a chosen token into the output."""
        self._demand_known("the output", (token,))
        self.output_ids.append(token)
        self.counts[token] += 1

    def truncate(self, length: int) -> None:
        """Take back all output after the first `length` tokens: drafts that were rejected."""
        for token in self.output_ids[length:]:
            self.counts[token] -= 1
            if not self.counts[token]:
                del self.counts[token]
        del self.output_ids[length:]


# --- the batch --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def choose(logits_BV: Tensor, states: Sequence[SamplerState], allowed_BV: Tensor | None = None) -> Tensor:
    """The next token of every row; of equally good tokens the lowest id. The states are not changed.

    Raises:
        ModelError: a row holds NaN or +inf.
        UsageError: a row has no token left; `faults` names such rows without raising.
    """
    _demand_shapes(logits_BV, states, allowed_BV)
    found = faults(logits_BV, states, allowed_BV)
    if found:
        row, problem = min(found.items())
        if problem == _NOT_FINITE:
            raise ModelError(f"row {row}: {problem}", "check weights and dtype; float32 rules out an overflow")
        raise UsageError(f"row {row}: {problem}", "allow a token that is not banned, or end the sequence")
    chosen_B = _masked(logits_BV, allowed_BV).max(dim=-1).indices
    rows = [row for row, state in enumerate(states) if not state.params.is_argmax]
    if rows:
        scores_RV = _adjusted(logits_BV, states, allowed_BV, rows)
        chosen_B[rows] = _drawn(scores_RV, [states[row] for row in rows])
    return chosen_B


_NOT_FINITE = "the logits hold NaN or +inf"
_NOTHING_ALLOWED = "no token is allowed: the mask, banned_ids or the model exclude all of them"


@torch.no_grad()
def faults(logits_BV: Tensor, states: Sequence[SamplerState], allowed_BV: Tensor | None = None) -> dict[int, str]:
    """Rows from which nothing can be chosen, with the reason, so that an engine can end these and go on with the others."""
    best_B = logits_BV.max(dim=-1).values  # the maximum of a row with a NaN is NaN
    broken = (best_B.isnan() | (best_B == math.inf)).tolist()
    best_B = best_B if allowed_BV is None else _masked(logits_BV, allowed_BV).max(dim=-1).values
    empty = (best_B == NEVER).tolist()
    for row, state in enumerate(states):
        if state.params.banned_ids and not (broken[row] or empty[row]):
            open_V = logits_BV[row] > NEVER
            open_V = open_V if allowed_BV is None else open_V & allowed_BV[row]
            open_V[list(state.params.banned_ids)] = False
            empty[row] = not bool(open_V.any())
    reasons = ((_NOT_FINITE if broken[row] else _NOTHING_ALLOWED if empty[row] else "") for row in range(len(states)))
    return {row: reason for row, reason in enumerate(reasons) if reason}


def _demand_shapes(logits_BV: Tensor, states: Sequence[SamplerState], allowed_BV: Tensor | None) -> None:
    if logits_BV.dim() != 2 or logits_BV.shape[0] != len(states):
        raise UsageError(
            f"logits have shape {tuple(logits_BV.shape)} for {len(states)} sequences",
            "give one row of logits per state",
        )
    for row, state in enumerate(states):
        if state.vocabulary != logits_BV.shape[1]:
            raise UsageError(
                f"row {row} was made for {state.vocabulary} ids, the logits have {logits_BV.shape[1]}",
                "make the state with the width of the logits",
            )
    if allowed_BV is not None and (allowed_BV.shape != logits_BV.shape or allowed_BV.dtype != torch.bool):
        raise UsageError(
            f"the mask is {allowed_BV.dtype} of shape {tuple(allowed_BV.shape)}, the logits {tuple(logits_BV.shape)}",
            "give a bool mask of the logits' shape",
        )


def _masked(logits_BV: Tensor, allowed_BV: Tensor | None) -> Tensor:
    return logits_BV if allowed_BV is None else logits_BV.masked_fill(~allowed_BV, NEVER)


def _adjusted(
    logits_BV: Tensor, states: Sequence[SamplerState], allowed_BV: Tensor | None, rows: Sequence[int]
) -> Tensor:
    """Mask, banned ids, bias and penalties, in float64: from here on both versions round alike."""
    index_R = torch.tensor(rows, device=logits_BV.device)
    scores_RV = logits_BV[index_R].double()
    if allowed_BV is not None:
        scores_RV.masked_fill_(~allowed_BV[index_R], NEVER)
    for row, state in enumerate(states[row] for row in rows):
        params, scores_V = state.params, scores_RV[row]
        if params.banned_ids:
            scores_V[list(params.banned_ids)] = NEVER
        if params.logit_bias:
            ids, amounts = zip(*params.logit_bias, strict=True)
            scores_V[list(ids)] += scores_V.new_tensor(amounts)
        if params.has_penalties:
            _penalise(scores_V, state)
    return scores_RV


def _penalise(scores_V: Tensor, state: SamplerState) -> None:
    params, counts = state.params, state.counts
    if params.repetition_penalty != 1 and (seen := list(state.prompt_ids | counts.keys())):
        picked_N = scores_V[seen]
        scores_V[seen] = torch.where(
            picked_N > 0, picked_N / params.repetition_penalty, picked_N * params.repetition_penalty
        )
    if counts:
        scores_V[list(counts)] -= scores_V.new_tensor(list(counts.values())) * params.frequency_penalty
        scores_V[list(counts)] -= params.presence_penalty


def _drawn(scores_RV: Tensor, states: Sequence[SamplerState]) -> Tensor:
    """The best token of greedy rows; the best after noise of the others."""
    best_R = scores_RV.max(dim=-1)
    chosen_R = best_R.indices
    hot = [row for row, state in enumerate(states) if state.params.temperature > 0]
    if not hot:
        return chosen_R
    params = [states[row].params for row in hot]
    temperatures_R = scores_RV.new_tensor([one.temperature for one in params])
    # The best score becomes 0: no temperature, however small, overflows.
    scores_RV = scores_RV[hot].sub_(best_R.values[hot, None]).div_(temperatures_R[:, None])
    _truncate(scores_RV, params)
    keys = [noise_key(states[row].seed, states[row].position) for row in hot]
    chosen_R[hot] = gumbel_argmax(scores_RV, keys)
    return chosen_R


def _truncate(scores_RV: Tensor, params: Sequence[SamplingParams]) -> None:
    """Min-p, top-k and top-p in place, each over the rows that ask for it."""
    vocabulary = scores_RV.shape[1]
    rows = [row for row, one in enumerate(params) if one.min_p > 0]
    if rows:
        floors_R = scores_RV.new_tensor([math.log(params[row].min_p) for row in rows])
        _keep_from(scores_RV, rows, floors_R)
    rows = [row for row, one in enumerate(params) if 0 < one.top_k < vocabulary]
    if rows:
        ks_R = torch.tensor([params[row].top_k for row in rows], device=scores_RV.device)
        best_RK = scores_RV[rows].topk(int(ks_R.max()), dim=-1).values
        _keep_from(scores_RV, rows, best_RK.gather(1, ks_R[:, None] - 1)[:, 0])
    rows = [row for row, one in enumerate(params) if one.top_p < 1]
    if rows:
        shares_R = scores_RV.new_tensor([params[row].top_p for row in rows])
        _keep_from(scores_RV, rows, _top_p_floors(scores_RV[rows], shares_R))


def _keep_from(scores_RV: Tensor, rows: Sequence[int], floors_R: Tensor) -> None:
    kept_RV = scores_RV[rows]
    scores_RV[rows] = kept_RV.masked_fill_(kept_RV < floors_R[:, None], NEVER)


def _top_p_floors(scores_RV: Tensor, shares_R: Tensor) -> Tensor:
    """The lowest score that top-p keeps. Sums are running sums from left to right, so that they round alike in any batch."""
    vocabulary = scores_RV.shape[1]
    needed_R = shares_R * scores_RV.exp().cumsum(dim=-1)[:, -1]
    looked_at = min(FIRST_LOOK, vocabulary)
    while True:
        best_RK = scores_RV.topk(looked_at, dim=-1).values
        before_R = (best_RK.exp().cumsum(dim=-1) < needed_R[:, None]).sum(dim=-1)
        if looked_at == vocabulary or bool((before_R < looked_at).all()):
            return best_RK.gather(1, before_R.clamp(max=looked_at - 1)[:, None])[:, 0]
        looked_at = vocabulary


# --- one row, slowly --------------------------------------------------------------------------------------------------


def choose_slowly(logits: Sequence[float], state: SamplerState, allowed: Sequence[bool] | None = None) -> int:
    """What `choose` does to one row, one token after the other."""
    params, scores = state.params, [float(logit) for logit in logits]
    amounts = dict(params.logit_bias)
    for token in range(len(scores)):
        if (allowed is not None and not allowed[token]) or token in params.banned_ids:
            scores[token] = NEVER
        scores[token] += amounts.get(token, 0.0)
        if token in state.prompt_ids or token in state.counts:
            penalty = params.repetition_penalty
            scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
        if token in state.counts:
            scores[token] -= state.counts[token] * params.frequency_penalty
            scores[token] -= params.presence_penalty
    best = max(scores)
    if params.temperature > 0:
        scores = [(score - best) / params.temperature for score in scores]
        key = noise_key(state.seed, state.position)
        floor = _floor_slowly(scores, params)
        for token, score in enumerate(scores):
            # What can no longer be drawn gets no noise; the others stay ordered by score + Gumbel noise.
            gumbel = -math.log(-math.log(uniform(key, token)))
            scores[token] = score + gumbel if score >= floor else NEVER
    return scores.index(max(scores))


def _floor_slowly(scores: Sequence[float], params: SamplingParams) -> float:
    """The lowest score that min-p, top-k and top-p together keep, for scores whose best is 0."""
    floor = math.log(params.min_p) if params.min_p > 0 else NEVER
    kept = sorted((score for score in scores if score >= floor), reverse=True)
    if 0 < params.top_k < len(kept):
        floor = kept[params.top_k - 1]
    if params.top_p < 1:
        total = 0.0
        for score in scores:
            total += math.exp(score) if score >= floor else 0.0
        reached = 0.0
        for score in sorted((score for score in scores if score >= floor), reverse=True):
            reached += math.exp(score)
            floor = score
            if reached >= params.top_p * total:
                break
    return floor


# --- log-probabilities ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TokenLogprobs:
    """Log-probabilities of the model's own distribution, before mask, bias, penalties, temperature and truncation.

    The listed tokens run from the most to the least likely, equals by id; the chosen token need not be among them.
    Shapes: `chosen` (B), `top` and `top_ids` (B, K).
    """

    chosen: Tensor
    top: Tensor
    top_ids: Tensor


@torch.no_grad()
def token_logprobs(logits_BV: Tensor, chosen_B: Tensor, top: int = MAX_TOP_LOGPROBS) -> TokenLogprobs:
    """Log-softmax in float32 of the chosen tokens and of the `top` likeliest."""
    _demand_integer("top", top, 0, MAX_TOP_LOGPROBS, "0 gives the chosen tokens alone")
    logprobs_BV = logits_BV.float().log_softmax(dim=-1)
    top = min(top, logits_BV.shape[1])
    picked_B = logprobs_BV.gather(1, chosen_B[:, None])[:, 0]
    if top == 0:
        return TokenLogprobs(chosen=picked_B, top=logprobs_BV[:, :0], top_ids=chosen_B[:, None][:, :0])
    values_BK, ids_BK = logprobs_BV.topk(top, dim=-1)
    # topk leaves the order of equals open: first by id, then stably by value ...
    ids_BK = ids_BK.sort(dim=-1).values
    values_BK, order_BK = logprobs_BV.gather(1, ids_BK).sort(dim=-1, descending=True, stable=True)
    ids_BK = ids_BK.gather(1, order_BK)
    # ... and where equals stand on both sides of the border, the lowest ids of them are listed.
    crowded_B = (logprobs_BV >= values_BK[:, -1:]).sum(dim=-1) > top
    for row in crowded_B.nonzero()[:, 0].tolist():
        ids_N = (logprobs_BV[row] >= values_BK[row, -1]).nonzero()[:, 0]
        order_N = logprobs_BV[row, ids_N].sort(descending=True, stable=True).indices
        ids_BK[row] = ids_N[order_N[:top]]
    return TokenLogprobs(chosen=picked_B, top=logprobs_BV.gather(1, ids_BK), top_ids=ids_BK)
