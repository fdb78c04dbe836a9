"""The guard around somebody's training loop: asked before each step, told after it.

    guard = Guard(model, optimizer, save=save, load=load)
    for batch in …:
        loss = …;  loss.backward()
        verdict = guard.before_step(loss, batch=batch)
        if verdict.stopped: break
        if verdict.go: optimizer.step();  guard.after_step()
        optimizer.zero_grad()

Order of work in `before_step`: measure, compare with what is usual, ask the detectors, let the ladder decide, act, write down. On
"skip", "rolled_back" and "stop" the gradients are dropped, so that a loop that steps all the same changes nothing. A lowered
learning rate is lent to the optimiser between the two calls alone; schedules never see it.

Invariants: switched off or in a dry run, the training keeps its bits; no random number is drawn; every action that changes
anything is an event with its evidence; a rollback gives back weights, moments, random numbers and the loop's own state to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from overwinter.errors import UsageError
from overwinter.learn.stability.config import GuardConfig
from overwinter.learn.stability.detectors import Alarm, LossAbove, Reading
from overwinter.learn.stability.doubt import Doubt
from overwinter.learn.stability.events import EventLog
from overwinter.learn.stability.ladder import Decision, Ladder, Weights
from overwinter.learn.stability.masks import RatioMasks, RatioRules, finite_rows, ratio_masks
from overwinter.learn.stability.monitors import Monitors
from overwinter.learn.stability.pace import Pace
from overwinter.learn.stability.panel import build_detectors
from overwinter.learn.stability.qk_clip import clip_attention
from overwinter.learn.stability.replay import Incident
from overwinter.learn.stability.report import summary, write_report
from overwinter.learn.stability.signals import Groups, Movement, local, parameter_norms, scale_gradients
from overwinter.learn.stability.snapshot import Optimizer, Shelf, Snapshot, random_state, set_random_state
from overwinter.learn.stability.together import Gather, agreed
from overwinter.learn.stability.window import History
from overwinter.learn.stability.zclip import ZClip

FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a step."""

    action: Literal["go", "skip", "rolled_back", "stop"] = "go"
    cause: str = ""
    """The detector that decided, with what made it worse."""
    alarms: tuple[Alarm, ...] = ()
    clip: float = 1.0
    """What the gradient was multiplied by."""
    skip_batches: int = 0
    """After a rollback: how many batches to leave out from the restored cursor on; 0 where `skip` did it already."""

    @property
    def go(self) -> bool:
        """Whether to take the optimiser's step."""
        return self.action == "go"

    @property
    def stopped(self) -> bool:
        return self.action == "stop"


