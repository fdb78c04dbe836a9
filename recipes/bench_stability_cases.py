"""The two hosts of `bench_stability.py`, small trainings that a fault is put into, and the faults.

`LanguageHost` trains this package's decoder on text; `PolicyHost` trains a policy that writes tokens, by policy gradients with groups,
and has every signal of a large run: lengths, formats, ratios, entropy. Data are a function of (seed, cursor) alone, so that runs with
and without a guard are paired, and a cursor is all there is to roll back. A fault begins at a step of the loop and stays, unless it is
said to pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from overwinter.learn.stability import Guard, GuardConfig, PolicyBatch, Verdict, policy_signals
from overwinter.model import Config, fresh

BASELINE_CLIP = 1.0
"""What runs without a guard do: the usual cap on the gradient norm."""


@dataclass(kw_only=True)
class Outcome:
    """A finished run."""

    final: float
    """Loss on held-out text, or success without noise."""
    alarms: list[tuple[int, str]] = field(default_factory=list)
    """Step of the loop and detector."""
    actions: list[tuple[int, str]] = field(default_factory=list)
    stopped: bool = False
    steps: int = 0
    worst: float = 0.0
    """Largest loss that was met in a step that was taken."""

    @property
    def diverged(self) -> bool:
        return not math.isfinite(self.final)


class Host:
    """A loop with a cursor. Subclasses say what a step is."""

    def __init__(self, *, seed: int, steps: int, guard: GuardConfig | None) -> None:
        torch.manual_seed(seed)
        self.seed, self.steps, self.at, self.cursor = seed, steps, 0, 0
        self.dropped: list[int] = []
        self.model = self.build()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.rate(), betas=(0.9, 0.95), weight_decay=0.01
        )
        self.guard = (
            None
            if guard is None
            else Guard(self.model, self.optimizer, guard, save=self.save, load=self.load, skip=self.skip)
        )

    def build(self) -> nn.Module:
        raise AssertionError("a host has a model")

    def rate(self) -> float:
        raise AssertionError("a host has a learning rate")

    def save(self) -> dict[str, Any]:
        return {"cursor": self.cursor}

    def load(self, state: Mapping[str, Any]) -> None:
        self.cursor = state["cursor"]

    def skip(self, batches: int) -> None:
        self.cursor += batches

    def draw(self, salt: int = 0) -> torch.Generator:
        """The generator of the present cursor."""
        return torch.Generator().manual_seed((self.seed * 1_000_003 + self.cursor) * 7 + salt)

    def advance(self, loss: Tensor, signals: Mapping[str, float], outcome: Outcome) -> Verdict:
        """The part that a loop has in common: clip and step, or ask the guard."""
        if self.guard is None:
            nn.utils.clip_grad_norm_(self.model.parameters(), BASELINE_CLIP)
            self.optimizer.step()
            verdict = Verdict()
        else:
            verdict = self.guard.before_step(loss, signals=signals)
            if verdict.go:
                self.optimizer.step()
                self.guard.after_step()
        if verdict.go:
            outcome.worst = max(outcome.worst, float(loss.detach()))
        outcome.alarms += [(self.at, alarm.detector) for alarm in verdict.alarms]
        if verdict.action != "go":
            outcome.actions.append((self.at, verdict.action))
        elif self.guard is not None and self.guard.ladder.tight_since == self.guard.step:
            outcome.actions.append((self.at, "tighten"))
        self.optimizer.zero_grad()
        return verdict


# Language


def synthetic_text(symbols: int = 32, length: int = 60_000) -> Tensor:
    """Text of a Markov chain, half by the last symbol and half by the last two, each with few likely successors: the same for everybody."""
    draw = np.random.default_rng(0)
    one = draw.dirichlet(np.full(symbols, 0.1), size=symbols)
    two = draw.dirichlet(np.full(symbols, 0.1), size=(symbols, symbols))
    table = (0.5 * one[None] + 0.5 * two).cumsum(-1)
    uniform = draw.random(length)
    text = np.zeros(length, dtype=np.int64)
    for at in range(2, length):
        text[at] = min(int(np.searchsorted(table[text[at - 2], text[at - 1]], uniform[at])), symbols - 1)
    return torch.from_numpy(text)


@dataclass(frozen=True, kw_only=True)
class Language:
    """The data and settings of a `LanguageHost`."""

    text: Tensor
    vocab_size: int
    lr: float = 4e-3
    warmup: int = 20
    qk_norm: bool = True
    batch: int = 8
    length: int = 32
    init_scale: float = 4.0
    """Factor on matrices of deviation 0.02 at the start: 4 suits width 32, and far more is harsh."""


class LanguageHost(Host):
    """Next-symbol prediction by a decoder of width 32."""

    def __init__(self, settings: Language, *, seed: int, steps: int, guard: GuardConfig | None) -> None:
        self.settings = settings
        super().__init__(seed=seed, steps=steps, guard=guard)

    def build(self) -> nn.Module:
        shape = {"d_model": 32, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "d_head": 16, "d_mlp": 64}
        config = Config(vocab_size=self.settings.vocab_size, qk_norm=self.settings.qk_norm, **shape)
        decoder = fresh(config, seed=self.seed).train()
        with torch.no_grad():
            for parameter in decoder.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(self.settings.init_scale)
        return decoder

    def rate(self) -> float:
        """Warm-up, plateau, and a linear end."""
        warm = min(1.0, (self.at + 1) / max(1, self.settings.warmup))
        return self.settings.lr * warm * min(1.0, max(0.05, 2.5 * (1 - self.at / self.steps)))

    def batch(self) -> Tensor:
        size = (self.settings.batch,)
        starts_B = torch.randint(
            0, len(self.settings.text) * 9 // 10 - self.settings.length - 1, size, generator=self.draw()
        )
        return torch.stack([self.settings.text[at : at + self.settings.length + 1] for at in starts_B.tolist()])

    def loss(self, ids_BL: Tensor) -> Tensor:
        logits_BLV = self.model(ids_BL[:, :-1])
        return functional.cross_entropy(logits_BLV.flatten(0, 1), ids_BL[:, 1:].flatten())

    def run(self, fault: LanguageFault | None = None, *, at: int = 0) -> Outcome:
        outcome = Outcome(final=math.nan)
        for step in range(self.steps):
            self.at = step
            active = fault is not None and at <= self.at < at + fault.lasts
            self.optimizer.param_groups[0]["lr"] = self.rate() * (fault.lr if fault is not None and active else 1.0)
            ids_BL = self.batch()
            self.cursor += 1
            if fault is not None and active:
                ids_BL = fault.data(ids_BL, self)
            loss = self.loss(ids_BL)
            if fault is not None and active:
                loss = loss * fault.loss
            loss.backward()
            if fault is not None and active and fault.gradient != 1:
                for parameter in self.model.parameters():
                    parameter.grad = None if parameter.grad is None else parameter.grad * fault.gradient
            if self.advance(loss, {}, outcome).stopped:
                outcome.stopped = True
                break
        outcome.steps, outcome.final = self.at + 1, self.evaluate()
        return outcome

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean loss of the last tenth of the text."""
        held = self.settings.text[len(self.settings.text) * 9 // 10 :]
        rows = len(held) // (self.settings.length + 1)
        ids_BL = held[: rows * (self.settings.length + 1)].view(rows, -1)[:160]
        return float(self.loss(ids_BL))


@dataclass(frozen=True, kw_only=True)
class LanguageFault:
    """What goes wrong in a training on text."""

    lasts: int = 10**9
    lr: float = 1.0
    loss: float = 1.0
    gradient: float = 1.0
    data: Callable[[Tensor, LanguageHost], Tensor] = lambda ids_BL, host: ids_BL


def _random_labels(ids_BL: Tensor, host: LanguageHost) -> Tensor:
    return torch.randint(0, host.settings.vocab_size, ids_BL.shape, generator=host.draw(1))


def _shifted(ids_BL: Tensor, host: LanguageHost) -> Tensor:
    return (ids_BL + 7) % host.settings.vocab_size


LANGUAGE_FAULTS = {
    "bad batch: random labels, loss × 100 (3 steps)": LanguageFault(lasts=3, loss=100.0, data=_random_labels),
    "NaN gradient (1 step)": LanguageFault(lasts=1, gradient=math.nan),
    "gradient × 1e6 (3 steps)": LanguageFault(lasts=3, gradient=1e6),
    "learning rate × 300 (20 steps)": LanguageFault(lasts=20, lr=300.0),
    "wrong tokenizer: ids shifted": LanguageFault(data=_shifted),
}


# Policy gradients

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

    def run(self, fault: PolicyFault | None = None, *, at: int = 0) -> Outcome:
        outcome = Outcome(final=math.nan)
        for step in range(self.steps):
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
        outcome.steps, outcome.final = self.at + 1, self.evaluate()
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
        return ((reward_GN - reward_GN.mean(1, keepdim=True)) / (reward_GN.std(1, keepdim=True) + 0.1)).flatten()
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


POLICY_FAULTS = {
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
