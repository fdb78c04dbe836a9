"""Runs: start one, go on with one, answer its questions. This is the door to everything in `overwinter.loop`.

    store = open_store("overwinter.db")
    with Run.start(store, Goal(text="Bring the greenhouse through the winter", …), setup={…}) as run:
        for entry in run.work():
            print(entry.kind)

`work` yields each entry once it is on disk. Kill the process at any point and open the run again: it goes on.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import overwinter
from overwinter.errors import LeaseLost, UsageError
from overwinter.journal import RESOURCES, Draft, Entry, NewRun, Packer, Store
from overwinter.journal.lease import DEFAULT_TTL_S, this_owner
from overwinter.loop.goal import Goal
from overwinter.loop.session import Parts, Session, load_state
from overwinter.loop.setup import build_parts
from overwinter.loop.state import OpenCall, RunState
from overwinter.loop.step import work

ENDED = frozenset({"verified", "unverified", "failed", "cancelled"})
"""Statuses of a run that nothing more will happen to."""


class Run:
    """One process working on one run; a context manager that gives the lease back."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @classmethod
    def start(
        cls,
        store: Store,
        goal: Goal,
        *,
        setup: Mapping[str, Any] | None = None,
        parts: Parts | None = None,
        caps: Mapping[str, int] | None = None,
        name: str | None = None,
        title: str = "",
    ) -> Run:
        """Begin a run.

        Args:
            setup: JSON from which any process can build the parts (see `loop.setup`).
            parts: parts made in code instead; then only code that makes them again can resume the run.
            caps: the run's budget: tokens, micro_usd, wall_ms, tool_calls; missing ones are not limited.
            name: of the run; made up if None.

        Raises:
            UsageError: neither or both of setup and parts, or a name that is taken.
        """
        if (setup is None) == (parts is None):
            raise UsageError("a run needs either a setup or parts", "pass one of them")
        made = parts if parts is not None else build_parts(setup or {})
        name = name or new_name()
        caps = dict(caps or {})
        try:
            store.create(NewRun(run=name, title=title or goal.text[:80], caps=caps))
            session = Session.open(store, name, lambda _: made)
        except BaseException:
            made.close()
            raise
        run = cls(session)
        try:
            if {resource: line.cap for resource, line in store.budget(name).items()} != caps:
                # Both created it, which is no harm while nobody has written; now it has the other one's budget.
                raise UsageError(f"another process is starting run {name!r}", "choose another name")
            run._first_entries(goal, dict(setup or _setup_of(made)), caps)
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def open(cls, store: Store, name: str, *, parts: Callable[[], Parts] | None = None, take_over: bool = False) -> Run:
        """Go on with a run, in this process.

        Args:
            parts: makes the parts, for a run that was started with parts made in code.
            take_over: take the run from a living owner.

        Raises:
            UsageError: no such run, one that never wrote an entry, or its tools are no longer the ones it was started with.
            LeaseLost: another living process works on it.
        """

        def build(state: RunState) -> Parts:
            _refuse_unborn(store, name)
            if parts is None:
                return build_parts(state.setup)
            made = parts()
            expected = state.setup.get("code")
            if expected is not None and made.toolbox.fingerprint() != expected:
                raise UsageError(
                    f"the tools given are not those run {name!r} was started with",
                    "pass the same tools, or fork the run",
                )
            return made

        return cls(Session.open(store, name, build, take_over=take_over))

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        return self.session.run

    @property
    def state(self) -> RunState:
        return self.session.state

    def work(self) -> Iterator[Entry]:
        """Go on until the run ends or has to wait. See `loop.step.work`."""
        return work(self.session)

    def finish(self) -> str:
        """Work to the end, or to the next wait; the run's status."""
        for _ in self.work():
            pass
        return status(self.state)

    def add_budget(self, amounts: Mapping[str, int], by: str = "user", budget: str | None = None) -> Entry:
        """Raise caps.

        Args:
            budget: which of those the run draws on; None for its own, or the first it shares.

        Raises:
            UsageError: the run does not draw on it, or it does not limit one of the resources.
        """
        name = budget or self.session.budgets[0]
        if name not in self.session.budgets:
            raise UsageError(
                f"run {self.name!r} does not draw on budget {name!r}", f"use one of: {', '.join(self.session.budgets)}"
            )
        lines = self.session.store.budget(name)
        unlimited = sorted(
            each for each in amounts if each in RESOURCES and (each not in lines or lines[each].cap is None)
        )
        if unlimited:
            raise UsageError(f"budget {name!r} does not limit {', '.join(unlimited)}", "leave it out")
        body = {"budget": name, "add": dict(amounts), "by": by}
        return self.session.append([Draft(kind="budget.changed", body=body)])[0]

    def close(self) -> None:
        self.session.close()

    def _first_entries(self, goal: Goal, setup: dict[str, Any], caps: dict[str, int]) -> None:
        packer = Packer()
        session, world = self.session, self.session.parts.world
        drafts = [
            Draft(
                kind="run.started",
                body={
                    "goal": goal.text,
                    "acceptance": goal.acceptance_json(),
                    "setup": setup,
                    "budgets": list(session.budgets),
                    "caps": caps,
                    "version": overwinter.__version__,
                },
            )
        ]
        if world is not None:
            drafts.append(world.first_observation(packer))
        session.append(drafts, packer)
        session.fresh = True


