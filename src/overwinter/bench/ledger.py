"""The journal side of a benchmark: begin, go on, append, keep the lease. What is asked, and how, is `running` and `playing`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import overwinter
from overwinter.bench.plan import SETUP, Plan
from overwinter.bench.suite import Item, Scored
from overwinter.errors import UsageError
from overwinter.journal import Draft, Entry, NewRun, Packer, Store
from overwinter.journal.lease import DEFAULT_TTL_S, this_owner

ENDED = frozenset({"verified", "unverified", "failed", "cancelled"})
Progress = Callable[[int, int], None]
Result = tuple[Item, int, Scored]


class Ledger:
    """One process at work on one benchmark; a context manager that gives the lease back.

    Attributes:
        done: (item, sample) of what is answered.
    """

    def __init__(self, store: Store, run: str, plan: Plan) -> None:
        self.store, self.run, self.plan = store, run, plan
        self.suite, self.config = plan.suite, plan.config
        self.items = {item.id: item for item in plan.items}
        self.total = len(plan.items) * plan.config.samples
        self.done: set[tuple[str, int]] = set()
        self._lease = store.acquire(run, this_owner(), DEFAULT_TTL_S)
        self._renewed = time.monotonic()
        self.head = store.info(run).head_seq

    def begin(self, caps: Mapping[str, int]) -> Self:
        """Write the first entry."""
        body = {
            "goal": self.plan.title,
            "acceptance": [],
            "setup": {SETUP: self.plan.as_json(), "model": dict(self.plan.model)},
            "budgets": [self.run],
            "caps": dict(caps),
            "version": overwinter.__version__,
        }
        self.append([Draft(kind="run.started", body=body)])
        return self

    def go_on(self, add: Mapping[str, int] | None = None) -> Self:
        """Read what is done, and note that a process goes on.

        Raises:
            UsageError: the questions are not those it began with.
        """
        began = next(iter(self.store.read(self.run, 0, 1)))
        if began.body["setup"][SETUP]["digest"] != self.plan.as_json()["digest"]:
            raise UsageError(
                f"the questions of run {self.run!r} are not those of the data as it is now",
                "name the folder with the data it was begun with: --data",
            )
        for entry in self.store.read(self.run):
            self.take(entry)
        changed = {"budget": self.run, "add": dict(add or {}), "by": "user"}
        resumed = {"fence": self._lease.fence, "owner": this_owner(), "state": ""}
        self.append(
            [
                *self.lost(),
                Draft(kind="run.resumed", body=resumed),
                *([Draft(kind="budget.changed", body=changed)] if add else []),
            ]
        )
        return self

    def take(self, entry: Entry) -> None:
        """Read one entry back."""
        if entry.kind == "verdict":
            finding = entry.body["findings"][0]
            self.done.add((finding["id"], finding["sample"]))

    def lost(self) -> list[Draft]:
        """What has to be noted of questions that a dead process had asked."""
        return []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.store.release(self._lease)

    def append(self, drafts: list[Draft], packer: Packer | None = None) -> list[Entry]:
        self.keep_lease()
        written = self.store.append(
            self.run, drafts, fence=self._lease.fence, blobs=None if packer is None else packer.blobs
        )
        self.head = written[-1].seq
        return written

    def keep_lease(self) -> None:
        """Renew it where a third of its time is gone."""
        if time.monotonic() - self._renewed > DEFAULT_TTL_S / 3:
            self._lease = self.store.renew(self._lease, DEFAULT_TTL_S)
            self._renewed = time.monotonic()

    def suspend(self, reason: str, detail: str) -> None:
        self.append([Draft(kind="run.suspended", body={"reason": reason, "detail": detail})])

    def end(self) -> None:
        detail = f"{len(self.done)} answers; a benchmark measures, it has no goal to be verified"
        self.append([Draft(kind="run.ended", body={"status": "unverified", "detail": detail})])

    def count(self, result: Result, progress: Progress | None) -> Result:
        self.done.add((result[0].id, result[1]))
        if progress is not None:
            progress(len(self.done), self.total)
        return result

    def verdict(self, item: Item, sample: int, result: Scored, claim: int, more: Mapping[str, Any]) -> Draft:
        """The entry that holds a result."""
        met = None if result.correct is None else result.correct >= 0.5
        finding = {
            "id": item.id,
            "met": met,
            "note": result.answer or result.status,
            "entries": [claim] if claim >= 0 else [],
            "answer": result.answer,
            "sample": sample,
            "score": result.correct,
            "status": result.status,
            "stated": result.stated,
            **more,
        }
        body = {
            "claim": claim,
            "status": {True: "verified", False: "rejected", None: "unverified"}[met],
            "checker": f"bench:{item.suite or self.suite.name}@{self.suite.version}",
            "findings": [{name: value for name, value in finding.items() if value is not None or name == "met"}],
        }
        return Draft(kind="verdict", body=body)


def create(store: Store, run: str, plan: Plan, caps: Mapping[str, int]) -> None:
    """Make the empty run. Raises UsageError for a name that is taken."""
    store.create(NewRun(run=run, title=plan.title, caps=dict(caps)))
