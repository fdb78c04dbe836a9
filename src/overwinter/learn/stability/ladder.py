"""Which rung: the one place where alarms become a decision.

    1 drop samples · 2 mask tokens        before the loss, by `Guard.screen` and `Guard.mask_ratios`
    3 clip                                every step that is taken
    4 refuse                              a spike, a number that is none, data that cannot be meant
    5 tighten                             a trend, or more mild spikes than bad luck explains
    6 roll back                           weights in doubt, a collapse, a trend that tightening did not stop
    7 stop with a report                  no rollback left, or a fault that none mends

Two questions are kept apart, for they have opposite answers. *Are the data bad?* Then waiting is right: a refused step has changed
nothing, and going back would only lose what was learned. *Are the weights bad?* Then no waiting helps. A refusal alone does not say
which; the weights are in doubt if they moved oddly, are no numbers, or fail the loop's own probe. So grave refusals are waited out, up
to `hold_steps` in a row; then the weights are doubted after all, once; if an older state meets the same, the data have changed:
they are tried on probation where that is possible, with the state from before at hand, and refused with a report where it is not.

Nothing here touches weights: a `Ladder` is a pure state machine over numbers, so its order is tested without a model. Sources of the
counts: docs/stability.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from overwinter.learn.stability.config import GuardConfig
from overwinter.learn.stability.detectors import Alarm

Action = Literal["go", "skip", "roll_back", "stop"]
GRADIENT_SPIKE = "spike.gradient_norm"
ORDER: tuple[Action, ...] = ("go", "skip", "roll_back", "stop")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What is known of the weights themselves, apart from what a batch made of them."""

    finite: bool = True
    doubt: str = ""
    """Why they are suspect; empty where nothing speaks against them."""
    since: int = 0
    """The first step after which they were suspect."""
    cleared: bool = False
    """Whether the loop's probe has just found them as good as before."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do with a step, and for which alarm."""

    action: Action
    tighten: bool = False
    """Whether to tighten as well, from this step on."""
    accept: bool = False
    """Whether what is usual is to be found anew, since the data have changed: the beginning of a probation."""
    grave: bool = False
    """Of `skip`: whether its values are kept out of what is usual."""
    keep: bool = False
    """Of `stop`: whether the weights stay, since nothing speaks against them and the steps that do were not taken."""
    cause: str = ""
    since: int = 0
    """The step from which on checkpoints are not to be trusted."""


