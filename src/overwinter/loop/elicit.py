"""Asking a model how sure it is: in a second call, with the strongest objection first, or by P(True).

    said = ask_confidence(model, question, answer, limits)         # None where no number could be read
    chance = ask_true(model, question, answer)                      # by log-probabilities; the model has to score

What comes back is a raw signal for the confidence record (`Statement`); docs/confidence.md says what it is worth before it is calibrated.
The texts are those of `think.confidence.stated`. Each call costs tokens like any other: whoever asks in a run books them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from overwinter.loop.model import Constraint, Limits, Message, Model, Usage, View
from overwinter.think.confidence.record import CALL, Statement
from overwinter.think.confidence.stated import FALSE, TRUE, p_true, read_statement, second_question, true_question

SHORT = 256
"""Tokens that a second call may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Elicited:
    """What was said. `statement` is None where no number could be read; `usage` is what it cost all the same."""

    statement: Statement | None
    text: str
    usage: Usage


def ask_confidence(
    model: Model,
    question: str,
    answer: str,
    limits: Limits | None = None,
    *,
    skeptical: bool = False,
    when: str = "post",
    of: str = CALL,
) -> Elicited:
    """Two-stage: the model sees question and answer only, and states a chance.

    Args:
        skeptical: it names the strongest objection first.
        when: "pre" where nothing of the outcome is in view yet, else "post".

    Raises:
        ModelError: it cannot answer.
    """
    asked = replace(limits or Limits(), max_tokens=min((limits or Limits()).max_tokens, SHORT))
    view = _view(second_question(question, answer, skeptical=skeptical))
    said = model.sample(view, 1, Constraint(), asked)[0]
    value = read_statement(said.text)
    statement = None if value is None else Statement(value=value, of=of, when=when, raw=said.text[-200:])
    return Elicited(statement=statement, text=said.text, usage=said.usage)


def ask_true(model: Model, question: str, answer: str, *, ideas: tuple[str, ...] = ()) -> float:
    """P(True): the probability of the word True after question and answer, of that and False.

    Raises:
        ModelError: the model cannot score a given text.
    """
    yes, no = model.score(_view(true_question(question, answer, ideas)), (TRUE, FALSE))
    return p_true(sum(yes), sum(no))


def _view(text: str) -> View:
    return View(messages=(Message(role="user", text=text),))
