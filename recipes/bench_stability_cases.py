"""The hosts of `bench_stability.py`, small trainings that a fault is put into, and the faults.

`LanguageHost` trains this package's decoder on text, `RegressionHost` a small network on noise; `PolicyHost` (bench_stability_policy.py)
trains a policy that writes tokens, by policy gradients with groups, and has every signal of a large run: lengths, formats, ratios,
entropy. Data are a function of (seed, cursor) alone, so that runs with and without a guard are paired, and a cursor is all there is
to roll back. A fault begins at a step of the loop and stays, unless it is said to pass.

A host goes on where it stands, so what comes before a fault is trained once: each fault then has a forked process (`branch`).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from overwinter.learn.stability import Guard, GuardConfig, Verdict
from overwinter.model import Config, fresh

BASELINE_CLIP = 1.0
"""What runs with clipping alone do: the usual cap on the gradient norm."""


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

    def __init__(self, *, seed: int, steps: int, guard: GuardConfig | None, clip: float | None = BASELINE_CLIP) -> None:
        torch.manual_seed(seed)
        self.seed, self.steps, self.at, self.cursor, self.clip = seed, steps, 0, 0, clip
        self.dropped: list[int] = []
        self.model = self.build()
        self.optimizer = self.mover()
        self.guard = (
            None
            if guard is None
            else Guard(self.model, self.optimizer, guard, save=self.save, load=self.load, skip=self.skip)
        )

    def build(self) -> nn.Module:
        raise AssertionError("a host has a model")

    def rate(self) -> float:
        raise AssertionError("a host has a learning rate")

    def mover(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=self.rate(), betas=(0.9, 0.95), weight_decay=0.01)

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
            if self.clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
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
        if self.guard is not None and any(alarm.remedy == "cap" for alarm in verdict.alarms):
            outcome.actions.append((self.at, "cap"))
        if verdict.action != "go":
            outcome.actions.append((self.at, verdict.action))
        elif self.guard is not None and self.guard.ladder.tight_since == self.guard.step:
            outcome.actions.append((self.at, "tighten"))
        self.optimizer.zero_grad()
        return verdict


def branch(host: Any, fault: Any, *, at: int) -> Outcome:
    """Go on with a host in a process of its own, with a fault; the host itself stays where it is."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as pipe:
                json.dump(asdict(host.run(fault, at=at)), pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    found = json.loads(text)
    for name in ("alarms", "actions"):
        found[name] = [(step, what) for step, what in found[name]]
    return Outcome(**found)


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
    sgd: bool = False
    """Whether steps are SGD's with momentum, which nothing bounds, in place of AdamW's."""
    batch: int = 8
    length: int = 32
    init_scale: float = 4.0
    """Factor on matrices of deviation 0.02 at the start: 4 suits width 32, and far more is harsh."""


class LanguageHost(Host):
    """Next-symbol prediction by a decoder of width 32."""

    def __init__(
        self,
        settings: Language,
        *,
        seed: int,
        steps: int,
        guard: GuardConfig | None,
        clip: float | None = BASELINE_CLIP,
    ) -> None:
        self.settings = settings
        super().__init__(seed=seed, steps=steps, guard=guard, clip=clip)

    def build(self) -> nn.Module:
        shape = {"d_model": 32, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "d_head": 16, "d_mlp": 64}
        config = Config(vocab_size=self.settings.vocab_size, qk_norm=self.settings.qk_norm, **shape)
        decoder = fresh(config, seed=self.seed).train()
        with torch.no_grad():
            for parameter in decoder.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(self.settings.init_scale)
        return decoder

    def mover(self) -> torch.optim.Optimizer:
        if not self.settings.sgd:
            return super().mover()
        return torch.optim.SGD(self.model.parameters(), lr=self.rate(), momentum=0.9)

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

    def run(self, fault: LanguageFault | None = None, *, at: int = 0, until: int | None = None) -> Outcome:
        outcome = Outcome(final=math.nan)
        for step in range(self.at, self.steps if until is None else until):
            self.at = step
            active = fault is not None and at <= step < at + fault.lasts and (step - at) % fault.every == 0
            now = fault if fault is not None and active else LanguageFault()
            self.optimizer.param_groups[0]["lr"] = self.rate() * now.lr * now.lr_growth ** (step - at + 1)
            if now.weights != 1:
                with torch.no_grad():
                    for each in self.model.parameters():
                        each.mul_(now.weights)
            ids_BL = self.batch()
            self.cursor += 1
            loss = self.loss(now.data(ids_BL, self)) * now.loss
            loss.backward()
            if now.gradient != 1:
                for parameter in self.model.parameters():
                    parameter.grad = None if parameter.grad is None else parameter.grad * now.gradient
            if self.advance(loss, {}, outcome).stopped:
                outcome.stopped = True
                break
        self.at += 1
        outcome.steps, outcome.final = self.at, self.evaluate()
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
    every: int = 1
    lr: float = 1.0
    lr_growth: float = 1.0
    """Factor on the rate, and once more with every step."""
    weights: float = 1.0
    """Factor on all of them, before the step."""
    loss: float = 1.0
    gradient: float = 1.0
    data: Callable[[Tensor, LanguageHost], Tensor] = lambda ids_BL, host: ids_BL


def _random_labels(ids_BL: Tensor, host: LanguageHost) -> Tensor:
    return torch.randint(0, host.settings.vocab_size, ids_BL.shape, generator=host.draw(1))


def _shifted(ids_BL: Tensor, host: LanguageHost) -> Tensor:
    return (ids_BL + 7) % host.settings.vocab_size


LANGUAGE_FAULTS: dict[str, LanguageFault | None] = {
    "none": None,
    "bad batch: random labels, loss × 100 (3 steps)": LanguageFault(lasts=3, loss=100.0, data=_random_labels),
    "bad batches: random labels (every other)": LanguageFault(every=2, data=_random_labels),
    "NaN gradient (1 step)": LanguageFault(lasts=1, gradient=math.nan),
    "NaN gradient (30 steps)": LanguageFault(lasts=30, gradient=math.nan),
    "gradient × 1e6 (3 steps)": LanguageFault(lasts=3, gradient=1e6),
    "gradient × 1e6 (for good)": LanguageFault(gradient=1e6),
    "learning rate × 300 (20 steps)": LanguageFault(lasts=20, lr=300.0),
    "learning rate × 1.3 per step (for good)": LanguageFault(lr_growth=1.3, lasts=60),
    "weights × 4 (once)": LanguageFault(lasts=1, weights=4.0),
    "wrong tokenizer: ids shifted": LanguageFault(data=_shifted),
}


# Regression


class RegressionHost(Host):
    """A small network on noisy targets: many healthy steps for little time."""

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))

    def rate(self) -> float:
        return 3e-3 * min(1.0, max(0.05, 2.5 * (1 - self.at / self.steps)))

    def batch(self, rows: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        x_BD = torch.randn(rows, 8, generator=draw)
        y_B1 = (x_BD[:, :4] * x_BD[:, 4:]).sum(-1, keepdim=True).sin()
        return x_BD, y_B1 + 0.5 * torch.randn(rows, 1, generator=draw)

    def run(self) -> Outcome:
        outcome = Outcome(final=math.nan)
        for step in range(self.steps):
            self.at = step
            self.optimizer.param_groups[0]["lr"] = self.rate()
            x_BD, y_B1 = self.batch(32, self.draw())
            self.cursor += 1
            loss = (self.model(x_BD) - y_B1).square().mean()
            loss.backward()
            if self.advance(loss, {}, outcome).stopped:
                outcome.stopped = True
                break
        outcome.steps = self.at + 1
        with torch.no_grad():
            x_BD, y_B1 = self.batch(2000, torch.Generator().manual_seed(-1 - self.seed))
            outcome.final = float((self.model(x_BD) - y_B1).square().mean())
        return outcome
