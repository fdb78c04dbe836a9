"""`learn`: from runs to better weights, with what was learned from whom and whether it helped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overwinter.cli.flags import Common
from overwinter.cli.output import note
from overwinter.cli.workplace import Workplace, workplace
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.learn.improve import HeldOut, Learned, Lesson

FIRST_HELD_OUT, FIRST_CALIBRATION = 1 << 40, 1 << 41
"""Where the seeds of held-out episodes begin, far from those people use."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """What is learned, and how it is tried."""

    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the new model folder goes.")]
    estimator: Annotated[
        str, typer.Option("--estimator", metavar="NAME", help="Of credit; docs/credit.md has the table.")
    ] = "calibrated"
    lr: Annotated[float, typer.Option("--lr", metavar="RATE", min=0.0, help="Learning rate.")] = 3e-5
    epochs: Annotated[int, typer.Option("--epochs", metavar="NUMBER", min=1, help="Passes over the runs.")] = 2
    held_out: Annotated[
        int, typer.Option("--held-out", metavar="NUMBER", min=0, help="Seeds to try before and after on; 0 for none.")
    ] = 64
    calibrate: Annotated[
        int,
        typer.Option(
            "--calibrate", metavar="NUMBER", min=0, help="Seeds to calibrate its chance on; 0: it states none."
        ),
    ] = 64
    top: Annotated[int, typer.Option("--top", metavar="NUMBER", min=1, help="Rows of the credit table.")] = 8


def learn(
    runs: Annotated[list[str], typer.Argument(metavar="RUNS...", help="Finished runs of one model in one world.")],
    *,
    learning: Learning,
    common: Common,
) -> None:
    """Learn from runs: credit for each decision, a training step, and scores before and after."""
    from overwinter.learn.improve import Config, held_out, improve, paired_change, read_lesson
    from overwinter.learn.players import Student

    config = Config(estimator=learning.estimator, lr=learning.lr, epochs=learning.epochs)
    if learning.out.exists() and (not learning.out.is_dir() or any(learning.out.iterdir())):
        raise UsageError(f"{learning.out} exists and is not an empty folder", "choose another --out")
    with workplace(common, read_only=True) as at:
        names = [at.resolve(name).run for name in runs]
        folder = _folder_of(at, names)
        lesson = read_lesson(at.store, names, folder)
        _tell_lesson(at, lesson)
        before = None
        if learning.held_out:
            seeds = range(FIRST_HELD_OUT, FIRST_HELD_OUT + learning.held_out)
            note(f"playing {learning.held_out} held-out seeds with the weights as they are")
            before = held_out(Student(folder), lesson.world, seeds)
        learned = improve(folder, lesson, config, progress=lambda figures: _tell_epoch(at, figures))
        _tell_credit(at, lesson, learned, learning.top)
        change: dict[str, Any] = {}
        if before is not None:
            note(f"playing {learning.held_out} held-out seeds with the new weights")
            after = held_out(learned.student, lesson.world, before.seeds)
            mean, low, high = paired_change(before.score, after.score)
            change = {"before": _mean(before), "after": _mean(after), "change": mean, "low": low, "high": high}
            _tell_change(at, before, after, (mean, low, high))
        _save(at, folder, learning, lesson, learned, change)


def _folder_of(at: Workplace, runs: list[str]) -> Path:
    """The folder of the model that made the runs.

    Raises:
        UsageError: a run was made otherwise than by a player's model, or by different ones.
    """
    from overwinter.loop.session import load_state
    from overwinter.worlds.player import is_player, player_folder

    paths = set()
    for run in runs:
        model = load_state(at.store, run).setup.get("model", {})
        if model.get("kind") != "player":
            who = "an endpoint, which gives text only" if model.get("kind") == "endpoint" else repr(model.get("kind"))
            raise UsageError(
                f"run {run!r} was made by {who}: there are no token ids of a model that could be trained here",
                "learn from runs of a player's folder, such as `overwinter run --model bundled`",
            )
        paths.add(str(model["path"]))
    if len(paths) > 1:
        raise UsageError(f"the runs were made by several models: {', '.join(sorted(paths))}", "name those of one")
    folder = player_folder(paths.pop())
    if not is_player(folder):
        raise UsageError(f"{folder} is no player's folder any more", "put the model back where the runs name it")
    return folder


def _tell_lesson(at: Workplace, lesson: Lesson) -> None:
    at.out.line(f"{len(lesson.runs)} runs in {lesson.world}", "bold")
    rows = [
        [run, str(e.seed), f"{e.score:.1f}", "yes" if e.success == 1.0 else "no", str(len(e.decisions))]
        for run, e in zip(lesson.runs, lesson.episodes, strict=True)
    ]
    at.out.table(["run", "seed", "score", "success", "decisions"], rows, right=["seed", "score", "decisions"])


def _tell_epoch(at: Workplace, figures: Mapping[str, float]) -> None:
    shown = {name: figures[name] for name in ("epoch", "loss", "kl", "grad_norm", "success_loss") if name in figures}
    at.out.record({"kind": "epoch", **shown})
    at.out.line("  ".join(f"{name} {value:.4g}" for name, value in shown.items()))


def _tell_credit(at: Workplace, lesson: Lesson, learned: Learned, top: int) -> None:
    """The decisions that were encouraged and discouraged most."""
    where = [
        (run, number) for run, e in zip(lesson.runs, lesson.episodes, strict=True) for number in range(len(e.decisions))
    ]
    looks = [look for trace in lesson.traces for look in trace.looks]
    order = sorted(range(len(where)), key=lambda row: learned.advantages[row])
    for row in range(len(where)):
        run, number = where[row]
        credit = {"decision": number, "action": looks[row].action, "credit": float(learned.advantages[row])}
        at.out.record({"kind": "credit", "run": run, **credit})
    for title, rows in (("Encouraged most", order[::-1][:top]), ("Discouraged most", order[:top])):
        at.out.line(f"\n{title}", "bold")
        at.out.table(
            ["run", "decision", "credit", "did"],
            [[where[r][0], str(where[r][1]), f"{learned.advantages[r]:+.3f}", looks[r].action] for r in rows],
            right=["decision", "credit"],
        )


def _tell_change(at: Workplace, before: HeldOut, after: HeldOut, change: tuple[float, float, float]) -> None:
    mean, low, high = change
    at.out.line(
        f"\nheld-out seeds ({len(before.seeds)}): score {before.score.mean():.1f} before, {after.score.mean():.1f} after; "
        f"change {mean:+.2f} (95 %: {low:+.2f} to {high:+.2f}); success {before.success.mean():.0%} before, "
        f"{after.success.mean():.0%} after",
        "bold",
    )
    if high < 0.0:
        at.out.line("it got worse: keep the old weights, or learn with a smaller --lr and more runs", "red")


def _mean(played: HeldOut) -> dict[str, float]:
    return {"score": float(played.score.mean()), "success": float(played.success.mean())}


def _save(
    at: Workplace, folder: Path, learning: Learning, lesson: Lesson, learned: Learned, change: Mapping[str, Any]
) -> None:
    from overwinter.learn.advantage import head_files
    from overwinter.learn.improve import fit_calibration, held_out
    from overwinter.learn.players import save_player

    calibration: dict[str, Any] = {}
    if learning.calibrate:
        note(f"playing {learning.calibrate} other seeds to calibrate its chance")
        seeds = range(FIRST_CALIBRATION, FIRST_CALIBRATION + learning.calibrate)
        played = held_out(learned.student, lesson.world, seeds)
        calibration = {"world": lesson.world, **fit_calibration(played.odds, played.success)}
    record = {
        "learned_from": list(lesson.runs),
        "estimator": learning.estimator,
        "lr": learning.lr,
        "epochs": learning.epochs,
        "curve": [{name: round(value, 6) for name, value in figures.items()} for figures in learned.curve],
        "held_out": dict(change),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    student = learned.student
    save_player(
        learning.out,
        student.policy.decoder,
        student.text.tokenizer,
        world=lesson.world.partition(":")[0],
        calibration=calibration,
        training=record,
        beside=head_files(folder),
    )
    at.out.record({"kind": "learned", "out": str(learning.out), **change})
    at.out.line(f"wrote {learning.out}; play with it: overwinter run --model {learning.out}")
