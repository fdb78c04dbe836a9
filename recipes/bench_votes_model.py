"""Votes on what a small model really says: every rule on recorded samples of the arithmetic model, and what stopping weak traces saves.

    python recipes/bench_votes_model.py --write     # trains, records (about ten minutes of one thread), tables into docs/benchmarks.md
    python recipes/bench_votes_model.py --quick     # a smoke run: few questions, writes nothing

The model is that of `arithmetic.py`, its samples come from our engine at temperature 1, 64 for each question. Recordings lie in
out/votes and are used again. The fitted vote learns on 100 questions and is judged on others, as all rules are; fewer than 64
samples are random subsets of them. Confidences: the mean negative log-probability of the k likeliest tokens, over a window of eight
(one step of a sum), with the k that tells right from wrong best on the labelled questions; and the likelihood, the geometric
mean of the probabilities of what was said.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from arithmetic import WORK, Plan, Sample, recorded, trained
from bench_journal import PAGE, ROOT, progress, table, write_between
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.confidence.signals import token_confidence, trace_confidence, windows
from overwinter.think.vote import Ballot, FittedVote, Outcome, distri, fit_vote, majority, top_share, weighted
from overwinter.think.vote.fitted import Labelled
from overwinter.think.vote.online import Watchman, bar, leader_may_change
from overwinter.think.vote.rules import mixture_filter

BEGIN, END = "<!-- bench_votes_model: begin -->", "<!-- bench_votes_model: end -->"
OUT = ROOT / "out" / "votes"
WINDOW = 8
KS = (2, 3, 5, 10)
"""How many of the likeliest tokens a confidence is the mean of; which, is decided on the labelled questions."""
SIGNALS = ("average", "bottom", "lowest", "tail", "last step", "likelihood")
SIZES = {8: 8, 16: 4, 64: 1}
"""Samples per vote, and on how many random subsets of the 64 it is judged."""
WARM_UP = 16
Rule = Callable[[Sequence[Ballot]], Outcome]
RULES: dict[str, tuple[str, Rule]] = {
    "majority": ("average", majority),
    "weighted by the average": ("average", weighted),
    **{
        f"DeepConf, {signal}, top {share} %": (signal, lambda ballots, kept=share / 100: top_share(ballots, kept))
        for signal in ("average", "bottom", "lowest", "tail")
        for share in (10, 90)
    },
    "mixture alone, last step": ("last step", mixture_filter),
    "DistriVoting, last step": ("last step", distri),
}
"""Name → the confidence it uses, and the rule."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A sample, as it is voted on."""

    answer: str | None
    tokens: tuple[float, ...]
    """The confidence at each."""
    said: tuple[float, ...]
    """The probability of each."""
    signals: dict[str, float]

    def watched(self, by: str) -> tuple[float, ...]:
        return self.said if by == "probability" else self.tokens

    def lowest(self, by: str) -> float:
        return min(windows(self.watched(by), WINDOW))


@dataclass(frozen=True, kw_only=True)
class Question:
    truth: str
    traces: tuple[Trace, ...]

    def ballots(self, signal: str, of: Sequence[int] | None = None) -> list[Ballot]:
        chosen = self.traces if of is None else [self.traces[place] for place in of]
        return [Ballot(answer=each.answer, confidence=each.signals[signal], tokens=len(each.tokens)) for each in chosen]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How DeepConf online runs: the share of traces to keep, None to stop none; whether to end once the leader can hardly change;
    and what is watched, DeepConf's confidence or the probability of what was said."""

    keep: float | None
    settled: bool
    by: str = "confidence"

    @property
    def name(self) -> str:
        kept = "no trace stopped" if self.keep is None else f"keep {100 * self.keep:g} %"
        kept += ", by probability" if self.by == "probability" else ""
        return kept + (", stop asking when settled" if self.settled else "")


Parts = dict[int, tuple[list[Question], list[Question]]]
"""Steps of the sums → labelled questions, and those that are asked."""
SAFE = 1.0
"""Points that a setting may seem to cost on the labelled questions."""
SETTINGS = [
    Setting(keep=None, settled=True),
    *(
        Setting(keep=keep, settled=settled, by=by)
        for by in ("confidence", "probability")
        for settled in (False, True)
        for keep in (0.9, 0.5, 0.1)
    ),
]


@cache
def _rows(length: int, part: str, count: int, seed: int) -> list[Any]:
    """(truth, samples as [answer, confidences by k, log-probabilities]); recorded if they are not there."""
    path = OUT / f"steps-{length}-{part}-{count}.json"
    if not path.exists():
        asked = recorded(trained(WORK), Plan(length=length, questions=count, seed=seed))
        rows = [[each.answer, [_row(sample) for sample in each.samples]] for each in asked]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".part").write_text(json.dumps(rows), encoding="utf-8")
        path.with_suffix(".part").replace(path)
    return list(json.loads(path.read_text(encoding="utf-8")))


