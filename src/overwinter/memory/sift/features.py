"""What is known of (question, session) without a model: 34 numbers, mostly in [0, 1], each comparable between sessions of one list.

Scores are looked for turn by turn and the best turn speaks for its session, so that a fact late in a long session is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from math import log1p

from overwinter.memory.sift.question import (
    DATE,
    DENIAL,
    HEDGE,
    NUMBER,
    RELATIVE,
    Question,
    months_in,
    names_in,
    read_question,
)
from overwinter.memory.sift.session import Session, Turn
from overwinter.memory.sift.words import Haystack, terms

FEATURES = (
    "prior",  # score of the stage before, over the best; without one, `Haystack.first_scores`
    "similarity",  # cosine to the question, min-max over the list; 0 without
    "session_bm25",
    "turn_bm25",  # of the best turn
    "turn_bm25_top3",  # sum of the best three turns
    "turn_bm25_smooth",  # best turn with 0.4 of its neighbours
    "coverage_session",  # share of the question's rarity-weighted words in the session
    "coverage_turn",  # ... in its best turn
    "coverage_window",  # ... in its best three consecutive turns
    "coverage_rarest",  # whether the rarest word of the question occurs
    "bigrams",  # share of the question's pairs of words that stand together
    "matching_turns",  # turns with half of the list's best score: a third for each, to 1
    "names",  # share of the question's names in the session, speakers included
    "speaker",  # the best turn's speaker is named in the question
    "other_speaker",  # somebody else is, and they could have spoken
    "own",  # role of the best turn is not the assistant's
    "month",  # the session's date is in a month the question names
    "month_said",  # the session's text names such a month
    "recency",  # place in time, 0 oldest, 1 newest
    "recency_if_current",
    "age_if_earlier",
    "newer_matches",  # share of the list's strong matches that are newer
    "newer_matches_if_earlier",
    "date_for_when",  # the best turn says a date or "yesterday", and the question is "when"
    "number_for_number",
    "name_for_who",  # the best turn has a name that the question lacks, and the question is "who" or "where"
    "asks",  # the best turn is a question itself
    "hedges",  # the best turn says "might", "thinking of"
    "denies",
    "superseded",  # claims of the best turn no longer hold
    "holds",  # they do
    "superseded_if_earlier",
    "neighbour_sessions",  # score of the sessions just before and after in time
    "length",  # log of its words over the longest
)


@dataclass(slots=True)
class _Matches:
    """Scores of one question over one haystack."""

    question: Question
    idf: dict[str, float]
    turn: dict[tuple[int, int], float]
    found: dict[tuple[int, int], set[str]]
    session: list[float]

    @property
    def total_idf(self) -> float:
        return sum(self.idf.values()) or 1.0

    def share(self, found: set[str]) -> float:
        return sum(self.idf[term] for term in found) / self.total_idf


def features(question: str, haystack: Haystack) -> list[list[float]]:
    """[sessions][len(FEATURES)], in the order of the haystack."""
    matches = _match(read_question(question), haystack)
    best = [_best_turn(number, haystack, matches) for number in range(len(haystack.sessions))]
    columns = _lexical(haystack, matches) | _relational(haystack, matches, best) | _said(haystack, matches, best)
    return [[columns[name][number] for name in FEATURES] for number in range(len(haystack.sessions))]


def _match(question: Question, haystack: Haystack) -> _Matches:
    found: dict[tuple[int, int], set[str]] = {}
    for term in question.terms:
        for number, place, _ in haystack.postings.get(term, ()):
            found.setdefault((number, place), set()).add(term)
    return _Matches(
        question=question,
        idf={term: haystack.idf(term) for term in question.terms},
        turn=haystack.turn_scores(question.terms),
        found=found,
        session=haystack.session_scores(question.terms),
    )


def _best_turn(number: int, haystack: Haystack, matches: _Matches) -> int:
    """The turn that speaks for a session: the best by BM25, one of a named speaker counting half as much again."""
    names = set(matches.question.names)

    def worth(place: int) -> float:
        turn = haystack.sessions[number].turns[place]
        named = bool(turn.speaker) and turn.speaker.casefold() in names
        return matches.turn.get((number, place), 0.0) * (1.5 if named else 1.0)

    return max(range(len(haystack.sessions[number].turns)), key=worth, default=-1)


def _lexical(haystack: Haystack, matches: _Matches) -> dict[str, list[float]]:
    everyone = range(len(haystack.sessions))
    turns = [
        [matches.turn.get((number, place), 0.0) for place in range(len(haystack.sessions[number].turns))]
        for number in everyone
    ]
    found = [[matches.found.get((number, place), set()) for place in range(len(turns[number]))] for number in everyone]
    context = [_context_terms(session) for session in haystack.sessions]
    smooth = [
        max((s + 0.4 * (_at(row, i - 1) + _at(row, i + 1)) for i, s in enumerate(row)), default=0.0) for row in turns
    ]
    top = max(matches.turn.values(), default=0.0)
    rarest = max(matches.idf, key=lambda term: matches.idf[term], default="")
    return {
        "prior": _over_best(_prior(haystack, matches.question)),
        "similarity": _minmax([session.similarity for session in haystack.sessions]),
        "session_bm25": _over_best(matches.session),
        "turn_bm25": _over_best([max(row, default=0.0) for row in turns]),
        "turn_bm25_top3": _over_best([sum(sorted(row)[-3:]) for row in turns]),
        "turn_bm25_smooth": _over_best(smooth),
        "coverage_session": [matches.share(set().union(*row)) for row in found],
        "coverage_turn": [max((matches.share(place) for place in row), default=0.0) for row in found],
        "coverage_window": [
            max(
                (matches.share(_window(row, i) | (context[n] & matches.idf.keys())) for i in range(len(row))),
                default=0.0,
            )
            for n, row in enumerate(found)
        ],
        "coverage_rarest": [float(any(rarest in place for place in row)) for row in found],
        "bigrams": _bigrams(haystack, matches, found),
        "matching_turns": [min(1.0, sum(s >= 0.5 * top > 0 for s in row) / 3) for row in turns],
        "length": _over_best([log1p(sum(lengths)) for lengths in haystack.lengths]),
        "neighbour_sessions": _over_best(_beside(haystack.sessions, matches.session)),
    }


def _prior(haystack: Haystack, question: Question) -> list[float]:
    """What the candidates bring along; our own scores where nobody scored them."""
    given = [session.score for session in haystack.sessions]
    return given if any(given) else haystack.first_scores(question.terms)


def _relational(haystack: Haystack, matches: _Matches, best: Sequence[int]) -> dict[str, list[float]]:
    """Who, when, and before or after what."""
    question, sessions = matches.question, haystack.sessions
    names = set(question.names)
    spoken = [_turn(session, place) for session, place in zip(sessions, best, strict=True)]
    speaking = names & haystack.speakers
    recency = _recency(sessions)
    strong = [
        max((matches.share(f) for (n, _), f in matches.found.items() if n == number), default=0.0)
        for number in range(len(sessions))
    ]
    bar = 0.8 * max(strong, default=0.0)
    newer = [_newer(number, recency, strong, bar) for number in range(len(sessions))]
    return {
        "names": [_names_share(session, question.names) for session in sessions],
        "speaker": [float(turn.speaker.casefold() in speaking) for turn in spoken],
        "other_speaker": [float(bool(speaking) and turn.speaker.casefold() not in speaking) for turn in spoken],
        "own": [float(turn.role != "assistant") for turn in spoken],
        "month": [float(_in_month(session, question.months)) for session in sessions],
        "month_said": [float(_says_month(turn, question.months)) for turn in spoken],
        "recency": recency,
        "recency_if_current": [value * question.current for value in recency],
        "age_if_earlier": [(1 - value) * question.earlier for value in recency],
        "newer_matches": newer,
        "newer_matches_if_earlier": [value * question.earlier for value in newer],
    }


def _said(haystack: Haystack, matches: _Matches, best: Sequence[int]) -> dict[str, list[float]]:
    """How the best turn says it."""
    question = matches.question
    spoken = [_turn(session, place) for session, place in zip(haystack.sessions, best, strict=True)]
    known = set(question.names) | haystack.speakers

    def told(kinds: set[str], holds: list[bool]) -> list[float]:
        return [float(question.kind in kinds and value) for value in holds]

    return {
        "date_for_when": told(
            {"when"}, [bool(DATE.search(turn.text) or RELATIVE.search(turn.text)) for turn in spoken]
        ),
        "number_for_number": told({"number"}, [bool(NUMBER.search(turn.text)) for turn in spoken]),
        "name_for_who": told({"who", "where", "cloze"}, [bool(set(names_in(turn.text)) - known) for turn in spoken]),
        "asks": [float(turn.text.rstrip().endswith("?")) for turn in spoken],
        "hedges": [float(bool(HEDGE.search(turn.text))) for turn in spoken],
        "denies": [float(bool(DENIAL.search(turn.text))) for turn in spoken],
        "superseded": [float(turn.valid is False) for turn in spoken],
        "holds": [float(turn.valid is True) for turn in spoken],
        "superseded_if_earlier": [float(turn.valid is False and question.earlier) for turn in spoken],
    }


def _turn(session: Session, place: int) -> Turn:
    return session.turns[place] if place >= 0 else Turn("", "")


def _at(row: Sequence[float], place: int) -> float:
    return row[place] if 0 <= place < len(row) else 0.0


def _over_best(values: Sequence[float]) -> list[float]:
    best = max(values, default=0.0)
    return [max(0.0, value) / best if best > 0 else 0.0 for value in values]


def _minmax(values: Sequence[float | None]) -> list[float]:
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    width = high - low or 1.0
    return [0.0 if value is None else (value - low) / width for value in values]


def _context_terms(session: Session) -> set[str]:
    return {term for turn in (*session.before, *session.after) for term in terms(turn.text)}


def _window(row: Sequence[set[str]], place: int) -> set[str]:
    return set().union(*row[max(0, place - 1) : place + 2])


def _bigrams(haystack: Haystack, matches: _Matches, found: Sequence[Sequence[set[str]]]) -> list[float]:
    pairs = set(pairwise(matches.question.terms))
    shares = []
    for session, row in zip(haystack.sessions, found, strict=True):
        here: set[tuple[str, str]] = set()
        for turn, matched in zip(session.turns, row, strict=True):
            if len(matched) > 1:
                words = terms(turn.text)
                here |= pairs & set(pairwise(words))
        shares.append(len(here) / max(1, len(pairs)))
    return shares


def _in_time(sessions: Sequence[Session]) -> list[int]:
    """Dated candidates, oldest first. Without two dates there is no time: the order of a list says nothing."""
    dated = [number for number, session in enumerate(sessions) if session.happened_us is not None]
    dated.sort(key=lambda number: (sessions[number].happened_us or 0, sessions[number].key))
    return dated if len(dated) > 1 else []


def _recency(sessions: Sequence[Session]) -> list[float]:
    """Place in time, 0 to 1; in the middle without a date."""
    order = _in_time(sessions)
    recency = [0.5] * len(sessions)
    for place, number in enumerate(order):
        recency[number] = place / (len(order) - 1)
    return recency


def _beside(sessions: Sequence[Session], scores: Sequence[float]) -> list[float]:
    """Scores of the candidates just before and after each in time."""
    order = _in_time(sessions)
    in_order = [scores[number] for number in order]
    beside = [0.0] * len(sessions)
    for place, number in enumerate(order):
        beside[number] = _at(in_order, place - 1) + _at(in_order, place + 1)
    return beside


def _newer(number: int, recency: Sequence[float], strong: Sequence[float], bar: float) -> float:
    matching = [other for other in range(len(strong)) if strong[other] >= bar > 0]
    return sum(recency[other] > recency[number] for other in matching) / max(1, len(matching))


def _names_share(session: Session, names: Sequence[str]) -> float:
    if not names:
        return 0.0
    text = " ".join(f"{turn.speaker} {turn.text}" for turn in session.turns).casefold()
    return sum(name in text for name in names) / len(names)


def _in_month(session: Session, months: Sequence[tuple[int, int]]) -> bool:
    if session.happened_us is None:
        return False
    moment = datetime.fromtimestamp(session.happened_us / 1e6, UTC)
    return any(month in (0, moment.month) and year in (0, moment.year) for month, year in months)


def _says_month(turn: Turn, months: Sequence[tuple[int, int]]) -> bool:
    said = months_in(turn.text) if months else []
    return any(m == month and (0 in (y, year) or y == year) for m, y in said for month, year in months)
