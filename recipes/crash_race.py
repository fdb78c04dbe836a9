"""Two processes and one run: who may work when both resume at once, and what a frozen owner can still do after it was replaced."""

from __future__ import annotations

import os
import signal

from crash_check import Findings, check, open_place
from crash_life import Fork, Place
from crash_points import Points

FREEZE_AT = (
    ("append: before the transaction", 5),
    ("append: after the commit", 5),
    ("actor: before the question", 3),
    ("actor: after the answer", 3),
    ("tool: after the call, before the receipt", 2),
    ("renew: before the transaction", 1),
    ("save_cache: after the commit", 1),
    ("release: before the transaction", 1),
    ("post: after the commit", 1),
)
"""Points (kind, which of them) at which an owner is frozen. Not inside a transaction: there it holds the database, and everybody
waits for it. And not between an intent and its call: see docs/crash_matrix.md, "What it does not show"."""
FREE_AT = ("post: after the commit",)
"""Here nobody owns the run."""


def double_resume(place: Place, at: int) -> Findings:
    """Kill a run at point `at`; two processes resume it at the same moment; one may, the other is told that it may not."""
    first = Fork(place, Points(at)).end()
    rivals = [Fork(place, Points(), "hold") for _ in range(2)]
    opened = [rival.wait_for(("owner", "lost", "error")) for rival in rivals]
    words = sorted(line for lines in opened for line in lines[:1])
    for rival in rivals:
        rival.go_on()
    said = [line for rival in rivals for line in rival.end().said]
    said += Fork(place, Points()).end().said
    findings = check(place, [*first.said, *said])
    if words != ["lost the lease", "owner"]:
        findings.add("other", f"of two that resumed at once: {words}")
    return findings


def frozen_owner(place: Place, kind: str, nth: int) -> Findings:
    """Freeze the owner at a point; another is refused, then takes over and ends the run; the first, thawed, writes nothing."""
    owner = Fork(place, Points(kind=kind, nth=nth, sent=signal.SIGSTOP))
    frozen = owner.is_frozen()
    polite = Fork(place, Points(), "look").end()
    heir = Fork(place, Points(), "take over")
    heir.wait_for(("owner", "lost", "error"))
    heir.go_on()
    said = [*heir.end().said, *Fork(place, Points()).end().said]
    head = _head(place)
    os.kill(owner.pid, signal.SIGCONT)
    said += [line for line in owner.end().said if not line.startswith("lost")]
    findings = check(place, said)
    if not frozen:
        findings.add("other", f"the owner was not frozen at {kind!r}")
    if polite.said != ("lost the lease",) and kind not in FREE_AT:
        findings.add("other", f"frozen at {kind!r}, a second process was not refused: {polite.said[:2]}")
    if _head(place) != head:
        findings.add("other", f"frozen at {kind!r} and replaced, the old owner wrote {head} → {_head(place)}")
    return findings


def _head(place: Place) -> tuple[int, str]:
    store = open_place(place)
    info = store.info(place.run)
    store.close()
    return info.head_seq, info.head_hash
