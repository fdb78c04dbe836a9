"""Moving memory: out of a journal as JSONL and into another, and in from conversations and texts of other systems.

Two forms of export. The *memory* form holds what was remembered: units with where each came from, claims, digests, core blocks,
policies, receipts. It can be read by anything, and imported into any namespace: units become observations of the notebook, from
which claims and digests are derived anew. The *journal* form (`memory.moving`) holds the entries and blobs themselves; imported
into a journal that lacks the runs, it gives the same entries with the same hashes.

The last line is the manifest: counts, one hash over each kind of content, and one over all bytes before it. Importing twice changes
nothing: what a unit says, who said it, when and in which session make its *origin*, and what is here from an origin stays out.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from overwinter.errors import UsageError
from overwinter.journal import SCHEMA_VERSION, Draft, Packer
from overwinter.journal.canonical import canonical, digest
from overwinter.memory.chats import Said
from overwinter.memory.choose import Progress, all_units
from overwinter.memory.claim import CLAIM_RULES
from overwinter.memory.core import Core, change
from overwinter.memory.diff import ALL_CLAIMS
from overwinter.memory.erase import receipts
from overwinter.memory.policy import notebook_entries, policies, policy_from, set_policy
from overwinter.memory.unit import DERIVER, INJECTED, Filter, Unit

if TYPE_CHECKING:
    from overwinter.memory.memory import Memory

FORMAT, VERSION = "overwinter-memory", 1
BATCH = 500
Line = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an export holds.

    Attributes:
        counts: lines by type.
        hashes: by type, over what the lines say, whatever ids and places it has: equal content gives equal hashes.
        schema: versions of the entries, the deriver and the rules of claims.
        sha256: of all lines before the manifest.
    """

    format: str
    version: int
    namespace: str
    counts: Mapping[str, int]
    hashes: Mapping[str, str]
    schema: Mapping[str, int]
    sha256: str


@dataclass(kw_only=True)
class Imported:
    """What an import did: lines read, observations written, and what was there already; core blocks and policies set."""

    read: int = 0
    written: int = 0
    known: int = 0
    core: int = 0
    policies: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


# Writing


