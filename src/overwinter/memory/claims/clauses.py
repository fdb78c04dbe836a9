"""Clauses: sentences cut where one fact ends and another begins, with what is not part of the bare fact blanked out.

Blanking keeps every place of the text, so what a pattern finds in a clause is found at the same place in the unit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from overwinter.memory.dates import TimeRange, find_dates
from overwinter.memory.literals import Gate, fold

_SENTENCE = re.compile(
    r"(?<!\b(?:Mr|Ms|Dr|St|vs|no|No))(?<!\b(?:Mrs|Jan|Feb|Aug|Sep|Oct|Nov|Dec|e\.g|i\.e))[.!?]+(?=[\s\"'”’)]|$)|\n+"
)
_INITIAL = re.compile(r"(?:^|\b[A-Z][\w.]*\s|[(\"'])[A-Z]$")
_CUT = re.compile(
    r"\s*;\s+|\s+[—–]\s+|,?\s+(?:whereas|while)\s+|,?\s+but\s+(?=[^,;.]*\b(?:is|are|was|were|has|have|lives?|works?|moved|became|changed|will)\b)|,\s+(?:and|then)\s+"
    r"|,\s+(?=(?:it|he|she|they)(?:\s+(?:is|are|was|were|has|have|will)\b|['’]s\b))"
    r"|\s+and\s+(?=(?:he|she|it|they|we|i|his|her|its|their|my|our)\b)",
    re.IGNORECASE,
)
_BECAUSE = re.compile(
    r",?\s+(?:because|(?:for\s+)?as\s+long\s+as|so\s+long\s+as|given\s+that|seeing\s+that|considering\s+that|now\s+that|due\s+to\s+the\s+fact\s+that|which\s+follows\s+from\s+the\s+fact\s+that)\s+",
    re.I,
)
_SO = re.compile(
    r",\s+(?:and\s+)?(?:so|therefore|hence|thus|which\s+means(?:\s+that)?|that\s+is\s+why)\s+", re.IGNORECASE
)
_BECAUSE_FIRST = re.compile(
    r"\s*(?:because|as\s+long\s+as|so\s+long\s+as|given\s+that|seeing\s+that|considering\s+that|now\s+that|since|as(?!\s+far))\s+"
    r"(?P<ground>[^,;]*\b(?:is|are|was|has|have|lives?|works?|moved|uses?|became|owns?)\b[^,;]*),\s+",
    re.IGNORECASE,
)
_SKIP = re.compile(
    r"\b(?:if|might|could|would|maybe|perhaps|should|wish(?:es|ed)?|hop(?:e|es|ed|ing)|unless|whether|imagine|suppose|wonder(?:s|ed|ing)?|let's"
    r"|consider(?:s|ed|ing)?|pretend|hypothetically|for\s+example|e\.g\.)\b",
    re.IGNORECASE,
)
_IN_CASE = re.compile(
    r"\b(?:if\s+(?:anyone|anybody|someone|you)\s+(?:asks?|wonders?|must\s+know|needs?\s+it)|in\s+case\s+[\w\s]{1,30}?),",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"^\s*(?:what|who|whom|whose|where|when|why|how|which|is|are|was|were|do|does|did|can|could|has|have|will|shall)\b(?!.*[.!])",
    re.I,
)

_LEAD = re.compile(
    r"\s*(?:(?:by\s+the\s+way|btw|fyi|for\s+your\s+information|for\s+the\s+record|for\s+information|(?:quick\s+|small\s+|status\s+|latest\s+)?update"
    r"|(?:good\s+|bad\s+|big\s+)?news|side\s+note|note(?:\s+to\s+self)?|reminder|correction|erratum|heads[\s-]up|psa"
    r"|actually|well|so|ok(?:ay)?|also|and|but|oh|yes|no|yeah|right|hi|hey|hello|anyway|besides|meanwhile|moreover|finally|indeed|sorry|thanks|great"
    r"|just\s+so\s+you\s+know|just\s+to\s+let\s+you\s+know|in\s+fact|in\s+truth|apparently|it\s+turns?\s+out|turns\s+out|it\s+turned\s+out|it\s+(?:looks|seems|appears)(?:\s+like|\s+as\s+if)?|please"
    r"|as\s+i\s+(?:said|mentioned)|as\s+(?:discussed|mentioned|agreed|planned|expected)|scratch\s+that|i\s+was\s+wrong|i\s+misspoke|that\s+was\s+wrong|my\s+mistake"
    r"|(?:please\s+)?(?:note|remember|don['’]t\s+forget|keep\s+in\s+mind|bear\s+in\s+mind|be\s+aware|know|record|write\s+down|save)"
    r"|you\s+should\s+know|i(?:['’]d|\s+would)\s+like\s+you\s+to\s+(?:know|remember|note)|let\s+me\s+(?:tell|inform|remind)\s+you"
    r"|i\s+(?:can|want\s+to|wanted\s+to|must|have\s+to|am\s+happy\s+to|just)?\s*(?:tell\s+you|mention|add|say|report|confirm|announce)"
    r"|(?:i|we)\s+(?:(?:just|have|recently|now|also)\s+)*(?:heard|learned|learnt|found\s+out|noticed|see|saw|know|read|noted|(?:was|were|am|are)\s+told|got\s+word)"
    r"|i\s+(?:think|believe|guess)|the\s+(?:latest|news|fact)\s+is|it\s+is\s+(?:true|official|known|confirmed)|word\s+is|rumou?r\s+has\s+it"
    r"|according\s+to\s+[\w' ]{1,30}?(?=,)|on\s+the\s+record|long\s+story\s+short|there\s+(?:is|has\s+been)\s+a\s+change)"
    r"(?![\w'’])(?:\s+that\b)?(?:\s*[,:;—–-]+|\s|$)\s*)+",
    re.IGNORECASE,
)
_SAID = re.compile(
    r"\s*(?P<who>[A-Z][\w'-]*(?:\s+[A-Z][\w'-]*)?)\s+(?:(?:just|has|also)\s+)*(?:said|says|told\s+(?:me|us)|tells\s+(?:me|us)|mentioned|wrote|writes|reported|reports|confirmed"
    r"|announced)(?:\s+that)?\s*[:,]?\s+"
)
_CORRECTS = re.compile(
    r"\b(?:correction|erratum|i\s+misspoke|scratch\s+that|mistake|mistaken(?:ly)?|in\s+truth|wrongly|typo|misread|misheard|misremembered"
    r"|(?:i|we|you|he|she|they|that|this|it)\s+(?:was|were|had\s+it|got\s+it|is)\s+(?:wrong|incorrect|false|an?\s+error))\b",
    re.IGNORECASE,
)
_OOPS = re.compile(r"(?:no|sorry|wait|oops)\b[,:]", re.IGNORECASE)
_TRAILING = re.compile(
    r",\s*(?:i\s+was\s+wrong|i\s+misspoke|sorry(?:\s+about\s+that)?|my\s+mistake|by\s+the\s+way|btw|i\s+(?:think|believe|hear|guess)|it\s+seems|apparently|please|thanks"
    r"|as\s+(?:it\s+turns\s+out|agreed|planned|discussed|you\s+know)|so\s+you\s+know|as\s+\w+(?:\s+\w+){0,3}|for\s+what\s+it['’]?s\s+worth)$",
    re.IGNORECASE,
)
_ASIDE = re.compile(
    r",\s*(?:i|we|they)\s+\w+(?:\s+\w+)?\s*,(?=\s)|,\s*(?:it\s+seems|as\s+\w+\s+\w+(?:\s+\w+)?|by\s+the\s+way|of\s+course|for\s+now|in\s+short)\s*,(?=\s)|,\s*(?:which|who)\s+[^,]{1,60},(?=\s)|\((?:which|who|was|formerly|previously|used\s+to)\b[^)]{1,60}\)",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(?:i\s+think|i\s+believe|i\s+guess|apparently|probably|rumou?r|word\s+is|supposedly|allegedly|likely)\b",
    re.IGNORECASE,
)

_ADVERB = re.compile(
    r"(?<![\w-])(?:as\s+of\s+(?:now|today)|from\s+(?:today|tomorrow|now|here)\s+on(?:wards?)?|in\s+the\s+end|after\s+all|as\s+usual|as\s+always|always|by\s+default|from\s+now\s+on|right\s+now|just\s+now|for\s+now|at\s+the\s+moment|at\s+present|at\s+this\s+point|these\s+days|nowadays|by\s+now"
    r"|now|currently|presently|already|still|just|recently|officially|finally|actually|also|again|meanwhile|newly|lately|indeed|definitely|probably|supposedly"
    r"|allegedly|apparently|as\s+well|too|permanently|temporarily|once\s+again|once\s+more|instead|today|in\s+fact|henceforth|effectively|since\s+then|going\s+forward|effective\s+immediately|in\s+the\s+meantime"
    r"|as\s+it\s+stands|from\s+here\s+on|until\s+further\s+notice|for\s+the\s+time\s+being|with\s+immediate\s+effect|so\s+far|at\s+last|eventually)(?![\w-])",
    re.IGNORECASE,
)
_HAVE = re.compile(r"(?<=\bI)['’]ve\b|(?<=\bwe)['’]ve\b|(?<=\bthey)['’]ve\b|(?<=\byou)['’]ve\b", re.IGNORECASE)
_NOW = re.compile(
    r"\b(?:now|currently|presently|at\s+the\s+moment|at\s+present|these\s+days|as\s+of|since|nowadays)\b", re.IGNORECASE
)
_FORMER = re.compile(
    r"\b(?:used\s+to(?:\s+be)?|previously|formerly|originally|at\s+first|initially|in\s+the\s+past|once|before\s+that|earlier|back\s+then)\b",
    re.I,
)
_ENDED = re.compile(
    r"\bno\s+longer\b|\bnot\s+any\s?(?:more|longer)\b|\bany\s?(?:more|longer)\b|\b(?:has\s+|have\s+|had\s+)?(?:stopped|ceased(?:\s+to)?)\b(?=\s+\w)"
    r"|\b(?:gave|given)\s+up\b(?=\s+\w+ing)|(?<=\bhas)\s+no\b|(?<=\bhave)\s+no\b|(?<=\bhad)\s+no\b",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"\b(?:does|do|did)(?:n['’]t|\s+not)\b|(?<=\b(?:is|as))n['’]t\b|(?<=\b(?:are|was|has))n['’]t\b|(?<=\b(?:were|have))n['’]t\b|\bnot\b(?!\s+\d+,)",
    re.I,
)
_NEVER = re.compile(r"\bnever\b(?:\s+(?:actually|really|once))?", re.IGNORECASE)
_NEVER_TAIL = re.compile(r",?\s+(?:and|it)\s+(?:was|has\s+been|did)\s*$", re.IGNORECASE)
_LONE_COMMA = re.compile(r",(?=\s*,)|,(?=\s+(?:is|are|was|were|has|have|will)\b)", re.IGNORECASE)
_BEFORE_DATE = re.compile(
    r"(?:,\s*)?\b(?:ever|back\s+in|as\s+from|as\s+of|effective(?:\s+from)?|starting|beginning|dating\s+from|some\s+time|sometime|already|only|in|on|at|during|over|for|from|this)\s+(?:the\s+)?$",
    re.I,
)

_AFTER_DATE = re.compile(r"\s+(?:onwards?|forward)\b|\s+on(?=\s*(?:$|[,.;]))", re.IGNORECASE)
_NOT_FIRST = re.compile(r"\s*(?:correction\s*[,:]\s*)?not\s+[^,;]{1,60},\s+(?=\S+\s+\S)", re.IGNORECASE)


_RULES = (
    _CUT, _BECAUSE, _SO, _SKIP, _IN_CASE, _CORRECTS, _TRAILING, _ASIDE, _HEDGE, _ADVERB, _HAVE, _NOW, _FORMER, _ENDED, _NOT, _NEVER,
    _NEVER_TAIL, _LONE_COMMA,
)  # fmt: skip
_GATE = Gate(_RULES)
_BIT = {rule: 1 << number for number, rule in enumerate(_RULES)}


class _Sentence:
    """A sentence of a text, which rules have a chance in it, and what it says of all its clauses."""

    def __init__(self, text: str, first: int, last: int) -> None:
        self.text, self.first, self.last = text, first, last
        self.words = text[first:last]
        self._may_match = _GATE.may_match(fold(self.words))
        self.dates: list[TimeRange] = []
        self.corrects = self.hedged = False

    def is_skipped(self) -> bool:
        """Whether it asks, wishes or supposes."""
        return self.finds(_SKIP, self.blank(_IN_CASE, self.words)) or _QUESTION.match(self.words) is not None

    def read(self, reference_us: int) -> None:
        self.dates = [
            replace(one, first=one.first + self.first, last=one.last + self.first)
            for one in find_dates(self.words, reference_us)
        ]
        self.corrects = self.finds(_CORRECTS, self.words) or _OOPS.match(self.words) is not None
        self.hedged = self.finds(_HEDGE, self.words)

    def finds(self, rule: re.Pattern[str], words: str) -> bool:
        return bool(self._may_match & _BIT[rule]) and rule.search(words) is not None

    def may_hold(self, rule: re.Pattern[str]) -> bool:
        return bool(self._may_match & _BIT[rule])

    def blank(self, rule: re.Pattern[str], words: str) -> str:
        """With every match of the rule replaced by spaces."""
        return rule.sub(_spaces, words) if self._may_match & _BIT[rule] else words


def _spaces(match: re.Match[str]) -> str:
    return " " * len(match.group())


@dataclass(frozen=True, kw_only=True, slots=True)
class Clause:
    """A stretch of a unit that may say a fact.

    Attributes:
        first, last: half-open, in the unit's text; the evidence of what it says.
        words: the unit's text from `first` to `last`, blanked.
        bare: the same with dates left in.
        dates: its dates, places in the unit.
        denial: "", "ended" ("no longer"), "not" or "never".
        now, former, corrects, hedged: what adverbs and lead-ins say.
        follows: the clause it is said to follow from ("because …").
        sentence: where its sentence begins.
        speaker: who is quoted ("Alice said that"), "" if nobody.
    """

    first: int
    last: int
    words: str
    bare: str
    dates: tuple[TimeRange, ...] = ()
    denial: str = ""
    now: bool = False
    former: bool = False
    corrects: bool = False
    hedged: bool = False
    follows: Clause | None = None
    speaker: str = ""
    sentence: int = 0


def _blank(text: str, first: int, last: int) -> str:
    return text[:first] + " " * (last - first) + text[last:]


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Half-open spans of the sentences and lines that are no questions."""
    first = 0
    for match in [*_SENTENCE.finditer(text), None]:
        if match is not None and _INITIAL.search(text, first, match.start()):
            continue  # "Alice B. Smith", but "shelf C. Then"
        last = len(text) if match is None else match.start()
        asks = match is not None and "?" in match.group()
        start, end = first + len(text[first:last]) - len(text[first:last].lstrip()), len(text[:last].rstrip())
        if not asks and start < end:
            yield start, end
        first = len(text) if match is None else match.end()


