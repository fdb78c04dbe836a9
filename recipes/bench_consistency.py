"""What `overwinter check` finds: contradictions planted in novels, by kind; false alarms on untouched novels; seconds.

    python recipes/bench_consistency.py --data ../shared/data            # about three minutes; prints the tables
    python recipes/bench_consistency.py --data ../shared/data --write    # and puts them into docs/benchmarks.md
    python recipes/bench_consistency.py --data ../shared/data --set development   # the phrasings the rules were made on

Documents of 10,000 to 100,000 words are cut from novels, and plants and decoys put between their sentences. Phrasings, names and
novels of the held-out set were not consulted while the rules were made (they stand in `consistency_heldout.py`).
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import consistency_heldout
from bench_journal import PAGE, table, write_between
from overwinter.think.confidence.binomial import wilson
from overwinter.think.consistency import KINDS, check_text, phrases
from overwinter.think.consistency.planted import Phrasing, Planter, places_of
from overwinter.think.consistency.scoring import Score, score, total
from overwinter.think.consistency.slots import PLANTABLE, Vocabulary

BEGIN, END = "<!-- bench_consistency: begin -->", "<!-- bench_consistency: end -->"
CLASSICS = "corpora/gutenberg_classics"
SIZES = (10_000, 10_000, 30_000, 100_000)
"""Words of the documents cut from each novel."""


@dataclass(frozen=True, kw_only=True)
class Set:
    """Phrasings, what fills them, and the novels they are put into."""

    phrasings: dict[str, Phrasing]
    words: Vocabulary
    unreal: Sequence[str]
    novels: tuple[str, ...]


SETS = {
    "development": Set(
        phrasings=phrases.DEVELOPMENT,
        words=phrases.WORDS,
        unreal=phrases.UNREAL,
        novels=(
            "Jane_Austen_Pride_and_Prejudice",
            "Charles_Dickens_Oliver_Twist",
            "Mark_Twain_Roughing_It",
            "Wilkie_Collins_The_Moonstone",
            "Joseph_Conrad_Nostromo",
        ),
    ),
    "held-out": Set(
        phrasings=consistency_heldout.HELD_OUT,
        words=consistency_heldout.WORDS,
        unreal=consistency_heldout.UNREAL,
        novels=(
            "Anthony_Trollope_Barchester_Towers",
            "Charlotte_Bronte_Villette",
            "Elizabeth_Gaskell_Mary_Barton",
            "George_Eliot_The_Mill_on_the_Floss",
            "Henry_James_The_Portrait_of_a_Lady",
            "Jack_London_The_Sea_Wolf",
            "Jane_Austen_Sense_and_Sensibility",
            "Thomas_Hardy_Tess_of_the_d_Urbervilles",
            "Nathaniel_Hawthorne_The_House_of_the_Seven_Gables",
            "Wilkie_Collins_The_Woman_in_White",
        ),
    ),
}


def cut(text: str, words: int, start: int) -> str:
    """About so many words from a paragraph's beginning on; the whole text where it has no more."""
    begins = [match.start() for match in re.finditer(r"\S+", text)]
    if len(begins) <= words:
        return text
    first = text.rfind("\n\n", 0, begins[min(start, len(begins) - words)]) + 1
    last = text.find("\n\n", begins[min(start + words, len(begins) - 1)])
    return text[first : last if last > 0 else len(text)]


def documents(chosen: Set, folder: Path, repeats: int) -> Iterator[Score]:
    """The score of each planted document."""
    for number, name in enumerate(chosen.novels):
        text = (folder / f"{name}.txt").read_text(encoding="utf-8")
        for turn in range(repeats):
            for index, size in enumerate(SIZES):
                seed = 1000 * number + 10 * turn + index
                rng = random.Random(seed)
                host = cut(text, size, rng.randrange(60_000))
                planter = Planter(chosen.phrasings, chosen.words, chosen.unreal, seed)
                room = len(places_of(host)) // 5
                kinds = rng.sample(PLANTABLE, min(len(PLANTABLE), room))
                document = planter.document(host, kinds)
                report = check_text(document.text)
                yield score(document, report.findings, report.words)


def untouched(chosen: Set, folder: Path) -> tuple[Counter[str], int, float]:
    """Findings by kind on the novels as they are, words, and seconds."""
    found: Counter[str] = Counter()
    words, seconds = 0, 0.0
    for name in chosen.novels:
        text = (folder / f"{name}.txt").read_text(encoding="utf-8")
        started = time.perf_counter()
        report = check_text(text)
        seconds += time.perf_counter() - started
        words += report.words
        found.update(finding.kind for finding in report.findings)
    return found, words, seconds


def share(hits: int, count: int) -> str:
    """A proportion with its Wilson interval."""
    if not count:
        return "–"
    low, high = wilson(hits, count)
    return f"{hits / count:.2f} ({low:.2f}–{high:.2f})"


def kinds_table(scored: Score, alarms: Counter[str], words: int) -> str:
    rows = []
    for kind in KINDS:
        found, wrong = scored.found[kind], scored.wrong(kind)
        rows.append(
            [
                f"`{kind}`",
                str(scored.planted[kind]),
                share(found, scored.planted[kind]),
                share(found, found + wrong),
                f"{scored.fooled[kind]} of {scored.decoys[kind]}",
                f"{1e4 * alarms[kind] / words:.3f}",
            ]
        )
    found, wrong = sum(scored.found.values()), sum(scored.fooled.values()) + sum(scored.false.values())
    planted, decoys = sum(scored.planted.values()), sum(scored.decoys.values())
    rows.append(
        [
            "**all**",
            str(planted),
            share(found, planted),
            share(found, found + wrong),
            f"{sum(scored.fooled.values())} of {decoys}",
            f"{1e4 * sum(alarms.values()) / words:.3f}",
        ]
    )
    return table(
        ["kind", "planted", "recall", "precision", "decoys taken", "findings per 10,000 words, untouched"], rows
    )


def report(name: str, folder: Path, repeats: int) -> str:
    chosen = SETS[name]
    scored = total(documents(chosen, folder, repeats))
    alarms, words, seconds = untouched(chosen, folder)
    return "\n\n".join(
        [
            f"**{name} phrasings**, {len(chosen.novels)} "
            f"novels, {len(chosen.novels) * repeats * len(SIZES)} documents of 10,000 to 100,000 words, "
            f"{scored.words:,} words in all. Intervals: Wilson, 95 %.",
            kinds_table(scored, alarms, words),
            f"Quotes that are exactly the characters of their span: {scored.exact} of {scored.quotes}. "
            f"Untouched novels: {words:,} words, {sum(alarms.values())} findings, {1e4 * seconds / words:.2f} s per 10,000 words.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds corpora/")
    parser.add_argument("--set", choices=list(SETS), default="held-out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    given = parser.parse_args()
    text = report(given.set, given.data / CLASSICS, given.repeats)
    print(text)
    if given.write:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
