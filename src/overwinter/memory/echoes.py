"""Echoes: entries that repeat, word for word, what is to be erased. A model quotes what it was shown, a summary keeps a line of it,
`recalled` shows it again, a token record holds it as ids.

A text is an echo of another if the two share at least `SHARED_CHARS` characters in one piece, or if it contains the whole of a
shorter one. Any such piece contains one of the other's blocks of half that length, cut at fixed places. So the journal is
searched for the blocks, byte by byte, which is fast; only what holds one is read and compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from overwinter.journal import ERASED, Entry, Store
from overwinter.journal.erase import NEVER, family
from overwinter.journal.texts import spellings, texts
from overwinter.memory.choose import Place, Progress

SHARED_CHARS = 40
BLOCK_CHARS = SHARED_CHARS // 2
SHORTEST_CHARS = 12
"""Texts shorter than this ("yes, do it") occur by chance and make no echoes."""
MIN_VARIETY = 6
"""A block of fewer different characters, such as a ruler of dashes, says nothing."""
FEW_BLOCKS = 400
"""Up to so many, looking for each in the bytes is faster than reading every entry."""


@dataclass(kw_only=True)
class Echoes:
    """What repeats it: entries, letters that wait, and blobs of token ids whose completions stay."""

    entries: set[Place] = field(default_factory=set)
    letters: set[str] = field(default_factory=set)
    records: dict[str, set[str]] = field(default_factory=dict)
    """By the run that owns the completion."""


class Original:
    """Texts that are to be erased, ready to be recognised."""

    def __init__(self, said: Iterable[str]) -> None:
        self.texts = [text for text in dict.fromkeys(said) if len(text) >= SHORTEST_CHARS]
        self.short = [text for text in self.texts if len(text) < SHARED_CHARS]
        self.blocks: dict[str, list[tuple[int, int]]] = {}
        for number, text in enumerate(self.texts):
            for at in range(0, len(text) - BLOCK_CHARS + 1, BLOCK_CHARS) if len(text) >= SHARED_CHARS else ():
                block = text[at : at + BLOCK_CHARS]
                if len(set(block)) >= MIN_VARIETY:
                    self.blocks.setdefault(block, []).append((number, at))
        self._forms = [form for part in (*self.short, *self.blocks) for form in spellings(part)]

    @property
    def is_large(self) -> bool:
        """Too many blocks to look for each of them in the bytes."""
        return len(self._forms) > FEW_BLOCKS

    def may_be_in(self, data: bytes) -> bool:
        """False only if no text in these stored bytes is an echo."""
        return any(form in data for form in self._forms)

    def is_in(self, text: str) -> bool:
        """Whether `text` is an echo."""
        if len(text) < SHORTEST_CHARS:
            return False
        if any(short in text for short in self.short):
            return True
        return any(self._shares(text, block, at) for block, at in self._blocks_in(text))

    def _blocks_in(self, text: str) -> Iterator[tuple[str, int]]:
        if len(self.blocks) > FEW_BLOCKS:
            windows = ((text[at : at + BLOCK_CHARS], at) for at in range(len(text) - BLOCK_CHARS + 1))
            yield from ((window, at) for window, at in windows if window in self.blocks)
            return
        for block in self.blocks:
            at = text.find(block)
            while at >= 0:
                yield block, at
                at = text.find(block, at + 1)

    def _shares(self, text: str, block: str, at: int) -> bool:
        """Whether the piece around a block that both have is long enough."""
        for number, place in self.blocks[block]:
            other = self.texts[number]
            before = 0
            while before < min(at, place) and text[at - before - 1] == other[place - before - 1]:
                before += 1
            end, most = BLOCK_CHARS, min(len(text) - at, len(other) - place)
            while end < most and text[at + end] == other[place + end]:
                end += 1
            if before + end >= SHARED_CHARS:
                return True
        return False


def find_echoes(
    store: Store, runs: Collection[str], original: Original, but: Collection[Place], progress: Progress | None = None
) -> Echoes:
    """The echoes in the entries of `runs`, their blobs and their letters, beside the entries `but`. Reads the whole journal."""
    found = Echoes()
    if not original.texts:
        return found
    mine, spared = sorted(set(runs)), set(but)
    (_by_entries if original.is_large else _by_bytes)(store, mine, original, spared, found, progress)
    for run in mine:
        for letter in store.letters(run):
            if any(original.is_in(text) for text in _leaves(letter.draft.body)):
                found.letters.add(letter.id)
    return found


def _by_bytes(
    store: Store, runs: Sequence[str], original: Original, spared: set[Place], found: Echoes, progress: Progress | None
) -> None:
    """Look for the blocks in everything that is stored; read what holds one."""
    mine, done = set(runs), 0
    total = sum(info.head_seq - info.fork_seq for info in store.runs())
    for stored in store.contents():
        done += stored.place == "entry"
        if progress is not None and done % 1000 == 0:
            progress(done, total)
        if not original.may_be_in(stored.data):
            continue
        places = [(stored.name, stored.seq)] if stored.place == "entry" else []
        if stored.place == "blob":
            places = store.mentions(stored.name.encode())
        for run, seq in places:
            if run in mine and (run, seq) not in spared | found.entries:
                _take(original, store, next(store.read(run, seq, seq + 1)), found)


def _by_entries(
    store: Store, runs: Sequence[str], original: Original, spared: set[Place], found: Echoes, progress: Progress | None
) -> None:
    """Read every entry with its blobs."""
    infos = [store.info(run) for run in runs]
    total, done = sum(info.head_seq - info.fork_seq for info in infos), 0
    for info in infos:
        for entry in store.read(info.run, info.fork_seq + 1):
            done += 1
            if progress is not None and done % 1000 == 0:
                progress(done, total)
            if (entry.run, entry.seq) not in spared:
                _take(original, store, entry, found)


def _take(original: Original, store: Store, entry: Entry, found: Echoes) -> None:
    if entry.kind != ERASED and entry.kind not in NEVER and any(original.is_in(text) for text in texts(store, entry)):
        found.entries.add((entry.run, entry.seq))


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)


def find_records(store: Store, gone: Collection[Place], found: Echoes) -> None:
    """Add the token records in which what is erased is held as ids: those of every completion whose prompt showed one of the
    entries. Without the tokenizer nobody can tell which ids are which, so the records go whole; the answers stay."""
    by_run: dict[str, list[int]] = {}
    for run, seq in gone:
        by_run.setdefault(run, []).append(seq)
    for run, seqs in by_run.items():
        for info in family(store, run):
            shown: dict[int, bool] = {}
            start = max(info.fork_seq + 1, min(seqs))
            for entry in store.read(info.run, start, kinds=["sample.intent", "sample.completion"]):
                if entry.kind == "sample.intent":
                    shown[entry.seq] = _is_shown(entry.body["view"].get("shown", ()), seqs)
                elif shown.pop(entry.body["intent"], False) and "tokens" in entry.body:
                    _take_record(entry.body["tokens"], (entry.run, entry.seq), found)


def _take_record(payload: dict[str, str], place: Place, found: Echoes) -> None:
    if "ref" in payload:
        found.records.setdefault(place[0], set()).add(payload["ref"])
    else:
        # A short record stands in the entry itself, which then goes with it.
        found.entries.add(place)


def _is_shown(ranges: Sequence[Sequence[int]], seqs: Sequence[int]) -> bool:
    return any(first <= seq <= last for first, last in ranges for seq in seqs)
