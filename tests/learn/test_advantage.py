"""The advantage head: pages as numbers, what followed, what is learnt from the world's answers, and what is named by it."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest

from overwinter.errors import UsageError
from overwinter.learn.advantage import AdvantageHead, PageColumns, episode_rows, head_files
from overwinter.learn.advantage_training import Config, Lesson, fit_head
from overwinter.learn.appraisal import Appraiser, Look, Trace, retrace
from overwinter.learn.counterfactual import scripted_what_if
from overwinter.worlds import open_policy, open_world
from overwinter.worlds.player import BUNDLED_FOLDER
from player_kit import WORLD, make_player

ACTIONS = ("wait", "buy", "sell", "look")


def made(stocks: list[int], done: str = "wait") -> Trace:
    """An episode of a shop: a page says what is in stock."""
    looks = tuple(Look(page=f"stock {stock}\nopen\n", actions=ACTIONS, action=done) for stock in stocks)
    return Trace(world="shop", seed=0, looks=looks, end_page="stock 9\nshut\n", is_over=True, success=0.0, score=1.0)


@pytest.fixture(scope="module")
def head() -> AdvantageHead:
    """Taught that buying adds ten points where the stock is low and costs ten where it is high."""
    rng, lessons = np.random.default_rng(0), []
    for _ in range(60):
        stocks = rng.integers(0, 11, 12).tolist()
        gains = np.full((12, len(ACTIONS)), np.nan)
        gains[:, 1] = [10.0 if stock < 5 else -10.0 for stock in stocks]
        lessons.append(Lesson(trace=made(stocks), gains=gains))
    config = Config(
        world="shop", actions=ACTIONS, windows=((1, 2),), networks=2, hidden=32, epochs=60, lr=5e-3, every=1
    )
    return fit_head(lessons, replace(config, dropout=0.0, dropout_in=0.0))


def test_a_page_is_words_and_numbers() -> None:
    columns = PageColumns.of(["tank 480\neast off -1.5 ~0.4", "tank 20\neast stuck"], least=1)
    assert columns.kinds == ("east off # #", "east stuck", "tank #")
    rows = columns.rows(["tank 7\neast off -1.5 ~0.4", "never seen 3\neast stuck\n"])
    assert rows.tolist() == [pytest.approx([1, -1.5, 0.4, 0, 1, 7]), [0, 0, 0, 1, 0, 0]]
    assert PageColumns.of(["a 1", "a 2", "b 1"], least=2).kinds == ("a #",)


def test_what_followed_is_read_window_by_window() -> None:
    trace, columns = made([3, 5, 1, 7]), PageColumns(kinds=("stock #",))
    rows = episode_rows(trace, columns, ACTIONS, ((1, 2), (3, 9)))
    page, near, far = rows[:, :2], rows[:, 2:12], rows[:, 12:22]
    assert page[:, 1].tolist() == [3, 5, 1, 7]
    # of decision 0: the pages 5 and 1; then 7 and the end; of decision 3 the end alone, and nothing done there
    assert near[0].tolist() == pytest.approx([1, 3, 1, 1, 1, 5, 2, 0, 0, 0])
    assert far[0].tolist() == pytest.approx([1, 8, 1, 7, 1, 9, 1, 0, 0, 0])
    assert near[3].tolist() == pytest.approx([1, 9, 1, 9, 1, 9, 0, 0, 0, 0])
    done, habits, score, gone_by = rows[:, 22:26], rows[:, 26:30], rows[:, 30], rows[:, 31]
    assert done.tolist() == habits.tolist() == [[1, 0, 0, 0]] * 4
    assert (score.tolist(), gone_by.tolist()) == ([1.0] * 4, [0.0, 0.25, 0.5, 0.75])


def test_it_learns_what_the_world_answered(head: AdvantageHead) -> None:
    told = head.told(made([1, 9, 4, 6]))
    buy = ACTIONS.index("buy")
    assert (told.points[:, buy] > 3).tolist() == [True, False, True, False]
    assert told.sure[0, buy] > 0.9
    assert told.sure[1, buy] < 0.1
    best = told.best(0)
    assert best is not None
    assert (best.action, best.sure) == ("buy", told.sure[0, buy])


def test_what_was_done_and_what_only_looks_is_never_named(head: AdvantageHead) -> None:
    told = head.told(made([1, 1], done="buy"))
    assert np.isnan(told.points[:, [ACTIONS.index("buy"), ACTIONS.index("look")]]).all()
    assert np.isfinite(told.points[:, [0, 2]]).all()
    trace = made([1])
    alone = replace(trace, looks=(replace(trace.looks[0], actions=("wait", "look")),))
    assert head.told(alone).best(0) is None


def test_a_head_comes_back_from_its_file(head: AdvantageHead, tmp_path: Path) -> None:
    assert AdvantageHead.read(tmp_path, "rules") is None
    head.write(tmp_path, "rules")
    assert [path.name for path in head_files(tmp_path)] == ["advantage-rules.safetensors"]
    again, trace = AdvantageHead.read(tmp_path, "rules"), made([1, 9, 4, 6])
    assert again is not None
    assert (again.columns, again.windows, again.margin) == (head.columns, head.windows, head.margin)
    assert np.allclose(again.told(trace).sure, head.told(trace).sure, atol=1e-2, equal_nan=True)
    [path] = head_files(tmp_path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UsageError, match="cannot be read"):
        AdvantageHead.read(tmp_path, "rules")


def test_foreign_episodes_and_empty_lessons_are_refused(head: AdvantageHead) -> None:
    with pytest.raises(UsageError, match="knows shop"):
        head.told(replace(made([1]), world="greenhouse"))
    nothing = Lesson(trace=made([1]), gains=np.full((1, len(ACTIONS)), np.nan))
    with pytest.raises(UsageError, match="no lesson"):
        fit_head([nothing], Config(world="shop", actions=ACTIONS))


def played_by_rules(world_name: str, seed: int) -> Trace:
    world, policy, done = open_world(world_name), open_policy(world_name, "rules"), []
    observation = world.reset(seed)
    policy.reset(seed)
    while world.actions():
        done.append(policy.act(observation, world.actions()))
        observation = world.step(done[-1]).observation
    return retrace(world_name, seed, done)


def lost_by_rules(world_name: str) -> Trace:
    """The first season from seed 0 on that the rules lose."""
    return next(trace for seed in count() if not (trace := played_by_rules(world_name, seed)).success)


def test_a_head_beside_the_model_ranks_the_mistakes(head: AdvantageHead, tmp_path: Path) -> None:
    folder, trace = make_player(tmp_path / "small"), lost_by_rules(WORLD)
    assert not Appraiser(folder).read(trace).is_advised
    of_greenhouse = replace(head, world="greenhouse", actions=("wait", "heat off", "open vents", "read the rules"))
    of_greenhouse.write(folder, "rules")
    judge = Appraiser(folder)
    read = judge.read(trace, "rules")
    assert read.is_advised
    assert not judge.read(trace).is_advised
    assert not judge.read(trace, "../rules").is_advised
    assert not judge.read(replace(trace, success=1.0), "rules").is_advised
    worst = read.mistakes(len(read.moments))
    sure = [-1.0 if (advice := read.moments[row].advice) is None else advice.sure for row in worst]
    assert sure == sorted(sure, reverse=True)
    first = read.moments[worst[0]]
    assert first.advice is not None
    assert first.better == first.advice.action != first.look.action


def test_the_bundled_head_names_mistakes_that_the_world_confirms() -> None:
    """The first four held-out seasons that the rules lose; `recipes/check_credit.py` asks about many."""
    judge = Appraiser(BUNDLED_FOLDER / "greenhouse")
    lost = islice((trace for seed in count() if not (trace := played_by_rules("greenhouse", seed)).success), 4)
    gains = []
    for trace in lost:
        read = judge.read(trace, "rules")
        [worst] = read.mistakes(1)
        question = (worst, read.moments[worst].better)
        [found] = scripted_what_if(trace, [question], lambda: open_policy("greenhouse", "rules"))
        gains.append(found.gain)
    assert np.mean(gains) > 0.0
