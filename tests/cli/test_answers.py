"""approve, deny, send and stop, each in a process of its own after the run's has ended."""

from __future__ import annotations

import pytest
from cli_kit import Cli

from overwinter.journal import Draft, open_store
from overwinter.loop.session import load_state


@pytest.fixture
def asking(cli: Cli) -> Cli:
    """A run "r1" that waits for the approval of its first fuel order."""
    said = cli("run", "--world", "greenhouse:days=30", "--ask", "orders", "--name", "r1")
    assert said.code == 3
    assert "overwinter approve r1" in said.out
    return cli


def gate(cli: Cli) -> int:
    return cli("log", "r1", "--json", "--kind", "gate.decision").records[-1]["seq"]


def test_an_approved_call_happens_once(asking: Cli) -> None:
    number = gate(asking)
    record = asking("approve", "r1", str(number), "--reason", "needed", "--by", "Ada", "--json").record
    assert record == {"run": "r1", "by": "Ada", "reason": "needed", "gate": number, "decision": "approve"}
    assert asking("resume", "r1", "--max-steps", "5").code == 3
    intents = asking("log", "r1", "--json", "--kind", "effect.intent").records
    assert [e["body"]["rule"] for e in intents].count(f"approved:{number}") == 1


def test_a_denied_call_does_not_happen(asking: Cli) -> None:
    number = gate(asking)
    said = asking("deny", "r1", "--reason", "too dear")
    assert f"denied: order fuel 100 (entry {number})" in said.out
    asking("resume", "r1", "--max-steps", "1")
    after = asking("log", "r1", "--json", "--from", str(number)).records
    receipt = next(e for e in after if e["kind"] == "effect.receipt")
    assert receipt["body"]["error"] == "denied"
    assert "too dear" in receipt["body"]["text"]["text"]


def test_across_processes(asking: Cli) -> None:
    for words in (("approve", "r1"), ("resume", "r1", "--max-steps", "3")):
        with asking.process(*words) as process:
            process.communicate()
        assert process.returncode in {0, 3}
    assert asking("log", "r1", "--json", "--kind", "approval.answered").record["body"]["decision"] == "approve"


def test_answers_to_nothing_are_refused(asking: Cli) -> None:
    assert asking("approve", "r1", "3").code == 2
    assert asking("approve", "r1").code == 0
    said = asking("approve", "r1")
    assert said.code == 2
    assert "waits for no approval" in said.err
    assert asking("stop", "r1").code == 2


@pytest.mark.parametrize(
    ("word", "happened", "phrase"), [("approve", True, "did take"), ("deny", False, "did not take")]
)
def test_a_call_in_doubt(cli: Cli, word: str, happened: bool, phrase: str) -> None:
    cli("run", "--seed", "9", "--max-steps", "3", "--name", "r1")
    store = open_store("overwinter.db")
    lease = store.acquire("r1", "test", 60)
    seq = load_state(store, "r1").head_seq
    call = {"id": "c9", "tool": "act", "arguments": {"action": "order fuel 100"}}
    completion = {
        "intent": -1,
        "text": {"text": "order fuel 100"},
        "calls": [call],
        "text_only": True,
        "finish_reason": "stop",
        "usage": {},
        "model": "test",
        "settle": {"reserved": {}, "spent": {}},
    }
    intent = {
        "completion": seq + 1,
        "call": call,
        "effect": "irreversible",
        "key": "k",
        "attempt": 1,
        "rule": "test",
        "reserve": {"tool_calls": 1, "wall_ms": 60_000},
    }
    drafts = [
        Draft(kind="sample.completion", body=completion),
        Draft(kind="effect.intent", body=intent),
        Draft(kind="effect.in_doubt", body={"intent": seq + 2, "detail": "the process died"}),
        Draft(kind="run.suspended", body={"reason": "in_doubt", "detail": "unknown", "waits_for": seq + 3}),
    ]
    store.append("r1", drafts, fence=lease.fence)
    store.release(lease)
    store.close()
    screen = cli("watch", "r1", "--once").out
    assert "nobody can tell whether order fuel 100 took place" in screen
    assert "it did not take place:" in screen
    assert phrase in cli(word, "r1").out
    answer = cli("log", "r1", "--json", "--kind", "doubt.answered").record["body"]
    assert answer["happened"] is happened
    assert answer["doubt"] == seq + 3
    said = cli("resume", "r1", "--max-steps", "1")
    assert said.code == 3, said.err + cli("log", "r1").out[-1500:]
    receipt = cli("log", "r1", "--json", "--kind", "effect.receipt").records[3]["body"]
    assert receipt["resolved_by"] == "person"
    assert receipt["ok"] is happened


def test_send_checks_its_data(asking: Cli) -> None:
    assert asking("send", "r1", "news", "--data", "{").code == 2
    assert asking("send", "r1", "news", "--data", "[1]").code == 2
    record = asking("send", "r1", "news", "--data", '{"a": 1}', "--by", "post", "--json").record
    assert record == {"run": "r1", "name": "news", "data": {"a": 1}, "by": "post"}


def test_send_to_a_run_that_has_ended(season: Cli) -> None:
    assert season("send", "done", "news").code == 2
