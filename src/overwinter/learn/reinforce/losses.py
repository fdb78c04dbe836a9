"""Losses of reinforcement learning: pure functions of flat tensors, one number per drawn token.

    loss = (token_losses(new, old, advantage, segments, config).loss * weights).sum()

What a loss does to one token and how tokens are averaged are two things, and both are said: `token_losses` gives each token its
own, `weights_of` gives each a weight; the weights of a batch sum to 1. So an optimiser step is the same whether a batch is computed
at once or in pieces, and a long episode weighs what the config says and nothing else.

With w = exp(new − old), A the advantage, clip(w) = clamp(w, 1 − low, 1 + high), sg what has no gradient:

    ppo        −min(w A, clip(w) A);  for A < 0 at most `dual_clip`·|A|         1707.06347; clip-higher 2503.14476; dual 1912.09729
    gspo       the same with s = exp(mean over the action of log w), through sg(s)·w/sg(w)                            2507.18071
    gmpo       −A exp(mean over the action of log w, clipped before the mean on the side that A pushes to)            2507.20673
    cispo      −sg(clip(w)) A new                                                                                      2506.13585
    sapo       −A σ(τ(w − 1))·4/τ, τ by the sign of A                                                                 2511.20347
    reinforce  −A new

Shapes: N drawn tokens, S decisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from overwinter.errors import UsageError

Kind = Literal["ppo", "gspo", "gmpo", "cispo", "sapo", "reinforce"]
KINDS = ("ppo", "gspo", "gmpo", "cispo", "sapo", "reinforce")
Aggregation = Literal["token", "decision", "trajectory", "group"]
AGGREGATIONS = ("token", "decision", "trajectory", "group")
KLKind = Literal["k1", "k2", "k3"]
MOST_LOG_RATIO = 20.0
"""Log-ratios are clamped to ± this before they are exponentiated."""
MOST_K3 = 10.0
_USUAL_CLIPS = {"gspo": (3e-3, 4e-3), "gmpo": (0.4, 0.4), "cispo": (1.0, 5.0)}


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The policy's part of the loss.

    Args:
        kind: see the module docstring.
        clip_low, clip_high: None for the usual ones: ppo 0.2 and 0.28 (DAPO), gspo 3e-3 and 4e-3 (ALFWorld scripts), gmpo 0.4 in
            logarithms, cispo 1 (none below) and 5 (ScaleRL).
        dual_clip: of ppo and gspo; 0 is off, 3 the usual.
        tau_positive, tau_negative: of sapo.
    """

    kind: Kind = "ppo"
    clip_low: float | None = None
    clip_high: float | None = None
    dual_clip: float = 0.0
    tau_positive: float = 1.0
    tau_negative: float = 1.05

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"there is no loss {self.kind!r}", f"use one of {', '.join(KINDS)}")
        low, high = self.clips
        if low < 0 or high < 0 or (self.kind != "gmpo" and low > 1):
            raise UsageError(f"a ratio cannot be clipped to 1 − {low} and 1 + {high}", "give 0 ≤ low ≤ 1 and 0 ≤ high")
        if self.dual_clip and self.dual_clip <= 1:
            raise UsageError(f"dual_clip is {self.dual_clip}", "give a bound above 1, such as 3, or 0 for none")

    @property
    def clips(self) -> tuple[float, float]:
        """(low, high)."""
        low, high = _USUAL_CLIPS.get(self.kind, (0.2, 0.28))
        return low if self.clip_low is None else self.clip_low, high if self.clip_high is None else self.clip_high


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Which decision each token belongs to [N], and how many decisions there are."""

    decision: Tensor
    count: int

    def mean(self, x_N: Tensor) -> Tensor:
        """[S] mean over each decision's tokens."""
        totals_S = torch.zeros(self.count, dtype=x_N.dtype, device=x_N.device).index_add(0, self.decision, x_N)
        sizes_S = torch.bincount(self.decision, minlength=self.count).clamp(min=1)
        return totals_S / sizes_S

    def spread(self, x_S: Tensor) -> Tensor:
        """[N] each decision's value on all of its tokens."""
        return x_S[self.decision]


