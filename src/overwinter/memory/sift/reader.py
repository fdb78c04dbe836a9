"""A working model without a model: reads sessions, picks the sentence that matches the question best, and the span in it that answers.

It is what the ranker is trained and judged with where no language model is at hand: deterministic, free, and misled by the same
things (a friend's job, an old address, a plan that came to nothing). It knows nothing of how histories were made.

The answer from the first k sessions is needed for many rankings, so what each session has to say is worked out once (`Extracts`); an
answer is then a choice among those. `answer` is the plain form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from overwinter.memory.sift.question import (
    DATE,
    DENIAL,
    HEDGE,
    NUMBER,
    RELATIVE,
    Question,
    read_question,
)
from overwinter.memory.sift.session import Session, Turn
from overwinter.memory.sift.words import GAP, STOP, WORD, Haystack, stem, terms, word_set

NEAR, NEAR_LIST, LEAST = 0.85, 0.7, 0.2
"""Sentences within this share of the best are taken to say the same; for lists; and the least share of the question's words."""

_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_CAPITALISED = re.compile(r"\b[A-Z][\w’'-]*(?: (?:of |the |de )?[A-Z][\w’'-]*)*")
_JOINERS = word_set("of the and de in")
_EMPTY = word_set(
    "really just also well yes no oh hey hi thanks thank great nice good got get going go went come came been being had has have got "
    "think know mean love like want say said tell told new lot thing things way time day today something anything bit"
)


@dataclass(frozen=True, slots=True)
class Extract:
    """What one sentence answers. `match` is the share of the question's words it has, by rarity and after penalties."""

    session: int
    happened_us: int
    match: float
    answer: str


class Extracts:
    """All that the sessions of a haystack have to say on a question: the three best sentences of each."""

    def __init__(self, question: str, haystack: Haystack) -> None:
        self.question, self._haystack = read_question(question), haystack
        self._idf = {term: haystack.idf(term) for term in self.question.terms}
        self._by_session: dict[int, list[Extract]] = {}

    def answer(self, sessions: Iterable[int]) -> str:
        """The answer from these sessions, in any order; "" where they say nothing."""
        return _choose(self.question, [extract for number in sessions for extract in self._of(number)])

    def _of(self, number: int) -> list[Extract]:
        if number not in self._by_session:
            session = self._haystack.sessions[number]
            self._by_session[number] = _extracts(self.question, self._idf, number, session)
        return self._by_session[number]


def answer(question: str, sessions: Sequence[Session], haystack: Haystack) -> str:
    """The same read plainly: only these sessions, rarity of words as in the haystack."""
    asked = read_question(question)
    idf = {term: haystack.idf(term) for term in asked.terms}
    return _choose(asked, [e for n, session in enumerate(sessions) for e in _extracts(asked, idf, n, session)])


def _choose(question: Question, extracts: Sequence[Extract]) -> str:
    best = max((extract.match for extract in extracts), default=0.0)
    if best < LEAST:
        return ""
    near = [extract for extract in extracts if extract.match >= best * (NEAR_LIST if question.kind == "list" else NEAR)]
    near.sort(key=lambda extract: (extract.happened_us, extract.answer))
    if question.kind == "list":
        return ", ".join(dict.fromkeys(extract.answer for extract in near))
    if question.earlier or question.kind == "when":
        return near[0].answer
    if question.kind == "cloze":
        return max(near, key=lambda extract: (extract.match, extract.happened_us, extract.answer)).answer
    return near[-1].answer


def _extracts(question: Question, idf: dict[str, float], number: int, session: Session) -> list[Extract]:
    total = sum(idf.values()) or 1.0
    found = []
    before: frozenset[str] = frozenset(term for turn in session.before for term in terms(turn.text))
    for turn in session.turns:
        own = frozenset(terms(turn.speaker)) if turn.speaker else frozenset()
        here = frozenset(terms(turn.text))
        if not (idf.keys() & (here | own)):
            before = here
            continue
        for sentence in _SENTENCE.split(turn.text):
            said = frozenset(terms(sentence)) | own
            match = _weight(idf, said) + 0.4 * _weight(idf, (here | before) - said)
            match = match / total * _trust(sentence, turn, question) if match >= LEAST * total else 0.0
            reply = _span(question, sentence, session.happened_us) if match >= LEAST else ""
            if reply:
                found.append(Extract(number, session.happened_us or 0, round(match, 6), reply))
        before = here
    found.sort(key=lambda extract: (-extract.match, extract.answer))
    return found[:3]


def _weight(idf: dict[str, float], found: frozenset[str]) -> float:
    return sum(value for term, value in idf.items() if term in found)


