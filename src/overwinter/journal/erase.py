"""Erasing: the content of chosen entries goes, the chain goes on, and the journal says what was erased, why and by whom.

In this order, so that a kill between any two steps leaves what the same call completes:

1. an `entries.erased` entry in the run that owns them names the entries, their hashes and the blobs that go (the *witness*);
2. in one transaction, tombstones take the place of the entries, blobs that no other entry refers to lose their content, letters
   that repeat a text and the caches of the run and its forks are deleted;
3. `Store.scrub` writes the files anew (once, after the last run).

An erased entry keeps its number, time and hash: `read` yields it as kind "erased", and `verify` accepts it because the witness
lists its hash. A run that a living process works on is refused, because that process still holds the text in memory.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from overwinter.errors import LeaseLost, UsageError
from overwinter.journal.canonical import canonical
from overwinter.journal.collect import ENDED
from overwinter.journal.entry import Draft, Entry
from overwinter.journal.lease import DEFAULT_TTL_S, this_owner
from overwinter.journal.store import Lease, RunInfo, Store
from overwinter.journal.texts import spellings, texts
from overwinter.journal.tombstone import ERASED, named_by

NEVER = frozenset({"entries.erased", "blobs.collected"})
"""Without them nobody could tell an erased entry from a damaged one."""
_BEGINNING = frozenset({"run.started", "run.forked"})
_STEP = frozenset(
    {"sample.completion", "gate.decision", "approval.answered", "effect.intent", "effect.in_doubt", "sleep.started"}
    | {"done.claimed"}
)
"""What an open run needs of the step it is in."""
MIN_REPEAT_CHARS = 12
"""Shorter texts, such as "yes", occur by chance: they condemn no letter and no reason."""
FEW = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased:
    """What `erase` did to one run.

    Attributes:
        seqs, hashes: of the entries that are tombstones now and were none before.
        already: how many of the entries asked for were erased before.
        blobs: those whose content is gone. shared: those that stay, because entries that stay refer to them.
        witness: RUN#SEQ of the entry that names them, "" if nothing was to be done.
    """

    run: str
    seqs: tuple[int, ...] = ()
    hashes: tuple[str, ...] = ()
    already: int = 0
    blobs: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    letters: int = 0
    witness: str = ""


def erase(
    store: Store,
    run: str,
    seqs: Collection[int],
    *,
    reason: str,
    by: str,
    records: Collection[str] = (),
    letters: Collection[str] = (),
) -> Erased:
    """Erase entries that `run` owns. Idempotent: what is erased already stays so, what a killed process began is completed.

    Call `store.scrub()` afterwards; until then the texts lie in freed pages and in the database's log.

    Args:
        reason, by: kept for ever in the witness; the reason must not repeat what is erased.
        records: blobs to drop although the entries that refer to them stay: token records of prompts that held the text.
        letters: ids of letters to delete beside those of the run and its forks that repeat one of the texts.

    Raises:
        UsageError: an entry the run does not own, one that must stay, or a reason that repeats the text.
        LeaseLost: a living process works on the run or on a fork of it.
    """
    kin = family(store, run)
    wanted = sorted(set(seqs))
    _check_owned(kin[0], wanted)
    with _leases(store, kin) as leases:
        entries = list(_entries(store, run, wanted))
        plan = _plan(store, kin, [entry for entry in entries if entry.kind != ERASED], f"{reason} {by}")
        plan.gone += sorted(hash_ for hash_ in set(records) - set(plan.gone) if store.blob_state(hash_) == "present")
        plan.letters |= set(letters)
        witness = _carry_out(store, run, plan, leases[run].fence, {"reason": reason, "by": by})
    return Erased(
        run=run,
        seqs=tuple(entry.seq for entry in plan.pending),
        hashes=tuple(entry.hash for entry in plan.pending),
        already=len(entries) - len(plan.pending),
        blobs=tuple(plan.gone),
        shared=tuple(sorted(plan.shared)),
        letters=len(plan.letters),
        witness=witness,
    )


@dataclass(kw_only=True)
class _Plan:
    """What is to be done: entries that are no tombstones yet, blobs that go and blobs that stay, letters, earlier witnesses."""

    pending: list[Entry]
    witnesses: list[Entry]
    gone: list[str]
    shared: set[str]
    letters: set[str]


def _plan(store: Store, kin: Sequence[RunInfo], pending: list[Entry], words: str) -> _Plan:
    _refuse_needed(store, kin, pending)
    said = [text for entry in pending for text in texts(store, entry)]
    _refuse_telling(words, said)
    witnesses = list(store.read(kin[0].run, kin[0].fork_seq + 1, kinds=["entries.erased"]))
    refs = {ref for entry in pending for ref in entry.refs}
    shared = _referred(store, refs, {(entry.run, entry.seq) for entry in pending})
    going = (refs - shared) | _left_over(store, witnesses)
    return _Plan(
        pending=pending,
        witnesses=witnesses,
        gone=sorted(hash_ for hash_ in going if store.blob_state(hash_) == "present"),
        shared=shared,
        letters=_letters(store, kin, said),
    )


def _carry_out(store: Store, run: str, plan: _Plan, fence: int, words: Mapping[str, str]) -> str:
    """Write the witness of what has none yet, then erase; the newest witness as RUN#SEQ."""
    fresh, groups = _by_witness(plan.witnesses, plan.pending)
    known = {hash_ for witness in plan.witnesses for hash_ in witness.body["blobs"]}
    if fresh or set(plan.gone) - known:
        body = {
            "run": run,
            "seqs": [entry.seq for entry in fresh],
            "hashes": [entry.hash for entry in fresh],
            "blobs": plan.gone,
            **words,
        }
        (witness,) = store.append(run, [Draft(kind="entries.erased", body=body)], fence=fence)
        plan.witnesses.append(witness)
        groups[witness.seq] = fresh
    if not plan.witnesses:
        return ""
    last = plan.witnesses[-1].seq
    groups.setdefault(last, [])
    for seq, chosen in groups.items():
        store.erase(
            run,
            [entry.seq for entry in chosen],
            by=seq,
            fence=fence,
            blobs=plan.gone if seq == last else (),
            letters=plan.letters if seq == last else (),
        )
    return f"{run}#{last}"