@dataclass(frozen=True, kw_only=True)
class TokenLosses:
    """Attributes:
    loss: [N].
    ratio: [N] what was clipped: of tokens, or of whole actions.
    is_clipped: [N] tokens that give no gradient because of it.
    """

    loss: Tensor
    ratio: Tensor
    is_clipped: Tensor


def log_ratio(new_N: Tensor, old_N: Tensor) -> Tensor:
    return (new_N - old_N).clamp(-MOST_LOG_RATIO, MOST_LOG_RATIO)


def token_losses(
    new_N: Tensor, old_N: Tensor, advantage_N: Tensor, segments: Segments, config: LossConfig
) -> TokenLosses:
    """The policy's loss of each drawn token, before weights.

    Args:
        new_N: log-probabilities now, with gradients.
        old_N: log-probabilities the ratio is taken to, without.
        advantage_N: of the decision the token belongs to.
    """
    log_N = log_ratio(new_N, old_N.detach())
    low, high = config.clips
    if config.kind == "reinforce":
        return TokenLosses(
            loss=-advantage_N * new_N, ratio=log_N.detach().exp(), is_clipped=torch.zeros_like(new_N).bool()
        )
    if config.kind == "gmpo":
        return _gmpo(log_N, advantage_N, segments, low, high)
    if config.kind == "cispo":
        ratio_N = log_N.detach().exp()
        return TokenLosses(
            loss=-ratio_N.clamp(1 - low, 1 + high) * advantage_N * new_N,
            ratio=ratio_N,
            is_clipped=torch.zeros_like(ratio_N).bool(),
        )
    if config.kind == "sapo":
        ratio_N = log_N.exp()
        tau_N = torch.where(advantage_N > 0, config.tau_positive, config.tau_negative)
        gate_N = torch.sigmoid(tau_N * (ratio_N - 1)) * 4 / tau_N
        return TokenLosses(
            loss=-gate_N * advantage_N, ratio=ratio_N.detach(), is_clipped=torch.zeros_like(ratio_N).bool()
        )
    ratio_N = log_N.exp()
    if config.kind == "gspo":
        whole_N = segments.spread(segments.mean(log_N.detach())).exp()
        ratio_N = whole_N * (ratio_N / ratio_N.detach())  # the value of s, the gradient of each token's w
    return _clipped(ratio_N, advantage_N, low, high, config.dual_clip)


def _clipped(ratio_N: Tensor, advantage_N: Tensor, low: float, high: float, dual: float) -> TokenLosses:
    plain_N, clipped_N = ratio_N * advantage_N, ratio_N.clamp(1 - low, 1 + high) * advantage_N
    gain_N = torch.minimum(plain_N, clipped_N)
    is_clipped_N = clipped_N < plain_N
    if dual:
        bound_N = dual * advantage_N
        is_bound_N = (advantage_N < 0) & (gain_N < bound_N)
        gain_N, is_clipped_N = torch.where(is_bound_N, bound_N, gain_N), is_clipped_N | is_bound_N
    return TokenLosses(loss=-gain_N, ratio=ratio_N.detach(), is_clipped=is_clipped_N.detach())


def _gmpo(log_N: Tensor, advantage_N: Tensor, segments: Segments, low: float, high: float) -> TokenLosses:
    # Clipping on the harmful side alone: above for A > 0, below for A < 0.
    is_good_N = advantage_N >= 0
    kept_N = torch.where(is_good_N, log_N.clamp(max=high), log_N.clamp(min=-low))
    whole_N = segments.spread(segments.mean(kept_N)).exp()
    return TokenLosses(loss=-whole_N * advantage_N, ratio=whole_N.detach(), is_clipped=(kept_N != log_N).detach())


# --- how tokens are averaged ------------------------------------------------------------------------------------------


