"""Contradictions by a model, in two passes, for the subtypes that no rule reads and for texts that the rules cannot.

Pass one reads the text piece by piece, once for each category, and notes statements (about what, which aspect, what is said, the exact
words) and pairs that look wrong. Statements on one thing from anywhere in the text that say different things become pairs. Pass two
shows each pair alone, in text order, with what stands round it, and asks whether both can hold.

What ConStory-Bench's released checker leaves open (arXiv 2603.05890; a third of an audited sample of its findings were not real) is closed
here: a quote counts only if it stands in the text; every pair is judged by itself; an answer that fails, is cut off or has the wrong form
is a failure that the report names, and never "no errors".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from overwinter.errors import OverwinterError
from overwinter.think.consistency.check import CHECKED, NOT_CHECKED, PARTLY, Report, quote
from overwinter.think.consistency.claim import Finding
from overwinter.think.consistency.taxonomy import CATEGORY_OF, LOOKS_FOR, Category, Subtype
from overwinter.think.consistency.text import Text, cjk_characters, folded

Ask = Callable[[str, str, Mapping[str, Any]], str]
"""(system prompt, question, JSON schema of the answer) → the answer's text. Raises OverwinterError where there is none, or a cut one."""
Progress = Callable[[int, int], None]

PIECE_CHARS, OVERLAP_CHARS = 12_000, 600
AROUND_CHARS = 500
MAX_PAIRS = 200
ATTEMPTS = 2
"""Of a question whose answer has the wrong form."""

_STATEMENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("about", "aspect", "value", "subtype", "quote")},
    "required": ["about", "aspect", "value", "subtype", "quote"],
    "additionalProperties": False,
}
_PAIR = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("subtype", "first", "second")},
    "required": ["subtype", "first", "second"],
    "additionalProperties": False,
}
NOTED_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"statements": {"type": "array", "items": _STATEMENT}, "pairs": {"type": "array", "items": _PAIR}},
    "required": ["statements", "pairs"],
    "additionalProperties": False,
}
JUDGED_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "verdict": {"enum": ["contradiction", "consistent", "unclear"]},
        "confidence": {"type": "number"},
        "why": {"type": "string"},
    },
    "required": ["verdict", "confidence", "why"],
    "additionalProperties": False,
}
_NO_ERROR = (
    "Metaphor, irony, exaggeration, lies, dreams, rumours, an unreliable narrator, growth and explained changes are no errors. "
    "When in doubt, it is none."
)


