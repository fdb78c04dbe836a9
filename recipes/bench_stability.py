"""What the stability guard catches, how soon, what it is worth, and how often it cries wolf.

    python recipes/bench_stability.py            # some ten minutes of one core; prints
    python recipes/bench_stability.py --write    # and writes the tables into docs/benchmarks.md
    python recipes/bench_stability.py --parts healthy grid    # these parts; the others are taken from the last run's JSON
    python recipes/bench_stability.py --quick    # a smoke run of a minute
    python recipes/bench_stability.py --text FILE    # characters of a file in place of made-up text

Three parts. Faults: each is put into a training that went well, with several seeds and three ways to meet it: the guard, the usual cap
of 1 on the gradient norm alone, and nothing. All three see the same data, and what comes before the fault is trained once.
Healthy runs: alarms over many steps of several tasks, with an upper bound for their rate, and what the guard does to the result.
Learning rates: a grid, in four settings of growing harshness, since plain grids do not diverge at this size. Figures are
medians with extremes. The JSON of everything lands in out/bench-stability.json.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench_journal import ROOT, table, write_between
from bench_stability_cases import (
    LANGUAGE_FAULTS,
    Language,
    LanguageHost,
    Outcome,
    RegressionHost,
    branch,
    synthetic_text,
)
from bench_stability_policy import POLICY_FAULTS, PolicyHost
from overwinter.learn.stability import GuardConfig

PAGE, RESULT = ROOT / "docs" / "benchmarks.md", ROOT / "out" / "bench-stability.json"
BEGIN, END = "<!-- bench_stability: begin -->", "<!-- bench_stability: end -->"
LANGUAGE_GUARD = GuardConfig(skip_batches=20)
POLICY_GUARD = GuardConfig(skip_batches=0, loss_margin=None, monitor_every=0)
REGRESSION_GUARD = GuardConfig(skip_batches=20)
ARMS = ("guard", "clipping", "nothing")
PARTS = ("faults", "healthy", "grid")
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
HARSHNESS: dict[str, dict[str, Any]] = {
    "as recommended": {},
    "no QK-norm, no warm-up": {"qk_norm": False, "warmup": 0},
    "no QK-norm, no warm-up, weights × 5, rate × 30": {"qk_norm": False, "warmup": 0, "init_scale": 20.0},
    "no QK-norm, no warm-up, SGD with momentum, rate × 1000": {"qk_norm": False, "warmup": 0, "sgd": True},
}
RATE_FACTOR = {
    "no QK-norm, no warm-up, weights × 5, rate × 30": 30.0,
    "no QK-norm, no warm-up, SGD with momentum, rate × 1000": 1000.0,
}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured."""

    language_steps: int
    language_at: int
    policy_steps: int
    policy_at: int
    seeds: int
    healthy_steps: int
    healthy_seeds: int
    policy_healthy_steps: int
    regression_steps: int
    grid_steps: int
    grid_seeds: int


FULL = Scale(
    language_steps=420, language_at=300, policy_steps=380, policy_at=250, seeds=3,
    healthy_steps=2400, healthy_seeds=5, policy_healthy_steps=1800, regression_steps=2400, grid_steps=300, grid_seeds=3,
)  # fmt: skip
QUICK = Scale(
    language_steps=160, language_at=120, policy_steps=150, policy_at=110, seeds=1,
    healthy_steps=200, healthy_seeds=1, policy_healthy_steps=200, regression_steps=300, grid_steps=40, grid_seeds=1,
)  # fmt: skip