def _trust(sentence: str, turn: Turn, question: Question) -> float:
    """A sentence that asks, supposes or denies answers less than one that states."""
    trust = 0.5 if sentence.rstrip().endswith("?") else 1.0
    if HEDGE.search(sentence):
        trust *= 0.6
    if DENIAL.search(sentence) and not question.earlier:
        trust *= 0.8
    return trust * (0.9 if turn.role == "assistant" else 1.0)


def _span(question: Question, sentence: str, happened_us: int | None) -> str:
    if question.kind == "when":
        return _date(sentence, happened_us)
    known = set(question.terms)
    if question.kind == "number":
        numbers = [match[0] for match in NUMBER.finditer(sentence) if stem(match[0].casefold()) not in known]
        if numbers:
            return numbers[0]
    spans = _spans(sentence, known)
    if question.kind in ("who", "where", "cloze"):
        named = [span for span in spans if span.capitalised]
        spans = named or spans
    if not spans:
        return ""
    gap = _gap_terms(question) if question.kind == "cloze" else frozenset()
    return max(spans, key=lambda span: span.worth(gap)).text


@dataclass(frozen=True, slots=True)
class _Span:
    text: str
    capitalised: bool
    distance: int
    """Words to the nearest word of the question."""
    behind: bool
    beside: frozenset[str]

    def worth(self, gap: frozenset[str]) -> tuple[float, int, str]:
        near = len(self.beside & gap)
        return 2.0 * near - 0.5 * self.distance + 0.6 * self.behind + 0.8 * self.capitalised, -len(self.text), self.text


def _spans(sentence: str, known: set[str]) -> list[_Span]:
    """Runs of words that the question does not have."""
    words = list(WORD.finditer(sentence))
    stems = [stem(word[0].casefold()) for word in words]
    matched = [place for place, term in enumerate(stems) if term in known]
    spans, start = [], None
    for place in range(len(words) + 1):
        carries = place < len(words) and _carries(words, place, known)
        joins = place < len(words) and start is not None and words[place][0] in _JOINERS and place + 1 < len(words)
        if joins and _carries(words, place + 1, known):
            continue
        broken = (
            start is not None
            and place < len(words)
            and sentence[words[place - 1].end() : words[place].start()].strip() != ""
        )
        if start is not None and (not carries or broken):
            spans.append(_make_span(sentence, words, (start, place), matched, stems))
            start = None
        if carries and start is None:
            start = place
    return spans


def _carries(words: Sequence[re.Match[str]], place: int, known: set[str]) -> bool:
    """Whether a word can be part of an answer. A small word with a capital inside a sentence is a name (Will, May)."""
    word = words[place][0]
    low = word.casefold()
    is_name = place > 0 and word[0].isupper() and len(word) > 2
    return stem(low) not in known and (is_name or (low not in STOP and low not in _EMPTY))


def _make_span(
    sentence: str, words: Sequence[re.Match[str]], where: tuple[int, int], matched: Sequence[int], stems: Sequence[str]
) -> _Span:
    start, end = where
    end = min(end, start + 5)
    text = sentence[words[start].start() : words[end - 1].end()]
    distance = min((start - m if m < start else m - end + 1 for m in matched), default=9)
    beside = frozenset((*stems[max(0, start - 2) : start], *stems[end : end + 2]))
    first_word_only = start == 0 and end == 1
    return _Span(
        text=text,
        capitalised=bool(_CAPITALISED.search(text)) and not first_word_only,
        distance=distance,
        behind=any(m < start for m in matched),
        beside=beside,
    )


def _gap_terms(question: Question) -> frozenset[str]:
    left, _, right = question.text.partition(GAP)
    return frozenset(
        [
            *(stem(word.casefold()) for word in WORD.findall(left)[-2:]),
            *(stem(word.casefold()) for word in WORD.findall(right)[:2]),
        ]
    )


def _date(sentence: str, happened_us: int | None) -> str:
    """A date the sentence gives, or the session's, moved by "yesterday" and the like; "7 May 2023"."""
    explicit = DATE.search(sentence)
    if explicit:
        return explicit[0]
    if happened_us is None:
        return ""
    moment = datetime.fromtimestamp(happened_us / 1e6, UTC)
    relative = RELATIVE.search(sentence)
    said = relative[0].casefold() if relative else ""
    if said == "last year":
        return str(moment.year - 1)
    days = {"yesterday": -1, "last night": -1, "tomorrow": 1, "last week": -7, "next week": 7}.get(said, 0)
    moment += timedelta(days=days)
    return f"{moment.day} {moment:%B} {moment.year}"
