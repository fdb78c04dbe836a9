"""What is measured of a batch of reinforcement learning: advantages, ratios, entropy, groups, lengths, formats, staleness.

    guard.before_step(loss, signals=policy_signals(PolicyBatch(group=…, reward=…, …)))

Give the columns that you have; what needs a missing one is left out, and detectors of missing signals sleep. All figures are
made on the device and brought to the host together.

Shapes: R samples, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.learn.stability.masks import LOG_RATIO_BOUND


@dataclass(frozen=True, kw_only=True, eq=False)
class PolicyBatch:
    """The columns of one update: [R] or, where said, [R, T]. Log-probabilities are those of the sampled tokens."""

    group: Tensor | None = None
    """Which task each sample belongs to."""
    prompt: Tensor | None = None
    """A key of the prompt: equal prompts, equal keys."""
    reward: Tensor | None = None
    success: Tensor | None = None
    advantage: Tensor | None = None
    mask: Tensor | None = None
    """[R, T] true at the tokens that were sampled; default is all."""
    logprob: Tensor | None = None
    """[R, T] π, the policy being changed."""
    old_logprob: Tensor | None = None
    """[R, T] π_old, at the start of the update."""
    rollout_logprob: Tensor | None = None
    """[R, T] μ, as sampled."""
    reference_logprob: Tensor | None = None
    """[R, T]"""
    entropy: Tensor | None = None
    """[R, T] in nats."""
    top: Tensor | None = None
    """[R, T] probability of the most probable token."""
    length: Tensor | None = None
    capped: Tensor | None = None
    """True where the sample was cut at its cap."""
    valid: Tensor | None = None
    """Share of actions that were legal."""
    turns: Tensor | None = None
    first_action: Tensor | None = None
    version_lag: Tensor | None = None
    """Versions of the policy between sampling and this update."""
    value: Tensor | None = None
    """A critic's expectation of the reward."""
    clip_low: float = 0.2
    clip_high: float = 0.2
    """Bounds of the ratio, for the fractions of clipped tokens."""

    def __post_init__(self) -> None:
        sizes = {len(column) for field in fields(self) if isinstance(column := getattr(self, field.name), Tensor)}
        if len(sizes) > 1:
            raise UsageError(f"columns of {sorted(sizes)} samples", "give columns of the same samples")


def policy_signals(batch: PolicyBatch) -> dict[str, float]:
    """Every signal that the columns allow, by the names of docs/stability.md."""
    with torch.no_grad():
        found: dict[str, Tensor] = {}
        for part in (_rewards, _groups, _ratios, _entropies, _shapes, _critic):
            found |= part(batch)
        if not found:
            return {}
        device = next(iter(found.values())).device
        numbers = torch.stack([value.detach().double().reshape(()).to(device) for value in found.values()]).tolist()
    return dict(zip(found, numbers, strict=True))


def _rewards(batch: PolicyBatch) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    if batch.reward is not None:
        reward_R = batch.reward.double()
        finite_R = torch.isfinite(reward_R)
        found["reward"] = torch.where(finite_R, reward_R, 0.0).sum() / finite_R.sum().clamp(min=1)
        found["nonfinite_rewards"] = (~finite_R).sum()
    if batch.success is not None:
        found["success"] = batch.success.double().mean()
    if batch.advantage is not None:
        advantage_R = batch.advantage.double()
        found |= {"advantage_most": advantage_R.abs().max(), "advantage": advantage_R.mean()}
    return found


def _groups(batch: PolicyBatch) -> dict[str, Tensor]:
    """Spread within groups, and whether groups are what they should be."""
    if batch.group is None:
        return {}
    _, place_R = torch.unique(batch.group, return_inverse=True)
    groups = int(place_R.max()) + 1
    count_G = torch.bincount(place_R, minlength=groups)
    found: dict[str, Tensor] = {"groups": count_G.new_tensor(groups), "group_size_most": count_G.max()}
    if batch.reward is not None:
        std_G = _group_std(batch.reward.double(), place_R, count_G)
        flat_G = std_G < 1e-8
        found |= {"reward_std": std_G.nanmean(), "zero_variance_share": flat_G.double().mean()}
        if batch.advantage is not None:
            most_G = torch.zeros_like(std_G).scatter_reduce(0, place_R, batch.advantage.double().abs(), "amax")
            found["silent_share"] = ((most_G == 0) & (std_G > 1e-8)).double().mean()
    if batch.prompt is not None:
        low_G = torch.full_like(count_G, torch.iinfo(torch.long).max)
        low_G = low_G.scatter_reduce(0, place_R, batch.prompt.long(), "amin")
        high_G = torch.full_like(count_G, torch.iinfo(torch.long).min)
        high_G = high_G.scatter_reduce(0, place_R, batch.prompt.long(), "amax")
        found["mixed_group_share"] = (low_G != high_G).double().mean()
        found["duplicate_share"] = 1 - found["groups"].new_tensor(len(torch.unique(low_G))).double() / groups
    if batch.first_action is not None:
        pairs = torch.unique(torch.stack([place_R, batch.first_action.long()]), dim=1).shape[1]
        found["first_actions"] = torch.tensor(pairs / groups, device=place_R.device)
    return found


