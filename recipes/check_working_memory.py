"""Working memory over a long run: the window is never exceeded, every handle can be read, and the task is done with memory alone.

    python recipes/check_working_memory.py                 # both parts; about two minutes of one core
    python recipes/check_working_memory.py --steps 2000    # a shorter first part

First a model that works on for 10,000 steps and compresses when the status line asks for it (two times out of three). Then the archive:
the same clerk, seeds and window with working memory and without. Nothing beyond the run is asked, so that nothing else helps.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overwinter.journal import Store, open_store
from overwinter.loop.goal import Criterion, Goal
from overwinter.loop.memory.settings import MemorySettings, RecallSettings
from overwinter.loop.memory.tools import controls_with
from overwinter.loop.memory.view import content_rows, find_handle
from overwinter.loop.model import ToolCall, View
from overwinter.loop.models import ScriptedModel
from overwinter.loop.run import Run
from overwinter.loop.session import Pace, Parts, fold
from overwinter.memory.working.reward import penalties_of, reward
from overwinter.tools import Effect, Toolbox, tool
from overwinter.worlds import open_world

WINDOW = 1200
ARCHIVE, ARCHIVE_WINDOW = "archive", 2000
SEEDS = range(5)
QUIET = MemorySettings(core=False, recall=RecallSettings(auto=False), tools=tuple(sorted({"compress", "read", "find"})))


class NobodyElse:
    """A namespace that holds nothing, so that the run has its own past alone."""

    namespace = "none"

    def search(self, query: str, **_: Any) -> Sequence[Any]:
        return ()

    def core(self) -> Sequence[Any]:
        return ()

    def close(self) -> None:
        """Nothing is held."""


@tool(effect=Effect.PURE, name="say")
def say(words: str) -> str:
    """Say words."""
    return words


class Worker:
    """Says new words at every step, and compresses when it is told to, two times out of three."""

    def __init__(self, steps: int) -> None:
        self.steps, self.step = steps, 0

    def __call__(self, view: View) -> Any:
        self.step += 1
        if self.step > self.steps:
            return _call("finish", summary="done")
        if "Compress" in view.messages[-1].text and self.step % 3:
            return _call("compress", summary=f"Step {self.step}.", keep=[self._seen(view)] if self.step % 2 else [])
        return _call("say", words=f"n{self.step} " + "snow " * (self.step % 60))

    def _seen(self, view: View) -> dict[str, Any]:
        text = "\n".join(message.text for message in view.messages)
        seen = re.findall(r'from="entry (\d+)"', text)
        return {"handle": f"h{self.step % 50}", "description": "what was seen", "selection": f"{seen[0]}-{seen[-1]}"}


def _call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(id="", tool=name, arguments=arguments)


def check_long_run(store: Store, steps: int) -> bool:
    """Print the figures of a run of so many steps; whether they are as they must be."""
    parts = Parts(
        model=ScriptedModel([Worker(steps)] * (steps + 1)),
        toolbox=Toolbox([say]),
        controls=controls_with(QUIET),
        pace=Pace(window_tokens=WINDOW, max_tokens=200),
        memory=QUIET,
        recaller=NobodyElse(),
    )
    began = time.process_time()
    with Run.start(store, Goal(text="Say it all"), parts=parts, name="long") as run:
        status, state = run.finish(), run.state
    took = time.process_time() - began
    tokens = [entry.body["view"]["tokens"] for entry in store.read("long", kinds=["sample.intent"])]
    by = [entry.body["by"] for entry in store.read("long", kinds=["compacted"])]
    made = list(store.read("long", kinds=["handle.made"]))
    readable = sum(_is_readable(store, state, entry.body) for entry in made)
    print(
        f"steps {len(tokens)}, entries {state.head_seq + 1}, {1000 * took / len(tokens):.1f} ms of processor time each"
    )
    print(f"largest view {max(tokens)} of {WINDOW} tokens; compressed {by.count('agent')} times by the agent,")
    print(f"{by.count('extract')} by the runtime; {len(made)} handle versions made, {readable} of them readable")
    same = fold("long", store.read("long")) == state
    print(f"the state folded from the journal is {'the same' if same else 'ANOTHER'}")
    return status == "unverified" and max(tokens) <= WINDOW and readable == len(made) and same


def _is_readable(store: Store, state: Any, body: dict[str, Any]) -> bool:
    handle = find_handle(store, state, f"{body['name']}@{body['version']}")
    return any(True for _ in content_rows(store, "long", handle))


def check_archive(store: Store) -> bool:
    """Print a row for each seed and way; whether memory makes the difference."""
    print(f"\n{ARCHIVE}, window {ARCHIVE_WINDOW} words, the scripted clerk")
    print("seed  memory   verdict   answers  documents  steps  overflows  largest  P_ctx   reward")
    results: dict[bool, list[bool]] = {True: [], False: []}
    for seed in SEEDS:
        for memory in (True, False):
            results[memory].append(_play(store, seed, memory=memory))
    done, without = sum(results[True]), sum(results[False])
    print(f"done with memory {done} of {len(SEEDS)}, without {without}")
    return done == len(SEEDS) and without == 0


def _play(store: Store, seed: int, *, memory: bool) -> bool:
    setup: dict[str, Any] = {
        "model": {"kind": "policy", "policy": "clerk"},
        "world": {"name": ARCHIVE, "seed": seed},
        "pace": {"window_tokens": ARCHIVE_WINDOW},
    }
    if memory:
        setup["memory"] = {"core": False, "recall": {"auto": False}}
    name = f"archive-{seed}-{'with' if memory else 'without'}"
    goal = Goal(text=open_world(ARCHIVE).goal, acceptance=(Criterion(id="a1", text="done", check={"kind": "world"}),))
    with Run.start(store, goal, setup=setup, name=name) as run:
        run.session.parts.recaller = NobodyElse()
        status = run.finish()
        world = run.session.parts.world
        assert world is not None
        facts, state = world.outcome().facts, run.state
    overflows = sum(1 for _ in store.read(name, kinds=["compacted"]))
    found = penalties_of(store.read(name))
    tokens = max(entry.body["view"]["tokens"] for entry in store.read(name, kinds=["sample.intent"]))
    earned = reward(float(status == "verified"), found)
    print(
        f"{seed:4}  {'with' if memory else 'without':7}  {status:9} {facts['right_answers']:3} of {facts['answers']}"
        f"  {facts['well_filed']:9}  {state.step:5}  {overflows:9}  {tokens:7}  {found.context:.4f}  {earned:6.3f}"
    )
    return status == "verified"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(str(Path(folder) / "journal.db"))
        try:
            long = check_long_run(store, steps)
            archive = check_archive(store)
        finally:
            store.close()
    return 0 if long and archive else 1


if __name__ == "__main__":
    raise SystemExit(main())