class Writer:
    """Writes lines and counts what they say. `hashed` is what makes two lines equal."""

    def __init__(self, file: IO[str], header: Line) -> None:
        self._file = file
        self._sha = hashlib.sha256()
        self._counts: Counter[str] = Counter()
        self._hashes: dict[str, list[str]] = {}
        self.put(header)

    def put(self, line: Line, hashed: Any = None) -> None:
        text = json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n"
        self._file.write(text)
        self._sha.update(text.encode())
        if hashed is not None:
            self._counts[line["type"]] += 1
            self._hashes.setdefault(line["type"], []).append(
                hashed if isinstance(hashed, str) else digest(canonical(hashed))
            )

    def finish(self, format_: str, namespace: str) -> Manifest:
        manifest = Manifest(
            format=format_,
            version=VERSION,
            namespace=namespace,
            counts=dict(sorted(self._counts.items())),
            hashes={kind: digest("\n".join(sorted(rows)).encode()) for kind, rows in sorted(self._hashes.items())},
            schema={"entries": SCHEMA_VERSION, "deriver": DERIVER, "claims": CLAIM_RULES},
            sha256=self._sha.hexdigest(),
        )
        self._file.write(
            json.dumps({"type": "manifest", **asdict(manifest)}, ensure_ascii=False, sort_keys=True) + "\n"
        )
        return manifest


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A file that is there whole or not at all. Raises UsageError where it cannot be written."""
    try:
        handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error}", "name another file") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def export_memory(memory: Memory, path: Path, progress: Progress | None = None) -> Manifest:
    """Write the memory form to `path`. What repeats memory (flag `injected`) is left out. Brings the index up to date first."""
    memory.sync()
    total = memory.index.count()
    with whole_file(path) as file:
        writer = Writer(file, _header(FORMAT, memory))
        facts, given = _facts(memory), receipts(memory.store, memory.namespace)
        told = {receipt.cite for receipt in given}  # they are lines of their own
        for done, unit in enumerate(all_units(memory, Filter(exclude_flags=frozenset({INJECTED}))), 1):
            if unit.cite in told:
                continue
            line = {
                "type": "unit",
                **asdict(unit),
                "cite": unit.cite,
                "flags": sorted(unit.flags),
                "hash": content_hash(unit),
            }
            if (unit.run, unit.seq) in facts:
                line["facts"] = facts.pop((unit.run, unit.seq))
            writer.put(line, content_hash(unit))
            if progress is not None and done % 1000 == 0:
                progress(done, total)
        for claim in memory.index.claims(limit=ALL_CLAIMS):
            said = [*claim.key, claim.object, claim.polarity, claim.valid_from_us, claim.valid_to_us]
            writer.put({"type": "claim", **asdict(claim)}, said)
        for span in memory.index.spans():
            writer.put({"type": "digest", **asdict(span)}, [span.level, span.period, span.text])
        for name, block in core_blocks(memory).items():
            writer.put({"type": "core", "name": name, **block}, [name, block["text"]])
        for name, policy in policies(memory.store, memory.namespace).items():
            writer.put({"type": "policy", "name": name, "policy": policy.as_json()}, [name, policy.as_json()])
        for receipt in given:
            writer.put({"type": "receipt", **asdict(receipt)}, asdict(receipt))
        return writer.finish(FORMAT, memory.namespace)


def content_hash(unit: Unit) -> str:
    """Of what makes a unit the same wherever it lies: text, who, when, in which session."""
    return digest(canonical([unit.text, unit.actor, unit.session, unit.happened_us, unit.happened_until_us]))[:32]


def core_blocks(memory: Memory) -> dict[str, dict[str, str]]:
    """The core as it stands: name → text, by, approved_by."""
    return {
        block.name: {"text": block.text, "by": block.by, "approved_by": block.approved_by}
        for block in Core(memory.store, memory.notebook.run).blocks()
    }


def _facts(memory: Memory) -> dict[tuple[str, int], Any]:
    """Stated facts by entry; they go with the entry's first unit."""
    found: dict[tuple[str, int], Any] = {}
    for run, seq in memory.store.mentions(b'"facts":['):
        entry = next(memory.store.read(run, seq, seq + 1))
        facts = entry.body.get("data", {}).get("facts") if isinstance(entry.body.get("data"), dict) else None
        if isinstance(facts, list):
            found[run, seq] = facts
    return found


def _header(format_: str, memory: Memory) -> Line:
    at = memory.store.now_us()
    return {"type": "header", "format": format_, "version": VERSION, "namespace": memory.namespace, "exported_us": at}


# Reading


def read_export(path: Path, expected: str = FORMAT) -> tuple[Manifest, Callable[[], Iterator[dict[str, Any]]]]:
    """The manifest of an export whose bytes are whole, and its lines, as often as wanted.

    Raises:
        UsageError: it is none, of a newer version, cut off or changed.
    """
    sha, last = hashlib.sha256(), b""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file):
                if number == 0:
                    _check_header(line, path, expected)
                if last:
                    sha.update(last)
                last = line
        raw = json.loads(last)
        if raw.pop("type") != "manifest":
            raise ValueError("the last line is no manifest")
        manifest = Manifest(**raw)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error}", "name a file that `overwinter memory export` wrote"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is cut off or no export: {error}", "export again") from error
    if sha.hexdigest() != manifest.sha256:
        raise UsageError(
            f"{path} was changed after it was written: its bytes do not have the manifest's hash", "export again"
        )
    return manifest, lambda: _lines(path)


def is_export(path: Path) -> str:
    """The format that the first line of a file names; "" if it is no export."""
    try:
        with path.open(encoding="utf-8") as file:
            header = json.loads(file.readline())
    except (OSError, ValueError):
        return ""
    return str(header.get("format", "")) if isinstance(header, dict) and header.get("type") == "header" else ""