def _row(sample: Sample) -> list[Any]:
    by_k = {k: _rounded([token_confidence(top, k=k) for top in sample.tops]) for k in KS}
    return [sample.answer, by_k, _rounded(sample.chosen)]


@cache
def load(length: int, part: str, count: int, seed: int, k: int) -> list[Question]:
    """The recorded samples of a part, with confidences of the k likeliest tokens."""
    return [
        Question(truth=truth, traces=tuple(_trace(answer, by_k[str(k)], chosen) for answer, by_k, chosen in samples))
        for truth, samples in _rows(length, part, count, seed)
    ]


def separation(questions: Sequence[Question], signal: str) -> float:
    """How often a right sample has more confidence than a wrong one of the same question, over questions that have several of both."""
    found = []
    for each in questions:
        right = [trace.signals[signal] for trace in each.traces if trace.answer == each.truth]
        wrong = [trace.signals[signal] for trace in each.traces if trace.answer not in (None, each.truth)]
        if min(len(right), len(wrong)) >= 4:
            pairs = [(a > b) + (a == b) / 2 for a in right for b in wrong]
            found.append(math.fsum(pairs) / len(pairs))
    return math.fsum(found) / len(found) if found else math.nan


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _trace(answer: str | None, confidences: list[float], chosen: list[float]) -> Trace:
    found = trace_confidence(confidences, window=WINDOW)
    signals = {name: float(getattr(found, name)) for name in ("average", "bottom", "lowest", "tail")}
    # A step of a sum is seven or eight signs and the end; the last has the answer.
    signals["last step"] = math.fsum(confidences[-9:]) / len(confidences[-9:])
    signals["likelihood"] = math.exp(math.fsum(chosen) / len(chosen))
    return Trace(answer=answer, tokens=tuple(confidences), said=tuple(map(math.exp, chosen)), signals=signals)


# Offline


def subsets(question: int, size: int, of: int) -> list[list[int]]:
    rng = random.Random(question * 1000 + size)
    return [list(range(of))] if size >= of else [rng.sample(range(of), size) for _ in range(SIZES[size])]


def fitted_on(labelled: Sequence[Question], size: int) -> tuple[str, FittedVote]:
    """The confidence with the largest held-out gain, and the vote that was fitted on it."""
    votes = {}
    for signal in SIGNALS:
        cases = [Labelled(ballots=tuple(each.ballots(signal, range(size))), truth=each.truth) for each in labelled]
        votes[signal] = fit_vote(cases, Scope(task="sums", signal=signal))
    best = max(votes, key=lambda signal: votes[signal].gain if votes[signal].kappa else 0.0)
    return best, votes[best]


def accuracy(questions: Sequence[Question], size: int, signal: str, rule: Rule) -> list[float]:
    """Per question, over its subsets."""
    found = []
    for number, each in enumerate(questions):
        drawn = subsets(number, size, len(each.traces))
        found.append(sum(rule(each.ballots(signal, of)).answer == each.truth for of in drawn) / len(drawn))
    return found


def offline(parts: Parts) -> tuple[str, str]:
    head = ["rule"]
    columns: list[dict[str, list[float]]] = []
    chosen: list[str] = []
    for length, (labelled, asked) in parts.items():
        for size in SIZES:
            progress(f"votes of {size}, {length} steps")
            head.append(f"{length} steps, {size} samples")
            found = {name: accuracy(asked, size, signal, rule) for name, (signal, rule) in RULES.items()}
            signal, vote = fitted_on(labelled, size)
            found["fitted"] = accuracy(asked, size, signal, vote)
            chosen.append("majority" if not vote.kappa else f"{signal}: {vote.shape} {vote.kappa:g}")
            columns.append(found)
    singles = [_single(asked) for _, asked in parts.values() for _ in SIZES]
    rows = [["one sample", *(f"{100 * value:.1f}" for value in singles)]]
    rows += [[name, *(f"{100 * _mean(found[name]):.1f}" for found in columns)] for name in (*RULES, "fitted")]
    rows.append(["what was fitted", *chosen])
    best, behind = [], []
    for found in columns:
        name = max(RULES, key=lambda rule: _mean(found[rule]))
        best.append(_difference(found["fitted"], found[name]))
        behind.append(_difference(found["fitted"], found["majority"]))
    rows.append(["fitted − best other", *(_shown(*each) for each in best)])
    rows.append(["fitted − majority", *(_shown(*each) for each in behind)])
    worst, least = min(each[0] for each in best), min(each[0] for each in behind)
    said = f"Against the best of the {len(RULES)} other rows of a cell, picked in hindsight, the fitted vote is {_points(worst)} at "
    said += f"worst; against the majority {_points(least)}."
    return table(head, rows), said


