"""A world in a process of its own, for packages that cannot live in this one: other pins, another Python, Java, a crash.

    world = isolate("scienceworld:boil", python="/opt/scienceworld/bin/python")
    world.reset(0)                                            # a World like any other

    python -m overwinter.worlds.isolated serve NAME           # the child, where overwinter is installed

The child speaks JSON lines: a greeting, then one answer for each request, `{"id": 1, "call": "step", "arguments": ["look"]}`.
The child needs Python 3.11 and the world's own package; overwinter itself is lent to it from here, by path, without putting this
environment's other packages in its way.

- A child that dies is started again, the episode is put back by the last snapshot or seed and the actions since, and the call is
  made once more. What failed twice, or took longer than `timeout_s`, is a ToolError that quotes the child's last words.
- The child ends with its parent, also when that one is killed: a thread of it does nothing but wait for its input to end.
- The answer to a step brings the next legal actions along, unless listing them costs the world more than a step.
- What the world's package prints goes to the child's stderr and never into the protocol.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from overwinter import errors
from overwinter.errors import OverwinterError, ToolError, UsageError

from .world import Observation, Outcome, Transition, World, state_key

PROTOCOL = 1
PYTHON_VARIABLE = "OVERWINTER_WORLD_PYTHON"
"""Names the Python that `isolated:NAME` runs in; journals then hold no path of one machine."""
_LAST_WORDS_BYTES = 2000
_MOVES = ("reset", "restore", "step")
"""Calls that change the state."""
# Lends the package at argv[1] to a Python that does not have it, and nothing else from where it is installed.
_LEND = """
import importlib.util, sys
place, name = sys.argv[1:]
spec = importlib.util.spec_from_file_location("overwinter", place + "/__init__.py", submodule_search_locations=[place])
sys.modules["overwinter"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["overwinter"])
from overwinter.worlds.isolated import main
main(["serve", name])
"""


def isolate(name: str, *, python: str | None = None, timeout_s: float = 120.0) -> IsolatedWorld:
    """The world called `name` in a process of its own.

    Args:
        python: the Python of any virtual environment; by default $OVERWINTER_WORLD_PYTHON, else this one.
        timeout_s: how long one call may take; the first includes the start of the child and, for some worlds, of Java.
    """
    chosen = python or os.environ.get(PYTHON_VARIABLE) or sys.executable
    place = str(Path(errors.__file__).parent)
    return IsolatedWorld(command=[chosen, "-P", "-c", _LEND, place, name], name=name, timeout_s=timeout_s)


class IsolatedWorld:
    """A World whose simulator is another process that speaks the protocol above.

    Args:
        command: starts the child.
        name: the world's name there; here it is called "isolated:NAME".

    Raises:
        UsageError: the command cannot be started, or the child refuses: a missing package, an unknown name.
        ToolError: the child died twice at one call, answered nonsense, or was too slow.
    """

    def __init__(self, *, command: Sequence[str], name: str, timeout_s: float = 120.0) -> None:
        self.name = f"isolated:{name}"
        self._command, self._inner, self._timeout_s = list(command), name, timeout_s
        self._child: _Child | None = None
        self._base: tuple[str, Any] | None = None
        self._taken: list[str] = []
        self._listed: tuple[str, ...] | None = None
        greeting = self._running().greeting
        self.goal: str = greeting["goal"]
        if greeting["all_actions"] is not None:
            self.all_actions = tuple(greeting["all_actions"])

    def reset(self, seed: int) -> Observation:
        raw = self._moved("reset", seed)
        self._base, self._taken = ("reset", seed), []
        return _observation(raw)

    def step(self, action: str) -> Transition:
        raw = self._moved("step", action)
        self._taken.append(action)
        return Transition(
            observation=_observation(raw["observation"]),
            reward=raw["reward"],
            terminated=raw["terminated"],
            truncated=raw["truncated"],
        )

    def actions(self) -> tuple[str, ...]:
        if self._listed is None:
            self._listed = tuple(self._call("actions"))
        return self._listed

    def effect(self, action: str) -> str:
        return str(self._call("effect", action))

    def outcome(self) -> Outcome:
        return Outcome(**self._call("outcome"))

    def state_key(self) -> int:
        return int(self._call("state_key"))

    def gold_path(self) -> list[str]:
        return list(self._call("gold_path"))

    def snapshot(self) -> dict[str, Any]:
        return {"version": 1, "world": self.name, "inner": self._call("snapshot")}

    def restore(self, snapshot: dict[str, Any]) -> Observation:
        if snapshot.get("version") != 1 or snapshot.get("world") != self.name:
            raise UsageError(
                f"this snapshot is of {snapshot.get('world')!r} (version {snapshot.get('version')}), not {self.name!r}",
                "open the world by the name the run was started with",
            )
        raw = self._moved("restore", snapshot["inner"])
        self._base, self._taken = ("restore", snapshot["inner"]), []
        return _observation(raw)

    def close(self) -> None:
        """End the child. The next call starts another, which goes on where this one stood."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _running(self) -> _Child:
        """The child, started and put where the episode stands."""
        if self._child is None:
            child = _Child(self._command, self._inner, self._timeout_s)
            self._child = child
            if self._base is not None:
                self._put_back(child)
        return self._child

    def _put_back(self, child: _Child) -> None:
        """Bring a fresh child to where the episode stands."""
        assert self._base is not None
        try:
            child.call(*self._base)
            for action in self._taken:
                child.call("step", action)
        except UsageError as changed:
            raise ToolError(
                f"{self.name!r} does not repeat itself after a restart: {changed.problem}",
                "reset it; a world must play the same from the same seed",
            ) from None

    def _moved(self, call: str, argument: Any) -> Any:
        """A call that changes the state; its answer may bring the actions of the new one."""
        raw = self._call(call, argument)
        self._listed = tuple(raw["actions"]) if "actions" in raw else None
        return raw

    def _call(self, call: str, *arguments: Any) -> Any:
        for attempt in (1, 2):
            try:
                return self._running().call(call, *arguments)
            except _ChildDied as died:
                self.close()
                if attempt == 2:
                    raise ToolError(*died.args) from None
            except ToolError:
                self.close()
                raise
        raise AssertionError("the loop returns or raises")


