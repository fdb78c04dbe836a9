"""Forms of questions that many suites share: multiple choice, a number, words."""

from __future__ import annotations

from collections.abc import Callable

from overwinter.bench import reading
from overwinter.bench.suite import Item, Scored

CLOSING = (
    "End with two lines:\n"
    f"{reading.ANSWER_LINE} {{what}}\n"
    f"{reading.CONFIDENCE_LINE} the probability that your answer is right, from 0 to 1"
)


def closing(style: str, what: str) -> str:
    """How the answer has to end."""
    if style == "direct":
        return f"Reply with one line and nothing else:\n{reading.ANSWER_LINE} {what}"
    return f"Think step by step. {CLOSING.format(what=what)}"


def ask_choice(item: Item, style: str) -> str:
    """Multiple choice."""
    options = "\n".join(f"{letter}. {text}" for letter, text in item.options.items())
    return f"{item.question}\n\n{options}\n\n{closing(style, 'the letter')}"


def score_choice(item: Item, text: str) -> Scored:
    """Right by the letter; gold is the letter."""
    said = reading.choice(text, item.options)
    return scored(said, None if said is None else float(said == item.gold), text)


def ask_open(what: str) -> Callable[[Item, str], str]:
    """A prompt function for a free answer."""

    def ask(item: Item, style: str) -> str:
        return f"{item.question}\n\n{closing(style, what)}"

    return ask


def score_number(item: Item, text: str) -> Scored:
    """Right by the exact number; gold is it, as text."""
    said, gold = reading.number(text), reading.number(str(item.gold))
    return scored(None if said is None else str(said), None if said is None else float(said == gold), text)


def score_formula(item: Item, text: str) -> Scored:
    """Right by the formula, spelling evened out; gold is LaTeX."""
    said = reading.boxed(text) or reading.last_line(text)
    return scored(said or None, float(reading.same_formula(said, str(item.gold))) if said else None, text)


def score_words(item: Item, text: str) -> Scored:
    """Right by the words; gold is one answer or a list of them."""
    said = reading.last_line(text)
    golds = item.gold if isinstance(item.gold, list) else [item.gold]
    right = any(reading.words(said) == reading.words(str(gold)) for gold in golds)
    return scored(reading.words(said) or None, float(right) if said else None, text)


def scored(answer: str | None, correct: float | None, text: str) -> Scored:
    """A reading; what cannot be read is wrong, and says so."""
    if answer is None:
        return Scored(answer=None, correct=0.0, status="unparsed", stated=reading.stated_confidence(text))
    return Scored(answer=answer, correct=correct, stated=reading.stated_confidence(text))
