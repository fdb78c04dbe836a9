"""How fast a training may go: one factor on the learning rate, from everything that speaks for less.

    tightened            × tighten_lr for tighten_steps
    after a rollback     × rollback_lr, and at or below the rate of the state that was gone back to, for rollback_steps; then as before
    after a relapse      × relapse_lr for good: a rollback soon upon another means that the rate itself is too high
    after a new start    × restart_lr for good: a training that never got going needs another order of magnitude
    a rate that jumped   held at the highest before, as long as the detector says so

The rate is lent to the optimiser between `before_step` and `after_step` alone; schedules never see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overwinter.learn.stability.config import GuardConfig
from overwinter.learn.stability.snapshot import Optimizer


class Pace:
    """The factor, and the lending."""

    def __init__(self, config: GuardConfig, optimizers: Sequence[Optimizer]) -> None:
        self.config, self.optimizers = config, optimizers
        self.for_good = 1.0
        self.eased_until = 0
        self.last_rollback: int | None = None
        self.ceiling: float | None = None
        """The rate that is not exceeded while eased."""
        self._lent: list[tuple[dict[str, Any], Any]] = []

    @property
    def lr(self) -> float:
        """The highest learning rate of all groups, as the schedule has it; 0 where there is none."""
        return max(
            (float(group["lr"]) for each in self.optimizers for group in each.param_groups if "lr" in group),
            default=0.0,
        )

    def scale(self, step: int, *, tight: bool, highest: float | None = None) -> float:
        """The factor for a step.

        Args:
            step: of the guard.
            tight: whether the ladder has tightened.
            highest: what the rate may not exceed in this step, if it has jumped.
        """
        lr, factor = self.lr, self.for_good * (self.config.tighten_lr if tight else 1.0)
        eased = step < self.eased_until
        bounds = [bound for bound in (highest, self.ceiling if eased else None) if bound is not None]
        if bounds and lr > 0:
            factor *= min(1.0, min(bounds) / lr)
        return factor * (self.config.rollback_lr if eased else 1.0)

    def rolled_back(self, step: int, *, to: int, lr: float | None) -> None:
        """Go more slowly after a rollback from `step` to the state of step `to`, whose rate was `lr`."""
        span = 2 * self.config.rollback_steps + self.config.hold_steps
        if to == 0:
            self.for_good *= self.config.restart_lr
        elif self.last_rollback is not None and step - self.last_rollback <= span:
            self.for_good *= self.config.relapse_lr
        self.last_rollback, self.ceiling = step, lr
        self.eased_until = step + 1 + self.config.rollback_steps

    def lend(self, factor: float) -> None:
        if factor == 1:
            return
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                self._lent.append((group, group["lr"]))
                group["lr"] = group["lr"] * factor

    def give_back(self) -> None:
        for group, lr in self._lent:
            group["lr"] = lr
        self._lent = []

    def state_dict(self) -> dict[str, Any]:
        return {
            "for_good": self.for_good,
            "eased_until": self.eased_until,
            "last_rollback": self.last_rollback,
            "ceiling": self.ceiling,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.for_good, self.eased_until = float(state["for_good"]), int(state["eased_until"])
        self.last_rollback, self.ceiling = state["last_rollback"], state["ceiling"]
