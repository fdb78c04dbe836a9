"""A decoder as a policy: log-probabilities of what was drawn, with gradients, as the engine had them when it drew.

Two policies share all but the last line. `CandidatePolicy` draws one of a list; what may follow is masked as by the engine's
trie, so a candidate's probability is the product over its tokens of softmax over the children of the node before:

    log π(a|s) = Σ_k log softmax(l_k / T | children of a_1 … a_{k-1})[a_k]

With candidates of one token each that is one softmax over the list. (A softmax over whole sequence scores would be another
distribution than the one that was sampled.) `TokenPolicy` draws any text: the softmax is over the vocabulary.

The outcome line of a prompt serves three ends. The logits *before* its token, over the two words for good and bad, are a value
head: the chance of success, from the same forward pass. With the real outcome *in* the slot the same weights are the
hindsight policy h(a|s, outcome) of Hindsight Credit Assignment (arXiv 1912.02503, return-conditional). And a policy that is
asked with the good word there acts as one who succeeds.

`score` computes many decisions at once; `score_slowly` one by one, without padding, and is its oracle.

Shapes: B decisions, U rows and K columns (collate.py), N drawn tokens, A candidates, D model width, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from overwinter.errors import UsageError
from overwinter.learn.batch import Floats
from overwinter.learn.reinforce.collate import Rows, collate, is_one_token, path, pieces, spelled
from overwinter.learn.reinforce.decision import Decision, Episode, flat
from overwinter.learn.reinforce.ends import hidden_at
from overwinter.model import Decoder

TOKENS_AT_ONCE = 2_048
"""Tokens, padding included, of one forward pass without gradients."""


@dataclass(frozen=True, kw_only=True)
class OutcomeIds:
    """The tokens of the outcome line: not known yet, and what came."""

    unknown: int
    well: int
    badly: int

    def of(self, success: float) -> int:
        """NaN is unknown; a share counts as success from one half on."""
        return self.unknown if np.isnan(success) else self.well if success >= 0.5 else self.badly


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Attributes:
    logprob, entropy: [N] per drawn token.
    decision: [N] which decision it belongs to.
    success: [B] log-odds of success from the slot; NaN where a prompt has none; None for a policy without outcomes.
    policy: [BA] log-probabilities of the candidates, -inf beyond them; None unless each is one token.
    """

    logprob: Tensor
    entropy: Tensor
    decision: Tensor
    success: Tensor | None
    policy: Tensor | None

    def per_decision(self) -> Tensor:
        """[B] log-probability of each whole action."""
        count = int(self.decision.max()) + 1
        return torch.zeros(count, dtype=self.logprob.dtype, device=self.logprob.device).index_add(
            0, self.decision, self.logprob
        )