def _check_header(line: bytes, path: Path, expected: str) -> None:
    header = json.loads(line)
    if header["type"] != "header" or header["format"] != expected:
        raise UsageError(f"{path} is of format {header.get('format')!r}, not {expected!r}", "name another file")
    if header["version"] > VERSION:
        raise UsageError(f"{path} has version {header['version']}, this program reads {VERSION}", "update overwinter")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def import_memory(memory: Memory, path: Path, by: str, progress: Progress | None = None) -> Imported:
    """Take in a file of the memory form. Claims, digests and receipts are not copied: the first two are derived from the units, the
    last belong to the journal they were given in. `Memory.sync` then derives what came."""
    manifest, lines = read_export(path)
    done = Imported(
        left_out={kind: manifest.counts[kind] for kind in ("claim", "digest", "receipt") if kind in manifest.counts}
    )
    import_said(memory, _units_as_said(lines()), done, total=manifest.counts.get("unit", 0), progress=progress)
    core, here = core_blocks(memory), policies(memory.store, memory.namespace)
    for line in lines():
        if line["type"] == "core" and core.get(line["name"], {}).get("text") != line["text"]:
            draft, blobs = change(line["name"], line["text"], by=line["by"], approved_by=line["approved_by"])
            memory.notebook.append([draft], blobs)
            done.core += 1
        elif line["type"] == "policy" and here.get(line["name"]) != policy_from(line["name"], line["policy"]):
            set_policy(memory, policy_from(line["name"], line["policy"]), by)
            done.policies += 1
    return done


def _units_as_said(lines: Iterable[dict[str, Any]]) -> Iterator[tuple[str, Said]]:
    for line in lines:
        if line["type"] != "unit":
            continue
        data: dict[str, Any] = {"happened_until_us": line["happened_until_us"]}
        data["provenance"] = {
            "cite": line["cite"],
            "unit": line["id"],
            "told_us": line["told_us"],
            "trust": line["trust"],
        }
        if line["kind"] == "document":
            data["kind"] = "document"
        if "facts" in line:
            data["facts"] = line["facts"]
        said = Said(
            text=line["text"],
            actor=line["actor"],
            session=line["session"],
            place=line["place"],
            happened_us=line["happened_us"],
            data=data,
        )
        yield line["hash"], said


def import_chats(memory: Memory, said: Iterable[Said], progress: Progress | None = None) -> Imported:
    """Write what others said into the notebook, in batches. `Memory.sync` then derives it."""
    done = Imported()
    import_said(memory, ((each.origin, each) for each in said), done, progress=progress)
    return done


def import_said(
    memory: Memory,
    said: Iterable[tuple[str, Said]],
    done: Imported,
    *,
    total: int = 0,
    progress: Progress | None = None,
) -> None:
    """Write (origin, said) into the notebook, except what is here from that origin. An origin that comes several times (a text said
    twice in the same moment) is here as often as it was written."""
    memory.sync()
    here = _origins(memory)
    seen: Counter[str] = Counter()
    rows = iter(said)
    while batch := list(islice(rows, BATCH)):
        packer, drafts = Packer(), []
        for origin, each in batch:
            done.read += 1
            seen[origin] += 1
            if seen[origin] <= here[origin]:
                done.known += 1
                continue
            data = {**each.observed_data(), "origin": origin}
            body = {"source": "import", "text": packer.text(each.text), "data": data}
            drafts.append(Draft(kind="observed", body=body, refs=packer.take_refs()))
        if drafts:
            memory.notebook.append(drafts, packer.blobs)
            done.written += len(drafts)
        if progress is not None:
            progress(done.read, total or done.read)


def _origins(memory: Memory) -> Counter[str]:
    """How often each origin is here: as written by imports, and as the units of this namespace have it themselves."""
    written: Counter[str] = Counter()
    for entry in notebook_entries(memory.store, memory.namespace, ["observed"]):
        origin = entry.body["data"].get("origin")
        if isinstance(origin, str):
            written[origin] += 1
    own = Counter(content_hash(unit) for unit in all_units(memory, Filter(exclude_flags=frozenset())))
    return written | own
