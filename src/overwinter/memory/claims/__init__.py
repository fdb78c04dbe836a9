"""Claims of units, by rule and without a model: what is said (`extract`), what it comes to (`timeline`), and what held when (`query`).

Reading order: `statement` (what one span says), `timeline` (what all spans of a key come to, on both axes of time), `keeper` (takes
units into an index), `extract` with `clauses` and `phrases` (English, by pattern), `query`.
"""

from overwinter.memory.claims.extract import Extractor, statements_of
from overwinter.memory.claims.keeper import ClaimKeeper
from overwinter.memory.claims.statement import Statement

__all__ = ["ClaimKeeper", "Extractor", "Statement", "statements_of"]
