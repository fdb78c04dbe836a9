"""MemSifter (2603.03379): a second look at what retrieval found, judged by what it does for the answer.

A ranking of sessions is worth the gain it brings to whoever answers from it, not its agreement with labels. The stage works with any
language model behind a prompt, and with a ranker of a few hundred weights that needs none.

    ranker = bundled()                        # or ModelReranker(ask)
    order = ranker.rank(question, sessions)

Reading order: `session` (what is ranked), `stage` (the pipeline), `prompt`, `reward` (what a ranking is worth), `scoring`; then our own
ranker: `words`, `question`, `features`, `ranker`, `reader` (who answers in training) and `policy` (how it learns; needs NumPy).
"""

from overwinter.memory.sift.ranker import Ranker, bundled
from overwinter.memory.sift.session import Session, Turn, session_of_unit, sessions_of
from overwinter.memory.sift.stage import Config, ModelReranker, Reranker, Sifted, Sifter, margin_is_small

__all__ = [
    "Config",
    "ModelReranker",
    "Ranker",
    "Reranker",
    "Session",
    "Sifted",
    "Sifter",
    "Turn",
    "bundled",
    "margin_is_small",
    "session_of_unit",
    "sessions_of",
]
