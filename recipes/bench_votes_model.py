"""Votes on what a small model really says: every rule on recorded samples of the arithmetic model, and what stopping weak traces saves.

    python recipes/bench_votes_model.py --write     # trains, records (about ten minutes of one thread), tables into docs/benchmarks.md
    python recipes/bench_votes_model.py --quick     # a smoke run: few questions, writes nothing

The model is that of `arithmetic.py`, its samples come from our engine at temperature 1, 64 for each question. Recordings lie in
out/votes and are used again. The fitted vote learns on 100 questions and is judged on others, as all rules are; fewer than 64
samples are random subsets of them. Confidences: the mean negative log-probability of the ten likeliest tokens, over a window of
eight (one step of a sum); and the likelihood, the geometric mean of the probabilities of what was said.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from arithmetic import TOP, WORK, Plan, recorded, trained
from bench_journal import PAGE, ROOT, progress, table, write_between
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.confidence.signals import token_confidence, trace_confidence
from overwinter.think.vote import Ballot, FittedVote, Outcome, distri, fit_vote, majority, top_share, weighted
from overwinter.think.vote.fitted import Labelled
from overwinter.think.vote.online import Watchman, bar, leader_may_change
from overwinter.think.vote.rules import mixture_filter

BEGIN, END = "<!-- bench_votes_model: begin -->", "<!-- bench_votes_model: end -->"
OUT = ROOT / "out" / "votes"
WINDOW = 8
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
    signals: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Question:
    truth: str
    traces: tuple[Trace, ...]

    def ballots(self, signal: str, of: Sequence[int] | None = None) -> list[Ballot]:
        chosen = self.traces if of is None else [self.traces[place] for place in of]
        return [Ballot(answer=each.answer, confidence=each.signals[signal], tokens=len(each.tokens)) for each in chosen]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How DeepConf online runs: the share of traces to keep, None to stop none; whether to end once the leader can hardly change."""

    keep: float | None
    settled: bool

    @property
    def name(self) -> str:
        kept = "no trace stopped" if self.keep is None else f"keep {100 * self.keep:g} %"
        return kept + (", stop asking when settled" if self.settled else "")


SETTINGS = [Setting(keep=keep, settled=settled) for settled in (False, True) for keep in (None, 0.9, 0.5, 0.1)][1:]


@cache
def load(length: int, part: str, count: int, seed: int) -> list[Question]:
    """The recorded samples of a part; recorded if they are not there."""
    path = OUT / f"steps-{length}-{part}-{count}.json"
    if not path.exists():
        asked = recorded(trained(WORK), Plan(length=length, questions=count, seed=seed))
        rows = [
            [each.answer, [[s.answer, _confidences(s.tops), _rounded(s.chosen)] for s in each.samples]]
            for each in asked
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".part").write_text(json.dumps(rows), encoding="utf-8")
        path.with_suffix(".part").replace(path)
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Question(truth=truth, traces=tuple(_trace(*sample) for sample in samples)) for truth, samples in rows]


def _confidences(tops: Sequence[Sequence[float]]) -> list[float]:
    return _rounded([token_confidence(top, k=TOP) for top in tops])


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _trace(answer: str | None, confidences: list[float], chosen: list[float]) -> Trace:
    found = trace_confidence(confidences, k=TOP, window=WINDOW)
    signals = {name: float(getattr(found, name)) for name in ("average", "bottom", "lowest", "tail")}
    # A step of a sum is seven or eight signs and the end; the last has the answer.
    signals["last step"] = math.fsum(confidences[-9:]) / len(confidences[-9:])
    signals["likelihood"] = math.exp(math.fsum(chosen) / len(chosen))
    return Trace(answer=answer, tokens=tuple(confidences), signals=signals)


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


