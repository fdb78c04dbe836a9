"""The journal: the only source of truth of a run. Everything else is a reader of it that can be deleted and rebuilt.

Invariants
    An append is atomic and on disk when it returns.     Entries are never changed, dropped or reordered; only erased.
    An old fencing number cannot append.                 A reservation that does not fit writes nothing.
    Entries refer to blobs by hash: N steps, O(N) bytes. Old journals open; newer ones are refused with the reason.

Reading order: `entry` (the words), `store` (the promises), `sql` (the logic), `sqlite` and `postgres` (two dialects),
`verify` (anyone can check), `lease`, `payload`, `tokens`, `collect` (gc), `tombstone`, `erase` and `texts` (what goes, and whether
it is gone), `rebuild` (the clear twin of the derived tables).
"""

from __future__ import annotations

from overwinter.errors import UsageError
from overwinter.journal.collect import Retention, collect
from overwinter.journal.entry import SCHEMA_VERSION, Draft, Entry
from overwinter.journal.erase import Erased, erase
from overwinter.journal.payload import Packer, unpack, unpack_json
from overwinter.journal.store import RESOURCES, BudgetLine, Lease, NewRun, RunInfo, Store
from overwinter.journal.tombstone import ERASED
from overwinter.journal.verify import Problem, Report, verify

__all__ = [
    "ERASED",
    "RESOURCES",
    "SCHEMA_VERSION",
    "BudgetLine",
    "Draft",
    "Entry",
    "Erased",
    "Lease",
    "NewRun",
    "Packer",
    "Problem",
    "Report",
    "Retention",
    "RunInfo",
    "Store",
    "collect",
    "erase",
    "open_store",
    "unpack",
    "unpack_json",
    "verify",
]


def open_store(url: str, *, read_only: bool = False) -> Store:
    """Open the journal at `url`: a path or `sqlite:PATH`, or `postgresql://…`.

    Raises:
        UsageError: a URL of another kind.
        StoreError: it cannot be opened, or was written by a newer overwinter.
    """
    if url.startswith(("postgresql://", "postgres://")):
        from overwinter.journal.postgres import PostgresStore

        return PostgresStore(url)
    scheme, colon, path = url.partition(":")
    if colon and scheme != "sqlite" and len(scheme) > 1:
        raise UsageError(f"unknown store {url!r}", "give a file path, sqlite:PATH or postgresql://…")
    from overwinter.journal.sqlite import SqliteStore

    return SqliteStore(path if scheme == "sqlite" and colon else url, read_only=read_only)
