"""Retrieval: from a question to the units that answer it, or to none.

Reading order: `question` (what is asked, and by which route), `searcher` (the steps), `gather` (candidates), `fusion` and `weights`
(the score), `hops` (further rounds), `relevance` (when to return nothing), `choose`, `assemble`; `refit` fits weights and relevance to a
namespace's own use; `plain` is the ranking's slow twin.
"""

from overwinter.memory.retrieve.answer import Answer
from overwinter.memory.retrieve.assemble import assemble
from overwinter.memory.retrieve.question import Question
from overwinter.memory.retrieve.searcher import Config, Searcher
from overwinter.memory.retrieve.weights import Weights

__all__ = ["Answer", "Config", "Question", "Searcher", "Weights", "assemble"]
