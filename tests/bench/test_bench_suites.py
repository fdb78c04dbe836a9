"""Suites: what is asked, what is told, how answers count. Data is made here, in the form of the public files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from overwinter.bench import suite as suite_module
from overwinter.bench.answers import Answer
from overwinter.bench.suite import STYLES, Item, Suite, choose, families, find, items_digest, register, suites
from overwinter.bench.suites.concordance import credit, figures, mode, weighted_kappa
from overwinter.bench.suites.dialogues import UNKNOWN, Facts
from overwinter.errors import UsageError


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    choice = {
        "realidx": 7,
        "question": "A man is shown in Figure A. What now?",
        "options": {"A": "rest", "B": "surgery", "C": "both", "D": "neither"},
        "answer_idx": "B",
    }
    for name in ("medqa", "medbullets", "pubmedqa"):
        _write(tmp_path / "agents" / f"{name}_test.jsonl", [choice])
    for name in ("medqa", "medbullets", "medmcqa", "mmlu", "mmlu-pro", "pubmedqa", "afrimedqa"):
        _write(tmp_path / "agents" / f"{name}_test_hard.jsonl", [choice])
    vignette = {
        "case_vignette": "A woman of 40 has had a cough for 3 weeks. She smokes 20 cigarettes a day. Her temperature is 38.5.",
        **{f"choice_{n}": name for n, name in enumerate(("Flu", "Cancer ", "Asthma", "Cold"), 1)},
        "answer": "Cancer",
        "category": "Pulmonology",
        "dataset": "made",
        "case_id": "case_0",
    }
    _write(tmp_path / "usmle_and_derm_dataset.csv", [vignette])
    calculation = {
        "Calculator ID": "6",
        "Note ID": "n1",
        "Patient Note": "Weighs 68 kg, is 182 cm tall.",
        "Question": "What is the body mass index?",
        "Category": "physical",
        "Output Type": "decimal",
        "Ground Truth Answer": "20.5",
        "Lower Limit": "19.5",
        "Upper Limit": "21.5",
    }
    _write(tmp_path / "one_shot_data.csv", [calculation])
    asked = {
        "id": 0,
        "question": "Which drug?",
        "context": ["A man of 21 has a fever.", "more"],
        "options": {"A": "one", "B": "two"},
        "answer_idx": "A",
        "facts": [
            "1. Patient is 21 years old.",
            "2. Patient has a fever.",
            "3. A culture shows bacteria.",
            "4. Patient has knee pain.",
        ],
        "patient": {"gpt_specialty": "Urology"},
    }
    _write(tmp_path / "all_dev_good.jsonl", [asked])
    _write(tmp_path / "all_craft_md.jsonl", [{key: value for key, value in asked.items() if key != "patient"}])
    osce = {
        "Objective_for_Doctor": "Find out why he sees double.",
        "Patient_Actor": {"History": "Sees double since May.", "Symptoms": {"Secondary": ["weak arms", "tired"]}},
        "Physical_Examination_Findings": {"Vital_Signs": {"Blood_Pressure": "125/80"}},
        "Test_Results": {"Imaging": {"Chest_CT": "normal"}},
        "Correct_Diagnosis": "Myasthenia gravis",
    }
    for name in ("agentclinic_medqa.jsonl", "agentclinic_medqa_extended.jsonl"):
        _write(tmp_path / name, [{"OSCE_Examination": osce}])
    script = {
        "id": "s",
        "vignette": "A man coughs.",
        "hypothesis": "pneumonia",
        "finding": "no fever",
        "panel": {"-1": 8, "0": 4, "-2": 2},
    }
    _write(tmp_path / "sct.jsonl", [script])
    _write(tmp_path / "gsm8k" / "test.jsonl", [{"question": "Two and two?", "answer": "2+2=<<2+2=4>>4\n#### 1,004"}])
    _write(
        tmp_path / "math500" / "test.jsonl",
        [{"problem": "Half?", "answer": r"\frac12", "subject": "Algebra", "level": 1, "unique_id": "u"}],
    )
    _write(tmp_path / "aime24_test.jsonl", [{"id": 1, "problem": "n?", "answer": "204"}])
    _write(tmp_path / "amc23_test.jsonl", [{"id": 1, "problem": "n?", "answer": 27.0}])
    _write(
        tmp_path / "hotpot_dev_v1_simplified.json",
        [{"question": "Same nationality?", "answer": "yes", "type": "comparison"}],
    )
    known = {"question_id": 1, "question": "Capital?", "answer": ["Paris"], "answerable": True, "source": "x"}
    unknown = {
        "question_id": 2,
        "question": "What comes after death?",
        "answer": None,
        "answerable": False,
        "source": "x",
    }
    (tmp_path / "SelfAware.json").write_text(json.dumps({"example": [known, unknown]}))
    talk = {
        "conversation": {
            "session_1_date_time": "7 May",
            "session_1": [{"speaker": "A", "dia_id": "D1:1", "text": "I paint lakes", "blip_caption": "a lake"}],
        },
        "qa": [
            {"question": "What does A paint?", "answer": "lakes", "evidence": ["D1:1"], "category": 4},
            {"question": "What does B paint?", "adversarial_answer": "hills", "evidence": ["D1:1"], "category": 5},
        ],
    }
    _write(tmp_path / "locomo10.json", [talk])
    return tmp_path


RIGHT = {
    "clinical": {"medcalc": "20.5", "craftmd-open": "cancer", "sct": "-1"},
    "reasoning": {
        "gsm8k": "1004",
        "math500": "0.5",
        "aime24": "204",
        "amc23": "27",
        "hotpotqa": "Yes.",
        "selfaware": "Paris",
    },
    "memory": {"locomo": "lakes"},
}


@pytest.mark.parametrize(
    "name", sorted(name for name, suite in suites().items() if suite.open is None and not suite.world)
)
@pytest.mark.parametrize("style", STYLES)
def test_each_suite_asks_and_knows_a_right_answer(data: Path, name: str, style: str) -> None:
    suite = find(name)
    item = suite.load(data, 0)[0]
    under_way = suite.begin(item, style)
    asked = under_way.prompt()
    assert item.question in asked
    assert "Answer:" in asked
    assert ("Confidence:" in asked) == (style == "reason")
    assert all(text in asked for text in item.options.values())
    right = item.gold if item.options else RIGHT.get(suite.family, {}).get(name, str(item.gold))
    assert under_way.hear(f"Thinking.\nAnswer: {right}\nConfidence: 0.7")
    found = under_way.scored()
    assert (found.correct, found.stated, found.status) == (1.0, 0.7, "ok")
    wrong = suite.begin(item, style)
    wrong.hear("I am not sure at all what to say")
    assert wrong.scored().correct in (0.0, 1.0 if name == "selfaware" else 0.0)


def test_every_suite_has_a_name_for_its_data(tmp_path: Path) -> None:
    for suite in suites().values():
        if suite.needs:
            with pytest.raises(UsageError, match="does not hold"):
                suite.load(tmp_path, 0)
        else:
            assert len(suite.load(None, 0)) >= 100


def test_made_questions_are_the_seed_s(tmp_path: Path) -> None:
    for name in ("arithmetic", "order", "riddle"):
        suite = find(name)
        assert items_digest(suite.load(None, 1)) == items_digest(suite.load(None, 1))
        assert items_digest(suite.load(None, 1)) != items_digest(suite.load(None, 2))
        golds = {str(item.gold) for item in suite.load(None, 0)}
        assert len(golds) >= 4


def test_figures_belong_to_a_question(data: Path) -> None:
    item = find("medqa").load(data, 0)[0]
    assert item.images == ("Figure A",)
    assert item.slices["modality"] == "text+image"


def test_a_family_is_all_its_suites_as_one(data: Path, tmp_path: Path) -> None:
    whole = find("clinical")
    items = whole.load(data, 0)
    assert {item.suite for item in items} == {suite.name for suite in families()["clinical"]}
    assert items[0].slices["suite"] == items[0].suite
    assert whole.begin(items[0], "direct").prompt()
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="no suite of 'clinical' has data"):
        whole.load(empty, 0)
    with pytest.raises(UsageError, match="played one by one"):
        find("worlds")


def test_a_draw_is_the_seed_s_and_keeps_the_order() -> None:
    items = find("order").load(None, 0)
    drawn = choose(items, 20, 3)
    assert drawn == choose(items, 20, 3)
    assert drawn != choose(items, 20, 4)
    assert [items.index(item) for item in drawn] == sorted(items.index(item) for item in drawn)
    with pytest.raises(UsageError, match="the same id"):
        choose([*items, items[0]], None, 0)


def test_a_suite_of_one_s_own_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite_module, "_SUITES", suites())
    suite = Suite(name="mine-alone", family="mine", about="", load=lambda *_: [])
    assert register(suite) is register(suite)
    with pytest.raises(UsageError, match="already"):
        register(Suite(name="mine-alone", family="mine", about="", load=lambda *_: []))
    with pytest.raises(UsageError, match="there is no suite"):
        find("nonesuch")


# Dialogues


def test_a_case_tells_what_it_is_asked_and_records_each_turn(data: Path) -> None:
    suite = find("mediq")
    item = suite.load(data, 0)[0]
    case = suite.begin(item, "reason")
    assert "A man of 21 has a fever." in case.prompt()
    assert "culture" not in case.prompt()
    assert not case.hear("Answer: B\nConfidence: 0.3\nAction: ASK: What did the cultures of the joint show?")
    assert case.prompt() == "A culture shows bacteria."
    assert not case.hear("Answer: A\nConfidence: 0.6\nAction: ASK does anybody in the family own a parrot?")
    assert case.prompt() == UNKNOWN
    assert not case.hear("Answer: A\nConfidence: 0.6\nAction: ASK anything else?")
    assert case.hear("Answer: A\nConfidence: 0.9\nAction: DONE")
    found = case.scored()
    assert (found.answer, found.correct, found.stated) == ("A", 1.0, 0.9)
    assert case.asked == 3
    assert [turn.act for turn in case.turns] == ["ask", "ask", "ask", "answer"]
    assert [turn.correct for turn in case.turns] == [0.0, 1.0, 1.0, 1.0]
    assert [turn.information for turn in case.turns] == [0.0, 0.25, 0.25, 0.5]


def test_a_case_ends_by_itself_and_says_so(data: Path) -> None:
    suite = find("mediq")
    case = suite.begin(suite.load(data, 0)[0], "reason")
    for turn in range(15):
        assert not case.hear("Answer: B\nAction: ASK fever?"), turn
    assert "last answer" in case.prompt()
    assert case.hear("Answer: B\nAction: ASK fever?")
    assert case.scored().correct == 0.0
    mute = suite.begin(suite.load(data, 0)[0], "reason")
    assert not mute.hear("Hello!")
    assert "three lines" in mute.prompt()
    assert mute.scored().status == "unparsed"
    plain = suite.begin(suite.load(data, 0)[0], "reason")
    assert plain.hear("Answer: A")


def test_tests_that_report_pictures_are_a_modality(data: Path) -> None:
    suite = find("agentclinic")
    case = suite.begin(suite.load(data, 0)[0], "reason")
    case.hear("Answer: stroke\nConfidence: 0.2\nAction: ASK chest CT")
    assert "Imaging, Chest CT: normal." in case.prompt()
    assert "weak arms; tired" in " ".join(suite.load(data, 0)[0].facts)
    assert case.hear("Answer: Ocular myasthenia gravis\nConfidence: 0.8\nAction: DONE")
    assert case.turns[1].modality == "image report"
    assert case.scored().correct == 1.0


def test_facts_are_found_by_their_rare_words() -> None:
    facts = Facts(["The man denied fever.", "The man denied chills.", "The man has a rash on his leg."])
    assert facts.tell("Do you have any rashes?") == ["The man has a rash on his leg."]
    assert facts.tell("Any fevers or chills?") == ["The man denied fever.", "The man denied chills."]
    assert facts.share == 1.0
    assert facts.tell("Tell me more about your symptoms") == []


def test_craft_dialogues_begin_with_one_sentence(data: Path) -> None:
    suite = find("craftmd-dialogue")
    item = suite.load(data, 0)[0]
    assert item.facts == (
        "A woman of 40 has had a cough for 3 weeks.",
        "She smokes 20 cigarettes a day.",
        "Her temperature is 38.5.",
    )
    assert "cigarettes" not in suite.begin(item, "reason").prompt()


# Script concordance


def test_credit_is_the_panel_s() -> None:
    panel = {-2: 2, -1: 8, 0: 4}
    assert [credit(panel, answer) for answer in (-2, -1, 0, 1)] == [0.25, 1.0, 0.5, 0.0]
    assert mode(panel) == -1
    assert mode({-2: 3, 1: 3}) == 1


def test_overreaction_is_shown() -> None:
    answers = [
        Answer(item=str(n), answer=said, slices={"mode": gold})
        for n, (said, gold) in enumerate([("2", "1"), ("-2", "-1"), ("0", "0"), ("2", "-1")])
    ]
    found = figures(answers)
    assert found["extreme_answers"] == 0.75
    assert found["extreme_answers_of_the_panel's_modes"] == 0.0
    assert found["right_direction"] == 0.75
    assert figures([Answer(item="x")]) == {}


def test_kappa_is_that_of_the_definition() -> None:
    # Observed disagreement 3 / 4; by chance, over all 16 pairs of an answer and a mode, 20 / 16.
    assert weighted_kappa([(0, 0), (1, 1), (2, 0), (0, 1)]) == pytest.approx(
        1 - (3 / 4) / (sum(abs(a - b) for a in (0, 1, 2, 0) for b in (0, 1, 0, 1)) / 16)
    )
    assert weighted_kappa([(1, 1), (1, 1)]) is None


@pytest.mark.parametrize("panel", [{"3": 1}, {}, None, "x", [5], {"0": -1, "1": 2}])
def test_a_panel_that_cannot_be_read_is_named(tmp_path: Path, panel: Any) -> None:
    _write(tmp_path / "sct.jsonl", [{"id": "s9", "vignette": "", "hypothesis": "", "finding": "", "panel": panel}])
    with pytest.raises(UsageError, match="'s9'"):
        find("sct").load(tmp_path, 0)


@pytest.mark.parametrize(
    ("text", "answer"),
    [("Answer: −2", "-2"), ("Answer: +1", "1"), ("Answer: 0", "0"), ("Answer: 3", None), ("Answer: 1.5", None)],
)
def test_answers_on_the_scale_are_read(data: Path, text: str, answer: str | None) -> None:
    suite = find("sct")
    case = suite.begin(suite.load(data, 0)[0], "direct")
    case.hear(text)
    assert case.scored().answer == (None if answer is None else str(int(answer)))


def test_what_nobody_said_is_not_mentioned(data: Path) -> None:
    suite = find("locomo")
    said, unsaid = suite.load(data, 0)
    assert "A: I paint lakes (shows a picture: a lake)" in said.question
    assert unsaid.slices["category"] == "not said"
    case = suite.begin(unsaid, "direct")
    case.hear("Answer: not mentioned")
    assert case.scored().correct == 1.0


def test_items_keep_their_parts() -> None:
    assert items_digest([Item(id="a", question="q", gold=1)]) != items_digest([Item(id="a", question="q", gold=2)])
