"""The shipped calibration of relevance: when a memory should answer, and when it should return nothing.

python recipes/fit_relevance.py --data FOLDER [--embedder minilm:FOLDER] [--write]

Fitted on corpora that the benchmark's abstention figures are not taken from: MemoryBank (a user's questions to this user's memory,
and to those of others; and the same with speakers and questions by name), HotpotQA and MuSiQue (questions to their paragraphs; to
the other set's; and to their own without the paragraphs that answer them). `--write` writes
`src/overwinter/memory/retrieve/fitted.py`. Vectors are kept in `--cache`.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_journal import ROOT
from bench_memory_data import Asked, Corpus, by_name, memorybank, multihop
from bench_memory_run import CachedEmbedder, Opened
from overwinter.memory.retrieve.question import Question
from overwinter.memory.retrieve.refit import fit_calibration, judge
from overwinter.memory.retrieve.relevance import Calibration
from overwinter.memory.retrieve.searcher import Weighed

TARGET = ROOT / "src" / "overwinter" / "memory" / "retrieve" / "fitted.py"
MOST_LOST = 0.02
"""Share of the questions with an answer that may be given none: the target of issue 5 is two points of recall."""
Case = tuple[Weighed, frozenset[int], bool]
"""A question weighed, the rows that answer it where they are known, and whether the memory has an answer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--embedder", default="", help="minilm:FOLDER or endpoint:URL#MODEL, for the model with vectors"
    )
    parser.add_argument("--cache", type=Path, default=Path("/tmp/bench-memory"))
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    fitted = {"words": _fit(arguments.data, None)}
    if arguments.embedder:
        fitted["dense"] = _fit(arguments.data, CachedEmbedder(arguments.embedder, arguments.cache))
    for name, calibration in fitted.items():
        print(name, calibration)
    if arguments.write:
        if set(fitted) != {"words", "dense"}:
            raise SystemExit("--write needs both models: name an --embedder")
        TARGET.write_text(_module(fitted), encoding="utf-8")


def _fit(data: Path, embedder: Any) -> Calibration:
    users = memorybank(data)
    by_names = [by_name(corpus) for corpus in users]
    cases = [*_from_users(users, embedder), *_from_users(by_names, embedder), *_from_paragraphs(data, embedder)]
    print(f"{len(cases)} cases, {sum(has for *_, has in cases)} with an answer", flush=True)
    return fit_calibration([judge(weighed, gold, has) for weighed, gold, has in cases], MOST_LOST)


def _from_users(corpora: list[Corpus], embedder: Any) -> Iterator[Case]:
    dice = random.Random(0)
    for corpus in corpora:
        others = [asked for other in corpora if other is not corpus for asked in other.questions]
        with Opened(corpus, embedder) as opened:
            for asked, has in [(asked, True) for asked in corpus.questions] + [
                (asked, False) for asked in dice.sample(others, len(corpus.questions))
            ]:
                yield opened.searcher.weigh(Question(text=asked.text)), frozenset(), has


def _from_paragraphs(data: Path, embedder: Any) -> Iterator[Case]:
    sets = [multihop(data, "hotpotqa"), multihop(data, "musique")]
    for corpus, other in zip(sets, sets[::-1], strict=True):
        with Opened(corpus, embedder) as opened:
            rows = opened.index.rows([unit.id for unit in corpus.units])
            for asked in corpus.questions:
                yield _weigh(opened, asked), frozenset(rows[place] for place in asked.gold), True
            for asked in other.questions:
                yield _weigh(opened, asked), frozenset(), False
        gone = frozenset(place for asked in corpus.questions[::2] for place in asked.gold)
        with Opened(corpus, embedder, skip=gone) as opened:
            for asked in corpus.questions[::2]:
                yield _weigh(opened, asked), frozenset(), False


def _weigh(opened: Opened, asked: Asked) -> Weighed:
    return opened.searcher.weigh(Question(text=asked.text))


def _module(fitted: dict[str, Calibration]) -> str:
    lines = [
        '"""Shipped calibrations, written by `recipes/fit_relevance.py --write`: do not edit by hand."""',
        "",
        "from __future__ import annotations",
        "",
        "from overwinter.memory.retrieve.relevance import Calibration, Logistic",
        "",
        "CALIBRATIONS = {",
    ]
    for name, calibration in fitted.items():
        lines += [f'    "{name}": Calibration(', f"        threshold={calibration.threshold!r},"]
        for part in ("answer", "hit"):
            model = getattr(calibration, part)
            lines.append(f"        {part}=Logistic(weights={model.weights!r}, bias={model.bias!r}),")
        lines.append("    ),")
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    main()