@dataclass(frozen=True, slots=True)
class _Noted:
    """A statement whose quote stands in the text."""

    key: str
    value: str
    subtype: Subtype
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two spans in text order that may not both hold."""

    subtype: Subtype
    one: tuple[int, int]
    two: tuple[int, int]


@dataclass(kw_only=True)
class Tally:
    """What happened to the questions and quotes of a check."""

    asked: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    quotes: int = 0
    unverified: int = 0
    unclear: int = 0
    left_out: int = 0

    def fail(self, why: str) -> None:
        self.failed[why] = self.failed.get(why, 0) + 1


def check_by_model(
    text: str,
    ask: Ask,
    *,
    model: str,
    categories: Sequence[Category] = tuple(Category),
    piece_chars: int = PIECE_CHARS,
    progress: Progress | None = None,
) -> tuple[Report, Tally]:
    """Contradictions that a model finds, with quotes that were looked up in the text.

    Args:
        ask: one question to the model.
        model: its name, which every finding carries.
        piece_chars: most characters of text in one question.
        progress: called with questions answered and questions known of so far.
    """
    read, tally = Text(text), Tally()
    pieces = list(_pieces(text, piece_chars))
    total = len(pieces) * len(categories)
    noted: list[_Noted] = []
    pairs: dict[_Pair, None] = {}
    for number, (first, last) in enumerate(pieces):
        for turn, category in enumerate(categories):
            statements, seen = _note(text, first, last, category, ask, tally)
            noted += statements
            pairs.update(dict.fromkeys(seen))
            if progress is not None:
                progress(number * len(categories) + turn + 1, total)
    pairs.update(dict.fromkeys(_differing(noted)))
    chosen = list(pairs)[:MAX_PAIRS]
    tally.left_out = len(pairs) - len(chosen)
    findings: list[Finding] = []
    for number, pair in enumerate(chosen):
        findings += _judge(read, pair, ask, tally, model)
        if progress is not None:
            progress(total + number + 1, total + len(chosen))
    return _report(read, findings, tally, len(noted)), tally


def _report(read: Text, findings: Sequence[Finding], tally: Tally, claims: int) -> Report:
    problems = [f"{count} of {tally.asked} questions to the model failed: {why}" for why, count in tally.failed.items()]
    if tally.left_out:
        problems.append(f"{tally.left_out} pairs beyond the first {MAX_PAIRS} were not judged")
    failed = sum(tally.failed.values())
    status = CHECKED if not problems else NOT_CHECKED if failed >= tally.asked else PARTLY
    return Report(
        findings=tuple(sorted(findings, key=lambda one: (one.second.first, one.first.first))),
        status=status,
        problems=tuple(problems),
        words=read.word_count,
        cjk=cjk_characters(read.text),
        claims=claims,
        kinds=tuple(subtype.value for subtype in Subtype),
        unverified=tally.unverified,
    )


def _pieces(text: str, size: int) -> Iterator[tuple[int, int]]:
    """Spans that cover the text, ending at paragraphs where they can, with some overlap."""
    first = 0
    while first < len(text):
        last = min(first + size, len(text))
        if last < len(text):
            cut = text.rfind("\n\n", first + size // 2, last)
            last = cut if cut > 0 else last
        yield first, last
        if last >= len(text):
            return
        first = max(last - min(OVERLAP_CHARS, size // 4), first + 1)


# Pass one


def _note(
    text: str, first: int, last: int, category: Category, ask: Ask, tally: Tally
) -> tuple[list[_Noted], list[_Pair]]:
    subtypes = [subtype for subtype, own in CATEGORY_OF.items() if own is category]
    listed = "\n".join(f"- {subtype.value}: {LOOKS_FOR[subtype]}" for subtype in subtypes)
    system = (
        f"You look for inconsistencies of one kind in a long text: {category.value}.\n{listed}\n"
        "Note statements that another part of the text could contradict (about: who or what; aspect: which property; value: what is said; "
        "quote: the sentence, copied exactly), and pairs of passages of this piece that cannot both hold (first, second: copied exactly). "
        f"Copy quotes character by character. Empty lists are a good answer. {_NO_ERROR} "
        'Answer with JSON: {"statements": [...], "pairs": [...]}.'
    )
    piece = text[first:last]
    answer = _asked(ask, system, f"TEXT BEGINS\n{piece}\nTEXT ENDS", NOTED_SCHEMA, tally)
    statements: list[_Noted] = []
    pairs: list[_Pair] = []
    for row in answer.get("statements", []) if answer else []:
        span, subtype = _place(piece, first, row.get("quote"), tally), _subtype(row.get("subtype"), subtypes)
        key = f"{folded(str(row.get('about', '')))}|{folded(str(row.get('aspect', '')))}"
        if span is not None and key != "|":
            statements.append(_Noted(key, folded(str(row.get("value", ""))), subtype, *span))
    for row in answer.get("pairs", []) if answer else []:
        one, two = (_place(piece, first, row.get(side), tally) for side in ("first", "second"))
        if one is not None and two is not None and one != two:
            pairs.append(_Pair(_subtype(row.get("subtype"), subtypes), *sorted((one, two))))
    return statements, pairs


def _subtype(name: Any, allowed: Sequence[Subtype]) -> Subtype:
    """The subtype named; the category's first where the name is none of its own."""
    return next((subtype for subtype in allowed if subtype.value == str(name).strip().lower()), allowed[0])


def _place(piece: str, offset: int, words: Any, tally: Tally) -> tuple[int, int] | None:
    """Where a quote stands in the text; None, and counted, where it does not. Only spaces and the form of quotation marks may differ."""
    tally.quotes += 1
    plain = str(words or "").strip()
    pattern = r"\s+".join(_mark_insensitive(word) for word in plain.split())
    match = re.search(pattern, piece) if len(plain) >= 3 else None
    if match is None:
        tally.unverified += 1
        return None
    return offset + match.start(), offset + match.end()


