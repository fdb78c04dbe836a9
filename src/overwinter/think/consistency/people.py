"""Claims about persons: age, birth, death, looks, rank, kinship, and how a name is spelt.

A sentence is read only if it names exactly one person (two for kinship), so that there is no doubt whose age or eyes are meant; what is
said of "he" is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from overwinter.think.consistency.claim import Claim
from overwinter.think.consistency.figures import NUMBER, ORDINALS, number_of
from overwinter.think.consistency.names import RANKS, Name
from overwinter.think.consistency.seen import Seen
from overwinter.think.consistency.wordlist import listed

_N = rf"(?P<n>{NUMBER})"
_WHO = r"(?:man|woman|boy|girl|lad|lass|youth|child|figure|person|widow|widower|bachelor|spinster|fellow|lady|gentleman|maid)"
_AGES = [
    re.compile(pattern, re.I)
    for pattern in (
        rf"\b{_N}[\s-]+years?(?:[\s-]+old|\s+of\s+age)\b",
        rf"\b(?:aged|age(?:\s+of\b[^,.;]{{0,40}}?)?(?:\s+as|\s+was|\s+is)?)\s+{_N}(?!\s*(?:miles|men|pounds))\b",
        rf"\bturned\s+{_N}\b(?=\s*(?:[,.;]|in\b|that\b|on\b|this\b))",
        rf"\b(?:is|was|being|were)\s+(?:only\s+|just\s+|barely\s+|already\s+|then\s+"
        rf"|now\s+)?{_N}(?=\s*(?:[,.;]|in\b|when\b|at\b|that\b|years?\s+old\b))(?!\s+(?:in\s+(?:number|all)))",
        rf"\ban?\s+(?:\w+\s+)?{_WHO}\s+of\s+(?:about\s+|some\s+)?{_N}\b",
        rf"\bage\s+of\s+{_N}\b",
        rf"\b(?P<o>\d{{1,3}}(?:st|nd|rd|th)"
        rf"|{'|'.join(sorted(ORDINALS, key=len, reverse=True))})\s+(?:birthday|year\s+of\s+(?:his|her)\s+age)\b",
    )
]
_AGE_GATE = re.compile(r"\b(?:years?|aged?|turned|birthday|is|was|were|being|of)\b", re.I)
_BIRTH = re.compile(r"\b(?:born|birth|came?\s+into\s+the\s+world|come\s+into\s+the\s+world|saw\s+the\s+light)\b", re.I)
_NOT_BIRTH = re.compile(
    r"\b(?:died|dead|aged?|turned|years?\s+(?:old|after|before|later)|gave\s+birth"
    r"|before\s+\w+\s+(?:was|were)\s+born|birthday|of\s+his|of\s+her|married"
    r"|(?:first|second|third|eldest|youngest|only)?\s*(?:son|daughter|child|children)\s+(?:was|were)\s+born|birth\s+to)\b",
    re.I,
)
_DIED = (
    r"(?:(?:had\s+|has\s+)?(?:died|perished|drowned|(?:been\s+)?(?:was\s+)?(?:killed"
    r"|buried|drowned|murdered|hanged|executed|slain|shot\s+dead|laid\s+to\s+rest))"
    r"|(?:was|were|lay)\s+dead)"
)
_DEATH_AFTER = re.compile(
    rf"^(?:,[^,]{{1,50}},)?\s+(?:(?!\b(?:who|whose|his|her|that|father|mother"
    rf"|and\s+[A-Z])\b)[a-z]+\s+){{0,6}}?{_DIED}(?![\w-])(?!\s+to\s+the\s+world)"
)
_DEATH_BEFORE = re.compile(
    r"\b(?:death\s+of|buried|killed|murdered|funeral\s+of|executed|hanged"
    r"|burial\s+of|grave\s+of)\s+(?:the\s+)?(?:poor\s+|old\s+|young\s+)?$",
    re.I,
)
_PLUPERFECT = re.compile(r"\b(?:had|has|have)\b", re.I)
_NO_DEED = re.compile(
    r"\b(?:had|has|been|dead|died|death|grave|buried|funeral|memory|memorial"
    r"|statue|portrait|picture|tomb|heirs?|widow|late|ghost|corpse|body|coffin"
    r"|remember(?:ed|s)?|years?\s+before|years?\s+ago|once|used\s+to|formerly|earlier"
    r"|in\s+(?:his|her)\s+youth|as\s+a\s+(?:boy|girl|child)|before\s+(?:his|her))\b",
    re.I,
)
_IRREGULAR = listed(
    "went came sat stood took gave said told made saw ran rode wrote read sang spoke knew heard held kept left let "
    "lit lost met paid put rose sent set shook shut slept sold bought thought threw woke wore began bent bit blew "
    "broke brought built caught chose cut drank drew drove ate fell fed felt fought found flew forgot got grew hid "
    "hit hurt laid led leant lent meant swam swore spent struck stuck swept taught tore understood won wound bowed"
)
PAST = rf"(?:{'|'.join(_IRREGULAR)}|[a-z]{{2,}}(?<!ee)ed)"
_ACTS = re.compile(
    rf"^(?:,?\s+(?:then|now|also|again|quickly|slowly|silently|at\s+once|himself|herself))?\s+(?P<v>{PAST})\b(?!\s+by\b)"
)
COLOURS = dict(
    pair.split(":")
    for pair in listed(
        "blue:blue brown:brown green:green grey:grey gray:grey black:black hazel:hazel violet:violet red:red ginger:red "
        "auburn:auburn chestnut:brown golden:fair blond:fair blonde:fair fair:fair flaxen:fair yellow:fair white:white "
        "silver:white raven:black amber:hazel"
    )
)
_COLOUR = rf"(?P<c>{'|'.join(COLOURS)})"
_MODIFIERS = (
    r"(?:(?:dark|light|pale|bright|deep|clear|large|big|small|long|short|thick|thin|fine|soft"
    r"|cold|keen|very|quite|rather|of|an?|the|as|curly|straight|lank|matted|rich)[\s,-]+)*"
)
_FEATURE = {
    feature: [
        re.compile(rf"\b{_COLOUR},?[\s-]+(?:[a-z]+,?\s+(?:and\s+)?){{0,2}}?{noun}\b", re.I),
        re.compile(
            rf"\b{noun}(?:\s+of\s+[^,.;]{{2,40}}?)?\s+(?:is|are|was|were|had\s+been)\s+{_MODIFIERS}{_COLOUR}(?![\w-])",
            re.I,
        ),
    ]
    for feature, noun in (("eyes", "eyes"), ("hair", "(?:hair|locks|curls|tresses)"))
}
_FEATURE_GATE = re.compile(r"\b(?:eyes|hair|locks|curls|tresses)\b", re.I)
_DYED = re.compile(
    r"\b(?:dye[ds]?|dyeing|wigs?|turned|turning|gone|went|grown?|grew"
    r"|bleached|powdered|painted|stained|false|firelight|in\s+that\s+light)\b",
    re.I,
)
_KIN = listed(
    "father mother son daughter brother sister uncle aunt nephew niece cousin grandfather grandmother grandson "
    "granddaughter husband wife"
)
_KIN_OF = re.compile(rf"\b(?:the|a)\s+(?:\w+\s+){{0,2}}?(?P<k>{'|'.join(_KIN)})\s+(?:of|to)\s+$", re.I)
_KIN_S = re.compile(rf"^['’]s?\s+(?:\w+\s+){{0,1}}?(?P<k>{'|'.join(_KIN)})\b(?!['’]s)", re.I)
_IN_LAW = re.compile(r"^(?:-|\s+)in(?:-|\s+)law|^(?:-|\s+)(?:son|daughter)")
_PROMOTED = re.compile(
    r"\b(?:promot(?:ed|ion)|rank|became|appointed|raised\s+to|gazetted|commission|made\s+(?:a\s+)?(?:captain|major|colonel|general)|now)\b",
    re.I,
)


def ages(seen: Seen) -> Iterator[Claim]:
    """A person's age in a year; also against the year of birth."""
    person = seen.person
    if person is None or not seen.year or not _AGE_GATE.search(seen.words):
        return
    for pattern in _AGES:
        match = pattern.search(seen.words)
        if match is None:
            continue
        said = match.groupdict()
        value = number_of(said["n"]) if said.get("n") else _ordinal(match["o"])
        if value is None or not 0 < value < 120 or str(seen.year) in match[0]:
            continue
        yield seen.claim_of("age", person, seen.year - value, match[0], year=seen.year, role="age")
        yield seen.claim_of("age_birth", person, seen.year - value, match[0], year=seen.year, role="age")
        return


