"""A text as the rules read it: sentences with their places, what is narrated and what is only said, dreamt or supposed.

All masks keep their length: a span found in `narration` is the same span of the text. A claim of the narrator's can be held against
another; what stands in quotation marks is somebody's word, and a sentence that says "if", "dreamt" or "rumour" asserts nothing.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

MAX_SENTENCE = 420
"""Characters. Longer sentences hold too many things for rules that look for one."""

_PARAGRAPH = re.compile(r"^#{1,6} [^\n]*\n?|\n[ \t]*(?:\n[ \t]*)+", re.M)
"""What parts paragraphs: empty lines, and headings, which state nothing."""
_END = re.compile(r"[.!?。！？]+[\"'”’)\]]*(?=\s|$|[一-鿿])")
_ABBREVIATED = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Capt|Col|Gen|Lt|Sgt|Maj|Prof|Rev|Hon|Jr|Sr|No|Nos|vol|pp?|cf|etc|vs|e\.g|i\.e|Fig|Co|Inc|Ltd|Mt)|\b[A-Z])\.$"
)
_DOUBLE = re.compile(r"[\"“”„«»「」『』]")
_SINGLE = re.compile(r"(?:(?<=[\s—(-])|^)['‘](?=[A-Z\d…])(?P<said>.*?[.,!?;:—…-])['’](?=[\s,.;:!?)—-]|$)", re.S)
_UNREAL = re.compile(
    r"\b(?:if|unless|whether|perhaps|maybe|possibly|probably|presumably|supposedly|allegedly|reportedly|suppos(?:e|es|ed|ing)"
    r"|imagin(?:e|es|ed|ing|ation)|dream(?:s|t|ed|ing)?|nightmare|vision|fanc(?:y|ied|ies)|pretend(?:s|ed|ing)?"
    r"|rumou?r(?:s|ed)?|gossip|legend|fable|myth|tale|ballad|stor(?:y|ies)\s+(?:goes|went"
    r"|says?|that|has|had)|hearsay|it\s+(?:is|was)\s+said|said\s+to\s+(?:be|have)|they\s+say"
    r"|people\s+said|told\s+(?:him|her|them|me|us|people|that|everyone|everybody)|claim(?:s|ed)?|lied"
    r"|lying|liar|(?:the|his|her)\s+lies?|false|falsely|untrue|not\s+true|wrong|wrongly|mistaken(?:ly)?"
    r"|error|as\s+though|as\s+if|wish(?:es|ed)?|hop(?:e|es|ed|ing)|seem(?:s|ed)?|appear(?:s|ed)\s+to|thought|think|thinks|believ(?:e|es|ed)"
    r"|guess(?:es|ed)?|suspect(?:s|ed)?|doubt(?:s|ed)?|would|might|may|could|should|were\s+to|almost|nearly\s+\w+ed|not|n['’]t|no\s+longer"
    r"|had\s+(?:it|things|he|she|they)\s+(?:been|gone|not)|ghost|spirit|madness|raving|joke|jest|jokingly|joked)\b",
    re.I,
)
_CJK = re.compile(r"[぀-ヿ㐀-䶿一-鿿가-힯豈-﫿]")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_ENGLISH = re.compile(r"\b(?:the|and|of|to|in|was|is|that|it|for|with|as|his|her|on|at|by|had)\b", re.I)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence.

    Attributes:
        first, last: its half-open span in the text.
        words: its text with speech blanked out and line ends as spaces; same length as the span.
        asserted: the narrator states it; False for questions and what is supposed, dreamt, denied or hearsay.
        number: its place among the sentences.
    """

    first: int
    last: int
    words: str
    asserted: bool
    number: int


