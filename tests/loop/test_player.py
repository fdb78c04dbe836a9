"""A small model that plays from a page of notes: what it reads, what it says of its chances, and that a resume writes the same notes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loop_kit import of_kind

from overwinter.errors import ModelError, UsageError
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.goal import Goal
from overwinter.loop.model import Constraint, CountsViews, Limits, Model, View
from overwinter.loop.models.local import Config
from overwinter.loop.models.player import PlayerModel
from overwinter.loop.replay import replay
from overwinter.loop.run import Run
from overwinter.loop.sampling import confidence
from overwinter.loop.setup import build_parts
from overwinter.worlds import open_world
from overwinter.worlds.notebook import open_notebook, page
from overwinter.worlds.player import Card, bundled_for, is_player
from player_kit import WORLD, make_player


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_player(tmp_path_factory.mktemp("player") / "small")


@pytest.fixture
def model(folder: Path) -> Iterator[PlayerModel]:
    made = PlayerModel(Config(path=str(folder)), WORLD, lambda: open_world(WORLD))
    yield made
    made.close()


def setup(folder: Path, world: str = WORLD) -> dict[str, Any]:
    return {
        "model": {"kind": "player", "path": str(folder), "threads": 1},
        "world": {"name": world, "seed": 4},
        "controls": [],
        "pace": {
            "temperature": 1.0,
            "max_stalls": 1000,
            "seed": 5,
        },  # of every question, wherever it stands in the journal
    }


def played(folder: Path, path: Path, steps: list[int]) -> tuple[SqliteStore, list[dict[str, Any]]]:
    """A run worked on by several processes, as it were: so many steps each. The store and the completions."""
    store = SqliteStore(path)
    run = Run.start(store, Goal(text="keep it alive"), setup=setup(folder), name="r")
    for number, wanted in enumerate(steps):
        if number:
            run = Run.open(store, "r")
        with run:
            count = wanted
            for entry in run.work():
                count -= entry.kind == "effect.receipt"
                if not count:
                    break
    return store, [entry.body for entry in of_kind(store, "sample.completion")]


def test_it_is_a_model_whose_prompt_is_the_page(model: PlayerModel) -> None:
    assert isinstance(model, Model)
    assert isinstance(model, CountsViews)
    world, notes = open_world(WORLD), open_notebook(WORLD)
    observation = world.reset(4)
    notes.take_in(None, observation)
    view = View(messages=(), observation=observation.data, legal_actions=tuple(world.actions()))
    answer = model.sample(view, 1, Constraint(), Limits(temperature=1.0, seed=1))[0]
    assert answer.text in view.legal_actions
    assert answer.prompt_token_ids is not None
    assert answer.prompt_token_ids == tuple(model._ids(page(notes.lines(), "?")))
    assert len(answer.prompt_token_ids) == len(notes.lines()) + 1, "a line is a token"
    assert answer.token_ids is not None
    assert answer.logprobs is not None
    assert len(answer.token_ids) == len(answer.logprobs) == 1, "an action is a token"
    assert not answer.text_only
    assert model.count_view(view) == len(notes.lines())


def test_its_chance_is_its_own_bet_calibrated(model: PlayerModel) -> None:
    world = open_world(WORLD)
    view = View(messages=(), observation=world.reset(4).data, legal_actions=tuple(world.actions()))
    stated = model.sample(view, 1, Constraint(), Limits())[0].success_chance
    notes = model._prompt()
    well, badly = (sum(model._engine.score(notes, model._slots[name])) for name in ("well", "badly"))
    logit = well - badly
    assert stated is not None
    assert stated == pytest.approx(1 / (1 + math.exp(-(0.5 * logit + 0.25))), abs=1e-6)
    assert Card(world="w").calibrated(math.log(0.3 / 0.7)) == pytest.approx(0.3)
    assert Card(world="w").calibrated(-1e9) < 1e-5 < 1.0 - 1e-5 < Card(world="w").calibrated(1e9)


def test_its_confidence_is_among_what_could_be_done(model: PlayerModel) -> None:
    """Log-probabilities are the model's own, over all tokens; a policy that was trained masked means something only among its choices."""
    world = open_world(WORLD)
    view = View(messages=(), observation=world.reset(4).data, legal_actions=tuple(world.actions()))
    answer = model.sample(view, 1, Constraint(), Limits(temperature=1.0, seed=2))[0]
    scores = {
        action: sum(row) for action, row in zip(view.legal_actions, model.score(view, view.legal_actions), strict=True)
    }
    total = sum(math.exp(score) for score in scores.values())
    assert answer.choice_probability == pytest.approx(math.exp(scores[answer.text]) / total, rel=1e-5)
    assert confidence(answer) == answer.choice_probability
    assert answer.logprobs is not None
    assert math.exp(answer.logprobs[0]) < answer.choice_probability


