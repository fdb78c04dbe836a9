"""What the loop's tests share: an outside world that counts, tools of each effect class, and short ways to run a script.

Everything is real but the model: SQLite files, tools, gates, budgets. The clock is a list one can turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from overwinter.journal import Entry, Store, unpack
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.controls import CONTROLS
from overwinter.loop.gates import ALLOW, Gates, Rule, parse_rules
from overwinter.loop.goal import Criterion, Goal
from overwinter.loop.model import Completion, Model, ToolCall, View
from overwinter.loop.models import ScriptedModel
from overwinter.loop.run import Run
from overwinter.loop.session import Pace, Parts
from overwinter.loop.world import WorldSession
from overwinter.tools import Effect, Tool, Toolbox, ToolContext, ToolResult, tool
from overwinter.worlds.world import Observation, Outcome, Transition

ALLOW_ALL = Gates(rules=(Rule(name="all", decision=ALLOW),))
START_US = 1_700_000_000_000_000


@dataclass
class Clock:
    """Moves by `step_us` with each reading, and wherever a test puts it."""

    now_us: int = START_US
    step_us: int = 1

    def __call__(self) -> int:
        self.now_us += self.step_us
        return self.now_us


@dataclass
class Outside:
    """The world outside the process: it survives when a run is dropped, and remembers what was done to it."""

    done: list[tuple[str, str, str]] = field(default_factory=list)
    """(tool, text, idempotency key), in order; a repeated key is one effect to whoever honours keys."""
    reads: int = 0
    watch: Callable[[str, ToolContext], None] | None = None

    def take(self, name: str, text: str, context: ToolContext) -> str:
        if self.watch is not None:
            self.watch(name, context)
        self.done.append((name, text, context.idempotency_key))
        return f"{name} did {text}"

    def effects(self, name: str) -> list[str]:
        """Texts of the distinct effects of one tool."""
        return [text for _, text in dict.fromkeys((key, text) for tool_, text, key in self.done if tool_ == name)]

    def tools(self) -> list[Tool]:
        """look (pure), put (idempotent), order (keyed), send (irreversible), launch (irreversible, with a probe)."""

        @tool(effect=Effect.PURE)
        def look(context: ToolContext, text: str = "here") -> str:
            """Look at something."""
            self.reads += 1
            if self.watch is not None:
                self.watch("look", context)
            return f"saw {text}"

        @tool(effect=Effect.IDEMPOTENT)
        def put(text: str, context: ToolContext) -> str:
            """Put something in its place."""
            return self.take("put", text, context)

        @tool(effect=Effect.KEYED)
        def order(text: str, context: ToolContext) -> str:
            """Order something."""
            return self.take("order", text, context)

        @tool(effect=Effect.IRREVERSIBLE)
        def send(text: str, context: ToolContext) -> str:
            """Send something."""
            return self.take("send", text, context)

        def was_launched(text: str) -> ToolResult | None:
            found = any(row[:2] == ("launch", text) for row in self.done)
            return ToolResult(ok=True, text=f"the probe saw {text}") if found else None

        @tool(effect=Effect.IRREVERSIBLE, probe=was_launched)
        def launch(text: str, context: ToolContext) -> str:
            """Launch something."""
            return self.take("launch", text, context)

        return [look, put, order, send, launch]


class Pond:
    """A tiny world: fish until it is evening. Casting is keyed, looking is pure."""

    name = "pond"
    goal = "Catch two fish before evening."

    def __init__(self, evening: int = 4) -> None:
        self.evening, self.hour, self.fish, self.steps = evening, 0, 0, 0

    def reset(self, seed: int) -> Observation:
        self.hour, self.fish = 0, 0
        return self._see()

    def step(self, action: str) -> Transition:
        self.steps += 1
        if action == "cast":
            self.hour, self.fish = self.hour + 1, self.fish + (self.hour % 2)
        return Transition(observation=self._see(), reward=float(self.fish), terminated=self.hour >= self.evening)

    def actions(self) -> Sequence[str]:
        return ("look", "cast")

    def effect(self, action: str) -> str:
        return "pure" if action == "look" else "keyed"

    def consequential(self, action: str) -> bool:
        return action == "cast" and self.hour == self.evening - 1

    def outcome(self) -> Outcome:
        over = self.hour >= self.evening
        return Outcome(success=self.fish >= 2 if over else None, score=float(self.fish))

    def snapshot(self) -> dict[str, Any]:
        return {"hour": self.hour, "fish": self.fish}

    def restore(self, snapshot: dict[str, Any]) -> Observation:
        self.hour, self.fish = snapshot["hour"], snapshot["fish"]
        return self._see()

    def _see(self) -> Observation:
        return Observation(text=f"hour {self.hour}, {self.fish} fish", data={"hour": self.hour, "fish": self.fish})


def open_store(path: Path, clock: Clock | None = None) -> SqliteStore:
    opened = SqliteStore(path, clock_us=clock or Clock())
    # Nobody pulls the plug here; tests/crash is about that.
    opened._execute("PRAGMA synchronous = OFF")
    return opened


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(id="native", tool=name, arguments=arguments)


def goal(*checks: Mapping[str, Any], text: str = "Get it done") -> Goal:
    rows = (Criterion(id=f"a{i}", text=f"criterion {i}", check=check) for i, check in enumerate(checks, 1))
    return Goal(text=text, acceptance=tuple(rows))


FINISH = call("finish", summary="all done")


def parts(
    script: Sequence[Any] | Model,
    tools: Iterable[Tool] = (),
    *,
    rules: Sequence[Mapping[str, Any]] | None = None,
    world: WorldSession | None = None,
    judge: Sequence[Any] | Model | None = None,
    controls: Mapping[str, Tool] = CONTROLS,
    **pace: Any,
) -> Parts:
    """Parts with a script (or a model). Without `rules` every call goes through."""
    return Parts(
        model=script if isinstance(script, Model) else ScriptedModel(script, by_turn=True),
        toolbox=Toolbox([*tools, *([] if world is None else [world.tool()])]),
        controls=controls,
        world=world,
        gates=ALLOW_ALL if rules is None else Gates(rules=parse_rules(rules)),
        judge=judge if judge is None or isinstance(judge, Model) else ScriptedModel(judge),
        pace=Pace(**{"max_tokens": 64, **pace}),
    )


def begin(store: Store, made: Parts, goal_: Goal | None = None, *, name: str = "r", **caps: int) -> Run:
    return Run.start(store, goal_ or goal(), parts=made, name=name, caps=caps)


def run_through(store: Store, made: Parts, goal_: Goal | None = None, *, name: str = "r", **caps: int) -> str:
    """Start and work to the end or the first wait; the status."""
    with begin(store, made, goal_, name=name, **caps) as run:
        return run.finish()


def resume(store: Store, made: Callable[[], Parts], name: str = "r") -> str:
    with Run.open(store, name, parts=made) as run:
        return run.finish()


def kinds(store: Store, run: str = "r") -> list[str]:
    return [entry.kind for entry in store.read(run)]


def of_kind(store: Store, kind: str, run: str = "r") -> list[Entry]:
    return list(store.read(run, kinds=[kind]))


def receipts(store: Store, run: str = "r") -> list[tuple[bool, str]]:
    return [(entry.body["ok"], unpack(store, entry.body["text"])) for entry in of_kind(store, "effect.receipt", run)]


def last(store: Store, kind: str, run: str = "r") -> Entry:
    return of_kind(store, kind, run)[-1]


def shown(view: View) -> str:
    """The whole view as text."""
    return "\n".join(message.text for message in view.messages)


def forever(reply: Any) -> ScriptedModel:
    """A model that always says the same (or what a function of the view returns)."""

    class Forever(ScriptedModel):
        def sample(self, view: View, n: int, *rest: Any) -> Sequence[Completion]:
            self.calls = 0
            return super().sample(view, n, *rest)

    return Forever([reply])


def counting(replies: Iterable[Any]) -> ScriptedModel:
    """A model whose script goes on call by call, whatever the view holds."""
    return ScriptedModel(list(replies))


def numbered() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1
