"""Consistency: places of a long text that cannot both hold, each quoted exactly.

The idea: a text is a list of claims about persons, things and times; claims of one thing are held against each other by interval and by
word. Rules do that for the kinds of `taxonomy.KINDS`, which are measured; a model may look for the rest (`model`), and what it quotes is
believed only if it stands in the text.

Invariants: a quote is exactly the characters of its span. What is said in quotation marks, dreamt, supposed or denied is no claim. What
could not be checked is said; an empty list of findings means that nothing was found, never that nothing was done.

Reading order: `taxonomy`, `claim`, `text`, `names`, `people` (one of four files of extractors), `conflict`, `check`.
"""

from __future__ import annotations

from overwinter.think.consistency.check import CHECKED, NOT_CHECKED, PARTLY, Report, check_text, chosen_kinds
from overwinter.think.consistency.claim import Claim, Finding, Quote
from overwinter.think.consistency.taxonomy import CATEGORY_OF, KINDS, LOOKS_FOR, Category, Kind, Subtype

__all__ = [
    "CATEGORY_OF",
    "CHECKED",
    "KINDS",
    "LOOKS_FOR",
    "NOT_CHECKED",
    "PARTLY",
    "Category",
    "Claim",
    "Finding",
    "Kind",
    "Quote",
    "Report",
    "Subtype",
    "check_text",
    "chosen_kinds",
]
