"""Who and what is named: persons, places and things of a text, and which names mean the same one.

A surname or first name alone means the person with that full name if the text has only one such person; else it means nobody the rules
would bet on. Whether a name is a person's or a place's is decided by what stands round it in the whole text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from overwinter.think.consistency.text import Text, folded
from overwinter.think.consistency.wordlist import listed

_CAPITAL = r"[A-ZÀ-ÖØ-Þ]"
_NAME_WORD = rf"{_CAPITAL}(?:[^\W\d_]|[-’'](?!s\b)(?=[^\W\d_]))+|{_CAPITAL}\."
RANKS = listed(
    "Captain Major Colonel General Lieutenant Sergeant Corporal Admiral Commodore Brigadier Inspector "
    "Superintendent Constable Ensign Commander Private Midshipman"
)
"""Titles of which a person has one at a time."""
CIVIL = listed(
    "Mr Mrs Miss Ms Dr Doctor Professor Sir Lady Lord Reverend Father Mother Sister Brother Uncle Aunt Count "
    "Countess Duke Duchess King Queen Prince Princess Judge Madame Monsieur Mademoiselle Herr Frau Señor Don Saint "
    "Master Mistress President Senator Governor"
)
FEMININE = frozenset(
    listed("mrs miss ms lady madame mademoiselle countess duchess queen princess aunt sister mother frau mistress")
)
_SHORT = {"Capt": "Captain", "Col": "Colonel", "Gen": "General", "Lt": "Lieutenant", "Sgt": "Sergeant", "Maj": "Major"}
TITLE = rf"(?:{'|'.join([*RANKS, *CIVIL, *_SHORT])})\.?"
_SEQUENCE = re.compile(
    rf"(?<![\w’'-])(?:{_NAME_WORD})(?:[ \t]+(?:(?:de|van|von|der|du|del|la|le)[ \t]+)?(?:{_NAME_WORD})){{0,4}}"
)
_TITLED = re.compile(rf"^(?P<t>{TITLE})\s+")

_COMMON = frozenset(
    listed(
        "the a an and or but if when while where who whom whose which what that this these those then there here he she "
        "it they we you i his her its their our my your in on at by for from to of with without within into upon under "
        "over after before during since until till as so no not never always nobody someone everybody born aged once "
        "one two three four five six seven eight nine ten eleven twelve some many most all each every both few several "
        "such how why yet still just only even also now next last later soon again perhaps maybe both either neither "
        "nor because although though however chapter book part volume section page figure table oh ah yes well good "
        "dear great god heaven monday tuesday wednesday thursday friday saturday sunday january february march april "
        "may june july august september october november december christmas easter spring summer autumn winter north "
        "south east west english french german american italian spanish british roman greek latin european indian "
        "chinese russian irish scotch scottish welsh christian catholic mr mrs miss sir lady doctor twenty thirty forty "
        "fifty sixty seventy eighty ninety hundred between among down up out let nothing everything something thus too "
        "anyone everyone nobody gossip suppose had was were is are be been did do does has have said says would could "
        "will shall they'd it's never suddenly presently meanwhile afterwards finally first second third another other "
        "people men women they're"
    )
)
_BODIES = frozenset(
    listed(
        "party army navy americans union act acts association society company committee department bank war court "
        "congress government nations council league movement renaissance age era plan treaty rebellion amendment "
        "constitution bill board bureau commission corporation club family brothers sons regiment division brigade "
        "fleet class press times review gazette journal revolution convention compromise doctrine conference law code "
        "order system series act depression reserve security corps guard office post service"
    )
)
PLACE_WORDS = frozenset(
    listed(
        "hall house castle hotel inn abbey grange arms prison hospital tower street road lane bridge river lake hill "
        "mount mountain valley island isle bay cape port fort farm manor cottage court park square church chapel "
        "cathedral priory school college university station mill museum palace theatre library market forest wood woods "
        "moor heath dale sea ocean county shire city town village district harbour gate steeple spire mast monument dam "
        "wall lodge villa mansion barracks asylum workhouse observatory lighthouse temple mosque kingdom empire "
        "republic province state states desert canal creek falls point beach cliff quay wharf dock terrace avenue place "
        "close row"
    )
)
_PLACE_FORE = frozenset(
    listed(
        "upper lower nether little great new old north south east west saint st port fort mount lake cape san santa los"
    )
)
_FORE_TITLES = frozenset({"North", "South", "East", "West", "Great"})
_IN = re.compile(
    r"(?:\b(?:in|at|from|near|to|towards?|through|into|outside|beyond|leaving|reached|of))\s+(?:the\s+)?$", re.I
)
_SPOKE = (
    r"(?:said|replied|cried|asked|answered|thought|exclaimed|whispered|muttered|remarked|observed|returned|shouted|laughed"
    r"|smiled|nodded|sighed|murmured|called|added|continued|began|went|looked|sat|stood|felt|knew|wished|took|turned)"
)
_SPEAKS_AFTER = re.compile(
    rf"(?:,)?\s+{_SPOKE}\b|(?:['’]s)\s+(?:eyes|face|hand|hands|voice|heart|head|mother|father|wife|husband|lips|hair|mind)\b"
)
_SPEAKS_BEFORE = re.compile(
    r"\b(?:said|replied|cried|asked|answered|exclaimed|whispered|muttered|remarked|added|poor|dear|old|young|little)\s+$"
)


@dataclass(frozen=True, slots=True)
class Name:
    """A name where it stands in a sentence.

    Attributes:
        words: without title; key: what it means, "" where that is unclear.
        title: "" for none; in full form.
        sort: "person", "place" or "" where the text does not tell.
        first, last: half-open in the sentence, title and "the" not included.
    """

    words: str
    key: str
    title: str
    sort: str
    first: int
    last: int
    titled_first: int


class Names:
    """All names of a text."""

    def __init__(self, text: Text) -> None:
        self.text = text

    @cached_property
    def _found(self) -> list[tuple[str, str, int, int]]:
        """(title, words, first, last) of every name of the narration."""
        return list(names_of(self.text.narration))

    @cached_property
    def _evidence(self) -> tuple[Counter[str], Counter[str]]:
        """How often a name stands as a person's and as a place's."""
        persons: Counter[str] = Counter()
        places: Counter[str] = Counter()
        narration = self.text.narration
        for title, words, first, last in self._found:
            before, after = narration[max(0, first - 16) : first], narration[last : last + 20]
            key = folded(words)
            if title or _SPEAKS_AFTER.match(after) or _SPEAKS_BEFORE.search(before):
                persons[key] += 1
            elif _IN.search(before):
                places[key] += 1
        return persons, places

    @cached_property
    def full(self) -> Counter[str]:
        """Full names of persons, as keys, with how often they stand."""
        counts: Counter[str] = Counter()
        for _, words, *_rest in self._found:
            if _is_full(words):
                counts[folded(words)] += 1
        return counts

    @cached_property
    def _short(self) -> dict[str, set[str]]:
        """First and last names → full names that have them."""
        found: dict[str, set[str]] = {}
        for full in self.full:
            parts = full.split()
            for part in {parts[0], parts[-1]}:
                found.setdefault(part, set()).add(full)
        return found

    def sort_of(self, words: str, title: str = "") -> str:
        if title:
            return "person"
        tokens = folded(words).split()
        if tokens[-1] in _BODIES or re.search(r"(?:ians|icans|ists|ites)$", tokens[-1]):
            return ""
        if tokens[-1] in PLACE_WORDS or tokens[0] in _PLACE_FORE or tokens[0] in PLACE_WORDS:
            return "place"
        key = " ".join(tokens)
        persons, places = self._evidence[0][key], self._evidence[1][key]
        if len(tokens) > 1:
            return "place" if places > 2 * persons + 2 and places > self.full[key] // 2 else "person"
        if persons > places:
            return "person"
        if self._short.get(key) and not places:
            return "person"
        return "place" if places else ""

    def key_of(self, words: str, title: str) -> str:
        """The one who is meant: the full name where there is one such person only."""
        key = folded(words)
        if len(key.split()) > 1:
            return key
        if title.lower() in FEMININE:
            return f"{title.lower()} {key}"
        candidates = self._short.get(key, set())
        if len(candidates) > 1:
            return ""
        return next(iter(candidates), key)

    def within(self, words: str) -> list[Name]:
        """The names of a sentence, in order."""
        found = []
        for title, name, first, last in self._split(words):
            titled = words.rfind(title[:3], 0, first) if title else first
            found.append(Name(name, self.key_of(name, title), title, self.sort_of(name, title), first, last, titled))
        return found

    def _split(self, words: str) -> Iterator[tuple[str, str, int, int]]:
        """Names of a sentence; two that stand side by side ("In Ashwick Conrad Mossop …") are told apart if the text knows one of them."""
        for title, name, first, last in names_of(words):
            parts = name.split()
            cut = 0
            if len(parts) > 2 and not title and _IN.search(words[:first]):
                cut = next((k for k in range(1, len(parts)) if self._known(parts[:k]) or self._known(parts[k:])), 0)
            if cut:
                head = " ".join(parts[:cut])
                middle = name.index(parts[cut], len(head))
                yield "", head, first, first + len(head)
                yield "", name[middle:], first + middle, last
            else:
                yield title, name, first, last

    def _known(self, parts: list[str]) -> bool:
        return self._counts[folded(" ".join(parts))] > 0

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(folded(words) for _, words, *_rest in self._found)


def names_of(words: str) -> Iterator[tuple[str, str, int, int]]:
    """(title, name, first, last) of every name; common words at the beginning of sentences are none."""
    for match in _SEQUENCE.finditer(words):
        first, last = match.span()
        name, title = match[0], ""
        while True:
            titled = _TITLED.match(name)
            head = name.split(None, 1)[0].rstrip(".")
            if titled:
                title = _SHORT.get(titled["t"].rstrip("."), titled["t"].rstrip("."))
                first, name = first + titled.end(), name[titled.end() :]
            elif folded(head) in _COMMON and head not in _FORE_TITLES:
                rest = name[len(head) :].lstrip(" .\t")
                first, name = last - len(rest), rest
            else:
                break
            if not name:
                break
        if name and not title and first > 1 and re.search(rf"\b{TITLE}\s+$", words[max(0, first - 16) : first]):
            title = words[max(0, first - 16) : first].rsplit(maxsplit=1)[-1].rstrip(".")
        tail = name.split()
        while tail and (folded(tail[-1].rstrip(".")) in _COMMON and len(tail) > 1):
            tail.pop()
        kept = " ".join(tail)
        if kept and len(kept) > 1 and name.startswith(kept) and folded(kept) not in _COMMON:
            yield title, kept, first, first + len(kept)


def is_common(word: str) -> bool:
    """Whether a word that may have a capital is no name."""
    return folded(word.strip(".,;:")) in _COMMON


def _is_full(words: str) -> bool:
    tokens = folded(words).split()
    return (
        len(tokens) > 1
        and tokens[-1] not in PLACE_WORDS
        and tokens[0] not in _PLACE_FORE
        and tokens[0] not in PLACE_WORDS
    )
