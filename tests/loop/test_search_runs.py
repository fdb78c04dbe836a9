"""Search over forks: branches look ahead in worlds that are imagined, share one budget, die at any write, and one of them commits once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from loop_kit import FINISH, Clock, Outside, begin, call, goal, kinds, of_kind, parts, resume
from search_kit import COST, Chooser, DyingStore, Killed, LuckyPond, OpenPond, committed, fish, pond_parts

from overwinter.errors import UsageError
from overwinter.journal import verify
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.replay import replay
from overwinter.loop.run import Run
from overwinter.think.search import STRATEGIES, SearchSettings
from overwinter.worlds.world import Observation

FIRST_WRITE = 7
"""Before that there is no run yet that could be resumed."""
ENDS = {"verified", "unverified", "failed"}


def acted(store: Any, name: str = "r") -> list[str]:
    made = [e.body for e in of_kind(store, "effect.intent", name)]
    return [body["call"]["arguments"]["action"] for body in made if body["attempt"] == 1]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_plays_a_run_to_its_end(store: SqliteStore, strategy: str) -> None:
    made = pond_parts(LuckyPond(hours=2), strategy=strategy, tokens=200)
    assert fish(store, made, caps={"tokens": 10_000}) in ENDS
    pairs = committed(store)
    assert len(pairs) == 2
    for ended, completion in pairs:
        branch = ended.body["branch"]
        first = next(e for e in of_kind(store, "sample.completion", branch) if e.seq > store.info(branch).fork_seq)
        assert completion.body["calls"] == first.body["calls"]
        assert completion.body["settle"] == {"reserved": {}, "spent": {}}
        assert sum(ended.body["votes"].values()) == pytest.approx(1.0, abs=1e-4)
        assert ended.body["tokens"] <= 200
    assert verify(store, "r").ok
    line = store.budget("r")["tokens"]
    assert (line.spent, line.reserved) == (sum(ended.body["tokens"] for ended, _ in pairs), 0)
    assert replay(store, "r", parts=pond_parts(LuckyPond(hours=2))).ok


@pytest.mark.parametrize("strategy", ["tree", "mcts", "ab-mcts", "beam", "best-of-n"])
def test_search_finds_what_the_model_does_not_do_by_itself(store: SqliteStore, strategy: str) -> None:
    """Left alone the model sleeps all day."""
    fish(store, pond_parts(OpenPond(), strategy=strategy, stride=1, depth=2, temperature=2.0))
    assert set(acted(store)) == {"net"}
    fish(store, pond_parts(OpenPond(), strategy="majority"), name="m")
    assert set(acted(store, "m")) == {"sleep"}


def test_tree_search_is_not_taken_in_by_luck(store: SqliteStore) -> None:
    """The rod is worth less on average, and in a quarter of all single tries it looks better."""
    fish(store, pond_parts(LuckyPond(luck=0.25, hours=1), tokens=900))
    [(ended, _)] = committed(store)
    assert acted(store) == ["net"]
    tries = {row["label"]: row for row in ended.body["nodes"][1:]}
    assert set(tries) == {"sleep", "net", "rod"}
    scenarios: dict[str, list[int]] = {}
    for row in ended.body["nodes"][1:]:
        scenarios.setdefault(row["label"], []).append(row["scenario"])
    assert all(found == list(range(len(found))) for found in scenarios.values()), "each option meets the same worlds"


def test_a_branch_cannot_see_what_really_comes(store: SqliteStore) -> None:
    """In the real pond the rod has luck in all hours, or in none. What branches see does not depend on it."""
    worlds = {name: LuckyPond() for name in ("lucky", "unlucky")}
    seeds = {}
    for seed in range(200):
        lucky = [LuckyPond.step(_at(seed, hour), "rod").observation.data["fish"] == 4 for hour in range(3)]
        seeds.setdefault("lucky" if all(lucky) else "unlucky" if not any(lucky) else "", seed)
    seen = {}
    for name, world in worlds.items():
        made = pond_parts(world, tokens=300)
        assert made.world is not None
        made.world.seed = seeds[name]
        with begin_run(store, made, name) as run:
            entries = run.work()
            while not committed(store, name):
                next(entries)
        [(ended, _)] = committed(store, name)
        seen[name] = [(row["label"], row["value"], row["scenario"]) for row in ended.body["nodes"]]
    assert seen["lucky"] == seen["unlucky"]
    assert len(seen["lucky"]) > 6


def begin_run(store: Any, made: Any, name: str) -> Run:
    return Run.start(store, goal({"kind": "world"}), parts=made, name=name)


def _at(seed: int, hour: int) -> LuckyPond:
    pond = LuckyPond()
    pond.restore({"seed": seed, "hour": hour, "fish": 0})
    return pond


def test_a_world_that_cannot_be_imagined_is_not_searched_in(store: SqliteStore) -> None:
    class Closed(LuckyPond):
        imagination = None  # type: ignore[assignment]

    with pytest.raises(UsageError, match="would see what really comes"):
        fish(store, pond_parts(Closed()))


@pytest.mark.parametrize(
    ("world", "strategy", "after"),
    [(LuckyPond, "tree", False), (LuckyPond, "tree", True), (OpenPond, "mcts", False), (LuckyPond, "best-of-n", True)],
)
def test_a_search_killed_at_any_write_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, world: Any, strategy: str, after: bool
) -> None:
    def made() -> Any:
        return pond_parts(
            world(hours=2) if world is LuckyPond else world(), strategy=strategy, tokens=120, stride=1, depth=2
        )

    def opened(name: str) -> DyingStore:
        made_store = DyingStore(tmp_path / name, clock_us=Clock())
        made_store._execute("PRAGMA synchronous = OFF")
        return made_store

    whole = opened("whole.db")
    fish(whole, made(), caps={"tokens": 2_000})
    expected = _tale(whole)
    writes = whole.writes
    # All of them with OVERWINTER_EVERY_WRITE=1; some in passing, others before than after.
    step = 1 if os.environ.get("OVERWINTER_EVERY_WRITE") else max(1, writes // 7)
    for at in range(FIRST_WRITE + (step // 2 if after else 0), writes + 1, step):
        name = f"{at}.db"
        store = opened(name)
        store.at, store.after = at, after
        with pytest.raises(Killed):
            fish(store, made(), caps={"tokens": 2_000})
        with Run.open(store, "r", parts=made) as run:
            run.finish()
        assert _tale(store) == expected, f"killed at write {at}"
        assert (store.budget("r")["tokens"].spent, store.budget("r")["tokens"].reserved) == (
            whole.budget("r")["tokens"].spent,
            0,
        )
        assert all(verify(store, info.run).ok for info in store.runs())
        store.close()
    assert writes > 60


def _tale(store: Any) -> Any:
    """What was done and found, without the entries that say that a process took over."""
    rows = [
        [(row["label"], row["value"], row["tokens"], row["scenario"], row["of"]) for row in ended.body["nodes"]]
        for ended, _ in committed(store)
    ]
    return acted(store), rows, kinds(store).count("search.began"), kinds(store).count("branch.committed")


def test_a_search_ends_with_the_budget_and_leaves_an_answer(store: SqliteStore) -> None:
    with Run.start(
        store, goal({"kind": "world"}), parts=pond_parts(LuckyPond(), tokens=10_000), caps={"tokens": 400}, name="r"
    ) as run:
        assert run.finish() in {*ENDS, "waiting:budget"}
    assert store.budget("r")["tokens"].spent <= 400
    assert acted(store), "it has done something with it"


def test_what_is_too_little_for_a_search_is_enough_for_an_answer(store: SqliteStore) -> None:
    with Run.start(
        store, goal({"kind": "world"}), parts=pond_parts(LuckyPond()), caps={"tokens": 3 * COST + 30}, name="r"
    ) as run:
        run.finish()
    assert "search.began" not in kinds(store)
    assert acted(store)[:1] == ["sleep"]


def test_tools_that_do_something_are_not_used_in_branches(store: SqliteStore, outside: Outside) -> None:
    """A language model with tools: the branch may look, and what it wants to send is sent once, by the run."""

    def made() -> Any:
        script = [call("look", text="a"), call("send", text="b"), FINISH, *[FINISH] * 20]
        found = parts(script, outside.tools())
        found.search = SearchSettings(strategy="tree", tokens=100_000, critic="prompt", depth=2, width=2)
        return found

    with begin(store, made()) as run:
        run.finish()
    assert outside.effects("send") == ["b"]
    sent = [e for e in of_kind(store, "effect.intent") if e.body["call"]["tool"] == "send"]
    assert len(sent) == 1
    tried = [info for info in store.runs() if info.is_branch]
    assert tried
    for info in tried:
        own = [e for e in store.read(info.run, info.fork_seq + 1) if e.kind == "effect.intent"]
        assert all(e.body["effect"] == "pure" for e in own)


def test_something_from_outside_overtakes_a_search(store: SqliteStore) -> None:
    from overwinter.loop.run import send_event

    class Interrupted(Chooser):
        def sample(self, *args: Any) -> Any:
            if self.asked == 2:
                send_event(store, "r", "storm", {}, by="the weather office")
            return super().sample(*args)

    fish(store, pond_parts(LuckyPond(), Interrupted()))
    whys = [e.body["why"] for e in of_kind(store, "search.ended")]
    assert sum("overtaken" in why for why in whys) == 1
    assert len(committed(store)) == 3


def test_a_resume_needs_no_settings(store: SqliteStore) -> None:
    """They stand in the setup; here, parts are made in code, and the journal names what was used."""
    fish(store, pond_parts(LuckyPond(), width=2))
    began = of_kind(store, "search.began")
    assert {e.body["settings"]["width"] for e in began} == {2}
    assert resume(store, lambda: pond_parts(LuckyPond(), width=2)) in ENDS


def test_what_a_policy_notes_on_what_it_saw_is_seen_by_no_other(store: SqliteStore) -> None:
    """A policy that crosses out the news it has read, in a branch as in the run: each does so once for itself."""
    from overwinter.loop.models.policy import PolicyModel

    class News(LuckyPond):
        def _see(self) -> Observation:
            seen = super()._see()
            return Observation(text=seen.text, data={**seen.data, "news": [{"read": False}]})

    class Reader:
        name = "reader"

        def reset(self, seed: int) -> None:
            """It keeps nothing in mind."""

        def act(self, observation: Observation, actions: Sequence[str]) -> str:
            was_read = observation.data["news"][0]["read"]
            observation.data["news"][0]["read"] = True
            return "sleep" if was_read else "net"

    found = pond_parts(News(), tokens=10_000)
    found.model = PolicyModel(Reader(), 0, News)
    fish(store, found)
    assert acted(store) == ["net", "net", "net"]
    assert found.world is not None
    assert found.world.observation.data["news"] == [{"read": False}]
    assert found.world.branch().observation is not found.world.observation
