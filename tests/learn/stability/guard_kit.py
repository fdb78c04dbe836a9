"""A tiny training whose every bit is known: a network with dropout, an optimiser with moments, a cursor over made-up batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from overwinter.learn.stability import Guard, GuardConfig, Verdict

torch.set_num_threads(1)

FAST: dict[str, Any] = {
    "window": 32,
    "window_least": 16,
    "zclip_warmup": 5,
    "checkpoint_every": 10,
    "checkpoints_kept": 6,
    "skip_batches": 0,
    "monitor_every": 0,
    "max_norm": None,
}
"""A guard that knows what is usual after a few steps."""


class Training:
    """Regression on batches that are a function of the cursor alone."""

    def __init__(self, config: GuardConfig | None = None, *, guarded: bool = True, seed: int = 0, **more: Any) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.cursor = 0
        self.seen: list[int] = []
        self.guard: Guard | None = None
        if guarded:
            self.guard = Guard(
                self.model, self.optimizer, config or GuardConfig(**FAST), save=self.save, load=self.load, **more
            )

    def save(self) -> dict[str, Any]:
        return {"cursor": self.cursor}

    def load(self, state: Mapping[str, Any]) -> None:
        self.cursor = state["cursor"]

    def batch(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.cursor)
        x_BD = torch.randn(16, 4, generator=generator)
        return x_BD, x_BD.sum(-1, keepdim=True).sin() + 0.3 * torch.randn(16, 1, generator=generator)

    def loss_of(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return (model(batch[0]) - batch[1]).square().mean()

    def step(
        self,
        *,
        spoil_loss: Callable[[Tensor], Tensor] | None = None,
        spoil_gradient: Callable[[Tensor], Tensor] | None = None,
        signals: Mapping[str, float] | None = None,
    ) -> Verdict:
        batch = self.batch()
        self.seen.append(self.cursor)
        self.cursor += 1
        loss = self.loss_of(self.model, batch)
        if spoil_loss is not None:
            loss = spoil_loss(loss)
        self.optimizer.zero_grad()
        loss.backward()
        if spoil_gradient is not None:
            for parameter in self.model.parameters():
                parameter.grad = spoil_gradient(parameter.grad)
        if self.guard is None:
            self.optimizer.step()
            return Verdict()
        verdict = self.guard.before_step(loss, signals=signals, batch=batch)
        if verdict.go:
            self.optimizer.step()
            self.guard.after_step()
        self.cursor += verdict.skip_batches
        return verdict

    def run(self, steps: int) -> list[Verdict]:
        return [self.step() for _ in range(steps)]

    def bits(self) -> list[Tensor]:
        """Everything that decides how it goes on."""
        moments = [
            value.clone()
            for parameter in self.model.parameters()
            for value in self.optimizer.state.get(parameter, {}).values()
        ]
        weights = [parameter.detach().clone() for parameter in self.model.parameters()]
        rates = torch.tensor([group["lr"] for group in self.optimizer.param_groups])
        return [*weights, *moments, torch.get_rng_state(), torch.tensor(self.cursor), rates]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