class Policy(ABC):
    """What both policies share.

    Args:
        decoder: trained in place.
        outcome: ids of the outcome line; None for prompts without one.
        end_id: ends a candidate that begins another, and free text.
        temperature: divides logits before the draw; training sees the same distribution.
        version: number of the weights, counted up with each training iteration.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        outcome: OutcomeIds | None = None,
        end_id: int | None = None,
        temperature: float = 1.0,
        version: int = 0,
    ) -> None:
        if not temperature > 0:
            raise UsageError(
                f"a policy of temperature {temperature} has no probabilities", "train above 0; evaluate at 0"
            )
        self.decoder = decoder
        self.outcome = outcome
        self.end_id = end_id
        self.temperature = temperature
        self.version = version

    def score(self, decisions: Sequence[Decision], outcome: Sequence[int] | None = None) -> Scores:
        """Log-probabilities of what was drawn, with gradients if they are enabled.

        Args:
            outcome: tokens to put into the slots, one per decision; None leaves what was asked.
        """
        rows = collate(decisions, outcome, end_id=self.end_id).to(self.decoder.embed.weight.device)
        hidden_UKD = hidden_at(self.decoder, rows.ids, rows.positions, rows.columns)
        log_NA, target_N = self._distribution(hidden_UKD[rows.unique[rows.decision], rows.place], rows)
        return Scores(
            logprob=log_NA.gather(1, target_N[:, None])[:, 0],
            entropy=entropy_of(log_NA),
            decision=rows.decision,
            success=self._success(hidden_UKD, rows),
            policy=log_NA if rows.allowed is not None and len(rows.decision) == len(decisions) else None,
        )

    def score_slowly(self, decision: Decision, outcome: int | None = None) -> Scores:
        """The same of one decision by the plain forward pass of its own tokens, one drawn token after the other."""
        ids = list(decision.prompt + decision.ids[:-1])
        if outcome is not None and decision.slot is not None:
            ids[decision.slot] = outcome
        logits_LV = self.decoder(torch.tensor([ids]))[0].float()
        logprobs, entropies, last = [], [], torch.zeros(0)
        for step, token in enumerate(decision.ids):
            last = logits_LV[len(decision.prompt) - 1 + step] / self.temperature
            if decision.candidates is not None:
                allowed = path(decision.candidates, decision.ids, self.end_id)[step]
                last, token = last[allowed], allowed.index(token)  # noqa: PLW2901 (its place among the allowed)
            last = last.log_softmax(0)
            logprobs.append(last[token])
            entropies.append(-(last.exp() * last).sum())
        success = None
        if self.outcome is not None and decision.slot is not None:
            before_V = logits_LV[decision.slot - 1]
            success = (before_V[self.outcome.well] - before_V[self.outcome.badly])[None]
        single = decision.candidates is not None and is_one_token(decision.candidates)
        return Scores(
            logprob=torch.stack(logprobs),
            entropy=torch.stack(entropies),
            decision=torch.zeros(len(logprobs), dtype=torch.int64),
            success=success,
            policy=last[None] if single else None,
        )

    @abstractmethod
    def _distribution(self, hidden_ND: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """Log-probabilities of what could be drawn, and the place of the drawn token among it."""

    def _logits(self, hidden_ND: Tensor) -> Tensor:
        return self.decoder.logits(hidden_ND[None])[0].float()

    def _success(self, hidden_UKD: Tensor, rows: Rows) -> Tensor | None:
        has_slot_B = rows.before_slot >= 0
        if self.outcome is None or not bool(has_slot_B.any()):
            return None
        before_BD = hidden_UKD[rows.unique, rows.before_slot.clamp(min=0)]
        logits_BV = self._logits(before_BD)
        odds_B = logits_BV[:, self.outcome.well] - logits_BV[:, self.outcome.badly]
        return odds_B.masked_fill(~has_slot_B, float("nan"))

    # --- without gradients, for whole batches ---------------------------------------------------------------------

    @torch.no_grad()
    def logprobs(self, decisions: Sequence[Decision], *, tokens: int = TOKENS_AT_ONCE) -> NDArray[np.float32]:
        """[N] log-probabilities of all drawn tokens, in order."""
        starts = np.cumsum([0, *(len(decision.ids) for decision in decisions)])
        found = np.zeros(starts[-1], np.float32)
        for part in pieces(lengths_of(decisions), tokens):
            scores = self.score([decisions[row] for row in part])
            found[np.concatenate([np.arange(starts[row], starts[row + 1]) for row in part])] = scores.logprob.cpu()
        return found

    @torch.no_grad()
    def all_candidates(self, decisions: Sequence[Decision], outcome: Sequence[int] | None = None) -> Floats:
        """[S, A] log-probabilities of all candidates of each decision, -inf beyond them.

        Candidates of several tokens cost a row each; those of one token one for all.

        Args:
            outcome: as for `score`.

        Raises:
            UsageError: a decision without candidates.
        """
        lists = [decision.candidates or () for decision in decisions]
        if not all(lists):
            raise UsageError("a decision without candidates has no list of probabilities", "use CandidatePolicy")
        found_SA = np.full((len(decisions), max(map(len, lists))), -np.inf)
        for part in pieces(lengths_of(decisions), TOKENS_AT_ONCE):
            single = np.array([row for row in part if is_one_token(lists[row])], np.int64)
            if len(single):
                scores = self.score([decisions[row] for row in single], _of(outcome, single))
                assert scores.policy is not None
                found_SA[single, : scores.policy.shape[1]] = scores.policy.double().cpu()
            for row in set(part.tolist()) - set(single.tolist()):
                each = [_choosing(decisions[row], choice, self.end_id) for choice in range(len(lists[row]))]
                told = None if outcome is None else [outcome[row]] * len(each)
                found_SA[row, : len(each)] = self.score(each, told).per_decision().double().cpu()
        return found_SA

    @torch.no_grad()
    def columns(self, episodes: Sequence[Episode], *, hindsight: bool) -> tuple[Floats | None, Floats | None]:
        """(hindsight [S, A], success_chance [S]) for `batch_of`; None for what this policy or the prompts cannot tell.

        Args:
            hindsight: whether to pay a second forward pass for candidates under the outcome that came. Where an outcome is
                not known, its row is the policy's own.
        """
        decisions = flat(episodes)
        if self.outcome is None or any(decision.slot is None for decision in decisions):
            return None, None
        chance_S = self._chances(decisions)
        if not hindsight or any(decision.candidates is None for decision in decisions):
            return None, chance_S
        outcomes = [self.outcome.of(episode.success) for episode in episodes for _ in episode.decisions]
        return self.all_candidates(decisions, outcomes), chance_S

    @torch.no_grad()
    def end_values(self, episodes: Sequence[Episode]) -> Floats | None:
        """[T] chance of success where episodes were cut short, 0 for those that came to their end; None where it is not known of all.

        A time limit is no failure: a critic's estimate stands in for what would have come after it.
        """
        cut = [place for place, episode in enumerate(episodes) if episode.truncated]
        ends = [episodes[place].end_prompt for place in cut]
        if self.outcome is None or any(end is None or end.slot is None for end in ends):
            return None
        value_T = np.zeros(len(episodes))
        # The chance is read before the slot, so any action will do behind it.
        asked = [
            replace(episodes[place].decisions[-1], prompt=end.ids, slot=end.slot)
            for place, end in zip(cut, ends, strict=True)
            if end is not None
        ]
        value_T[cut] = self._chances(asked)
        return value_T

    def _chances(self, decisions: Sequence[Decision]) -> Floats:
        """[S] of success, by the logits before the slot, which each prompt has."""
        chance_S = np.zeros(len(decisions))
        for part in pieces(lengths_of(decisions), TOKENS_AT_ONCE) if decisions else ():
            success = self.score([decisions[row] for row in part]).success
            assert success is not None
            chance_S[part] = success.double().sigmoid().cpu()
        return chance_S


class CandidatePolicy(Policy):
    """Draws one of the listed candidates."""

    def _distribution(self, hidden_ND: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        if rows.allowed is None or rows.is_allowed is None:
            raise UsageError("a decision without candidates", "use TokenPolicy for free text")
        scores_NA = self._logits(hidden_ND).gather(1, rows.allowed) / self.temperature
        log_NA = scores_NA.masked_fill(~rows.is_allowed, float("-inf")).log_softmax(-1)
        at_NA = (rows.allowed == rows.target[:, None]) & rows.is_allowed
        return log_NA, at_NA.int().argmax(-1)


class TokenPolicy(Policy):
    """Draws any text, token by token."""

    def _distribution(self, hidden_ND: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        if rows.allowed is not None:
            raise UsageError("a decision with candidates", "use CandidatePolicy")
        return (self._logits(hidden_ND) / self.temperature).log_softmax(-1), rows.target


def _of(outcome: Sequence[int] | None, rows: NDArray[np.int64]) -> list[int] | None:
    return None if outcome is None else [outcome[row] for row in rows]


def _choosing(decision: Decision, choice: int, end_id: int | None) -> Decision:
    """The decision as if another candidate had been drawn."""
    ids = spelled(decision.candidates or (), choice, end_id)
    return replace(decision, ids=ids, logprobs=(0.0,) * len(ids), choice=choice, policy=None)


def entropy_of(log_NA: Tensor) -> Tensor:
    """[N] entropy in nats; -inf is no probability, and gives no NaN in the gradient either."""
    finite_NA = log_NA.masked_fill(log_NA == float("-inf"), 0.0)
    entropy_N: Tensor = -(log_NA.exp() * finite_NA).sum(-1)
    return entropy_N


def lengths_of(decisions: Sequence[Decision]) -> NDArray[np.int64]:
    """Tokens of each decision's row."""
    return np.array([len(decision.prompt) + len(decision.ids) - 1 for decision in decisions], np.int64)


def success_loss(success_B: Tensor, outcome_B: Tensor) -> Tensor:
    """[B] cross-entropy of the success head on the outcome that came; 0 where either is not known."""
    known_B = ~(success_B.isnan() | outcome_B.isnan())
    odds_B = torch.where(known_B, success_B, torch.zeros_like(success_B))
    loss_B: Tensor = functional.binary_cross_entropy_with_logits(odds_B, outcome_B.nan_to_num(0.5), reduction="none")
    return loss_B * known_B
