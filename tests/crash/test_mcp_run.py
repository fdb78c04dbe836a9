"""A run uses a tool of a real MCP server, end to end from its setup, and is killed (or its server is) in the middle of a call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from overwinter.journal import Store, open_store, verify
from overwinter.loop.goal import Criterion, Goal
from overwinter.loop.replay import replay
from overwinter.loop.run import Run, answer_approval
from overwinter.loop.session import load_state

pytest.importorskip("mcp")
pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]

HERE = Path(__file__).parent
SRC = HERE.parents[1] / "src"
GOAL = Goal(
    text="Have enough fuel.",
    acceptance=(
        Criterion(
            id="fuel", text="there are 80 litres", check={"kind": "tool", "tool": "shop.stock", "contains": "80"}
        ),
    ),
)
WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
from overwinter.journal import open_store
from overwinter.loop.run import Run
with Run.open(open_store(sys.argv[2]), "r") as run:
    print(run.finish(), flush=True)
"""


def setup_for(log: Path, tool: str) -> dict[str, Any]:
    """A run that orders 80 litres with `tool` and claims to be done."""
    call = json.dumps({"tool": f"shop.{tool}", "arguments": {"litres": 80}})
    done = json.dumps({"tool": "finish", "arguments": {"summary": "80 litres are here"}})
    server = {
        "name": "shop",
        "command": [sys.executable, str(HERE / "mcp_shop.py"), str(log)],
        "effects": {"order_keyed": "keyed"},
    }
    return {
        "model": {"kind": "scripted", "replies": [call, done, done]},
        "tools": {"mcp": [server]},
        "gates": [{"decision": "allow", "tool": "*"}],
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "journal.db"))


def begin(store: Store, log: Path, tool: str) -> None:
    with Run.start(store, GOAL, setup=setup_for(log, tool), name="r"):
        pass


def orders(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def wait_for(path: Path) -> None:
    until_s = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until_s:
        time.sleep(0.01)
    assert path.exists()


def killed_in_mid_call(tmp_path: Path, log: Path) -> None:
    """Work in another process until the order is carried out but not answered; then SIGKILL to that process."""
    log.with_name("log.pause").touch()
    argv = [sys.executable, "-c", WORKER, str(SRC), str(tmp_path / "journal.db")]
    worker = subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True)
    wait_for(log.with_name("log.paused"))
    # The worker only: its server has to notice by itself that nobody listens any more.
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()


def finish(store: Store) -> str:
    with Run.open(store, "r") as run:
        return run.finish()


def kinds(store: Store) -> list[str]:
    return [entry.kind for entry in store.read("r")]


def receipt(store: Store) -> dict[str, Any]:
    return next(dict(entry.body) for entry in store.read("r", kinds=["effect.receipt"]) if entry.body["intent"] >= 0)


def assert_sound(store: Store) -> None:
    assert verify(store, "r").ok
    report = replay(store, "r")
    assert report.divergence is None
    assert all(line.reserved == 0 for line in store.budget("r").values())


def test_a_run_uses_a_tool_of_an_mcp_server(tmp_path: Path, store: Store) -> None:
    log = tmp_path / "log"
    begin(store, log, "order")
    assert finish(store) == "verified"
    assert [row["litres"] for row in orders(log)] == [80]
    assert receipt(store)["text"] == {"text": "ordered 80"}
    assert_sound(store)


def test_a_keyed_call_is_made_again_under_its_key_and_counts_once(tmp_path: Path, store: Store) -> None:
    log = tmp_path / "log"
    begin(store, log, "order_keyed")
    killed_in_mid_call(tmp_path, log)
    assert finish(store) == "verified"
    assert len(orders(log)) == 1
    intents = list(store.read("r", kinds=["effect.intent"]))
    assert [intent.body["attempt"] for intent in intents] == [1, 2]
    assert {intent.body["key"] for intent in intents} == {orders(log)[0]["key"]}
    assert receipt(store)["ok"]
    assert_sound(store)


def test_an_irreversible_call_is_not_made_again_but_asked_about(tmp_path: Path, store: Store) -> None:
    log = tmp_path / "log"
    begin(store, log, "order")
    killed_in_mid_call(tmp_path, log)
    assert finish(store) == "waiting:in_doubt"
    assert finish(store) == "waiting:in_doubt", "asking again changes nothing"
    assert load_state(store, "r").calls[0].doubt is not None
    answer_approval(store, "r", approve=len(orders(log)) == 1, by="auditor")
    assert finish(store) == "verified"
    assert len(orders(log)) == 1
    assert receipt(store)["resolved_by"] == "person"
    assert kinds(store).count("effect.intent") == 1
    assert_sound(store)


def test_a_server_killed_in_mid_call_leaves_an_irreversible_call_in_doubt(tmp_path: Path, store: Store) -> None:
    log = tmp_path / "log"
    begin(store, log, "order")
    log.with_name("log.pause").touch()
    argv = [sys.executable, "-c", WORKER, str(SRC), str(tmp_path / "journal.db")]
    worker = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    wait_for(log.with_name("log.paused"))
    for pid in servers(log):
        os.kill(pid, signal.SIGKILL)
    assert worker.communicate(timeout=60)[0] == "waiting:in_doubt\n"
    answer_approval(store, "r", approve=True, by="auditor")
    assert finish(store) == "verified"
    assert len(orders(log)) == 1
    assert_sound(store)


def test_a_killed_run_leaves_no_server_behind(tmp_path: Path, store: Store) -> None:
    log = tmp_path / "log"
    begin(store, log, "order")
    killed_in_mid_call(tmp_path, log)
    until_s = time.monotonic() + 5
    while servers(log) and time.monotonic() < until_s:
        time.sleep(0.02)
    left = servers(log)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def servers(log: Path) -> list[int]:
    """The processes of the MCP server that writes to `log`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(log).encode() in words and any(word.endswith(b"mcp_shop.py") for word in words):
            found.append(int(entry.name))
    return found