def clauses(text: str, reference_us: int) -> Iterator[Clause]:
    """The clauses of a text, in order."""
    for first, last in sentences(text):
        if last - first > 600:
            continue
        sentence = _Sentence(text, first, last)
        if sentence.is_skipped():
            continue
        sentence.read(reference_us)
        start = first
        cuts = _CUT.finditer(text, first, last) if sentence.may_hold(_CUT) else ()
        for cut in [*cuts, None]:
            end = last if cut is None else cut.start()
            if end > start:
                yield from _because(sentence, start, end)
            start = last if cut is None else cut.end()


def _because(sentence: _Sentence, first: int, last: int) -> Iterator[Clause]:
    """A clause, with the one it follows from where it says so: "A because B", "because B, A"."""
    text = sentence.text
    match = _BECAUSE.search(text, first, last) if sentence.may_hold(_BECAUSE) else None
    front = _BECAUSE_FIRST.match(text, first, last) if match is None else None
    if match is not None:
        yield replace(_prepared(sentence, first, match.start()), follows=_prepared(sentence, match.end(), last))
    elif front is not None:
        yield replace(_prepared(sentence, front.end(), last), follows=_prepared(sentence, *front.span("ground")))
    elif sentence.may_hold(_SO) and (so := _SO.search(text, first, last)):
        yield replace(_prepared(sentence, so.end(), last), follows=_prepared(sentence, first, so.start()))
    else:
        yield _prepared(sentence, first, last)