class _ChildDied(Exception):
    """The child's end of the pipe is closed. Arguments: the problem and the next step."""


class _Child:
    """One child process, from greeting to end."""

    def __init__(self, command: list[str], name: str, timeout_s: float) -> None:
        self._name, self._timeout_s = name, timeout_s
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,  # so that one signal ends it and what it started
            )
        except OSError as error:
            raise UsageError(
                f"{command[0]!r} cannot be started: {error}", "name the Python of an environment"
            ) from None
        self._process = process
        self.end = weakref.finalize(self, _end, process)
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)
        self._unread = b""
        self._count = 0
        try:
            self.greeting = self._answer()
        except _ChildDied as died:
            raise ToolError(*died.args) from None
        except OverwinterError:
            self.end()
            raise
        if self.greeting.get("protocol") != PROTOCOL:
            self.end()
            raise ToolError(f"the child of {name!r} greets with {self.greeting}", f"it must speak protocol {PROTOCOL}")

    def call(self, call: str, *arguments: Any) -> Any:
        self._count += 1
        request = {"id": self._count, "call": call, "arguments": arguments}
        try:
            self._stdin.write(json.dumps(request).encode() + b"\n")
            self._stdin.flush()
        except OSError:
            raise self._died() from None
        answer = self._answer()
        if answer.get("id") != self._count:
            raise ToolError(f"the child of {self._name!r} answered {answer} to request {self._count}", "report this")
        return answer["result"]

    def _answer(self) -> dict[str, Any]:
        line = self._line()
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ToolError(f"the child of {self._name!r} said {line[:200]!r}, which is no answer", "check its command")
        error = answer.get("error")
        if error:
            kind: type[OverwinterError] = UsageError if error["kind"] == "UsageError" else ToolError
            raise kind(f"{self._name!r} in its own process: {error['problem']}", error["next_step"])
        return answer

    def _line(self) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        while b"\n" not in self._unread:
            if not self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ToolError(
                    f"the world {self._name!r} did not answer within {self._timeout_s:g} s{self._last_words()}",
                    "allow it more time by timeout_s, or look into why it hangs",
                )
            read = os.read(self._stdout.fileno(), 1 << 20)
            if not read:
                raise self._died()
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _died(self) -> _ChildDied:
        code = self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return _ChildDied(
            f"the process of the world {self._name!r} {how}{self._last_words()}",
            "read its last words, and its package's",
        )

    def _last_words(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _LAST_WORDS_BYTES))
        words = self._stderr.read().decode(errors="replace").strip()
        return f"; its last words: {words}" if words else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a child and whatever it started, and leave no zombie."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def _observation(raw: dict[str, Any]) -> Observation:
    return Observation(text=raw["text"], data=raw["data"])


