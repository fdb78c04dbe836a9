"""The reinforcement learning host of `bench_stability.py`: group-normalised policy gradients, and what can go wrong with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench_stability_cases import Host, Outcome
from overwinter.learn.stability import PolicyBatch, policy_signals

SYMBOLS, END, ILLEGAL, CAP = 8, 0, 6, 16
PROMPTS, GROUPS, EACH = 12, 8, 8


class Policy(nn.Module):
    """The next token from the prompt and the token before."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt, self.last = nn.Embedding(PROMPTS, 24), nn.Embedding(SYMBOLS + 1, 24)
        self.head = nn.Linear(24, SYMBOLS)
        for embedding in (self.prompt, self.last):
            nn.init.normal_(embedding.weight, 0, 0.3)

    def forward(self, prompt: Tensor, last: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.prompt(prompt) + self.last(last)))
        return logits


@dataclass(kw_only=True)
class Rollouts:
    """R samples of at most T tokens."""

    group: Tensor
    prompt: Tensor
    tokens: Tensor
    """[R, T]; `END` ends a sample."""
    mask: Tensor
    logprob: Tensor
    reward: Tensor
    success: Tensor
    capped: Tensor

    @property
    def last(self) -> Tensor:
        """[R, T] the token before each, `SYMBOLS` at the start."""
        return functional.pad(self.tokens[:, :-1], (1, 0), value=SYMBOLS)


@dataclass(frozen=True, kw_only=True)
class PolicyFault:
    """What goes wrong in reinforcement learning."""

    rollouts: Callable[[Rollouts, PolicyHost], None] = lambda rollouts, host: None
    """Changes what was sampled, in place."""
    cap: int = CAP
    stale: bool = False
    """Sampled by the policy of the beginning."""
    entropy_bonus: float = 0.0


