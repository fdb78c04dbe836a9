"""Refitting: what it learns on a namespace whose questions need something, the guard, and what is kept of it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from find_kit import filled, make_unit

from overwinter.errors import StoreError, UsageError
from overwinter.memory.retrieve import Config, Question, Searcher, Weights
from overwinter.memory.retrieve import refit as module
from overwinter.memory.retrieve.fitted import CALIBRATIONS
from overwinter.memory.retrieve.logistic import fit_logistic
from overwinter.memory.retrieve.refit import Fit, Use, keep, refit_calibration, refit_weights, search_weights
from overwinter.memory.retrieve.relevance import Calibration
from overwinter.memory.retrieve.weights import WORDS_ALONE

TOWNS = [f"town{i}" for i in range(60)]


def _world() -> tuple[Searcher, list[Use]]:
    """Who asks for a town needs the unit that follows the one that names it, among ten others that name it."""
    dice = random.Random(0)
    units, uses = [], []
    for i, town in enumerate(TOWNS):
        asked = make_unit(10 * i, f"And {town} then?")
        answer = make_unit(10 * i + 1, "It was lovely there, the four of us saw the whole harbour.")
        units += [asked, answer]
        units += [
            make_unit(10 * i + 2 + j, f"A train from {dice.choice(TOWNS)} to {dice.choice(TOWNS)} {j}.")
            for j in range(8)
        ]
        uses.append(Use(question=Question(text=f"How was {town}?"), relevant=frozenset({answer.id})))
    return Searcher(filled(units), config=Config(weights=Weights(before_1=0.0, before_2=0.0, after_1=0.0))), uses


def test_weights_are_learnt_from_use() -> None:
    searcher, uses = _world()
    fit = refit_weights(searcher, uses, rounds=1)
    assert fit.reason == "fitted"
    assert fit.weights.before_1 > 0
    assert fit.after > fit.before
    keep(searcher.index, weights=fit.weights)
    assert Searcher(searcher.index).weights() == fit.weights


def test_a_fit_that_does_not_hold_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    searcher, uses = _world()
    spoilt = replace(searcher.weights(), length=0.0, before_1=0.0, session=0.0)
    monkeypatch.setattr(module, "search_weights", lambda *_: spoilt)
    fit = refit_weights(searcher, uses)
    assert (fit.reason, fit.weights) == ("kept", searcher.weights())


def test_never_below_words_alone() -> None:
    searcher, uses = _world()
    spoilt = Searcher(searcher.index, config=Config(weights=Weights(length=2.0, actor=2.0, session=0.0, before_1=0.0)))
    # What answers now is the unit that says the word.
    uses = [replace(use, relevant=frozenset({searcher.index.units([10 * i])[0].id})) for i, use in enumerate(uses)]
    module_search = module.search_weights
    try:
        module.search_weights = lambda _score, start, _rounds=2: start
        fit = refit_weights(spoilt, uses)
    finally:
        module.search_weights = module_search
    assert (fit.reason, fit.weights) == ("words alone", WORDS_ALONE)


def test_too_few_uses_change_nothing() -> None:
    searcher, uses = _world()
    assert refit_weights(searcher, uses[:10]) == Fit(weights=searcher.weights(), reason="too few uses")
    with pytest.raises(UsageError, match="too few to fit"):
        refit_calibration(searcher, uses)


def test_the_search_climbs() -> None:
    found = search_weights(
        lambda weights: -((weights.session - 0.7) ** 2) - (weights.asks - 0.02) ** 2, Weights(), rounds=5
    )
    assert found.session == pytest.approx(0.7, abs=0.05)
    assert found.asks == pytest.approx(0.02, abs=0.02)


def test_relevance_is_learnt_from_use() -> None:
    searcher, uses = _world()
    nothing = [
        Use(question=Question(text=f"Did Professor Smithers see the harbour of Atlantis{i}?"), relevant=frozenset())
        for i in range(40)
    ]
    calibration = refit_calibration(searcher, [*uses, *nothing])
    keep(searcher.index, calibration=calibration)
    fitted = Searcher(searcher.index, config=searcher.config)
    assert fitted.calibration(with_vectors=False) == calibration
    assert sum(bool(fitted.search(use.question).hits) for use in uses) >= 58
    assert sum(bool(fitted.search(use.question).hits) for use in nothing) <= 2


def test_a_logistic_fit_finds_the_slope() -> None:
    dice = random.Random(3)
    examples = []
    for _ in range(4000):
        signs = (dice.gauss(2, 3), dice.gauss(0, 1))
        examples.append((signs, dice.random() < 1 / (1 + 2.718281828 ** -(0.8 * signs[0] - 1.0))))
    fitted = fit_logistic(examples)
    assert fitted.weights == pytest.approx((0.8, 0.0), abs=0.1)
    assert fitted.bias == pytest.approx(-1.0, abs=0.15)
    assert fit_logistic([((0.5,), True), ((0.7,), True)])((0.6,)) > 0.5


def test_fitted_numbers_survive_storing() -> None:
    weights, calibration = Weights(dense=0.3), CALIBRATIONS["words"]
    assert Weights.from_json(weights.to_json()) == weights
    assert Calibration.from_json(calibration.to_json()) == calibration
    for read, data in (
        (Weights.from_json, b"{}"),
        (Weights.from_json, b"["),
        (Calibration.from_json, b'{"threshold": 1}'),
    ):
        with pytest.raises(StoreError, match="rebuild"):
            read(data)