def offline(parts: dict[int, tuple[list[Question], list[Question]]]) -> tuple[str, str]:
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
    lowest = [trace.signals["lowest"] for trace in warm]
    at = -math.inf if setting.keep is None else bar(lowest, setting.keep, seed=seed)
    voting = [trace for trace in warm if trace.signals["lowest"] >= at]
    finished, guard = list(warm), Watchman(at=at, window=WINDOW, seed=seed)
    for number, trace in enumerate(rest):
        if setting.settled and number % 4 == 0 and _is_settled(voting or finished, len(rest) - number, seed):
            break
        watch = guard.watch()
        stop = next((place for place, value in enumerate(trace.tokens) if watch.token(value)), None)
        guard.ended(watch)
        tokens += len(trace.tokens) if stop is None else stop + 1
        if stop is None:
            finished.append(trace)
            if not watch.below:
                voting.append(trace)
    ballots = [Ballot(answer=each.answer, confidence=each.signals["lowest"]) for each in voting or finished]
    return (majority(ballots) if setting.keep is None else weighted(ballots)).answer, tokens


def _is_settled(traces: Sequence[Trace], left: int, seed: int) -> bool:
    votes: dict[str, int] = {}
    for trace in traces:
        if trace.answer is not None:
            votes[trace.answer] = votes.get(trace.answer, 0) + 1
    return leader_may_change(votes, left, draws=200, seed=seed) < 0.05


def _online(length: int, part: str, count: int, seed: int, setting: Setting) -> tuple[list[float], float]:
    """Right or not per question, and the share of the tokens of all samples."""
    questions = load(length, part, count, seed)
    right, spent, whole = [], 0, 0
    for number, each in enumerate(questions):
        answer, tokens = ask_online(each, setting, number)
        right.append(float(answer == each.truth))
        spent += tokens
        whole += sum(len(trace.tokens) for trace in each.traces)
    return right, spent / whole


def online(lengths: Sequence[int], labelled: int, count: int) -> tuple[str, str]:
    head, rows, notes = ["setting"], {setting: [setting.name] for setting in SETTINGS}, []
    for length in lengths:
        progress(f"online, {length} steps")
        head += [f"{length} steps: tokens", "accuracy − majority of 64"]
        picks = []
        bases = {
            part: accuracy(load(length, part, size, seed), 64, "average", majority)
            for part, size, seed in _parts(labelled, count)
        }
        for setting in SETTINGS:
            tried, cost = _online(length, "labelled", labelled, 1, setting)
            if _mean(tried) >= _mean(bases["labelled"]):
                picks.append((cost, setting))
            right, share = _online(length, "asked", count, 2, setting)
            rows[setting] += [f"{100 * share:.0f} %", _shown(*_difference(right, bases["asked"]))]
        if not picks:
            notes.append(f"{length} steps: no setting was as good as the majority on the labelled questions.")
            continue
        _, setting = min(picks, key=lambda pick: pick[0])
        right, share = _online(length, "asked", count, 2, setting)
        told = _shown(*_difference(right, bases["asked"]))
        note = f"{length} steps: “{setting.name}” was the cheapest as good as the majority there; here {told} points"
        notes.append(f"{note} with {100 * share:.0f} % of the tokens.")
    return table(head, list(rows.values())), "Picked on the labelled questions, " + " ".join(notes)


def _parts(labelled: int, count: int) -> list[tuple[str, int, int]]:
    return [("labelled", labelled, 1), ("asked", count, 2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[5, 8])
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--labelled", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="60 questions of each part")
    arguments = parser.parse_args()
    labelled, count = (60, 60) if arguments.quick else (arguments.labelled, arguments.questions)
    parts = {
        length: (load(length, "labelled", labelled, 1), load(length, "asked", count, 2)) for length in arguments.lengths
    }
    votes, said = offline(parts)
    saved, noted = online(arguments.lengths, labelled, count)
    text = f"Accuracy in percent on {count} questions a cell, fitted on {labelled} others.\n\n{votes}\n\n{said}\n\n"
    text += f"DeepConf online on the recorded traces, {WARM_UP} of 64 for the warm-up:\n\n{saved}\n\n{noted}"
    print(text)
    if arguments.write and not arguments.quick:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
