"""From a text to its contradictions by rule: read once, collect claims, hold those of one thing against each other.

Linear in the text: each sentence is read by each extractor once, and claims meet only claims of the same key. What the rules cannot read is
said in `Report.status`, never passed over: a text in another language is "not checked", which is not the same as free of errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from overwinter.errors import UsageError
from overwinter.think.consistency import customs, people, things, times
from overwinter.think.consistency.claim import Claim, Finding, Quote
from overwinter.think.consistency.conflict import Conflict, conflicts
from overwinter.think.consistency.names import Names
from overwinter.think.consistency.seen import Seen
from overwinter.think.consistency.taxonomy import KINDS
from overwinter.think.consistency.text import Text, cjk_characters

CHECKED, PARTLY, NOT_CHECKED = "checked", "partly checked", "not checked"
Progress = Callable[[int, int], None]

_DIGIT_OR_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen"
    r"|\w+ty(?:-\w+)?|hundred|thousand|dozen|score|an?\s+(?:day|week|month|year|hour))",
    re.I,
)


@dataclass(frozen=True, slots=True)
class _Extractor:
    read: Callable[[Seen], Iterator[Claim]]
    kinds: frozenset[str]
    numbers: bool = False
    """Only sentences with a number can hold what it looks for."""
    anyhow: bool = False
    """Reads also what is denied or supposed, and judges that itself."""


_EXTRACTORS = (
    _Extractor(people.ages, frozenset({"age", "age_birth"}), numbers=True),
    _Extractor(people.births, frozenset({"birth", "age_birth"}), numbers=True),
    _Extractor(people.deaths, frozenset({"death", "alive"})),
    _Extractor(people.looks, frozenset({"eyes", "hair"})),
    _Extractor(people.ranks, frozenset({"title"})),
    _Extractor(people.kinship, frozenset({"kinship"})),
    _Extractor(people.spellings, frozenset({"name"}), anyhow=True),
    _Extractor(times.event_dates, frozenset({"event_date"}), numbers=True),
    _Extractor(times.orders, frozenset({"order"})),
    _Extractor(times.durations, frozenset({"duration"}), numbers=True),
    _Extractor(times.weekdays, frozenset({"weekday"}), numbers=True),
    _Extractor(times.spans_of_years, frozenset({"elapsed"}), numbers=True),
    _Extractor(times.whereabouts, frozenset({"place"}), numbers=True),
    _Extractor(things.quantities, frozenset({"quantity"}), numbers=True),
    _Extractor(things.measures, frozenset({"measure"}), numbers=True),
    _Extractor(things.prices, frozenset({"price"}), numbers=True),
    _Extractor(things.distances, frozenset({"distance"}), numbers=True),
    _Extractor(things.directions, frozenset({"direction"})),
    _Extractor(things.lists, frozenset({"list_count"}), numbers=True),
    _Extractor(customs.rules, frozenset({"rule"}), anyhow=True),
    _Extractor(customs.laws, frozenset({"law"}), anyhow=True),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a check has found.

    Attributes:
        status: "checked", "partly checked" (something failed, see `problems`) or "not checked".
        problems: what could not be done, in words; what was not done must not look like "no contradictions".
        words: of the text, as `text.count_words` counts; cjk: how many characters of it are Chinese, Japanese or Korean.
        claims: how many statements were understood; few in a long text means that the rules had little to compare.
        unverified: quotes of a model that do not stand in the text, and were dropped.
    """

    findings: tuple[Finding, ...]
    status: str
    problems: tuple[str, ...]
    words: int
    cjk: int
    claims: int
    kinds: tuple[str, ...]
    unverified: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "problems": list(self.problems),
            "words": self.words,
            "cjk_characters": self.cjk,
            "claims": self.claims,
            "kinds": list(self.kinds),
            "contradictions": len(self.findings),
            "unverified_quotes": self.unverified,
        }


def chosen_kinds(names: Iterable[str] | None) -> tuple[str, ...]:
    """The kinds asked for, all where none are.

    Raises:
        UsageError: there is no such kind.
    """
    wanted = tuple(dict.fromkeys(names or KINDS))
    unknown = [name for name in wanted if name not in KINDS]
    if unknown:
        raise UsageError(f"there is no kind of contradiction {unknown[0]!r}", f"use some of: {', '.join(KINDS)}")
    return wanted


def check_text(text: str, *, kinds: Iterable[str] | None = None, progress: Progress | None = None) -> Report:
    """Contradictions of a text by rule, in text order.

    Args:
        kinds: names of `taxonomy.KINDS`; None: all.
        progress: called with sentences done and sentences in all.

    Raises:
        UsageError: there is no such kind.
    """
    wanted = chosen_kinds(kinds)
    read = Text(text)
    if not read.is_english:
        problem = "the rules read English only; use a model (--model) for this text"
        return _report(read, (), wanted, NOT_CHECKED, (problem,), 0)
    claims = list(claims_of(read, wanted, progress))
    found = sorted((_finding(read, each) for each in conflicts(claims)), key=lambda f: (f.second.first, f.first.first))
    return _report(read, tuple(found), wanted, CHECKED, (), len(claims))


def _report(
    read: Text,
    findings: tuple[Finding, ...],
    kinds: tuple[str, ...],
    status: str,
    problems: tuple[str, ...],
    claims: int,
) -> Report:
    return Report(
        findings=findings,
        status=status,
        problems=problems,
        words=read.word_count,
        cjk=cjk_characters(read.text),
        claims=claims,
        kinds=kinds,
    )


def claims_of(read: Text, kinds: Collection[str], progress: Progress | None = None) -> Iterator[Claim]:
    """All claims of the wanted kinds that a text makes, in text order."""
    extractors = [each for each in _EXTRACTORS if each.kinds & set(kinds)]
    names = Names(read)
    total = len(read.sentences)
    for done, sentence in enumerate(read.sentences, 1):
        seen = Seen(sentence, names)
        numbers = _DIGIT_OR_NUMBER.search(sentence.words) is not None
        for extractor in extractors:
            if (numbers or not extractor.numbers) and (sentence.asserted or extractor.anyhow):
                yield from (claim for claim in extractor.read(seen) if claim.kind in kinds)
        if progress is not None:
            progress(done, total)


def quote(read: Text, first: int, last: int) -> Quote:
    """The exact characters of a span, with their line."""
    return Quote(text=read.text[first:last], first=first, last=last, line=read.line_of(first))


def _finding(read: Text, conflict: Conflict) -> Finding:
    first, second = conflict.first, conflict.second
    kind = KINDS[first.kind]
    return Finding(
        kind=first.kind,
        subtype=kind.subtype,
        first=quote(read, first.first, first.last),
        second=quote(read, *(second.against or (second.first, second.last))),
        explanation=conflict.why,
        confidence=kind.confidence,
    )
