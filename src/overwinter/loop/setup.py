"""From a setup to parts. The setup is plain JSON in the first entry of a run, so a resume on another machine needs only the
journal (and the secrets, which never enter it).

    {"model": {"kind": "policy", "policy": "rules"},
     "world": {"name": "greenhouse", "seed": 7},
     "tools": {"files": {"root": "work", "write": true}, "mcp": [{"name": "time", "command": ["mcp-server-time"]}]},
     "gates": [{"decision": "ask", "tool": "act", "consequential": true}],
     "pace": {"max_tokens": 512},
     "memory": {"namespace": "garden"},
     "recall": {"samples": 8}}
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from overwinter.errors import ToolError, UsageError
from overwinter.journal.canonical import canonical, digest
from overwinter.loop.confidence import build_confidence
from overwinter.loop.controls import CONTROLS
from overwinter.loop.gates import Gates, parse_rules
from overwinter.loop.memory.settings import parse_memory
from overwinter.loop.memory.tools import controls_with
from overwinter.loop.model import Model
from overwinter.loop.session import Pace, Parts
from overwinter.loop.world import WorldSession, open_world_session
from overwinter.tools import Effect, Tool, Toolbox

SETUP_FIELDS = frozenset(
    {
        "model",
        "judge",
        "world",
        "tools",
        "gates",
        "pace",
        "speculative",
        "code",
        "controls",
        "memory",
        "confidence",
        "recall",
    }
)


def build_parts(setup: Mapping[str, Any]) -> Parts:
    """Build everything a run works with.

    Raises:
        UsageError, ToolError: a part is unknown, misspelt or not installed.
    """
    if "response" in setup:
        raise UsageError(
            "this is a response of the server, not a run of the loop",
            "start `overwinter serve` with this store: it goes on with what is unfinished",
        )
    if "bench" in setup:
        raise UsageError("this is a benchmark, not a run of the loop", "go on with `overwinter bench resume RUN`")
    check_fields(setup)
    if "code" in setup:
        raise UsageError(
            "this run was started from Python code with parts of its own",
            "resume it there: Run.open(store, name, parts=…)",
        )
    if not isinstance(setup.get("model"), Mapping):
        raise UsageError("the setup names no model", 'give one, as {"model": {"kind": "endpoint", …}}')
    names = setup.get("controls", list(CONTROLS))
    unknown = sorted(set(names) - CONTROLS.keys())
    if unknown:
        raise UsageError(f"unknown controls {unknown}", f"use: {', '.join(CONTROLS)}")
    memory = parse_memory(setup["memory"]) if "memory" in setup else None
    confidence = build_confidence(setup.get("confidence", {}), setup["model"])
    gates, pace = Gates(rules=parse_rules(setup.get("gates", ()))), build_pace(setup.get("pace", {}))
    with ExitStack() as stack:
        # What holds a process or a connection comes last, and is given back if something after it cannot be built.
        world = open_world_session(setup["world"]) if setup.get("world") else None
        model = build_model(setup["model"], world)
        stack.callback(model.close)
        if "recall" in setup:
            model, pace = _recalling(model, pace, setup["recall"])
        judge = build_model(setup["judge"], None) if setup.get("judge") else None
        if judge is not None:
            stack.callback(judge.close)
        toolbox = _toolbox(setup.get("tools", {}), world)
        stack.callback(toolbox.close)
        controls = {name: CONTROLS[name] for name in names}
        if memory is not None:
            # Where nothing can be called but a world's actions, memory's tools cannot be called either.
            memory = memory if names else dataclasses.replace(memory, tools=())
            controls = controls_with(memory, controls)
        parts = Parts(
            model=model,
            toolbox=toolbox,
            controls=controls,
            world=world,
            gates=gates,
            judge=judge,
            pace=pace,
            memory=memory,
            confidence=confidence,
        )
        stack.pop_all()
    return parts


def _recalling(model: Model, pace: Pace, raw: Any) -> tuple[Model, Pace]:
    """The actor as a vote of its chains, each of which may be as long as the one answer would have been."""
    from overwinter.loop.recall import RecallingModel, parse_recall

    settings = parse_recall(raw)
    return RecallingModel(model, settings), dataclasses.replace(pace, max_tokens=pace.max_tokens * settings.samples)


def check_fields(setup: Mapping[str, Any]) -> None:
    """Raises UsageError for a field that no setup has."""
    unknown = sorted(setup.keys() - SETUP_FIELDS)
    if unknown:
        raise UsageError(f"setup has unknown fields {unknown}", f"use: {', '.join(sorted(SETUP_FIELDS))}")


def build_pace(raw: Mapping[str, Any]) -> Pace:
    known = {field.name for field in dataclasses.fields(Pace)}
    unknown = sorted(raw.keys() - known)
    if unknown:
        raise UsageError(f"pace has unknown fields {unknown}", f"use: {', '.join(sorted(known))}")
    for field in dataclasses.fields(Pace):
        value, number = raw.get(field.name, field.default), int | float if field.type == "float" else int
        if not (value is None and field.default is None) and (isinstance(value, bool) or not isinstance(value, number)):
            raise UsageError(f"pace has {field.name}={value!r}", f"give a number, as {field.default!r}")
    return Pace(**raw)


def build_model(spec: Mapping[str, Any], world: WorldSession | None) -> Model:
    """A model of `{"kind": "policy" | "player" | "endpoint" | "local" | "scripted", …}`."""
    settings = {key: value for key, value in spec.items() if key != "kind"}
    try:
        return _model_of_kind(spec.get("kind"), settings, world)
    except (TypeError, KeyError) as error:
        raise UsageError(f"the model {spec!r} cannot be made: {_said(error)}", "mend its settings") from error


def _model_of_kind(kind: Any, settings: dict[str, Any], world: WorldSession | None) -> Model:
    if kind == "policy":
        from overwinter.loop.models.policy import PolicyModel
        from overwinter.worlds import open_policy, open_world

        if world is None:
            raise UsageError("a policy plays worlds only", "name one with --world, or another model with --model")
        name = world.name
        return PolicyModel(open_policy(name, settings["policy"]), world.seed, lambda: open_world(name))
    if kind == "endpoint":
        from overwinter.loop.models.endpoint import Config, EndpointModel

        return EndpointModel(Config(**settings))
    if kind == "local":
        from overwinter.loop.models.local import Config as LocalConfig
        from overwinter.loop.models.local import LocalModel

        return LocalModel(LocalConfig(**settings))
    if kind == "player":
        from overwinter.loop.models.local import Config as PlayerConfig
        from overwinter.loop.models.player import PlayerModel
        from overwinter.worlds import open_world

        if world is None:
            raise UsageError("this model plays worlds only", "name one with --world, or another model with --model")
        played = world.name
        return PlayerModel(PlayerConfig(**settings), played, lambda: open_world(played))
    if kind == "scripted":
        from overwinter.loop.models.scripted import ScriptedModel

        return ScriptedModel(settings.pop("replies"), **{"by_turn": True, **settings})
    raise UsageError(f"unknown kind of model {kind!r}", "use policy, player, endpoint, local or scripted")


def _said(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _toolbox(spec: Mapping[str, Any], world: WorldSession | None) -> Toolbox:
    unknown = sorted(spec.keys() - _FACTORIES.keys())
    if unknown:
        raise UsageError(f"unknown tools {unknown}", f"use: {', '.join(_FACTORIES)}")
    found: list[Tool] = [] if world is None else [world.tool()]
    try:
        for name, settings in spec.items():
            try:
                # One by one: what a server has opened before the next one fails must be known, to be closed.
                for each in _FACTORIES[name](settings):
                    found.append(each)  # noqa: PERF402
            except (TypeError, KeyError, AttributeError) as error:
                raise UsageError(
                    f"the tools {name!r} cannot be made from {settings!r}: {_said(error)}", "mend their settings"
                ) from error
        return Toolbox(found)
    except BaseException:
        for owner in {id(each.owner): each.owner for each in found}.values():
            if owner is not None:
                owner.close()
        raise


def _files(settings: Any) -> list[Tool]:
    from overwinter.tools.filesystem import files

    return files(**settings)


def _http(settings: Any) -> list[Tool]:
    from overwinter.tools.web import http_get

    return http_get(**settings)


def _python(settings: Any) -> list[Tool]:
    from overwinter.tools.sandbox import python_sandbox

    return python_sandbox(**_sandboxed(settings))


def _shell(settings: Any) -> list[Tool]:
    from overwinter.tools.sandbox import shell_sandbox

    return shell_sandbox(**_sandboxed(settings))


def _mcp(settings: Any) -> Iterator[Tool]:
    from overwinter.tools.mcp import McpServer

    for server in settings:
        yield from McpServer(**server).tools()


def _effect(name: str) -> Effect:
    try:
        return Effect(name)
    except ValueError:
        raise UsageError(f"there is no effect class {name!r}", f"use one of: {', '.join(Effect)}") from None


def _sandboxed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no classes: effect and limits of a sandbox as the sandbox takes them."""
    from overwinter.tools.process import Limits

    made = dict(settings)
    if "effect" in made:
        made["effect"] = _effect(made["effect"])
    if "limits" in made:
        made["limits"] = Limits(**made["limits"])
    return made


def _modules(settings: Any) -> list[Tool]:
    return [each for path in settings for each in tools_of_module(Path(path))]


def tools_of_module(path: Path) -> list[Tool]:
    """All `Tool` objects at the top level of a Python file."""
    name = f"overwinter_tools_{digest(canonical(str(path)))[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ToolError(f"no Python file at {path}", "name a .py file that defines tools with @tool")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the file of a user does wrong
        del sys.modules[name]
        raise ToolError(f"{path} cannot be loaded: {type(error).__name__}: {error}", "mend the file") from error
    found = [value for value in vars(module).values() if isinstance(value, Tool)]
    if not found:
        raise ToolError(f"{path} defines no tools", "decorate functions with @overwinter.tool(effect=…)")
    return found


_FACTORIES: Mapping[str, Callable[[Any], Iterable[Tool]]] = {
    "files": _files,
    "http": _http,
    "python": _python,
    "shell": _shell,
    "mcp": _mcp,
    "modules": _modules,
}