def _ordinal(words: str) -> float:
    return float(ORDINALS[words.lower()]) if words.lower() in ORDINALS else float(re.match(r"\d+", words)[0])  # type: ignore[index]


def births(seen: Seen) -> Iterator[Claim]:
    person = seen.person
    cue = _BIRTH.search(seen.words)
    if person is None or cue is None or _NOT_BIRTH.search(seen.words) or len(seen.years) != 1:
        return
    year = seen.years[0][0]
    yield seen.claim_of("birth", person, float(year), str(year))
    yield seen.claim_of("age_birth", person, float(year), f"born in {year}", role="birth")


def deaths(seen: Seen) -> Iterator[Claim]:
    """Deaths with a year and without one, and what is done in a year or simply done."""
    for person in seen.persons:
        if _is_death(seen, person):
            yield from _death(seen, person)
            return
    if seen.person is None or _NO_DEED.search(seen.words):
        return
    person = seen.persons[0]
    behind = seen.words[person.last :]
    acts = _ACTS.match(behind)
    if acts is None or len(person.key.split()) < 2 or len(person.words.split()) < 2:
        return
    if seen.year:
        yield seen.claim_of("death", person, float(seen.year), f"{acts['v']} in {seen.year}", role="deed")
    elif not seen.days:
        yield seen.claim_of("alive", person, float(seen.sentence.number), acts["v"], role="deed")


