"""Memory: what the runs of a namespace have ever seen, found again. The facade over journal, index and search.

    memory = Memory.open(store)
    memory.sync()
    for hit in memory.search("when was the heating repaired?").hits:
        print(hit.unit.cite, hit.unit.text)

The journal is the truth. The index is derived from it by `sync`, is noticed when it is damaged or missing, and is then derived
again; `rebuild` does so on request.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from overwinter.errors import StoreError
from overwinter.journal import Entry, Store
from overwinter.memory import place
from overwinter.memory.claim import CLAIM_RULES
from overwinter.memory.claims import ClaimKeeper
from overwinter.memory.derive import Deriver
from overwinter.memory.digests import update_spans
from overwinter.memory.hygiene import reads_like_instruction, redact
from overwinter.memory.notebook import Notebook
from overwinter.memory.sqlite import SqliteIndex, index_is_damaged
from overwinter.memory.sync import STALE, OtherJournal, Progress, Synced, Syncer, digests_stale_since
from overwinter.memory.unit import DEFAULT_NAMESPACE, DERIVER, AsOf, Filter

if TYPE_CHECKING:
    from overwinter.memory.embed import Embedder
    from overwinter.memory.embed.generations import Generations
    from overwinter.memory.index import Index
    from overwinter.memory.retrieve import Answer, Searcher

EMBED_BATCH = 64
RULES_NOTE = "rules"
"""Note of the index: the versions of the rules that it was derived by."""
_RULES = f"{DERIVER}.{CLAIM_RULES}".encode()
ANYTHING = Filter()
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


class Memory:
    """The memory of one namespace. Use it from one process at a time per object; several objects and processes may share an index.

    Attributes:
        store, namespace: whose entries are remembered.
        index: where what is derived from them lies.
        embedder: makes vectors of units; None for words only.
        previous: the embedder before it: its vectors answer until all units have a vector of the new one.
        notebook: where what belongs to no run is written.
    """

    def __init__(
        self,
        store: Store,
        namespace: str,
        index: Index,
        embedder: Embedder | None = None,
        *,
        previous: Embedder | None = None,
        repaired: str = "",
    ) -> None:
        self.store = store
        self.namespace = namespace
        self.embedder, self.previous = embedder, previous
        self.notebook = Notebook(store, namespace)
        self._lock = threading.RLock()
        self._messages = [repaired] if repaired else []
        self._renewed = bool(repaired)
        self._rules_known = False
        self._use(index)
        if repaired:
            _log.warning(repaired)

    @classmethod
    def open(
        cls,
        store: Store,
        namespace: str = DEFAULT_NAMESPACE,
        *,
        embedder: Embedder | None = None,
        previous: Embedder | None = None,
        index: Index | None = None,
    ) -> Memory:
        """Open the memory of a namespace; its index is made where there is none, and set aside and made anew where it is damaged.

        Args:
            index: another place for the index than the journal's own.

        Raises:
            UsageError: the namespace's name is not allowed.
            StoreError: the index cannot be opened.
        """
        if index is not None:
            return cls(store, namespace, index, embedder, previous=previous)
        opened, repaired = place.open_index(store, namespace)
        return cls(store, namespace, opened, embedder, previous=previous, repaired=repaired)

    def _use(self, index: Index) -> None:
        self.index = index
        self._file = place.inode(index.path) if isinstance(index, SqliteIndex) else 0
        deriver = Deriver(self.store, redact, reads_like_instruction, placed=index.next_place)
        self._syncer = Syncer(self.store, index, deriver, ClaimKeeper(index))
        self._searcher: Searcher | None = None
        self._generations: Generations | None = None

    # Deriving

    def sync(self, progress: Progress | None = None, *, digests: bool = True) -> Synced:
        """Derive what the journal has new: units, claims, digests and, with an embedder, vectors.

        Args:
            progress: called with (entries done, entries to do) after every batch.
            digests: bring digests up to date too. A run that syncs before every step leaves them to the next sync that does: a day's
                digest is made of the whole day.
        """
        with self._lock:
            self._follow_the_file()
            done = self._mending(lambda: self._with_digests(self._sync(progress)) if digests else self._sync(progress))
            done.vectors = self.embed_pending()
            done.messages = [*self._messages, *done.messages]
            done.rebuilt = done.rebuilt or self._renewed
            self._messages, self._renewed = [], False
        return done

    def _sync(self, progress: Progress | None) -> Synced:
        self._note_rules()
        try:
            done = self._syncer.sync(progress)
        except OtherJournal as error:
            message = f"the memory index was derived from another journal and is derived again: {error}"
            _log.warning(message)
            done = self._from_the_start(progress)
            done.messages.append(message)
        return done

    def _note_rules(self) -> None:
        """Say once per object where the index was derived by older rules: it still answers, and is never derived anew unasked."""
        if self._rules_known:
            return
        noted = self.index.note(RULES_NOTE)
        if not self.index.count():
            with self.index.transaction():
                self.index.set_note(RULES_NOTE, _RULES)
        elif noted != _RULES:
            self._messages.append(
                "this index was derived by the rules of another version; `overwinter memory rebuild` derives it by today's"
            )
        self._rules_known = True

    def rebuild(self, progress: Progress | None = None) -> Synced:
        """Empty the index and derive all of it again; units and claims get the ids they had."""
        with self._lock:
            self._follow_the_file()
            done = self._mending(lambda: self._with_digests(self._from_the_start(progress)))
            done.vectors = self.embed_pending()
        return done

    def _from_the_start(self, progress: Progress | None) -> Synced:
        with self.index.transaction():
            self.index.drop_all()
            self.index.set_note(RULES_NOTE, _RULES)
        self._use(self.index)
        done = self._syncer.sync(progress)
        done.rebuilt = True
        return done

    def _with_digests(self, done: Synced) -> Synced:
        since_us = digests_stale_since(self.index)
        if since_us is not None:
            with self.index.transaction():
                done.spans = update_spans(self.index, since_us)
                self.index.set_note(STALE, b"")
        return done

    def embed_pending(self, limit: int | None = None) -> int:
        """Embed at most `limit` units that have no vector yet (None: all), in small transactions; how many were.

        A worker in the background may call it again and again with a small limit.
        """
        if self.embedder is None:
            return 0
        embedded = 0
        while limit is None or embedded < limit:
            count = EMBED_BATCH if limit is None else min(EMBED_BATCH, limit - embedded)
            batch = self._embed(self.embedder, count)
            embedded += batch
            if not batch:
                break
        return embedded

    def _embed(self, embedder: Embedder, count: int) -> int:
        from overwinter.memory.vectors import to_bytes

        rows = self.index.without_vector(embedder.name, count)
        if not rows:
            return 0
        # By one: a row that was removed meanwhile must not shift the others.
        pairs = [(row, unit) for row in rows for unit in self.index.units([row])]
        vectors = embedder.embed([unit.text for _, unit in pairs])
        with self.index.transaction():
            there = self.index.rows([unit.id for _, unit in pairs])
            data = [
                (row, to_bytes(vector)) for (row, _), vector in zip(pairs, vectors, strict=True) if row in set(there)
            ]
            self.index.put_vectors(embedder.name, embedder.dim, data)
        return len(data)

    # Writing and reading

    def write(
        self, text: str, *, cites: Sequence[str] = (), actor: str = "", data: Mapping[str, Any] | None = None
    ) -> Entry:
        """Note something in the notebook, durably, and derive it; digests and vectors wait for the next `sync`.

        Args:
            cites: entries it rests on, as RUN#SEQ.
            actor: whose words they are: "user" (the default), "person:NAME", "agent", …
            data: session, happened_us, happened_until_us, kind, facts; see `Noted`.
        """
        entry = self.notebook.note(text, by=actor or "user", cites=cites, data=data)
        with self._lock:
            self._follow_the_file()
            self._mending(self._sync_notebook)
        return entry

    def _sync_notebook(self) -> Synced:
        try:
            return self._syncer.sync_run(self.notebook.run)
        except OtherJournal:
            return self._sync(None)

    def search(
        self,
        question: str,
        *,
        k: int = 10,
        at: AsOf | None = None,
        where: Filter = ANYTHING,
        session: str = "",
        budget_tokens: int = 0,
    ) -> Answer:
        """What the memory knows of a question, as far as it is synced; nothing is a legal answer.

        Args:
            k: how many hits at most.
            at: the view of the past; None for now.
            where: which units may be returned.
            session: where the question is asked.
            budget_tokens: rough tokens of text the hits may have together; 0 for no limit.
        """
        from overwinter.memory.retrieve import Question

        asked = Question(
            text=question,
            k=k,
            at=at or AsOf(),
            where=where,
            session=session,
            budget_tokens=budget_tokens,
            now_us=self.store.now_us(),
        )
        with self._lock:
            return self._mending(lambda: self._ready_searcher().search(asked))

    def _ready_searcher(self) -> Searcher:
        from overwinter.memory.retrieve import Searcher

        generations = self.generations()
        model, scan = (generations.refresh() if generations else None) or (None, None)
        if self._searcher is None or self._searcher.embedder is not model:
            self._searcher = Searcher(self.index, model, scan)
        return self._searcher

    def searcher(self) -> Searcher:
        """What `search` asks, for who fits or measures it; not to be shared by threads."""
        with self._lock:
            return self._mending(self._ready_searcher)

    def generations(self) -> Generations | None:
        """The vectors that questions are answered with; None without an embedder."""
        if self.embedder is None:
            return None
        if self._generations is None:
            from overwinter.memory.embed.generations import Generations

            self._generations = Generations(self.index, self.embedder, self.previous)
        return self._generations

    def stats(self) -> dict[str, Any]:
        """What there is: units, runs, vectors by model, and how many entries are not derived yet."""
        return self._mending(self._stats)

    def _stats(self) -> dict[str, Any]:
        return {
            "namespace": self.namespace,
            "index": self.index.url,
            "units": self.index.count(),
            "runs": len(self.index.watermarks()),
            "behind": self._syncer.behind(),
            "vectors": {model: count for model, (_, count) in self.index.vector_models().items()},
            "bytes": _size(self.index),
        }

    def check(self) -> list[str]:
        """Read all of the index and compare it with itself; what is damaged is derived again. What was found."""
        with self._lock:
            self._follow_the_file()
            found = self.index.check()
            if found:
                if isinstance(self.index, SqliteIndex):
                    self._renew(self.index, StoreError(found[0], "it is derived again"))
                else:
                    self._from_the_start(None)
        return found

    def close(self) -> None:
        self.index.close()

    # A damaged index

    def _mending(self, work: Callable[[], _Result]) -> _Result:
        """Do something with the index; if it turns out damaged, derive it again and do it once more."""
        try:
            return work()
        except StoreError as error:
            if not (isinstance(self.index, SqliteIndex) and index_is_damaged(error)):
                raise
            self._renew(self.index, error)
        return work()

    def _renew(self, index: SqliteIndex, error: StoreError) -> None:
        with self._lock:
            index.close()
            message = place.set_aside(index.path, self._file, error)
            self._use(SqliteIndex(index.path, self.namespace))
            self._messages.append(message)
            self._renewed = True
            _log.warning(message)
            self._with_digests(self._syncer.sync())

    def _follow_the_file(self) -> None:
        """Go over to the new file where another process has set the old one aside, or somebody deleted it."""
        index = self.index
        if isinstance(index, SqliteIndex) and place.inode(index.path) != self._file:
            index.close()
            self._use(place.open_index(self.store, self.namespace)[0])


def _size(index: Index) -> int:
    if not isinstance(index, SqliteIndex):
        return 0
    return sum(file.stat().st_size for file in index.path.parent.glob(f"{index.path.name}*"))


__all__ = ["AsOf", "Filter", "Memory", "Synced"]
