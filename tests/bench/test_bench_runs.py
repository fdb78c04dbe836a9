"""Benchmarks as runs: everything asked is in the journal, nothing answered is asked again, whatever kills the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench_kit import GUESS, SUMS, Guess, Solver, begin, go_on, plan, sums

from overwinter.bench.asking import Played
from overwinter.bench.ledger import create
from overwinter.bench.plan import plan_of
from overwinter.bench.playing import PlayedRun
from overwinter.bench.recorded import recording
from overwinter.bench.suite import Item, Suite
from overwinter.errors import BudgetExhausted, ModelError, UsageError
from overwinter.journal import open_store, unpack, verify


@pytest.fixture
def store(tmp_path: Path):
    made = open_store(str(tmp_path / "bench.db"))
    yield made
    made.close()


def test_a_suite_is_a_journal_with_every_question_and_answer(store) -> None:
    with begin(store, plan(), Solver()) as run:
        results = list(run.work())
    assert [result.correct for _, _, result in results] == [1.0] * 6
    kinds = [entry.kind for entry in store.read("b")]
    assert kinds == ["run.started", *["observed", "sample.intent", "sample.completion", "verdict"] * 6, "run.ended"]
    entries = list(store.read("b"))
    assert "What is 0 + 3?" in unpack(store, entries[1].body["text"])
    assert entries[2].body["view"]["shown"] == [[1, 1]]
    assert entries[6].body["view"] == entries[6].body["view"] | {"shown": [[5, 5]], "hidden": 4}
    assert entries[4].body["status"] == "verified"
    assert store.info("b").status == "unverified"
    assert not verify(store, "b").problems
    assert store.budget("b")["tokens"].reserved == 0


def test_the_journal_becomes_recorded_answers(store) -> None:
    with begin(store, plan(), Solver()) as run:
        list(run.work())
    found = recording(store, "b")
    assert found.header.suite == "sums"
    assert found.header.model == "solver-1"
    first = found.answers[0]
    assert first.answer == "3"
    assert first.correct == 1.0
    assert first.confidence == {"stated": 0.8, "likelihood": 0.9}
    assert first.tokens_out == 4
    assert first.slices == {"modality": "text", "odd": "0"}
    assert first.text.startswith("Adding.")
    assert first.entry == "b#3"


def test_several_samples_have_seeds_of_their_own(store) -> None:
    solver = Solver()
    with begin(store, plan(samples=3, temperature=0.7), solver) as run:
        list(run.work())
    assert len({asked.seed for asked in solver.asked}) == 18
    assert len({asked.key for asked in solver.asked}) == 18
    assert {(a.item, a.sample) for a in recording(store, "b").answers} == {
        (f"q{i}", s) for i in range(6) for s in range(3)
    }
    with pytest.raises(UsageError, match="are the same"):
        plan(samples=2)


def test_a_model_that_fails_leaves_a_run_that_goes_on(store) -> None:
    with begin(store, plan(), Solver(fail_at=2)) as run, pytest.raises(ModelError):
        list(run.work())
    assert store.info("b").status == "waiting:model"
    assert store.budget("b")["tokens"].reserved == 0
    solver = Solver()
    with go_on(store, plan(), solver) as run:
        assert len(run.done) == 2
        list(run.work())
    assert [asked.said[0][1].splitlines()[0] for asked in solver.asked] == [f"What is {i} + 3?" for i in range(2, 6)]
    assert len(recording(store, "b").answers) == 6
    # The question that failed stands once; it was asked twice.
    assert sum(entry.kind == "observed" for entry in store.read("b")) == 6
    assert sum(entry.kind == "sample.intent" for entry in store.read("b")) == 7


def test_a_budget_ends_it_and_more_lets_it_go_on(store) -> None:
    made = plan(max_tokens=10)
    with begin(store, made, Solver(), caps={"tokens": 100}) as run, pytest.raises(BudgetExhausted):
        list(run.work())
    done = len(recording(store, "b").answers)
    assert 0 < done < 6
    from overwinter.bench.running import AskedRun

    with AskedRun(store, "b", made, Solver()).go_on({"tokens": 1000}) as run:
        list(run.work())
    assert len(recording(store, "b").answers) == 6


def test_a_question_that_does_not_fit_is_not_asked(store) -> None:
    solver = Solver()
    solver.context_tokens = 5
    with begin(store, plan(), solver) as run:
        results = list(run.work())
    assert not solver.asked
    assert {result.status for _, _, result in results} == {"limit"}
    assert {answer.correct for answer in recording(store, "b").answers} == {0.0}


def test_other_questions_are_another_benchmark(store) -> None:
    with begin(store, plan(), Solver(fail_at=1)) as run, pytest.raises(ModelError):
        list(run.work())
    other = Suite(
        **{**{f: getattr(SUMS, f) for f in SUMS.__slots__}, "load": lambda folder, seed: sums(folder, seed + 1)}
    )
    with pytest.raises(UsageError, match="not those of the data"):
        go_on(store, plan(other), Solver())
    with go_on(store, plan(), Solver()) as run:  # and the lease was given back
        list(run.work())


def test_a_dialogue_is_heard_again_not_asked_again(store) -> None:
    def guess(asked) -> str:
        return str(2 * sum(role == "user" for role, _ in asked.said))

    first = Solver(guess, fail_at=4)
    with begin(store, plan(GUESS), first) as run, pytest.raises(ModelError):
        list(run.work())
    second = Solver(guess)
    with go_on(store, plan(GUESS), second) as run:
        list(run.work())
    whole = Solver(guess)
    with begin(store, plan(GUESS), whole, run="c") as run:
        list(run.work())
    said = [asked.said for asked in whole.asked]
    assert [asked.said for asked in [*first.asked[:4], *second.asked]] == said
    a, b = recording(store, "b"), recording(store, "c")
    assert [(x.answer, x.correct, x.turns, x.tool_calls) for x in a.answers] == [
        (x.answer, x.correct, x.turns, x.tool_calls) for x in b.answers
    ]
    assert isinstance(GUESS.begin(sums(None, 3)[0], "reason"), Guess)


def test_parallel_questions_give_the_same_answers(store) -> None:
    with begin(store, plan(samples=2, temperature=1.0, parallel=4), Solver(pause_s=0.002, local=False)) as run:
        list(run.work())
    with begin(store, plan(samples=2, temperature=1.0), Solver(), run="c") as run:
        list(run.work())

    def told(name: str) -> list[tuple]:
        return sorted((a.item, a.sample, a.answer, a.correct) for a in recording(store, name).answers)

    assert told("b") == told("c")
    assert not verify(store, "b").problems


CHILD = """
import sys
from pathlib import Path
from bench_kit import Solver, begin, go_on, plan
from overwinter.journal import open_store

