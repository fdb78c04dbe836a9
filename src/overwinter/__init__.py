"""overwinter: persistent, long-horizon reasoning agents on open-weight models, where everything a run did is one journal.

    from overwinter import Goal, Run, open_store

    store = open_store("overwinter.db")
    with Run.start(store, Goal(text="…"), setup={"model": {…}, "tools": {…}}) as run:
        run.finish()

Five files tell how it works: `journal/entry.py`, `loop/run.py`, `loop/step.py`, `loop/effects.py`, `worlds/world.py`.
Names load when they are first used, so that importing overwinter costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from overwinter.errors import OverwinterError
    from overwinter.journal import open_store, verify
    from overwinter.loop.fork import fork
    from overwinter.loop.gates import Gates, Rule
    from overwinter.loop.goal import Criterion, Goal
    from overwinter.loop.models import EndpointModel, ScriptedModel
    from overwinter.loop.replay import replay
    from overwinter.loop.run import Run
    from overwinter.loop.session import Parts
    from overwinter.tools import Effect, Tool, Toolbox, ToolContext, ToolResult, tool
    from overwinter.worlds import open_world

_HOMES = {
    "Criterion": "loop.goal",
    "Effect": "tools",
    "EndpointModel": "loop.models",
    "Gates": "loop.gates",
    "Goal": "loop.goal",
    "OverwinterError": "errors",
    "Parts": "loop.session",
    "Rule": "loop.gates",
    "Run": "loop.run",
    "ScriptedModel": "loop.models",
    "Tool": "tools",
    "ToolContext": "tools",
    "ToolResult": "tools",
    "Toolbox": "tools",
    "fork": "loop.fork",
    "open_store": "journal",
    "open_world": "worlds",
    "replay": "loop.replay",
    "tool": "tools",
    "verify": "journal",
}

__all__ = [
    "Criterion",
    "Effect",
    "EndpointModel",
    "Gates",
    "Goal",
    "OverwinterError",
    "Parts",
    "Rule",
    "Run",
    "ScriptedModel",
    "Tool",
    "ToolContext",
    "ToolResult",
    "Toolbox",
    "fork",
    "open_store",
    "open_world",
    "replay",
    "tool",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'overwinter' has no attribute {name!r}")
    return getattr(import_module(f"overwinter.{_HOMES[name]}"), name)
