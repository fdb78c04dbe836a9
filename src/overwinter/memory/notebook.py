"""The notebook of a namespace: the run `memory-NAMESPACE`, in which everything is written that belongs to no run of the loop:
imports, notes, policies, erasures, core blocks, grants.

Anybody may append to it at any time. The lease is held for one append, so that several processes take turns; what was left in
its inbox meanwhile is taken along.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import overwinter
from overwinter.errors import LeaseLost, UsageError
from overwinter.journal import Draft, Entry, NewRun, Packer, Store
from overwinter.journal.lease import this_owner
from overwinter.memory.namespace import namespace_of_setup, notebook_of

AT_REST = "waiting:notebook"
"""The status of every notebook: nobody is to resume it."""
TTL_S = 5.0
"""How long a process on another machine that died while writing is waited for."""
PATIENCE_S = 20.0
"""How long to wait for others' appends before giving up. Longer than the lease, so that only a stuck store gets there."""
PAUSE_S = 0.01


class Notebook:
    """The notebook of `namespace`, made when it is first needed.

    Args:
        wait: sleeps that many seconds; replaced in tests.
    """

    def __init__(self, store: Store, namespace: str, *, wait: Callable[[float], None] = time.sleep) -> None:
        self.store = store
        self.namespace = namespace
        self.run = notebook_of(namespace)
        self._wait = wait
        self._open = False

    def append(self, drafts: Sequence[Draft], blobs: Mapping[str, bytes] | None = None) -> list[Entry]:
        """Write entries, durably, behind whatever others are writing.

        Raises:
            LeaseLost: somebody has held the notebook for `PATIENCE_S`.
            UsageError: a run of this name is no notebook of this namespace.
        """
        waited = 0.0
        while True:
            try:
                return self._append(drafts, blobs)
            except LeaseLost:
                if waited >= PATIENCE_S:
                    raise
            self._wait(PAUSE_S)
            waited += PAUSE_S

    def note(self, text: str, *, by: str, cites: Sequence[str] = (), data: Mapping[str, Any] | None = None) -> Entry:
        """Write a note. `data` may say session, actor, happened_us, happened_until_us, kind and facts."""
        packer = Packer()
        body: dict[str, Any] = {"text": packer.text(text), "cites": list(cites), "by": by}
        if data:
            body["data"] = dict(data)
        return self.append([Draft(kind="noted", body=body, refs=packer.take_refs())], packer.blobs)[0]

    def _append(self, drafts: Sequence[Draft], blobs: Mapping[str, bytes] | None) -> list[Entry]:
        self._ensure()
        lease = self.store.acquire(self.run, this_owner(), TTL_S)
        try:
            letters = self.store.letters(self.run)
            written = self.store.append(
                self.run,
                [*(letter.draft for letter in letters), *drafts],
                fence=lease.fence,
                blobs=blobs,
                letters=[letter.id for letter in letters],
            )
        finally:
            self.store.release(lease)
        return written[len(letters) :]

    def _ensure(self) -> None:
        if self._open:
            return
        try:
            info = self.store.info(self.run)
        except UsageError:
            info = None
        if info is None or info.unborn:
            self._make()
        first = next(self.store.read(self.run, 0, 1), None)
        if first is None:
            raise LeaseLost(f"notebook {self.run!r} is just being made by another process", "try again")
        memory = first.body.get("setup", {}).get("memory", {}) if first.kind == "run.started" else {}
        if not memory.get("notebook") or namespace_of_setup(first.body["setup"]) != self.namespace:
            raise UsageError(f"run {self.run!r} is no notebook", "choose another namespace, or move that run elsewhere")
        self._open = True

    def _make(self) -> None:
        setup = {"memory": {"namespace": self.namespace, "notebook": True}}
        title = f"memory of {self.namespace}"
        body = {
            "goal": title,
            "acceptance": [],
            "setup": setup,
            "budgets": [],
            "caps": {},
            "version": overwinter.__version__,
        }
        rest = {"reason": "notebook", "detail": "a place for what belongs to no run; nothing works on it"}
        drafts = [Draft(kind="run.started", body=body), Draft(kind="run.suspended", body=rest)]
        try:
            self.store.create(NewRun(run=self.run, title=title))
        except UsageError:
            return  # another process was faster
        lease = self.store.acquire(self.run, this_owner(), TTL_S)
        try:
            # Asked again under the lease: between making the run and getting it, another process may have begun it.
            if self.store.info(self.run).unborn:
                self.store.append(self.run, drafts, fence=lease.fence)
        finally:
            self.store.release(lease)


__all__ = ["Notebook"]
