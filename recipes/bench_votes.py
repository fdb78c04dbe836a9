"""Which vote wins when: every rule on simulated questions whose confidence carries a known signal.

    python recipes/bench_votes.py              # about ten minutes; prints the table
    python recipes/bench_votes.py --write      # and puts it into docs/benchmarks.md
    python recipes/bench_votes.py --quick      # few questions, a smoke run

A question has an accuracy from Beta(1.2, 0.8) and eight wrong answers with Zipf(1.2) weights; the confidence of a sample is 15 + an
offset of the question N(0, 1.5) + noise N(0, 1), and d′ more if the sample is right. In a share "turned" of the questions the sign
is wrong: there the model is surer of its errors. The fitted vote learns on 200 other questions of the same cell.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from bench_journal import PAGE, table, write_between
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.vote import RULES, Ballot, fit_vote
from overwinter.think.vote.fitted import Labelled

BEGIN, END = "<!-- bench_votes: begin -->", "<!-- bench_votes: end -->"
WRONG = 8
CELLS = [
    (0.0, 8, 0.0),
    (0.0, 16, 0.0),
    (0.0, 128, 0.0),
    (0.5, 16, 0.0),
    (0.5, 128, 0.0),
    (0.5, 128, 0.2),
    (1.0, 16, 0.0),
    (1.0, 128, 0.0),
    (1.0, 128, 0.2),
    (2.0, 16, 0.2),
    (2.0, 128, 0.0),
    (2.0, 128, 0.2),
]


def questions(signal: float, samples: int, turned: float, count: int, rng: np.random.Generator) -> list[Labelled]:
    weights = 1 / np.arange(1, WRONG + 1) ** 1.2
    weights /= weights.sum()
    made = []
    for _ in range(count):
        right = rng.random(samples) < rng.beta(1.2, 0.8)
        answers = np.where(right, 0, 1 + rng.choice(WRONG, samples, p=weights))
        gap = -signal if rng.random() < turned else signal
        confidence = 15 + rng.normal(0, 1.5) + rng.normal(0, 1, samples) + gap * right
        ballots = tuple(
            Ballot(answer=str(a), confidence=max(float(c), 0.0)) for a, c in zip(answers, confidence, strict=True)
        )
        made.append(Labelled(ballots=ballots, truth="0"))
    return made


def cell(
    signal: float, samples: int, turned: float, count: int, labelled: int, seed: int
) -> tuple[list[str], float, float]:
    """The row of a cell, and how far the fitted vote is behind the best rule and the majority, in points."""
    rng = np.random.default_rng(seed)
    fitted = fit_vote(questions(signal, samples, turned, labelled, rng), Scope())
    asked = questions(signal, samples, turned, count, rng)
    right = {name: np.array([rule(q.ballots).answer == q.truth for q in asked]) for name, rule in RULES.items()}
    right["fitted"] = np.array([fitted(q.ballots).answer == q.truth for q in asked])
    share = {name: 100 * float(values.mean()) for name, values in right.items()}
    best = max(share, key=lambda name: share[name] if name != "fitted" else -1.0)
    behind = right[best].astype(float) - right["fitted"]
    error = 100 * float(behind.std(ddof=1)) / np.sqrt(len(behind))
    kind = fitted.shape if fitted.kappa == 0 or fitted.shape in RULES else f"{fitted.shape} {fitted.kappa:g}"
    chosen = "majority" if fitted.kappa == 0 else kind
    row = [
        f"{signal:g}",
        str(samples),
        f"{turned:g}",
        *(f"{share[name]:.1f}" for name in RULES),
        f"{share['fitted']:.1f}",
    ]
    row += [chosen, f"{share['fitted'] - share[best]:+.1f} ± {1.96 * error:.1f}"]
    return row, share["fitted"] - share[best], share["fitted"] - share["majority"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--labelled", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="100 questions a cell")
    arguments = parser.parse_args()
    count = 100 if arguments.quick else arguments.questions
    rows, behind_best, behind_majority = [], [], []
    for seed, (signal, samples, turned) in enumerate(CELLS):
        row, best, majority = cell(signal, samples, turned, count, arguments.labelled, seed)
        print(" ".join(row), file=sys.stderr)
        rows.append(row)
        behind_best.append(best)
        behind_majority.append(majority)
    head = ["d′", "samples", "turned", *RULES, "fitted", "which", "against the best other (points, 95 %)"]
    text = table(head, rows)
    text += f"\n\nAccuracy in percent, {count:,} questions a cell, fitted on {arguments.labelled}. The fitted vote is at worst "
    text += f"{-min(behind_best):.1f} points behind the best other rule of a cell, and "
    text += f"{max(0.0, -min(behind_majority)):.1f} behind the majority."
    print(text)
    if arguments.write and not arguments.quick:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
