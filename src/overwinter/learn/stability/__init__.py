"""The stability guard: a training of weeks does not die of one bad batch, and says so when it is dying of something else.

    guard = Guard(model, optimizer, GuardConfig(), save=save, load=load, folder=Path("guard"))
    …loss.backward()
    if guard.before_step(loss, signals=policy_signals(…)).go:
        optimizer.step()
        guard.after_step()

Idea: everything that can be measured cheaply of a step is compared with its own last 128 values; small detectors turn that into
alarms; one ladder turns alarms into the mildest thing that may help: drop samples, mask tokens, clip, skip, tighten, roll back,
stop with a report.

Invariants:
- Switched off or in a dry run, the training keeps its bits.
- Whatever is changed is an event in a log, with its evidence; the guard draws no random number.
- A rollback restores weights, moments, random numbers and the loop's own state to the bit; at most three, then it stops.
- It needs a model and an optimiser, and no trainer of ours: the loop asks, and obeys.
- An alarm of a trend needs three points in a row. Success that rises is learning, whatever else falls; who deceives the reward
  deceives the guard too.

Reading order: config.py (the numbers and their sources), guard.py (the order of a step), ladder.py, detectors.py, window.py, zclip.py;
signals.py, policy.py, monitors.py for what is measured; masks.py, qk_clip.py, snapshot.py, replay.py, events.py, report.py.
docs/stability.md says when not to trust it.
"""

from __future__ import annotations

from overwinter.learn.stability.config import GuardConfig
from overwinter.learn.stability.detectors import Alarm, Detector, Reading
from overwinter.learn.stability.events import EventLog, read_events
from overwinter.learn.stability.guard import Guard, Verdict
from overwinter.learn.stability.ladder import Decision, Ladder, Weights
from overwinter.learn.stability.masks import RatioMasks, RatioRules, finite_rows, ratio_masks
from overwinter.learn.stability.monitors import Monitors
from overwinter.learn.stability.panel import build_detectors
from overwinter.learn.stability.policy import PolicyBatch, policy_signals, repetition
from overwinter.learn.stability.qk_clip import clip_attention
from overwinter.learn.stability.replay import Incident, Replayed, replay
from overwinter.learn.stability.snapshot import Snapshot
from overwinter.learn.stability.together import gather_over
from overwinter.learn.stability.window import History, Window
from overwinter.learn.stability.zclip import ZClip

__all__ = [
    "Alarm",
    "Decision",
    "Detector",
    "EventLog",
    "Guard",
    "GuardConfig",
    "History",
    "Incident",
    "Ladder",
    "Monitors",
    "PolicyBatch",
    "RatioMasks",
    "RatioRules",
    "Reading",
    "Replayed",
    "Snapshot",
    "Verdict",
    "Weights",
    "Window",
    "ZClip",
    "build_detectors",
    "clip_attention",
    "finite_rows",
    "gather_over",
    "policy_signals",
    "ratio_masks",
    "read_events",
    "repetition",
    "replay",
]
