"""`erase`: one call that reaches every place a text has got to, and then looks whether it did.

    receipt = erase(memory, Selector(words="Reinhold"), reason="he asked us to", by="Ada")
    assert receipt.clean

What is chosen (`choose`) and what repeats it (`echoes`) goes from the journal (`journal.erase`: tombstones, blobs, letters, cached
states) and from the index (units, words, vectors, claims that nothing else supports, digests, which are made anew). The files of
both are written anew, and then searched from the first byte to the last. The receipt says what went where, and is itself an entry
of the notebook; it repeats nothing of what was erased.

Idempotent: a call that was killed is completed by the same call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from overwinter.errors import UsageError
from overwinter.journal import ERASED, Entry, Store
from overwinter.journal import erase as erase_entries
from overwinter.journal.erase import complete, family, needed
from overwinter.journal.texts import Remains, search, spellings, texts
from overwinter.memory.choose import Place, Progress, Selector, all_units, choose
from overwinter.memory.claims import ClaimKeeper
from overwinter.memory.digests import update_spans
from overwinter.memory.echoes import SHARED_CHARS, SHORTEST_CHARS, Echoes, Original, find_echoes, find_records
from overwinter.memory.namespace import Runs
from overwinter.memory.policy import held_places, refuse_held
from overwinter.memory.unit import Filter, Unit

if TYPE_CHECKING:
    from overwinter.memory.memory import Memory

PROBE_CHARS = 200
"""A longer text is looked for by pieces of `SHARED_CHARS` from its whole length."""
PROBES_PER_TEXT = 8
MAX_PROBES = 256
"""The search takes time in proportion: of a large erasure, texts at even distances are looked for, and the receipt says how many."""
ECHOES = ("erase", "keep")


@dataclass(kw_only=True)
class Plan:
    """What an erasure will do; `memory erase --dry-run` shows it.

    Attributes:
        chosen: the entries asked for. echoes: what repeats them.
        kept: echoes that stay: by wish, because an open run needs them or a policy holds them; with the reason.
        said: the texts that go.
    """

    chosen: set[Place]
    echoes: Echoes
    kept: dict[Place, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def going(self) -> set[Place]:
        return self.chosen | (self.echoes.entries - self.kept.keys())


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What was done.

    Attributes:
        cite: the entry of the notebook that holds this receipt.
        entries: RUN#SEQ of what was erased, echoes included; hashes: theirs, in the same order.
        echoes: how many of them were echoes. kept: RUN#SEQ of echoes that stay, with the reason.
        counts: by place: blobs, shared blobs that stay, letters, token records, units, claims, digests.
        checked: how many texts were looked for afterwards, of how many; shorter ones than 12 characters are not.
        left: where one was found all the same, in words. elsewhere: what no search from here can reach.
    """

    namespace: str
    when_us: int
    reason: str
    by: str
    chosen_by: str
    entries: tuple[str, ...]
    hashes: tuple[str, ...]
    echoes: int
    kept: dict[str, str]
    counts: dict[str, int]
    checked: int
    texts: int
    left: tuple[str, ...]
    elsewhere: tuple[str, ...]
    cite: str = ""

    @property
    def clean(self) -> bool:
        """No byte was left where we could look."""
        return not self.left


def plan(memory: Memory, selector: Selector, *, echoes: str = "erase", progress: Progress | None = None) -> Plan:
    """What `erase` would do. Brings the index up to date first.

    Raises:
        UsageError: nothing to select by; a policy holds one of the entries, or an open run needs one.
    """
    memory.sync()
    return _plan(memory, choose(memory, selector, progress), echoes=echoes, progress=progress)


def erase(
    memory: Memory,
    selector: Selector,
    *,
    reason: str,
    by: str,
    echoes: str = "erase",
    progress: Progress | None = None,
) -> Receipt:
    """Erase what `selector` chooses, and its echoes, everywhere in this namespace.

    Args:
        reason, by: kept for ever; they must not repeat what is erased.
        echoes: "erase", or "keep" to leave and list them.

    Raises:
        UsageError: see `plan`; a reason that repeats the text.
        LeaseLost: a living process works on a run that holds one of the entries.
    """
    for form in (selector.words, selector.pattern):
        if form and form.casefold() in f"{reason} {by}".casefold():
            raise UsageError(
                "the reason repeats what is to be erased, and would keep it for ever", "say it in other words"
            )
    made = plan(memory, selector, echoes=echoes, progress=progress)
    if selector.words:
        made.said.insert(0, selector.words)
    return carry_out(memory, made, reason=reason, by=by, chosen_by=selector.describe())