def _is_death(seen: Seen, person: Name) -> bool:
    before, behind = seen.words[: person.titled_first], seen.words[person.last :]
    return bool(_DEATH_AFTER.match(behind) or (_DEATH_BEFORE.search(before) and not re.match(r"['’]s", behind)))


def _death(seen: Seen, person: Name) -> Iterator[Claim]:
    if len(seen.years) == 1:
        yield seen.claim_of("death", person, float(seen.year), f"died in {seen.year}", role="death")
    if (
        not seen.years
        and len(person.words.split()) > 1
        and not re.search(r"\b(?:when|after|before|since|until|till)\b", seen.words, re.I)
    ):
        yield seen.claim_of("alive", person, float(seen.sentence.number), "died", role="death")


def looks(seen: Seen) -> Iterator[Claim]:
    """Colour of eyes and hair."""
    if not _FEATURE_GATE.search(seen.words) or seen.person is None:
        return
    changed = "changed" if _DYED.search(seen.words) else ""
    for feature, patterns in _FEATURE.items():
        for pattern in patterns:
            match = pattern.search(seen.words)
            if match:
                yield seen.claim_of(feature, seen.person, COLOURS[match["c"].lower()], match["c"], role=changed)
                break


def ranks(seen: Seen) -> Iterator[Claim]:
    """Ranks before a full name; a sentence that tells of a promotion explains the change."""
    for person in seen.persons:
        if person.title in RANKS and len(person.words.split()) > 1:
            changed = "changed" if _PROMOTED.search(seen.words) else ""
            yield seen.claim_of("title", person, person.title, person.title, role=changed)


def kinship(seen: Seen) -> Iterator[Claim]:
    """What one of two persons is to the other."""
    if len({person.key for person in seen.persons}) != 2 or len(seen.names) != 2:
        return
    for owner, other in (seen.persons, seen.persons[::-1]):
        behind = seen.words[owner.last :]
        match = _KIN_S.match(behind)
        if match is not None and _IN_LAW.match(behind[match.end() :]):
            return
        match = match or _KIN_OF.search(seen.words[: owner.titled_first])
        if match is None:
            continue
        gap = seen.words[min(owner.last, other.last) : max(owner.titled_first, other.titled_first)]
        if re.search(
            r"\b(?:and|with|to|for|about|met|saw|that|than|by|from)\b(?!\s+be)", gap.replace(match[0].strip(), "")
        ):
            return
        yield seen.claim_of("kinship", other, match["k"].lower(), match["k"], attribute=owner.key)
        return


def spellings(seen: Seen) -> Iterator[Claim]:
    """Full names as they are spelt."""
    for person in seen.persons:
        parts = person.words.split()
        if len(parts) == 2 and all(len(part) > 2 and not re.search("[A-Z]{2}", part) for part in parts):
            yield seen.claim("name", " ".join(skeleton(part) for part in parts), person.words, person.words)


_ALIKE = [
    (re.compile(pattern), into)
    for pattern, into in (
        (r"ph", "f"),
        (r"ck", "k"),
        (r"c(?=[aouklrt])", "k"),
        (r"ch", "k"),
        (r"qu", "kw"),
        (r"th", "t"),
        (r"wh", "w"),
        (r"z", "s"),
        (r"ie$|ey$|ye$|i$", "y"),
        (r"y|ie", "i"),
        (r"ea|ee|ei", "e"),
        (r"ai|ay", "a"),
        (r"ou|oo", "u"),
        (r"e$", ""),
        (r"(.)\1", r"\1"),
        (r"gh", "g"),
        (r"h(?=[^aeiou]|$)", ""),
    )
]


def skeleton(word: str) -> str:
    """A name as it sounds, roughly: names with one skeleton are spellings of one name."""
    plain = word.casefold()
    for pattern, into in _ALIKE:
        plain = pattern.sub(into, plain)
    return plain
