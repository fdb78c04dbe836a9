"""Does memory find what it has seen, does it say so when it has not, and how long does it take? No model is asked.

python recipes/bench_memory.py --data FOLDER [--embedder minilm:FOLDER] [--write] [--quick] [--parts recall,hops,days,abstention,latency]

Tables go into docs/benchmarks.md with `--write`. `--data` is the folder with LoCoMo, MuSiQue, HotpotQA and MemoryBank; none of them is
part of this repository. Vectors and the large indexes of the latency part are kept in `--cache`. The part "refit" (minutes) adds
weights fitted to LoCoMo's three development conversations. Peers that are installed are measured beside ours:
pip install bm25s rank_bm25 chromadb langgraph mem0ai
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import random
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import bench_memory_latency as latency
from bench_journal import ROOT, table, write_between
from bench_memory_data import DEV_CONVERSATIONS, Asked, Corpus, locomo, memorybank, multihop
from bench_memory_peers import available
from bench_memory_run import CUTS, CachedEmbedder, Opened, percent, recall
from overwinter.memory.retrieve import Config, Question, Weights
from overwinter.memory.retrieve.question import read
from overwinter.memory.retrieve.refit import Use, fit_calibration, judge, refit_weights
from overwinter.memory.retrieve.weights import WORDS_ALONE

BEGIN, END = "<!-- bench_memory {}: begin -->", "<!-- bench_memory {}: end -->"
PARTS = ("recall", "hops", "days", "abstention", "latency")
ADVERSARIAL = "5"
STRIDE = 3
Row = list[str]


@dataclass(frozen=True, kw_only=True)
class Setting:
    data: Path
    cache: Path
    embedder: Any
    quick: bool
    refit: bool = False
    most_units: int = 1_000_000
    slow_peers: bool = False

    def variants(self) -> list[tuple[str, Any, Config]]:
        """(name, embedder, configuration) of our own ways to search."""
        found = [("BM25 alone", None, Config(weights=WORDS_ALONE, rounds=1)), ("words", None, Config())]
        if self.embedder:
            found.append(("words and MiniLM", self.embedder, Config()))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--embedder", default="", help="minilm:FOLDER or endpoint:URL#MODEL; without it, words only")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/bench-memory"))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="two conversations, few questions, no million")
    parser.add_argument("--slow-peers", action="store_true", help="mem0 too: hours")
    parser.add_argument("--most-units", type=int, default=1_000_000, help="of the latency part")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    embedder = CachedEmbedder(arguments.embedder, arguments.cache) if arguments.embedder else None
    wanted = arguments.parts.split(",")
    if unknown := set(wanted) - {*PARTS, "refit"}:
        raise SystemExit(f"unknown parts {sorted(unknown)}; there are {', '.join(PARTS)} and refit")
    setting = Setting(
        data=arguments.data,
        cache=arguments.cache,
        embedder=embedder,
        quick=arguments.quick,
        refit="refit" in wanted,
        most_units=arguments.most_units,
        slow_peers=arguments.slow_peers,
    )
    for part in PARTS:
        if part not in wanted:
            continue
        text = f"{globals()[f'{part}_table'](setting)}\n\n{environment()}"
        print(f"{text}\n", flush=True)
        if arguments.write:
            write_between(ROOT / "docs" / "benchmarks.md", BEGIN.format(part), END.format(part), text)


def environment() -> str:
    """The machine and the versions that were measured."""
    packages = sorted({"numpy", *(peer.distribution for peer in available())})
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"{machine}, SQLite {sqlite3.sqlite_version}; {versions}."


# LoCoMo


def _conversations(setting: Setting, *, dev: bool) -> list[Corpus]:
    chosen = [corpus for corpus in locomo(setting.data) if (corpus.name in DEV_CONVERSATIONS) == dev]
    return chosen[:1] if setting.quick else chosen


class Tally:
    """Recall by question, of several ways to search, in two groups of questions; and milliseconds per question."""

    def __init__(self) -> None:
        self.found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
        self.adversarial: dict[str, list[float]] = defaultdict(list)
        self.ms: dict[str, list[float]] = defaultdict(list)

    def take(self, name: str, questions: Sequence[Asked], ranking: Callable[[Asked], Sequence[int]]) -> None:
        for asked in questions:
            began = time.perf_counter()
            order = ranking(asked)
            self.ms[name].append((time.perf_counter() - began) * 1e3)
            reached = recall(order, asked.gold)
            if asked.group == ADVERSARIAL:
                self.adversarial[name].append(reached[1])
            else:
                self.found[name].append(reached)

    def rows(self) -> list[Row]:
        return [
            [
                name,
                *(percent([each[i] for each in found]) for i in range(len(CUTS))),
                percent(self.adversarial[name]) if self.adversarial[name] else "–",
                f"{np.median(self.ms[name]):.1f}",
            ]
            for name, found in self.found.items()
        ]


def recall_table(setting: Setting) -> str:
    """LoCoMo by turns: the seven conversations that no weight was chosen on."""
    tally, variants = Tally(), setting.variants()
    if setting.refit:
        variants += [_fitted(setting, *variant) for variant in variants[1:]]
    for corpus in _conversations(setting, dev=False):
        for name, embedder, config in variants:
            with Opened(corpus, embedder, config) as opened:
                tally.take(name, corpus.questions, opened.ranking)
        _take_peers(tally, corpus, setting)
        print(f"  {corpus.name}: {len(corpus.questions)} questions", flush=True)
    head = ["LoCoMo, turns, categories 1–4", *(f"R@{cut}" for cut in CUTS), "category 5: R@10", "ms (median)"]
    return "**What is found in talk.**\n\n" + table(head, tally.rows())


def _fitted(setting: Setting, name: str, embedder: Any, config: Config) -> tuple[str, Any, Config]:
    """The same with weights that `refit` found on the three conversations set aside for it."""
    uses, searchers = [], []
    for corpus in _conversations(setting, dev=True):
        opened = Opened(corpus, embedder, config)
        searchers.append(opened)
        uses.append(
            [
                Use(
                    question=Question(text=asked.text, now_us=asked.now_us),
                    relevant=frozenset(corpus.units[place].id for place in asked.gold),
                )
                for asked in corpus.questions
                if asked.group != ADVERSARIAL
            ]
        )
    fits = [
        refit_weights(opened.searcher, some, rounds=1).weights for opened, some in zip(searchers, uses, strict=True)
    ]
    for opened in searchers:
        opened.__exit__()
    names = list(Weights.__slots__)
    mean = Weights(**{each: float(np.mean([getattr(fit, each) for fit in fits])) for each in names})
    print(f"  {name}: refitted to {mean}", flush=True)
    return f"{name}, refitted", embedder, Config(weights=mean)


def _take_peers(tally: Tally, corpus: Corpus, setting: Setting) -> None:
    texts = [unit.text for unit in corpus.units]
    embedder = setting.embedder
    vectors = embedder.embed(texts) if embedder else np.zeros((len(texts), 1), np.float32)
    asked_vectors = {
        asked.text: embedder.embed([asked.text])[0] if embedder else vectors[0] for asked in corpus.questions
    }
    for peer in available(slow=setting.slow_peers):
        if embedder is None and peer.package not in ("bm25s", "rank_bm25"):
            continue
        built = peer(texts, vectors)
        tally.take(
            peer.name,
            corpus.questions,
            lambda asked, built=built: built.ranking(asked.text, asked_vectors[asked.text], max(CUTS)),
        )


# Questions in several steps


def hops_table(setting: Setting) -> str:
    rows = []
    for name in ("musique", "hotpotqa"):
        corpus = multihop(setting.data, name)
        questions = corpus.questions[:20] if setting.quick else corpus.questions
        for variant, embedder, config in setting.variants():
            for rounds in (1,) if config.weights == WORDS_ALONE else (1, 2, 3):
                with Opened(corpus, embedder, Config(weights=config.weights, rounds=rounds)) as opened:
                    found = [(asked.group, recall(opened.ranking(asked), asked.gold)) for asked in questions]
                by_group = [
                    percent([reached[1] for group, reached in found if group == wanted])
                    if any(group == wanted for group, _ in found)
                    else "–"
                    for wanted in ("2", "3", "4")
                ]
                fives, tens = ([reached[i] for _, reached in found] for i in (0, 1))
                rows.append([name, variant, str(rounds), percent(fives), percent(tens), *by_group])
                print("  ", *rows[-1], flush=True)
    head = ["paragraphs", "search", "rounds", "R@5", "R@10", "R@10, 2 needed", "3 needed", "4 needed"]
    return "**What takes several steps.**\n\n" + table(head, rows)


# Days


def days_table(setting: Setting) -> str:
    """MemoryBank's questions that name a day: is a unit of that day among the first five, and how many of the first five are?"""
    rows = []
    corpora = memorybank(setting.data)
    for variant, embedder, config in setting.variants():
        hit, share = [], []
        for corpus in corpora:
            with Opened(corpus, embedder, config) as opened:
                for asked in corpus.questions:
                    if asked.group == "dated":
                        best = opened.ranking(asked)[:5]
                        hit.append(float(bool(set(best) & set(asked.gold))))
                        share.append(len(set(best) & set(asked.gold)) / 5)
        rows.append([variant, percent(hit), percent(share)])
    head = ["MemoryBank, questions that name a day", "one of that day among the first 5", "share of the first 5"]
    return "**What happened on a day.**\n\n" + table(head, rows)


