"""A branch: a fork of a run that looks ahead, opened at little cost.

    root fork            run.forked, (critic), branch.scored             has the decision's budget
      └ node 1           run.forked, completion, (imagined world), call, receipt, …, (critic), branch.scored
          └ node 2       run.forked, …                                   a node is a fork of its parent's last entry

Nothing is copied but what changes: a fork is a row, and its first entry names what it goes on from. Inside one process the state, the
rendered view, the world and the model's notes are handed on in memory (`Seat`); in another they are read from the journal as for any
run, and come out the same.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from overwinter.errors import UsageError
from overwinter.journal import Draft, Lease, NewRun, RunInfo, Store
from overwinter.journal.lease import DEFAULT_TTL_S, this_owner
from overwinter.journal.store import BRANCH_TITLE
from overwinter.loop.gates import Gates, speculative_rules
from overwinter.loop.model import Model
from overwinter.loop.search.critics import make_critic
from overwinter.loop.session import Parts, Session, load_state, restore_world
from overwinter.loop.state import RunState
from overwinter.loop.view import ViewBuilder
from overwinter.loop.world import ACT, WorldSession
from overwinter.tools import Tool, Toolbox


@dataclass(kw_only=True)
class Seat:
    """Where a branch stands, in this process: all that a child goes on from."""

    state: RunState
    model: Model
    world: WorldSession | None
    view: ViewBuilder


class BranchSession(Session):
    """A session whose parts are its parent's: closing it closes none of them, and keeps no cache of its state."""

    def close(self) -> None:
        if not self._closing.is_set():
            self._closing.set()
            self.store.release(self._lease)

    @property
    def seat(self) -> Seat:
        return Seat(state=self.state, model=self.parts.model, world=self.parts.world, view=self.view)


def seat_of(session: Session) -> Seat:
    """Where a run stands that a search begins in."""
    return Seat(state=session.state, model=session.parts.model, world=session.parts.world, view=session.view)


def copied(seat: Seat) -> Seat:
    """The same place, to be gone on from apart. Models without a memory are shared."""
    branch: Callable[[], Model] | None = getattr(seat.model, "branch", None)
    return Seat(
        state=copy.deepcopy(seat.state),
        model=branch() if branch is not None else seat.model,
        world=seat.world.branch() if seat.world is not None else None,
        view=seat.view,
    )


def make_branch(
    store: Store, *, name: str, parent: RunState, setup: Mapping[str, Any], caps: Mapping[str, int] | None
) -> Lease:
    """Create the fork and write its first entry; the lease to go on with.

    Raises:
        UsageError: the name is taken by a run that has entries.
    """
    seq, number = parent.head_seq, setup["branch"]["node"]
    info = _unborn(store, name) or store.create(
        NewRun(
            run=name,
            title=f"{BRANCH_TITLE}{number} of {parent.run}@{seq}",
            parent=parent.run,
            fork_seq=seq,
            caps=None if caps is None else dict(caps),
            shared=store.info(parent.run).budgets,
        )
    )
    body = {
        "parent": parent.run,
        "seq": seq,
        "reason": "search",
        "budgets": list(info.budgets),
        "caps": dict(caps or {}),
        "setup": {**setup, "speculative": True},
    }
    lease = store.acquire(name, this_owner(), DEFAULT_TTL_S, take_over=True)
    try:
        store.append(name, [Draft(kind="run.forked", body=body)], fence=lease.fence)
    except BaseException:
        store.release(lease)
        raise
    return lease


def _unborn(store: Store, name: str) -> RunInfo | None:
    """The row of a branch whose process died before it could write the first entry. Whoever holds the run's lease owns its branches, so
    it is taken from anybody."""
    try:
        info = store.info(name)
    except UsageError:
        return None
    return info if info.unborn else None


def open_branch(
    session: Session, name: str, critic: str, seat: Seat | None, lease: Lease | None = None
) -> BranchSession:
    """Become the writer of a branch that exists.

    Args:
        session: of the run that searches: its tools, gates and pace are the branch's too.
        seat: where its parent stands, if the branch has nothing but its first entry; None reads all of it from the journal.
        lease: of the branch, if this process has it: every lease taken and given back is a write that waits for the disk.
    """
    store = session.store
    lease = lease or store.acquire(name, this_owner(), DEFAULT_TTL_S, take_over=True)
    try:
        if seat is not None:
            place = copied(seat)
            place.state.run = name
            for entry in store.read(name, place.state.head_seq + 1):
                place.state.apply(entry)
        else:
            place = _from_journal(session, name)
        parts = _parts(session.parts, place, critic)
        opened = BranchSession(store, lease, place.state, parts)
        opened.view.inherit(place.view)
        if seat is None:
            restore_world(store, place.state, parts.world, parts.model)
    except BaseException:
        store.release(lease)
        raise
    return opened


def _from_journal(session: Session, name: str) -> Seat:
    here = copied(seat_of(session))
    here.state = load_state(session.store, name)
    return here


def _parts(parts: Parts, seat: Seat, critic: str) -> Parts:
    act = seat.world.tool() if seat.world is not None else None
    tools: list[Tool] = [act if act is not None and each.name == ACT else each for each in parts.toolbox]
    asked = seat.state.setup.get("branch", {})
    own = [seq for seq in (seat.state.completion,) if seq is not None and seq > seat.state.forked_at]
    return dataclasses.replace(
        parts,
        model=seat.model,
        toolbox=Toolbox(tools),
        world=seat.world,
        gates=Gates(rules=speculative_rules(ACT if seat.world is not None else "")),
        # A critic's question that died with its process is settled as a judge's is.
        judge=make_critic(critic, seat.model),
        search=None,
        without=() if own else tuple(asked.get("without", ())),
    )
