"""What sentences state, and what questions to the claims answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from claim_kit import DAY, START, learned, rows, standing, unit

from overwinter.memory.claims import query, statements_of
from overwinter.memory.claims.statement import plain_reason
from overwinter.memory.unit import INJECTED, INSTRUCTION, OWN, UNTRUSTED, AsOf, Unit

STATED = [
    ("Bob's phone number is 5551.", "bob", "phone number", "5551"),
    ("My favourite colour is blue.", "user", "favourite colour", "blue"),
    ("As of Monday Bob's phone number is now 12.", "bob", "phone number", "12"),
    ("Alice lives in Rome.", "alice", "home", "Rome"),
    ("I'm allergic to nuts.", "user", "allergic to", "nuts"),
    ("Alice told me that she works at Acme.", "alice", "employer", "Acme"),
    ("The price of the ticket went up to 30 euros.", "ticket", "price", "30 euros"),
    ("Set the mode of pump 3 to eco.", "pump 3", "mode", "eco"),
    ("Remember that my doctor is Dr. Smith.", "user", "doctor", "Dr. Smith"),
    ("Bob is 31 years old.", "bob", "age", "31"),
    ("Alice is a nurse.", "alice", "is a", "a nurse"),
    ("The door is open now.", "door", "state", "open"),
    ("Bob has a new phone number: 777.", "bob", "phone number", "777"),
    ("Bob uses Linux as his operating system.", "bob", "operating system", "Linux"),
    ("Carol prefers tea.", "carol", "prefers", "tea"),
    ("I speak Portuguese.", "user", "speaks", "Portuguese"),
    ("Acme replaced Initech as Bob's employer.", "bob", "employer", "Acme"),
    ("Alice B. Smith lives in shelf C. The rest is silence.", "alice b. smith", "home", "shelf C"),
]

SILENT = [
    "Is Bob's phone 12?",
    "If Bob's phone is 12, call him.",
    "It is important that you come.",
    "She lives in Rome.",
    "Life is tough.",
    "I had a great time with my friends.",
    "Sounds like a plan.",
    "It's gonna be my 4th one.",
    "Bob might move to Rome.",
    "Losing a pet is hard.",
    "Thanks for having my back!",
    "You've got so much talent, keep going for it!",
    "My sister said it was fun.",
    "There is a lot to do.",
    "The party was awesome.",
]


@pytest.mark.parametrize(("text", "subject", "predicate", "object_"), STATED, ids=[case[0] for case in STATED])
def test_a_sentence_states_a_fact(text: str, subject: str, predicate: str, object_: str) -> None:
    assert (subject, predicate, object_) in {
        (one.subject, one.predicate, one.object) for one in statements_of(unit(text)) if one.polarity
    }


@pytest.mark.parametrize("text", SILENT)
def test_chatter_states_nothing(text: str) -> None:
    assert statements_of(unit(text)) == []


@pytest.mark.parametrize(("text", "subject", "predicate", "object_"), STATED, ids=[case[0] for case in STATED])
def test_evidence_literally_holds_the_object(text: str, subject: str, predicate: str, object_: str) -> None:
    for one in statements_of(unit("Hello there. " + text + " Bye.")):
        assert one.object in ("Hello there. " + text + " Bye.")[one.first : one.last]


def test_injected_text_and_orders_are_never_learnt_from() -> None:
    for flag in (INJECTED, INSTRUCTION):
        assert statements_of(unit("Bob's mode is eco.", flags=frozenset({flag}))) == []


def test_lines_and_json_of_tools_are_read() -> None:
    lines = unit("temperature: 5.3\npump.mode = eco", actor="world:greenhouse", trust=UNTRUSTED, kind="tool_result")
    assert [(one.subject, one.predicate, one.object) for one in statements_of(lines)] == [
        ("greenhouse", "temperature", "5.3"),
        ("pump", "mode", "eco"),
    ]
    data = unit('{"temperature": 5.3, "mode": "eco"}', actor="tool:read", trust=UNTRUSTED, kind="tool_result")
    assert [(one.predicate, one.object) for one in statements_of(data)] == [("temperature", "5.3"), ("mode", "eco")]
    for one in statements_of(data):
        assert one.object in data.text[one.first : one.last]


def test_facts_as_data_are_taken_as_they_are() -> None:
    note = unit("The pump was looked at; eco it is.", 1)
    fact = {"subject": "The Pump", "predicate": "mode", "object": "eco", "valid_from_us": START}
    index = learned([note], facts={note.id: [fact]})
    claim = query.current(index, "the pump", "mode")
    assert claim is not None
    assert (claim.object, claim.valid_from_us, claim.known_from_us) == ("eco", START, START + DAY)
    assert claim.confidence > 0.9


def test_an_extractor_passes_the_same_check() -> None:
    def model(_: Unit) -> Iterable[Mapping[str, Any]]:
        yield {"subject": "Bob", "predicate": "pet", "object": "a parrot"}
        yield {"subject": "Bob", "predicate": "pet", "object": "a dragon"}
        yield {"subject": "Carol", "predicate": "pet", "object": "a parrot"}

    text = "At Bob 's place there is of course a parrot that talks."
    made = statements_of(unit(text), extractor=model)
    assert [(one.subject, one.object) for one in made if one.predicate == "pet"] == [("bob", "a parrot")]


# Questions


def test_current_previous_history_and_count() -> None:
    index = learned(
        [unit(f"Bob's mode is {mode}.", day) for day, mode in enumerate(("eco", "boost", "boost", "manual"))]
    )
    current, previous = query.current(index, "Bob", "mode"), query.previous(index, "Bob", "mode")
    assert current is not None
    assert previous is not None
    assert (current.object, previous.object) == ("manual", "boost")
    assert [claim.object for claim in query.history(index, "Bob's", "the mode")] == ["eco", "boost", "manual"]
    assert query.change_count(index, "bob", "mode") == 2
    assert query.change_count(index, "bob", "mode", known_us=START + DAY) == 1
    assert (previous.superseded_by, plain_reason(previous)) == (current.id, "newer")


def test_a_value_that_comes_back_is_a_new_claim() -> None:
    index = learned([unit(f"Bob's mode is {mode}.", day) for day, mode in enumerate(("eco", "boost", "eco"))])
    assert [claim.object for claim in query.history(index, "bob", "mode")] == ["eco", "boost", "eco"]


def test_absence_is_known_and_says_what_was_last() -> None:
    index = learned([unit("Bob's mode is eco.", 0), unit("Bob's mode is no longer eco.", 3)])
    known = query.known(index, "bob", "mode")
    assert known.absent
    assert known.value is None
    assert known.last is not None
    assert (known.last.object, known.last.valid_to_us, known.reason) == ("eco", START + 3 * DAY, "denied")
    assert not query.known(index, "carol", "mode").absent


def test_possessions_stand_side_by_side_and_go_one_by_one() -> None:
    index = learned([unit("Bob has a red car.", 0), unit("Bob has a canoe.", 1), unit("Bob sold his car.", 2)])
    assert not query.has(index, "Bob", "has", "car")
    assert query.has(index, "Bob", "has", "a canoe")
    assert query.has(index, "Bob", "has", "red car", at=AsOf(valid_us=START + DAY))


def test_a_cascade_puts_what_follows_in_doubt() -> None:
    units = [
        unit("Carol lives in Lyon.", 0),
        unit("Carol's tax office is Q7 because she lives in Lyon.", 1),
        unit("Carol's fee is 5 euros because Carol's tax office is Q7.", 2),
        unit("Carol moved to Oslo.", 9),
    ]
    index = learned(units)
    for predicate in ("tax office", "fee"):
        known = query.known(index, "Carol", predicate)
        assert known.in_doubt
        assert known.value is None
        assert known.last is not None
        assert known.last.valid_to_us == START + 9 * DAY
    before = query.known(index, "Carol", "fee", at=AsOf(valid_us=START + 5 * DAY))
    assert before.value is not None
    again = learned([*units, unit("Carol's tax office is Q7.", 20)])
    assert query.current(again, "Carol", "tax office") is not None


def test_an_untrusted_source_contradicts_and_ends_nothing() -> None:
    index = learned(
        [unit("Bob's mode is eco.", 0), unit("Bob's mode is boost.", 1, trust=UNTRUSTED, actor="tool:fetch")]
    )
    known = query.known(index, "bob", "mode")
    assert known.value is not None
    assert known.value.object == "eco"
    assert [claim.object for claim in known.beside] == ["boost"]
    assert [evidence.supports for evidence in known.value.evidence] == [True, False]
    assert [(cited.actor, supports) for cited, _, supports in query.cited(index, known.value)] == [
        ("user", True),
        ("tool:fetch", False),
    ]


def test_a_correction_takes_the_wrong_value_out_of_all_times_since_it_was_made() -> None:
    index = learned([unit("Bob's code is 21.", 0), unit("Correction: Bob's code is 12, not 21.", 5)])
    day_two = START + 2 * DAY
    now = query.known(index, "bob", "code", at=AsOf(valid_us=day_two))
    then = query.known(index, "bob", "code", at=AsOf(valid_us=day_two, known_us=START + 3 * DAY))
    assert now.value is not None
    assert then.value is not None
    assert (now.value.object, then.value.object) == ("12", "21")


def test_until_and_used_to_reach_back() -> None:
    index = learned([unit("Bob lived in Rome until 3 January 2031.", 5), unit("Alice used to live in Oslo.", 5)])
    assert query.current(index, "bob", "home") is None
    rome = query.known(index, "bob", "home", at=AsOf(valid_us=START)).value
    oslo = query.known(index, "alice", "home", at=AsOf(valid_us=START)).value
    assert rome is not None
    assert oslo is not None
    assert (rome.object, oslo.object) == ("Rome", "Oslo")
    assert query.current(index, "alice", "home") is None


def test_promises_have_a_due_date_and_are_kept() -> None:
    index = learned(
        [unit("I'll send the report by 10 January 2031.", 1), unit("I will call Ann by 7 January 2031.", 2)]
    )
    assert [(one.claim.object.split()[0], one.due_us) for one in query.promises(index)] == [
        ("call", START + 7 * DAY),
        ("send", START + 10 * DAY),
    ]
    kept = learned([unit("I sent the report as promised.", 4)], index=index)
    assert [one.claim.object.split()[0] for one in query.promises(kept, subject="user")] == ["call"]


def test_an_agent_that_repeats_what_it_was_told_adds_nothing() -> None:
    told = [unit("Bob's mode is eco.", 0), unit("Bob lives in Porto.", 0, seq=1)]
    before = standing(learned(told))
    loop = [
        unit(text, 1 + number / 10, actor="agent", trust=OWN, seq=number)
        for number in range(100)
        for text in (f"As I recall, {told[number % 2].text}", told[number % 2].text)
    ]
    assert standing(learned([*told, *loop], batch=20)) == before


def test_ids_follow_from_the_words_alone() -> None:
    units = [unit("Bob's mode is eco.", 0), unit("Bob's mode is boost.", 1)]
    assert rows(learned(units)).keys() == rows(learned(units, batch=1)).keys()
