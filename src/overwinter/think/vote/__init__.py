"""Votes: one answer from several samples of the same question.

Reading order: `ballot` (what is counted), `rules` (majority, weighted, filters, DistriVoting), `fitted` (the default where labels
exist), `online` (when to stop a trace, when to stop asking).
"""

from __future__ import annotations

from overwinter.think.vote.ballot import Ballot, Outcome, majority, normalise, weighted
from overwinter.think.vote.fitted import FittedVote, fit_vote
from overwinter.think.vote.rules import RULES, distri, hierarchical, mixture, top_share

__all__ = [
    "RULES",
    "Ballot",
    "FittedVote",
    "Outcome",
    "distri",
    "fit_vote",
    "hierarchical",
    "majority",
    "mixture",
    "normalise",
    "top_share",
    "weighted",
]
