"""What must hold after every run, however often its process was killed: the journal against the ledger, and against itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crash_ledger import Ledger
from crash_life import Place
from crash_plan import ONCE, make_parts
from crash_points import Points
from overwinter.errors import OverwinterError
from overwinter.journal import Entry, Store, open_store, verify
from overwinter.journal.rebuild import budgets_from_entries, status_from_entries
from overwinter.loop.replay import replay
from overwinter.loop.session import fold, load_state
from overwinter.loop.tokens import prompt_ids

COLUMNS = ("lost", "duplicated", "repeated", "unverifiable", "other")
"""lost: entries gone after they were acknowledged. duplicated: keyed effects. repeated: irreversible effects. unverifiable:
chains. other: everything else that must hold (budgets, receipts, state, replay, the verdict)."""

Effects = Mapping[str, Mapping[str, Any]]


@dataclass(kw_only=True)
class Findings:
    """Violations by column, and what they are in words."""

    counts: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)

    def add(self, column: str, what: str) -> None:
        self.counts[column] += 1
        self.words.append(f"{column}: {what}")


def check(place: Place, said: Iterable[str]) -> Findings:
    """Everything that must hold for the run at `place`; `said` are the lines of all its lives."""
    findings = Findings()
    store = open_place(place)
    try:
        said = list(said)
        for line in said:
            if line.startswith("error "):
                findings.add("other", line[6:])
        entries = {entry.seq: entry for entry in store.read(place.run)}
        _acknowledged(findings, entries, said)
        _chain(findings, store, place.run)
        effects: list[dict[str, Any]] = Ledger(place.ledger).ask("audit", run=place.run)
        _effects(findings, effects)
        _receipts(findings, entries, {effect["label"]: effect for effect in effects})
        _pairs(findings, entries)
        _derived(findings, store, place.run)
        _again(findings, store, place, entries)
    except OverwinterError as error:
        findings.add("other", f"the checks could not run: {error.problem}")
    finally:
        store.close()
    return findings


def open_place(place: Place) -> Store:
    """The journal, by the package's own stores."""
    if not place.schema:
        return open_store(place.database)
    from overwinter.journal.postgres import PostgresStore

    return PostgresStore(place.database, schema=place.schema)


def _acknowledged(findings: Findings, entries: Mapping[int, Entry], said: Iterable[str]) -> None:
    for line in said:
        if line.startswith("ack "):
            _, seq, hash_ = line.split(" ")
            entry = entries.get(int(seq))
            if entry is None or entry.hash != hash_:
                findings.add("lost", f"entry {seq} was acknowledged as {hash_[:12]}…, the journal has {entry}")


def _chain(findings: Findings, store: Store, run: str) -> None:
    report = verify(store, run)
    for problem in report.problems:
        findings.add("unverifiable", f"entry {problem.seq} {problem.what}")


def _effects(findings: Findings, effects: Iterable[Mapping[str, Any]]) -> None:
    """Each planned effect exactly once, whatever its label; none for what was denied."""
    by_label = Counter((effect["kind"], effect["label"]) for effect in effects)
    by_step = Counter((effect["kind"], effect["step"]) for effect in effects)
    for counted in (by_label, by_step):
        for (kind, what), times in counted.items():
            if times > 1 and kind in {"keyed", "irreversible"}:
                findings.add("duplicated" if kind == "keyed" else "repeated", f"{what}: {times} times")
    by_tool = Counter(effect["step"].partition(" ")[0] for effect in effects)
    for name, wanted in ONCE.items():
        if by_tool[name] < wanted:
            findings.add("other", f"{name} took place {by_tool[name]} times, planned are {wanted}")
        elif by_tool[name] > wanted:
            findings.add("repeated", f"{name} took place {by_tool[name]} times, planned are {wanted}")


def _receipts(findings: Findings, entries: Mapping[int, Entry], effects: Effects) -> None:
    """What the journal says happened is what the ledger has."""
    for receipt in entries.values():
        if receipt.kind != "effect.receipt" or receipt.body["intent"] < 0:
            continue
        intent = entries[receipt.body["intent"]].body
        effect = effects.get(intent["key"])
        if intent["effect"] in {"keyed", "irreversible"} and receipt.body["ok"] != (effect is not None):
            findings.add("other", f"entry {receipt.seq} says ok={receipt.body['ok']}, the ledger has {effect}")
        told = receipt.body["data"].get("receipt")
        if told is not None and (effect is None or told != effect["receipt"]):
            findings.add("other", f"entry {receipt.seq} holds receipt {told}, the ledger has {effect}")
    known = {entry.body["key"] for entry in entries.values() if entry.kind == "effect.intent"}
    for label, effect in effects.items():
        if label not in known:
            findings.add("other", f"the ledger has {effect}, and the journal no intent for it")


def _pairs(findings: Findings, entries: Mapping[int, Entry]) -> None:
    """Finished work is never done again: one answer per question, one receipt per call."""
    answered = Counter(e.body["intent"] for e in entries.values() if e.kind in {"sample.completion", "sample.failed"})
    received = Counter(e.body["call_id"] for e in entries.values() if e.kind == "effect.receipt")
    questions = [e.seq for e in entries.values() if e.kind == "sample.intent"]
    calls = [call["id"] for e in entries.values() if e.kind == "sample.completion" for call in e.body["calls"]]
    for name, wanted, found in (("question", questions, answered), ("call", calls, received)):
        for each in wanted:
            if found[each] != 1:
                findings.add("other", f"{name} {each} has {found[each]} answers")
    letters = Counter(e.body.get("gate") for e in entries.values() if e.kind == "approval.answered")
    for gate, times in letters.items():
        if times > 1:
            findings.add("other", f"the approval at entry {gate} was written {times} times")


def _derived(findings: Findings, store: Store, run: str) -> None:
    """What is kept beside the entries says the same as the entries."""
    expected = budgets_from_entries(store)[run]
    budget = store.budget(run)
    if dict(budget) != expected:
        findings.add("other", f"the budget is {budget}, its entries add up to {expected}")
    for resource, line in budget.items():
        if line.reserved:
            findings.add("other", f"{line.reserved} {resource} are still reserved")
    info = store.info(run)
    if info.status != status_from_entries(store, run) or info.status != "verified":
        findings.add("other", f"the run ended as {info.status!r}")
    if info.owner:
        findings.add("other", f"the run is still owned by {info.owner}")
    if store.letters(run):
        findings.add("other", f"{len(store.letters(run))} letters are left in the inbox")


def _again(findings: Findings, store: Store, place: Place, entries: Mapping[int, Entry]) -> None:
    """The cached state is the folded one, every prompt can be put together, and replay finds the same."""
    if load_state(store, place.run).to_json() != fold(place.run, entries.values()).to_json():
        findings.add("other", "the cached state differs from the folded one")
    for entry in entries.values():
        if entry.kind == "sample.completion" and not prompt_ids(store, place.run, entry):
            findings.add("other", f"entry {entry.seq} has no prompt")
    report = replay(store, place.run, parts=make_parts(place.run, Ledger(place.ledger), Points()))
    if report.divergence is not None:
        findings.add("other", f"replay diverges at entry {report.divergence.seq}: {report.divergence.what}")


def steps_of(said: Iterable[str]) -> Iterator[str]:
    """The kinds of points a counted life has passed."""
    for line in said:
        if line.startswith("point "):
            yield line[6:]
