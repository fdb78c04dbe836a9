"""From flags and configuration to what a run is started with: its goal, its setup (plain JSON) and its budget."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.config import Settings
    from overwinter.loop.goal import Goal

BUNDLED = "bundled"
EFFECTS = ("pure", "idempotent", "keyed", "irreversible")
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w.-]+)?")
"""A model on the Hugging Face hub, with or without a revision (model/hub.py)."""
_MODEL_HELP = "a model folder, ORG/NAME on the hub, http://HOST:PORT/v1#MODEL, bundled, policy:NAME or script:FILE.json"
_GATE_HELP = (
    "'orders' (consequential acts of a world), 'doubtful-orders' (those of low calibrated confidence), an effect class,"
    " 'confidence<0.5', or a tool's name (* allowed)"
)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who acts and who judges."""

    model: Annotated[str | None, typer.Option("--model", metavar="SPEC", help=f"Who acts: {_MODEL_HELP}.")] = None
    judge: Annotated[
        str | None, typer.Option("--judge", metavar="SPEC", help="A model that checks --accept lines; not the actor.")
    ] = None
    window: Annotated[
        int | None,
        typer.Option(
            "--window", metavar="TOKENS", min=200, help="Most it sees at once; default: what its context leaves."
        ),
    ] = None
    recall: Annotated[
        int | None,
        typer.Option(
            "--recall",
            metavar="SAMPLES",
            min=2,
            max=64,
            help="Sample each step so often, and take what those say whose facts hold against the view.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """The world a run plays in."""

    world: Annotated[
        str | None,
        typer.Option(
            "--world",
            metavar="NAME",
            help="greenhouse, greenhouse:days=30, minigrid:ENV, gym:ENV. Default: greenhouse.",
        ),
    ] = None
    seed: Annotated[int | None, typer.Option("--seed", metavar="NUMBER", min=0, help="The world's seed.")] = None
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", metavar="NAME", help="Its scripted player, e.g. random, rules, expert; short for --model."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """What must hold before the run counts as done."""

    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", metavar="TEXT", help="Must hold at the end, in words; the judge checks it."),
    ] = None
    accept_command: Annotated[
        list[str] | None,
        typer.Option("--accept-command", metavar="COMMAND", help="A sandboxed command that must exit with 0."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What the run may touch."""

    files: Annotated[Path | None, typer.Option("--files", metavar="DIR", help="A folder it may read.")] = None
    write_files: Annotated[
        Path | None,
        typer.Option(
            "--write-files", metavar="DIR", help="A folder it may read and change; shell and python work there."
        ),
    ] = None
    allow_http: Annotated[
        list[str] | None,
        typer.Option("--allow-http", metavar="HOST", help="A host, or beginning of URLs, it may fetch by GET."),
    ] = None
    python: Annotated[bool, typer.Option("--python", help="Python in a sandbox, without network.")] = False
    shell: Annotated[bool, typer.Option("--shell", help="A shell in a sandbox, without network.")] = False
    mcp: Annotated[
        list[str] | None,
        typer.Option("--mcp", metavar="COMMAND", help="An MCP server: a command line or a URL; NAME=… names it."),
    ] = None
    tools: Annotated[
        list[Path] | None, typer.Option("--tools", metavar="FILE.py", help="A Python file with @tool functions.")
    ] = None
    memory: Annotated[
        bool, typer.Option("--memory", help="Working memory, and recall from what the journal's runs have seen.")
    ] = False
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="NAME", help="Whose memory; with this, --memory is meant.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class GateFlags:
    """Which calls wait for a person; before the rules of the configuration, deny first."""

    ask: Annotated[
        list[str] | None, typer.Option("--ask", metavar="RULE", help=f"Ask a person first: {_GATE_HELP}.")
    ] = None
    allow: Annotated[
        list[str] | None, typer.Option("--allow", metavar="RULE", help="Let through, in the same words.")
    ] = None
    deny: Annotated[list[str] | None, typer.Option("--deny", metavar="RULE", help="Refuse, in the same words.")] = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything `Run.start` needs."""

    goal: Goal
    setup: dict[str, Any]
    title: str


def make_plan(
    text: str | None,
    settings: Settings,
    place: Place,
    actor: Actor,
    accepted: Acceptance,
    tools: Tools,
    gates: GateFlags,
) -> Plan:
    """Put flags and configuration together.

    Raises:
        UsageError: they contradict each other, or something is missing.
    """
    setup: dict[str, Any] = {}
    world_goal = ""
    if text is None or place.world is not None:
        from overwinter.worlds import open_world

        world = open_world(settings.world.name)
        world_goal = world.goal
        setup["world"] = {"name": settings.world.name, "seed": settings.world.seed}
    elif place.policy is not None or place.seed is not None:
        raise UsageError("--policy and --seed are for worlds, and this run has a goal of its own", "add --world NAME")
    setup["model"] = _actor(settings, place, actor, world="world" in setup)
    if settings.judge:
        setup["judge"] = model_spec(settings.judge, settings, judge=True)
    given_tools = _tools(settings, tools)
    if given_tools:
        setup["tools"] = given_tools
    memory = _memory(settings, tools)
    if memory is not None:
        setup["memory"] = memory
    kind = setup["model"]["kind"]
    if (kind == "player" or (kind == "local" and memory is None)) and "world" in setup and not given_tools:
        # Nothing to call but the world's actions: the engine lets it utter nothing else.
        setup["controls"] = []
    rules = [*_rules("deny", gates.deny), *_rules("ask", gates.ask), *_rules("allow", gates.allow), *settings.gates]
    if rules:
        setup["gates"] = rules
    confidence = _confidence(settings)
    if confidence:
        setup["confidence"] = confidence
    pace = {**settings.pace, **({"window_tokens": actor.window} if actor.window is not None else {})}
    if pace:
        setup["pace"] = pace
    if actor.recall is not None:
        setup["recall"] = {"samples": actor.recall}
    goal = _goal(text or world_goal, world_goal, settings, accepted, given_tools)
    return Plan(goal=goal, setup=setup, title=_title(text, setup))


def model_spec(spec: str, settings: Settings, *, judge: bool = False) -> dict[str, Any]:
    """The setup of a model in words. Raises UsageError for words that name none."""
    kind, _, rest = spec.partition(":")
    if kind == "policy" and rest and not judge:
        return {"kind": "policy", "policy": rest}
    if kind in {"http", "https"}:
        url, hash_, name = spec.partition("#")
        if not hash_ or not name or not urlsplit(url).hostname:
            raise UsageError(f"the endpoint {spec!r} names no model", "write http://HOST:PORT/v1#MODEL")
        return {"kind": "endpoint", "base_url": url, "model": name, **settings.endpoint}
    if kind == "script" and rest:
        return {"kind": "scripted", "replies": _script(Path(rest))}
    if kind == "local" and rest:
        return _folder_spec(model_path(rest), settings, judge=judge)
    if kind == BUNDLED and not judge:
        return {"kind": "player", "path": f"{BUNDLED}:{rest or 'greenhouse'}"}
    if Path(spec).expanduser().exists() or HUB_NAME.fullmatch(spec):
        return _folder_spec(model_path(spec), settings, judge=judge)
    raise UsageError(f"{spec!r} is no {'judge' if judge else 'model'}", f"write {_MODEL_HELP}")


def _folder_spec(path: str, settings: Settings, *, judge: bool) -> dict[str, Any]:
    """A folder that plays a world from notes says so itself."""
    from overwinter.worlds.player import is_player

    kind = "player" if is_player(Path(path)) and not judge else "local"
    return {"kind": kind, "path": path, **settings.local}


def model_path(name: str) -> str:
    """The whole path of a model folder; a name on the hub as it is, so that another machine finds it too.

    Raises:
        UsageError: neither.
    """
    folder = Path(name).expanduser()
    if not folder.exists() and HUB_NAME.fullmatch(name):
        return name
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{folder.absolute()} is no model folder", "name one with config.json, safetensors and tokenizer.json"
        )
    return str(folder.absolute())


def _actor(settings: Settings, place: Place, actor: Actor, *, world: bool) -> dict[str, Any]:
    if place.policy is not None and actor.model is not None:
        raise UsageError("--policy and --model both say who acts", "give one of them")
    if settings.model and place.policy is None:
        return model_spec(settings.model, settings)
    if world:
        return _player(settings.world.name, settings.world.policy)
    raise UsageError("no model is named to work on this goal", f"give --model {_MODEL_HELP}")


def _player(world: str, policy: str) -> dict[str, Any]:
    """Who plays a world: the scripted policy that is named, else the model trained for this world, else the best scripted one."""
    from overwinter.worlds import policy_names
    from overwinter.worlds.player import bundled_for

    names = policy_names(world)
    if not policy and find_spec("torch") is not None and bundled_for(world):
        return {"kind": "player", "path": f"{BUNDLED}:{world.partition(':')[0]}"}
    return {"kind": "policy", "policy": policy or names[-1]}


def _script(path: Path) -> list[str]:
    """Replies of a JSON list; an object is a tool call, which a model writes as text."""
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"the script {path} cannot be read: {error}", "name a JSON list of replies") from error
    if not isinstance(raw, list) or not all(isinstance(each, str | dict) for each in raw):
        raise UsageError(
            f"the script {path} is not a list of replies",
            'write texts and calls: ["Hello", {"tool": "finish", "arguments": {"summary": "…"}}]',
        )
    return [each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in raw]


def _tools(settings: Settings, flags: Tools) -> dict[str, Any]:
    """Tables of the configuration, each replaced by a flag of its kind."""
    tools = {name: settings.tools[name] for name in settings.tools}
    if flags.files is not None and flags.write_files is not None:
        raise UsageError("--files and --write-files both name the folder", "give one of them")
    folder = flags.write_files or flags.files
    if folder is not None:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", "make it, or name another")
        tools["files"] = {"root": str(folder.absolute()), "write": flags.write_files is not None}
    if flags.allow_http:
        tools["http"] = {"allow": flags.allow_http}
    for name, wanted in (("python", flags.python), ("shell", flags.shell)):
        if wanted:
            tools[name] = _sandbox(folder, write=flags.write_files is not None)
    if flags.mcp:
        tools["mcp"] = [_mcp(spec) for spec in flags.mcp]
    if flags.tools:
        tools["modules"] = [str(path.absolute()) for path in flags.tools]
    return tools


def _memory(settings: Settings, flags: Tools) -> dict[str, Any] | None:
    """The table of the configuration, where a flag says that memory is wanted. Raises UsageError for a name that is none."""
    from overwinter.memory.namespace import check_namespace

    if not flags.memory and flags.namespace is None:
        return None
    memory = settings.memory.as_setup()
    return memory if flags.namespace is None else {**memory, "namespace": check_namespace(flags.namespace)}


def _confidence(settings: Settings) -> dict[str, Any]:
    """The table of the configuration, with the calibrators themselves in place of their file's name."""
    table = settings.confidence.model_dump(exclude_defaults=True)
    path = table.pop("calibrator", "")
    if path:
        from overwinter.think.confidence.stored import load

        table["calibrators"] = load(Path(path).expanduser()).to_json()
    return table


def _sandbox(folder: Path | None, *, write: bool) -> dict[str, Any]:
    if folder is None:
        return {}
    return {"root": str(folder.absolute())} if write else {"readable": [str(folder.absolute())]}


def _mcp(spec: str) -> dict[str, Any]:
    named = re.match(r"([A-Za-z][\w-]*)=", spec)
    rest = spec[named.end() :] if named else spec
    if rest.startswith(("http://", "https://")):
        return {"name": named[1] if named else str(urlsplit(rest).hostname).split(".")[0], "url": rest}
    try:
        command = shlex.split(rest)
    except ValueError as error:
        raise UsageError(f"--mcp {spec!r}: {error}", "quote the command as for a shell") from error
    if not command:
        raise UsageError(f"--mcp {spec!r} names no command", "write NAME=COMMAND ARGUMENTS, or a URL")
    return {"name": named[1] if named else re.sub(r"\W", "_", Path(command[0]).stem), "command": command}


def _rules(decision: str, words: list[str] | None) -> list[dict[str, Any]]:
    return [_rule(decision, word.strip()) for word in words or ()]


def _rule(decision: str, word: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"name": f"--{decision} {word}", "decision": decision}
    if word == "orders":
        return {**rule, "consequential": True}
    if word == "doubtful-orders":
        return {**rule, "consequential": True, "doubtful": True}
    if word in EFFECTS:
        return {**rule, "effects": [word]}
    if word.startswith("confidence"):
        found = re.fullmatch(r"confidence\s*<\s*(0?\.\d+|0|1|1\.0+)", word)
        if found is None:
            raise UsageError(f"--{decision} {word!r} is no rule", "write 'confidence<0.5', a number from 0 to 1")
        return {**rule, "confidence_below": float(found[1])}
    if not re.fullmatch(r"[\w.*?\[\]-]+", word):
        raise UsageError(f"--{decision} {word!r} is no rule", f"write {_GATE_HELP}")
    return {**rule, "tool": word}


def _goal(text: str, world_goal: str, settings: Settings, accepted: Acceptance, tools: dict[str, Any]) -> Goal:
    from overwinter.loop.goal import Criterion, Goal

    checks: list[tuple[str, dict[str, Any]]] = []
    if world_goal:
        checks.append((world_goal, {"kind": "world"}))
    checks += [(line, {"kind": "judge" if settings.judge else "none"}) for line in accepted.accept or ()]
    root = tools.get("files", {}).get("root")
    for command in accepted.accept_command or ():
        checks.append((f"`{command}` exits with 0", {"kind": "command", "command": command, "root": root}))
    return Goal(
        text=text,
        acceptance=tuple(
            Criterion(id=f"a{number}", text=line, check=check) for number, (line, check) in enumerate(checks, 1)
        ),
    )


def _title(text: str | None, setup: dict[str, Any]) -> str:
    if text is not None:
        return text[:80]
    world, model = setup["world"], setup["model"]
    player = Path(model["path"]).name if "path" in model else model.get("policy") or model.get("model")
    return f"{world['name']}, seed {world['seed']}, {player or model['kind']}"