store, log = open_store(sys.argv[1]), Path(sys.argv[2])
solver = Solver(log=log, pause_s=0.01, local=False)
made = plan(samples=5, temperature=1.0, parallel=int(sys.argv[3]))
run = begin(store, made, solver) if sys.argv[4] == "begin" else go_on(store, made, solver)
with run:
    list(run.work())
"""


@pytest.mark.parametrize("parallel", [1, 3])
def test_kill_9_loses_nothing_and_asks_nothing_twice(tmp_path: Path, parallel: int) -> None:
    """SIGKILL leaves the process no chance to tidy up: what is on disk is all there is."""
    url, log = str(tmp_path / "killed.db"), tmp_path / "asked.log"
    lines = 0
    for turn, wanted in enumerate([3, 7, 5]):
        child = _child(url, log, parallel, "begin" if turn == 0 else "resume")
        _until(log, lines + wanted, child)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        lines = len(log.read_text().splitlines())
    last = _child(url, log, parallel, "resume")
    assert last.wait(60) == 0, last.stderr.read() if last.stderr else ""
    store = open_store(url)
    found = recording(store, "b")
    assert len(found.answers) == 30
    assert all(answer.correct == 1.0 for answer in found.answers)
    assert not verify(store, "b").problems
    assert store.budget("b")["tokens"].reserved == 0
    completions = [entry.body["intent"] for entry in store.read("b", kinds=["sample.completion"])]
    assert len(completions) == len(set(completions)) == 30
    asked = log.read_text().splitlines()
    # Only what was under way when the process died was asked again, under the same key and seed.
    assert 30 <= len(asked) <= 30 + 3 * parallel
    assert len(set(asked)) == 30
    store.close()


def _child(url: str, log: Path, parallel: int, how: str) -> subprocess.Popen[str]:
    paths = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", CHILD, url, str(log), str(parallel), how]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def _until(log: Path, lines: int, child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not log.exists() or len(log.read_text().splitlines()) < lines:
        assert child.poll() is None, child.stderr.read() if child.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.002)


# Worlds


def _seeds(_: Path | None, seed: int) -> list[Item]:
    return [Item(id=f"s{n}", question=f"seed {n}", gold=n) for n in range(seed, seed + 3)]


WORLD = Suite(name="isle", family="tests", about="an isle", load=_seeds, world="isle")


class Player:
    name = "player"

    def __init__(self, fail_at: int = -1) -> None:
        self.played: list[str] = []
        self._fail_at = fail_at

    def play(self, world: str, seed: int, run: str) -> Played:
        self.played.append(run)
        if len(self.played) - 1 == self._fail_at:
            raise ModelError("no answer", "try again")
        return Played(
            run=run,
            entry=9,
            success=seed % 2 == 0,
            score=10.0 * seed,
            steps=4,
            tokens_in=5,
            tokens_out=6,
            tool_calls=7,
            seconds=0.5,
            stated=0.4,
        )


def test_a_world_is_played_seed_by_seed_and_gone_on_with(store) -> None:
    made = plan(WORLD)
    create(store, "w", made, {})
    first = Player(fail_at=1)
    with PlayedRun(store, "w", made, first).begin({}) as run, pytest.raises(ModelError):
        list(run.work())
    second = Player()
    with PlayedRun(store, "w", made, second).go_on() as run:
        list(run.work())
    assert first.played + second.played == ["w-s3", "w-s4", "w-s4", "w-s5"]
    found = recording(store, "w").answers
    assert [(a.item, a.correct, a.value, a.tool_calls, a.entry, a.confidence) for a in found] == [
        ("s3", 0.0, 30.0, 7, "w-s3#9", {"stated": 0.4}),
        ("s4", 1.0, 40.0, 7, "w-s4#9", {"stated": 0.4}),
        ("s5", 0.0, 50.0, 7, "w-s5#9", {"stated": 0.4}),
    ]
    with pytest.raises(UsageError, match="played once"):
        PlayedRun(store, "w", plan(WORLD, samples=2, temperature=1.0), second)


def test_only_benchmarks_have_a_plan(store) -> None:
    from overwinter.journal import NewRun

    store.create(NewRun(run="other"))
    with pytest.raises(UsageError, match="is no benchmark"):
        plan_of(store, "other")
