"""From a unit to the statements it makes, by rule. What no rule understands makes no claim: the unit itself stays to be found.

A statement is made only of words that are there: its evidence is a span of the unit that literally contains the object and names the
subject. Injected units and orders ("instruction") state nothing. Facts that came with the entry (`data.facts`) are taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from overwinter.memory.claims import lines as line_rules
from overwinter.memory.claims import quality, values
from overwinter.memory.claims.clauses import Clause, clauses
from overwinter.memory.claims.phrases import (
    ABSENT,
    AGE,
    ANCHORED,
    IT_IS,
    KEPT,
    MENTIONED,
    PROMISE,
    PRONOUNS,
    SELF,
    STATE,
    VERBS,
    WITH_ATTRIBUTE,
    YOU,
    Phrase,
)
from overwinter.memory.claims.statement import EARLIEST_US, OWN_CONFIDENCE, UNTRUSTED_CONFIDENCE, Statement
from overwinter.memory.claims.words import predicate_of, subject_of
from overwinter.memory.literals import Gate, bits_of, fold
from overwinter.memory.unit import BOILERPLATE, INJECTED, INSTRUCTION, OWN, TRUSTED, Unit

Extractor = Callable[[Unit], Iterable[Mapping[str, Any]]]
"""Further statements of a unit, as facts ({subject, predicate, object, polarity?, valid_from_us?, valid_to_us?}): a model's, say.
Each passes the evidence check or is dropped."""

MAX_CLAUSE = 140
"""Characters. What is said in longer ones is seldom one fact."""

MAX_STATEMENTS = 64
"""Of one unit."""

_STATED, _FACT, _HEDGED = 0.9, 0.97, 0.6
"""Confidence of what a trusted source says in words, as data, and with reservations."""

_NO_ATTRIBUTE = re.compile(
    r"(?:.*\b(?:is|are|was|were|has|have|who|that|which|and|or|to|not|the|an?|my|our|your|his|her|its|their|it|this|that|now|just|rid|me|we|i|you|he|she|they|us|him|them|so|much|many|more|really|very|too|all|some|any|such|no)\b.*|lots?|kind|sort|bit|few|couple|end|rest|most|one|way|fact|rid|difference|impact|gonna|wanna|hold|sight|plenty|part"
    r"|member|tired|fond|care|advantage|piece|cup|bottle|pair|sense|use)",
    re.IGNORECASE,
)
_UNKNOWN_LEAD = re.compile(
    r"[,:]\s+|(?<=\S\s)that\s+|\s(?=(?:about|regarding|concerning)\s[^,:]{1,40}[,:]|(?:on|from|for|with)\s[^,:]{1,40}:)",
    re.IGNORECASE,
)
_LEAD_CHARS = 60
_PAST = re.compile(
    r"\b(?:was|were|had|lived|resided|worked|owned|liked|loved|used|played|kept|spoke|cost|stood|stayed|remained|preferred|drove)\b",
    re.I,
)


PHRASES = (*WITH_ATTRIBUTE, *VERBS)


def _bits(first: int, count: int) -> int:
    return ((1 << count) - 1) << first


_GATE = Gate([*(phrase.pattern for phrase in PHRASES), *ABSENT, *MENTIONED, *(pattern for pattern, _ in ANCHORED)])
_PHRASES = _bits(0, len(PHRASES))
_ABSENT = _bits(len(PHRASES), len(ABSENT))
_MENTIONED = _bits(len(PHRASES) + len(ABSENT), len(MENTIONED))
_ANCHORED = _bits(len(PHRASES) + len(ABSENT) + len(MENTIONED), len(ANCHORED))
_AT_END = len(_GATE.patterns) - sum(at_end for _, at_end in ANCHORED)
"""One gate for all lists of patterns, and which of its bits are whose; of ANCHORED, those at the end of a clause come last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """A phrase of a clause."""

    subject: str
    predicate: str
    object: str
    former: str = ""
    wrong: str = ""
    event: bool = False
    ends: bool = False