class Ladder:
    """Counts of what was done so far."""

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self.mild: list[int] = []
        """Steps refused for mild spikes, of the last `skips_span`."""
        self.held = 0
        """Grave refusals since the last step that was taken."""
        self.held_since = 0
        self.doubted = False
        """Whether a rollback was tried against the present refusals."""
        self.probation_from: int | None = None
        self.suspect_from: int | None = None
        """Since when something has jumped that was only told: a rollback goes behind it."""
        self.suspects: list[str] = []
        """Detectors that told of it."""
        self.convicted: list[str] = []
        """Those after which success was lost: what they tell of is refused from then on."""
        self.tight_since: int | None = None
        self.rollbacks: list[int] = []
        self.stopped = ""

    def tight(self, step: int) -> bool:
        return self.tight_since is not None and step < self.tight_since + self.config.tighten_steps

    def on_probation(self, step: int) -> bool:
        return self.probation_from is not None and step < self.probation_from + self.config.probation_steps

    def decide(self, step: int, alarms: Sequence[Alarm], *, can_step: bool, weights: Weights | None = None) -> Decision:
        """The highest rung that an alarm of this step asks for.

        Args:
            step: ascending.
            alarms: of this step.
            can_step: whether loss and gradient are numbers; where not, no count lets the step pass.
            weights: what speaks against them; nothing by default.
        """
        weights = Weights() if weights is None else weights
        if self.stopped:
            return Decision(action="stop", cause=self.stopped, since=step)
        self._expire(step)
        if not weights.finite:
            decision = self._roll_back(step, "weights that are no numbers", weights.since)
        else:
            asked = [self._answer(step, alarm, can_step=can_step) for alarm in alarms]
            if not can_step:
                asked.append(Decision(action="skip", cause="not_finite", since=step, grave=True))
            decision = max(asked, key=lambda each: ORDER.index(each.action), default=Decision(action="go", since=step))
            grave = [each for each in asked if each.grave]
            if grave and decision.action != "stop":
                # While data are refused, what trends make of them says nothing of the weights.
                decision = self._held(step, grave[0], weights, can_step=can_step, final=self._final(alarms))
                asked = grave
            if decision.action in ("go", "skip"):
                tight = next((each for each in asked if each.tighten), decision)
                decision = replace(
                    decision, tighten=tight.tighten or decision.tighten, cause=decision.cause or tight.cause
                )
        self._count(step, decision, alarms)
        return decision

    def _answer(self, step: int, alarm: Alarm, *, can_step: bool) -> Decision:
        cause, since = alarm.detector, alarm.since
        if alarm.remedy == "tell" and cause in self.convicted:
            return Decision(action="skip", cause=cause, since=since, grave=True)
        if alarm.remedy in ("tell", "cap"):
            return Decision(action="go", since=since)
        if alarm.remedy == "stop":
            return Decision(action="stop", cause=cause, since=since)
        if alarm.remedy == "roll_back":
            return self._roll_back(step, cause, since)
        if alarm.remedy == "hold" or (alarm.remedy == "skip" and (alarm.grave or not can_step)):
            return Decision(action="skip", cause=cause, since=since, grave=True)
        if alarm.remedy == "skip":
            return self._mild(step, cause, since)
        if not self.tight(step):
            return Decision(action="go", tighten=True, cause=cause, since=since)
        assert self.tight_since is not None
        if step - self.tight_since < self.config.tighten_patience:
            return Decision(action="go", cause=cause, since=since)
        return self._roll_back(step, f"{cause}, in spite of tightening", min(since, self.tight_since))

    def _mild(self, step: int, cause: str, since: int) -> Decision:
        """Clipping digests it, so a few are refused, and then they are taken at the usual length."""
        many = [each for each in self.mild if each > step - self.config.skips_span]
        if len(many) + 1 > self.config.skips_allowed:
            # A long gradient is cut to the usual length; a loss that is off may mean that the rate is too high.
            tighten = cause != GRADIENT_SPIKE
            return Decision(action="go", tighten=tighten, cause=f"{cause}, after {len(many)} skips", since=since)
        return Decision(action="skip", cause=cause, since=since)

    def _held(self, step: int, refusal: Decision, weights: Weights, *, can_step: bool, final: bool) -> Decision:
        """A grave refusal: wait, doubt the weights, try the data, or give up."""
        config, held = self.config, self.held + 1
        since = min(refusal.since, self.held_since) if self.held else refusal.since
        if weights.doubt and held >= config.doubt_points:
            return self._roll_back(step, f"{refusal.cause}, and {weights.doubt}", min(since, weights.since))
        if self.on_probation(step):
            assert self.probation_from is not None
            return replace(refusal, action="stop", cause=f"{refusal.cause}, on probation", since=self.probation_from)
        if weights.cleared:
            self.doubted = True
        if held <= config.hold_steps:
            return refusal
        if final:
            return replace(refusal, action="stop", keep=True, cause=f"{refusal.cause}, for {held} steps", since=since)
        if not self.doubted:
            self.doubted = True
            return self._roll_back(step, f"{refusal.cause}, for {held} steps", since)
        if can_step:
            return Decision(
                action="go", tighten=True, accept=True, cause=f"{refusal.cause}, for {held} steps", since=since
            )
        return replace(refusal, action="stop", keep=True, cause=f"{refusal.cause}, for {held} steps", since=since)

    def _final(self, alarms: Sequence[Alarm]) -> bool:
        """Whether what is refused can be mended neither by older weights nor by getting used to it."""
        return any(alarm.remedy == "hold" or alarm.detector in self.convicted for alarm in alarms)

    def _roll_back(self, step: int, cause: str, since: int) -> Decision:
        if self.on_probation(step):
            assert self.probation_from is not None
            return Decision(action="stop", cause=f"{cause}, on probation", since=self.probation_from)
        if self.suspect_from is not None:
            since = min(since, self.suspect_from)
        if len(self.rollbacks) < self.config.max_rollbacks:
            return Decision(action="roll_back", cause=cause, since=since)
        return Decision(action="stop", cause=f"{cause}, after {len(self.rollbacks)} rollbacks", since=since)

    def _expire(self, step: int) -> None:
        self.rollbacks = [each for each in self.rollbacks if each > step - self.config.rollback_span]
        self.mild = [each for each in self.mild if each > step - self.config.skips_span]
        if not self.rollbacks:
            self.convicted = []
        if self.probation_from is not None and not self.on_probation(step):
            self.probation_from = None
        if self.suspect_from is not None and step - self.suspect_from > 2 * self.config.tighten_steps:
            self.suspect_from, self.suspects = None, []

    def _count(self, step: int, decision: Decision, alarms: Sequence[Alarm]) -> None:
        if decision.action == "skip" and decision.grave:
            self.held_since = self.held_since if self.held else decision.since
            self.held += 1
        elif decision.action == "skip":
            self.mild.append(step)
        elif decision.action == "go":
            self.held, self.doubted = 0, False
        elif decision.action == "roll_back":
            self.rollbacks.append(step)
            self.convicted = sorted({*self.convicted, *self.suspects})
            self.suspect_from, self.suspects = None, []
            self.held, self.tight_since, self.mild = 0, None, []
        else:
            self.stopped = decision.cause
        if decision.tighten:
            self.tight_since = step
        if decision.accept:
            self.probation_from = step
        for alarm in alarms:
            if alarm.remedy == "tell" and alarm.detector.startswith("jump.") and alarm.detector not in self.convicted:
                self.suspects = sorted({*self.suspects, alarm.detector})
                self.suspect_from = min(alarm.since, alarm.since if self.suspect_from is None else self.suspect_from)

    def state_dict(self) -> dict[str, Any]:
        return {
            "mild": list(self.mild),
            "held": self.held,
            "held_since": self.held_since,
            "doubted": self.doubted,
            "probation_from": self.probation_from,
            "suspect_from": self.suspect_from,
            "suspects": list(self.suspects),
            "convicted": list(self.convicted),
            "tight_since": self.tight_since,
            "rollbacks": list(self.rollbacks),
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mild, self.rollbacks = list(state["mild"]), list(state["rollbacks"])
        self.held, self.held_since = int(state["held"]), int(state["held_since"])
        self.doubted, self.stopped = bool(state["doubted"]), str(state["stopped"])
        self.probation_from, self.suspect_from = state["probation_from"], state["suspect_from"]
        self.suspects, self.convicted = list(state["suspects"]), list(state["convicted"])
        self.tight_since = state["tight_since"]