def _prepared(sentence: _Sentence, first: int, last: int) -> Clause:
    words = sentence.blank(_ASIDE, sentence.blank(_TRAILING, sentence.text[first:last]))
    speaker, corrects = "", sentence.corrects
    instead = _NOT_FIRST.match(words)  # "not A, it is B": what it is comes behind
    if instead:
        words, corrects = _blank(words, 0, instead.end()), True
    lead = _LEAD.match(words)
    if lead and lead.end() < len(words):
        words = _blank(words, 0, lead.end())
    quoted = _SAID.match(words)
    if quoted and quoted.end() < len(words):
        speaker, words = quoted["who"], _blank(words, 0, quoted.end())
    words = sentence.blank(_HAVE, words)
    former = sentence.finds(_FORMER, words)
    words, denial = _denied(sentence, sentence.blank(_FORMER, words) if former else words)
    here = tuple(one for one in sentence.dates if first <= one.first and one.last <= last)
    now = sentence.finds(_NOW, words)
    bare = sentence.blank(_ADVERB, words)
    words = bare
    for one in here:
        start = one.first - first
        before = _BEFORE_DATE.search(words, 0, start)
        after = _AFTER_DATE.match(words, one.last - first)
        words = _blank(words, before.start() if before else start, after.end() if after else one.last - first)
    words, bare = sentence.blank(_LONE_COMMA, words), sentence.blank(_LONE_COMMA, bare)
    return Clause(
        first=first,
        last=last,
        sentence=sentence.first,
        words=_trimmed(words),
        bare=_trimmed(bare),
        dates=here,
        denial=denial,
        now=now,
        former=former,
        corrects=corrects,
        hedged=sentence.hedged,
        speaker=speaker,
    )


def _denied(sentence: _Sentence, words: str) -> tuple[str, str]:
    if sentence.finds(_NEVER, words):
        words = sentence.blank(_NOT, sentence.blank(_NEVER, words))
        return sentence.blank(_NEVER_TAIL, words), "never"
    ended = sentence.finds(_ENDED, words)
    words = sentence.blank(_ENDED, words) if ended else words
    denied = _NOT.search(words) if sentence.may_hold(_NOT) else None
    if (
        denied
        and not re.search(r"(?:,|\band|\bbut|\brather)\s*$", words[: denied.start()])
        and not re.match(r"\s*(?:only|just)\b", words[denied.end() :])
    ):
        return _blank(words, denied.start(), denied.end()), "ended" if ended else "not"
    return words, "ended" if ended else ""


def _trimmed(words: str) -> str:
    """Punctuation at either end blanked."""
    kept = words.strip(" \t\n,;:.!?-–—\"'`*>")
    if not kept:
        return " " * len(words)
    start = words.index(kept)
    return " " * start + kept + " " * (len(words) - start - len(kept))