def erase_places(
    memory: Memory, places: Iterable[Place], *, reason: str, by: str, echoes: str = "erase", skip_needed: bool = False
) -> Receipt:
    """Erase these entries; with `skip_needed`, all but those that an open run needs."""
    chosen = set(places)
    if skip_needed:
        chosen -= _needed(memory.store, chosen).keys()
    return carry_out(memory, _plan(memory, chosen, echoes=echoes), reason=reason, by=by, chosen_by=reason)


def _plan(memory: Memory, chosen: set[Place], *, echoes: str, progress: Progress | None = None) -> Plan:
    if echoes not in ECHOES:
        raise UsageError(f"echoes cannot be treated as {echoes!r}", f"use one of: {', '.join(ECHOES)}")
    store = memory.store
    refuse_held(memory, chosen)
    for (run, seq), why in _needed(store, chosen).items():
        raise UsageError(
            f"{run}#{seq} cannot be erased: {why}", f"let the run go on or end first; see `overwinter log {run}`"
        )
    said = [text for place in sorted(chosen) for text in texts(store, _entry(store, place))]
    runs = [info.run for info in Runs(store, memory.namespace).of(store.runs())]
    found = find_echoes(store, runs, Original(said), chosen, progress)
    find_records(store, chosen | (found.entries if echoes == "erase" else set()), found)
    found.entries -= chosen
    kept = dict.fromkeys(found.entries, "asked to keep it") if echoes == "keep" else {}
    kept |= {place: f"policy {name!r} holds it" for place, name in held_places(memory, found.entries).items()}
    kept |= _needed(store, found.entries)
    said = [text for text in dict.fromkeys(said) if len(text) >= SHORTEST_CHARS]
    return Plan(chosen=chosen, echoes=found, kept=kept, said=said)


def carry_out(memory: Memory, made: Plan, *, reason: str, by: str, chosen_by: str) -> Receipt:
    """Do what the plan says, look whether anything is left, and write the receipt."""
    store = memory.store
    going = made.going
    by_run: dict[str, list[int]] = defaultdict(list)
    for run, seq in sorted(going):
        by_run[run].append(seq)
    for run in made.echoes.records:
        by_run.setdefault(run, [])
    counts: dict[str, int] = defaultdict(int)
    hashes: dict[Place, str] = {place: _entry(store, place).hash for place in sorted(going)}
    for run, seqs in by_run.items():
        done = erase_entries(
            store,
            run,
            seqs,
            reason=reason,
            by=by,
            records=made.echoes.records.get(run, ()),
            letters=made.echoes.letters,
        )
        counts["entries"] += len(done.seqs)
        counts["blobs"] += len(done.blobs)
        counts["shared_blobs"] += len(done.shared)
    for info in Runs(store, memory.namespace).of(store.runs()):
        complete(store, info.run)
    counts["letters"] = len(made.echoes.letters)
    counts["records"] = sum(map(len, made.echoes.records.values()))
    _forget(memory, counts)
    elsewhere = store.scrub()
    probes = _probes(made.said)
    left = _left(memory, probes)
    receipt = Receipt(
        namespace=memory.namespace,
        when_us=store.now_us(),
        reason=reason,
        by=by,
        chosen_by=chosen_by,
        entries=tuple(f"{run}#{seq}" for run, seq in hashes),
        hashes=tuple(hashes.values()),
        echoes=len(going - made.chosen),
        kept={f"{run}#{seq}": why for (run, seq), why in sorted(made.kept.items())},
        counts=dict(counts),
        checked=len(probes),
        texts=len(made.said),
        left=left,
        elsewhere=elsewhere,
    )
    return _written(memory, receipt)


def receipts(store: Store, namespace: str) -> list[Receipt]:
    """The receipts of a namespace, oldest first."""
    from overwinter.memory.policy import notebook_entries

    found: list[Receipt] = []
    for entry in notebook_entries(store, namespace, ["noted"]):
        raw = entry.body.get("data", {}).get("receipt")
        if isinstance(raw, dict):
            sequences = {name: tuple(value) for name, value in raw.items() if isinstance(value, list)}
            found.append(Receipt(**{**raw, **sequences, "cite": f"{entry.run}#{entry.seq}"}))
    return found


def _written(memory: Memory, receipt: Receipt) -> Receipt:
    raw = asdict(receipt)
    del raw["cite"]
    what = f"Erased {len(receipt.entries)} entries, {receipt.echoes} of them echoes: {receipt.reason}."
    rest = "No byte is left." if receipt.clean else f"Left in {len(receipt.left)} places."
    entry = memory.notebook.note(f"{what} {rest}", by="overwinter", data={"receipt": raw})
    memory.sync()
    return Receipt(**{**asdict(receipt), "cite": f"{entry.run}#{entry.seq}"})