# Nothing to find


def abstention_table(setting: Setting) -> str:
    """Every third question. The shipped calibration is fitted on other corpora (`fit_relevance.py`), "refitted" on the three
    conversations set aside: at most one in a hundred of their questions may be given nothing."""
    rows = []
    corpora = _conversations(setting, dev=False)
    variants = setting.variants()[1:]
    for variant, embedder, config in [*variants, *(_calibrated(setting, *each) for each in variants)]:
        empty: dict[str, list[float]] = defaultdict(list)
        with_it, without = [], []
        dice = random.Random(0)
        for corpus in corpora:
            others = [q for other in corpora if other is not corpus for q in other.questions if q.group != ADVERSARIAL]
            strangers = dice.sample(others, min(50, len(others)))
            with Opened(corpus, embedder, config) as opened:
                for asked in corpus.questions[::STRIDE]:
                    best, shown = opened.shown(asked)
                    if asked.group == ADVERSARIAL:
                        empty["category 5"].append(float(not shown))
                        continue
                    with_it.append(recall(shown, asked.gold)[1])
                    without.append(recall(best, asked.gold)[1])
                for asked in strangers:
                    empty["foreign"].append(float(not opened.shown(asked)[1]))
        rows.append(
            [
                variant, percent(empty["foreign"]) if empty["foreign"] else "–", percent(empty["category 5"]), percent(without),
                percent(with_it), f"{100 * (np.mean(without) - np.mean(with_it)):.1f}",
            ]
        )  # fmt: skip
        print("  ", *rows[-1], flush=True)
    head = [
        "LoCoMo", "questions of other conversations: empty", "category 5: empty", "R@10, never abstaining", "R@10, abstaining",
        "points lost",
    ]  # fmt: skip
    return "**When there is nothing to find.**\n\n" + table(head, rows)