def weights_of(
    aggregation: Aggregation, decision_N: Tensor, trajectory_N: Tensor, group_N: Tensor, kept_N: Tensor
) -> Tensor:
    """[N] weights that sum to 1 over the kept tokens; 0 for the others.

    Args:
        aggregation: what weighs the same. token: each token (DAPO). decision: each action, whatever its length. trajectory: each
            episode, whatever its number of turns, evenly over its tokens. group: each task, evenly over its tokens (ScaleRL).
    """
    if aggregation not in AGGREGATIONS:
        raise UsageError(f"tokens cannot be averaged by {aggregation!r}", f"use one of {', '.join(AGGREGATIONS)}")
    if aggregation == "token":
        weights_N = kept_N.double()
    else:
        by_N = {"decision": decision_N, "trajectory": trajectory_N, "group": group_N}[aggregation]
        _, unit_N = torch.unique(by_N, return_inverse=True)
        sizes = torch.bincount(unit_N, weights=kept_N.double(), minlength=1)
        weights_N = kept_N / sizes[unit_N].clamp(min=1)
    return (weights_N / weights_N.sum().clamp(min=1e-12)).float()


def is_informative(reward_T: Tensor, group_T: Tensor, *, tolerance: float = 1e-9) -> Tensor:
    """[T] episodes of groups whose rewards are not all equal; the others have no advantage within their group (DAPO's filter)."""
    _, unit_T = torch.unique(group_T, return_inverse=True)
    count = int(unit_T.max()) + 1
    highest = torch.full((count,), -torch.inf, dtype=reward_T.dtype).scatter_reduce(0, unit_T, reward_T, "amax")
    lowest = torch.full((count,), torch.inf, dtype=reward_T.dtype).scatter_reduce(0, unit_T, reward_T, "amin")
    return (highest - lowest > tolerance)[unit_T]


# --- beside the policy ------------------------------------------------------------------------------------------------


def kl(new_N: Tensor, reference_N: Tensor, kind: KLKind = "k3") -> Tensor:
    """[N] estimates of KL(policy ‖ reference) from drawn tokens (Schulman, "Approximating KL divergence", 2020).

    k1 = log π − log ρ, k2 = ½ k1², k3 = exp(−k1) + k1 − 1, at most 10. As a loss, k2 has the gradient of the KL for tokens drawn
    from π; k1 has none in the mean, and k3 only near the reference. Off-policy, multiply by π/π_old (DeepSeek-V3.2).
    """
    k1_N = (new_N - reference_N).clamp(-MOST_LOG_RATIO, MOST_LOG_RATIO)
    if kind == "k1":
        return k1_N
    if kind == "k2":
        return 0.5 * k1_N.square()
    if kind != "k3":
        raise UsageError(f"there is no KL estimator {kind!r}", "use k1, k2 or k3")
    return (torch.exp(-k1_N) + k1_N - 1).clamp(max=MOST_K3)


@dataclass(frozen=True, kw_only=True)
class EntropyConfig:
    """A bonus for entropy, fixed or adaptive (Skywork-OR1, arXiv 2505.22312).

    Args:
        coef: factor of the bonus; where it starts, if it is adaptive.
        target: nats per token below which the bonus acts; None for a fixed bonus.
        step: by which the coefficient moves once per iteration, up below the target and down above it.
    """

    coef: float = 0.0
    target: float | None = None
    step: float = 0.005

    def __post_init__(self) -> None:
        if self.coef < 0 or self.step < 0:
            raise UsageError("an entropy bonus is not negative", "give coef and step from 0")

    def now(self, coef: float, entropy: float) -> float:
        """The factor in force: none above the target."""
        return coef if self.target is None or entropy <= self.target else 0.0

    def moved(self, coef: float, entropy: float) -> float:
        """The coefficient for the next iteration."""
        if self.target is None:
            return coef
        return max(0.0, coef + (self.step if entropy < self.target else -self.step))