def _group_std(value_R: Tensor, place_R: Tensor, count_G: Tensor) -> Tensor:
    zero_G = torch.zeros(len(count_G), dtype=torch.double, device=value_R.device)
    mean_G = zero_G.index_add(0, place_R, value_R) / count_G
    return (zero_G.index_add(0, place_R, (value_R - mean_G[place_R]).square()) / count_G).sqrt()


def _ratios(batch: PolicyBatch) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    if batch.logprob is not None and batch.old_logprob is not None:
        log_N = _log_ratio(batch, batch.logprob, batch.old_logprob)
        ratio_N = log_N.exp()
        low, mid, high = torch.quantile(
            ratio_N[:1_000_000], torch.tensor([0.05, 0.5, 0.95], device=ratio_N.device).double()
        )
        found |= {"ratio_p05": low, "ratio_p50": mid, "ratio_p95": high, "ratio_most": ratio_N.max()}
        found["clip_low_share"] = (ratio_N < 1 - batch.clip_low).double().mean()
        found["clip_high_share"] = (ratio_N > 1 + batch.clip_high).double().mean()
        found |= _kl(log_N, "old")
    if batch.logprob is not None and batch.reference_logprob is not None:
        kl = _kl(_log_ratio(batch, batch.logprob, batch.reference_logprob), "reference")
        found |= kl | {"kl": kl["k3_reference"]}
    old_RT = batch.logprob if batch.old_logprob is None else batch.old_logprob
    if old_RT is not None and batch.rollout_logprob is not None:
        log_N = _log_ratio(batch, old_RT, batch.rollout_logprob)
        weight_N = log_N.exp()
        found |= _kl(log_N, "rollout")
        found["weight_mean"] = weight_N.mean()
        found["ess_share"] = weight_N.sum().square() / (len(weight_N) * weight_N.square().sum()).clamp(min=1e-300)
        found["chi2_rollout"] = weight_N.square().mean() - 1
    return found


def _log_ratio(batch: PolicyBatch, new_RT: Tensor, old_RT: Tensor) -> Tensor:
    """Of the sampled tokens, in one row."""
    log_RT = (new_RT.detach().double() - old_RT.double()).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    return log_RT.flatten() if batch.mask is None else log_RT[batch.mask.bool()]


def _kl(log_ratio_N: Tensor, name: str) -> dict[str, Tensor]:
    """Schulman's estimators of KL(first ‖ second) from samples: k1 = log r, k3 = 1/r − 1 + log r with r = first/second, k3 cut at 10."""
    k3_N = ((-log_ratio_N).exp() - 1 + log_ratio_N).clamp(max=10)
    return {f"k1_{name}": log_ratio_N.mean(), f"k3_{name}": k3_N.mean()}


def _entropies(batch: PolicyBatch) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, column in (("entropy", batch.entropy), ("top_probability", batch.top)):
        if column is None:
            continue
        values_N = column.detach().double()
        values_N = values_N.flatten() if batch.mask is None else values_N[batch.mask.bool()]
        found[name] = values_N.mean()
        if name == "entropy":
            found["entropy_p10"] = torch.quantile(values_N[:1_000_000], 0.1)
    return found


def _shapes(batch: PolicyBatch) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    if batch.length is not None:
        length_R = batch.length.double()
        found |= {"length": length_R.mean(), "length_p95": torch.quantile(length_R, 0.95)}
    columns = {
        "cap_hit_share": batch.capped,
        "valid_ratio": batch.valid,
        "turns": batch.turns,
        "staleness": batch.version_lag,
    }
    return found | {name: column.double().mean() for name, column in columns.items() if column is not None}


def _critic(batch: PolicyBatch) -> dict[str, Tensor]:
    if batch.value is None or batch.reward is None:
        return {}
    reward_R = batch.reward.double()
    left = (reward_R - batch.value.double()).var(correction=0)
    return {"explained_variance": 1 - left / reward_R.var(correction=0).clamp(min=1e-12)}


def repetition(tokens: Sequence[int], n: int = 4) -> float:
    """Share of n-grams that occurred before in the same text; 0 for texts too short to have two."""
    grams = [tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if len(grams) > 1 else 0.0
