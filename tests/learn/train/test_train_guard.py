"""`[guard]` in a recipe: a guard on the trainer that skips, goes back, survives a kill, and is one over several processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from train_kit import ended, in_child, recipe, same_bits, weights_of

from group_kit import together
from overwinter.errors import UsageError
from overwinter.learn.stability import Guard, read_events
from overwinter.learn.stability.signals import local
from overwinter.learn.train.recipe import Recipe
from overwinter.learn.train.trainer import Trainer
from overwinter.learn.train.training import train

TABLES: dict[str, dict[str, Any]] = {
    "guard": {"checkpoint_every": 3, "quiet_steps": 2, "rollback_steps": 2, "skip_batches": 0, "hold_steps": 4},
    "schedule": {"steps": 14, "warmup": 2},
    "run": {"checkpoint_every": 4},
}


def break_at(step: int, *, times: int = 1) -> Callable[[Trainer], None]:
    """Weights that are no numbers after an update, in every process, as often as asked."""
    left = [times]

    def hang(trainer: Trainer) -> None:
        take = trainer.optimiser.step

        def broken() -> None:
            take()
            if trainer.step == step and left[0]:
                left[0] -= 1
                with torch.no_grad():
                    for _, parameter in trainer.optimiser.parameters():
                        local(parameter.detach()).fill_(float("nan"))

        trainer.optimiser.step = broken  # type: ignore[method-assign]

    return hang


def test_the_table_makes_a_guard_and_a_broken_training_ends_well(tmp_path: Path) -> None:
    done = train(recipe(tmp_path, **TABLES), tmp_path / "out", begin=break_at(9))
    assert done.outcome.finished
    events = read_events(tmp_path / "out" / "guard" / "events.jsonl")
    (back,) = [event for event in events if event["kind"] == "roll_back"]
    assert back["cause"] == "weights that are no numbers"
    assert 0 < back["to"] < 9
    assert all(torch.isfinite(value).all() for value in weights_of(tmp_path / "out" / "model").values())


def test_without_the_table_the_same_fault_is_the_end(tmp_path: Path) -> None:
    tables = {name: table for name, table in TABLES.items() if name != "guard"}
    with pytest.raises(UsageError, match="not finite"):
        train(recipe(tmp_path, **tables), tmp_path / "out", begin=break_at(9))


def test_a_dry_run_and_a_guard_that_is_off_have_the_bits_of_none(tmp_path: Path) -> None:
    plain = {name: table for name, table in TABLES.items() if name != "guard"}
    train(recipe(tmp_path, **plain, loss={}), tmp_path / "plain")
    for name, table in (("dry", {"dry_run": True}), ("off", {"enabled": False})):
        train(recipe(tmp_path, **plain, guard=table), tmp_path / name)
        assert same_bits(weights_of(tmp_path / name / "model"), weights_of(tmp_path / "plain" / "model"))


def test_killed_and_resumed_it_goes_back_to_the_same_bits(tmp_path: Path) -> None:
    """The state of before the kill is found again, and what the killed process kept later is not."""
    made = recipe(tmp_path, **TABLES)
    train(made, tmp_path / "whole", begin=break_at(9))

    def killed() -> None:
        def hang(trainer: Trainer) -> None:
            check = trainer.checkpoint

            def die() -> None:
                check()
                if trainer.step == 8:
                    trainer.schedule = None  # type: ignore[assignment]

            trainer.checkpoint = die  # type: ignore[method-assign]

        train(made, tmp_path / "cut", begin=hang)

    assert ended(in_child(killed)) == 1
    done = train(made, tmp_path / "cut", resume=True, begin=break_at(9))
    assert done.resumed_at == 8
    assert same_bits(weights_of(tmp_path / "cut" / "model"), weights_of(tmp_path / "whole" / "model"))
    whole, cut = (read_events(tmp_path / name / "guard" / "events.jsonl") for name in ("whole", "cut"))
    assert whole == cut


def broken_at_9(rank: int, made: Recipe, out: Path) -> None:
    train(made, out, begin=break_at(9))


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_go_back_together(tmp_path: Path, kind: str) -> None:
    made = recipe(tmp_path, **{**TABLES, "run": {"parallel": kind, "checkpoint_every": 0, "batch_rows": 2}})
    together(partial(broken_at_9, made=made, out=tmp_path / "pair"))
    logs = [read_events(tmp_path / "pair" / "guard" / name / "events.jsonl") for name in ("", "rank-1")]
    assert logs[0] == logs[1]
    (back,) = [event for event in logs[0] if event["kind"] == "roll_back"]
    train(recipe(tmp_path, **{**TABLES, "run": {"checkpoint_every": 0}}), tmp_path / "alone", begin=break_at(9))
    (alone,) = [
        event for event in read_events(tmp_path / "alone" / "guard" / "events.jsonl") if event["kind"] == "roll_back"
    ]
    assert back == alone
    # Rows are the same ones: two processes of two are one of four.
    expected, found = (weights_of(tmp_path / name / "model") for name in ("alone", "pair"))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-4, rtol=0)


def test_who_stopped_it_is_in_the_outcome(tmp_path: Path) -> None:
    def hang(trainer: Trainer) -> None:
        guard = trainer.guard
        assert isinstance(guard, Guard)
        ask = guard.before_step
        guard.before_step = lambda loss, **more: ask(float("nan") if trainer.step >= 6 else loss, **more)  # type: ignore[method-assign]

    done = train(recipe(tmp_path, **TABLES), tmp_path / "out", begin=hang)
    assert not done.outcome.finished
    assert done.outcome.cause.startswith("not_finite")
    report = json.loads((tmp_path / "out" / "guard" / "report.json").read_text())
    assert report["stopped"] == done.outcome.cause


def test_unknown_keys_of_the_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="spike_sigma"):
        recipe(tmp_path, guard={"spike_sigmas": 5})
    with pytest.raises(UsageError, match="window"):
        recipe(tmp_path, guard={"window": -1})
