"""Forks: a run that shares another's past, and what a run may adopt from one.

A fork costs one row and one entry; the entries before it stay where they are. It draws on its parent's budget unless given one
of its own. A *speculative* fork (a branch) looks ahead only: its gates let pure tools through, and the world, of which every
fork has its own copy. One branch commits: the parent takes over what it decided first and makes those calls for real.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from overwinter.errors import UsageError
from overwinter.journal import Draft, Entry, NewRun, Store
from overwinter.journal.lease import DEFAULT_TTL_S, this_owner
from overwinter.loop.run import new_name
from overwinter.loop.session import Session, load_state, witness
from overwinter.loop.setup import check_fields
from overwinter.loop.state import is_visible
from overwinter.memory.namespace import namespace_of


def fork(
    store: Store,
    parent: str,
    seq: int,
    *,
    setup: Mapping[str, Any] | None = None,
    caps: Mapping[str, int] | None = None,
    speculative: bool = False,
    name: str | None = None,
    reason: str = "",
) -> str:
    """Make a run that continues `parent` after entry `seq`; its name. Open it with `Run.open`.

    Calls of the parent that were open at that entry are open in the fork too, but what a person had answered about them was
    answered for the parent: the fork asks its own gates.

    Args:
        setup: fields that replace the parent's (another model, other gates).
        caps: a budget of its own, in addition to the parent's.
        speculative: only pure tools; for looking ahead.

    Raises:
        UsageError: no such entry, or the entry is after the end of the run.
    """
    changes = dict(setup or {})
    _check(store, parent, seq, changes)
    name = name or new_name()
    shared = store.info(parent).budgets
    info = store.create(
        NewRun(
            run=name,
            title=f"fork of {parent}@{seq}",
            parent=parent,
            fork_seq=seq,
            caps=None if caps is None else dict(caps),
            shared=shared,
        )
    )
    if speculative:
        changes["speculative"] = True
    body: dict[str, Any] = {
        "parent": parent,
        "seq": seq,
        "reason": reason,
        "budgets": list(info.budgets),
        "caps": dict(caps or {}),
        "setup": changes,
    }
    lease = store.acquire(name, this_owner(), DEFAULT_TTL_S)
    try:
        store.append(name, [Draft(kind="run.forked", body=body)], fence=lease.fence)
    finally:
        store.release(lease)
    return name


def _check(store: Store, parent: str, seq: int, changes: Mapping[str, Any]) -> None:
    check_fields(changes)
    if next(store.read(parent, seq, seq + 1), None) is None:
        raise UsageError(f"run {parent!r} has no entry {seq}", f"choose one with `overwinter log {parent}`")
    named = changes.get("memory", {}).get("namespace")
    if named is not None and named != namespace_of(store, parent):
        raise UsageError(
            f"run {parent!r} belongs to the namespace {namespace_of(store, parent)!r}, and so do its forks",
            "leave the namespace out, or start a run of its own",
        )
    if changes and "code" in next(store.read(parent, 0, 1)).body["setup"]:
        raise UsageError(
            f"run {parent!r} was started with parts made in code, so a setup cannot change them",
            "fork it without one, and pass other parts to Run.open",
        )


def commit(session: Session, branch: str) -> list[Entry]:
    """Adopt a branch: its first completion becomes this run's next one, and its calls are made for real, through the gates.

    Raises:
        UsageError: `branch` is not a speculative fork of this run's present head, another one was committed already, or this
            run has something else to do first.
    """
    store, state = session.store, session.state
    info = store.info(branch)
    if info.parent != session.run or info.fork_seq != state.head_seq:
        problem = f"branch {branch!r} starts at {info.parent}@{info.fork_seq}, this run stands at {session.run}@{state.head_seq}"
        raise UsageError(problem, "commit a branch of the run's present head; only one can be")
    if state.ended or state.sample is not None or state.calls or state.claim is not None or state.sleeping is not None:
        raise UsageError(
            f"run {session.run!r} is not at a decision: it has something open, sleeps or has ended",
            "let it work until it would ask its model, and fork it there",
        )
    if not load_state(store, branch).setup.get("speculative"):
        raise UsageError(
            f"{branch!r} is not a speculative fork; it acts for itself", f"go on with it: `overwinter resume {branch}`"
        )
    completions = store.read(branch, info.fork_seq + 1, kinds=["sample.completion"])
    first = next((entry for entry in completions if is_visible(entry)), None)
    if first is None:
        raise UsageError(
            f"branch {branch!r} has decided nothing yet", f"let it work first: `overwinter resume {branch}`"
        )
    entries = session.append(adopted(branch, first))
    witness(session.parts, entries[-1])
    return entries


def adopted(branch: str, completion: Entry) -> list[Draft]:
    """What a run writes that takes over what a branch decided. Its cost is booked in the branch already."""
    body = {key: value for key, value in completion.body.items() if key != "settle"}
    body |= {"intent": -1, "settle": {"reserved": {}, "spent": {}}}
    return [
        Draft(kind="branch.committed", body={"branch": branch, "seq": completion.seq}),
        Draft(kind="sample.completion", body=body, refs=completion.refs),
    ]