class Guard:
    """One training's guard.

    Args:
        model: whose parameters are trained; a `Decoder` is looked into as well.
        optimizer: one of torch's, or several.
        config: when to act.
        save: the loop's own state (cursor, scheduler, generators): tensors, arrays, numbers, texts, lists and dicts of them.
        load: puts such a state back.
        skip: leaves out that many batches from the cursor on. Without it, obey `Verdict.skip_batches`.
        folder: for events.jsonl, signals.jsonl, the report, and snapshots; None keeps everything in memory.
        gather: brings the measurements of all processes together (`gather_over`), so that all come to one verdict. Each has a folder
            of its own.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer],
        config: GuardConfig | None = None,
        *,
        save: Callable[[], Mapping[str, Any]] | None = None,
        load: Callable[[Mapping[str, Any]], None] | None = None,
        skip: Callable[[int], None] | None = None,
        folder: Path | None = None,
        gather: Gather | None = None,
    ) -> None:
        if (save is None) != (load is None):
            raise UsageError("save and load come in pairs", "give both, or neither")
        self.model, self.config = model, config or GuardConfig()
        self.optimizers: tuple[Optimizer, ...] = tuple(optimizer) if isinstance(optimizer, Sequence) else (optimizer,)
        self._save, self._load, self._skip = save, load, skip
        self.folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.step = 0
        """Steps asked about so far, those of abandoned stretches included."""
        self.log = EventLog(None if folder is None else folder / "events.jsonl")
        self.signal_log = EventLog(None if folder is None else folder / "signals.jsonl", kept=500)
        self.history = History(self.config.window, self.config.window_least, self.config.spike_sigma)
        self.detectors = build_detectors(self.config)
        self.zclip = ZClip(
            alpha=self.config.zclip_alpha,
            z=self.config.zclip_z,
            warmup=self.config.zclip_warmup,
            max_norm=self.config.max_norm,
            adaptive=self.config.zclip,
        )
        self.ladder = Ladder(self.config)
        self.pace = Pace(self.config, self.optimizers)
        self.shelf = Shelf(
            self.config.checkpoints_kept,
            None if folder is None else folder / "snapshots",
            reach=self.config.checkpoint_every * 2**self.config.checkpoints_kept,
        )
        self.incidents: list[Incident] = []
        self.groups = Groups(model)
        self.doubt = Doubt(self.config)
        self.probe: Callable[[], float] | None = None
        """The loss of a batch that is known to be good, on the present weights and without a gradient, if the loop gives one: then it
        is known at once whether refusals are the data's fault or the weights'."""
        self._gather = gather
        self.movement = Movement(self.groups)
        self.monitors = Monitors(model)
        self._pending: dict[str, float] = {}
        self._random: Mapping[str, Any] = {}
        self._alarmed: dict[str, int] = {}
        """The last step at which each detector gave an alarm."""
        self._last_alarm = 0
        self._last_kept: int | None = None

    # Asked by the loop

    def before_step(
        self, loss: Tensor | float, *, signals: Mapping[str, float] | None = None, batch: Any = None
    ) -> Verdict:
        """Judge a step whose gradients are there, and prepare it or prevent it.

        Args:
            loss: of this step, one number.
            signals: more of what is watched, by the names of docs/stability.md; `policy_signals` makes those of RL.
            batch: what the step was computed from; kept with an alarm, for `replay`.
        """
        if not self.config.enabled:
            return Verdict()
        self.pace.give_back()
        if self._last_kept is None and not self.config.dry_run:
            self.checkpoint()  # the beginning itself: what never got going can begin anew
        self.step += 1
        values, norm, weights = self._measure(loss, signals)
        z = self.history.z(values)
        reading = Reading(step=self.step, values=values, z=z, history=self.history)
        alarms = tuple(alarm for detector in self.detectors if (alarm := detector.observe(reading)) is not None)
        if self.ladder.held + 1 == self.config.doubt_points and weights.finite and not self.config.dry_run:
            weights = self.doubt.ask(self.step, weights, self._probed())
        can_step = math.isfinite(values["loss"]) and math.isfinite(norm)
        decision = self.ladder.decide(self.step, alarms, can_step=can_step, weights=weights)
        if not decision.grave:
            # What is refused says nothing of what is usual, and a zero gradient nothing of the size of the next.
            self.history.push({name: value for name, value in values.items() if name != "gradient_norm" or value > 0})
        self.signal_log.write("signals", self.step, values=values, z=z)
        self._note(alarms, decision, batch)
        if decision.tighten:
            kind = "would_tighten" if self.config.dry_run else "tighten"
            self._write(kind, cause=decision.cause, steps=self.config.tighten_steps, lr_scale=self.lr_scale)
        if decision.action != "go":
            return self._hold(decision, alarms)
        if decision.accept:
            self._begin_probation(decision)
        return self._go(decision, alarms, norm)

    def after_step(self) -> None:
        """Tell that the optimiser has stepped: looks at what it did, gives the learning rate back, keeps a healthy state."""
        if not self.config.enabled:
            return
        self._pending |= self.movement.end()
        self.pace.give_back()
        self._qk_clip()
        due = bool(self.config.monitor_every) and self.step % self.config.monitor_every == 0
        if due or self.config.qk_clip is not None:
            self.monitors.attach(attention_only=not due)
        if not self.config.dry_run:
            self._keep()
        if self.config.incidents_kept:
            self._random = random_state()

    def accept(self) -> None:
        """Tell that the data are about to change on purpose: what is usual is found anew, and no change is refused for it."""
        self.history.windows.clear()
        for detector in self.detectors:
            detector.forget()
            if isinstance(detector, LossAbove):
                detector.best = math.inf
        self._write("accept")

    def screen(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Rung 1: which samples to keep [R]: those whose numbers are finite in every column [R, …]."""
        keep_R, bad = finite_rows(columns)
        if not self.config.enabled or not bad:
            return torch.ones_like(keep_R)
        share = 1 - float(keep_R.double().mean())
        self._pending["dropped_share"] = share
        self._write("drop_samples", dropped=int((~keep_R).sum()), of=len(keep_R), columns=bad)
        return torch.ones_like(keep_R) if self.config.dry_run else keep_R

    def mask_ratios(
        self,
        log_ratio_RT: Tensor,
        mask_RT: Tensor,
        *,
        rules: RatioRules | None = None,
        advantage_R: Tensor | None = None,
        log_policy_ratio_RT: Tensor | None = None,
    ) -> RatioMasks:
        """Rung 2: which tokens to train on, and with what weight, by log π_old − log μ of each (`ratio_masks`)."""
        found = ratio_masks(
            log_ratio_RT,
            mask_RT,
            rules or RatioRules(),
            advantage_R=advantage_R,
            log_policy_ratio_RT=log_policy_ratio_RT,
        )
        if not self.config.enabled:
            return found.untouched(mask_RT)
        if found.reasons:
            self._write("mask_tokens", **found.reasons)
        return found.untouched(mask_RT) if self.config.dry_run else found

    @property
    def clips(self) -> bool:
        """Whether gradients are clipped here; where not, the loop may want to."""
        return self.config.enabled and not self.config.dry_run

    @property
    def coefficient_scale(self) -> float:
        """Factor for the coefficients of KL and entropy in the loop's loss; above 1 while tightened."""
        tight = self.ladder.tight(self.step) and not self.config.dry_run
        return self.config.tighten_coefficient if tight else 1.0

    @property
    def lr_scale(self) -> float:
        """Factor that the next step puts on the learning rate."""
        return 1.0 if self.config.dry_run else self.pace.scale(self.step, tight=self.ladder.tight(self.step))

    def checkpoint(self) -> None:
        """Keep the present state; done by itself every `checkpoint_every` steps without an alarm."""
        self.doubt.remember(self._probed())
        extra = {
            "loop": {} if self._save is None else dict(self._save()),
            "guard": self._watchers(),
            "lr": self.pace.lr,
        }
        self.shelf.add(Snapshot.take(self.step, self.model, self.optimizers, extra=extra))
        self._last_kept = self.step

    # Acting

    def _go(self, decision: Decision, alarms: tuple[Alarm, ...], norm: float) -> Verdict:
        target = self.zclip.target(norm)
        if self.config.dry_run:
            return Verdict(cause=decision.cause, alarms=alarms)
        clip = scale_gradients(self.groups.parameters, norm, target)
        if clip < 1 and (self.config.max_norm is None or target < self.config.max_norm):
            self._write("clip", norm=norm, target=target, factor=clip)
        highest = next((alarm.evidence["highest"] for alarm in alarms if alarm.remedy == "cap"), None)
        self.pace.lend(self.pace.scale(self.step, tight=self.ladder.tight(self.step), highest=highest))
        every = self.config.update_ratio_every
        if every and self.step % every == 0:
            self.movement.begin()
        return Verdict(cause=decision.cause, alarms=alarms, clip=clip)

    def _hold(self, decision: Decision, alarms: tuple[Alarm, ...]) -> Verdict:
        if self.config.dry_run:
            self._write(f"would_{decision.action}", cause=decision.cause)
            self.ladder.stopped = ""
            return Verdict(cause=decision.cause, alarms=alarms)
        for parameter in self.groups.parameters:
            parameter.grad = None
        if decision.action == "roll_back":
            verdict = self._roll_back(decision, alarms)
        elif decision.action == "stop":
            verdict = self._stop(decision, alarms)
        else:
            self._write("skip", cause=decision.cause)
            verdict = Verdict(action="skip", cause=decision.cause, alarms=alarms)
        self._random = random_state() if self.config.incidents_kept else {}
        return verdict

    def _roll_back(self, decision: Decision, alarms: tuple[Alarm, ...]) -> Verdict:
        snapshot = self.shelf.before(decision.since)
        if snapshot is None:
            cause = f"{decision.cause}, and there is no checkpoint to go back to"
            self.ladder.stopped = cause
            return self._stop(Decision(action="stop", cause=cause, since=decision.since), alarms)
        snapshot.restore(self.model, self.optimizers)
        self._watchers_back(snapshot.extra["guard"])
        self.shelf.drop_after(snapshot.step)
        self._last_kept = snapshot.step
        self.pace.rolled_back(self.step, to=snapshot.step, lr=snapshot.extra["lr"] or None)
        self._pending = {}
        self.monitors.detach()
        batches = max(self.step - snapshot.step, self.config.skip_batches)
        if self._load is not None:
            self._load(snapshot.extra["loop"])
        if self._skip is not None:
            self._skip(batches)
        self._write(
            "roll_back",
            cause=decision.cause,
            since=decision.since,
            to=snapshot.step,
            skip_batches=batches,
            rollbacks=len(self.ladder.rollbacks),
            lr_scale=self.lr_scale,
        )
        left = 0 if self._skip is not None else batches
        return Verdict(action="rolled_back", cause=decision.cause, alarms=alarms, skip_batches=left)

    def _stop(self, decision: Decision, alarms: tuple[Alarm, ...]) -> Verdict:
        if self.log.of("stop"):
            return Verdict(action="stop", cause=decision.cause, alarms=alarms)
        healthy = None if decision.keep else self.shelf.before(decision.since)
        if healthy is not None:
            # What a stopped training leaves behind is the last state that can be trusted.
            healthy.restore(self.model, self.optimizers)
            self._watchers_back(healthy.extra["guard"])
            if self._load is not None:
                self._load(healthy.extra["loop"])
        self._write(
            "stop",
            cause=decision.cause,
            rollbacks=len(self.ladder.rollbacks),
            weights_of=self.step - self.ladder.held - 1 if healthy is None else healthy.step,
        )
        write_report(self.folder, self.report())
        return Verdict(action="stop", cause=decision.cause, alarms=alarms)

    def report(self) -> dict[str, Any]:
        """Where the training stands: what the guard did, how often, and what it last saw."""
        return {
            "step": self.step,
            "stopped": self.ladder.stopped,
            "rollbacks": len(self.ladder.rollbacks),
            **summary(self.log, self.signal_log),
            "checkpoints": self.shelf.steps,
        }

    # Parts of the work

    def _begin_probation(self, decision: Decision) -> None:
        """Changed data are tried: with a new yardstick, and a state from before at hand."""
        self.history.windows.clear()
        for detector in self.detectors:
            detector.forget()
        kind = "would_try_changed_data" if self.config.dry_run else "probation"
        self._write(kind, cause=decision.cause, since=decision.since, steps=self.config.probation_steps)

    def _measure(
        self, loss: Tensor | float, signals: Mapping[str, float] | None
    ) -> tuple[dict[str, float], float, Weights]:
        number = float(loss.detach()) if isinstance(loss, Tensor) else float(loss)
        norms, norm = parameter_norms([parameter.grad for parameter in self.groups.parameters])
        values = {"loss": number, "gradient_norm": norm}
        values |= {f"gradient_norm.{name}": size for name, size in self.groups.by_group(norms).items()}
        values["weight_norm"] = parameter_norms([parameter.detach() for parameter in self.groups.parameters])[1]
        if lr := self.pace.lr:
            values["lr"] = lr
        values |= {name: float(value) for name, value in (signals or {}).items()}
        values |= self._pending | self.monitors.collect()
        self._pending = {}
        if self._gather is not None:
            values.setdefault("dropped_share", 0.0)
            values = agreed(values, self._gather)
        return values, values["gradient_norm"], self.doubt.judge(self.step, values["weight_norm"])

    def _probed(self) -> float | None:
        if self.probe is None:
            return None
        random = random_state()
        with torch.no_grad():
            value = float(self.probe())
        set_random_state(random)
        return value if self._gather is None else agreed({"probe": value}, self._gather)["probe"]

    def _note(self, alarms: Sequence[Alarm], decision: Decision, batch: Any) -> None:
        for alarm in alarms:
            lasts = self._alarmed.get(alarm.detector) == self.step - 1
            self._alarmed[alarm.detector] = self.step
            if lasts:
                continue  # once written down, until it has been away
            self._write(
                "alarm",
                detector=alarm.detector,
                signal=alarm.signal,
                remedy=alarm.remedy,
                since=alarm.since,
                evidence=alarm.evidence,
            )
        if any(alarm.remedy != "tell" for alarm in alarms) or decision.action != "go":
            self._last_alarm = self.step
        # A part of the weights replays nothing.
        whole = all(local(parameter) is parameter for parameter in self.groups.parameters)
        if (
            alarms
            and batch is not None
            and whole
            and self.config.incidents_kept
            and (decision.action != "go" or decision.tighten)
        ):
            measured = self.signal_log.events[-1]["values"]
            incident = Incident.of(self.step, self.model, batch, alarms, self._random, measured)
            self.incidents = [*self.incidents, incident][-self.config.incidents_kept :]
            if self.folder is not None:
                incident.write(self.folder / "incidents" / f"step-{self.step:09d}")

    def _write(self, kind: str, **facts: Any) -> None:
        self.log.write(kind, self.step, **facts)

    def _keep(self) -> None:
        """Confirm what was kept and keep what may be kept: states with quiet steps behind them, and none in the making of an alarm."""
        quiet = self.step - self._last_alarm if self._last_alarm else self.step
        if quiet < self.config.quiet_steps:
            return
        self.doubt.settle(self.step)
        self.shelf.confirm(self.step - self.config.quiet_steps)
        due = self.step - (self._last_kept or 0) >= self.config.checkpoint_every
        if due and not any(detector.suspicious for detector in self.detectors) and "since" not in self.doubt.state:
            self.checkpoint()

    def _qk_clip(self) -> None:
        tau = self.config.qk_clip
        if tau is None or self.config.dry_run:
            return
        for name, logits_H, attention in self.monitors.take_logits():
            if float(logits_H.max()) > tau:
                gamma = clip_attention(attention, logits_H, tau=tau)
                self._write("qk_clip", layer=name, logit=float(logits_H.max()), factor=gamma)

    def _watchers(self) -> dict[str, Any]:
        return {
            "history": self.history.state_dict(),
            "detectors": {detector.name: detector.state_dict() for detector in self.detectors},
            "zclip": self.zclip.state_dict(),
            "doubt": self.doubt.state_dict(),
        }

    def _watchers_back(self, state: Mapping[str, Any]) -> None:
        self.history.load_state_dict(state["history"])
        for detector in self.detectors:
            if detector.name in state["detectors"]:
                detector.load_state_dict(state["detectors"][detector.name])
        self.zclip.load_state_dict(state["zclip"])
        self.doubt.load_state_dict(state["doubt"])

    def state_dict(self) -> dict[str, Any]:
        """Everything the guard remembers but its snapshots, as JSON values; those in a folder are found there again."""
        return {
            "format": FORMAT,
            "step": self.step,
            "last_alarm": self._last_alarm,
            "last_kept": self._last_kept,
            "ladder": self.ladder.state_dict(),
            "pace": self.pace.state_dict(),
            "pending": dict(self._pending),
            **self._watchers(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("format") != FORMAT:
            raise UsageError(
                f"a guard's state of format {state.get('format')!r}, this version reads {FORMAT}", "update"
            )
        self.step, self._last_alarm = int(state["step"]), int(state["last_alarm"])
        self._last_kept = state["last_kept"]
        self.ladder.load_state_dict(state["ladder"])
        if self.ladder.stopped:
            # Who goes on after a stop has read the report: all rungs are free again.
            self.ladder = Ladder(self.config)
        for log in (self.log, self.signal_log):
            log.forget_after(self.step)
        self.pace.load_state_dict(state["pace"])
        self.shelf.drop_after(self.step)  # what a killed process kept after this is not the past
        self._pending = dict(state["pending"])
        self._watchers_back(state)
