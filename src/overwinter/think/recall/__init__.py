"""Thinking to recall: reason before recalling, check what the reasoning states as facts, and prefer chains without false ones.

A model that writes down what it knows of the things in a question, before it answers, recalls more; and a chain that states a
false fact on its way ends wrong more often (Gekhman et al. 2026, arXiv 2603.09906). So: sample several chains, take the facts
out of each, check every distinct fact once, and let the chains vote whose facts hold.

    recalled = recall(question, thinker, checker, Settings(samples=8))
    recalled.answer, recalled.confidence, recalled.supporting

What is ours: who thinks, who finds facts and who verifies are protocols (`thinker`, `facts.Extractor`, `verify.Verifier`), so
the procedure runs over a script, an engine or an endpoint; the budget in tokens is kept before it is spent; and `filler` asks
with as many tokens of no content, for thinking also buys computation, and only this comparison tells the two apart.

Reading order: `facts` (what a chain states), `verify` (what is known of it), `chain` (classes A, B, C), `decide` (the vote and
its confidence), `procedure` (all of it under a budget, the cheap form in two stages, the filler control), `measures` (pass@k,
fact precision, accuracy by class, the reward for training). Pure Python, no dependency. Adapters for the loop's models and
memory: `overwinter.loop.recalling`.
"""

from __future__ import annotations

from overwinter.think.recall.chain import CLASSES, Chain, classify
from overwinter.think.recall.decide import Priors, Recalled, fit_priors, settle
from overwinter.think.recall.facts import ByRule, Extractor, Fact, admissible, read_facts
from overwinter.think.recall.measures import Tally, pass_at_k, process_reward, tally
from overwinter.think.recall.procedure import Settings, filler, recall, recall_in_two_stages
from overwinter.think.recall.thinker import Thinker, Thought
from overwinter.think.recall.verify import Agreement, Checker, Consensus, FactBase, Standing, Verifier

__all__ = [
    "CLASSES",
    "Agreement",
    "ByRule",
    "Chain",
    "Checker",
    "Consensus",
    "Extractor",
    "Fact",
    "FactBase",
    "Priors",
    "Recalled",
    "Settings",
    "Standing",
    "Tally",
    "Thinker",
    "Thought",
    "Verifier",
    "admissible",
    "classify",
    "filler",
    "fit_priors",
    "pass_at_k",
    "process_reward",
    "read_facts",
    "recall",
    "recall_in_two_stages",
    "settle",
    "tally",
]