class PolicyHost(Host):
    """Each prompt wants its two tokens in order and then the end; one verdict in ten is wrong.

    Group-normalised policy gradient, one step a batch, on-policy.
    """

    def build(self) -> nn.Module:
        self.first = Policy().requires_grad_(False)
        policy = Policy()
        policy.load_state_dict(self.first.state_dict())
        return policy

    def rate(self) -> float:
        return 1e-2

    @torch.no_grad()
    def sample(self, policy: nn.Module, prompt_R: Tensor, *, cap: int, draw: torch.Generator) -> Rollouts:
        rows = len(prompt_R)
        last_R = torch.full((rows,), SYMBOLS)
        open_R = torch.ones(rows, dtype=torch.bool)
        stage_R = torch.zeros(rows, dtype=torch.long)
        wanted_2R = torch.stack([1 + prompt_R % 5, 1 + (prompt_R // 5 + prompt_R + 2) % 5])
        tokens, logprobs, masks = [], [], []
        for _ in range(cap):
            logp_RV = policy(prompt_R, last_R).log_softmax(-1)
            noise_RV = -torch.log(-torch.log(torch.rand(logp_RV.shape, generator=draw).clamp(1e-9, 1 - 1e-7)))
            last_R = torch.where(open_R, (logp_RV + noise_RV).argmax(-1), END)
            tokens.append(last_R)
            logprobs.append(logp_RV.gather(-1, last_R[:, None])[:, 0] * open_R)
            masks.append(open_R)
            goal_R = wanted_2R.gather(0, stage_R.clamp(max=1)[None])[0]
            stage_R = stage_R + (open_R & (stage_R < 2) & (last_R == goal_R))
            open_R = open_R & (last_R != END)
        success_R = ((stage_R == 2) & ~open_R).double()
        flip_R = torch.rand(rows, generator=draw) < 0.1
        seen_R = torch.where(flip_R, 1 - success_R, success_R)
        tokens_RT, mask_RT = torch.stack(tokens, 1), torch.stack(masks, 1)
        return Rollouts(
            group=torch.arange(rows) // EACH,
            prompt=prompt_R,
            tokens=tokens_RT,
            mask=mask_RT,
            logprob=torch.stack(logprobs, 1),
            reward=seen_R - 0.3 * ((tokens_RT >= ILLEGAL) & mask_RT).sum(-1) / mask_RT.sum(-1),
            success=seen_R,
            capped=open_R,
        )

    def run(self, fault: PolicyFault | None = None, *, at: int = 0, until: int | None = None) -> Outcome:
        outcome = Outcome(final=math.nan)
        for step in range(self.at, self.steps if until is None else until):
            self.at = step
            active = fault if fault is not None and self.at >= at else PolicyFault()
            draw = self.draw()
            prompt_R = torch.randperm(PROMPTS, generator=draw)[:GROUPS].repeat_interleave(EACH)
            behaviour = self.first if active.stale else self.model
            rollouts = self.sample(behaviour, prompt_R, cap=active.cap, draw=draw)
            self.cursor += 1
            active.rollouts(rollouts, self)
            loss, signals = self.loss(rollouts, active, lag=self.at if active.stale else 0)
            loss.backward()
            if self.advance(loss, signals, outcome).stopped:
                outcome.stopped = True
                break
        outcome.actions += [(at, "drop_samples") for at in self.dropped]
        self.at += 1
        outcome.steps, outcome.final = self.at, self.evaluate()
        return outcome

    def loss(self, rollouts: Rollouts, fault: PolicyFault, *, lag: int) -> tuple[Tensor, dict[str, float]]:
        mask_RT, reward_R = rollouts.mask, rollouts.reward
        if self.guard is not None:
            keep_R = self.guard.screen({"reward": reward_R})
            if not bool(keep_R.all()):
                self.dropped.append(self.at)
            mask_RT, reward_R = mask_RT & keep_R[:, None], torch.where(keep_R, reward_R, math.nan)
        advantage_R = group_advantages(reward_R, rollouts.group, drop_nan=self.guard is not None)
        logp_RTV = self.model(rollouts.prompt[:, None].expand_as(rollouts.tokens), rollouts.last).log_softmax(-1)
        logp_RT = logp_RTV.gather(-1, rollouts.tokens[..., None])[..., 0]
        entropy_RT = -(logp_RTV.exp() * logp_RTV).sum(-1)
        weight_RT = mask_RT.float()
        if self.guard is not None:
            log_ratio_RT = logp_RT.detach() - rollouts.logprob
            weight_RT = self.guard.mask_ratios(log_ratio_RT, mask_RT).weight
        scale = 1.0 if self.guard is None else self.guard.coefficient_scale
        bonus = fault.entropy_bonus if fault.entropy_bonus else 0.01 * scale
        gain_RT = weight_RT * (advantage_R[:, None] * logp_RT) + bonus * mask_RT * entropy_RT
        loss = -gain_RT.sum() / mask_RT.sum().clamp(min=1)
        if self.guard is None:
            return loss, {}
        with torch.no_grad():
            shape = rollouts.prompt[:, None].expand_as(rollouts.tokens)
            first_RTV = self.first(shape, rollouts.last).log_softmax(-1)
        length_R = rollouts.mask.sum(-1)
        illegal_R = ((rollouts.tokens >= ILLEGAL) & rollouts.mask).sum(-1)
        return loss, policy_signals(
            PolicyBatch(
                group=rollouts.group,
                prompt=rollouts.prompt,
                reward=reward_R,
                success=rollouts.success,
                advantage=advantage_R,
                mask=rollouts.mask,
                logprob=logp_RT.detach(),
                rollout_logprob=rollouts.logprob,
                reference_logprob=first_RTV.gather(-1, rollouts.tokens[..., None])[..., 0],
                entropy=entropy_RT.detach(),
                length=length_R,
                capped=rollouts.capped,
                valid=1 - illegal_R / length_R,
                first_action=rollouts.tokens[:, 0],
                version_lag=torch.full_like(length_R, lag),
            )
        )

    @torch.no_grad()
    def evaluate(self) -> float:
        """Success on all prompts, in the world as it should be and without wrong verdicts."""
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.model.parameters()):
            return math.nan
        prompt_R = torch.arange(PROMPTS).repeat_interleave(40)
        rollouts = self.sample(self.model, prompt_R, cap=CAP, draw=torch.Generator().manual_seed(self.seed))
        wrong = 0.1
        return float((rollouts.success.mean() - wrong) / (1 - 2 * wrong))


def group_advantages(reward_R: Tensor, group_R: Tensor, *, drop_nan: bool) -> Tensor:
    """(r − mean) / (std + 0.1) within groups; samples without a number get 0 if they are to be dropped."""
    reward_GN = reward_R.view(-1, EACH) if len(torch.unique(group_R)) * EACH == len(reward_R) else None
    if reward_GN is None:
        _, place_R = torch.unique(group_R, return_inverse=True)
        count_G = torch.bincount(place_R).double()
        mean_G = torch.zeros_like(count_G).index_add(0, place_R, reward_R) / count_G
        var_G = torch.zeros_like(count_G).index_add(0, place_R, (reward_R - mean_G[place_R]) ** 2) / count_G
        return (reward_R - mean_G[place_R]) / (var_G.sqrt()[place_R] + 0.1)
    if not drop_nan:
        return (
            (reward_GN - reward_GN.mean(1, keepdim=True)) / (reward_GN.std(1, keepdim=True, correction=0) + 0.1)
        ).flatten()
    mean_G1 = reward_GN.nanmean(1, keepdim=True)
    std_G1 = (reward_GN - mean_G1).square().nanmean(1, keepdim=True).sqrt()
    return ((reward_GN - mean_G1) / (std_G1 + 0.1)).nan_to_num(0.0).flatten()


def _nan_rewards(rollouts: Rollouts, host: PolicyHost) -> None:
    hit_R = torch.rand(len(rollouts.reward), generator=host.draw(2)) < 0.1
    rollouts.reward = torch.where(hit_R, math.nan, rollouts.reward)


def _flip(rollouts: Rollouts, host: PolicyHost) -> None:
    rollouts.reward = -rollouts.reward


def _constant(rollouts: Rollouts, host: PolicyHost) -> None:
    rollouts.reward = torch.full_like(rollouts.reward, 0.5)


def _leak(rollouts: Rollouts, host: PolicyHost) -> None:
    """Whoever writes token 3 is paid, whatever the task."""
    rollouts.reward = rollouts.reward + ((rollouts.tokens == 3) & rollouts.mask).any(-1)


def _pay_length(rollouts: Rollouts, host: PolicyHost) -> None:
    rollouts.reward = rollouts.reward + 0.2 * rollouts.mask.sum(-1)


def _other_ids(rollouts: Rollouts, host: PolicyHost) -> None:
    rollouts.tokens = torch.where(rollouts.mask, (rollouts.tokens + 1) % SYMBOLS, rollouts.tokens)


def _one_prompt(rollouts: Rollouts, host: PolicyHost) -> None:
    """Two prompts under one id: their samples are compared with each other."""
    rollouts.group = rollouts.group // 2


POLICY_FAULTS: dict[str, PolicyFault | None] = {
    "none": None,
    "NaN in a tenth of the rewards": PolicyFault(rollouts=_nan_rewards),
    "reward with the wrong sign": PolicyFault(rollouts=_flip),
    "reward constant": PolicyFault(rollouts=_constant),
    "reward leaked: one token is paid": PolicyFault(rollouts=_leak),
    "length runaway: length is paid": PolicyFault(rollouts=_pay_length),
    "entropy collapse: entropy is punished": PolicyFault(entropy_bonus=-0.5),
    "stale rollouts: the first policy samples": PolicyFault(stale=True),
    "wrong tokenizer: ids shifted by one": PolicyFault(rollouts=_other_ids),
    "environment cut to 2 tokens": PolicyFault(cap=2),
    "duplicated prompt ids: two prompts a group": PolicyFault(rollouts=_one_prompt),
}
