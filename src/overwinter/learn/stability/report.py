"""The last word of a guard that stopped a training: report.json for programs, report.md for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overwinter.errors import UsageError
from overwinter.learn.stability.events import EventLog, plain


def summary(log: EventLog, signals: EventLog) -> dict[str, Any]:
    """What was done, how often, and what was last seen."""
    events = list(log.events)
    kinds = sorted({event["kind"] for event in events})
    return {
        "counts": {kind: sum(event["kind"] == kind for event in events) for kind in kinds},
        "last_events": [event for event in events if event["kind"] != "clip"][-20:],
        "last_signals": list(signals.events)[-10:],
    }


def render(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    counts = ", ".join(f"{count} × {kind}" for kind, count in report["counts"].items()) or "nothing"
    lines = [
        f"# Training stopped at step {report['step']}",
        "",
        f"**Cause:** {report['stopped'] or 'not stopped'}.",
        f"**Done before:** {counts}.",
        f"**Checkpoints kept:** {', '.join(map(str, report['checkpoints'])) or 'none'}.",
        "",
        "The weights are those of the step that the last event names: the newest ones that nothing speaks against. Look at the",
        "evidence, replay the batch of the incident, mend the cause, and go on from there.",
        "",
        "| step | event | facts |",
        "| ---: | --- | --- |",
    ]
    for event in report["last_events"]:
        facts = {name: value for name, value in event.items() if name not in ("step", "kind")}
        lines.append(f"| {event['step']} | {event['kind']} | {json.dumps(facts)} |")
    return "\n".join(lines) + "\n"


def write_report(folder: Path | None, report: Mapping[str, Any]) -> None:
    """Both files; nothing without a folder."""
    if folder is None:
        return
    try:
        (folder / "report.json").write_text(json.dumps(plain(report), indent=2) + "\n", encoding="utf-8")
        (folder / "report.md").write_text(render(plain(report)), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error}", "check space and permissions there") from error
