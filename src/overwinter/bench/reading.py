"""Reading answers from text: a letter, a number, a formula, words; and the confidence a text states. Strict where it can be: what is not
found is None, and the answer counts as unparsed, never as a guess."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

ANSWER_LINE = "Answer:"
CONFIDENCE_LINE = "Confidence:"
_FINAL = re.compile(r"(?:final\s+answer|answer|diagnosis)\s*(?:is)?\s*[:=]?\s*(.+)", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+]?\.\d+")
_STATED = re.compile(
    r"confidence\s*(?:is|of)?\s*[:=]?\s*\**\s*([01]?\.\d+|\d+(?:\.\d+)?)\s*(%|/\s*100|/\s*10)?", re.IGNORECASE
)


def stated_confidence(text: str) -> float | None:
    """The last confidence that a text states, 0..1: "0.8", "80 %", "8/10"; None without one, or with one that is none."""
    found = _STATED.findall(text)
    if not found:
        return None
    number, unit = found[-1]
    value = float(number)
    if unit == "%" or unit.endswith("100") or (not unit and value > 1):
        value /= 100
    elif unit:
        value /= 10
    return value if 0 <= value <= 1 else None


def last_line(text: str) -> str:
    """What stands behind the last "Answer:" or "Diagnosis:", else the last line that is not empty and states no confidence."""
    lines = [line.strip().strip("*").strip() for line in text.splitlines()]
    for line in reversed(lines):
        found = _FINAL.search(line)
        if found:
            return found[1].strip().strip("*").strip()
    said = [line for line in lines if line and not line.lower().startswith("confidence")]
    return said[-1] if said else ""


def choice(text: str, options: Mapping[str, str]) -> str | None:
    """The letter that was chosen: named on the answer's line, alone, in brackets, or by its text, if that fits one option only."""
    line = last_line(text)
    letters = "".join(options)
    # A letter that is a word of the sentence ("A cold", "I think") is no choice: an end, a sign or "because" has to follow.
    alone = rf"^\W*([{letters}])(?=\s*$|\s*[.):,;*–-]|\s+(?:because|since|is)\b)"
    for pattern in (alone, rf"\(([{letters}])\)", rf"\boption\s+([{letters}])\b", rf"\b([{letters}])\s*[.):]"):
        found = set(re.findall(pattern, line))
        if len(found) == 1:
            letter: str = found.pop()
            return letter
    plain = words(line)
    same = [letter for letter, option in options.items() if words(option) == plain]
    if len(same) == 1:
        return same[0]
    held = [letter for letter, option in options.items() if words(option) and f" {words(option)} " in f" {plain} "]
    # A longer option may hold a shorter one: then the longer was meant.
    best = [a for a in held if not any(a != b and words(options[a]) in words(options[b]) for b in held)]
    return best[0] if len(best) == 1 else None


def number(text: str) -> Fraction | None:
    """The number on the answer's line; behind "####" where that stands; None without one."""
    line = (
        text.rpartition("####")[2].strip().splitlines()[0]
        if "####" in text and text.rpartition("####")[2].strip()
        else last_line(text)
    )
    found = _NUMBER.findall(boxed(line) or line)
    return Fraction(found[-1].replace(",", "")) if found else None


def boxed(text: str) -> str | None:
    r"""The content of the last \boxed{…}, brackets matched."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed")
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[begin + 1 : place]
    return None


def same_formula(first: str, second: str) -> bool:
    """Whether two answers of mathematics are written alike after spelling is evened out, or are the same rational number."""
    a, b = _formula(first), _formula(second)
    if a == b:
        return True
    left, right = _rational(a), _rational(b)
    return left is not None and left == right


def _formula(text: str) -> str:
    text = text.strip().strip("$").rstrip(".").strip()
    text = re.sub(r"\\(?:left|right|,|;|!|:|quad)(?![a-zA-Z])", "", text)
    text = re.sub(r"\\(?:text|mathrm|mbox|textbf)\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\[dt]frac", r"\\frac", text)
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\^\{?\\circ\}?|\\%|%|\\\$|\\ ", "", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"^[a-zA-Z]\s*(?:=|\\in)\s*", "", text)
    return re.sub(r"\s+", "", text)


def _rational(text: str) -> Fraction | None:
    found = re.fullmatch(r"(-?)\\frac\{(-?\d+)\}\{(-?\d+)\}", text)
    try:
        if found:
            return Fraction(int(found[1] + "1") * int(found[2]), int(found[3]))
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def words(text: str) -> str:
    """A text's words in small letters, without articles and punctuation, as question answering compares them."""
    text = "".join(
        " " if sign in "-/–" else sign for sign in text.lower() if sign in "-/–" or sign not in string.punctuation
    )
    return " ".join(word for word in text.split() if word not in {"a", "an", "the"})


def token_f1(said: str, gold: str) -> float:
    """Overlap of words, harmonic mean of precision and recall (SQuAD)."""
    a, b = words(said).split(), words(gold).split()
    if not a or not b:
        return float(a == b)
    shared = sum((Counter(a) & Counter(b)).values())
    return 2 * shared / (len(a) + len(b)) if shared else 0.0