def _mark_insensitive(word: str) -> str:
    marks = {"'": "['’‘]", "’": "['’‘]", "‘": "['’‘]", '"': '["“”]', "“": '["“”]', "”": '["“”]'}
    return "".join(marks.get(char, re.escape(char)) for char in word)


def _differing(noted: Sequence[_Noted]) -> Iterator[_Pair]:
    """Statements of one aspect of one thing that say different things, each later value with the first one at odds with it."""
    groups: dict[str, list[_Noted]] = {}
    for one in sorted(noted, key=lambda each: each.first):
        groups.setdefault(one.key, []).append(one)
    for group in groups.values():
        seen: set[str] = set()
        for index, one in enumerate(group):
            earlier = next(
                (other for other in group[:index] if other.value != one.value and other.last <= one.first), None
            )
            if earlier is not None and one.value not in seen:
                yield _Pair(one.subtype, (earlier.first, earlier.last), (one.first, one.last))
            seen.add(one.value)


# Pass two


def _judge(read: Text, pair: _Pair, ask: Ask, tally: Tally, model: str) -> Iterator[Finding]:
    system = (
        "Decide whether two passages of one text can both hold. "
        f"{_NO_ERROR} Answer with JSON: verdict (contradiction, consistent or unclear), confidence from 0 to 1, why in one sentence."
    )
    question = "\n\n".join(
        f"{name} passage (of the text, {100 * span[0] // max(len(read.text), 1)} % in): {read.text[span[0] : span[1]]}\n"
        f"Round it: …{read.text[max(0, span[0] - AROUND_CHARS) : span[1] + AROUND_CHARS]}…"
        for name, span in (("Earlier", pair.one), ("Later", pair.two))
    )
    answer = _asked(ask, system, question, JUDGED_SCHEMA, tally)
    if answer is None:
        return
    tally.unclear += answer["verdict"] == "unclear"
    if answer["verdict"] == "contradiction":
        yield Finding(
            kind=pair.subtype.value,
            subtype=pair.subtype,
            first=quote(read, *pair.one),
            second=quote(read, *pair.two),
            explanation=str(answer["why"])[:400],
            confidence=min(max(float(answer["confidence"]), 0.0), 1.0),
            by=model,
        )


def _asked(ask: Ask, system: str, question: str, schema: Mapping[str, Any], tally: Tally) -> dict[str, Any] | None:
    """The answer as an object of the schema's fields; None, and counted with its reason, where there is none."""
    why = ""
    tally.asked += 1
    for _ in range(ATTEMPTS):
        try:
            answer = _object(ask(system, question, schema))
        except OverwinterError as error:
            tally.fail(error.problem)
            return None
        if answer is not None and _fits(answer, schema):
            return answer
        why = "the answer was not JSON of the form asked for"
    tally.fail(why)
    return None


def _object(answer: str) -> dict[str, Any] | None:
    start, end = answer.find("{"), answer.rfind("}")
    try:
        found = json.loads(answer[start : end + 1])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _fits(answer: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    """Whether the fields are there with the types that are read; a list must hold objects."""
    for name in schema["required"]:
        value, wanted = answer.get(name), schema["properties"][name]
        if "enum" in wanted and value not in wanted["enum"]:
            return False
        if wanted.get("type") == "array" and not (
            isinstance(value, list) and all(isinstance(row, dict) for row in value)
        ):
            return False
        if wanted.get("type") == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
            return False
    return True


def merged(rules: Report, model: Report) -> Report:
    """Both reports as one; what both have found stands once, as the rules say it."""
    own = [one for one in model.findings if not any(_same_places(one, other) for other in rules.findings)]
    problems = (*(rules.problems if rules.status != NOT_CHECKED else ()), *model.problems)
    status = model.status if rules.status == NOT_CHECKED else CHECKED if model.status == CHECKED else PARTLY
    return Report(
        findings=tuple(sorted((*rules.findings, *own), key=lambda one: (one.second.first, one.first.first))),
        status=status,
        problems=problems,
        words=rules.words,
        cjk=rules.cjk,
        claims=rules.claims + model.claims,
        kinds=(*rules.kinds, *model.kinds),
        unverified=model.unverified,
    )


def _same_places(one: Finding, other: Finding) -> bool:
    return all(a.first < b.last and b.first < a.last for a, b in ((one.first, other.first), (one.second, other.second)))
