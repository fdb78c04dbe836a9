"""Critics: what their words are worth, and which one "auto" is."""

from __future__ import annotations

from typing import Any

import pytest
from loop_kit import FINISH, Outside, call, goal, of_kind, parts
from search_kit import Chooser, LuckyPond, pond_parts

from overwinter.errors import UsageError
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.model import View
from overwinter.loop.run import Run
from overwinter.loop.search.critics import QUESTION, STEP, critic_name, of_world, read_progress
from overwinter.think.search import SearchSettings


@pytest.mark.parametrize(
    ("said", "points"),
    [
        ('1: "the boiler is off"', 1),
        ("2: boiler is off", 2),
        ('Well.\n-1: "it got colder"', -1),
        ("0: nothing", 0),
        ('2: "the boiler is on"', 0),
        ("2:", 0),
        ("a great step", 0),
    ],
)
def test_points_count_where_the_quote_is_there(said: str, points: int) -> None:
    found = read_progress(said, "Seen: the boiler is off, and\nit got colder.", 0.5)
    assert found.value == pytest.approx(0.5 + STEP * points)


def test_auto_is_the_critic_that_fits(outside: Outside) -> None:
    assert critic_name("auto", pond_parts(LuckyPond())) == "outcome"
    assert critic_name("auto", parts([FINISH], outside.tools())) == "prompt"
    with pytest.raises(UsageError, match="states no chance"):
        critic_name("chance", pond_parts(LuckyPond()))
    with pytest.raises(UsageError, match="only a world"):
        critic_name("outcome", parts([FINISH], outside.tools()))


def test_a_world_is_worth_a_part_of_its_best() -> None:
    session = pond_parts(LuckyPond(luck=1.0)).world
    assert session is not None
    session.reset()
    session.act("rod")
    assert of_world(session).value == pytest.approx(4 / 20)


def test_a_prompted_critic_is_asked_charged_and_heard(store: SqliteStore, outside: Outside) -> None:
    """It praises the branch that looked, with a quote of what was seen there; the other is not worth more than before."""

    def actor(view: View) -> Any:
        if view.messages[-1].text == QUESTION:
            seen = any("saw the meter" in message.text for message in view.messages)
            return '2: "saw the meter"' if seen else "0: nothing"
        turns = sum(message.role == "assistant" for message in view.messages)
        return [call("look", text="the wall") if model.calls % 2 else call("look", text="the meter"), FINISH][turns > 0]

    from overwinter.loop.models import ScriptedModel

    model = ScriptedModel([actor] * 200)
    made = parts(model, outside.tools())
    made.search = SearchSettings(strategy="tree", tokens=50_000, depth=1, width=4)
    with Run.start(store, goal(), parts=made, caps={"tokens": 400_000}, name="r") as run:
        for entry in run.work():
            if entry.kind == "sample.completion":
                break
    [ended] = of_kind(store, "search.ended")
    worth = {row["label"]: row["value"] for row in ended.body["nodes"][1:]}
    assert worth["look(text='the meter')"] > 0.7
    assert worth["look(text='the wall')"] == 0.5
    assert entry.body["calls"][0]["arguments"] == {"text": "the meter"}
    asked = [e for info in store.runs() if info.is_branch for e in store.read(info.run, info.fork_seq + 1)]
    critic = [e for e in asked if e.kind == "sample.completion" and e.body.get("purpose") == "critic"]
    assert critic
    paid = sum(
        e.body["settle"]["spent"]["tokens"]
        for e in asked
        if "settle" in e.body and "tokens" in e.body["settle"]["spent"]
    )
    assert store.budget("r")["tokens"].spent == paid == ended.body["tokens"]


def test_a_critic_that_died_with_its_process_is_asked_again(store: SqliteStore) -> None:
    bets: list[int] = []

    class Dying(Chooser):
        states_chance = True

        def chance(self, view: View) -> Any:
            from overwinter.loop.model import Usage

            bets.append(1)
            if len(bets) == 3:
                raise KeyboardInterrupt
            return 0.4, Usage(prompt_tokens=7)

    made = pond_parts(LuckyPond(), Dying(), critic="chance", stride=1, depth=1)
    with pytest.raises(KeyboardInterrupt), Run.start(store, goal({"kind": "world"}), parts=made, name="r") as run:
        run.finish()
    with Run.open(
        store, "r", parts=lambda: pond_parts(LuckyPond(), Dying(), critic="chance", stride=1, depth=1)
    ) as run:
        for entry in run.work():
            if entry.kind == "branch.committed":
                break
    lost = [
        e
        for info in store.runs()
        if info.is_branch
        for e in store.read(info.run, info.fork_seq + 1, kinds=["sample.failed"])
    ]
    assert len(lost) == 1
    assert lost[0].body["settle"]["spent"]["tokens"] == 0, "the critic is in this process: nobody bills for it"
