"""Derived rows from the journal alone: what `budgets` and the heads in `runs` must say. The slow, clear twin of `append`."""

from __future__ import annotations

import dataclasses

from overwinter.journal.store import BudgetLine, Store, status_after
from overwinter.journal.tombstone import kind_of


def budgets_from_entries(store: Store) -> dict[str, dict[str, BudgetLine]]:
    """Every budget of the store, added up from the entries of all runs that draw on it."""
    caps: dict[str, dict[str, int]] = {}
    spent: dict[str, dict[str, int]] = {}
    reserved: dict[str, dict[str, int]] = {}
    added: list[tuple[str, dict[str, int]]] = []
    for info in store.runs():
        for entry in store.read(info.run, info.fork_seq + 1):
            body, kind = entry.body, kind_of(entry)
            if kind in {"run.started", "run.forked"} and info.run in info.budgets:
                caps[info.run] = dict(body["caps"])
            if kind == "budget.changed":
                added.append((body["budget"], body["add"]))
            settle = body.get("settle", {"reserved": {}, "spent": {}})
            for budget in info.budgets:
                _add(reserved.setdefault(budget, {}), body.get("reserve", {}))
                _add(reserved[budget], {k: -v for k, v in settle["reserved"].items()})
                _add(spent.setdefault(budget, {}), settle["spent"])
    # Only now, since a child may raise its parent's cap and be listed first. No cap is no limit, and stays so.
    for budget, add in added:
        limited = caps.get(budget, {})
        _add(limited, {resource: amount for resource, amount in add.items() if resource in limited})
    return {
        budget: {
            resource: BudgetLine(
                cap=caps.get(budget, {}).get(resource),
                spent=spent.get(budget, {}).get(resource, 0),
                reserved=reserved.get(budget, {}).get(resource, 0),
            )
            for resource in caps.get(budget, {}).keys() | spent.get(budget, {}).keys() | reserved.get(budget, {}).keys()
        }
        for budget in caps.keys() | spent.keys() | reserved.keys()
    }


def status_from_entries(store: Store, run: str) -> str:
    """The run's status, from its own entries."""
    status = "new"
    for entry in store.read(run, store.info(run).fork_seq + 1):
        status = status_after(dataclasses.replace(entry, kind=kind_of(entry))) or status
    return status


def _add(totals: dict[str, int], amounts: dict[str, int]) -> None:
    for resource, amount in amounts.items():
        totals[resource] = totals.get(resource, 0) + amount