def test_outside_the_world_it_was_calibrated_in_it_states_no_chance(folder: Path) -> None:
    other = "greenhouse:days=21"
    model = PlayerModel(Config(path=str(folder)), other, lambda: open_world(other))
    world = open_world(other)
    view = View(messages=(), observation=world.reset(0).data, legal_actions=tuple(world.actions()))
    assert model.sample(view, 1, Constraint(), Limits())[0].success_chance is None


def test_a_resumed_run_has_the_same_notes_and_says_the_same(folder: Path, tmp_path: Path) -> None:
    whole, answers = played(folder, tmp_path / "whole.db", [12])
    parts, resumed = played(folder, tmp_path / "parts.db", [3, 1, 8])
    assert [body["text"] for body in answers] == [body["text"] for body in resumed]
    assert [body["success_chance"] for body in answers] == [body["success_chance"] for body in resumed]
    assert all(not body["text_only"] and 0.0 < body["success_chance"] < 1.0 for body in answers)
    for store in (whole, parts):
        report = replay(store, "r")
        assert report.divergence is None
        assert report.tokens >= 12, "answers are asked again and compared token by token"
        store.close()


def test_an_action_that_was_not_carried_out_is_not_noted(model: PlayerModel) -> None:
    world = open_world(WORLD)
    view = View(messages=(), observation=world.reset(4).data, legal_actions=tuple(world.actions()))
    model.sample(view, 1, Constraint(choices=("close shutters",)), Limits())
    before = model.notebook.lines()
    model.sample(view, 1, Constraint(choices=("wait",)), Limits())
    assert model.notebook.lines() == before
    assert model.notebook.belief.settings["shutters"] == "open"  # type: ignore[attr-defined]


def test_it_scores_what_it_could_say(model: PlayerModel) -> None:
    world = open_world(WORLD)
    view = View(messages=(), observation=world.reset(4).data, legal_actions=tuple(world.actions()))
    answer = model.sample(view, 1, Constraint(), Limits())[0]
    assert answer.logprobs == tuple(model.score(view, [answer.text])[0])


def test_what_it_cannot_do_is_said(folder: Path, model: PlayerModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="plays greenhouse"):
        PlayerModel(Config(path=str(folder)), "gym:Taxi-v3", lambda: open_world("gym:Taxi-v3"))
    with pytest.raises(ModelError, match="plays worlds only"):
        model.sample(View(messages=()), 1, Constraint(), Limits())
    with pytest.raises(UsageError, match="plays worlds only"):
        build_parts({"model": {"kind": "player", "path": str(folder)}})
    (tmp_path / "player.json").write_text(json.dumps({"format": 2, "world": "greenhouse"}))
    with pytest.raises(UsageError, match="format 1"):
        Card.read(tmp_path)
    (tmp_path / "player.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        Card.read(tmp_path)
    model.close()
    with pytest.raises(UsageError, match="was closed"):
        model.score(View(messages=(), observation=open_world(WORLD).reset(0).data), ["wait"])


def test_folders_say_what_they_are(folder: Path, tmp_path: Path) -> None:
    assert is_player(folder)
    assert not is_player(tmp_path)
    assert not bundled_for("gym:Taxi-v3")
    assert (folder / "README.md").read_text().startswith("# A small player")
