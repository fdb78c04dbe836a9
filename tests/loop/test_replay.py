"""Replay: today's code against the journal; the first entry it would not have written is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from loop_kit import FINISH, Outside, Pond, begin, call, forever, goal, last, of_kind, parts, resume, run_through

from overwinter.errors import ModelError
from overwinter.journal import Draft, Entry, NewRun, Packer, unpack, verify
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop import view as view_module
from overwinter.loop.fork import commit, fork
from overwinter.loop.model import Completion
from overwinter.loop.models import ScriptedModel
from overwinter.loop.replay import ReplayReport, replay
from overwinter.loop.run import Run, answer_approval, send_event
from overwinter.loop.world import WorldSession
from overwinter.tools import idempotency_key
from overwinter.worlds.world import Observation

SCRIPT: list[Any] = [
    call("look"),
    [call("order", text="a"), call("nothing")],
    "hm",
    call("send", text="d"),
    call("look", text="long " * 80),
    call("commit_to", text="x"),
    FINISH,
]
RULES: list[dict[str, Any]] = [{"decision": "deny", "tool": "send"}]


def made(outside: Outside, script: list[Any] | None = None, **more: Any) -> Any:
    return parts(script or SCRIPT, outside.tools(), **{"rules": RULES, "window_tokens": 900, **more})


def rehash(store: SqliteStore, run: str, name: str, change: Callable[[Entry], Draft], key: str = "") -> None:
    """A forger's copy of a run: something is changed, and every hash is made to fit again."""
    store.create(NewRun(run=name, caps={}))
    lease = store.acquire(name, "forger", 100)
    for entry in store.read(run):
        draft = change(entry)
        body = {key: value for key, value in draft.body.items() if key not in {"reserve", "settle"}}
        if draft.kind == "effect.intent":
            made_by = body["call"]
            body["key"] = key or idempotency_key(name, entry.seq, made_by["tool"], made_by["arguments"])
        if "reserve" in draft.body:
            body["reserve"] = {}
        if "settle" in draft.body:
            body["settle"] = {"reserved": {}, "spent": {}}
        store.append(name, [Draft(kind=draft.kind, body=body, refs=draft.refs)], fence=lease.fence)
    assert verify(store, name).ok, "the chain alone does not show it"


def diverges(report: ReplayReport, kind: str, what: str) -> None:
    assert report.divergence is not None
    assert (report.divergence.kind, what in report.divergence.what) == (kind, True), report.divergence
    assert report.entries == report.divergence.seq


def test_a_run_that_can_be_done_again(store: SqliteStore, outside: Outside) -> None:
    assert run_through(store, made(outside), tokens=90_000) == "unverified"
    done = list(outside.done)
    progress: list[tuple[int, int]] = []
    report = replay(store, "r", parts=made(outside), progress=lambda *at: progress.append(at))
    assert report.ok, report.divergence
    assert (report.views, report.samples, report.read_only_samples) == (7, 7, 0)
    assert report.entries == store.info("r").head_seq + 1
    assert progress[-1] == (report.entries, report.entries)
    assert outside.done == done, "nothing outside is touched"


def test_a_run_with_everything_that_can_happen_to_it(store: SqliteStore, outside: Outside, clock: Any) -> None:
    def again(script: list[Any] | None = None) -> Any:
        return made(outside, [call("send", text="a"), call("sleep", reason="x", event="bell"), *SCRIPT], rules=[])

    run = begin(store, again(), tokens=90_000)
    list(islice(run.work(), 1))
    run.close()  # a question was lost
    assert resume(store, again) == "waiting:approval"
    answer_approval(store, "r", approve=True, by="ann")
    assert resume(store, again) == "waiting:sleep"
    send_event(store, "r", "bell", {}, "x")
    assert resume(store, again) == "waiting:approval"
    answer_approval(store, "r", approve=False, by="ann")
    with Run.open(store, "r", parts=again) as run:
        run.add_budget({"tokens": 5})
        assert run.finish() == "unverified"
    report = replay(store, "r", parts=again())
    assert report.ok, report.divergence


