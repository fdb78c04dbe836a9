"""Budgets: reserved before, settled after, never overspent, whoever else draws on them."""

from __future__ import annotations

import random

import pytest
from journal_kit import Place, append_texts, begin, branch, intent, more, observed, python, settled

from overwinter.errors import BudgetExhausted, UsageError
from overwinter.journal import BudgetLine, Lease, NewRun, Store
from overwinter.journal.rebuild import budgets_from_entries

SPEND = """
import sys
from overwinter.errors import BudgetExhausted
from overwinter.journal import Draft
run = input()
lease = store.acquire(run, run, 3600)
print("ready", flush=True)
input()
taken = 0
try:
    while True:
        body = {"step": 0, "view": {}, "limits": {}, "constraint": {}, "reserve": {"tool_calls": 1, "tokens": 7}}
        store.append(run, [Draft(kind="sample.intent", body=body)], fence=lease.fence)
        taken += 7
        if taken % 2:
            settle = {"reserved": {"tokens": 7, "tool_calls": 1}, "spent": {"tokens": 7, "tool_calls": 1}}
            body = {"intent": 0, "error": "", "settle": settle}
            store.append(run, [Draft(kind="sample.failed", body=body)], fence=lease.fence)
except BudgetExhausted:
    print(taken, flush=True)
"""


