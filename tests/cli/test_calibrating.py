"""`overwinter bench calibration`: runs by name and pattern, a verdict a person can read, a calibrator that later runs apply."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_kit import Cli

from overwinter.journal import Draft, open_store
from overwinter.journal.store import NewRun
from overwinter.think.confidence.stored import load

RUNS = 40
SCOPE = {"model": "m", "revision": "1", "task": "t", "tools": "act"}


def write_run(path: Path, number: int, *, chance: float, well: bool) -> None:
    """A run as the loop leaves it: two turns that state a chance, the second one an act that cannot be taken back, and an end."""
    name = f"r{number:02}"
    with_scope = {"v": 1, "signals": {"stated": chance}, "stated": [{"value": chance}], "scope": SCOPE}
    call = {"id": "c", "tool": "act", "arguments": {"action": "cast"}}
    said = {
        "intent": 0, "text": {"text": "cast"}, "calls": [call], "text_only": True, "finish_reason": "stop", "usage": {},
        "model": "m@1", "confidence": None, "success_chance": chance, "confidence_record": with_scope,
        "settle": {"reserved": {}, "spent": {}},
    }  # fmt: skip
    started = {"goal": "g", "acceptance": [], "setup": {}, "budgets": [], "caps": {}, "version": "0"}
    did = {
        "completion": 1, "call": call, "effect": "keyed", "key": "k", "attempt": 1, "rule": "all", "reserve": {}, "consequential": True,
    }  # fmt: skip
    store = open_store(str(path))
    try:
        store.create(NewRun(run=name, title=name, caps={}))
        lease = store.acquire(name, "me", 60.0)
        drafts = [Draft(kind="run.started", body=started), *[Draft(kind="sample.completion", body=said)] * 2]
        drafts += [Draft(kind="effect.intent", body=did)]
        drafts += [Draft(kind="run.ended", body={"status": "verified" if well else "failed", "detail": ""})]
        store.append(name, drafts, fence=lease.fence)
        store.release(lease)
    finally:
        store.close()


@pytest.fixture
def proud(cli: Cli, tmp_path: Path) -> Cli:
    """Forty runs that say from 80 % to 99 %, of which every second one ends well."""
    for number in range(RUNS):
        write_run(tmp_path / "overwinter.db", number, chance=0.8 + 0.19 * number / RUNS, well=number % 2 == 0)
    return cli


def test_pride_is_not_confirmed_and_a_person_sees_it(proud: Cli) -> None:
    said = proud("bench", "calibration", "r*", "--draws", "50")
    assert said.code == 0, said.err
    assert "40 runs, 50.0% ended well" in said.out
    assert "NOT confirmed" in said.out
    for words in ("at the start", "on the way", "before acts that cannot be taken back", "at the end"):
        assert words in said.out
    record = proud("bench", "calibration", "r*", "--draws", "50", "--json").record
    assert record["confirmed"] is False
    assert record["points"]["start"]["metrics"]["accuracy"]["value"] == 0.5
    assert record["points"]["irreversible"]["statements"] == RUNS


def test_a_calibrator_is_fitted_and_says_where_it_holds(proud: Cli, tmp_path: Path) -> None:
    said = proud("bench", "calibration", "r*", "--fit", "c.json", "--at", "start", "--draws", "50", "--json")
    assert said.code == 0, said.err
    assert "only others can confirm it" in said.err
    held = load(tmp_path / "c.json").held[0]
    assert held.calibrator.labels == RUNS
    assert (held.calibrator.scope.model, held.calibrator.scope.task) == ("m", "t")
    assert list(said.record["points"]) == ["start"]
    # What it makes of the highest statement is near what came of them.
    value = held.apply({"stated": 0.98}, held.calibrator.scope)
    assert value == pytest.approx(0.5, abs=0.15)


def test_the_configuration_hands_it_to_runs(proud: Cli, tmp_path: Path) -> None:
    proud("bench", "calibration", "r*", "--fit", "c.json", "--draws", "50")
    (tmp_path / "overwinter.toml").write_text('[confidence]\ncalibrator = "c.json"\ntask = "t"\n')
    proud("run", "--world", "greenhouse:days=20", "--policy", "rules", "--name", "next")
    first = proud("log", "next", "--json", "--kind", "run.started").records[0]
    assert first["body"]["setup"]["confidence"]["task"] == "t"
    assert first["body"]["setup"]["confidence"]["calibrators"] == json.loads((tmp_path / "c.json").read_text())
    # Another model: nothing is applied, and the record says so.
    (tmp_path / "overwinter.toml").write_text('[confidence]\ncalibrator = "nowhere.json"\n')
    said = proud("run", "--world", "greenhouse:days=20", "--policy", "rules")
    assert said.code == 2
    assert "nowhere.json" in said.err


def test_what_cannot_be_measured_is_refused_with_a_next_step(proud: Cli, tmp_path: Path) -> None:
    assert "bench calibration" not in proud("bench", "calibration", "nobody*").err
    assert proud("bench", "calibration", "nobody*").code == 2
    assert "there is no point 'noon'" in proud("bench", "calibration", "r*", "--at", "noon").err
    assert "no method" in proud("bench", "calibration", "r*", "--fit", "x.json", "--method", "guess").err
    proud("run", "--world", "greenhouse:days=20", "--policy", "rules", "--name", "mute")
    said = proud("bench", "calibration", "mute")
    assert said.code == 2
    assert "1 state none" in said.err