def _single(asked: Sequence[Question]) -> float:
    return _mean([sum(trace.answer == each.truth for trace in each.traces) / len(each.traces) for each in asked])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Mean difference and half of its 95 % interval, in points, over questions."""
    gaps = [100 * (x - y) for x, y in zip(a, b, strict=True)]
    mean = _mean(gaps)
    return mean, 1.96 * math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1) / len(gaps))


def _shown(mean: float, half: float) -> str:
    return f"{mean:+.1f} ± {half:.1f}"


def _points(value: float) -> str:
    return f"{-value:.1f} points behind" if value < 0 else f"{value:.1f} points ahead"


# Online


def ask_online(question: Question, setting: Setting, seed: int) -> tuple[str | None, int]:
    """The answer, and the tokens that were generated for it."""
    warm, rest = question.traces[:WARM_UP], question.traces[WARM_UP:]
    tokens = sum(len(trace.tokens) for trace in warm)
    at = (
        -math.inf
        if setting.keep is None
        else bar([trace.lowest(setting.by) for trace in warm], setting.keep, seed=seed)
    )
    voting = [trace for trace in warm if trace.lowest(setting.by) >= at]
    finished, guard = list(warm), Watchman(at=at, window=WINDOW, seed=seed)
    for number, trace in enumerate(rest):
        if setting.settled and number % 4 == 0 and _is_settled(voting or finished, len(rest) - number, seed):
            break
        watch = guard.watch()
        stop = next((place for place, value in enumerate(trace.watched(setting.by)) if watch.token(value)), None)
        guard.ended(watch)
        tokens += len(trace.tokens) if stop is None else stop + 1
        if stop is None:
            finished.append(trace)
            if not watch.below:
                voting.append(trace)
    ballots = [Ballot(answer=each.answer, confidence=each.lowest(setting.by)) for each in voting or finished]
    return (majority(ballots) if setting.keep is None else weighted(ballots)).answer, tokens


def _is_settled(traces: Sequence[Trace], left: int, seed: int) -> bool:
    votes: dict[str, int] = {}
    for trace in traces:
        if trace.answer is not None:
            votes[trace.answer] = votes.get(trace.answer, 0) + 1
    return leader_may_change(votes, left, draws=200, seed=seed) < 0.05


def _online(questions: Sequence[Question], setting: Setting) -> tuple[list[float], float]:
    """Right or not per question, and the share of the tokens of all samples."""
    right, spent, whole = [], 0, 0
    for number, each in enumerate(questions):
        answer, tokens = ask_online(each, setting, number)
        right.append(float(answer == each.truth))
        spent += tokens
        whole += sum(len(trace.tokens) for trace in each.traces)
    return right, spent / whole


def online(parts: Parts) -> tuple[str, str]:
    head, rows, notes = ["setting"], {setting: [setting.name] for setting in SETTINGS}, []
    for length, (labelled, asked) in parts.items():
        progress(f"online, {length} steps")
        head += [f"{length} steps: tokens", "accuracy − majority of 64"]
        base, labelled_base = (accuracy(some, 64, "average", majority) for some in (asked, labelled))
        safe: list[tuple[float, Setting]] = []
        for setting in SETTINGS:
            tried, cost = _online(labelled, setting)
            mean, half = _difference(tried, labelled_base)
            if mean - half / 1.96 >= -SAFE:
                safe.append((cost, setting))
            right, share = _online(asked, setting)
            rows[setting] += [f"{100 * share:.0f} %", _shown(*_difference(right, base))]
        _, setting = min(safe, key=lambda pick: pick[0])
        right, share = _online(asked, setting)
        told = f"{length} steps: “{setting.name}”, here {_shown(*_difference(right, base))} points"
        notes.append(f"{told} with {100 * share:.0f} % of the tokens.")
    said = f"The cheapest that on the labelled questions was behind the majority by at most {SAFE:g} point, its standard error "
    return table(head, list(rows.values())), said + "included: " + " ".join(notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[5])
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--labelled", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="60 questions of each part")
    arguments = parser.parse_args()
    labelled, count = (60, 60) if arguments.quick else (arguments.labelled, arguments.questions)
    parts: Parts = {}
    told = []
    for length in arguments.lengths:
        found = {k: separation(load(length, "labelled", labelled, 1, k), "lowest") for k in KS}
        k = max(found, key=lambda each: found[each])
        parts[length] = load(length, "labelled", labelled, 1, k), load(length, "asked", count, 2, k)
        chances = ", ".join(f"{100 * chance:.0f} % with k = {each}" for each, chance in found.items())
        likely = 100 * separation(parts[length][0], "likelihood")
        told.append(f"{length} steps: {chances}; {likely:.0f} % by the likelihood")
    votes, said = offline(parts)
    saved, noted = online(parts)
    text = f"Accuracy in percent on {count} questions a cell, fitted on {labelled} others. Of two samples of one labelled question, "
    text += f"one right and one wrong, the right one has the higher lowest window in this share of cases: {'. '.join(told)}."
    text += f"\n\n{votes}\n\n{said}\n\n"
    text += f"DeepConf online on the recorded traces, {WARM_UP} of 64 for the warm-up:\n\n{saved}\n\n{noted}"
    print(text)
    if arguments.write and not arguments.quick:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
