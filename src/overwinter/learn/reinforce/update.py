"""One round of learning: from episodes and their advantages to changed weights.

    updater = Updater(policy, config, optimiser)
    figures = updater.update(episodes, advantages, seed=iteration)

Always `epochs · minibatches` optimiser steps, however many turns the episodes had. Every token has its weight in the whole batch
before anything is cut into pieces, so a step's gradient does not depend on how much is computed at once:

    loss = Σ_n weight_n · [policy loss_n]  +  Σ_n share_n · [kl_coef · KL_n − entropy_coef · H_n]
         + success_coef · mean [cross-entropy of the success head]  +  hindsight_coef · Σ_n share_n · [−log h(a_n|s_n, outcome)]

`weight` is over the tokens that may teach the policy, `share` over all that are not cut. The last term trains the hindsight policy by
the actions that were taken, with the real outcome in the slot (return-conditional HCA, arXiv 1912.02503).

Shapes: N drawn tokens, S decisions, T episodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.learn.batch import Bools, Floats, Ints
from overwinter.learn.reinforce.collate import pieces
from overwinter.learn.reinforce.corrections import CorrectionConfig, correct, off_policy_mask
from overwinter.learn.reinforce.decision import Decision, Episode, flat
from overwinter.learn.reinforce.losses import (
    Aggregation,
    EntropyConfig,
    KLKind,
    LossConfig,
    Segments,
    is_informative,
    kl,
    token_losses,
    weights_of,
)
from overwinter.learn.reinforce.policy import Policy, Scores, lengths_of, success_loss
from overwinter.learn.train.optim import Optimiser, clip_gradients


class Verdict(Protocol):
    """What a guard says of a step: "go", or what it did instead."""

    @property
    def action(self) -> str: ...


class Guard(Protocol):
    """Asked before each optimiser step and told after it, as `overwinter.learn.stability.Guard`."""

    @property
    def coefficient_scale(self) -> float:
        """Factor for the coefficients of KL and entropy."""
        ...

    @property
    def clips(self) -> bool:
        """Whether it clips gradients; where not, as in a dry run, the updater does."""
        ...

    def before_step(self, loss: float, *, signals: Mapping[str, float] | None = None, batch: Any = None) -> Verdict:
        """Judges the step whose gradients are there. Anything but "go" is not to be taken; after "rolled_back" and "stop" the
        rest of the batch is not either."""
        ...

    def after_step(self) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, as JSON values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class UpdateConfig:
    """How weights learn from a batch.

    Args:
        loss, aggregation: losses.py.
        epochs, minibatches: their product is the number of optimiser steps.
        micro_tokens: computed at once, padding included; speed, not mathematics. 2,048 fit a processor's cache, a GPU wants more.
        max_grad_norm: None only measures; a guard clips by its own rule instead.
        old: what ratios are taken to: the log-probabilities of the rollout, or those of the weights as they are before the first
            step. The second, with `correction`, is for rollouts from elsewhere.
        kl_coef, kl_kind: towards the reference policy.
        kl_unbiased: multiply the estimate by π/π_old.
        success_coef: of the success head.
        hindsight_coef: of the hindsight policy; costs a second forward and backward pass.
        advantage_clip: most |A|.
        drops_equal_groups: leave groups with equal rewards out of the policy's loss, so that the others weigh more. Not for
            advantages that differ within such groups.
        drops_cut: leave out free texts that ended by their limit.
    """

    loss: LossConfig = field(default_factory=LossConfig)
    aggregation: Aggregation = "token"
    epochs: int = 1
    minibatches: int = 4
    micro_tokens: int = 2048
    max_grad_norm: float | None = 1.0
    old: Literal["rollout", "recomputed"] = "rollout"
    correction: CorrectionConfig = field(default_factory=CorrectionConfig)
    kl_coef: float = 0.0
    kl_kind: KLKind = "k3"
    kl_unbiased: bool = False
    entropy: EntropyConfig = field(default_factory=EntropyConfig)
    success_coef: float = 0.0
    hindsight_coef: float = 0.0
    advantage_clip: float = 5.0
    drops_equal_groups: bool = False
    drops_cut: bool = True

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.minibatches < 1 or self.micro_tokens < 1:
            raise UsageError("epochs, minibatches and micro_tokens are counts", "give at least 1 for each")
        if self.old not in ("rollout", "recomputed"):
            raise UsageError(f"ratios cannot be taken to {self.old!r}", "use rollout or recomputed")
        if min(self.kl_coef, self.success_coef, self.hindsight_coef) < 0 or self.advantage_clip <= 0:
            raise UsageError("a coefficient is negative, or advantage_clip is not positive", "correct the numbers")

    @property
    def wants_all(self) -> bool:
        """Whether decisions without an advantage teach something too."""
        return bool(
            self.kl_coef or self.entropy.coef or self.entropy.target or self.success_coef or self.hindsight_coef
        )


@dataclass(kw_only=True)
class _Table:
    """The batch by tokens [N], with where each decision's begin [S + 1]."""

    decisions: list[Decision]
    start: Ints
    decision: Ints
    trajectory: Ints
    group: Ints
    advantage: Floats
    success: Floats
    """[S]"""
    old: NDArray[np.float32]
    weight: Floats
    share: Floats
    reference: NDArray[np.float32] | None = None

    def tokens(self, part: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of some decisions, in their order."""
        return np.concatenate([np.arange(self.start[row], self.start[row + 1]) for row in part])


class Updater:
    """Changes a policy's weights.

    Args:
        reference: what KL is taken to; needed where `kl_coef` is not 0.
        entropy_coef: where an adaptive bonus stands; default is the config's.
        guard: may leave out optimiser steps.
    """

    def __init__(
        self,
        policy: Policy,
        config: UpdateConfig,
        optimiser: Optimiser,
        *,
        reference: Policy | None = None,
        entropy_coef: float | None = None,
        guard: Guard | None = None,
    ) -> None:
        if config.kl_coef and reference is None:
            raise UsageError("kl_coef without a reference policy", "give the policy that training shall stay near to")
        if (config.success_coef or config.hindsight_coef) and policy.outcome is None:
            raise UsageError("a success head or a hindsight policy without an outcome line", "use a form with outcomes")
        self.policy, self.config, self.optimiser = policy, config, optimiser
        self.reference, self.guard = reference, guard
        self.entropy_coef = config.entropy.coef if entropy_coef is None else entropy_coef
        self.verdict = "go"
        """The guard's word on the last step."""
        self._entropy_now = 0.0
        self._signals: dict[str, float] = {}

    def update(
        self,
        episodes: Sequence[Episode],
        advantages: Floats,
        *,
        seed: int,
        signals: Mapping[str, float] | None = None,
    ) -> dict[str, float]:
        """Take the steps, and count the policy's version up if there were any. Returns figures, means over the steps where there is
        one per step.

        Args:
            advantages: [S], one per decision.
            seed: of the order of decisions.
            signals: of the episodes, for the guard.

        Raises:
            UsageError: the advantages are not one finite number per decision.
        """
        table, figures = self._table(episodes, advantages)
        active = np.arange(len(table.decisions))
        if not self.config.wants_all:
            active = active[np.add.reduceat(np.abs(table.weight * table.advantage), table.start[:-1]) > 0]
        self._signals = {**(signals or {}), **figures}
        entropy = figures["entropy"]
        self._entropy_now = self.config.entropy.now(self.entropy_coef, entropy)
        figures |= {"entropy_coef": self._entropy_now, "active_decisions": float(len(active))}
        self.entropy_coef = self.config.entropy.moved(self.entropy_coef, entropy)
        figures |= _mean_figures(self._steps(table, active, seed))
        self.policy.version += figures["optimiser_steps"] > 0
        return figures

    def _steps(self, table: _Table, active: NDArray[np.int64], seed: int) -> list[dict[str, float]]:
        taken: list[dict[str, float]] = []
        self.verdict = "go"
        for epoch in range(self.config.epochs if len(active) else 0):
            order = np.random.default_rng((seed, epoch)).permutation(active)
            for part in np.array_split(order, self.config.minibatches):
                taken.append(self._step(table, part))
                if self.verdict in ("rolled_back", "stop"):
                    return taken
        return taken

    # --- before the steps -----------------------------------------------------------------------------------------

    def _table(self, episodes: Sequence[Episode], advantages: Floats) -> tuple[_Table, dict[str, float]]:
        decisions, config = flat(episodes), self.config
        if advantages.shape != (len(decisions),) or not np.isfinite(advantages).all():
            raise UsageError(
                f"advantages of shape {advantages.shape} for {len(decisions)} decisions, or not all of them finite",
                "give one number per decision; look at rewards for NaN",
            )
        lengths = [len(decision.ids) for decision in decisions]
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        decision_N = np.repeat(np.arange(len(decisions)), lengths)
        episode_S = np.repeat(np.arange(len(episodes)), [len(episode.decisions) for episode in episodes])
        trajectory_N = episode_S[decision_N]
        group_N = np.array([episode.group for episode in episodes], np.int64)[trajectory_N]
        advantage_N = np.clip(advantages, -config.advantage_clip, config.advantage_clip)[decision_N]
        rollout = np.array([value for decision in decisions for value in decision.logprobs])
        old = self._old(decisions, rollout)
        is_raw_N = np.array([decision.is_raw for decision in decisions])[decision_N]
        rollout = np.where(is_raw_N, old, rollout)  # nothing is known of what they were drawn from
        staleness = np.array([self.policy.version - d.version if d.version >= 0 else -1 for d in decisions])
        corrected = correct(
            rollout, old.astype(np.float64), trajectory_N, advantage_N, config.correction,
            staleness_N=staleness[decision_N],
        )  # fmt: skip
        whole_N = np.array([not (d.is_cut and config.drops_cut) for d in decisions])[decision_N]
        teaches_N = whole_N & self._informative(episodes)[trajectory_N]
        units = (torch.from_numpy(decision_N), torch.from_numpy(trajectory_N), torch.from_numpy(group_N))
        weight = weights_of(config.aggregation, *units, torch.from_numpy(teaches_N)).numpy() * corrected.weight
        table = _Table(
            decisions=decisions,
            start=start,
            decision=decision_N,
            trajectory=trajectory_N,
            group=group_N,
            advantage=advantage_N,
            success=np.array([episode.success for episode in episodes])[episode_S],
            old=old,
            weight=weight,
            share=weights_of(config.aggregation, *units, torch.from_numpy(whole_N)).numpy(),
            reference=None if not config.kl_coef or self.reference is None else self.reference.logprobs(decisions),
        )
        known = [decision.entropy for decision in decisions if decision.entropy is not None]
        figures = corrected.figures | {
            "decisions": float(len(decisions)),
            "tokens": float(len(decision_N)),
            "staleness": float(staleness.mean()),
            "advantage": float(advantage_N.mean()),
            "advantage_std": float(advantage_N.std()),
            "advantage_most": float(np.abs(advantage_N).max()),
            "entropy": float(np.mean(known)) if known else math.nan,
        }
        return table, figures

    def _old(self, decisions: Sequence[Decision], rollout_N: Floats) -> NDArray[np.float32]:
        """[N] log-probabilities that ratios are taken to."""
        if self.config.old == "recomputed":
            return self.policy.logprobs(decisions)
        if any(decision.is_raw for decision in decisions):
            raise UsageError(
                "log-probabilities of the model alone are not of what was drawn under a constraint or a temperature",
                'take ratios to the weights as they are: UpdateConfig(old="recomputed")',
            )
        return rollout_N.astype(np.float32)

    def _informative(self, episodes: Sequence[Episode]) -> Bools:
        if not self.config.drops_equal_groups:
            return np.ones(len(episodes), np.bool_)
        reward = torch.tensor([episode.total_reward for episode in episodes], dtype=torch.float64)
        found: Bools = is_informative(reward, torch.tensor([episode.group for episode in episodes])).numpy()
        return found

    # --- a step ---------------------------------------------------------------------------------------------------

    def _step(self, table: _Table, part: NDArray[np.int64]) -> dict[str, float]:
        """One optimiser step on a share of the decisions, scaled so that a mean over the steps is the whole batch's."""
        self.optimiser.zero_grad()
        lengths = lengths_of([table.decisions[row] for row in part])
        totals: dict[str, float] = {}
        for rows in pieces(lengths, self.config.micro_tokens) if len(part) else ():
            loss, figures = self._loss(table, part[rows])
            (loss * self.config.minibatches).backward()  # type: ignore[no-untyped-call]
            for name, value in figures.items():
                totals[name] = totals.get(name, 0.0) + value * self.config.minibatches
        longest = self.config.max_grad_norm if self.guard is None else None
        norm = clip_gradients(self.policy.decoder, longest) if len(part) else 0.0
        totals |= {"grad_norm": norm, "skipped": 0.0}
        whole = totals.get("loss", 0.0)
        if self.guard is not None:
            signals = {name: value for name, value in (self._signals | totals).items() if math.isfinite(value)}
            self.verdict = self.guard.before_step(whole, signals=signals, batch=part.tolist()).action
        if self.verdict != "go" or not (math.isfinite(norm) and math.isfinite(whole)):
            self.optimiser.zero_grad()
            return totals | {"skipped": 1.0}
        if self.guard is not None and not self.guard.clips:
            clip_gradients(self.policy.decoder, self.config.max_grad_norm)
        self.optimiser.step()
        if self.guard is not None:
            self.guard.after_step()
        return totals

    def _loss(self, table: _Table, rows: NDArray[np.int64]) -> tuple[Tensor, dict[str, float]]:
        """The weighted loss of some decisions, and their part of the figures."""
        config = self.config
        decisions, at = [table.decisions[row] for row in rows], table.tokens(rows)
        scores = self.policy.score(decisions)
        device = scores.logprob.device
        segments = Segments(decision=scores.decision, count=len(decisions))
        old, advantage, weight, share = (
            torch.from_numpy(values[at]).float().to(device)
            for values in (table.old, table.advantage, table.weight, table.share)
        )
        found = token_losses(scores.logprob, old, advantage, segments, config.loss)
        if config.correction.off_policy is not None:
            weight = weight * off_policy_mask(scores.logprob, old, advantage, segments, config.correction.off_policy)
        policy_loss = (found.loss * weight).sum()
        scale = 1.0 if self.guard is None else self.guard.coefficient_scale
        loss = policy_loss - scale * self._entropy_now * (scores.entropy * share).sum()
        with torch.no_grad():
            moved = (scores.logprob - old).clamp(-20, 20)
            figures = {
                "policy_loss": policy_loss,
                "clip_share": (found.is_clipped * share).sum(),
                "moved_k3": ((moved.exp() - moved - 1) * share).sum(),
                "ratio_most": found.ratio.max() / config.minibatches,
            }
        if table.reference is not None:
            estimate = kl(scores.logprob, torch.from_numpy(table.reference[at]).to(device), config.kl_kind)
            if config.kl_unbiased:
                estimate = estimate * (scores.logprob - old).clamp(-20, 20).exp()
            figures["kl"] = (estimate.detach() * share).sum()
            loss = loss + scale * config.kl_coef * (estimate * share).sum()
        more, beside = self._outcome_losses(table, rows, scores, share)
        loss, figures = loss + more, figures | beside | {"loss": (loss + more).detach()}
        return loss, {name: float(value.detach()) for name, value in figures.items()}

    def _outcome_losses(
        self, table: _Table, rows: NDArray[np.int64], scores: Scores, share: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Of the success head and of the hindsight policy."""
        config, figures = self.config, {}
        loss = torch.zeros((), device=share.device)
        success = torch.from_numpy(table.success[rows]).float().to(share.device)
        if config.success_coef and scores.success is not None:
            known = max(1, int((~np.isnan(table.success)).sum()))
            value = success_loss(scores.success, success).sum() / known
            loss, figures["success_loss"] = loss + config.success_coef * value, value
        if config.hindsight_coef and self.policy.outcome is not None:
            outcome = [self.policy.outcome.of(each) for each in table.success[rows]]
            again = self.policy.score([table.decisions[row] for row in rows], outcome)
            is_known = ~success.isnan()[again.decision]
            value = -(again.logprob * share * is_known).sum()
            loss, figures["hindsight_loss"] = loss + config.hindsight_coef * value, value
        return loss, figures


def _mean_figures(steps: Sequence[dict[str, float]]) -> dict[str, float]:
    if not steps:
        return {"optimiser_steps": 0.0, "skipped": 0.0}
    names = {name for step in steps for name in step}
    means = {name: float(np.mean([step[name] for step in steps if name in step])) for name in sorted(names)}
    norms = [step["grad_norm"] for step in steps]
    taken = sum(1 - step["skipped"] for step in steps)
    return means | {"grad_norm_max": max(norms), "optimiser_steps": taken, "skipped": len(steps) - taken}