def _calibrated(setting: Setting, name: str, embedder: Any, config: Config) -> tuple[str, Any, Config]:
    """The same with relevance fitted on the three conversations set aside, as `refit` does for a namespace from its use."""
    corpora, judged, dice = _conversations(setting, dev=True), [], random.Random(1)
    for corpus in corpora:
        own = [asked for asked in corpus.questions if asked.group != ADVERSARIAL]
        others = [q for other in corpora if other is not corpus for q in other.questions if q.group != ADVERSARIAL]
        with Opened(corpus, embedder, config) as opened:
            rows = opened.index.rows([unit.id for unit in corpus.units])
            for asked in own:
                weighed = opened.searcher.weigh(Question(text=asked.text, now_us=asked.now_us))
                judged.append(judge(weighed, frozenset(rows[place] for place in asked.gold), True))
            for asked in dice.sample(others, min(len(own), len(others))):
                weighed = opened.searcher.weigh(Question(text=asked.text, now_us=asked.now_us))
                judged.append(judge(weighed, frozenset(), False))
    return f"{name}, refitted", embedder, replace(config, calibration=fit_calibration(judged, 0.01))


# Time


def latency_table(setting: Setting) -> str:
    corpora = locomo(setting.data)
    turns = sorted({unit.text for corpus in corpora for unit in corpus.units})
    dice = random.Random(3)
    asked = [question.text for corpus in corpora for question in corpus.questions]
    questions = dice.sample(asked, 60 if setting.quick else 230)
    counts = (10_000,) if setting.quick else [count for count in (100_000, 1_000_000) if count <= setting.most_units]
    setting.cache.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    for text in asked[:500]:
        read(Question(text=text, now_us=1))
    routing_ms = (time.perf_counter() - began) * 2
    head = ["units", "search", "p50 ms", "p95 ms", "processor ms"]
    text = table(head, latency.rows(setting.cache, turns, questions, counts))
    return f"**How long it takes.** Reading a question and choosing its route: {routing_ms:.2f} ms of these.\n\n{text}"


if __name__ == "__main__":
    main()