def statements_of(
    unit: Unit, *, facts: Sequence[Mapping[str, Any]] = (), extractor: Extractor | None = None
) -> list[Statement]:
    """All that a unit states, in the order it says it; the same for the same unit."""
    if unit.flags & {INJECTED, INSTRUCTION}:
        return []
    reader = _Reader(unit)
    made = [one for fact in facts for one in reader.of_fact(fact)]
    if BOILERPLATE not in unit.flags:
        made += reader.of_lines() if _is_report(unit) else []
        made += reader.of_sentences()
        made += [one for fact in (extractor(unit) if extractor else ()) for one in reader.of_fact(fact, checked=True)]
    return list({one.id: one for one in made}.values())[: MAX_STATEMENTS + len(facts)]


def _is_report(unit: Unit) -> bool:
    return unit.kind in {"tool_result", "document"} or unit.actor.startswith(("tool:", "world:"))


def speaker_of(actor: str) -> str:
    """Who "I" is: "person:Alice" → "alice", "user" → "user"; "" for documents."""
    kind, _, name = actor.partition(":")
    return "" if kind == "document" else (name or kind).casefold()


class _Reader:
    """Reads one unit."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.confidence = {TRUSTED: _STATED, OWN: OWN_CONFIDENCE}.get(unit.trust, UNTRUSTED_CONFIDENCE)
        self.sentence_at = 0
        self.last_subject: tuple[str, int] | None = None
        self.clause_at = 0
        self.last_key: tuple[str, str, int, bool] | None = None
        """Subject and attribute spoken of last, in which clause, and whether a value was called wrong."""

    # Facts and lines

    def of_fact(self, fact: Mapping[str, Any], *, checked: bool = False) -> Iterator[Statement]:
        """A fact as data. `checked`: only with words of the unit that say it."""
        subject, predicate = subject_of(str(fact["subject"])), predicate_of(str(fact["predicate"]))
        object_ = str(fact.get("object", "")).strip()
        span = self._span_of(object_, subject if checked else "")
        if span is None and checked:
            return
        first, last = span or (0, len(self.unit.text))
        grounds = [one for ground in fact.get("depends", ()) for one in self.of_fact(ground, checked=checked)]
        yield from grounds
        ends = fact.get("valid_to_us")
        yield Statement(
            unit=self.unit.id,
            first=first,
            last=last,
            subject=subject,
            predicate=predicate,
            object=object_,
            polarity=bool(fact.get("polarity", True)),
            confidence=self.confidence if checked or self.unit.trust != TRUSTED else _FACT,
            valid_from_us=int(fact.get("valid_from_us") or self.unit.happened_us),
            told_us=self.unit.told_us,
            ends_us=None if ends is None else int(ends),
            depends=tuple(one.id for one in grounds),
        )

    def _span_of(self, object_: str, subject: str) -> tuple[int, int] | None:
        """The first line of the unit that literally holds the object, and the subject where one is asked for."""
        start = 0
        for line in self.unit.text.splitlines(keepends=True):
            words = " ".join(line.casefold().split())
            if " ".join(object_.casefold().split()) in words and (not subject or self._names(subject, words)):
                return start, start + len(line.rstrip())
            start += len(line)
        return None

    def _names(self, subject: str, words: str) -> bool:
        if subject == speaker_of(self.unit.actor):
            return bool(SELF & set(re.findall(r"[\w']+", words))) or subject in words
        return all(word in words for word in subject.split())

    def of_lines(self) -> Iterator[Statement]:
        reporter = subject_of(speaker_of(self.unit.actor) or self.unit.session)
        for line in line_rules.read(self.unit.text):
            yield self._statement(
                _Found(
                    subject=subject_of(line.subject) or reporter,
                    predicate=predicate_of(line.predicate),
                    object=line.object,
                ),
                (line.first, line.last),
                self.unit.happened_us,
            )

    # Sentences

    def of_sentences(self) -> Iterator[Statement]:
        for clause in clauses(self.unit.text, self.unit.happened_us):
            self.sentence_at = clause.sentence
            self.clause_at += 1
            if clause.speaker:
                self.last_subject = (clause.speaker, clause.first)
            found = list(self._of_clause(clause))
            if clause.follows is not None and found:
                grounds = list(self._of_clause(clause.follows))
                yield from grounds
                found = [replace(one, depends=tuple(ground.id for ground in grounds)) for one in found]
            yield from found

    def _of_clause(self, clause: Clause) -> Iterator[Statement]:
        promise = self._promise(clause)
        if promise is not None:
            yield promise
            return
        for words in dict.fromkeys((clause.words, *self._partly_bare(clause), clause.bare)):
            made = list(self._of_words(clause, words)) or list(self._behind_lead(clause, words))
            if made:
                yield from made
                return

    def _behind_lead(self, clause: Clause, words: str) -> Iterator[Statement]:
        """Once more without a few words in front that no rule knows: "good to know: …", "it was then that …"."""
        for match in _UNKNOWN_LEAD.finditer(words, 0, _LEAD_CHARS + len(words) - len(words.lstrip())):
            made = list(self._of_words(clause, " " * match.end() + words[match.end() :], named_only=True))
            if made:
                yield from made
                return

    @staticmethod
    def _partly_bare(clause: Clause) -> Iterator[str]:
        """With one date left in, where there are several: "as of Monday the deadline is 3 May"."""
        if len(clause.dates) < 2:
            return
        for one in reversed(clause.dates):
            first, last = one.first - clause.first, one.last - clause.first
            yield clause.words[:first] + clause.bare[first:last] + clause.words[last:]

    def _of_words(self, clause: Clause, words: str, *, named_only: bool = False) -> Iterator[Statement]:
        text = words.strip()
        if not text or len(text) > MAX_CLAUSE:
            return
        offset = clause.first + words.index(text)
        may_match = _GATE.may_match(fold(text))
        for pattern in self._of(_ABSENT, may_match):
            match = pattern.fullmatch(text)
            subject = self._subject(match["s"], offset + match.start("s")) if match else None
            if match and subject:
                asks_denial = text.endswith(("exists", "exist", "existed"))
                if asks_denial != bool(clause.denial) and not (
                    (clause.denial == "ended" and text.startswith(("there", "There"))) or " without " in text
                ):
                    return
                self.last_subject = subject
                ends = not clause.denial
                found = _Found(
                    subject=subject_of(subject[0]), predicate=predicate_of(match["p"]), object="", ends=ends, event=True
                )
                yield from self._made(clause, found, subject[1])
                return
        if self._mentioned(self._of(_MENTIONED, may_match), text, offset):
            return
        for number in bits_of(may_match & _PHRASES):
            phrase = PHRASES[number]
            match = phrase.pattern.fullmatch(text)
            got = self._accept(phrase, match, offset, clause) if match else None
            if got:
                yield from self._made(clause, *got)
                return
        anchored = self._anchored(may_match, text, offset)
        if anchored and not clause.denial:
            yield from self._made(clause, *anchored)
        elif not named_only:
            yield from self._state(clause, text, offset)

    @staticmethod
    def _of(rules: int, may_match: int) -> Iterator[re.Pattern[str]]:
        return map(_GATE.patterns.__getitem__, bits_of(may_match & rules))

    def _anchored(self, may_match: int, text: str, offset: int) -> tuple[_Found, int] | None:
        """No phrase fits, but an attribute of a subject is named at one end, and what joins it to the rest leaves one value."""
        for number in bits_of(may_match & _ANCHORED):
            pattern, at_end = _GATE.patterns[number], number >= _AT_END
            match = pattern.fullmatch(text)
            subject = self._subject(match["s"], offset + match.start("s")) if match else None
            if match is None or subject is None or _NO_ATTRIBUTE.fullmatch(match["p"]):
                continue
            value = values.last_value(match["rest"]) if at_end else match["rest"]
            object_ = values.object_of(value)[0]
            predicate = predicate_of(match["p"])
            if object_ and quality.is_value(predicate, object_) and len(object_.split()) <= 4:
                self.last_subject = subject
                return _Found(subject=subject_of(subject[0]), predicate=predicate, object=object_, event=True), subject[
                    1
                ]
        return None

    def _mentioned(self, patterns: Iterable[re.Pattern[str]], text: str, offset: int) -> bool:
        """Only names an attribute of which something is said next."""
        for pattern in patterns:
            match = pattern.fullmatch(text)
            subject = self._subject(match["s"], offset + match.start("s")) if match else None
            if match and subject and not _NO_ATTRIBUTE.fullmatch(match["p"]):
                self.last_subject = subject
                self.last_key = (subject_of(subject[0]), predicate_of(match["p"]), self.clause_at, False)
                return True
        return False

    def _accept(self, phrase: Phrase, match: re.Match[str], offset: int, clause: Clause) -> tuple[_Found, int] | None:
        groups = match.groupdict()
        if match["s"].casefold() in PRONOUNS and match.string[match.end("s") : match.end("s") + 1] in {"'", "’"}:
            return None  # "it's gonna be" is no possessive
        subject = self._subject(match["s"], offset + match.start("s"))
        if subject is None:
            return None
        predicate = phrase.predicate or predicate_of(groups.get("p") or "")
        if not predicate or (not phrase.predicate and _NO_ATTRIBUTE.fullmatch(groups["p"])):
            return None
        object_, former, wrong = values.object_of(match["o"])
        object_ = values.trimmed(predicate, object_)
        if not object_ or not quality.is_value(predicate, object_, denied=bool(clause.denial)):
            return None
        helped = bool(clause.denial) or clause.former
        if not quality.agrees(match["s"], match.string[match.end("s") :], helped=helped):
            return None
        if predicate == "home" and re.match(r"(?:the|my|our|your|his|her|its|their|this)\s", match["s"], re.IGNORECASE):
            predicate = "location" if object_[0].isupper() else "state"  # "the meeting moved to Friday" is no home
        self.last_subject = subject
        found = _Found(
            subject=subject_of(subject[0]),
            predicate=predicate,
            object=object_,
            former=(groups.get("a") or former).strip(" ,."),
            wrong=wrong,
            event=phrase.event,
            ends=phrase.ends,
        )
        return found, subject[1]

    def _subject(self, words: str, place: int) -> tuple[str, int] | None:
        """Whom words name, and where: pronouns are the last one named; None for nobody."""
        plain = words.strip(" ,").casefold()
        if plain in SELF:
            speaker = speaker_of(self.unit.actor)
            return (speaker, place) if speaker else None
        if plain in YOU:
            return ("user" if self.unit.trust == OWN else "agent"), place
        if plain in PRONOUNS:
            return self.last_subject
        if plain.endswith((" and", " then")) or re.search(r"\sand\s(?:the|his|her|their|my|our|a)\s", plain):
            # "Alice packed up and moved to …", "Alice and her family live in …"
            named = re.match(r"[A-Z][\w'-]*(?:\s+[A-Z][\w'-]*)*", words.strip())
            return (named.group(), place) if named else None
        if not quality.is_subject(words.strip(" ,"), starts=place <= self.sentence_at + 1):
            return None
        return words.strip(" ,"), place

    def _state(self, clause: Clause, text: str, offset: int) -> Iterator[Statement]:
        """ "The door is open now", "Alice is a nurse", "Bob is 31 years old"."""
        age = AGE.fullmatch(text)
        match = age or IT_IS.fullmatch(text) or STATE.fullmatch(text)
        subject = self._subject(match["s"], offset + match.start("s")) if match else None
        if match is None or subject is None:
            return
        object_, former, wrong = values.object_of(match["o"])
        if not object_ or len(object_.split()) > 4:
            return
        be = " ".join((match.groupdict().get("be") or "").casefold().split())
        changes = age is None and be not in {"", "is", "are", "was", "were", "has been", "have been"}
        if age is not None:
            predicate = "age"
        elif self.last_key is not None and match["s"].casefold() == "it" and self.clause_at - self.last_key[2] <= 1:
            predicate = self.last_key[1]  # "her phone number was never 12; it is 21"
            clause = replace(clause, corrects=self.last_key[3])
        elif re.match(r"an?\s", object_, re.IGNORECASE):
            predicate = "is a"
        elif (
            changes
            or clause.now
            or clause.denial == "ended"
            or re.match(r"(?:the|my|our|your|his|her|its|their)\s", match["s"], re.IGNORECASE)
        ):
            predicate = "state"
        else:
            predicate = "is"
        if not quality.is_state(predicate, match["s"], object_) or not quality.agrees(
            match["s"], text[match.end("s") :], helped=bool(clause.denial)
        ):
            return
        self.last_subject = subject
        former = (match.groupdict().get("a") or former).strip(" ,.")
        found = _Found(
            subject=subject_of(subject[0]),
            predicate=predicate,
            object=object_,
            former=former,
            wrong=wrong,
            event=changes,
        )
        yield from self._made(clause, found, subject[1])

    def _promise(self, clause: Clause) -> Statement | None:
        kept = KEPT.fullmatch(clause.words.strip())
        match = kept or PROMISE.fullmatch(clause.bare.strip())
        ahead = any(one.until_us is not None and one.until_us > self.unit.happened_us for one in clause.dates)
        if match is None or not (kept or ahead) or clause.denial:
            return None
        subject = self._subject(match["s"], clause.first)
        object_ = re.sub(r"\s{2,}.*$", "", match["o"]).strip(" ,")
        if subject is None or len(object_.split()) > 16 or re.match(r"be\b", object_, re.IGNORECASE):
            return None
        found = _Found(subject=subject_of(subject[0]), predicate="promised", object=object_)
        return self._statement(
            found, (min(subject[1], clause.first), clause.last), self.unit.happened_us, polarity=kept is None
        )

    # Making

    def _made(self, clause: Clause, found: _Found, named_at: int) -> Iterator[Statement]:
        """The statements of one phrase, with its times."""
        span = (min(named_at, clause.first), clause.last)
        text = self.unit.text[span[0] : span[1]]
        if found.object not in text:
            return
        since, ends, softly = self._times(clause, found)
        denies = bool(clause.denial) != found.ends
        self.last_key = (found.subject, found.predicate, self.clause_at, clause.denial == "never")
        confidence = min(_HEDGED, self.confidence) if clause.hedged else self.confidence
        main = replace(
            self._statement(found, span, since, polarity=not denies),
            confidence=confidence,
            ends_us=ends,
            ends_softly=softly,
        )
        main = replace(main, reaches_back=ends == since + 1)
        if denies and (instead := values.INSTEAD.fullmatch(found.object)):  # "no longer A but B"
            main = replace(main, object=instead["a"])
            yield replace(main, object=instead["o"], polarity=True, corrects=clause.denial == "never")
        if clause.denial == "never":
            yield replace(main, never=True, valid_from_us=EARLIEST_US, ends_us=None, ends_softly=False)
            return
        wrong = found.wrong or (found.former if clause.corrects else "")
        if not denies and (clause.corrects or found.wrong):
            main = replace(main, corrects=True)
            if wrong and wrong in text:
                yield self._wrong(replace(found, object=wrong), span, confidence)
        elif not denies and found.former and found.former in text and found.predicate != "prefers":
            before = self._statement(replace(found, object=found.former), span, since - 1)
            yield replace(before, confidence=confidence, reaches_back=True)
        yield main
        if denies and found.predicate == "has":
            yield replace(main, predicate=predicate_of(found.object), object="", polarity=False)
        if not denies and found.predicate == "prefers" and found.former and found.former in text:
            yield replace(main, object=found.former, polarity=False, ends_us=None)

    def _wrong(self, found: _Found, span: tuple[int, int], confidence: float) -> Statement:
        never = self._statement(found, span, EARLIEST_US, polarity=False)
        return replace(never, never=True, confidence=confidence)

    def _statement(self, found: _Found, span: tuple[int, int], since: int, *, polarity: bool = True) -> Statement:
        return Statement(
            unit=self.unit.id,
            first=span[0],
            last=span[1],
            subject=found.subject,
            predicate=found.predicate,
            object=found.object,
            polarity=polarity,
            confidence=self.confidence,
            valid_from_us=since,
            told_us=self.unit.told_us,
        )

    def _times(self, clause: Clause, found: _Found) -> tuple[int, int | None, bool]:
        """Since when it holds, a stated end, and whether that counts only while nothing later is known."""
        happened = self.unit.happened_us
        place = self.unit.text.find(found.object, clause.first) if found.object else -1
        dates = [one for one in clause.dates if not (place <= one.first < place + len(found.object))]
        past = not found.event and bool(_PAST.search(clause.words) or clause.former)
        since = next((one.since_us for one in dates if one.since_us is not None), None)
        spans = [one for one in dates if one.since_us is not None and one.until_us is not None]
        until = next((one.until_us for one in dates if one.since_us is None), None)
        if until is not None:
            return (since if since is not None else until - 1 if past else happened), until, False
        if since is not None:
            if found.event or not past or not spans:
                joined = bool(spans) and bool(
                    re.search(r"(?:between|from)\b.*\b(?:and|to|until)\b|[-–]", spans[0].words, re.IGNORECASE)
                )
                stated = joined and not found.event and not re.fullmatch(r"[\d./-]+", spans[0].words)
                return since, spans[0].until_us if stated else None, False
            return since, spans[0].until_us, True
        return (EARLIEST_US, happened, True) if clause.former else (happened, None, False)
