"""LoCoMo's turns as the house's searcher (words alone) hands them on: what the sifter would get in `memory.search`. Judging only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bench_memory_data
from bench_memory_data import DEV_CONVERSATIONS, Corpus
from bench_memory_run import Opened
from overwinter.memory.retrieve import Question
from overwinter.memory.sift.session import Session, session_of_unit
from overwinter.memory.unit import Unit
from sifter_histories import Asked, locomo


def searched(memory: Path, count: int = 30) -> Iterator[tuple[str, list[Session], Asked]]:
    """(dialogue, candidates in order of time with the searcher's scores, question): the `count` best turns of each question.

    The dialogues that the searcher's weights were fitted on are left out, and questions whose evidence is not among the candidates.
    """
    asked = {
        question.text: question
        for history in locomo(memory / "locomo" / "locomo10.json")
        for question in history.questions
    }
    for corpus in bench_memory_data.locomo(memory):
        if corpus.name not in DEV_CONVERSATIONS:
            with Opened(corpus) as opened:
                yield from _of_dialogue(corpus, opened, asked, count)


def _of_dialogue(
    corpus: Corpus, opened: Opened, known: dict[str, Asked], count: int
) -> Iterator[tuple[str, list[Session], Asked]]:
    number = {unit.id: place for place, unit in enumerate(corpus.units)}
    for asked in corpus.questions:
        if asked.text not in known or asked.group not in {"1", "2", "3", "4"}:
            continue
        order = opened.searcher.weigh(Question(text=asked.text, now_us=asked.now_us)).order[:count]
        places = sorted((number[each.entry.unit.id], each.score) for each in order)
        gold = frozenset(n for n, (place, _) in enumerate(places) if place in asked.gold)
        if gold:
            candidates = [_candidate(corpus.units, place, score) for place, score in places]
            yield corpus.name, candidates, replace(known[asked.text], gold=gold, related=gold)


def _candidate(units: list[Unit], place: int, score: float) -> Session:
    def beside(other: int) -> Unit | None:
        near = 0 <= other < len(units) and units[other].session == units[place].session
        return units[other] if near else None

    return session_of_unit(units[place], beside(place - 1), beside(place + 1), score=score)
