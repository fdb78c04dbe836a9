"""Strategies of search on trees with known values, and their pieces against slow twins."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.think.search import (
    ROOT,
    STRATEGIES,
    Expand,
    SearchSettings,
    Strategy,
    Tree,
    make_strategy,
    parse_search,
    plain,
)
from overwinter.think.search.bavt import ALPHA_MAX, alpha, edge, weights
from overwinter.think.search.flat import lead_is_kept
from overwinter.think.search.mcts import thompson

COST = 10
WIDE = {"width": 3, "depth": 2, "temperature": 1.0}


class Game:
    """Three first steps with known means; luck of one deviation; the model's own choice is the middling one.

    `play` is what a driver does with a plan: the same scenario has the same luck for everybody.
    """

    means: ClassVar = {"own": 0.5, "good": 0.6, "bad": 0.3}
    priors: ClassVar = {"own": 0.7, "good": 0.2, "bad": 0.1}

    def __init__(self, settings: SearchSettings, *, luck: float = 0.0, budget: int = 600, seed: int = 0) -> None:
        self.luck, self.seed = luck, seed
        self.strategy: Strategy = make_strategy(settings)
        self.tree = Tree(budget=budget, depth=settings.depth, luck=luck > 0)

    def play(self) -> str:
        while (plan := self.strategy.next(self.tree)) is not None:
            assert self.tree.spent + COST <= self.tree.budget, "a strategy never begins what it cannot pay"
            self.expand(plan)
        chosen = self.strategy.choose(self.tree).node
        assert chosen is not None
        return self.tree.nodes[chosen].label

    def expand(self, plan: Expand) -> None:
        tree = self.tree
        if plan.node != ROOT:
            label = tree.nodes[plan.node].label
            tree.add(plan.node, label, self._value(label, tree.nodes[plan.node].scenario, 2), tokens=COST)
            return
        label = self._said(plan)
        scenario = plan.scenario if plan.repeat is not None or plan.scenario else self._tries(label)
        prior = self.priors[label]
        again = plan.repeat is not None
        value = self._value(label, scenario, 1)
        tree.add(ROOT, label, value, tokens=COST, prior=prior, scenario=scenario, again=again)

    def _said(self, plan: Expand) -> str:
        if plan.repeat is not None:
            return self.tree.nodes[plan.repeat].label
        siblings = [self.tree.nodes[n].label for n in self.tree.nodes[ROOT].children]
        if not siblings:
            return "own"
        labels = [label for label in self.means if not plan.fresh or label not in siblings]
        draw = random.Random(f"{self.seed}/{len(siblings)}")
        return draw.choices(labels, [self.priors[label] for label in labels])[0]

    def _tries(self, label: str) -> int:
        return sum(self.tree.nodes[n].label == label for n in self.tree.nodes[ROOT].children)

    def _value(self, label: str, scenario: int, depth: int) -> float:
        # Half of the luck is everybody's, half the option's own.
        common = random.Random(f"{self.seed}/{scenario}").gauss(0, self.luck)
        own = random.Random(f"{self.seed}/{scenario}/{label}/{depth}").gauss(0, self.luck)
        return self.means[label] + 0.7 * common + 0.7 * own


def settings(strategy: str, **more: Any) -> SearchSettings:
    return SearchSettings(strategy=strategy, **{**WIDE, **more})


@pytest.mark.parametrize("strategy", [each for each in STRATEGIES if each != "majority"])
def test_without_luck_the_best_first_step_is_found(strategy: str) -> None:
    found = [Game(settings(strategy), seed=seed).play() for seed in range(8)]
    # best-of-n asks the model again and again, and may never hear of it.
    assert found.count("good") >= (5 if strategy == "best-of-n" else 8)


def test_majority_finds_what_the_model_says_most_often() -> None:
    assert [Game(settings("majority"), seed=seed).play() for seed in range(8)] == ["own"] * 8


def test_with_luck_pairs_find_more_than_the_best_of_n() -> None:
    """Luck of 0.15 hides a difference of 0.1: the best of several lucky branches is mostly the luckiest."""

    def right(strategy: str) -> float:
        games = [Game(settings(strategy), luck=0.15, budget=800, seed=seed).play() for seed in range(70)]
        return sum(game == "good" for game in games) / len(games)

    assert right("tree") > right("best-of-n") + 0.15
    assert right("tree") > 0.6


def test_with_luck_the_models_choice_stands_where_nothing_is_better() -> None:
    class Even(Game):
        means: ClassVar = {"own": 0.5, "good": 0.5, "bad": 0.3}

    games = [Even(settings("tree"), luck=0.15, budget=800, seed=seed).play() for seed in range(40)]
    assert sum(game == "own" for game in games) >= 28


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("luck", [0.0, 0.1])
def test_a_strategy_is_a_function_of_the_tree(strategy: str, luck: float) -> None:
    """A process that takes over asks another object about the same tree."""
    whole = Game(settings(strategy), luck=luck)
    whole.play()
    again = Game(settings(strategy), luck=luck)
    while (plan := make_strategy(settings(strategy)).next(again.tree)) is not None:
        again.expand(plan)
    assert [(n.parent, n.label, n.value, n.scenario) for n in again.tree.nodes] == [
        (n.parent, n.label, n.value, n.scenario) for n in whole.tree.nodes
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("budget", [10, 25, 70, 333])
def test_no_strategy_spends_more_than_there_is(strategy: str, budget: int) -> None:
    game = Game(settings(strategy), luck=0.1, budget=budget)
    game.play()
    assert game.tree.spent <= budget


def test_a_sure_model_is_not_searched_for() -> None:
    class Sure(Game):
        priors: ClassVar = {"own": 0.97, "good": 0.02, "bad": 0.01}

    game = Sure(settings("tree"), luck=0.1)
    assert game.play() == "own"
    assert len(game.tree.nodes) == 2


def test_alpha_follows_the_budget() -> None:
    assert [alpha(ratio, 1.0) for ratio in (1.0, 0.5, 0.2, 0.1)] == pytest.approx([1, 2, 5, 10])
    assert alpha(0.0, 1.0) == ALPHA_MAX
    assert alpha(0.1, 0.0) == 1.0, "switched off"


@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=8), st.floats(0.0, 12.0))
def test_weights_are_powers_over_their_sum(values: list[float], power: float) -> None:
    assert weights(values, power) == pytest.approx(plain.weights(values, power), abs=1e-9)


def test_weights_stand_powers_that_powers_do_not() -> None:
    assert weights([0.01, 0.011], 400.0)[1] == pytest.approx(1.0)
    with pytest.raises(ZeroDivisionError):
        plain.weights([0.01, 0.011], 400.0)


@given(st.integers(0, 30), st.integers(0, 30))
def test_a_lead_is_kept_as_often_as_coins_say(lead: int, second: int) -> None:
    lead, second = max(lead, second), min(lead, second)
    assert lead_is_kept(lead, second) == pytest.approx(plain.lead_is_kept(lead, second))


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1), st.integers(0, 50)), max_size=20))
def test_the_tree_counts_as_its_twin(rows: list[tuple[int, float, int]]) -> None:
    tree = Tree(budget=1000, depth=100)
    for parent, value, tokens in rows:
        tree.add(parent % len(tree.nodes), "x", value, tokens=tokens)
    for node in tree.nodes:
        assert tree.visits(node.number) == plain.visits(tree, node.number)
        assert tree.cost(node.number) == plain.cost(tree, node.number)
        leaves = [each.value for each in plain.descendants(tree, node.number) if not each.children]
        assert tree.worth(node.number) == pytest.approx(max(leaves))
    assert tree.spent == sum(tokens for _, _, tokens in rows)


def test_pairs_are_of_one_world() -> None:
    tree = Tree(budget=100, depth=1, luck=True)
    for scenario, own in enumerate((0.2, 0.8, 0.5)):
        tree.add(ROOT, "own", own, scenario=scenario)
    for scenario, other in enumerate((0.3, 0.9)):
        tree.add(ROOT, "other", other, scenario=scenario)
    first, second = tree.options()
    found = edge(tree, second, first)
    assert (found.pairs, found.gain) == (2, pytest.approx(0.1))
    assert found.chance > 0.95, "0.1 in both, though the values themselves are all over the place"
    assert edge(tree, first, first).chance == 0.5


def test_thompson_draws_follow_what_was_seen() -> None:
    draw = random.Random(1)
    low = [thompson([0.2] * 20, draw) for _ in range(200)]
    high = [thompson([0.8] * 20, draw) for _ in range(200)]
    assert max(low) < 0.55 < sum(high) / 200
    assert 0.35 < sum(thompson([], draw) > 0.5 for _ in range(400)) / 400 < 0.65


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        ({"strategy": "luck"}, "use one of"),
        ({"width": 0}, "whole number"),
        ({"dept": 3}, "unknown"),
        ({"exponent": -1}, "0 to"),
    ],
)
def test_settings_are_checked(raw: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError) as found:
        parse_search(raw)
    assert match in f"{found.value}"


def test_settings_go_round() -> None:
    made: Callable[[], SearchSettings] = lambda: settings("mcts", width=7)  # noqa: E731
    assert parse_search(made().as_json()) == made()
