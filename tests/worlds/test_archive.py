"""The archive: its story follows from the seed, its facts are said once, and only who remembers them succeeds."""

from __future__ import annotations

import json
import re

import pytest

from overwinter.errors import UsageError
from overwinter.worlds import open_policy, open_world, policy_names, state_key
from overwinter.worlds.archive import Archive, ClerkPolicy, Config
from overwinter.worlds.archive.story import DOCUMENT, LETTER, OPTIONS, VISITOR, make_story
from overwinter.worlds.world import Reader

SMALL = Config(letters=9, documents=30)


def play(world: Archive, seed: int, *, well: bool = True) -> Archive:
    world.reset(seed)
    story = make_story(seed, SMALL)
    for event in story:
        assert event.right in world.actions() == event.actions
        world.step(event.right if well or event.kind != VISITOR else event.actions[0])
    return world


@pytest.mark.parametrize("seed", range(5))
def test_the_right_answers_succeed_and_guesses_fail(seed: int) -> None:
    best = play(Archive(SMALL), seed).outcome()
    assert (best.success, best.score) == (True, 100.0)
    guessed = play(Archive(SMALL), seed, well=False).outcome()
    assert guessed.success is False
    assert guessed.score < 60


@pytest.mark.parametrize("seed", range(5))
def test_facts_are_told_once_at_the_beginning_and_asked_in_the_second_half(seed: int) -> None:
    story = make_story(seed, SMALL)
    assert [event.kind for event in story[:9]] == [LETTER] * 9
    papers = [event.kind for event in story[9:]]
    assert papers.count(DOCUMENT) == 30
    assert papers.count(VISITOR) == 9
    assert VISITOR not in papers[:15]
    assert papers[-1] == VISITOR
    told = [event.text for event in story if event.kind == LETTER]
    for visitor in (event for event in story if event.kind == VISITOR):
        thing = visitor.right.partition(" ")[2]
        (letter,) = [text for text in told if thing in text]
        name = re.findall(r"code of the ([\w ]+)\?|does the (\w+) lie|promised to (\w+)\?", visitor.text)[0]
        assert any(each and each in letter for each in name)
        assert len(set(visitor.actions)) == OPTIONS
        answers = [re.search(rf"\b{thing}\b", event.text) for event in story if event.kind == DOCUMENT]
        assert not any(found and name[0] and name[0] in found.string for found in answers)


def test_the_same_seed_is_the_same_story_and_a_snapshot_goes_on() -> None:
    assert make_story(3, SMALL) == make_story(3, SMALL)
    assert make_story(3, SMALL) != make_story(4, SMALL)
    world, other = Archive(SMALL), Archive(SMALL)
    world.reset(3)
    for _ in range(20):
        world.step(world.actions()[-1])
    seen = other.restore(json.loads(json.dumps(world.snapshot())))
    assert seen.text == world.step(world.actions()[0]).observation.text or other.actions() != ()
    other.step(other.actions()[0])
    assert other.snapshot() == world.snapshot()
    assert state_key(other) == state_key(world)
    with pytest.raises(UsageError, match="not possible now"):
        world.step("sleep")


@pytest.mark.parametrize(
    "name", ["archive:letter=3", "archive:letters=0", "archive:letters=99", "archive:documents=1", "archive:"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        open_world(name)


def test_names() -> None:
    assert open_world("archive").name == "archive"
    assert open_world("archive:letters=9,documents=30").name == "archive:letters=9,documents=30"
    assert policy_names("archive") == ("random", "clerk")
    assert isinstance(open_policy("archive", "clerk"), Reader)
    assert not isinstance(open_policy("archive", "random"), Reader)
    assert not isinstance(open_policy("greenhouse", "rules"), Reader)


def test_the_clerk_reads_what_is_in_view_and_nothing_else() -> None:
    clerk = ClerkPolicy()
    options = ("answer 1111", "answer 4711", "answer 2222")
    seen = '<data from="entry 90" fence="x">\nVisitor 1 of 9. What is the code of the jade vault?\n</data fence="x">'
    told = '<data from="entry 4" fence="y">\nLetter 2 of 9. The code of the jade vault is 4711. So.\n</data fence="y">'
    misled = '<data from="entry 5" fence="z">\nDocument 2 of 9. It mentions a jade vault and the number 1111.\n</data fence="z">'
    assert clerk.read([told, misled, seen, "status"], (), options) == "answer 4711"
    assert clerk.read([misled, seen, "status"], (), options) == "answer 1111", "the first of the list: a guess"
    asked = json.loads(clerk.read([misled, seen, "status"], ("find",), options))
    assert asked == {"tool": "find", "arguments": {"query": "code of the jade vault", "k": 5}}
    found = '<data from="find code of the jade vault" fence="q">\nentry 4 (in letters-1@1): tool: Letter 2 of 9. The …\n</data fence="q">'
    asked = json.loads(clerk.read([seen, found, "status"], ("find", "read"), options))
    assert asked == {"tool": "read", "arguments": {"handle": "letters-1@1", "page": 1}}
    paper = '<data from="entry 9" fence="p">\nDocument 3 of 9. It is a record of tolls. So.\n</data fence="p">'
    assert clerk.read([seen, told, paper, "status"], (), ("file under debts", "file under tolls")) == "file under tolls"
