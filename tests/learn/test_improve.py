"""From journals to better weights: what is read is what was done, what does not fit is refused, and learning moves the policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overwinter.errors import UsageError
from overwinter.journal import Store
from overwinter.journal.sqlite import SqliteStore
from overwinter.learn.improve import Config, fit_calibration, held_out, improve, paired_change, read_lesson
from overwinter.learn.players import Student
from overwinter.loop.goal import Goal
from overwinter.loop.run import Run
from player_kit import WORLD, make_player


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_player(tmp_path_factory.mktemp("players") / "small")


def setup(folder: Path, seed: int, world: str = WORLD) -> dict[str, Any]:
    return {
        "model": {"kind": "player", "path": str(folder), "threads": 1},
        "world": {"name": world, "seed": seed},
        "controls": [],
        "pace": {"temperature": 1.0, "max_stalls": 1000, "seed": seed},
    }


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two seasons played to their ends by the small player, one that is not over, and one by a script."""
    store = SqliteStore(tmp_path_factory.mktemp("journals") / "runs.db")
    for name, seed in (("a", 1), ("b", 2)):
        with Run.start(store, Goal(text="keep it alive"), setup=setup(folder, seed), name=name) as run:
            run.finish()
    with Run.start(store, Goal(text="keep it alive"), setup=setup(folder, 3), name="open") as run:
        for number, _ in enumerate(run.work()):
            if number == 20:
                break
    scripted = {**setup(folder, 1), "model": {"kind": "policy", "policy": "rules"}}
    with Run.start(store, Goal(text="keep it alive"), setup=scripted, name="script") as run:
        run.finish()
    return store


def test_a_lesson_is_what_was_done(store: Store, folder: Path) -> None:
    lesson = read_lesson(store, ["a", "b"], folder)
    assert lesson.world == WORLD
    for run, episode, trace in zip(("a", "b"), lesson.episodes, lesson.traces, strict=True):
        receipts = [e.body["data"]["action"] for e in store.read(run, kinds=["effect.receipt"])]
        assert trace.actions == receipts
        assert [d.candidates[d.choice] for d in episode.decisions if d.candidates] == [d.ids for d in episode.decisions]
        assert all(
            len(d.candidates or ()) == len(look.actions) for d, look in zip(episode.decisions, trace.looks, strict=True)
        )
        assert episode.terminated
        assert episode.score == trace.score


def test_learning_encourages_what_earned_credit(store: Store, folder: Path) -> None:
    lesson = read_lesson(store, ["a", "b"], folder)
    seen: list[float] = []
    learned = improve(
        folder, lesson, Config(estimator="gae_turn", lr=1e-3, kl_coef=0.0), progress=lambda f: seen.append(f["epoch"])
    )
    assert seen == [1.0, 2.0]
    decisions = [decision for episode in lesson.episodes for decision in episode.decisions]
    assert len(learned.advantages) == len(decisions)
    moved = learned.student.policy.logprobs(decisions) - Student(folder).policy.logprobs(decisions)
    assert np.corrcoef(moved, learned.advantages)[0, 1] > 0.3
    again = improve(folder, lesson, Config(estimator="gae_turn", lr=1e-3, kl_coef=0.0))
    for one, other in zip(
        learned.student.policy.decoder.parameters(), again.student.policy.decoder.parameters(), strict=True
    ):
        assert one.equal(other), "the same runs teach the same, bit for bit"


def test_what_cannot_teach_is_refused(store: Store, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not over"):
        read_lesson(store, ["open"], folder)
    with pytest.raises(UsageError, match="text only"):
        read_lesson(store, ["script"], folder)
    other = make_player(tmp_path / "other", seed=5)
    # The ids of another player of the same notes are the same; another tokenizer's are not.
    assert read_lesson(store, ["a"], other).episodes[0].score == read_lesson(store, ["a"], folder).episodes[0].score
    with Run.start(store, Goal(text="x"), setup=setup(folder, 1, "greenhouse:days=21"), name="longer") as run:
        run.finish()
    with pytest.raises(UsageError, match="several worlds"):
        read_lesson(store, ["a", "longer"], folder)


def test_held_out_episodes_are_the_models_own(folder: Path) -> None:
    student = Student(folder)
    played = held_out(student, WORLD, [7, 8])
    again = held_out(Student(folder), WORLD, [8])
    assert played.score[1] == again.score[0], "an episode does not depend on its company"
    assert len(played.odds) == 2
    assert np.allclose(played.odds[1], again.odds[0], atol=1e-4)


def test_calibration_finds_the_scale_that_was_lost() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0.5, 1.5, 4000)
    success = (rng.random(4000) < 1 / (1 + np.exp(-true))).astype(float)
    stated = [np.repeat(odds, 3) for odds in (true - 1.0) / 2.0]  # half as sure as it should be, and one too low
    found = fit_calibration(stated, success)
    assert found["scale"] == pytest.approx(2.0, abs=0.2)
    assert found["shift"] == pytest.approx(1.0, abs=0.15)
    assert fit_calibration([np.array([0.3])], np.array([1.0]))["scale"] < 3.0, "one episode decides little"


def test_a_paired_change_has_its_interval() -> None:
    before, after = np.array([1.0, 5.0, 9.0] * 30), np.array([2.0, 6.0, 10.0] * 30)
    assert paired_change(before, after) == (1.0, 1.0, 1.0)
    noise = np.random.default_rng(1).normal(0, 1, 90)
    mean, low, high = paired_change(before, before + noise)
    assert low < mean < high
    assert low < 0.0 < high