class BudgetConformance:
    def test_reserve_and_settle(self, store: Store) -> None:
        lease = begin(store, caps={"tokens": 100})
        store.append("r", [intent(tokens=60, wall_ms=5)], fence=lease.fence)
        assert store.budget("r") == {
            "tokens": BudgetLine(cap=100, spent=0, reserved=60),
            "wall_ms": BudgetLine(cap=None, spent=0, reserved=5),
        }
        store.append("r", [settled({"tokens": 60, "wall_ms": 5}, {"tokens": 70, "wall_ms": 4})], fence=lease.fence)
        assert store.budget("r")["tokens"] == BudgetLine(cap=100, spent=70, reserved=0)
        assert store.budget("r")["tokens"].left == 30
        assert store.budget("r")["wall_ms"].left is None
        assert store.budget("r") == budgets_from_entries(store)["r"]

    def test_what_does_not_fit_is_not_written_at_all(self, store: Store) -> None:
        lease = begin(store, caps={"tokens": 100, "tool_calls": 1})
        before = store.budget("r"), store.info("r")
        for drafts in ([observed(), intent(tokens=100), intent(tokens=1)], [intent(tokens=1, tool_calls=2)]):
            with pytest.raises(BudgetExhausted, match="are needed"):
                store.append("r", drafts, fence=lease.fence)
            assert (store.budget("r"), store.info("r")) == before
        append_texts(store, lease, "still alive")

    def test_exactly_the_rest_fits(self, store: Store) -> None:
        lease = begin(store, caps={"tokens": 100})
        store.append("r", [intent(tokens=100)], fence=lease.fence)
        with pytest.raises(BudgetExhausted, match="has 0 tokens left of 100, 1 are needed"):
            store.append("r", [intent(tokens=1)], fence=lease.fence)
        store.append("r", [settled({"tokens": 100}, {"tokens": 130})], fence=lease.fence)
        assert store.budget("r")["tokens"].left == -30
        store.append("r", [more("r", tokens=31)], fence=lease.fence)
        store.append("r", [intent(tokens=1)], fence=lease.fence)

    def test_a_raise_adds_to_a_limit_and_makes_none(self, store: Store) -> None:
        lease = begin(store, caps={"tokens": 1})
        store.append("r", [more("r", tokens=9, micro_usd=5)], fence=lease.fence)
        assert store.budget("r") == {"tokens": BudgetLine(cap=10, spent=0, reserved=0)}
        with pytest.raises(UsageError, match="does not exist"):
            store.append("r", [more("nobody", tokens=9)], fence=lease.fence)
        assert store.budget("r") == budgets_from_entries(store)["r"]

    @pytest.mark.parametrize("amount", [-1, 1.5, True, 10**18, "7"])
    def test_amounts_are_whole_and_in_range(self, store: Store, amount: object) -> None:
        lease = begin(store, caps={"tokens": 100})
        for draft in (intent(tokens=amount), settled({"tokens": amount}, {}), settled({}, {"tokens": amount})):
            with pytest.raises(UsageError, match="whole number"):
                store.append("r", [draft], fence=lease.fence)
        with pytest.raises(UsageError, match="unknown resource"):
            store.append("r", [intent(coffee=1)], fence=lease.fence)
        assert store.info("r").head_seq == 0

    def test_nobody_gives_back_what_was_not_reserved(self, store: Store) -> None:
        lease = begin(store, caps={"tokens": 100})
        store.append("r", [intent(tokens=10)], fence=lease.fence)
        with pytest.raises(UsageError, match="10 are reserved"):
            store.append("r", [settled({"tokens": 11}, {})], fence=lease.fence)
        assert store.budget("r")["tokens"].reserved == 10

    def test_branches_share_their_parents_budget(self, store: Store) -> None:
        parent = begin(store, "a", caps={"tokens": 100})
        child = branch(store, "b", "a", 0, caps={"tokens": 30}, shared=("a",))
        grandchild = branch(store, "c", "b", 1, shared=("b", "a"))
        assert store.info("b").budgets == ("b", "a")
        assert store.info("c").budgets == ("b", "a")
        store.append("a", [intent(tokens=65)], fence=parent.fence)
        store.append("b", [intent(tokens=20)], fence=child.fence)
        with pytest.raises(BudgetExhausted, match="budget 'b' has 10 tokens"):
            store.append("c", [intent(tokens=11)], fence=grandchild.fence)
        store.append("c", [intent(tokens=10)], fence=grandchild.fence)
        store.append("b", [settled({"tokens": 20}, {"tokens": 5})], fence=child.fence)
        with pytest.raises(BudgetExhausted, match="budget 'b' has 15 tokens"):
            store.append("b", [intent(tokens=16)], fence=child.fence)
        store.append("c", [more("a", tokens=50), more("b", tokens=1)], fence=grandchild.fence)
        assert store.budget("a")["tokens"] == BudgetLine(cap=150, spent=5, reserved=75)
        assert store.budget("b")["tokens"] == BudgetLine(cap=31, spent=5, reserved=10)
        assert {name: store.budget(name) for name in "ab"} == budgets_from_entries(store)

    def test_a_shared_budget_must_exist(self, store: Store) -> None:
        with pytest.raises(UsageError, match="does not exist"):
            store.create(NewRun(run="a", shared=("nobody",)))
        assert store.runs() == []

    @pytest.mark.parametrize("seed", range(4))
    def test_any_order_of_moves_adds_up(self, store: Store, seed: int) -> None:
        rng = random.Random(seed)
        leases: dict[str, Lease] = {"a": begin(store, "a", caps={"tokens": 500, "tool_calls": 20})}
        leases["b"] = branch(store, "b", "a", 0, caps={"tokens": 200}, shared=("a",))
        leases["c"] = branch(store, "c", "a", 0, shared=("a",))
        held: dict[str, list[dict[str, int]]] = {"a": [], "b": [], "c": []}
        for _ in range(60):
            run = rng.choice("abc")
            move = rng.choice(["reserve", "reserve", "settle", "raise"])
            amounts = {"tokens": rng.randint(0, 90), "tool_calls": rng.randint(0, 2)}
            if move == "reserve":
                _reserve_or_stop(store, leases[run], amounts, held[run])
            elif move == "settle" and held[run]:
                back = held[run].pop(rng.randrange(len(held[run])))
                store.append(run, [settled(back, amounts)], fence=leases[run].fence)
            elif move == "raise":
                store.append(run, [more(rng.choice("ab"), tokens=rng.randint(0, 20))], fence=leases[run].fence)
            rebuilt = budgets_from_entries(store)
            assert {name: store.budget(name) for name in "ab"} == rebuilt

    def test_racing_processes_never_overspend(self, place: Place, store: Store) -> None:
        """Each draws on its own run's entries but on the same budget: only the budget's own lock keeps them apart."""
        caps = {"tokens": 7 * 60 + 3}
        store.release(begin(store, "a", caps=caps))
        for name in ("b", "c"):
            store.release(branch(store, name, "a", 0, shared=("a",)))
        processes = [python(place.code + SPEND) for _ in range(3)]
        for process, run in zip(processes, "abc", strict=True):
            assert process.stdin is not None
            assert process.stdout is not None
            print(run, file=process.stdin, flush=True)
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            print(file=process.stdin, flush=True)
        taken = [int(process.communicate()[0]) for process in processes]
        assert sum(taken) == 7 * 60
        line = store.budget("a")["tokens"]
        assert line.spent + line.reserved == 7 * 60
        assert {"a": store.budget("a")} == budgets_from_entries(store)


def _reserve_or_stop(store: Store, lease: Lease, amounts: dict[str, int], held: list[dict[str, int]]) -> None:
    lines = [store.budget(name) for name in store.info(lease.run).budgets]
    fits = all(
        line[resource].left is None or amount <= (line[resource].left or 0)
        for line in lines
        for resource, amount in amounts.items()
        if resource in line
    )
    head = store.info(lease.run).head_seq
    if fits:
        store.append(lease.run, [intent(**amounts)], fence=lease.fence)
        held.append(amounts)
    else:
        with pytest.raises(BudgetExhausted):
            store.append(lease.run, [intent(**amounts)], fence=lease.fence)
        assert store.info(lease.run).head_seq == head