def _setup_of(parts: Parts) -> dict[str, Any]:
    """What the journal says of parts that were made in code: their fingerprint, and the memory they work with."""
    memory = {"memory": parts.memory.as_setup()} if parts.memory is not None else {}
    return {"code": parts.toolbox.fingerprint(), **memory}


def _refuse_unborn(store: Store, run: str) -> None:
    """A run (or fork) that was created but never written: without its first entry nobody knows what it is for, or what it may do."""
    if store.info(run).unborn:
        raise UsageError(
            f"run {run!r} has no entry of its own: its process died before it could write the first",
            "start it (or fork it) again; the name is free",
        )


def new_name() -> str:
    """A name nobody uses: 12 characters."""
    return uuid.uuid4().hex[:12]


def status(state: RunState) -> str:
    """ "running", "waiting:<reason>", or how it ended."""
    if state.ended:
        return state.ended
    return "running" if state.waiting is None else f"waiting:{state.waiting['reason']}"


# Answers from outside. Each may be given while the run works, sleeps, or has no process at all.


def answer_approval(
    store: Store, run: str, *, approve: bool, by: str, reason: str = "", gate: int | None = None
) -> int:
    """Approve or deny the call a run waits for; the number of its gate entry.

    Raises:
        UsageError: nothing waits for an approval, or another call does.
    """
    state = load_state(store, run)
    waiting = [call for call in state.calls if _awaits_answer(call)]
    call = next((call for call in waiting if gate in (None, call.gate if call.doubt is None else call.doubt)), None)
    if call is None:
        open_ = [call.gate if call.doubt is None else call.doubt for call in waiting]
        raise UsageError(
            f"run {run!r} waits for no approval{'' if gate is None else f' at entry {gate}'} (open: {open_ or 'none'})",
            f"see what it waits for with `overwinter log {run}`",
        )
    if call.doubt is not None:
        deliver(
            store,
            run,
            Draft(kind="doubt.answered", body={"doubt": call.doubt, "happened": approve, "by": by, "reason": reason}),
        )
        return call.doubt
    assert call.gate is not None
    decision = "approve" if approve else "deny"
    deliver(
        store,
        run,
        Draft(kind="approval.answered", body={"gate": call.gate, "decision": decision, "by": by, "reason": reason}),
    )
    return call.gate


def _awaits_answer(call: OpenCall) -> bool:
    return call.decision == "ask" if call.intent is None else call.doubt is not None and call.happened is None


def send_event(store: Store, run: str, name: str, data: Mapping[str, Any], by: str) -> None:
    """Tell a run that something happened outside; wakes one that sleeps for it, when it is resumed."""
    deliver(store, run, Draft(kind="event.received", body={"name": name, "data": dict(data), "by": by}))


def request_stop(store: Store, run: str, by: str) -> None:
    """Ask the process that works on a run to stop after the entry it is at."""
    store.post(run, Draft(kind="run.suspended", body={"reason": "stopped", "detail": f"asked to stop by {by}"}))


def deliver(store: Store, run: str, draft: Draft) -> None:
    """Put something into a run's journal from outside: through its inbox, and at once where no process works on it.

    Raises:
        UsageError: no such run, one that never began, or one that has ended.
    """
    _refuse_unborn(store, run)
    if store.info(run).status in ENDED:
        raise UsageError(f"run {run!r} has ended", f"fork it to go on from there: `overwinter fork {run}@ENTRY`")
    store.post(run, draft)
    owner = this_owner()
    if store.info(run).owner == owner:
        return  # a session of this very process has it; taking the lease again would cut it off
    try:
        lease = store.acquire(run, owner, DEFAULT_TTL_S)
    except LeaseLost:
        return  # the owner takes it from the inbox
    try:
        letters = store.letters(run)
        store.append(
            run, [letter.draft for letter in letters], fence=lease.fence, letters=[letter.id for letter in letters]
        )
    finally:
        store.release(lease)


__all__ = ["Run", "answer_approval", "deliver", "new_name", "request_stop", "send_event", "status"]