def complete(store: Store, run: str) -> Erased:
    """Finish what a killed process began to erase in `run`: everything its witnesses name. Touches nothing if all is done."""
    witnesses = list(store.read(run, store.info(run).fork_seq + 1, kinds=["entries.erased"]))
    seqs = {seq for witness in witnesses for seq in witness.body["seqs"]}
    tombstones = {entry.seq for entry in store.read(run, kinds=[ERASED])} if seqs else set()
    if seqs <= tombstones and not _left_over(store, witnesses):
        return Erased(run=run)
    last = witnesses[-1].body
    return erase(store, run, seqs, reason=last["reason"], by=last["by"])


def family(store: Store, run: str) -> list[RunInfo]:
    """The run and all its forks, theirs too, itself first."""
    kin = [store.info(run)]
    rows = store.runs()
    for info in kin:
        kin += [each for each in rows if each.parent == info.run]
    return kin


def _check_owned(info: RunInfo, seqs: Sequence[int]) -> None:
    for seq in seqs:
        if not info.fork_seq < seq <= info.head_seq:
            whose = f"it belongs to {info.parent!r}" if 0 <= seq <= info.fork_seq else "there is none"
            raise UsageError(
                f"run {info.run!r} owns no entry {seq}: {whose}", f"choose one with `overwinter log {info.run}`"
            )


@contextmanager
def _leases(store: Store, kin: Sequence[RunInfo]) -> Iterator[Mapping[str, Lease]]:
    """Be the only writer of all these runs: a process that works on one has its texts in memory and would write them again."""
    with ExitStack() as stack:
        leases: dict[str, Lease] = {}
        for info in kin:
            try:
                leases[info.run] = store.acquire(info.run, this_owner(), DEFAULT_TTL_S)
            except LeaseLost as error:
                raise LeaseLost(
                    f"{error.problem}, and holds in memory what is to be erased",
                    f"end its work with `overwinter stop {info.run}`, then erase again",
                ) from error
            stack.callback(store.release, leases[info.run])
        yield leases


def _entries(store: Store, run: str, seqs: Sequence[int]) -> Iterator[Entry]:
    """The entries of these numbers, which are sorted; near ones are read together."""
    wanted, at = set(seqs), 0
    while at < len(seqs):
        end = at + 1
        while end < len(seqs) and seqs[end] - seqs[end - 1] < 50:
            end += 1
        yield from (entry for entry in store.read(run, seqs[at], seqs[end - 1] + 1) if entry.seq in wanted)
        at = end


