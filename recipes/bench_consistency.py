"""What `overwinter check` finds: contradictions planted in novels, by kind; false alarms on untouched novels; seconds.

    python recipes/bench_consistency.py --data ../shared/data            # about five minutes; prints the tables
    python recipes/bench_consistency.py --data ../shared/data --write    # and puts them into docs/benchmarks.md
    python recipes/bench_consistency.py --data ../shared/data --set development   # the phrasings the rules were made on

Documents of 10,000 to 100,000 words are cut from novels, and plants and decoys put between their sentences. Each set of phrasings has
names and novels of its own. The first held-out set was written before the rules; each of the others after the rules had been mended on the
one before, and seen by them once before they were mended again.
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
from typing import Any

import consistency_fifth
import consistency_final
import consistency_fourth
import consistency_heldout
import consistency_last
from bench_journal import PAGE, table, write_between
from consistency_doubled import doubled
from overwinter.think.confidence.binomial import wilson
from overwinter.think.consistency import KINDS, Quote, check_text, phrases
from overwinter.think.consistency.metrics import density
from overwinter.think.consistency.planted import Phrasing, Planter, places_of
from overwinter.think.consistency.scoring import Score, score, total
from overwinter.think.consistency.slots import PLANTABLE, Vocabulary
from overwinter.worlds import open_policy, open_world
from overwinter.worlds.greenhouse import season_report
from overwinter.worlds.greenhouse.audit import differences

BEGIN, END = "<!-- bench_consistency: begin -->", "<!-- bench_consistency: end -->"
CLASSICS = "corpora/gutenberg_classics"
DOUBLED_BOOKS = (
    "openstax_ccby/world-history",
    "openstax_ccby/american-government",
    "openstax_ccby/introduction-sociology",
    "openstax_ccby/microbiology",
    "gutenberg_classics/Mark_Twain_Life_on_the_Mississippi",
    "gutenberg_classics/Jack_London_Martin_Eden",
    "us_speeches/inaugural",
)
"""None of them was read while the rules were made."""
UNTOUCHED = {
    "novels not read before": tuple(
        f"childrens_classics/{name}"
        for name in (
            "Lucy_Maud_Montgomery_Anne_of_Green_Gables",
            "Louisa_May_Alcott_Little_Women",
            "Rudyard_Kipling_Kim",
            "Frances_Hodgson_Burnett_The_Secret_Garden",
            "Kenneth_Grahame_The_Wind_in_the_Willows",
            "Edith_Nesbit_The_Railway_Children",
            "Horatio_Alger_Andy_Gordon",
            "Anna_Sewell_Black_Beauty",
        )
    ),
    "textbooks not read before": tuple(
        f"openstax_ccby/{name}"
        for name in (
            "world-history",
            "american-government",
            "introduction-sociology",
            "microbiology",
            "business-ethics",
        )
    ),
    "speeches": ("us_speeches/inaugural", "us_speeches/state_union"),
    "a technical book": ("rust_book/book.md",),
}
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
    "final": Set(
        phrasings=consistency_final.FINAL,
        words=consistency_final.WORDS,
        unreal=consistency_final.UNREAL,
        novels=(
            "Anthony_Trollope_Doctor_Thorne",
            "Charles_Dickens_Great_Expectations",
            "Charlotte_Bronte_Shirley",
            "Elizabeth_Gaskell_North_and_South",
            "George_Eliot_Romola",
            "Jack_London_Martin_Eden",
            "Jane_Austen_Mansfield_Park",
            "Joseph_Conrad_Victory",
            "Mark_Twain_Life_on_the_Mississippi",
            "Thomas_Hardy_The_Return_of_the_Native",
        ),
    ),
    "last": Set(
        phrasings=consistency_last.LAST,
        words=consistency_last.WORDS,
        unreal=consistency_last.UNREAL,
        novels=(
            "Anthony_Trollope_Framley_Parsonage",
            "Charles_Dickens_The_Old_Curiosity_Shop",
            "Charlotte_Bronte_Jane_Eyre",
            "Elizabeth_Gaskell_Wives_and_Daughters",
            "Henry_James_The_Ambassadors",
            "Jack_London_The_Mutiny_of_the_Elsinore",
            "Joseph_Conrad_Lord_Jim",
            "Mark_Twain_Adventures_of_Huckleberry_Finn",
            "Thomas_Hardy_Far_from_the_Madding_Crowd",
            "Wilkie_Collins_After_Dark",
        ),
    ),
    "fourth": Set(
        phrasings=consistency_fourth.FOURTH,
        words=consistency_fourth.WORDS,
        unreal=consistency_fourth.UNREAL,
        novels=(
            "Anthony_Trollope_Orley_Farm",
            "Charles_Dickens_A_Tale_of_Two_Cities",
            "George_Eliot_Silas_Marner",
            "Jack_London_The_Iron_Heel",
            "Jane_Austen_Emma",
            "Joseph_Conrad_The_Secret_Agent",
            "Mark_Twain_A_Connecticut_Yankee_in_King_Arthur_s_Court",
            "Nathaniel_Hawthorne_The_Scarlet_Letter",
            "Thomas_Hardy_The_Mayor_of_Casterbridge",
            "Wilkie_Collins_The_Haunted_Hotel",
        ),
    ),
    "fifth": Set(
        phrasings=consistency_fifth.FIFTH,
        words=consistency_fifth.WORDS,
        unreal=consistency_fifth.UNREAL,
        novels=(
            "Anthony_Trollope_The_Warden",
            "Charles_Dickens_Hard_Times",
            "Elizabeth_Gaskell_Cranford",
            "Jack_London_White_Fang",
            "Jane_Austen_Northanger_Abbey",
            "Jane_Austen_Persuasion",
            "Joseph_Conrad_Heart_of_Darkness",
            "Mark_Twain_The_Prince_and_the_Pauper",
            "Nathaniel_Hawthorne_Twice_Told_Tales",
            "Mark_Twain_The_Adventures_of_Tom_Sawyer",
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


FIRST_LOOKS = (
    ("held-out", "73bfc8f", 1160, 1105, 2, 0),
    ("final", "8d49156", 1134, 856, 0, 0),
    ("last", "d6b337d", 1060, 842, 1, 79),
    ("fourth", "3bbcc02", 1142, 978, 2, 36),
    ("fifth", "dfffc47", 1062, 886, 3, 37),
)
"""Set, commit whose rules saw it for the first time (check it out and run `--set NAME --repeats 2`), planted, found, wrong on the
novels' own words, decoys taken. The rules were mended after each on what it had shown; what they find in it today says less."""