def serve(world: World, requests: Iterable[str], answers: IO[str]) -> None:
    """The child's loop: answer requests about `world`, one a line, until they end."""
    everything = getattr(world, "all_actions", None)
    greeting = {"protocol": PROTOCOL, "name": world.name, "goal": world.goal}
    _say(answers, {**greeting, "all_actions": list(everything) if everything is not None else None})
    for line in requests:
        request = json.loads(line)
        try:
            result = _perform(world, request["call"], request["arguments"])
        except OverwinterError as error:
            kind = type(error).__name__
            refusal = {"kind": kind, "problem": error.problem, "next_step": error.next_step}
            _say(answers, {"id": request["id"], "error": refusal})
        except Exception as error:  # noqa: BLE001  # whatever a foreign package raises is told to the parent
            told = {"kind": "ToolError", "problem": f"{type(error).__name__}: {error}", "next_step": "see its package"}
            _say(answers, {"id": request["id"], "error": told})
        else:
            _say(answers, {"id": request["id"], "result": result})


def _perform(world: World, call: str, arguments: list[Any]) -> Any:
    """One request, as JSON values."""
    if call == "state_key":
        return state_key(world)
    if call not in (*_MOVES, "actions", "effect", "outcome", "snapshot", "gold_path"):
        raise UsageError(f"there is no call {call!r}", "use the methods of a World")
    method = getattr(world, call, None)
    if method is None:
        raise UsageError(f"the world {world.name!r} has no {call}", "do without")
    result = method(*arguments)
    moved: dict[str, Any] = {}
    if call in _MOVES and not getattr(world, "listing_is_slow", False):
        moved = {"actions": list(world.actions())}
    if isinstance(result, Observation):
        return {**_plain(result), **moved}
    if isinstance(result, Transition):
        fields = {"reward": result.reward, "terminated": result.terminated, "truncated": result.truncated}
        return {"observation": _plain(result.observation), **fields, **moved}
    if isinstance(result, Outcome):
        return {"success": result.success, "score": result.score, "facts": result.facts}
    return result


def _plain(observation: Observation) -> dict[str, Any]:
    return {"text": observation.text, "data": observation.data}


def _say(answers: IO[str], value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def main(arguments: Sequence[str]) -> None:
    """`serve NAME`: open the world and answer on stdout until stdin ends."""
    if len(arguments) != 2 or arguments[0] != "serve":
        raise SystemExit("usage: python -m overwinter.worlds.isolated serve NAME")
    # Keep the protocol to ourselves: what the package prints to file 1, Java included, goes to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    from . import open_world

    try:
        world = open_world(arguments[1])
    except OverwinterError as error:
        advice = f"{error.next_step} (in the environment of {sys.executable})"
        refusal = {"kind": type(error).__name__, "problem": error.problem, "next_step": advice}
        _say(answers, {"error": refusal})
        return
    serve(world, sys.stdin, answers)


def _leave_with_parent() -> None:
    """Wait until the other end of stdin is closed, then leave at once: the world may be in the middle of a long call."""
    hang_up = select.poll()
    hang_up.register(0, 0)  # no events: a hang-up is always told
    hang_up.poll()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
