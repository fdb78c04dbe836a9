"""The procedure: think, take out the facts, check them, vote; its cheap form in two stages; and the control without content.

The budget is kept before it is spent: so many samples are asked for as fit at their longest, what they did not use serves
further ones, and a verifier that might cost more than is left is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from overwinter.errors import BudgetExhausted, UsageError
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.recall.chain import Chain, classify
from overwinter.think.recall.decide import QUORUM, Priors, Recalled, settle
from overwinter.think.recall.facts import Extractor, Fact, admissible
from overwinter.think.recall.thinker import Thinker, Thought
from overwinter.think.recall.verify import Check, Checker, Standing

Aliases = Callable[[str], Iterable[str]]
"""Other names of an answer, so that a fact that holds one of them is known to state the answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How much is thought.

    Attributes:
        samples: chains asked for.
        max_tokens: of one chain with its answer.
        answer_tokens: of one answer without thinking.
        budget_tokens: of everything together, prompts, extraction and checks included; None for no limit.
        support: share of a chain's facts that must be supported for class A.
        quorum: share of the chains that have to vote: a best class with fewer is joined by the next.
        threshold: below this confidence there is no answer.
        scope: what is asked of whom, for priors that were fitted elsewhere are refused; None for no such check.
    """

    samples: int = 8
    max_tokens: int = 512
    answer_tokens: int = 64
    budget_tokens: int | None = None
    support: float = 1.0
    quorum: float = QUORUM
    threshold: float = 0.0
    scope: Scope | None = None

    def __post_init__(self) -> None:
        for name in ("samples", "max_tokens", "answer_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", "give a whole number of at least 1")
        for name in ("support", "quorum", "threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}", "give a share or probability from 0 to 1")


class _Purse:
    """What is left of a budget."""

    def __init__(self, tokens: int | None) -> None:
        self.caps, self.spent = tokens, 0

    @property
    def left(self) -> int | None:
        return None if self.caps is None else max(self.caps - self.spent, 0)

    def fits(self, most: int, each: int, once: int) -> int:
        """How many of at most `most` calls of `each` tokens fit beside `once`."""
        left = self.left
        return most if left is None else max(0, min(most, (left - once) // max(each, 1)))

    def pay(self, thoughts: Iterable[Thought]) -> None:
        self.spent += sum(thought.tokens + thought.prompt_tokens for thought in thoughts)


def recall(
    question: str,
    thinker: Thinker,
    extractor: Extractor,
    checker: Checker,
    settings: Settings | None = None,
    *,
    aliases: Aliases | None = None,
    priors: Priors | None = None,
) -> Recalled:
    """Answer a question by chains whose facts hold.

    Raises:
        BudgetExhausted: not even one chain fits the budget; nothing was asked.
    """
    given = settings or Settings()
    purse = _Purse(given.budget_tokens)
    thoughts = _sampled(question, thinker, given, purse, reserve=extractor.max_tokens)
    stated: list[list[Fact]] = []
    for thought in thoughts:
        known = [] if thought.answer is None else [thought.answer, *(aliases(thought.answer) if aliases else ())]
        stated.append(_facts(question, thought, extractor, purse, known))
    checker.observe(stated)
    chains: list[Chain] = []
    for thought, facts in zip(thoughts, stated, strict=True):
        checks = [_checked(checker, fact, purse) for fact in facts]
        chains.append(classify(thought, facts, checks, support=given.support))
    return settle(
        chains,
        quorum=given.quorum,
        priors=priors,
        scope=given.scope,
        threshold=given.threshold,
        tokens=purse.spent,
    )


def recall_in_two_stages(
    question: str,
    thinker: Thinker,
    extractor: Extractor,
    checker: Checker,
    settings: Settings | None = None,
    *,
    render: Callable[[Sequence[Fact]], str] = lambda facts: "\n".join(map(str, facts)),
    traces: int = 1,
) -> Recalled:
    """The cheap form: think `traces` times, keep the facts that are not known to be false, and answer after them without thinking.

    Args:
        render: writes the facts as the context of the second stage, in the form that the model knows.

    Raises:
        BudgetExhausted: the first stage and one answer do not fit the budget; nothing was asked.
    """
    given = settings or Settings()
    purse = _Purse(given.budget_tokens)
    stage = Settings(samples=traces, max_tokens=given.max_tokens)
    later = thinker.prompt_tokens(question) + given.max_tokens + given.answer_tokens
    thoughts = _sampled(question, thinker, stage, purse, reserve=extractor.max_tokens, later=later)
    kept: dict[tuple[str, str, str], Fact] = {}
    for thought in thoughts:
        for fact in _facts(question, thought, extractor, purse, [] if thought.answer is None else [thought.answer]):
            if _checked(checker, fact, purse, keep=later).standing is not Standing.CONTRADICTED:
                kept.setdefault(fact.key, fact)
    facts = list(kept.values())
    while facts and not purse.fits(1, given.answer_tokens, thinker.prompt_tokens(question, render(facts))):
        facts.pop()  # written out they may be longer than the trace was
    checks = [checker.check(fact, tokens=0) for fact in facts]
    answers = _answered(question, thinker, given, purse, context=render(facts) if facts else "")
    chains = [classify(answer, facts, checks, support=given.support) for answer in answers]
    return settle(chains, threshold=given.threshold, tokens=purse.spent)


def filler(
    question: str, thinker: Thinker, tokens: int, settings: Settings | None = None, *, word: str = "Let me think. "
) -> Recalled:
    """The control: answers after about `tokens` tokens that say nothing, where a chain would stand.

    What thinking gains above this is what it says; what this gains above nothing is what it computes.

    Raises:
        BudgetExhausted: not one answer fits the budget; nothing was asked.
    """
    given = settings or Settings()
    base = thinker.prompt_tokens(question)
    context = ""
    while thinker.prompt_tokens(question, context) - base < tokens:
        context += word
    answers = _answered(question, thinker, given, _Purse(given.budget_tokens), context=context.rstrip(" "))
    chains = [Chain(thought=answer) for answer in answers]
    spent = sum(answer.tokens + answer.prompt_tokens for answer in answers)
    return settle(chains, threshold=given.threshold, tokens=spent)


def _sampled(
    question: str, thinker: Thinker, given: Settings, purse: _Purse, *, reserve: int, later: int = 0
) -> list[Thought]:
    """As many chains as are wanted and fit; `reserve` tokens beside each, `later` beside all."""
    thoughts: list[Thought] = []
    prompt = thinker.prompt_tokens(question)
    while len(thoughts) < given.samples:
        taken = reserve * len(thoughts)
        count = purse.fits(given.samples - len(thoughts), given.max_tokens + reserve, prompt + taken + later)
        if not count:
            break
        made = thinker.think(question, count, max_tokens=given.max_tokens)
        purse.pay(made)
        thoughts += made
        if len(made) < count:
            break
    if not thoughts:
        raise BudgetExhausted(
            f"a chain needs up to {prompt + given.max_tokens + reserve + later} tokens, {purse.left} are left",
            "give a larger budget, or shorter chains (max_tokens)",
        )
    return thoughts


def _answered(question: str, thinker: Thinker, given: Settings, purse: _Purse, *, context: str) -> Sequence[Thought]:
    prompt = thinker.prompt_tokens(question, context)
    count = purse.fits(given.samples, given.answer_tokens, prompt)
    if not count:
        raise BudgetExhausted(
            f"an answer needs up to {prompt + given.answer_tokens} tokens, {purse.left} are left",
            "give a larger budget, or shorter answers (answer_tokens)",
        )
    answers = thinker.answer(question, count, context=context, max_tokens=given.answer_tokens)
    purse.pay(answers)
    return answers


def _facts(question: str, thought: Thought, extractor: Extractor, purse: _Purse, answers: Sequence[str]) -> list[Fact]:
    found, tokens = extractor.extract(thought.trace)
    purse.spent += tokens
    return admissible(found, question=question, answers=answers, trace=thought.trace)


def _checked(checker: Checker, fact: Fact, purse: _Purse, *, keep: int = 0) -> Check:
    before = checker.tokens
    left = purse.left
    found = checker.check(fact, tokens=None if left is None else max(left - keep, 0))
    purse.spent += checker.tokens - before
    return found
