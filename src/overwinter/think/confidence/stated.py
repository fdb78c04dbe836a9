"""Confidence that is asked for: the questions, and what is read out of the answers.

Three ways, of which none is calibrated: a number in the answer itself (`INLINE`), a number in a second call that sees question and answer
only (`second_question`; the asker is not talked round by its own reasoning), and P(True): the log-probabilities of "True" and "False" after
a proposed answer (Kadavath et al. 2022, arXiv 2207.05221). `skeptical` asks for the strongest reason why the answer is wrong first,
which lowers the overestimates of agents by up to 15 points (arXiv 2602.06948).

A number that cannot be read is None and counted, never one half: a neutral value would be taken for a statement.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from overwinter.errors import UsageError

INLINE = (
    "After your answer, think about what could be wrong with it. Then write one last line: `Confidence: N%`, where N is the chance"
    " from 0 to 100 that your answer is right."
)
TRUE, FALSE = "True", "False"
_MARK = re.compile(r"(?:confidence|probability|chance|certainty)\W{0,4}(?:is|of|:|=|≈|~)?\W{0,4}", re.IGNORECASE)
_NUMBER = re.compile(r"(?P<value>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>%|percent|/\s*(?P<of>\d+))?", re.IGNORECASE)
_BARE = re.compile(r"\s*(?:\*\*|`)?\s*(?P<number>[\d.]+\s*(?:%|percent|/\s*\d+)?)\s*(?:\*\*|`)?\s*\.?\s*")


def second_question(question: str, answer: str, *, skeptical: bool = False) -> str:
    """What the second call is asked."""
    review = (
        "Name the strongest reason why this answer may be wrong. Then write"
        if skeptical
        else "How likely is it that this answer is right? Write"
    )
    return (
        f"Question:\n{question}\n\nProposed answer:\n{answer}\n\n{review} one last line: `Confidence: N%`, where N is the chance from 0"
        " to 100 that the proposed answer is right."
    )


def true_question(question: str, answer: str, ideas: Sequence[str] = ()) -> str:
    """What P(True) is asked after; other sampled answers beside it make the estimate better."""
    shown = "".join(f"Possible answer: {idea}\n" for idea in ideas)
    return (
        f"Question: {question}\n{shown}Proposed answer: {answer}\n"
        f"Is the proposed answer true or false? Answer with one word, {TRUE} or {FALSE}."
    )


def p_true(true_logprob: float, false_logprob: float) -> float:
    """P(True) of the two words alone: what else could have been said is left out.

    Raises:
        UsageError: these are no log-probabilities.
    """
    if math.isnan(true_logprob) or math.isnan(false_logprob) or max(true_logprob, false_logprob) > 1e-6:
        raise UsageError("these are no log-probabilities", "give natural logarithms of probabilities")
    odds = true_logprob - false_logprob
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))


def read_statement(text: str) -> float | None:
    """The last confidence that a text states, 0..1; None where it states none, or one that is out of range.

    Read are `Confidence: 85%`, `0.85`, `8/10`, `85 percent` behind such a word, and a text that is nothing but a number. A number from 0
    to 1 is a probability, `1` among them; above that it is taken for percent.
    """
    bare = _BARE.fullmatch(text)
    candidates = [bare["number"]] if bare is not None else [text[mark.end() :] for mark in _MARK.finditer(text)]
    for rest in reversed(candidates):
        found = _NUMBER.match(rest)
        if found is not None:
            return _value(found)
    return None


def _value(found: re.Match[str]) -> float | None:
    value = float(found["value"])
    if found["of"] is not None:
        value = value / float(found["of"]) if float(found["of"]) else math.nan
    elif found["unit"] is not None or value > 1:
        value /= 100
    return value if 0 <= value <= 1 else None