def _entry(store: Store, place: Place) -> Entry:
    run, seq = place
    found = next(store.read(run, seq, seq + 1), None)
    if found is None:
        raise UsageError(f"there is no entry {run}#{seq}", f"choose one with `overwinter log {run}`")
    return found


def _needed(store: Store, places: Iterable[Place]) -> dict[Place, str]:
    by_run: dict[str, list[Entry]] = defaultdict(list)
    for place in places:
        entry = _entry(store, place)
        if entry.kind != ERASED:
            by_run[entry.run].append(entry)
    return {
        (run, seq): why
        for run, entries in by_run.items()
        for seq, why in needed(store, family(store, run), entries).items()
    }


# The index


def _forget(memory: Memory, counts: dict[str, int]) -> None:
    """Take out of the index what was derived from erased entries, all that rests on it, and what its files keep of it."""
    index = memory.index
    gone = _erased_units(memory)
    claims_before = {claim.id for claim in index.claims_of([unit.id for unit in gone])}
    times = [time for unit in gone for time in (unit.happened_us, unit.happened_until_us)]
    spans = index.spans(since_us=min(times), until_us=max(times) + 1) if gone else []
    with index.transaction():
        counts["units"] += ClaimKeeper(index).forget({unit.id for unit in gone})
        index.remove_spans([span.id for span in spans])
        if gone:
            counts["digests"] += update_spans(index, min(times))
    counts["claims"] += len(claims_before) - len(index.claims_by_id(claims_before))
    memory.sync()
    purge = getattr(index, "purge", None)
    if purge is not None:
        purge()
    for path in _aside(memory):
        path.unlink()


def _erased_units(memory: Memory) -> list[Unit]:
    found: list[Unit] = []
    for info in Runs(memory.store, memory.namespace).of(memory.store.runs()):
        seqs = {entry.seq for entry in memory.store.read(info.run, info.fork_seq + 1, kinds=[ERASED])}
        if seqs:
            where = Filter(runs=frozenset({info.run}), exclude_flags=frozenset())
            found += [unit for unit in all_units(memory, where) if unit.seq in seqs]
    return found


# Looking whether it is gone


def _probes(said: Sequence[str]) -> list[str]:
    """What is looked for: each text whole, or pieces of it from its whole length."""
    chosen = [text for text in said if len(text) >= 4]
    step = max(1, -(-len(chosen) // MAX_PROBES))
    probes: list[str] = []
    for text in chosen[::step]:
        if len(text) <= PROBE_CHARS:
            probes.append(text)
            continue
        starts = range(0, len(text) - SHARED_CHARS + 1, max(SHARED_CHARS, len(text) // PROBES_PER_TEXT))
        probes += [text[at : at + SHARED_CHARS] for at in starts]
    return list(dict.fromkeys(probes))


def _left(memory: Memory, probes: Sequence[str]) -> tuple[str, ...]:
    mine = {info.run for info in Runs(memory.store, memory.namespace).of(memory.store.runs())}
    found = search(memory.store, probes, _files(memory))
    places = dict.fromkeys(_in_words(remains, mine) for remains in found)
    forms = [form for probe in probes for form in spellings(probe)]
    if probes and any(_occurs(forms, unit.text) for unit in all_units(memory, Filter(exclude_flags=frozenset()))):
        places["units of the index"] = None
    if probes and any(_occurs(forms, span.text) for span in memory.index.spans()):
        places["digests of the index"] = None
    return tuple(places)


def _occurs(forms: Sequence[bytes], text: str) -> bool:
    data = text.encode()
    return any(form in data for form in forms)


def _in_words(remains: Remains, mine: set[str]) -> str:
    kind, _, name = remains.place.partition(" ")
    run = name.rpartition("#")[0] if kind == "entry" else name.partition("/")[0]
    foreign = kind in {"entry", "title", "cache"} and run not in mine
    return f"{kind} of another namespace" if foreign else remains.place


def _files(memory: Memory) -> list[Path]:
    path = getattr(memory.index, "path", None)
    if not isinstance(path, Path):
        return []
    return [each for each in sorted(path.parent.glob(f"{path.name}*")) if each.is_file()]


def _aside(memory: Memory) -> list[Path]:
    """Files of an index that was found damaged and kept under another name: they hold what it held."""
    return [path for path in _files(memory) if ".damaged" in path.name]
