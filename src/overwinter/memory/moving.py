"""The journal form of an export: the entries and blobs of a namespace's runs, byte for byte, and back with the same hashes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overwinter.errors import StoreError
from overwinter.journal import NewRun, RunInfo, Store
from overwinter.journal.store import RawEntry
from overwinter.journal.tombstone import reopen
from overwinter.memory.namespace import Runs
from overwinter.memory.transfer import VERSION, Manifest, Writer, read_export, whole_file

if TYPE_CHECKING:
    from overwinter.memory.choose import Progress
    from overwinter.memory.memory import Memory

FORMAT = "overwinter-journal"
BATCH_ENTRIES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """Runs and entries in the file, and how many entries were new here."""

    runs: int
    entries: int
    written: int


def export_journal(memory: Memory, path: Path, progress: Progress | None = None) -> Manifest:
    """Write the runs of the namespace to `path`, parents before forks. StoreError at a damaged entry or blob."""
    store = memory.store
    infos = Runs(store, memory.namespace).of(store.runs())
    total, done = sum(info.head_seq - info.fork_seq for info in infos), 0
    with whole_file(path) as file:
        at = store.now_us()
        header = {
            "type": "header",
            "format": FORMAT,
            "version": VERSION,
            "namespace": memory.namespace,
            "exported_us": at,
        }
        writer, written = Writer(file, header), set[str]()
        for info in sorted(infos, key=lambda each: len(_line(store, each))):
            own = info.run in info.budgets
            run: dict[str, Any] = {"type": "run", "run": info.run, "parent": info.parent, "fork_seq": info.fork_seq}
            run |= {"title": info.title, "shared": [name for name in info.budgets if name != info.run], "own": own}
            writer.put(run, [info.run, info.head_hash])
            for raw in _own_entries(store, info):
                fresh = [hash_ for hash_ in dict.fromkeys(_refs(raw)) if hash_ not in written]
                for hash_ in fresh:
                    writer.put(_blob(store, hash_), hash_)
                written.update(fresh)
                writer.put(_entry_line(raw), raw.hash)
                done += 1
                if progress is not None:
                    progress(done, total)
        return writer.finish(FORMAT, memory.namespace)


def import_journal(store: Store, path: Path, progress: Progress | None = None) -> Moved:
    """Take in a file of the journal form. Runs that are here already must be the beginning of those that come.

    Raises:
        UsageError: another run of the same name is here; the file is damaged.
        StoreError: an entry does not have its hash or does not follow the one before.
    """
    manifest, lines = read_export(path, FORMAT)
    total, written = manifest.counts.get("entry", 0), 0
    batch = _Batch(store)
    for number, line in enumerate(lines()):
        match line["type"]:
            case "run":
                written += batch.flush()
                batch.begin(line)
            case "blob":
                batch.blob(line)
            case "entry":
                batch.entries.append(_raw(line))
                if len(batch.entries) >= BATCH_ENTRIES:
                    written += batch.flush()
        if progress is not None and number % 1000 == 0:
            progress(number, total)
    written += batch.flush()
    return Moved(runs=manifest.counts.get("run", 0), entries=total, written=written)


class _Batch:
    """Entries of one run on their way in."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._line: dict[str, Any] | None = None
        self.entries: list[RawEntry] = []
        self._blobs: dict[str, bytes] = {}
        self._collected: list[str] = []

    def begin(self, line: dict[str, Any]) -> None:
        self._line = line

    def blob(self, line: dict[str, Any]) -> None:
        if "collected" in line:
            self._collected.append(line["hash"])
        else:
            self._blobs[line["hash"]] = line["text"].encode() if "text" in line else base64.b64decode(line["base64"])

    def flush(self) -> int:
        if self._line is None or not self.entries:
            return 0
        line = self._line
        if "caps" not in line:
            line["caps"] = reopen(self.entries[0].data or b"", self.entries[0].hash).body["caps"]
        new = NewRun(
            run=line["run"],
            title=line["title"],
            parent=line["parent"],
            fork_seq=line["fork_seq"],
            caps=line["caps"] if line["own"] else None,
            shared=tuple(line["shared"]),
        )
        written = self._store.adopt(new, self.entries, blobs=self._blobs, collected=self._collected)
        self.entries, self._blobs, self._collected = [], {}, []
        return written


def _refs(raw: RawEntry) -> tuple[str, ...]:
    return reopen(raw.data or b"", raw.hash).refs


def _entry_line(raw: RawEntry) -> dict[str, Any]:
    text = (raw.data or b"").decode()
    return {"type": "entry", "run": raw.run, "seq": raw.seq, "kind": raw.kind, "hash": raw.hash, "text": text}


def _raw(line: dict[str, Any]) -> RawEntry:
    return RawEntry(run=line["run"], seq=line["seq"], kind=line["kind"], data=line["text"].encode(), hash=line["hash"])


def _line(store: Store, info: RunInfo) -> list[str]:
    """The runs whose entries it shares."""
    ancestors: list[str] = []
    while info.parent is not None:
        info = store.info(info.parent)
        ancestors.append(info.run)
    return ancestors


def _own_entries(store: Store, info: RunInfo) -> Iterator[RawEntry]:
    for raw in store.raw(info.run):
        if raw.run != info.run or raw.seq > info.head_seq:
            continue
        if raw.data is None:
            raise StoreError(
                f"entry {raw.seq} of run {info.run!r}: {raw.error}", f"see `overwinter log {info.run} --verify`"
            )
        yield raw


def _blob(store: Store, hash_: str) -> dict[str, Any]:
    if store.blob_state(hash_) == "collected":
        return {"type": "blob", "hash": hash_, "collected": True}
    data = store.get_blob(hash_)
    try:
        return {"type": "blob", "hash": hash_, "text": data.decode()}
    except UnicodeDecodeError:
        return {"type": "blob", "hash": hash_, "base64": base64.b64encode(data).decode()}
