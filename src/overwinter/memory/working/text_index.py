"""A small index of words in this process: BM25 over the entries of one run, for `find`. It is filled from the journal as needed and
never stored."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict

from overwinter.memory.words import stems

K1, B = 1.2, 0.75
_STOP = frozenset(
    stems(
        "a an and are as at be been by did do does for from had has have he her his i in is it its my of on or our she so that the "
        "their them they this to was we were what when where which who whom whose will with you your"
    )
)


def words_of(text: str) -> list[str]:
    """Stems of the words that say something."""
    return [stem for stem in stems(text) if stem not in _STOP]


class TextIndex:
    """Documents by number; each is added once."""

    def __init__(self) -> None:
        self._postings: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._length: dict[int, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self._length)

    def add(self, doc: int, text: str) -> None:
        counts = Counter(words_of(text))
        self._length[doc] = length = counts.total()
        self._total += length
        for word, count in counts.items():
            self._postings[word].append((doc, count))

    def search(self, query: str, k: int) -> list[tuple[int, float]]:
        """The `k` best documents that have a word of the query, with their BM25; ties by number, newest first."""
        scores: defaultdict[int, float] = defaultdict(float)
        mean = self._total / max(1, len(self._length))
        for word in sorted(set(words_of(query))):
            rows = self._postings.get(word, ())
            weight = math.log(1 + (len(self._length) - len(rows) + 0.5) / (len(rows) + 0.5))
            for doc, count in rows:
                norm = K1 * (1 - B + B * self._length[doc] / max(mean, 1e-9))
                scores[doc] += weight * count * (K1 + 1) / (count + norm)
        return heapq.nlargest(k, scores.items(), key=lambda row: (row[1], row[0]))