class Progress:
    """A line for each part, with the time since the beginning."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:6.0f} s] {text}", flush=True)


def middle(values: Sequence[float], form: str) -> str:
    """Median and extremes; what is not finite is said in words."""
    finite = [value for value in values if math.isfinite(value)]
    lost = len(values) - len(finite)
    if not finite:
        return "NaN"
    text = f"{statistics.median(finite):{form}}"
    if len(finite) > 1:
        text += f" ({min(finite):{form}}–{max(finite):{form}})"
    return text if not lost else f"{text}, {lost} × NaN"


def arm_of(arm: str, guard: GuardConfig) -> dict[str, Any]:
    """What a host is given to be one of the arms."""
    return {"guard": guard if arm == "guard" else None, "clip": None if arm == "nothing" else 1.0}


# Faults


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A training up to the moment of the fault, for each seed and arm."""

    hosts: dict[tuple[int, str], Any]
    seeds: int
    at: int
    higher_is_better: bool


def stage(make: Callable[[int, str], Any], *, at: int, seeds: int, higher_is_better: bool) -> Stage:
    hosts = {(seed, arm): make(seed, arm) for seed in range(seeds) for arm in ARMS}
    for host in hosts.values():
        host.run(until=at)
    return Stage(hosts=hosts, seeds=seeds, at=at, higher_is_better=higher_is_better)


def fault_row(name: str, fault: Any, stage: Stage) -> dict[str, Any]:
    """One fault over all seeds and arms: a record with the row of the table."""
    at, seeds = stage.at, stage.seeds
    runs = {arm: [branch(stage.hosts[seed, arm], fault, at=at) for seed in range(seeds)] for arm in ARMS}
    guarded = runs["guard"]
    seen = [first_sign(outcome, at) for outcome in guarded]
    acted = [step - at for outcome in guarded if (step := first_action(outcome, at)) is not None]
    caught = Counter(sign for _, sign in filter(None, seen))
    delays = [step - at for step, _ in filter(None, seen)]
    ends = Counter("stopped" if outcome.stopped else "finished" for outcome in guarded)
    against = [
        compared(with_guard.final, without.final, higher=stage.higher_is_better)
        for with_guard, without in zip(guarded, runs["clipping"], strict=True)
    ]
    row = [
        name,
        ", ".join(f"{sign} {count}/{seeds}" for sign, count in caught.most_common(2)) or "nothing",
        f"{statistics.median(delays):.0f} (≤ {max(delays)})" if delays else "–",
        f"{statistics.median(acted):.0f} (≤ {max(acted)})" if acted else "–",
        ", ".join(f"{end} {count}/{seeds}" for end, count in ends.most_common()),
        *(middle([outcome.final for outcome in runs[arm]], ".3f") for arm in ARMS),
        middle(against, "+.3f" if stage.higher_is_better else ".3f"),
    ]
    return {"row": row, "runs": {arm: list(map(asdict, each)) for arm, each in runs.items()}, "against": against}


def compared(guard: float, clipping: float, *, higher: bool) -> float:
    """The guard's result against that of clipping: as a ratio of losses, or a difference of successes. NaN where clipping left nothing."""
    return guard - clipping if higher else guard / clipping


def first_sign(outcome: Outcome, at: int) -> tuple[int, str] | None:
    """The first alarm or dropped sample from the fault on."""
    signs = outcome.alarms + [sign for sign in outcome.actions if sign[1] == "drop_samples"]
    return min((sign for sign in signs if sign[0] >= at), default=None, key=lambda sign: sign[0])


def first_action(outcome: Outcome, at: int) -> int | None:
    return min((step for step, _ in outcome.actions if step >= at), default=None)


FAULT_HEAD = (
    "fault", "caught first by", "alarm after steps", "action after steps", "end", *ARMS, "guard against clipping",
)  # fmt: skip


def faults(scale: Scale, language: Language, say: Progress) -> dict[str, Any]:
    """Both hosts, all faults."""
    stages = {
        "language": stage(
            lambda seed, arm: LanguageHost(
                language, seed=seed, steps=scale.language_steps, **arm_of(arm, LANGUAGE_GUARD)
            ),
            at=scale.language_at,
            seeds=scale.seeds,
            higher_is_better=False,
        ),
        "policy": stage(
            lambda seed, arm: PolicyHost(seed=seed, steps=scale.policy_steps, **arm_of(arm, POLICY_GUARD)),
            at=scale.policy_at,
            seeds=scale.seeds,
            higher_is_better=True,
        ),
    }
    say("trained up to the faults")
    records: dict[str, Any] = {}
    for host, kinds in (("language", LANGUAGE_FAULTS), ("policy", POLICY_FAULTS)):
        records[host] = {}
        for name, fault in kinds.items():
            records[host][name] = fault_row(name, fault, stages[host])
            say(" | ".join(records[host][name]["row"]))
    return records


