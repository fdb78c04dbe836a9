"""Scores of an answer against the right one: exact match, token F1 and ROUGE-L, 0 to 1.

Texts are normalised as for SQuAD (lower case, no punctuation, no articles). Chinese is compared by character: the authors of
MemSifter cut it into words with a dictionary; characters need none and score partial overlap in the same way.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

Score = Callable[[str, str], float]

_ARTICLES = frozenset({"a", "an", "the"})
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+(?:[.,]\d+)*")


def answer_tokens(text: str) -> list[str]:
    """Words without case, punctuation and articles; each Chinese character is a token."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    return [token.replace(",", "") for token in _TOKEN.findall(folded) if token not in _ARTICLES]


def token_f1(prediction: str, gold: str) -> float:
    """Harmonic mean of precision and recall over tokens, counted with repetitions. Two empty answers agree."""
    said, right = answer_tokens(prediction), answer_tokens(gold)
    if not said or not right:
        return float(said == right)
    common = sum((Counter(said) & Counter(right)).values())
    return 2 * common / (len(said) + len(right))


def exact_match(prediction: str, gold: str) -> float:
    """1 where the normalised tokens are the same."""
    return float(answer_tokens(prediction) == answer_tokens(gold))


def rouge_l(prediction: str, gold: str) -> float:
    """F1 of the longest common subsequence of tokens (Lin 2004, with equal weight on precision and recall)."""
    said, right = answer_tokens(prediction), answer_tokens(gold)
    if not said or not right:
        return float(said == right)
    return 2 * _common_subsequence(said, right) / (len(said) + len(right))


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    above = [0] * (len(b) + 1)
    for x in a:
        row = [0]
        for j, y in enumerate(b):
            row.append(above[j] + 1 if x == y else max(above[j + 1], row[j]))
        above = row
    return above[-1]


SCORES: dict[str, Score] = {"token_f1": token_f1, "exact": exact_match, "rouge_l": rouge_l}
