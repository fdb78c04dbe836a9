"""Words of questions and sessions: stems, and counts by which the rarity of a word is judged. Pure Python."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import log

from overwinter.memory.sift.session import Session
from overwinter.memory.words import stem as porter

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+(?:['’.\-][^\W_]+)*")
GAP = "____"


def word_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


STOP = word_set(
    "a about above after again all also am an and any are as at be because been before being both but by can could did do does "
    "doing done don't down each few for from further get got had has have having he her here hers him his how i i'd i'll i'm i've if "
    "in into is it it's its just let like made make me more most my no nor not of off oh on once one only or other our out over own "
    "really same she should so some such than that that's the their them then there these they they're this those through to too "
    "under until up us very was we we're were what what's when where which while who whom whose why will with would yes you you're "
    "you've your now still currently these days ever"
)


IRREGULAR = dict(
    pair.split("/")
    for pair in word_set(
        "took/take taken/take bought/buy went/go gone/go ran/run saw/see seen/see taught/teach gave/give given/give "
        "kept/keep met/meet found/find left/leave told/tell said/say wrote/write written/write sold/sell spent/spend "
        "began/begin begun/begin sang/sing drove/drive driven/drive ate/eat eaten/eat slept/sleep won/win lost/lose "
        "built/build brought/bring thought/think felt/feel heard/hear sent/send paid/pay flew/fly grew/grow "
        "grown/grow knew/know known/know wore/wear swam/swim drew/draw drawn/draw spoke/speak spoken/speak "
        "broke/break broken/break chose/choose chosen/choose fell/fall held/hold led/lead stood/stand caught/catch "
        "rode/ride ridden/ride threw/throw became/become children/child people/person men/man women/woman wives/wife"
    )
)


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """A lower-case word without its inflection: Porter's stem, after "'s" and the commonest irregular forms."""
    word = word.removesuffix("'s").removesuffix("’s").replace("'", "").replace("’", "")
    return porter(IRREGULAR.get(word, word))


@lru_cache(maxsize=20_000)
def terms(text: str) -> tuple[str, ...]:
    """Stems of the words that carry meaning, in order."""
    words = (word.casefold() for word in WORD.findall(text))
    return tuple(stem(word) for word in words if word not in STOP)


class Haystack:
    """Candidates with the counts that scores need: postings of stems over turns, lengths, and how many turns know a word.

    Attributes:
        postings: stem → [(session, turn, how often)], in order.
        lengths: stems per turn, by session.
    """

    def __init__(self, sessions: Sequence[Session]) -> None:
        self.sessions = tuple(sessions)
        self.postings: dict[str, list[tuple[int, int, int]]] = {}
        self.lengths: list[list[int]] = []
        for number, session in enumerate(self.sessions):
            lengths = []
            for place, turn in enumerate(session.turns):
                counts = Counter(terms(turn.text))
                lengths.append(counts.total())
                for term, count in counts.items():
                    self.postings.setdefault(term, []).append((number, place, count))
            self.lengths.append(lengths)
        self.turns = sum(len(session.turns) for session in self.sessions)
        self.mean_turn = sum(map(sum, self.lengths)) / max(1, self.turns) or 1.0
        self.mean_session = sum(map(sum, self.lengths)) / max(1, len(self.sessions)) or 1.0
        self.speakers = frozenset(
            turn.speaker.casefold() for session in self.sessions for turn in session.turns if turn.speaker
        )

    def idf(self, term: str) -> float:
        """Over turns, never negative."""
        known = len(self.postings.get(term, ()))
        return log(1 + (self.turns - known + 0.5) / (known + 0.5))

    def session_idf(self, term: str) -> float:
        known = len({number for number, _, _ in self.postings.get(term, ())})
        return log(1 + (len(self.sessions) - known + 0.5) / (known + 0.5))

    def turn_scores(self, wanted: Sequence[str], k1: float = 1.2, b: float = 0.75) -> dict[tuple[int, int], float]:
        """BM25 of the turns in which any of `wanted` occurs: (session, turn) → score."""
        scores: dict[tuple[int, int], float] = {}
        for term in dict.fromkeys(wanted):
            idf = self.idf(term)
            for number, place, count in self.postings.get(term, ()):
                norm = k1 * (1 - b + b * self.lengths[number][place] / self.mean_turn)
                key = number, place
                scores[key] = scores.get(key, 0.0) + idf * count * (k1 + 1) / (count + norm)
        return scores

    def session_scores(self, wanted: Sequence[str], k1: float = 1.2, b: float = 0.75) -> list[float]:
        """BM25 of whole sessions."""
        scores = [0.0] * len(self.sessions)
        for term in dict.fromkeys(wanted):
            counts: dict[int, int] = {}
            for number, _, count in self.postings.get(term, ()):
                counts[number] = counts.get(number, 0) + count
            idf = self.session_idf(term)
            for number, count in counts.items():
                norm = k1 * (1 - b + b * sum(self.lengths[number]) / self.mean_session)
                scores[number] += idf * count * (k1 + 1) / (count + norm)
        return scores

    def first_scores(self, wanted: Sequence[str], smooth: float = 0.4, whole: float = 0.2) -> list[float]:
        """The order of a stage before this one, where there was none: the best turn with `smooth` of its neighbours, over the best,
        plus `whole` of the session's score over the best (the lexical half of the house's fused score)."""
        turns, sessions = self.turn_scores(wanted), self.session_scores(wanted)
        top, top_session = max(turns.values(), default=0.0) or 1.0, max(sessions, default=0.0) or 1.0
        scores = []
        for number, session in enumerate(self.sessions):
            row = [turns.get((number, place), 0.0) for place in range(-1, len(session.turns) + 1)]
            best = max((row[i] + smooth * (row[i - 1] + row[i + 1]) for i in range(1, len(row) - 1)), default=0.0)
            scores.append(best / top + whole * sessions[number] / top_session)
        return scores
