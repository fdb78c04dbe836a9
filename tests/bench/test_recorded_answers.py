"""Recorded answers: they round-trip, name the bad line, and give the same figures whoever recorded them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from overwinter.bench.answers import Answer, Header, Recording, read_answers, with_agreement, write_answers
from overwinter.bench.report import calibrated, compared, summarise
from overwinter.errors import UsageError


def _recording(name: str = "a", *, skill: float = 0.7, seed: int = 0, samples: int = 1, count: int = 120) -> Recording:
    rng = random.Random(seed)
    answers = []
    for item in range(count):
        chance = min(max(rng.gauss(skill, 0.2), 0.05), 0.95)
        for sample in range(samples):
            right = rng.random() < chance
            answers.append(
                Answer(
                    item=f"q{item}",
                    sample=sample,
                    answer="yes" if right else rng.choice(["no", "perhaps"]),
                    correct=float(right),
                    confidence={"stated": chance, "tail": 10 + 5 * chance + rng.gauss(0, 0.3)},
                    tokens_in=100,
                    tokens_out=20,
                    slices={"part": "first" if item < count // 2 else "second", "rare": "x" if item == 0 else "y"},
                )
            )
    return Recording(header=Header(model="m"), answers=tuple(answers), name=name)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_file_round_trips(tmp_path: Path, name: str) -> None:
    made = _recording(samples=2, count=5)
    odd = Answer(item="odd", status="refused", correct=0.0, text="I'd rather not – ünïcode")
    write_answers(tmp_path / name, made.header, [*made.answers, odd])
    back = read_answers(tmp_path / name)
    assert back.header == made.header
    assert back.answers == (*made.answers, odd)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 of .* is no JSON"),
        ("[1]", "no JSON object"),
        ('{"answer": "A"}', "names no item"),
        ('{"item": "q", "correkt": 1}', "unknown fields"),
        ('{"item": "q", "correct": 2}', "no score"),
        ('{"item": "q", "status": "fine"}', "status"),
        ('{"item": "q", "confidence": {"stated": "high"}}', "object of numbers"),
        ('{"item": "p"}', "occurs twice"),
        ('{"overwinter_answers": 9}', "another format version"),
        ('{"overwinter_answers": 1, "planet": "x"}', "unknown header fields"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"item": "p", "correct": true, "confidence": 0.5}\n' + line + "\n")
    with pytest.raises(UsageError, match=message):
        read_answers(path)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read_answers(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UsageError, match="holds no answers"):
        read_answers(tmp_path / "empty.jsonl")


def test_a_report_has_intervals_calibration_cost_and_slices() -> None:
    found = summarise(_recording(), draws=50)
    json.dumps(found)
    assert found["score"]["method"] == "wilson"
    assert found["score"]["low"] < found["score"]["value"] < found["score"]["high"]
    assert found["modal"] is None
    stated, tail = found["calibration"]["stated"], found["calibration"]["tail"]
    assert stated["probability"]
    assert not stated["null_ece"]["distinguishable"]
    assert not tail["probability"]
    assert tail["auroc"] > 0.55
    assert tail["recalibrated"]["metrics"]["ece"]["value"] < 0.15
    assert found["cost"]["mean"]["tokens_in"] == 100
    assert set(found["slices"]["part"]) == {"first", "second"}
    assert found["slices"]["rare"]["x"] == {"questions": 1}


def test_samples_of_a_question_make_a_vote_and_an_agreement() -> None:
    found = summarise(_recording(samples=5, skill=0.65), draws=50)
    assert found["score"]["questions"] == 120
    assert found["score"]["samples"] == 600
    assert found["modal"]["value"] > found["score"]["value"]
    assert found["calibration"]["agreement"]["probability"]


def test_the_modal_answer_is_right_by_its_own_samples() -> None:
    rows = [
        Answer(item="q", sample=i, answer=a, correct=c) for i, (a, c) in enumerate([("x", 1.0), ("x", 0.0), ("y", 1.0)])
    ]
    nothing = Answer(item="r", answer=None, status="unparsed", correct=0.0)
    made = with_agreement(Recording(header=Header(), answers=(*rows, nothing)))
    assert [(a.answer, a.correct) for a in made.answers] == [("x", 1.0), (None, 0.0)]
    assert made.answers[0].confidence == {"agreement": pytest.approx(2 / 3)}


def test_confidences_that_are_missing_are_counted_not_invented() -> None:
    made = _recording(count=40)
    bare = [Answer(item=f"z{i}", correct=1.0) for i in range(7)]
    found = summarise(Recording(header=Header(), answers=(*made.answers, *bare)), draws=20)
    assert found["calibration"]["stated"]["missing"] == 7
    assert found["calibration"]["stated"]["samples"] == 40


def test_nothing_scored_is_refused() -> None:
    with pytest.raises(UsageError, match="none of the 1 answers is scored"):
        summarise(Recording(header=Header(), answers=(Answer(item="q"),)))


def test_two_recordings_are_compared_question_by_question() -> None:
    worse, better = _recording("worse", skill=0.5), _recording("better", skill=0.8)
    found = compared(worse, better)
    assert found["difference"] == pytest.approx(found["means"][1] - found["means"][0])
    assert found["p"] < 0.05
    assert found["only_first"] == 0
    brier = compared(worse, better, by="brier:stated")
    assert brier["test"] == "sign-flip"
    for by in ("brier:unknown", "speed"):
        with pytest.raises(UsageError):
            compared(worse, better, by=by)


def test_what_differs_beside_the_model_is_said() -> None:
    first = Recording(header=Header(model="a", suite="s", prompt="direct@1"), answers=_recording().answers, name="a")
    second = Recording(
        header=Header(model="b", suite="s", prompt="reason@1"), answers=_recording(seed=1).answers, name="b"
    )
    assert compared(first, second)["unlike"] == {"prompt": ["direct@1", "reason@1"]}
    assert compared(first, first)["unlike"] == {}


def test_samples_of_a_question_are_not_so_many_answers() -> None:
    """A confidence that is right of each question, of which all samples turn out alike: calibrated, and called so."""
    rng = random.Random(0)
    called_off = 0
    for seed in range(20):
        answers = []
        for item in range(60):
            chance = rng.choice([0.2, 0.5, 0.8])
            right = float(rng.random() < chance)
            answers += [
                Answer(item=f"q{item}", sample=n, answer=str(right), correct=right, confidence={"stated": chance})
                for n in range(8)
            ]
        made = calibrated(Recording(header=Header(), answers=tuple(answers), name=str(seed)), "stated", draws=20)
        assert made["null_ece"]["shared"]
        called_off += made["null_ece"]["distinguishable"]
    assert called_off <= 3
    single = calibrated(_recording(), "stated", draws=20)
    assert "shared" not in single["null_ece"]