def fault_tables(records: dict[str, Any]) -> str:
    titles = {
        "language": "**Faults in the training of a language model** (result: loss on held-out text, lower is better; last column: ratio)",
        "policy": "**Faults in reinforcement learning** (result: success without noise, higher is better; last column: difference)",
    }
    return "\n\n".join(
        f"{title}:\n\n{table(FAULT_HEAD, [record['row'] for record in records[host].values()])}"
        for host, title in titles.items()
    )


# Healthy runs


def healthy(scale: Scale, language: Language, say: Progress) -> dict[str, Any]:
    """Alarms where there is nothing, and what the guard does to the result."""
    makers: dict[str, Callable[[int, bool], Any]] = {
        "language": lambda seed, guarded: LanguageHost(
            language, seed=seed, steps=scale.healthy_steps, guard=LANGUAGE_GUARD if guarded else None
        ),
        "policy": lambda seed, guarded: PolicyHost(
            seed=seed, steps=scale.policy_healthy_steps, guard=POLICY_GUARD if guarded else None
        ),
        "regression": lambda seed, guarded: RegressionHost(
            seed=seed, steps=scale.regression_steps, guard=REGRESSION_GUARD if guarded else None
        ),
    }
    records: dict[str, Any] = {name: [] for name in makers}
    for seed in range(300, 300 + scale.healthy_seeds):  # 100 to 204 were seen while the detectors were made
        for name, make in makers.items():
            bare, guarded = make(seed, False).run(), make(seed, True).run()
            records[name].append(
                {
                    "seed": seed,
                    "steps": guarded.steps,
                    "bare": bare.final,
                    "guarded": guarded.final,
                    "alarms": guarded.alarms,
                    "actions": guarded.actions,
                }
            )
        say(f"healthy, seed {seed}: " + ", ".join(f"{name} {runs[-1]['alarms']}" for name, runs in records.items()))
    return records


def healthy_table(records: dict[str, Any]) -> str:
    rows = []
    totals = Counter()
    for host, runs in records.items():
        counts = {
            "steps": sum(run["steps"] for run in runs),
            "alarms": sum(len(run["alarms"]) for run in runs),
            "actions": sum(len(run["actions"]) for run in runs),
        }
        totals.update(counts)
        gaps = [run["guarded"] - run["bare"] for run in runs]
        mean = statistics.mean(gaps)
        error = statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan
        rows.append([host, *rates(counts), f"{mean:+.4f} ± {error:.4f}", f"{max(map(abs, gaps)):.4f}"])
    rows.append(["all", *rates(totals), "", ""])
    head = (
        "host", "healthy steps", "alarms per 10,000 (95 %)", "actions per 10,000 (95 %)", "change of the result", "largest",
    )  # fmt: skip
    return f"**Healthy runs**, {len(records['language'])} seeds:\n\n{table(head, rows)}"


def rates(counts: dict[str, int]) -> list[str]:
    steps = counts["steps"]
    return [
        f"{steps:,}",
        *(
            f"{counts[what]} seen: {counts[what] * 10_000 / steps:.2f} (≤ {most(counts[what]) * 10_000 / steps:.2f})"
            for what in ("alarms", "actions")
        ),
    ]


def most(count: int) -> float:
    """The largest mean of a Poisson count that shows `count` or fewer once in twenty times: 3.0 for none, the rule of three."""
    low, high = 0.0, 10.0 + 4 * count
    for _ in range(60):
        mean = (low + high) / 2
        chance = sum(math.exp(-mean) * mean**each / math.factorial(each) for each in range(count + 1))
        low, high = (mean, high) if chance > 0.05 else (low, mean)
    return high