FIRST_LOOK_KINDS = {
    "age": (210, 104, 4),
    "age_birth": (249, 179, 8),
    "birth": (236, 236, 11),
    "event_date": (225, 162, 8),
    "weekday": (231, 200, 0),
    "order": (228, 209, 15),
    "duration": (239, 183, 7),
    "elapsed": (221, 209, 0),
    "place": (226, 198, 9),
    "death": (225, 200, 6),
    "alive": (228, 182, 15),
    "eyes": (227, 165, 3),
    "hair": (222, 196, 11),
    "name": (236, 222, 0),
    "title": (244, 244, 6),
    "kinship": (214, 189, 6),
    "list_count": (218, 218, 3),
    "quantity": (226, 154, 6),
    "measure": (248, 189, 16),
    "price": (240, 219, 5),
    "distance": (251, 215, 5),
    "direction": (221, 202, 2),
    "rule": (258, 207, 7),
    "law": (235, 185, 7),
}
"""Kind → planted, found, wrong findings at the five first looks together."""


def looks_kinds_table() -> str:
    rows = [[f"`{kind}`", str(p), share(f, p), share(f, f + w)] for kind, (p, f, w) in FIRST_LOOK_KINDS.items()]
    return table(["kind", "planted", "recall, first look", "precision, first look"], rows)


def looks_table() -> str:
    rows = []
    for name, commit, planted, found, false, fooled in FIRST_LOOKS:
        rows.append(
            [
                name,
                f"`{commit}`",
                str(planted),
                share(found, planted),
                share(found, found + false + fooled),
                str(fooled),
            ]
        )
    planted, found, wrong = (sum(each) for each in zip(*((p, f, a + b) for *_, p, f, a, b in FIRST_LOOKS), strict=True))
    rows.append(["**all**", "", str(planted), share(found, planted), share(found, found + wrong), ""])
    return table(["set", "rules of", "planted", "recall", "precision", "decoys taken"], rows)


def doubled_table(data: Path) -> str:
    """Real sentences said twice with one figure changed."""
    tried: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for name in DOUBLED_BOOKS:
        for one in doubled((data / "corpora" / f"{name}.txt").read_text(encoding="utf-8"), 1, 20):
            tried[one.form] += 1
            findings = check_text(one.text).findings
            alone = one.form in {"weekday", "list"}
            found[one.form] += any(
                _at(one.second, finding.second) and (alone or _at(one.first, finding.first)) for finding in findings
            )
    rows = [[form, str(count), share(found[form], count)] for form, count in tried.items()]
    rows.append(["**all**", str(sum(tried.values())), share(sum(found.values()), sum(tried.values()))])
    return table(["what was changed", "sentences", "found"], rows)


def _at(span: tuple[int, int], quote: Quote) -> bool:
    return span[0] < quote.last and quote.first < span[1]