class Text:
    """A text of any length, read once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]

    def line_of(self, place: int) -> int:
        """The line of a character, counted from 1."""
        return bisect_right(self._lines, place)

    @cached_property
    def narration(self) -> str:
        """The text with what stands in quotation marks blanked out, and line ends as spaces."""
        parts: list[str] = []
        for paragraph, gap in _paragraphs(self.text):
            parts += [_blank_speech(paragraph).replace("\n", " "), gap]
        return "".join(parts)

    @cached_property
    def sentences(self) -> list[Sentence]:
        """All sentences, in order; those that are too long for a rule are left out."""
        found: list[Sentence] = []
        at = 0
        for paragraph, gap in _paragraphs(self.narration):
            for first, last in _split(paragraph):
                words = paragraph[first:last]
                if last - first <= MAX_SENTENCE and not words.isspace():
                    found.append(
                        Sentence(at + first, at + last, words, is_asserted(words), len(found)),
                    )
            at += len(paragraph) + len(gap)
        return found

    @cached_property
    def word_count(self) -> int:
        return count_words(self.text)

    @cached_property
    def is_english(self) -> bool:
        """Whether the rules can read it: a text whose commonest words are English ones. Short texts get the benefit of the doubt."""
        sample = self.text if len(self.text) < 40_000 else self.text[:20_000] + self.text[-20_000:]
        words = count_words(sample)
        return words < 12 or len(_ENGLISH.findall(sample)) > 0.08 * words


def is_asserted(words: str) -> bool:
    """Whether a sentence of narration states what it says."""
    return not words.rstrip().endswith("?") and not doubt_in(words)


def doubt_in(words: str) -> str:
    """The word that makes a sentence less than a statement, "" where there is none."""
    # "May" with a capital is the month.
    return next((match[0] for match in _UNREAL.finditer(words) if match[0] != "May"), "")


def count_words(text: str) -> int:
    """Words for densities: runs of letters and digits; in Chinese, Japanese and Korean script each two characters are one.

    Such script has no spaces, so whitespace would count a paragraph as a word and make every density meaningless. Two characters are the
    average length of a Chinese word; what is counted stands beside every figure that is made of it.
    """
    script = len(_CJK.findall(text))
    return len(_WORD.findall(_CJK.sub(" ", text) if script else text)) + (script + 1) // 2


def cjk_characters(text: str) -> int:
    return len(_CJK.findall(text))


def folded(words: str) -> str:
    """Words as a key: no case, no accents, single spaces, plain apostrophes."""
    plain = unicodedata.normalize("NFKD", words.replace("’", "'"))
    return " ".join("".join(c for c in plain if not unicodedata.combining(c)).casefold().split())


def _paragraphs(text: str) -> Iterator[tuple[str, str]]:
    """(paragraph, gap behind it), together the whole text."""
    at = 0
    for match in _PARAGRAPH.finditer(text):
        yield text[at : match.start()], match[0]
        at = match.end()
    yield text[at:], ""


def _blank_speech(paragraph: str) -> str:
    """Speech of one paragraph blanked out. An opening mark without a closing one reaches to the end: the speech goes on."""
    marks = [match.start() for match in _DOUBLE.finditer(paragraph)]
    for first, last in [
        (marks[i], marks[i + 1] if i + 1 < len(marks) else len(paragraph)) for i in range(0, len(marks), 2)
    ]:
        paragraph = paragraph[: first + 1] + re.sub(r"[^\n]", " ", paragraph[first + 1 : last]) + paragraph[last:]
    if marks:
        return paragraph
    return _SINGLE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), paragraph)


def _split(paragraph: str) -> Iterator[tuple[int, int]]:
    """Spans of sentences in a paragraph, without the space round them."""
    start = 0
    for match in _END.finditer(paragraph):
        if match[0].startswith(".") and _ABBREVIATED.search(paragraph, max(0, match.start() - 8), match.start() + 1):
            continue
        after = paragraph[match.end() : match.end() + 3].lstrip()
        if after[:1].islower():
            continue
        yield from _trimmed(paragraph, start, match.end())
        start = match.end()
    yield from _trimmed(paragraph, start, len(paragraph))


def _trimmed(paragraph: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    while first < last and paragraph[first].isspace():
        first += 1
    while last > first and paragraph[last - 1].isspace():
        last -= 1
    if first < last:
        yield first, last