# Learning rates


def grid(scale: Scale, language: Language, say: Progress) -> list[dict[str, Any]]:
    """Every rate in every setting, with the guard and with clipping alone."""
    records = []
    for setting, changes in HARSHNESS.items():
        for lr in RATES:
            rate = lr * RATE_FACTOR.get(setting, 1.0)
            harsh = replace(language, lr=rate, **changes)
            for name in ARMS[:2]:
                for seed in range(scale.grid_seeds):
                    host = LanguageHost(harsh, seed=seed, steps=scale.grid_steps, **arm_of(name, LANGUAGE_GUARD))
                    start, outcome = host.evaluate(), host.run()
                    records.append(
                        {
                            "setting": setting,
                            "lr": rate,
                            "guard": name,
                            "seed": seed,
                            "start": start,
                            "final": outcome.final,
                            "stopped": outcome.stopped,
                            "actions": len(outcome.actions),
                        }
                    )
        say(f"learning rates, {setting}")
    return records


def grid_table(records: Sequence[dict[str, Any]]) -> str:
    """Divergence is a loss that is no number, or above the start (or above a uniform guess, if the start is worse)."""
    rows = []
    for setting in HARSHNESS:
        for guard in ARMS[:2]:
            mine = [record for record in records if (record["setting"], record["guard"]) == (setting, guard)]
            rates = sorted({record["lr"] for record in mine})
            finals = [[capped(record) for record in mine if record["lr"] == rate] for rate in rates]
            means = [statistics.mean(each) for each in finals]
            lost = sum(diverged(record) for record in mine)
            rows.append(
                [
                    setting,
                    guard,
                    *(f"{mean:.3f}" for mean in means),
                    f"{lost}/{len(mine)}",
                    f"{statistics.mean(mean - min(means) for mean in means):.3f}",
                ]
            )
    head = ("setting", "by", *(f"lr {rate:g}" for rate in RATES), "diverged", "sensitivity")
    return (
        "**Learning rates** (mean of min(loss, loss at the start); sensitivity is the mean of these less the best of the row):\n\n"
        + table(head, rows)
    )


def capped(record: dict[str, Any]) -> float:
    return min(record["final"], record["start"]) if math.isfinite(record["final"]) else float(record["start"])


def diverged(record: dict[str, Any]) -> bool:
    return not record["final"] <= min(record["start"], math.log(record["vocab"]) if "vocab" in record else math.inf)


def read_text(path: Path | None) -> Language:
    if path is None:
        return Language(text=synthetic_text(), vocab_size=32)
    text = path.read_text(encoding="utf-8")[:300_000]
    ids = {symbol: at for at, symbol in enumerate(sorted(set(text)))}
    return Language(text=torch.tensor([ids[symbol] for symbol in text]), vocab_size=len(ids))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the tables into docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="a smoke run: small; cannot be written")
    parser.add_argument("--text", type=Path, help="a text file for the language model; default is made-up text")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure; the rest is kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scale, language, say = QUICK if options.quick else FULL, read_text(options.text), Progress()
    measure: dict[str, Callable[[], Any]] = {
        "faults": lambda: faults(scale, language, say),
        "healthy": lambda: healthy(scale, language, say),
        "grid": lambda: [record | {"vocab": language.vocab_size} for record in grid(scale, language, say)],
    }
    path = RESULT.with_stem(f"{RESULT.stem}-quick") if options.quick else RESULT
    path.parent.mkdir(exist_ok=True)
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in options.parts:
        result[part] = measure[part]()
        result[f"{part}_scale"] = {**asdict(scale), "text": str(options.text or "synthetic")}
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    tables = {"faults": fault_tables, "healthy": healthy_table, "grid": grid_table}
    text = "\n\n".join(make(result[part]) for part, make in tables.items() if part in result)
    print(f"\n{text}\n\nEverything in numbers: {path}")
    if options.write and not options.quick:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
