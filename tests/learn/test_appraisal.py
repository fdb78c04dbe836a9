"""What each decision of an episode was worth: bookkeeping that adds up, blame by hindsight, and the world's own answer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from overwinter.errors import UsageError
from overwinter.learn.appraisal import Appraiser, Trace, retrace
from overwinter.learn.counterfactual import play_on, scripted_what_if, what_if
from overwinter.learn.reinforce.seat import Seat
from overwinter.worlds import open_policy, open_world
from overwinter.worlds.notebook import open_notebook, page
from player_kit import WORLD, make_player


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_player(tmp_path_factory.mktemp("players") / "small")


@pytest.fixture(scope="module")
def judge(folder: Path) -> Appraiser:
    return Appraiser(folder)


def season(seed: int = 4, steps: int | None = None) -> list[str]:
    """What the rules do."""
    world, player = open_world(WORLD), open_policy(WORLD, "rules")
    observation, done = world.reset(seed), []
    player.reset(seed)
    while world.actions() and len(done) != steps:
        done.append(player.act(observation, world.actions()))
        observation = world.step(done[-1]).observation
    return done


@pytest.fixture(scope="module")
def trace() -> Trace:
    return retrace(WORLD, 4, season())


def test_a_trace_is_the_episode_as_the_player_saw_it(trace: Trace) -> None:
    assert trace.is_over
    assert trace.success in (0.0, 1.0)
    assert trace.actions == season()
    notes, world = open_notebook(WORLD), open_world(WORLD)
    notes.take_in(None, world.reset(4))
    assert trace.looks[0].page == page(notes.lines())
    assert trace.looks[0].actions == tuple(world.actions())
    part = retrace(WORLD, 4, season(steps=5))
    assert not part.is_over
    assert math.isnan(part.success)
    assert part.looks == trace.looks[:5]
    assert part.end_page == trace.looks[5].page


def test_credits_add_up_to_the_outcome(judge: Appraiser, trace: Trace) -> None:
    read = judge.read(trace)
    assert sum(m.credit for m in read.moments) == pytest.approx(trace.success - read.moments[0].before)
    assert read.moments[-1].after == trace.success
    open_end = retrace(WORLD, 4, season(steps=5))
    assert judge.read(open_end).moments[-1].after == pytest.approx(judge.read(trace).moments[5].before, abs=1e-6)


def test_a_choice_is_worth_what_hindsight_says(judge: Appraiser, folder: Path, trace: Trace) -> None:
    """P(well | s, a) by the odds h(a|s, well) / h(a|s, badly), from the decoder's own numbers, one page at a time."""
    import torch

    from overwinter.model import TextFormat, load

    text, decoder = TextFormat.load(folder), load(folder)
    read = judge.read(trace)
    for row in (0, 7, len(trace.looks) - 1):
        look, moment = trace.looks[row], read.moments[row]
        shares, odds = {}, 0.0
        for outcome in ("?", "well", "badly"):
            ids = text.encode(f"{look.page}outcome {outcome}\n")
            with torch.no_grad():
                logits = decoder(torch.tensor([ids]))[0]
            answers = [text.encode(action)[0] for action in look.actions]
            shares[outcome] = logits[-1, answers].softmax(0).double().numpy()
            bets = [text.encode(f"outcome {word}\n")[0] for word in ("well", "badly")]
            odds = float(logits[-2, bets[0]] - logits[-2, bets[1]])
        before = 1 / (1 + math.exp(-(0.5 * odds + 0.25)))
        done = look.actions.index(look.action)
        assert moment.before == pytest.approx(before, abs=1e-5)
        assert moment.chosen == pytest.approx(shares["?"][done], rel=1e-4)
        told = before / (1 - before) * np.clip(shares["well"] / shares["badly"], math.exp(-4), math.exp(4))
        told = told / (1 + told)
        assert moment.choice == pytest.approx(told[done] - before, abs=1e-4)
        others = [i for i in range(len(look.actions)) if i != done and shares["?"][i] >= 0.02]
        best = max(others, key=lambda index: told[index])
        assert moment.instead == look.actions[best]
        assert moment.gain == pytest.approx(told[best] - told[done], abs=1e-4)


def test_mistakes_are_ordered_by_what_another_choice_promised(judge: Appraiser, trace: Trace) -> None:
    read = judge.read(trace)
    worst = read.mistakes(6)
    gains = [read.moments[row].gain for row in worst]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] == max(m.gain for m in read.moments)


def test_the_world_says_what_would_have_come_of_it(judge: Appraiser) -> None:
    """Played on by the player that made the episode, the actual arm ends as the episode did."""
    seat = Seat(open_world(WORLD), open_notebook(WORLD))
    [(ended, seen)] = play_on([(seat, seat.reset(2))], judge.choose)
    assert seen.is_over
    done: list[str] = []
    other = Seat(open_world(WORLD), open_notebook(WORLD))
    look = other.reset(2)
    while not look.is_over:
        done += judge.choose([(look.text, look.actions)])
        look = other.step(done[-1])
    trace = retrace(WORLD, 2, done)
    assert trace.score == ended.world.outcome().score
    early = trace.looks[3]
    found = what_if(trace, [(3, early.actions[0]), (20, trace.looks[20].action)], judge.choose)
    assert [each.at for each in found] == [3, 20]
    assert found[0].actual == found[1].actual == found[1].other == trace.score
    assert found[1].gain == 0.0
    assert found[0].gain == found[0].other - trace.score


def test_what_cannot_be_appraised_is_said(judge: Appraiser, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing was done"):
        judge.read(retrace(WORLD, 0, []))
    with pytest.raises(UsageError, match="legal"):
        retrace(WORLD, 0, ["repay the neighbour"])
    from dataclasses import replace

    with pytest.raises(UsageError, match="knows greenhouse"):
        judge.read(replace(retrace(WORLD, 0, ["wait"]), world="gym:Taxi-v3"))
    with pytest.raises(UsageError, match="cannot be read"):
        Appraiser(tmp_path)


def test_a_script_plays_on_as_itself(trace: Trace) -> None:
    """In the actual arm the rules do what they did; another action changes what came."""
    found = scripted_what_if(trace, [(3, "heat off"), (9, trace.looks[9].action)], lambda: open_policy(WORLD, "rules"))
    assert found[0].actual == found[1].actual == found[1].other == trace.score
    assert found[0].gain == found[0].other - trace.score


def test_an_arm_that_looks_for_ever_is_given_up(trace: Trace) -> None:
    found = what_if(trace, [(3, "wait")], lambda looks: ["read the rules"] * len(looks))
    assert (found[0].actual, found[0].other, found[0].other_success) == (0.0, 0.0, False)
