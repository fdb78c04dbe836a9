"""Curves: votes against counting all subsets, caps against counting one by one, dialogues against their definition."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from overwinter.bench import curves, statistics
from overwinter.bench.answers import Answer, Header, Recording
from overwinter.bench.report import advice, estimate, slices, summarise


def _recording(samples: int, count: int = 12, seed: int = 0) -> Recording:
    rng = random.Random(seed)
    answers = [
        Answer(
            item=f"q{item}",
            sample=sample,
            answer=said,
            correct=float(said == "a"),
            tokens_out=1 + rng.randrange(50),
            tool_calls=rng.randrange(4),
        )
        for item in range(count)
        for sample in range(samples)
        for said in [rng.choice("aaabc")]
    ]
    return Recording(header=Header(), answers=tuple(answers), name="r")


def _slow_vote(answers: list[Answer], k: int) -> float:
    """Every subset, every tie, by hand."""
    total, subsets = 0.0, list(combinations(answers, k))
    for subset in subsets:
        counts: dict[str, int] = {}
        for answer in subset:
            assert answer.answer is not None
            counts[answer.answer] = counts.get(answer.answer, 0) + 1
        leaders = [said for said, count in counts.items() if count == max(counts.values())]
        total += sum(said == "a" for said in leaders) / len(leaders)
    return total / len(subsets)


def test_votes_are_those_of_all_subsets() -> None:
    made = _recording(6)
    found = {row["samples"]: row for row in curves.votes(made)}
    assert sorted(found) == [1, 2, 4, 6]
    for k, row in found.items():
        slow = sum(_slow_vote(answers, k) for answers in made.by_item().values()) / 12
        assert row["value"] == pytest.approx(slow)
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    mean = sum(answer.tokens for answer in made.answers) / len(made.answers)
    assert found[4]["tokens"] == pytest.approx(4 * mean)
    assert curves.votes(_recording(1)) == []


def test_many_subsets_are_drawn() -> None:
    made = _recording(20, count=4)
    found = {row["samples"]: row["value"] for row in curves.votes(made)}
    assert found[1] == pytest.approx(sum(answer.correct or 0 for answer in made.answers) / 80)
    assert found == {row["samples"]: row["value"] for row in curves.votes(made)}


def test_what_nobody_could_read_is_no_vote() -> None:
    rows = [
        Answer(item="q", sample=n, answer=said, correct=right)
        for n, (said, right) in enumerate([(None, 0.0), (None, 0.0), ("a", 1.0)])
    ]
    other = [Answer(item="r", sample=n, answer=None, correct=0.0) for n in range(3)]
    found = curves.votes(Recording(header=Header(), answers=(*rows, *other), name="r"))
    assert found[-1]["value"] == 0.5


def test_a_cap_counts_what_costs_more_as_wrong() -> None:
    made = _recording(1, count=60)
    found = curves.budget(made)["caps"]
    assert set(found) == {"tokens", "tool_calls"}
    for cap, value in found["tokens"]["points"]:
        slow = sum((answer.correct or 0.0) * (answer.tokens <= cap * 1.0000001) for answer in made.answers) / 60
        assert value == pytest.approx(slow)
    values = [value for _, value in found["tokens"]["points"]]
    assert values == sorted(values)
    assert found["tokens"]["area"] == pytest.approx(sum(values) / len(values))


def _dialogue(item: str, turns: list[tuple[float, float, float]]) -> Answer:
    """(information, stated, correct) of each turn."""
    rows = [
        {
            "turn": n,
            "information": info,
            "act": "ask",
            "stated": said,
            "correct": right,
            "modality": "image report" if n == 2 else "text",
        }
        for n, (info, said, right) in enumerate(turns, 1)
    ]
    return Answer(item=item, correct=turns[-1][2], turns=tuple(rows))


def test_confidence_over_turns() -> None:
    rising = [_dialogue(f"q{n}", [(0.0, 0.2, 0.0), (0.5, 0.6, 1.0), (1.0, 0.9, 1.0)]) for n in range(10)]
    found = curves.dialogues(rising)
    assert found is not None
    assert found["tau"] == pytest.approx(1.0)
    assert [row["turn"] for row in found["turns"]] == [1, 2, 3]
    assert [row["ece"] for row in found["turns"]] == pytest.approx([0.2, 0.4, 0.1])
    # Each turn has an information level of its own here.
    assert found["info_ece"] == pytest.approx((0.2 + 0.4 + 0.1) / 3)
    assert found["modalities"]["image report"]["dialogues"] == 10
    assert found["modalities"]["image report"]["ece"] == pytest.approx(0.4)
    falling = [_dialogue(f"q{n}", [(0.0, 0.9, 1.0), (1.0, 0.1, 1.0)]) for n in range(10)]
    assert curves.dialogues(falling)["tau"] == pytest.approx(-1.0)  # type: ignore[index]
    assert curves.dialogues([Answer(item="x", correct=1.0)]) is None


def test_a_score_that_is_all_right_is_not_sure() -> None:
    rows = [Answer(item=f"q{n // 2}", sample=n % 2, answer="a", correct=1.0) for n in range(20)]
    found = estimate(rows)
    assert found is not None
    assert (found["value"], found["method"]) == (1.0, "wilson")
    assert found["low"] < 0.8
    some = estimate([*rows, Answer(item="q0", sample=2, answer="b", correct=0.0)])
    assert some is not None
    assert some["method"] == "t"
    assert some["high"] <= 1.0


def test_wilson_over_questions_holds_the_truth() -> None:
    """Samples of a question that always agree: the questions are what counts, 95 of 100 times."""
    rng = random.Random(0)
    inside = 0
    for _ in range(400):
        right = [float(rng.random() < 0.7) for _ in range(40)]
        made = statistics.mean([value for value in right for _ in range(3)], [n for n in range(40) for _ in range(3)])
        inside += made.low <= 0.7 <= made.high
    assert 0.92 <= inside / 400 <= 0.98


def test_numbers_are_sliced_in_their_order() -> None:
    rows = [
        Answer(item=f"q{n}", correct=1.0, slices={"turns": str(turns)})
        for n, turns in enumerate([10] * 9 + [2] * 5 + [9] * 7)
    ]
    assert list(slices(rows)["turns"]) == ["2", "9", "10"]


def test_a_summary_has_them_all() -> None:
    found = summarise(_recording(3), draws=20)
    assert found["budget"]["votes"][0]["samples"] == 1
    assert found["dialogues"] is None
    assert found["value"] is None


def test_advice_holds_when_it_is_followed() -> None:
    rng = random.Random(1)

    def answers(count: int, samples: int) -> list[Answer]:
        made = []
        for item in range(count):
            chance = rng.betavariate(2, 2)
            made += [Answer(item=f"q{item}", sample=n, correct=float(rng.random() < chance)) for n in range(samples)]
        return made

    before = advice(answers(300, 4))
    assert before is not None
    followed = estimate(answers(before["questions"], 4))
    assert followed is not None
    assert (followed["high"] - followed["low"]) / 2 == pytest.approx(0.02, rel=0.15)
    many = estimate(answers(300, 200))
    few = estimate(answers(300, 4))
    assert many is not None
    assert few is not None
    assert before["repeats"] == pytest.approx((many["high"] - many["low"]) / (few["high"] - few["low"]), rel=0.15)
    assert advice(answers(20, 1))["repeats"] is None  # type: ignore[index]
    sure = advice([Answer(item=f"q{n}", correct=1.0) for n in range(3)])
    assert sure is not None
    assert sure["questions"] > 1000
    assert advice([Answer(item="x", correct=1.0)]) is None
