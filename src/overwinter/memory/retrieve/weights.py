"""The numbers that retrieval is tuned by, in one place. `refit.py` fits them to a namespace's own use."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields

from overwinter.errors import StoreError


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """How much each sign of relevance counts. All of them are added:

        score = dense·D + (1 − dense)·L + session·S + actor·A + time·T + recent·R + claim·C
                + length·log(1 + words) − asks·Q + when·W

    D, L and S lie in 0..1 (specification §4.6): D is the cosine from the floor of unrelated units to the best, L is BM25 over
    the best, S is what the best units of the session say of the question. D and L take in what stands beside the unit.

    Attributes:
        before_1, before_2, after_1, after_2: share of the lexical score of the units before and after that counts for a unit: what
            answers a question often stands beside the words that were asked for.
        dense_beside: the same for the cosine, of the units next to it.
        actor: the unit is by the one person the question names.
        time, time_decay_us: the unit happened in a time the question names; what lies outside counts less with distance.
        recent: the unit is among the last of the session that asks.
        claim: a claim that fits the question rests on the unit.
        length: per natural logarithm of words: a longer unit says more.
        asks: the unit is a question itself, which states nothing.
        when: the question asks for a time, and the unit names one.
        hop, hop_message: what a further round may score, in shares of the score of the unit it starts from, which is a document or a
            tool's result, or a message. 0: none starts there. In talk names lead everywhere and cost more than they find.
        hop_dense, hop_terms, hop_name: parts of that score: likeness to the question, the question's terms that are not yet
            accounted for, the name that leads there.
        diversity: 1 ranks by score alone; below, likeness to better hits costs the rest.
    """

    dense: float = 0.55
    before_1: float = 0.45
    before_2: float = 0.2
    after_1: float = 0.35
    after_2: float = 0.15
    dense_beside: float = 0.15
    session: float = 0.35
    actor: float = 0.2
    time: float = 0.6
    time_decay_us: float = 3 * 86_400e6
    recent: float = 0.05
    claim: float = 0.1
    length: float = 0.06
    asks: float = 0.08
    when: float = 0.08
    hop: float = 1.0
    hop_message: float = 0.0
    hop_dense: float = 0.3
    hop_terms: float = 0.4
    hop_name: float = 0.6
    diversity: float = 1.0

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Weights:
        """Raises StoreError where the data is not what `to_json` wrote."""
        try:
            values = json.loads(data)
            known = {field.name for field in fields(cls)}
            if set(values) != known or not all(math.isfinite(value) for value in values.values()):
                raise ValueError("other fields")
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise StoreError(
                f"the index's weights of retrieval cannot be read ({error})", "run `overwinter memory rebuild`"
            ) from None


WORDS_ALONE = Weights(
    dense=0.0, before_1=0.0, before_2=0.0, after_1=0.0, after_2=0.0, dense_beside=0.0, session=0.0, actor=0.0, time=0.0,
    recent=0.0, claim=0.0, length=0.0, asks=0.0, when=0.0, hop=0.0, hop_message=0.0,
)  # fmt: skip
"""BM25 and nothing else: what no fitted weights may fall below."""
