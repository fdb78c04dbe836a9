"""The outcome reward as documented, the published defects shown to be defects, and the scores of answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.memory.sift.reward import (
    anchor_priority,
    dcg_reward,
    group_advantages,
    outcome_reward,
    overlong_penalty,
    tier_weights,
    tiers,
)
from overwinter.memory.sift.scoring import SCORES, answer_tokens, exact_match, rouge_l, token_f1

TEN = tiers(10)


def test_tiers_are_fibonacci_numbers_and_the_length() -> None:
    assert TEN == (1, 2, 3, 5, 8, 10)
    assert tiers(1) == (1,)
    assert tiers(8) == (1, 2, 3, 5, 8)
    assert tiers(0) == ()


def test_the_weights_of_ten_places() -> None:
    weights = tier_weights(TEN)
    assert [round(weight, 4) for weight in weights] == [0.3691, 0.1309, 0.1131, 0.0714, 0.0264, 0.2891]
    assert sum(weights) == pytest.approx(1)


@given(st.integers(1, 60))
def test_weights_sum_to_one_for_any_length(length: int) -> None:
    assert sum(tier_weights(tiers(length))) == pytest.approx(1)


def _published(scores: dict[int, float]) -> float:
    """What the published program computes: the loop begins at the second tier, and s_0 is taken off in full."""
    return sum(w * scores[k] for k, w in list(zip(TEN, tier_weights(TEN), strict=True))[1:]) - scores[0]


def test_the_published_program_has_the_defect_and_ours_does_not() -> None:
    assert sum(tier_weights(TEN)[1:]) == pytest.approx(0.6309, abs=5e-5)
    nothing_changes = {0: 0.8} | dict.fromkeys(TEN, 0.8)
    assert _published(nothing_changes) == pytest.approx(-0.369 * 0.8, abs=1e-4)
    assert outcome_reward(range(10), nothing_changes.__getitem__) == pytest.approx(0)
    only_the_first = {0: 0.0} | dict.fromkeys(TEN, 0.0) | {1: 1.0}
    assert _published(only_the_first) == 0
    assert outcome_reward(range(10), only_the_first.__getitem__) == pytest.approx(0.3691, abs=5e-5)


def test_the_ends_of_the_outcome_reward() -> None:
    assert outcome_reward(range(10), lambda k: float(k > 0)) == pytest.approx(1)
    assert outcome_reward(range(10), lambda k: float(k == 0)) == pytest.approx(-1)
    asked: list[int] = []
    outcome_reward(range(10), lambda k: float(asked.append(k) or 0))
    assert asked == [0, *TEN]  # seven answers


def test_a_format_error_is_worth_nothing_and_asks_nobody() -> None:
    assert outcome_reward([], lambda k: 1 / 0) == 0


def test_the_dcg_reward_is_not_normalised() -> None:
    assert dcg_reward([7, 3, 1], {7}) == 1
    assert dcg_reward([3, 7, 1], {7}) == pytest.approx(0.6309, abs=5e-5)
    assert dcg_reward([7, 3], {7, 3}) == pytest.approx((1 + 0.6309) / 2, abs=5e-5)
    with pytest.raises(UsageError):
        dcg_reward([1], set())


def test_overlong_answers_are_punished_softly() -> None:
    limit, buffer = 16 * 1024, 4 * 1024
    assert overlong_penalty(limit - buffer, limit, buffer) == 0
    assert overlong_penalty(limit - buffer // 2, limit, buffer) == -0.5
    assert overlong_penalty(limit, limit, buffer) == overlong_penalty(limit + 99, limit, buffer) == -1
    with pytest.raises(UsageError):
        overlong_penalty(1, 10, 11)


def test_group_advantages() -> None:
    assert group_advantages([0.5] * 6) is None
    assert group_advantages([1.0]) is None
    advantages = group_advantages([0.0, 0.0, 1.0])
    assert advantages is not None
    assert sum(advantages) == pytest.approx(0)
    assert advantages[2] == pytest.approx(2 / 3 / (1 / 3) ** 0.5, rel=1e-4)
    assert anchor_priority(0.2) == 1
    assert anchor_priority(1.0) == pytest.approx(0.2)


def test_token_f1() -> None:
    assert token_f1("The cat.", "a cat") == 1
    assert token_f1("a black cat", "cat") == pytest.approx(2 / 3)
    assert token_f1("cat cat", "cat") == pytest.approx(2 / 3)
    assert token_f1("dog", "cat") == token_f1("", "cat") == 0
    assert token_f1("", "") == 1
    assert token_f1("1,200", "1200") == 1
    assert answer_tokens("it's 3.5 km") == ["its", "3.5", "km"]


def test_chinese_is_compared_by_character() -> None:
    assert answer_tokens("北京市 2023年") == ["北", "京", "市", "2023", "年"]
    assert token_f1("北京", "北京市") == pytest.approx(0.8)
    assert token_f1("在Oslo", "Oslo") == pytest.approx(2 / 3)


def test_exact_and_rouge_l() -> None:
    assert exact_match("The Cat!", "cat") == 1
    assert exact_match("cat one", "one cat") == 0
    assert rouge_l("one cat", "cat one") == pytest.approx(0.5)
    assert rouge_l("i live in graz now", "live graz") == pytest.approx(4 / 7)
    assert set(SCORES) == {"token_f1", "exact", "rouge_l"}


@given(st.text(max_size=30), st.text(max_size=30))
def test_scores_are_symmetric_and_bounded(a: str, b: str) -> None:
    for score in (token_f1, rouge_l, exact_match):
        assert score(a, b) == pytest.approx(score(b, a))
        assert 0 <= score(a, b) <= 1
    assert exact_match(a, b) <= rouge_l(a, b) <= token_f1(a, b) + 1e-12
