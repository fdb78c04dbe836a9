"""The tools of working memory: content is the journal's, handles never change, errors change nothing and say what would do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from loop_kit import ALLOW_ALL, FINISH, begin, call, counting, goal, of_kind, receipts, resume, shown
from loop_memory_kit import QUIET, FakeRecaller, memory_parts, say, snow, unit

from overwinter.errors import StoreError, UsageError
from overwinter.journal import unpack
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.fork import fork
from overwinter.loop.memory.settings import MemorySettings, RecallSettings, parse_memory
from overwinter.loop.memory.view import content_text, find_handle
from overwinter.loop.model import View
from overwinter.loop.replay import replay
from overwinter.loop.run import Run
from overwinter.loop.session import Parts, fold
from overwinter.loop.setup import build_parts

GOAL = goal({"kind": "none"}, text="Keep the keys")
KEYS = "The code of the north gate is 4711."


def keep(handle: str, selection: Any, **more: Any) -> dict[str, Any]:
    return {"handle": handle, "description": f"about {handle}", "selection": selection, **more}


def compress(*rows: dict[str, Any], summary: str = "The codes are kept.") -> Any:
    return call("compress", summary=summary, keep=list(rows))


def play(store: SqliteStore, script: list[Any], *, name: str = "r", **more: Any) -> list[View]:
    model = counting([*script, FINISH])
    with begin(store, memory_parts(model, [say, snow], **{"window_tokens": 1500, **more}), GOAL, name=name) as run:
        assert run.finish() == "unverified"
    return model.views


FACTS = [
    call("say", words=KEYS),
    call("say", words="the  mill\nstands still"),
    call("say", words="a goose is owed to Nils"),
]
"""Entries: 1-4 (intent, completion, effect intent, receipt), 5-8, 9-12."""


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("4", [[4, 4]]),
        ("2-4, 8", [[2, 4], [8, 8]]),
        ("#2 - #4,4", [[2, 4]]),
        ({"entries": "2-4"}, [[2, 4]]),
        ({"start": "the north gate", "mid": "4711", "end": "the  mill\nstands"}, [[2, 2], [4, 4], [6, 6], [8, 8]]),
        (
            {"start": "north gate is 4711", "mid": "the mill stands", "end": "a goose"},
            [[4, 4], [6, 6], [8, 8], [10, 10]],
        ),
        ({"query": "code of a gate"}, [[2, 2], [4, 4]]),
    ],
)
def test_a_selection_means_entries_of_the_journal(store: SqliteStore, selection: Any, expected: Any) -> None:
    play(store, [*FACTS, compress(keep("codes", selection))])
    assert of_kind(store, "handle.made")[0].body["entries"] == expected


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (keep("codes", "4-2"), "the smaller number first"),
        (keep("codes", "2-4000"), "entries are numbered 0 to"),
        (keep("codes", "the gate"), "is no range of entries"),
        (keep("codes", {"start": "goose", "mid": "mill", "end": "gate"}), "do not stand in this order"),
        (
            keep("codes", {"start": "4711", "mid": "nowhere said", "end": "goose"}),
            "'nowhere said' does not stand in the view",
        ),
        (keep("codes", {"start": "4711", "end": "goose"}), "is none; write selection as"),
        (keep("codes", {"query": "zeppelin"}), "no entry in view has a word"),
        (keep("two words", "4"), "name the handle with 1 to 64 letters"),
        ({"handle": "codes", "selection": "4"}, 'give "handle", "description" and "selection"'),
        ({**keep("codes", "4"), "content": "my retelling"}, 'give "handle", "description" and "selection"'),
        ({**keep("codes", "4"), "description": " "}, "describe what codes holds"),
    ],
)
def test_what_does_not_fit_changes_nothing(store: SqliteStore, row: dict[str, Any], says: str) -> None:
    views = play(store, [*FACTS, compress(keep("fine", "4"), row)])
    ok, text = receipts(store)[3]
    assert not ok
    assert says in text
    assert "keep[1]" in text
    assert not of_kind(store, "handle.made")
    assert not of_kind(store, "compacted")
    assert KEYS in shown(views[-1])


def test_other_reasons_not_to_compress(store: SqliteStore) -> None:
    twice = compress(keep("codes", "4"), keep("codes", "8"))
    script = [
        compress(),
        FACTS[0],
        twice,
        compress(summary="word " * 600),
        compress(summary="  "),
        [compress(), call("say", words="and more")],
    ]
    play(store, script)
    texts = [text for ok, text in receipts(store) if not ok]
    for text, expected in zip(
        texts,
        ["nothing in view", "codes is named twice", "write 1 to", "has 0 tokens", "make compress the last call"],
        strict=True,
    ):
        assert expected in text


def test_after_compressing_the_view_holds_summary_and_index_alone(store: SqliteStore) -> None:
    views = play(
        store, [*FACTS, compress(keep("codes", "2-4", note="my words"), summary="Gate noted.\nGo on."), FACTS[1]]
    )
    after = views[4]
    assert [message.role for message in after.messages] == ["system", "user", "user"]
    assert "Gate noted.\nGo on." in after.messages[1].text
    assert "codes@1 (entries 2-4): about codes" in after.messages[1].text
    assert "4711" not in shown(after)
    assert "goose" not in shown(after)
    assert "1 handles; newest: codes@1" in after.messages[-1].text
    check_replay(
        store, [*FACTS, compress(keep("codes", "2-4", note="my words"), summary="Gate noted.\nGo on."), FACTS[1]]
    )


def check_replay(store: SqliteStore, script: list[Any], **more: Any) -> None:
    report = replay(
        store, "r", parts=memory_parts(counting([*script, FINISH]), [say, snow], **{"window_tokens": 1500, **more})
    )
    assert report.ok, report.divergence


def test_content_is_the_journals_and_the_note_stands_beside_it(store: SqliteStore) -> None:
    row = keep("codes", "2-4", note="I believe it is 9999.")
    views = play(store, [*FACTS, compress(row), call("read", handle="codes")])
    text = views[5].messages[-2].text
    assert "Your note: I believe it is 9999." in text
    inside = text[text.index("<data") : text.index("</data")]
    assert f"#4 tool: {KEYS}" in inside
    assert "9999" not in inside


def test_handles_are_versions_and_the_old_ones_stay(store: SqliteStore) -> None:
    script = [
        *FACTS,
        compress(keep("codes", "4")),
        call("say", words="the code is 12 now"),
        compress(keep("codes", "18-21")),
        call("read", handle="codes"),
        call("read", handle="codes@1"),
        call("read", handle="codes@3"),
        call("read", handle="cods"),
        call("read", handle="not a name"),
    ]
    play(store, script)
    rows = receipts(store)[-6:-1]
    assert [ok for ok, _ in rows] == [True, True, False, False, False]
    assert "12 now" in rows[0][1]
    assert KEYS in rows[1][1]
    assert "versions 1, 2, not 3" in rows[2][1]
    assert "there are: codes" in rows[3][1]
    assert "NAME@VERSION" in rows[4][1]


def test_pages_are_limited_and_hold_everything(store: SqliteStore) -> None:
    long = " ".join(f"w{i}" for i in range(1500))
    script = [
        call("snow", words=1500),
        compress(keep("long", "4")),
        *(call("read", handle="long", page=p) for p in range(1, 9)),
    ]
    views = play(store, script, max_stalls=99)
    assert all(recorded["tokens"] <= 1500 for recorded in sizes(store))
    read = [text for ok, text in receipts(store)[2:-1] if ok]
    total = int(re.findall(r"page 1 of (\d+)", read[0])[0])
    assert 5 <= total <= 7
    words = re.findall(r"\bw\d+", " ".join(text[text.index("<data") :] for text in read[:total]))
    assert words == long.split()
    assert f"has pages 1 to {total}" in receipts(store)[-2][1]
    assert views


def sizes(store: SqliteStore) -> list[dict[str, Any]]:
    return [entry.body["view"] for entry in of_kind(store, "sample.intent")]


def test_find_looks_at_what_is_out_of_view(store: SqliteStore) -> None:
    script = [
        *FACTS,
        compress(keep("codes", "2-4")),
        call("find", query="north gate code"),
        call("find", query="owed goose"),
        call("find", query="zeppelin"),
    ]
    play(store, script)
    first, second, third = (text for _, text in receipts(store)[4:7])
    assert "handle codes@1 (entries 2-4)" in first
    assert f"entry 4 (in codes@1): tool: {KEYS}" in first
    assert "a goose is owed to Nils" in second
    assert "Nothing in this run" in third


def test_a_pinned_handle_stays_in_view_within_its_budget(store: SqliteStore) -> None:
    script = [
        call("snow", words=900),
        compress(keep("codes", "4")),
        call("pin", handle="codes"),
        call("say", words="hello"),
        call("pin", handle="codes"),
        call("unpin", handle="codes"),
        call("unpin", handle="codes"),
        call("say", words="bye"),
    ]
    views = play(store, script)
    for view in views[3:6]:
        assert "[memory] Pinned codes@1" in shown(view)
        assert "w1 w2 w3" in shown(view)
        assert "characters of entry" in shown(view)
    assert "w1 w2 w3" not in shown(views[6])
    assert [ok for ok, _ in receipts(store)][2:7] == [True, True, False, True, False]
    assert max(row["tokens"] for row in sizes(store)) <= 1500
    check_replay(store, script)


def test_handles_are_listed_in_pages(store: SqliteStore) -> None:
    rows = [keep(f"{'odd' if i % 2 else 'even'}-{i}", "4") for i in range(45)]
    script = [
        FACTS[0],
        compress(*rows),
        call("list_handles"),
        call("list_handles", page=3),
        call("list_handles", prefix="odd"),
        call("list_handles", page=4),
        call("list_handles", prefix="x"),
    ]
    views = play(store, script, window_tokens=4000)
    first, third, odd, fourth, none = (text for _, text in receipts(store)[2:7])
    assert "45 handles, page 1 of 3" in first
    assert first.count("(entries 4)") == 20
    assert third.count("(entries 4)") == 5
    assert "22 handles, page 1 of 2" in odd
    assert "has pages 1 to 3" in fourth
    assert "no such handles" in none
    status = views[2].messages[-1].text
    assert "45 handles; newest: " in status
    assert status.count("@1") <= 20


def test_the_status_line_states_the_size_that_counts(store: SqliteStore) -> None:
    script = [call("say", words="snow " * (5 + i % 7)) for i in range(60)]
    views = play(store, script, window_tokens=1300, max_stalls=99)
    hints: list[str] = []
    for view, recorded in zip(views, sizes(store), strict=True):
        line = view.messages[-1].text
        stated, of = re.findall(r"Working memory: ([\d,]+) of ([\d,]+) tokens", line)[0]
        assert int(stated.replace(",", "")) == recorded["tokens"]
        assert int(of.replace(",", "")) == recorded["window"] == 1300
        share = recorded["tokens"] / recorded["window"]
        assert ("Compress NOW" in line) == (share > 0.9)
        assert ("Compress soon" in line) == (0.8 < share <= 0.9)
        hints.append("now" if share > 0.9 else "soon" if share > 0.8 else "")
        assert share <= 1.0
    assert {"now", "soon", ""} == set(hints)


def test_the_runtime_compresses_by_itself_and_makes_a_handle_of_it(store: SqliteStore) -> None:
    script = [call("say", words=f"fact{i} " + "snow " * 60) for i in range(25)]
    play(store, script, window_tokens=1500, max_stalls=99)
    hidden = of_kind(store, "compacted")
    made = of_kind(store, "handle.made")
    assert len(hidden) == len(made) >= 2
    for handle, compacted in zip(made, hidden, strict=True):
        assert handle.seq == compacted.seq - 1
        assert handle.body["entries"] == [[compacted.body["first"], compacted.body["last"]]]
    state = fold("r", store.read("r"))
    texts = [content_text(store, "r", find_handle(store, state, name)) for name in state.handles]
    words = set(re.findall(r"fact\d+", " ".join(texts)))
    assert {f"fact{i}" for i in range(15)} <= words


def test_the_agents_summary_survives_the_runtimes(store: SqliteStore) -> None:
    script = [
        FACTS[0],
        compress(keep("codes", "4"), summary="PLAN: wait for spring."),
        *(call("say", words=f"n{i} " + "snow " * 60) for i in range(25)),
    ]
    views = play(store, script, window_tokens=1600, max_stalls=99)
    assert [entry.body["by"] for entry in of_kind(store, "compacted")].count("extract") >= 2
    for view in views[2:]:
        assert "PLAN: wait for spring." in shown(view)
        assert shown(view).count("PLAN: wait") == 1
    assert "Since then:" in shown(views[-1])


@pytest.mark.parametrize("stop", range(1, 30))
def test_killed_anywhere_in_a_compress_it_goes_on(store: SqliteStore, stop: int) -> None:
    script = {
        0: FACTS[0],
        1: FACTS[1],
        2: compress(keep("codes", {"query": "code of the north gate"})),
        3: call("read", handle="codes"),
        4: call("pin", handle="codes"),
    }

    def made() -> Parts:
        # What to say follows from the journal alone, as for a model that reads its view.
        return memory_parts(counting([say_next] * 99), [say], window_tokens=1500)

    def say_next(view: View) -> Any:
        text = shown(view)
        if "Pinned codes@1" in text:
            return FINISH
        if "page 1 of 1" in text:
            return script[4]
        if "Handles:\n- codes@1" in text:
            return script[3]
        return script[2] if "mill" in text else script[1] if "4711" in text else script[0]

    run = begin(store, made(), GOAL)
    for _, _entry in zip(range(stop), run.work(), strict=False):
        pass
    ended = run.state.ended
    run.close()
    if not ended:
        assert resume(store, made) == "unverified"
    state = fold("r", store.read("r"))
    assert state.handles.keys() == {"codes"}
    assert state.pinned == ["codes@1"]
    assert len(of_kind(store, "compacted")) == 1
    text = content_text(store, "r", find_handle(store, state, "codes"))
    assert KEYS in text


def test_a_fork_has_the_parents_handles_and_makes_its_own(store: SqliteStore) -> None:
    play(store, [*FACTS, compress(keep("codes", "2-4")), call("say", words="parent only")])
    cut = of_kind(store, "compacted")[0].seq
    name = fork(store, "r", cut, name="f")
    model = counting(
        [call("read", handle="codes"), compress(keep("codes", f"{cut}")), call("read", handle="codes@1"), FINISH]
    )
    with Run.open(store, name, parts=lambda: memory_parts(model, [say, snow], window_tokens=1500)) as run:
        assert run.finish() == "unverified"
        assert run.state.handles["codes"].keys() == {"1", "2"}
    assert KEYS in receipts(store, "f")[-2][1]
    assert fold("r", store.read("r")).handles["codes"].keys() == {"1"}


def test_the_same_call_again_is_answered_from_the_journal(store: SqliteStore, outside: Any) -> None:
    tools = outside.tools()
    script = [
        call("look", text="x"),
        call("look", text="x"),
        call("look", text="y"),
        call("put", text="z"),
        call("look", text="x"),
        call("sleep", reason="snow", seconds=1e-6),
        call("look", text="x"),
        compress(keep("seen", "2-4")),
        call("look", text="x"),
        FINISH,
    ]
    made = memory_parts(counting(script), tools, window_tokens=2500)
    made.gates = ALLOW_ALL
    with begin(store, made, GOAL) as run:
        while run.finish() == "waiting:sleep":
            pass
    assert outside.reads == 4
    rows = [entry.body for entry in of_kind(store, "effect.receipt")]
    repeats = [body for body in rows if "repeated" in body["data"]]
    assert [body["intent"] for body in repeats] == [-1, -1]
    first, second = (unpack(store, body["text"]) for body in repeats)
    assert "its result is entry 4, which is in view" in first
    assert "shows it all). It begins:\n<data from=" in second
    assert "saw x" in second


def test_without_memory_a_call_is_made_as_often_as_asked(store: SqliteStore, outside: Any) -> None:
    off = MemorySettings(recall=RecallSettings(auto=False), core=False, repeats=False)
    script = [call("look", text="x"), call("look", text="x"), FINISH]
    with begin(store, memory_parts(counting(script), outside.tools(), settings=off, window_tokens=2500), GOAL) as run:
        run.finish()
    assert outside.reads == 2


# Recall beyond the run


GATE = unit("Last winter the code of the north gate was 1234.", seq=7)


def test_memory_is_asked_before_a_step_and_what_it_says_is_journalled(store: SqliteStore) -> None:
    known = FakeRecaller([GATE, unit("Nothing of interest here", seq=9)])
    script = [call("say", words="at the north gate"), call("say", words="and on")]
    views = play(store, script, settings=MemorySettings(core=False), recaller=known)
    (entry,) = of_kind(store, "recalled")
    assert entry.body["by"] == "step"
    assert "at the north gate" in entry.body["query"]
    assert "Keep the keys" not in entry.body["query"]
    assert known.asked[0][0] == "Keep the keys", "before the first observation"
    (hit,) = entry.body["hits"]
    assert (hit["unit"], hit["cite"], hit["relevance"]) == (GATE.id, "old#7", 0.9)
    assert "- [old#7] told 2020-09-13, user (trusted), relevance 0.90: Last winter" in shown(views[1])
    assert 'from="memory default"' in shown(views[1])
    assert shown(views[2]).count("1234") == 1, "what is in view is not brought again"
    assert known.closed == 1
    check_replay(store, script, settings=MemorySettings(core=False), recaller=FakeRecaller())


def test_nothing_relevant_brings_nothing(store: SqliteStore) -> None:
    known = FakeRecaller([unit("The moon is full", seq=3)])
    play(store, [FACTS[0]], settings=MemorySettings(core=False), recaller=known)
    assert len(known.asked) == 2
    assert not of_kind(store, "recalled")


def test_memory_that_fails_does_not_end_the_run(store: SqliteStore, caplog: Any) -> None:
    known = FakeRecaller([GATE])
    known.error = StoreError("the index is being rebuilt", "wait")
    play(
        store,
        [call("recall", query="north gate"), call("find", query="north gate")],
        settings=MemorySettings(core=False),
        recaller=known,
    )
    assert "memory was not asked before this step" in caplog.text
    rows = receipts(store)
    assert (
        rows[0] == (False, "memory could not be asked: the index is being rebuilt; wait")
        or "being rebuilt" in rows[0][1]
    )
    assert "could not be asked" in rows[1][1]


def test_recall_is_a_tool_with_a_date(store: SqliteStore) -> None:
    newer = unit("Now the code of the north gate is 4711.", seq=8, told_us=1_700_000_000_000_000)
    known = FakeRecaller([newer, GATE])
    script = [
        call("recall", query="code north gate"),
        call("recall", query="code north gate", as_of="2021-01-01"),
        call("recall", query="code", as_of="yesterday"),
        call("recall", query="zeppelin"),
        call("recall", query="code", k=99),
    ]
    play(store, script, recaller=known)
    rows = receipts(store)
    assert "4711" in rows[0][1]
    assert "1234" in rows[0][1]
    assert "4711" not in rows[1][1]
    assert "1234" in rows[1][1]
    assert rows[2] == (False, "'yesterday' is no date; write YYYY-MM-DD")
    assert "knows nothing" in rows[3][1]
    assert not rows[4][0]
    data = of_kind(store, "effect.receipt")[0].body["data"]["recalled"]
    assert [hit["cite"] for hit in data] == ["old#8", "old#7"]


def test_an_entry_in_view_is_not_recalled(store: SqliteStore) -> None:
    known = FakeRecaller([unit(KEYS, run="r", seq=4)])
    script = [FACTS[0], call("say", words="the north gate"), compress(), call("say", words="north gate again")]
    play(store, script, settings=MemorySettings(core=False), recaller=known)
    seqs = [entry.seq for entry in of_kind(store, "recalled")]
    assert seqs
    assert min(seqs) > of_kind(store, "compacted")[0].seq


def test_core_blocks_are_in_every_view_and_follow_their_changes(store: SqliteStore) -> None:
    from overwinter.loop.memory.recaller import CoreBlock

    known = FakeRecaller(core=[CoreBlock(name="tone", text="Be brief.", cite="memory-default#3")])
    settings = MemorySettings(recall=RecallSettings(auto=False))
    long = [call("say", words=f"n{i} " + "snow " * 80) for i in range(12)]
    model = counting([*long, FINISH])
    with begin(
        store, memory_parts(model, [say], settings=settings, recaller=known, window_tokens=1500, max_stalls=9), GOAL
    ) as run:
        for entry in run.work():
            if entry.kind == "effect.receipt" and run.state.step == 8:
                known.blocks = [CoreBlock(name="tone", text="Be kind.", cite="memory-default#9")]
    assert len(of_kind(store, "compacted")) >= 1
    for number, view in enumerate(model.views):
        assert ("tone [memory-default#3]: Be brief." in shown(view)) == (number < 8)
        assert ("tone [memory-default#9]: Be kind." in shown(view)) == (number >= 8)
    assert [entry.body["by"] for entry in of_kind(store, "recalled")] == ["core", "core"]
    again = memory_parts(counting([*long, FINISH]), [say], settings=settings, window_tokens=1500, max_stalls=9)
    assert replay(store, "r", parts=again).ok


@pytest.mark.parametrize(
    "raw",
    [
        {"names": 1},
        {"namespace": "../other"},
        {"namespace": ""},
        {"tools": ["forget_all"]},
        {"tools": "compress"},
        {"core": 1},
        {"recall": {"k": 0}},
        {"recall": {"k": 2.5}},
        {"recall": {"often": True}},
        {"recall": {"min_relevance": 2}},
        {"recall": True},
        [],
    ],
)
def test_settings_are_checked(raw: Any) -> None:
    with pytest.raises(UsageError):
        parse_memory(raw)


def test_a_setup_builds_memory() -> None:
    script = {"kind": "scripted", "replies": ["hello"]}
    made = build_parts({"model": script, "memory": {"namespace": "garden", "tools": ["read", "find"]}})
    assert made.memory is not None
    assert made.memory.namespace == "garden"
    assert {"read", "find", "finish"} <= made.controls.keys()
    assert "compress" not in made.controls
    world = {
        "model": {"kind": "policy", "policy": "rules"},
        "world": {"name": "greenhouse"},
        "controls": [],
        "memory": {},
    }
    only = build_parts(world)
    assert only.only_acts
    assert only.memory is not None
    assert only.memory.tools == ()
    assert build_parts({"model": script}).memory is None
    assert QUIET.namespace == "default"
