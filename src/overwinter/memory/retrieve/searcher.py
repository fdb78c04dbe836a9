"""Search: read the question, gather candidates, weigh them, follow what they lead to, and say when there is nothing.

No model is asked. With an embedder the question is embedded once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from overwinter.memory.embed import Embedder
from overwinter.memory.index import Index, Span
from overwinter.memory.retrieve.answer import Answer
from overwinter.memory.retrieve.believed import asked_for, behind, current_first
from overwinter.memory.retrieve.choose import as_asked, collapsed, diverse, shown_in_order, within_budget
from overwinter.memory.retrieve.fitted import CALIBRATIONS
from overwinter.memory.retrieve.fusion import Scored, Signs, fuse, ranked
from overwinter.memory.retrieve.gather import Counts, Limits, fetch, gather, make_pool, rarest, spelling_of
from overwinter.memory.retrieve.hops import Step, hop_scores, steps
from overwinter.memory.retrieve.lookup import enumerate_times, look_up
from overwinter.memory.retrieve.pool import Corpus, Entry, entry_of
from overwinter.memory.retrieve.question import CLAIMS, LOOKUP, Question, Reading, read
from overwinter.memory.retrieve.relevance import Calibration, signs_of_answer, signs_of_hit
from overwinter.memory.retrieve.weights import Weights
from overwinter.memory.unit import Hit

if TYPE_CHECKING:
    from overwinter.memory.vectors import Vector, VectorScan

WEIGHTS_NOTE, CALIBRATION_NOTE = "retrieve.weights", "retrieve.relevance"
"""Notes of an index that hold what `refit.py` fitted to its namespace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How to search.

    Attributes:
        weights, calibration: None: the index's own where they were refitted, else the shipped ones.
        rounds: rounds of search at most, 1 to 3.
        beam: units of a round that the next may start from.
        hop_candidates: units looked at from all of them together.
        abstain: return nothing where nothing seems relevant.
    """

    weights: Weights | None = None
    calibration: Calibration | None = None
    limits: Limits = field(default_factory=Limits)
    rounds: int = 2
    beam: int = 3
    hop_candidates: int = 100
    abstain: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Weighed:
    """A question with all that was weighed for it: what `refit.py` learns from and `why` shows."""

    reading: Reading
    corpus: Corpus
    entries: Mapping[int, Entry]
    signs: Signs
    order: Sequence[Scored]
    rounds: int


class Searcher:
    """Searches one index. Not to be shared by threads.

    Args:
        vectors: the arrays of the embedder's generation; `refresh` them when the index has grown.
    """

    def __init__(
        self,
        index: Index,
        embedder: Embedder | None = None,
        vectors: VectorScan | None = None,
        config: Config | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.index, self.embedder, self.vectors, self.config = index, embedder, vectors, config or Config()
        self._clock = clock
        self._counts = Counts(index)

    def search(self, question: Question) -> Answer:
        """Raises StoreError and, where the embedder cannot be reached, ModelError."""
        began = self._clock()
        reading = read(question)
        if reading.route == LOOKUP:
            answer = look_up(self.index, reading, question.k)
        elif reading.ranges and not reading.terms:
            answer = enumerate_times(self.index, reading, question.k)
        else:
            answer = self.answer(question, self.weigh(question, reading))
        return replace(answer, took_ms=(self._clock() - began) * 1e3)

    def weigh(self, question: Question, reading: Reading | None = None) -> Weighed:
        """All candidates with their scores, best first, before anything is chosen from them."""
        reading, weights = reading or read(question), self.weights()
        self._counts.refresh()
        corpus = self._counts.corpus(spelling_of(reading))
        dense = self._question_vector(question.text)
        found = gather(self.index, question, reading, self._counts, self.config.limits, dense)
        claimed = self.index.rows(asked_for(self.index, reading))
        entries = make_pool(self.index, [*found.rows(), *claimed], reading, corpus, self.config.limits)
        signs = Signs(
            cosines=dense[0].scores(entries, dense[1]) if dense else {},
            floor=dense[0].floor(dense[1]) if dense else 0.0,
            recent=found.recent,
            claimed=claimed,
        )
        order = ranked(fuse(entries, reading, signs, weights))
        weighed = Weighed(reading=reading, corpus=corpus, entries=entries, signs=signs, order=order, rounds=1)
        return self._follow(weighed, dense)

    def weights(self) -> Weights:
        if self.config.weights:
            return self.config.weights
        kept = self.index.note(WEIGHTS_NOTE)
        return Weights.from_json(kept) if kept else Weights()

    def calibration(self, with_vectors: bool) -> Calibration:
        if self.config.calibration:
            return self.config.calibration
        kept = self.index.note(CALIBRATION_NOTE)
        return Calibration.from_json(kept) if kept else CALIBRATIONS["dense" if with_vectors else "words"]

    def _question_vector(self, text: str) -> tuple[VectorScan, Vector] | None:
        if self.embedder is None or self.vectors is None or not len(self.vectors):
            return None
        return self.vectors, self.embedder.embed([text])[0]

    # Further rounds

    def _follow(self, weighed: Weighed, dense: tuple[VectorScan, Vector] | None) -> Weighed:
        """Go on from the best units of each round, until there is nowhere to go, or nothing better was found."""
        followed: set[int] = set()
        while weighed.rounds < self.config.rounds:
            ahead = [each for each in weighed.order[: self.config.beam] if each.entry.row not in followed]
            todo = steps(ahead, weighed.reading, self.weights(), self.config.beam)
            followed |= {each.entry.row for each in ahead}
            if not todo:
                break
            before = [each.entry.row for each in weighed.order[: self.config.beam]]
            weighed = self._round(weighed, todo, dense)
            if before == [each.entry.row for each in weighed.order[: self.config.beam]]:
                break
        return weighed

    def _round(self, weighed: Weighed, todo: Sequence[Step], dense: tuple[VectorScan, Vector] | None) -> Weighed:
        reading, entries = weighed.reading, dict(weighed.entries)
        spelling = spelling_of(reading)
        for step in todo:
            spelling |= {part: word for name in step.names for part, word in name if part not in spelling}
        corpus = self._counts.corpus(spelling)
        # One search for all steps: which of them leads to what is found is told by the scores.
        asked = dict.fromkeys(
            word for step in todo for word in (*step.words, *(spelling[term] for term in step.open_terms))
        )
        terms = rarest(self._counts.saying(asked), self.config.limits.postings // 4)
        found = self.index.lexical(terms, reading.where, self.config.hop_candidates) if terms else []
        new = [hit.row for hit in found if hit.row not in entries]
        for row, unit in fetch(self.index, new, reading.where).items():
            entries[row] = entry_of(row, unit, reading, weighed.corpus)
        cosines = dense[0].scores(entries, dense[1]) if dense else {}
        signs = replace(weighed.signs, cosines=cosines)
        scored = {each.entry.row: each for each in weighed.order}
        for step in todo:
            for row, score in hop_scores(step, entries, corpus, signs, self.weights()).items():
                known = scored.get(row)
                if known is None or score > known.score:
                    scored[row] = Scored(entry=entries[row], score=score, channels={"hop": score})
        return replace(weighed, entries=entries, signs=signs, order=ranked(scored), rounds=weighed.rounds + 1)

    # The answer

    def answer(self, question: Question, weighed: Weighed) -> Answer:
        """What is shown of what was weighed."""
        reading, order = weighed.reading, weighed.order
        calibration = self.calibration(bool(weighed.signs.cosines))
        relevance = (
            calibration.answer(signs_of_answer(order, weighed.entries, reading, weighed.corpus, weighed.signs))
            if order
            else 0.0
        )
        spans = self._spans(reading)
        if not order or (self.config.abstain and relevance < calibration.threshold):
            return Answer(
                hits=(),
                route=reading.route,
                abstained=bool(order),
                relevance=relevance,
                spans=spans,
                rounds=weighed.rounds,
            )
        chosen = as_asked(order, reading, question.k)
        hits = [
            Hit(
                unit=each.entry.unit,
                score=each.score,
                relevance=relevance
                * calibration.hit(signs_of_hit(place, order, weighed.entries, weighed.corpus, weighed.signs)),
                channels=dict(each.channels),
            )
            for place, each in chosen
        ]
        hits = within_budget(diverse(collapsed(hits), question.k, self.weights().diversity), question.budget_tokens)
        claims = behind(self.index, hits, reading.at)
        hits = current_first(hits, claims) if reading.route == CLAIMS else shown_in_order(hits, reading)
        return Answer(
            hits=tuple(hits),
            route=reading.route,
            relevance=relevance,
            claims=claims,
            spans=spans,
            rounds=weighed.rounds,
        )

    def _spans(self, reading: Reading) -> tuple[Span, ...]:
        found: dict[str, Span] = {}
        for span in reading.ranges:
            for digest in self.index.spans(since_us=span.since_us, until_us=span.until_us):
                found[digest.id] = digest
        return tuple(sorted(found.values(), key=lambda digest: (digest.since_us, digest.until_us, digest.id)))