def needed(store: Store, kin: Sequence[RunInfo], entries: Sequence[Entry]) -> dict[int, str]:
    """Those of these entries of the first run of `kin` that must stay, and why: without them an open run could not go on, or
    nobody could tell what was erased."""
    reasons = {
        entry.seq: "it says what was erased or collected, and holds no text" for entry in entries if entry.kind in NEVER
    }
    lasts = {kin[0].run: kin[0].head_seq}
    for info in kin[1:]:
        lasts[info.run] = min(info.fork_seq, lasts[str(info.parent)])
    for info in kin:
        shown = [entry for entry in entries if entry.seq <= lasts[info.run]]
        if info.status in ENDED or info.unborn or not shown:
            continue
        later = {"sample.intent": -1, "world.saved": -1}
        for entry in store.read(info.run, min(entry.seq for entry in shown), kinds=list(later)):
            if entry.body.get("purpose", "act") == "act":
                later[entry.kind] = entry.seq
        for entry in shown:
            why = _why_needed(entry, step=later["sample.intent"], saved=later["world.saved"])
            if why:
                reasons.setdefault(entry.seq, f"run {info.run!r} is open, and {why}")
    return reasons


def _refuse_needed(store: Store, kin: Sequence[RunInfo], pending: Sequence[Entry]) -> None:
    reasons = needed(store, kin, pending)
    for entry in pending:
        if entry.seq in reasons:
            raise UsageError(
                f"entry {entry.seq} ({entry.kind}) of run {entry.run!r} cannot be erased: {reasons[entry.seq]}",
                f"let the run go on or end first; see `overwinter log {entry.run}`",
            )


def _why_needed(entry: Entry, *, step: int, saved: int) -> str:
    if entry.kind in _BEGINNING:
        return "it says how the run is built"
    if entry.kind in _STEP and entry.seq > step:
        return "it belongs to the step the run is in"
    if entry.kind == "world.saved" and entry.seq >= saved:
        return "its world is restored from it"
    if entry.kind == "effect.receipt" and entry.body["data"].get("world") and entry.seq > saved:
        return "its world is played again from the last saved state over it"
    return ""


def _refuse_telling(words: str, said: Sequence[str]) -> None:
    if any(len(text) >= MIN_REPEAT_CHARS and text in words for text in said):
        raise UsageError(
            "the reason repeats a text that is to be erased, and would keep it for ever", "say it in other words"
        )


def _by_witness(witnesses: Sequence[Entry], pending: Sequence[Entry]) -> tuple[list[Entry], dict[int, list[Entry]]]:
    """Entries that no earlier witness names, and the others by the witness that does."""
    fresh: list[Entry] = []
    groups: dict[int, list[Entry]] = {}
    known = {named: witness.seq for witness in witnesses for named in named_by(witness, witness.run)}
    for entry in pending:
        found = known.get((entry.seq, entry.hash))
        (fresh if found is None else groups.setdefault(found, [])).append(entry)
    return fresh, groups


def _referred(store: Store, hashes: set[str], but: set[tuple[str, int]]) -> set[str]:
    """Those of `hashes` that an entry outside `but` refers to."""
    if not hashes:
        return set()
    kept: set[str] = set()
    if len(hashes) <= FEW:
        for hash_ in hashes:
            for run, seq in store.mentions(hash_.encode()):
                entry = None if (run, seq) in but else next(store.read(run, seq, seq + 1), None)
                if entry is not None and hash_ in entry.refs:
                    kept.add(hash_)
        return kept
    for stored in store.contents():
        if stored.place == "entry" and (stored.name, stored.seq) not in but:
            kept.update(hashes.intersection(_refs(stored.data)))
    return kept


def _left_over(store: Store, witnesses: Sequence[Entry]) -> set[str]:
    """Blobs that a witness names and that are still there: a process was killed. But not those that somebody stored anew since."""
    left: set[str] = set()
    for witness in witnesses:
        for hash_ in witness.body["blobs"]:
            if store.blob_state(hash_) != "present":
                continue
            rows = [next(store.read(run, seq, seq + 1)) for run, seq in store.mentions(hash_.encode())]
            if not any(hash_ in row.refs and row.time_us > witness.time_us for row in rows):
                left.add(hash_)
    return left


def _refs(data: bytes) -> list[str]:
    """The references of a stored entry, without reading the rest of it: of its keys only short ones follow "refs"."""
    start = data.rfind(b',"refs":[')
    return list(json.loads(data[start + 8 : data.index(b"]", start) + 1])) if start >= 0 else []


def _letters(store: Store, kin: Sequence[RunInfo], said: Sequence[str]) -> set[str]:
    """The letters to these runs that repeat a text."""
    forms = [form for text in said if len(text) >= MIN_REPEAT_CHARS for form in spellings(text)]
    return {
        letter.id
        for info in kin
        for letter in store.letters(info.run)
        if any(form in canonical(letter.draft.body) for form in forms)
    }
