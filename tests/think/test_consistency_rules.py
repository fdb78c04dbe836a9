"""The rule path: what contradicts, what only looks so, and what is no claim at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.think.consistency import KINDS, check_text
from overwinter.think.consistency.figures import days_in, number_of
from overwinter.think.consistency.phrases import DEVELOPMENT, UNREAL, WORDS
from overwinter.think.consistency.planted import Planter
from overwinter.think.consistency.scoring import score, total
from overwinter.think.consistency.slots import PLANTABLE, in_words
from overwinter.think.consistency.text import Text, count_words

BETWEEN = "\n\nThe rain went on, and nothing else happened in the long street behind the market.\n\n"

CONTRADICTIONS = [
    ("age", "Anna Moll was thirty in 1860.", "In 1860 Anna Moll, a woman of forty-one, kept the inn."),
    ("age_birth", "Anna Moll was born in 1840.", "In 1870 Anna Moll was 52 years old."),
    ("birth", "Anna Moll was born in 1840.", "Born in 1846, Anna Moll was an only child."),
    ("event_date", "The fire at Marley broke out on 3 May 1871.", "The fire at Marley was on June 9, 1871."),
    ("order", "The fire at Marley was before the siege of Tarn.", "After the siege of Tarn came the fire at Marley."),
    ("duration", "The siege of Tarn lasted three weeks.", "The siege of Tarn lasted ninety days."),
    ("place", "On 3 May 1871 Anna Moll was in Marley.", "Anna Moll spent 3 May 1871 in Tarnow."),
    ("death", "Anna Moll died in 1871.", "In 1873 Anna Moll bought a boat."),
    ("alive", "Anna Moll died that night.", "Anna Moll opened the door and laughed."),
    ("eyes", "Anna Moll had blue eyes.", "Anna Moll's eyes were brown."),
    ("hair", "Anna Moll had long red hair.", "Anna Moll's hair was black."),
    ("name", "They sent for Anna Philips.", "It was Anna Phillips who came."),
    ("title", "Captain John Moll came in.", "They wrote to Admiral John Moll."),
    ("kinship", "Anna Moll was the sister of Peter Hart.", "Anna Moll, Peter Hart's aunt, came too."),
    ("quantity", "Marley Hall had twelve rooms.", "There were 15 rooms in Marley Hall."),
    ("measure", "Marley Tower was 90 feet high.", "Marley Tower rose sixty feet high."),
    ("price", "The Marley diamond cost £400.", "They paid six hundred pounds for the Marley diamond."),
    ("distance", "Marley lay nine miles from Tarn.", "From Tarn to Marley it was 14 miles."),
    ("direction", "Marley lies north of Tarn.", "Marley lay to the south of Tarn."),
    ("rule", "Anna Moll never drank wine.", "That evening Anna Moll drank wine."),
    ("law", "In Marley nobody ever rode a horse.", "Anna Moll rode a horse in Marley."),
]
CONSISTENT = [
    ("the same in other units", "The siege of Tarn lasted three weeks.", "The siege of Tarn lasted 21 days."),
    ("time passes", "Anna Moll was thirty in 1860.", "Anna Moll was 35 in 1865."),
    ("another person", "Anna Moll had blue eyes.", "Anna Hart had brown eyes."),
    ("speech", "Anna Moll had blue eyes.", "“Anna Moll had brown eyes,” he lied."),
    ("straight quotes", "Anna Moll had blue eyes.", '"Anna Moll had brown eyes," he said.'),
    ("a dream", "Anna Moll had blue eyes.", "He dreamt that Anna Moll had brown eyes."),
    ("a condition", "Anna Moll died in 1871.", "If Anna Moll bought a boat in 1873, nobody knew of it."),
    ("a question", "Anna Moll died in 1871.", "Was Anna Moll born in 1873?"),
    ("a denial", "Anna Moll was born in 1840.", "It is not true that Anna Moll was born in 1846."),
    ("dye", "Anna Moll had red hair.", "Anna Moll dyed it, and now Anna Moll's hair was black."),
    ("a promotion", "Captain John Moll came in.", "John was promoted, and Major John Moll had two rooms."),
    ("what had never happened", "Anna Moll had never ridden a horse.", "The next day Anna Moll rode a horse."),
    ("ageing", "Peter Hart had black hair.", "Peter Hart had white hair."),
    ("seen from the other side", "Marley lies north of Tarn.", "Tarn lay south of Marley."),
    ("about", "Marley Tower was about 90 feet high.", "Marley Tower was 95 feet high."),
    ("two dimensions", "Marley Tower was 90 feet high.", "Marley Tower was 20 feet wide."),
    ("before death", "Anna Moll died in 1871.", "In 1869 Anna Moll bought a boat."),
    ("part of the place", "On 3 May 1871 Anna Moll was in Marley.", "On 3 May 1871 Anna Moll was in Marley Street."),
]


@pytest.mark.parametrize(("kind", "first", "second"), CONTRADICTIONS, ids=[row[0] for row in CONTRADICTIONS])
def test_two_statements_that_cannot_both_hold(kind: str, first: str, second: str) -> None:
    text = f"{first}{BETWEEN}{second}\n"
    found = [finding for finding in check_text(text).findings if finding.kind == kind]
    assert [(one.first.text, one.second.text) for one in found] == [(first, second)]
    (one,) = found
    assert text[one.first.first : one.first.last] == one.first.text
    assert text[one.second.first : one.second.last] == one.second.text
    assert (one.first.line, one.second.line) == (1, 5)
    assert one.subtype == KINDS[kind].subtype
    assert 0.5 < one.confidence < 1


@pytest.mark.parametrize(("why", "first", "second"), CONSISTENT, ids=[row[0] for row in CONSISTENT])
def test_what_only_looks_like_a_contradiction(why: str, first: str, second: str) -> None:
    assert not check_text(f"{first}{BETWEEN}{second}").findings, why


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("weekday", "They left on Monday, 4 May 1875.", "They left on Tuesday, 4 May 1875."),
        (
            "elapsed",
            "From 1860 to 1872, for nine years, it stood empty.",
            "From 1860 to 1872, for twelve years, it stood empty.",
        ),
        ("list_count", "He took three things: a map and a ring.", "He took three things: a map, a knife and a ring."),
    ],
)
def test_a_statement_that_contradicts_itself(kind: str, wrong: str, right: str) -> None:
    (one,) = check_text(wrong).findings
    assert (one.kind, one.first.text) == (kind, wrong)
    assert one.second.text in wrong
    assert one.second.text == wrong[one.second.first : one.second.last] != wrong
    assert not check_text(right).findings


def test_every_kind_is_tested_and_can_be_planted() -> None:
    assert {row[0] for row in CONTRADICTIONS} | {"weekday", "elapsed", "list_count"} == set(KINDS) == set(PLANTABLE)


def test_only_the_kinds_asked_for() -> None:
    text = f"Anna Moll had blue eyes and was born in 1840.{BETWEEN}Anna Moll had brown eyes.{BETWEEN}Anna Moll was born in 1850."
    assert {one.kind for one in check_text(text).findings} == {"eyes", "birth"}
    assert {one.kind for one in check_text(text, kinds=["eyes"]).findings} == {"eyes"}
    with pytest.raises(UsageError, match="no kind"):
        check_text(text, kinds=["tone"])


def test_a_text_the_rules_cannot_read_is_not_called_clean() -> None:
    german = "Der Hof lag still in der Sonne, und niemand ging über die Straße, weil alle auf dem Feld waren. " * 5
    report = check_text(german)
    assert report.status == "not checked"
    assert report.problems


def test_chinese_words_are_counted() -> None:
    assert count_words("他在一八七一年五月三日到达了那个村庄。") == 9
    assert count_words("one two-three don't 42") == 4
    assert count_words("") == 0


@given(st.integers(0, 999))
def test_numbers_in_words_mean_what_they_say(number: int) -> None:
    assert number_of(in_words(number)) == number


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("a dozen", 12),
        ("two thousand and five", 2005),
        ("1,250", 1250),
        ("five and twenty", 25),
        ("two three", None),
        ("150 million", 1.5e8),
    ],
)
def test_numbers(words: str, value: float | None) -> None:
    assert number_of(words) == value


def test_dates_in_several_forms() -> None:
    text = "3 May 1871, May 3, 1871, the third of May 1871, 1871-05-03, the 3rd of May, May 1871, 31 February 1871"
    assert [day.key for day in days_in(text)] == [(1871, 5, 3)] * 4 + [(0, 5, 3), (1871, 5, 0)]


@given(st.text(alphabet=st.sampled_from("Aa bé中.!?\"'“”‘’\n #3£"), max_size=300))
def test_masks_keep_their_length_and_any_text_is_read(text: str) -> None:
    read = Text(text)
    assert len(read.narration) == len(text)
    for sentence in read.sentences:
        assert read.narration[sentence.first : sentence.last] == sentence.words
    for finding in check_text(text).findings:
        assert text[finding.first.first : finding.first.last] == finding.first.text


HOST = "\n\n".join(
    f"The road went down to the mill, and beyond it the fields were wet and grey for as far as one could see; turn {n} of it was steep."
    for n in range(150)
)


@pytest.mark.parametrize("seed", range(3))
def test_planted_contradictions_are_found_and_decoys_are_not(seed: int) -> None:
    document = Planter(DEVELOPMENT, WORDS, UNREAL, seed).document(HOST, PLANTABLE)
    report = check_text(document.text)
    scored = total([score(document, report.findings, report.words)])
    assert sum(scored.found.values()) >= 0.9 * sum(scored.planted.values())
    assert sum(scored.wrong(kind) for kind in KINDS) == 0
    assert scored.exact == scored.quotes > 0


def test_the_same_seed_plants_the_same() -> None:
    one, two = (Planter(DEVELOPMENT, WORDS, UNREAL, 5).document(HOST, ["age", "eyes"]) for _ in range(2))
    assert one == two
    for planted in one.planted:
        for first, last in planted.spans:
            assert one.text[first:last].strip()[-1] in '.”"?!'
    with pytest.raises(UsageError, match="do not fit"):
        Planter(DEVELOPMENT, WORDS, UNREAL, 5).document("Too short.", ["age"])
