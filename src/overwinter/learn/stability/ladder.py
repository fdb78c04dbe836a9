"""Which rung: the one place where alarms become a decision.

    1 drop samples · 2 mask tokens        before the loss, by `Guard.screen` and `Guard.mask_ratios`
    3 clip                                every step that is taken
    4 skip                                a spike, a number that is none, data that cannot be meant
    5 tighten                             a trend, or more skips than bad luck explains
    6 roll back                           a collapse, skips in close succession, a trend that tightening did not stop
    7 stop with a report                  no rollback left, or a fault that none mends

The lower rung comes first, and an alarm that comes again climbs. Nothing here touches weights: a `Ladder` is a pure state
machine over numbers, so its order is tested without a model. Source of the counts: docs/stability.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from overwinter.learn.stability.config import GuardConfig
from overwinter.learn.stability.detectors import Alarm

Action = Literal["go", "skip", "roll_back", "stop"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do with a step, and for which alarm."""

    action: Action
    tighten: bool = False
    """Whether to tighten as well, from this step on."""
    cause: str = ""
    since: int = 0
    """The step from which on checkpoints are not to be trusted."""


class Ladder:
    """Counts of what was done so far."""

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self.skips: list[int] = []
        """Steps that were skipped, of the last `skips_span`."""
        self.tight_since: int | None = None
        self.rollbacks = 0
        self.stopped = ""

    def tight(self, step: int) -> bool:
        return self.tight_since is not None and step < self.tight_since + self.config.tighten_steps

    @property
    def lr_scale_rollbacks(self) -> float:
        return float(self.config.rollback_lr**self.rollbacks)

    def decide(self, step: int, alarms: Sequence[Alarm], *, can_step: bool) -> Decision:
        """The highest rung that an alarm of this step asks for.

        Args:
            step: ascending.
            alarms: of this step.
            can_step: whether loss and gradient are numbers; where not, no count lets the step pass.
        """
        if self.stopped:
            return Decision(action="stop", cause=self.stopped, since=step)
        asked = [self._answer(step, alarm, can_step=can_step) for alarm in alarms if alarm.remedy != "tell"]
        if not can_step:
            asked.append(Decision(action="skip", cause="not_finite", since=step))
        order: tuple[Action, ...] = ("go", "skip", "roll_back", "stop")
        decision = max(asked, key=lambda each: order.index(each.action), default=Decision(action="go", since=step))
        if decision.action in ("go", "skip"):
            tight = next((each for each in asked if each.tighten), decision)
            decision = replace(decision, tighten=tight.tighten, cause=decision.cause or tight.cause)
        self._count(step, decision)
        return decision

    def _answer(self, step: int, alarm: Alarm, *, can_step: bool) -> Decision:
        cause, since = alarm.detector, alarm.since
        if alarm.remedy == "stop":
            return Decision(action="stop", cause=cause, since=since)
        if alarm.remedy == "roll_back":
            return self._roll_back(cause, since)
        if alarm.remedy == "skip":
            return self._skip(step, cause, since, can_step=can_step)
        if not self.tight(step):
            return Decision(action="go", tighten=True, cause=cause, since=since)
        assert self.tight_since is not None
        if step - self.tight_since < self.config.tighten_patience:
            return Decision(action="go", cause=cause, since=since)
        return self._roll_back(f"{cause}, in spite of tightening", min(since, self.tight_since))

    def _skip(self, step: int, cause: str, since: int, *, can_step: bool) -> Decision:
        config = self.config
        close = [each for each in self.skips if each > step - config.red_span]
        if len(close) + 1 >= config.red_skips:
            return self._roll_back(f"{cause}, after {len(close)} skips in {config.red_span} steps", min(since, *close))
        many = [each for each in self.skips if each > step - config.skips_span]
        if len(many) + 1 > config.skips_allowed:
            if not can_step:
                return self._roll_back(f"{cause}, after {len(many)} skips in {config.skips_span} steps", since)
            return Decision(action="go", tighten=True, cause=f"{cause}, after {len(many)} skips", since=since)
        return Decision(action="skip", cause=cause, since=since)

    def _roll_back(self, cause: str, since: int) -> Decision:
        if self.rollbacks < self.config.max_rollbacks:
            return Decision(action="roll_back", cause=cause, since=since)
        return Decision(action="stop", cause=f"{cause}, after {self.rollbacks} rollbacks", since=since)

    def _count(self, step: int, decision: Decision) -> None:
        if decision.action == "skip":
            self.skips = [each for each in self.skips if each > step - self.config.skips_span] + [step]
        elif decision.action == "roll_back":
            self.rollbacks += 1
            self.skips, self.tight_since = [], None
        elif decision.action == "stop":
            self.stopped = decision.cause
        if decision.tighten:
            self.tight_since = step

    def state_dict(self) -> dict[str, Any]:
        return {
            "skips": list(self.skips),
            "tight_since": self.tight_since,
            "rollbacks": self.rollbacks,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.skips, self.tight_since = list(state["skips"]), state["tight_since"]
        self.rollbacks, self.stopped = int(state["rollbacks"]), str(state["stopped"])