def test_another_policy(store: SqliteStore, outside: Outside) -> None:
    run_through(store, made(outside))
    other = [*SCRIPT]
    other[2] = "hmm"
    diverges(
        replay(store, "r", parts=made(outside, other)),
        "sample.completion",
        "token 0 of the answer differs: then 28341, now 19333",
    )
    text_only = ScriptedModel(other, by_turn=True, with_token_ids=False)
    report = replay(store, "r", parts=made(outside, text_only))  # type: ignore[arg-type]
    diverges(report, "sample.completion", "the model's answer differs from character 2 on: then '', now 'm'")


def test_another_reading_of_the_same_words(
    store: SqliteStore, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    import overwinter.loop.replay as module

    script = ['{"tool": "look", "arguments": {"text": "a"}}', FINISH]
    run_through(store, made(outside, script))
    remote = ScriptedModel(script, by_turn=True)
    remote.local = False
    report = replay(store, "r", parts=made(outside, remote))  # type: ignore[arg-type]
    assert (report.ok, report.read_only_samples, remote.calls) == (True, 2, 0)
    monkeypatch.setattr(module, "read_calls", lambda *_: [])
    diverges(replay(store, "r", parts=made(outside, remote)), "sample.completion", "now reads as []")  # type: ignore[arg-type]
    diverges(replay(store, "r", parts=made(outside, script)), "sample.completion", "now reads as []")


def test_another_gate(store: SqliteStore, outside: Outside) -> None:
    run_through(store, made(outside))
    report = replay(store, "r", parts=made(outside, rules=[{"name": "n", "decision": "ask", "tool": "send"}]))
    diverges(report, "gate.decision", "the gate's decision differs")


def test_another_rendering(store: SqliteStore, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    run_through(store, made(outside))
    monkeypatch.setattr(view_module, "INSTRUCTIONS", view_module.INSTRUCTIONS + "Be brief.\n")
    report = replay(store, "r", parts=made(outside))
    diverges(report, "sample.intent", "renders differently")
    assert report.divergence is not None
    assert report.divergence.seq == of_kind(store, "sample.intent")[0].seq


def test_a_tool_that_is_gone_or_reads_its_arguments_differently(store: SqliteStore, outside: Outside) -> None:
    run_through(store, made(outside))
    gone = parts(SCRIPT, outside.tools()[:1], rules=RULES, window_tokens=900)
    # The schemas are part of the view, so it is the view that differs first.
    diverges(replay(store, "r", parts=gone), "sample.intent", "renders differently")


@pytest.mark.parametrize("kind", ["effect.receipt", "observed", "sample.completion", "compacted"])
def test_a_forged_text_is_named_at_the_next_view(store: SqliteStore, outside: Outside, kind: str) -> None:
    script = [call("look", text="long " * 120), call("look", text="long " * 130), *SCRIPT]
    world = lambda: WorldSession(Pond(), 0)  # noqa: E731
    run_through(store, made(outside, script, world=world(), window_tokens=700))
    victim = of_kind(store, kind)[0]
    key = "summary" if kind == "compacted" else "text"

    def change(entry: Entry) -> Draft:
        body = dict(entry.body)
        if entry.seq == victim.seq:
            body[key] = {"text": unpack(store, body[key]) + " and all is well"}
        return Draft(kind=entry.kind, body=body, refs=entry.refs if entry.seq != victim.seq else ())

    rehash(store, "r", "forged", change)
    report = replay(store, "forged", parts=made(outside, script, world=world(), window_tokens=700))
    assert report.divergence is not None
    wanted = {"observed": "observed", "sample.completion": "sample.completion"}.get(kind, "sample.intent")
    assert report.divergence.kind == wanted
    assert victim.seq <= report.divergence.seq


def test_a_forged_key(store: SqliteStore, outside: Outside) -> None:
    run_through(store, made(outside))
    rehash(store, "r", "forged", lambda entry: Draft(kind=entry.kind, body=entry.body, refs=entry.refs), key="0" * 64)
    diverges(replay(store, "forged", parts=made(outside)), "effect.intent", "the idempotency key")


class Warmer(Pond):
    def _see(self) -> Observation:
        seen = super()._see()
        return seen if self.hour < 2 else Observation(text=seen.text + ", mild", data=seen.data)


def test_another_world(store: SqliteStore) -> None:
    def in_world(pond: Pond) -> Any:
        return parts(["look", *["cast"] * 4], world=WorldSession(pond, 0))

    run_through(store, in_world(Pond()), goal({"kind": "world"}))
    assert replay(store, "r", parts=in_world(Pond())).ok
    report = replay(store, "r", parts=in_world(Warmer()))
    diverges(report, "effect.receipt", "no longer answers 'cast' as it did then")
    assert report.divergence is not None
    assert report.divergence.seq == of_kind(store, "effect.receipt")[2].seq


def test_a_policy_with_a_memory_is_not_asked_about_lost_questions(store: SqliteStore, outside: Outside) -> None:
    """It was not asked then either: its process died."""

    def scripts() -> Any:
        # Goes on call by call: one question too many, and all later answers are shifted.
        return made(outside, ScriptedModel([call("look"), call("order", text="b"), FINISH]))  # type: ignore[arg-type]

    run = begin(store, scripts())
    list(islice(run.work(), 1))
    run.close()
    assert resume(store, scripts) == "unverified"
    assert replay(store, "r", parts=scripts()).ok


def test_a_model_that_failed_then(store: SqliteStore, outside: Outside) -> None:
    def scripts() -> Any:
        return made(outside, ScriptedModel([call("look"), ModelError("down", "wait"), FINISH]))  # type: ignore[arg-type]

    with begin(store, scripts()) as run:
        assert run.finish() == "waiting:model"
        assert run.finish() == "unverified"
    assert replay(store, "r", parts=scripts()).ok


def test_forks_branches_and_what_was_committed_from_them(store: SqliteStore, outside: Outside) -> None:
    def text(name: str) -> str:
        return f'{{"tool": "order", "arguments": {{"text": "{name}"}}}}'

    def scripts() -> Any:
        return made(outside, [call("look"), text("b"), FINISH])

    run = begin(store, scripts())
    list(islice(run.work(), 4))
    branch = fork(store, "r", run.state.head_seq, speculative=True)
    assert resume(store, scripts, branch) == "unverified"
    commit(run.session, branch)
    assert run.finish() == "unverified"
    run.close()
    assert outside.effects("order") == ["b"]
    for name in ("r", branch):
        report = replay(store, name, parts=scripts())
        assert report.ok, (name, report.divergence)


def test_a_fork_with_another_setup(store: SqliteStore) -> None:
    def setup(reply: str) -> dict[str, Any]:
        return {"model": {"kind": "scripted", "replies": [reply, '{"tool": "finish", "arguments": {"summary": "x"}}']}}

    with Run.start(store, goal(), setup=setup("hm"), name="r") as run:
        run.finish()
    child = fork(store, "r", 0, setup=setup("well"))
    with Run.open(store, child) as run:
        run.finish()
    report = replay(store, child)
    assert report.ok, report.divergence
    assert report.samples == 2


def test_judges_are_read_and_not_asked(store: SqliteStore, outside: Outside) -> None:
    judge = forever('{"met": false, "entries": [], "note": "no"}')
    run_through(store, made(outside, [FINISH, FINISH], judge=judge, max_rejections=2), goal({"kind": "judge"}))
    report = replay(store, "r", parts=made(outside, [FINISH, FINISH]))
    assert report.ok, report.divergence
    assert report.samples == 2


def test_native_calls_of_a_remote_model_are_not_read_out_of_its_words(store: SqliteStore, outside: Outside) -> None:
    def replies() -> Iterator[Any]:
        yield Completion(text="I look.", tool_calls=(call("look"),), finish_reason="tool_calls", model="m")
        while True:
            yield FINISH

    script = replies()
    run_through(store, made(outside, forever(lambda _: next(script))))  # type: ignore[arg-type]
    remote = forever(FINISH)
    remote.local = False
    assert replay(store, "r", parts=made(outside, remote)).ok  # type: ignore[arg-type]
    assert last(store, "run.ended").body["status"] == "unverified"
    assert Packer().take_refs() == ()
