"""What the stability guard catches, how soon, what it is worth, and how often it cries wolf.

    python recipes/bench_stability.py            # about twenty minutes on one core; writes the tables into docs/benchmarks.md
    python recipes/bench_stability.py --quick    # a smoke run of two minutes: prints, writes nothing
    python recipes/bench_stability.py --text FILE    # characters of a file in place of made-up text

Three parts. Faults: each is put into a training that went well, with several seeds, once with the guard and once without, on the same
data; the trainings without it clip the gradient norm at 1, as usual. Healthy runs: alarms per 10,000 steps, and what the guard does to
the final loss. Learning rates: a grid, in three settings of growing harshness, since plain grids do not diverge at this size. Figures
are medians with extremes. The JSON of everything lands in out/bench-stability.json.
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
    POLICY_FAULTS,
    Language,
    LanguageHost,
    Outcome,
    PolicyHost,
    synthetic_text,
)
from overwinter.learn.stability import GuardConfig

PAGE, RESULT = ROOT / "docs" / "benchmarks.md", ROOT / "out" / "bench-stability.json"
BEGIN, END = "<!-- bench_stability: begin -->", "<!-- bench_stability: end -->"
LANGUAGE_GUARD = GuardConfig(skip_batches=20)
POLICY_GUARD = GuardConfig(skip_batches=0, loss_margin=None, monitor_every=0)
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
HARSHNESS: dict[str, dict[str, Any]] = {
    "as recommended": {},
    "no QK-norm, no warm-up": {"qk_norm": False, "warmup": 0},
    "no QK-norm, no warm-up, weights × 5, rate × 30": {"qk_norm": False, "warmup": 0, "init_scale": 20.0},
}
RATE_FACTOR = {"no QK-norm, no warm-up, weights × 5, rate × 30": 30.0}


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
    grid_steps: int
    grid_seeds: int


FULL = Scale(
    language_steps=420, language_at=300, policy_steps=380, policy_at=250, seeds=5,
    healthy_steps=1000, healthy_seeds=10, grid_steps=150, grid_seeds=3,
)  # fmt: skip
QUICK = Scale(
    language_steps=160, language_at=120, policy_steps=150, policy_at=110, seeds=1,
    healthy_steps=200, healthy_seeds=1, grid_steps=40, grid_seeds=1,
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


# Faults


def fault_row(
    name: str, run: Callable[[bool, int], Outcome], healthy: Callable[[int], float], at: int, seeds: int
) -> Any:
    """One fault over all seeds, with and without the guard: a record with the row of the table."""
    guarded = [run(True, seed) for seed in range(seeds)]
    bare = [run(False, seed) for seed in range(seeds)]
    seen = [first_sign(outcome, at) for outcome in guarded]
    acted = [step - at for outcome in guarded if (step := first_action(outcome, at)) is not None]
    caught = Counter(sign for _, sign in filter(None, seen))
    delays = [step - at for step, _ in filter(None, seen)]
    ends = Counter("stopped" if outcome.stopped else "finished" for outcome in guarded)
    row = [
        name,
        ", ".join(f"{sign} {count}/{seeds}" for sign, count in caught.most_common(2)) or "nothing",
        f"{statistics.median(delays):.0f} (≤ {max(delays)})" if delays else "–",
        f"{statistics.median(acted):.0f} (≤ {max(acted)})" if acted else "–",
        ", ".join(f"{end} {count}/{seeds}" for end, count in ends.most_common()),
        middle([outcome.final for outcome in guarded], ".3f"),
        middle([outcome.final for outcome in bare], ".3f"),
        middle([healthy(seed) for seed in range(seeds)], ".3f"),
    ]
    early = sum(step < at for outcome in guarded for step, _ in outcome.alarms)
    return {"row": row, "guarded": list(map(asdict, guarded)), "bare": list(map(asdict, bare)), "alarms_before": early}


def first_sign(outcome: Outcome, at: int) -> tuple[int, str] | None:
    """The first alarm or dropped sample from the fault on."""
    signs = outcome.alarms + [sign for sign in outcome.actions if sign[1] == "drop_samples"]
    return min((sign for sign in signs if sign[0] >= at), default=None, key=lambda sign: sign[0])


def first_action(outcome: Outcome, at: int) -> int | None:
    return min((step for step, _ in outcome.actions if step >= at), default=None)


FAULT_HEAD = (
    "fault", "caught first by", "alarm after steps", "action after steps", "end", "result with", "without", "no fault",
)  # fmt: skip


def faults(scale: Scale, language: Language, say: Progress) -> dict[str, Any]:
    """Both hosts, all faults."""
    text_healthy = {
        seed: LanguageHost(language, seed=seed, steps=scale.language_steps, guard=None).run().final
        for seed in range(scale.seeds)
    }
    records: dict[str, Any] = {"language": {}, "policy": {}}
    for name, fault in LANGUAGE_FAULTS.items():

        def run(guard: bool, seed: int, fault: Any = fault) -> Outcome:
            host = LanguageHost(
                language, seed=seed, steps=scale.language_steps, guard=LANGUAGE_GUARD if guard else None
            )
            return host.run(fault, at=scale.language_at)

        records["language"][name] = fault_row(name, run, text_healthy.__getitem__, scale.language_at, scale.seeds)
        say(" | ".join(records["language"][name]["row"]))
    task_healthy = {
        seed: PolicyHost(seed=seed, steps=scale.policy_steps, guard=None).run().final for seed in range(scale.seeds)
    }
    for name, trouble in POLICY_FAULTS.items():

        def act(guard: bool, seed: int, trouble: Any = trouble) -> Outcome:
            host = PolicyHost(seed=seed, steps=scale.policy_steps, guard=POLICY_GUARD if guard else None)
            return host.run(trouble, at=scale.policy_at)

        records["policy"][name] = fault_row(name, act, task_healthy.__getitem__, scale.policy_at, scale.seeds)
        say(" | ".join(records["policy"][name]["row"]))
    return records


def fault_tables(records: dict[str, Any]) -> str:
    titles = {
        "language": "**Faults in the training of a language model** (result: loss on held-out text, lower is better)",
        "policy": "**Faults in reinforcement learning** (result: success without noise, higher is better)",
    }
    return "\n\n".join(
        f"{title}:\n\n{table(FAULT_HEAD, [record['row'] for record in records[host].values()])}"
        for host, title in titles.items()
    )


# Healthy runs


def healthy(scale: Scale, language: Language, say: Progress) -> dict[str, Any]:
    """Alarms where there is nothing, and what the guard does to the result."""
    records: dict[str, Any] = {"language": [], "policy": []}
    for seed in range(100, 100 + scale.healthy_seeds):
        pairs = {
            "language": [
                LanguageHost(language, seed=seed, steps=scale.healthy_steps, guard=guard).run()
                for guard in (None, LANGUAGE_GUARD)
            ],
            "policy": [
                PolicyHost(seed=seed, steps=scale.healthy_steps, guard=guard).run() for guard in (None, POLICY_GUARD)
            ],
        }
        for host, (bare, guarded) in pairs.items():
            records[host].append(
                {
                    "seed": seed,
                    "bare": bare.final,
                    "guarded": guarded.final,
                    "alarms": guarded.alarms,
                    "actions": guarded.actions,
                }
            )
        say(f"healthy, seed {seed}: " + ", ".join(f"{host} {runs[-1]['alarms']}" for host, runs in records.items()))
    return records


def healthy_table(records: dict[str, Any], scale: Scale) -> str:
    rows = []
    for host, runs in records.items():
        steps = scale.healthy_steps * len(runs)
        alarms, actions = sum(len(run["alarms"]) for run in runs), sum(len(run["actions"]) for run in runs)
        gaps = [run["guarded"] - run["bare"] for run in runs]
        mean = statistics.mean(gaps)
        error = statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan
        rows.append(
            [
                host,
                f"{steps:,}",
                f"{alarms} ({alarms * 10_000 / steps:.1f})",
                f"{actions} ({actions * 10_000 / steps:.1f})",
                f"{mean:+.4f} ± {error:.4f}",
                f"{max(map(abs, gaps)):.4f}",
            ]
        )
    head = ("host", "healthy steps", "alarms (per 10,000)", "actions (per 10,000)", "change of the result", "largest")
    return f"**Healthy runs**, {scale.healthy_seeds} seeds:\n\n{table(head, rows)}"


# Learning rates


def grid(scale: Scale, language: Language, say: Progress) -> list[dict[str, Any]]:
    """Every rate in every setting, with and without the guard."""
    records = []
    for setting, changes in HARSHNESS.items():
        for lr in RATES:
            rate = lr * RATE_FACTOR.get(setting, 1.0)
            harsh = replace(language, lr=rate, **changes)
            for name, guard in (("without", None), ("with", LANGUAGE_GUARD)):
                for seed in range(scale.grid_seeds):
                    host = LanguageHost(harsh, seed=seed, steps=scale.grid_steps, guard=guard)
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
        for guard in ("without", "with"):
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
    head = ("setting", "guard", *(f"lr {rate:g}" for rate in RATES), "diverged", "sensitivity")
    return (
        "**Learning rates** (mean loss; sensitivity is the mean of min(loss, loss at the start) less the best of the row):\n\n"
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
    parser.add_argument("--quick", action="store_true", help="a smoke run: small, and docs/ is left alone")
    parser.add_argument("--text", type=Path, help="a text file for the language model; default is made-up text")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scale, language, say = QUICK if options.quick else FULL, read_text(options.text), Progress()
    result: dict[str, Any] = {"scale": asdict(scale), "text": str(options.text or "synthetic")}
    result["faults"] = faults(scale, language, say)
    result["healthy"] = healthy(scale, language, say)
    result["grid"] = [record | {"vocab": language.vocab_size} for record in grid(scale, language, say)]
    text = "\n\n".join(
        (fault_tables(result["faults"]), healthy_table(result["healthy"], scale), grid_table(result["grid"]))
    )
    print(f"\n{text}")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\nEverything in numbers: {RESULT}")
    if not options.quick:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