def alarms_table(data: Path) -> str:
    """Findings in books as they are."""
    rows = []
    for label, names in UNTOUCHED.items():
        words, count, seconds = 0, 0, 0.0
        kinds: Counter[str] = Counter()
        for name in names:
            file = name if "." in name else f"{name}.txt"
            text = (data / "corpora" / file).read_text(encoding="utf-8")
            started = time.perf_counter()
            report = check_text(text)
            seconds += time.perf_counter() - started
            words, count = words + report.words, count + len(report.findings)
            kinds.update(finding.kind for finding in report.findings)
        named = ", ".join(f"{kind} {number}" for kind, number in kinds.most_common()) or "–"
        found = density(count, words)
        rows.append(
            [
                label,
                f"{words:,}",
                str(count),
                f"{found.value:.3f} ({found.low:.3f}–{found.high:.3f})",
                named,
                f"{1e4 * seconds / words:.2f}",
            ]
        )
    return table(["texts", "words", "findings", "per 10,000 words", "kinds", "s per 10,000 words"], rows)


def seasons_table() -> str:
    """Season reports: true ones, and the same with one figure changed."""
    name = "greenhouse:days=60,winters=2"
    true = false = changed = found = 0
    for player in ("random", "rules", "expert"):
        for seed in range(5):
            log = play(name, player, seed)
            report = season_report(log)
            true += 1
            false += bool(differences(report, log))
            for match in re.finditer(r"(?<![\d.-])\d+(?![\d.]*\d)(?=[^\d])", report):
                if not report[: match.start()].endswith("winter "):
                    wrong = report[: match.start()] + str(int(match[0]) + 1) + report[match.end() :]
                    changed += 1
                    found += bool(differences(wrong, log))
    rows = [
        ["true reports", str(true), f"{false} called wrong"],
        ["one figure changed", str(changed), f"{share(found, changed)} found"],
    ]
    return table(["season reports", "number", "result"], rows)


def play(name: str, player: str, seed: int) -> list[tuple[str | None, dict[str, Any]]]:
    world, policy = open_world(name), open_policy(name, player)
    observation = world.reset(seed)
    policy.reset(seed)
    log: list[tuple[str | None, dict[str, Any]]] = [(None, observation.data)]
    done = False
    while not done:
        action = policy.act(observation, world.actions())
        transition = world.step(action)
        observation, done = transition.observation, transition.done
        log.append((action, observation.data))
    return log


def one_set(name: str, data: Path, repeats: int) -> str:
    """The table of one set."""
    chosen = SETS[name]
    scored = total(documents(chosen, data / CLASSICS, repeats))
    alarms, words, seconds = untouched(chosen, data / CLASSICS)
    return "\n\n".join(
        [
            f"**{name} phrasings**, {len(chosen.novels)} novels, {len(chosen.novels) * repeats * len(SIZES)} documents of 10,000 to "
            f"100,000 words, {scored.words:,} words in all. Intervals: Wilson, 95 %.",
            kinds_table(scored, alarms, words),
            f"Quotes that are exactly the characters of their span: {scored.exact} of {scored.quotes}. "
            f"Untouched novels: {words:,} words, {sum(alarms.values())} findings, {1e4 * seconds / words:.2f} s per 10,000 words.",
        ]
    )


def report(data: Path, repeats: int) -> str:
    """All tables of the page."""
    names = [name for name in SETS if name != "development"]
    scored = total(one for name in names for one in documents(SETS[name], data / CLASSICS, repeats))
    alarms: Counter[str] = Counter()
    words = 0
    for name in names:
        own, count, _ = untouched(SETS[name], data / CLASSICS)
        alarms.update(own)
        words += count
    return "\n\n".join(
        [
            "**First look at five sets of phrasings** that the rules had not "
            "seen (novels of their own, 10,000 to 100,000 words a document; "
            "Wilson intervals, 95 %):",
            looks_table(),
            looks_kinds_table(),
            f"**All five sets with the rules of today**, which have been mended "
            f"on them: {len(names)} × {10 * repeats * len(SIZES)} documents, "
            f"{scored.words:,} words.",
            kinds_table(scored, alarms, words),
            f"Quotes that are exactly the characters of their span: {scored.exact} of {scored.quotes}.",
            "**Real sentences of books, said twice with one figure changed** (nobody "
            "wrote them for a test; they name somebody or something):",
            doubled_table(data),
            "**Texts as they are**:",
            alarms_table(data),
            "**The greenhouse**:",
            seasons_table(),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds corpora/")
    parser.add_argument("--set", choices=list(SETS), help="only the table of this set")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    given = parser.parse_args()
    if given.set:
        print(one_set(given.set, given.data, given.repeats))
        return
    text = report(given.data, given.repeats)
    print(text)
    if given.write:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
