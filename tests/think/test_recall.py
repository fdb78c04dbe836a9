"""Thinking to recall: which facts count, what a verifier may say, which chains vote, and that the budget is never overdrawn."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import BudgetExhausted, UsageError
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.recall import (
    Agreement,
    ByRule,
    Chain,
    Checker,
    Consensus,
    Fact,
    FactBase,
    Settings,
    Standing,
    Thought,
    admissible,
    classify,
    filler,
    fit_priors,
    pass_at_k,
    process_reward,
    read_facts,
    recall,
    recall_in_two_stages,
    settle,
    tally,
)
from overwinter.think.recall.measures import curve_area
from overwinter.think.recall.verify import Check

WORLD = FactBase({("Ada", "town"): "Oslo", ("Ada", "craft"): "weaver", ("Ada", "pet"): ["heron", "goat"]})


def _read(trace: str) -> list[Fact]:
    """ "Ada's town is Oslo." and so on."""
    found, at = [], 0
    for sentence in trace.split("."):
        words = sentence.replace("'s", "").split()
        if "is" in words and len(words) >= 4:
            where = words.index("is")
            found.append(
                Fact(
                    subject=words[0],
                    relation=words[where - 1],
                    object=words[where + 1],
                    first=at,
                    last=at + len(sentence),
                )
            )
        at += len(sentence) + 1
    return found


RULE = ByRule(_read)


@dataclass
class Script:
    """A thinker that says what it is told to, in turn; a word is a token."""

    thoughts: Sequence[tuple[str, str | None]] = ()
    answers: Sequence[str] = ("weaver",)
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    contexts: list[str] = field(default_factory=list)
    said: int = 0

    def prompt_tokens(self, question: str, context: str = "") -> int:
        return len(question.split()) + len(context.split())

    def think(self, question: str, n: int, *, max_tokens: int) -> list[Thought]:
        self.asked.append(("think", n, max_tokens))
        made = []
        for number in range(n):
            trace, answer = self.thoughts[self.said % len(self.thoughts)]
            self.said += 1
            prompt = self.prompt_tokens(question) if number == 0 else 0
            made.append(Thought(trace=trace, answer=answer, tokens=len(trace.split()) + 1, prompt_tokens=prompt))
        return made

    def answer(self, question: str, n: int, *, context: str = "", max_tokens: int) -> list[Thought]:
        self.asked.append(("answer", n, max_tokens))
        self.contexts.append(context)
        prompt = self.prompt_tokens(question, context)
        return [
            Thought(
                trace="", answer=self.answers[k % len(self.answers)], tokens=1, prompt_tokens=prompt if k == 0 else 0
            )
            for k in range(n)
        ]


# Facts


def test_what_repeats_answers_or_supposes_is_no_fact() -> None:
    trace = "Ada's town is Oslo. Perhaps Ada's pet is goat. Ada's craft is weaver. Ada's town is oslo."
    kept = admissible(_read(trace), question="What is Ada's craft?", answers=["Weaver"], trace=trace)
    assert [fact.key for fact in kept] == [("ada", "town", "oslo")]


def test_a_question_restated_is_no_fact_but_its_words_in_another_fact_are() -> None:
    question = "Is the town of Ada Oslo?"
    facts = [Fact(subject="Ada", relation="town", object="Oslo"), Fact(subject="Ada", relation="town", object="Bergen")]
    assert [fact.object for fact in admissible(facts, question=question)] == ["Bergen"]


def test_an_alias_of_the_answer_states_it_and_a_longer_word_does_not() -> None:
    facts = [
        Fact(subject="Paris", relation="river", object="Seine"),
        Fact(subject="Parisian bread", relation="is", object="long"),
    ]
    kept = admissible(facts, question="?", answers=["the capital of France", "Paris"])
    assert [fact.subject for fact in kept] == ["Parisian bread"]


def test_a_hedge_counts_in_its_own_sentence_only() -> None:
    trace = "If it rained, I stay. Ada's town is Oslo."
    assert len(admissible(_read(trace), question="?", trace=trace)) == 1


def test_a_list_of_facts_must_quote_the_trace() -> None:
    trace = "Well, Ada lives in Oslo and weaves."
    listed = "\n".join(
        [
            "- Ada | town | Oslo | Ada lives in Oslo",
            "- Ada | pet | goat | she keeps a goat",
            "2. Ada | craft | weaver",
            "Ada | town | Oslo",
            "nothing else",
        ]
    )
    found = list(read_facts(listed, trace))
    assert [(fact.relation, fact.object) for fact in found] == [("town", "Oslo"), ("town", "Oslo")]
    assert trace[found[0].first : found[0].last] == "Ada lives in Oslo"


# Verifying


def test_a_table_supports_contradicts_and_does_not_know() -> None:
    def standing(base: FactBase, *words: str) -> Standing:
        return base.verify(Fact(subject=words[0], relation=words[1], object=words[2])).standing

    assert standing(WORLD, "ADA", "town", "oslo") is Standing.SUPPORTED
    assert standing(WORLD, "Ada", "pet", "goat") is Standing.SUPPORTED
    assert standing(WORLD, "Ada", "town", "Rome") is Standing.CONTRADICTED
    assert standing(WORLD, "Ada", "river", "Po") is Standing.UNKNOWN
    assert standing(FactBase({}, complete=True), "Ada", "river", "Po") is Standing.CONTRADICTED


@pytest.mark.parametrize(
    ("agreeing", "standing"),
    [(8, Standing.SUPPORTED), (6, Standing.SUPPORTED), (4, Standing.UNKNOWN), (1, Standing.CONTRADICTED)],
)
def test_agreement_of_fresh_samples(agreeing: int, standing: Standing) -> None:
    verifier = Agreement(ask=lambda _, n: (["Oslo"] * agreeing + ["Rome"] * (n - agreeing), 3 * n))
    check = verifier.verify(Fact(subject="Ada", relation="town", object="oslo"))
    assert (check.standing, check.tokens) == (standing, 24)


def test_chains_judge_one_another_for_nothing() -> None:
    script = Script(
        [(TRUE, "weaver"), (TRUE, "weaver"), (FALSE, "potter"), (TRUE, "potter"), ("Ada's pet is goat.", "potter")]
    )
    checker = Checker(verifiers=[Consensus(supported=0.7, contradicted=0.3)])
    found = recall(QUESTION, script, RULE, checker, Settings(samples=5))
    assert [chain.kind for chain in found.chains] == ["A", "A", "C", "A", "B"]
    assert (found.answer, checker.tokens) == ("weaver", 0)
    other = Script([(FALSE, "potter")])
    again = recall(QUESTION, other, RULE, checker, Settings(samples=3))
    assert [chain.kind for chain in again.chains] == ["A"] * 3, "other chains, another consensus"


def test_nobody_is_asked_twice_and_the_first_who_knows_decides() -> None:
    asked: list[str] = []

    def ask(fact: Fact, n: int) -> tuple[list[str], int]:
        asked.append(str(fact))
        return [fact.object] * n, 5

    checker = Checker(verifiers=[WORLD, Agreement(ask=ask, max_tokens=5)])
    river = Fact(subject="Ada", relation="river", object="Po")
    assert checker.check(Fact(subject="Ada", relation="town", object="Rome")).standing is Standing.CONTRADICTED
    assert [checker.check(river).standing for _ in range(3)] == [Standing.SUPPORTED] * 3
    assert (asked, checker.tokens) == (["Ada – river – Po"], 5)


def test_a_verifier_that_is_too_dear_is_asked_later_when_there_is_money() -> None:
    checker = Checker(verifiers=[Agreement(ask=lambda fact, n: ([fact.object] * n, 9), max_tokens=9)])
    river = Fact(subject="Ada", relation="river", object="Po")
    assert checker.check(river, tokens=8).standing is Standing.UNKNOWN
    assert checker.tokens == 0
    assert checker.check(river, tokens=9).standing is Standing.SUPPORTED


# Classes and the vote


def _chain(answer: str | None, *standings: Standing, support: float = 1.0) -> Chain:
    facts = [Fact(subject="s", relation=str(place), object="o") for place in range(len(standings))]
    checks = [Check(standing=standing) for standing in standings]
    return classify(Thought(trace="", answer=answer, tokens=1), facts, checks, support=support)


YES, NO, MAYBE = Standing.SUPPORTED, Standing.CONTRADICTED, Standing.UNKNOWN


@pytest.mark.parametrize(
    ("standings", "support", "kind"),
    [
        ((), 1.0, "B"),
        ((YES, YES), 1.0, "A"),
        ((YES, MAYBE), 1.0, "B"),
        ((YES, MAYBE), 0.5, "A"),
        ((YES, YES, NO), 0.5, "C"),
        ((MAYBE,), 0.0, "B"),
    ],
)
def test_classes(standings: tuple[Standing, ...], support: float, kind: str) -> None:
    assert _chain("x", *standings, support=support).kind == kind


def test_only_the_best_class_votes() -> None:
    chains = [_chain("wrong", NO)] * 5 + [_chain("plain")] * 3 + [_chain("right", YES)]
    strict = settle(chains, quorum=0.0)
    assert (strict.answer, strict.kind, strict.share) == ("right", "A", 1.0)
    assert settle(chains[:8]).answer == "plain"
    assert settle(chains[:5]).answer == "wrong"


def test_a_class_without_a_quorum_is_joined_by_the_next() -> None:
    chains = [_chain("wrong", NO)] * 7 + [_chain("plain")] * 3 + [_chain("right", YES)]
    found = settle(chains)
    assert (found.answer, found.kind) == ("plain", "A"), "one of eleven chains is no fifth; three more are"
    assert settle(chains, quorum=0.05).answer == "right"
    assert settle(chains, quorum=0.9).answer == "wrong"


def test_supported_facts_break_a_tie_and_do_not_outweigh_a_vote() -> None:
    assert settle([_chain("a", YES), _chain("b", YES, YES)]).answer == "b"
    assert settle([_chain("a", YES), _chain("a", YES), _chain("b", *[YES] * 20)]).answer == "a"


def test_chains_that_cannot_be_read_do_not_vote_and_nothing_is_made_up() -> None:
    found = settle([_chain(None, YES), _chain("b", NO)])
    assert (found.answer, found.kind) == ("b", "C")
    nothing = settle([_chain(None, YES)])
    assert (nothing.answer, nothing.abstained, nothing.confidence) == (None, True, 0.0)


def test_priors_make_the_share_a_probability_and_low_ones_abstain() -> None:
    rng = random.Random(3)
    worth = {"A": 0.9, "B": 0.6, "C": 0.2}
    asked, right = [], []
    for _ in range(600):
        kind = rng.choice("ABC")
        chains = [_chain(rng.choice("xy"), *{"A": (YES,), "B": (), "C": (NO,)}[kind]) for _ in range(5)]
        asked.append(settle(chains))
        right.append(rng.random() < worth[kind])
    priors = fit_priors(asked, right, Scope(task="people"))
    found = {kind: settle([_chain("x", *s)], priors=priors) for kind, s in (("A", (YES,)), ("B", ()), ("C", (NO,)))}
    assert all(abs(priors.classes[kind] - worth[kind]) < 0.08 for kind in worth)
    assert found["A"].confidence > found["B"].confidence > found["C"].confidence
    assert found["A"].calibrated
    cautious = settle([_chain("x", NO)], priors=priors, threshold=0.5)
    assert (cautious.answer, cautious.best, cautious.abstained) == (None, "x", True)
    with pytest.raises(UsageError, match="fitted elsewhere"):
        settle([_chain("x", YES)], priors=priors, scope=Scope(task="rivers"))


# The procedure

QUESTION = "What is Ada's craft?"
FALSE, TRUE, PLAIN = "Ada's town is Rome.", "Ada's town is Oslo.", "Let me see."


def test_chains_with_false_facts_lose_to_fewer_true_ones() -> None:
    script = Script([(FALSE, "potter"), (FALSE, "potter"), (PLAIN, "potter"), (TRUE, "weaver")])
    found = recall(QUESTION, script, RULE, Checker(verifiers=[WORLD]), Settings(samples=4))
    assert (found.answer, found.kind, len(found.chains)) == ("weaver", "A", 4)
    assert [str(fact) for fact, _ in found.supporting] == ["Ada – town – Oslo"]
    assert found.tokens == sum(chain.thought.tokens + chain.thought.prompt_tokens for chain in found.chains)


def test_two_stages_hand_on_what_is_not_known_to_be_false() -> None:
    script = Script([(f"{FALSE} Ada's pet is heron. Ada's river is Po.", "potter")])
    found = recall_in_two_stages(QUESTION, script, RULE, Checker(verifiers=[WORLD]), Settings(samples=3))
    assert script.contexts == ["Ada – pet – heron\nAda – river – Po"]
    assert script.asked == [("think", 1, 512), ("answer", 3, 64)]
    assert (found.answer, found.share) == ("weaver", 1.0)


def test_filler_is_as_long_as_asked_and_says_nothing() -> None:
    script = Script()
    found = filler(QUESTION, script, 10, Settings(samples=2))
    assert len(script.contexts[0].split()) in range(10, 13)
    assert (found.kind, found.tokens) == ("B", script.prompt_tokens(QUESTION, script.contexts[0]) + 2)


@given(
    budget=st.integers(0, 400),
    samples=st.integers(1, 9),
    most=st.integers(5, 40),
    asking=st.integers(0, 30),
    stages=st.booleans(),
)
def test_the_budget_is_never_overdrawn(budget: int, samples: int, most: int, asking: int, stages: bool) -> None:
    script = Script([(FALSE, "potter"), (TRUE, "weaver"), ("Ada's river is Po.", "weaver")])
    dear = Agreement(ask=lambda fact, n: ([fact.object] * n, asking), max_tokens=asking)
    settings = Settings(samples=samples, max_tokens=most, answer_tokens=3, budget_tokens=budget)
    try:
        checker = Checker(verifiers=[dear])
        found = (recall_in_two_stages if stages else recall)(QUESTION, script, RULE, checker, settings)
    except BudgetExhausted:
        once = script.prompt_tokens(QUESTION) + most
        assert budget < (2 * once + 3 if stages else once)
        assert not script.asked
        return
    assert found.tokens <= budget
    assert found.chains


def test_what_chains_did_not_use_serves_further_ones() -> None:
    script = Script([(PLAIN, "weaver")])
    found = recall(
        QUESTION, script, RULE, Checker(verifiers=[WORLD]), Settings(samples=8, max_tokens=20, budget_tokens=60)
    )
    assert len(found.chains) == 8 or len(script.asked) > 1
    assert script.asked[0] == ("think", 2, 20)


# Measures


@given(st.integers(1, 12), st.data())
def test_pass_at_k_is_the_chance_of_a_right_one(samples: int, data: st.DataObject) -> None:
    right, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, samples))
    value = pass_at_k(samples, right, k)
    # Slowly: no right one among k drawn one after the other.
    missed = math.prod(max(samples - right - drawn, 0) / (samples - drawn) for drawn in range(k))
    assert value == pytest.approx(1 - missed)


def test_area_of_a_flat_curve_is_its_height() -> None:
    assert curve_area([8, 8], [8, 0], [1, 2, 8]) == pytest.approx(0.5)
    assert curve_area([8], [2], [1, 2, 4]) > curve_area([8], [2], [1])


def test_counts_and_reward() -> None:
    chains = [_chain("x", YES, YES), _chain("y", NO, MAYBE), _chain("x")]
    found = tally(chains, ["x", "x", "x"])
    assert (found.accuracy("A"), found.accuracy("C"), found.fact_precision) == (1.0, 0.0, pytest.approx(2 / 3))
    assert [process_reward(chain, "x") for chain in chains] == [pytest.approx(1.2), pytest.approx(-0.1), 1.0]
    assert process_reward(_chain("y", *[YES] * 50), "x") < 0.5
