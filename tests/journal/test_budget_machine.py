"""Budgets against a model that is three dictionaries: whatever happens, what is held and spent stays within the cap."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from journal_kit import begin, branch, intent, more, settled

from overwinter.errors import BudgetExhausted
from overwinter.journal.rebuild import budgets_from_entries
from overwinter.journal.sqlite import SqliteStore

RUNS = st.sampled_from("abc")
AMOUNTS = st.integers(0, 60)


class Budgets(RuleBasedStateMachine):
    """Run a owns a budget; b, its fork, has one of its own inside it; c, a fork of b, draws on both."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = SqliteStore(Path(self.folder.name) / "journal.db")
        self.store._execute("PRAGMA synchronous = OFF")
        self.cap = {"a": 100, "b": 50}
        self.leases = {"a": begin(self.store, "a", caps={"tokens": 100})}
        self.leases["b"] = branch(self.store, "b", "a", 0, caps={"tokens": 50}, shared=("a",))
        self.leases["c"] = branch(self.store, "c", "b", 1, shared=("b", "a"))
        self.draws = {"a": "a", "b": "ba", "c": "ba"}
        self.spent = {"a": 0, "b": 0}
        self.held: list[tuple[str, int]] = []

    def left(self, budget: str) -> int:
        held = sum(amount for run, amount in self.held if budget in self.draws[run])
        return self.cap[budget] - self.spent[budget] - held

    @rule(run=RUNS, amounts=st.lists(AMOUNTS, min_size=1, max_size=3))
    def reserve(self, run: str, amounts: list[int]) -> None:
        fits, total = True, 0
        for amount in amounts:
            fits = fits and all(amount <= self.left(budget) - total for budget in self.draws[run])
            total += amount
        head = self.store.info(run).head_seq
        try:
            self.store.append(run, [intent(tokens=amount) for amount in amounts], fence=self.leases[run].fence)
        except BudgetExhausted:
            assert not fits
            assert self.store.info(run).head_seq == head
        else:
            assert fits
            self.held += [(run, amount) for amount in amounts]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), spent=AMOUNTS)
    def settle(self, data: st.DataObject, spent: int) -> None:
        run, amount = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.store.append(run, [settled({"tokens": amount}, {"tokens": spent})], fence=self.leases[run].fence)
        for budget in self.draws[run]:
            self.spent[budget] += spent

    @rule(run=RUNS, budget=st.sampled_from("ab"), extra=AMOUNTS)
    def raise_cap(self, run: str, budget: str, extra: int) -> None:
        self.store.append(run, [more(budget, tokens=extra)], fence=self.leases[run].fence)
        self.cap[budget] += extra

    @invariant()
    def table_model_and_entries_agree(self) -> None:
        rebuilt = budgets_from_entries(self.store)
        for budget in "ab":
            line = self.store.budget(budget)["tokens"]
            assert line == rebuilt[budget]["tokens"]
            assert (line.left, line.spent, line.cap) == (self.left(budget), self.spent[budget], self.cap[budget])

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


Budgets.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestBudgets = Budgets.TestCase
