"""The guard around a bare loop: what it prevents, what it restores, what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from guard_kit import FAST, Training, same

from overwinter.errors import UsageError
from overwinter.learn.stability import Guard, GuardConfig, Incident, Snapshot, read_events, replay

NAN, HUGE = float("nan"), 1e6


def kinds(training: Training) -> list[str]:
    assert training.guard is not None
    return [event["kind"] for event in training.guard.log.events if event["kind"] not in ("clip", "alarm")]


@pytest.mark.parametrize("config", [GuardConfig(enabled=False), GuardConfig(**FAST, dry_run=True)])
def test_off_and_dry_run_keep_every_bit(config: GuardConfig) -> None:
    ends = []
    for guarded in (False, True):
        training = Training(config, guarded=guarded)
        for at in range(60):
            spoil = (lambda grad: grad * HUGE) if at in (30, 31, 32, 50) else None
            assert training.step(spoil_gradient=spoil).go
        ends.append(training.bits())
    assert same(*ends)
    assert training.guard is not None
    assert bool(training.guard.log.of("would_skip")) is config.enabled


def test_a_guard_that_has_nothing_to_do_is_torch_with_clipping() -> None:
    bare = Training(guarded=False)
    for _ in range(40):
        loss = bare.loss_of(bare.model, bare.batch())
        bare.cursor += 1
        bare.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(bare.model.parameters(), 1.0)
        bare.optimizer.step()
    expected = bare.bits()
    guarded = Training(GuardConfig(**FAST | {"max_norm": 1.0, "zclip": False}))
    assert all(verdict.go for verdict in guarded.run(40))
    assert same(guarded.bits(), expected)


@pytest.mark.parametrize(
    ("spoil_loss", "spoil_gradient", "cause"),
    [
        (lambda loss: loss * NAN, None, "not_finite"),
        (None, lambda grad: grad * NAN, "not_finite"),
        (None, lambda grad: grad * HUGE, "spike.gradient_norm"),
        (lambda loss: loss * 100, None, "spike.loss"),
    ],
)
def test_a_bad_step_is_skipped_and_touches_nothing(spoil_loss, spoil_gradient, cause) -> None:
    training = Training()
    training.run(30)
    training.cursor += 1
    before = training.bits()[:-3]
    training.cursor -= 1
    verdict = training.step(spoil_loss=spoil_loss, spoil_gradient=spoil_gradient)
    assert verdict.action == "skip"
    assert verdict.cause == cause
    assert same(training.bits()[:-3], before)
    # A loop that does not listen changes nothing either.
    training.optimizer.step()
    assert same(training.bits()[:-3], before)
    assert training.step().go
    assert kinds(training) == ["skip"]


def test_one_huge_value_does_not_hide_the_next() -> None:
    training = Training()
    training.run(30)
    assert training.step(spoil_gradient=lambda grad: grad * HUGE).action == "skip"
    training.run(5)
    assert training.step(spoil_gradient=lambda grad: grad * 100).action == "skip"


def test_a_rollback_restores_every_bit_and_skips_the_batches() -> None:
    training = Training()
    guard = training.guard
    assert guard is not None
    kept = None
    while guard.step < 35:
        training.step()
        if guard.shelf.steps[-1] == guard.step:
            kept = training.bits()
    assert kept is not None
    to = guard.shelf.steps[-1]
    verdicts = [training.step(spoil_loss=lambda loss: loss * NAN) for _ in range(2)]
    cursor = training.cursor
    batch, saved = training.batch(), training.cursor
    loss = training.loss_of(training.model, batch) * NAN
    training.cursor = saved + 1
    loss.backward()
    last = guard.before_step(loss)
    assert [each.action for each in (*verdicts, last)] == ["skip", "skip", "rolled_back"]
    assert same(training.bits(), kept)
    assert last.skip_batches == guard.step - to == cursor + 1 - training.cursor
    assert guard.lr_scale == pytest.approx(0.7)
    (event,) = guard.log.of("roll_back")
    assert event["to"] == to
    assert event["cause"].startswith("not_finite")
    training.cursor += last.skip_batches
    assert training.step().go
    assert training.optimizer.param_groups[0]["lr"] == 1e-2


def test_a_rollback_goes_behind_the_beginning_of_the_evidence() -> None:
    training = Training(
        GuardConfig(**FAST | {"loss_margin_steps": 25, "points": 3, "spike_sigma": 1e9, "zclip": False})
    )
    training.run(40)
    for _ in range(60):
        verdict = training.step(spoil_loss=lambda loss: loss + 3)
        if not verdict.go:
            break
    assert verdict.cause == "loss_above_best"
    assert training.guard is not None
    (event,) = training.guard.log.of("roll_back")
    assert event["to"] < event["since"] <= 42


def test_rungs_are_climbed_in_order_and_the_last_is_a_report(tmp_path: Path) -> None:
    training = Training(folder=tmp_path)
    training.run(30)
    actions = []
    for _ in range(60):
        actions.append(training.step(spoil_loss=lambda loss: loss * NAN).action)
        if actions[-1] == "stop":
            break
    assert actions == ["skip", "skip", "rolled_back"] * 3 + ["skip", "skip", "stop"]
    assert training.step().action == "stop"
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["rollbacks"] == 3
    assert "not_finite" in report["stopped"]
    assert "not_finite" in (tmp_path / "report.md").read_text()
    events = read_events(tmp_path / "events.jsonl")
    assert [event["kind"] for event in events].count("roll_back") == 3
    alarm = next(event for event in events if event["kind"] == "alarm")
    assert alarm["detector"] == "not_finite"
    assert alarm["evidence"] == {"loss": "nan", "gradient_norm": "nan"}
    assert all(torch.isfinite(parameter).all() for parameter in training.model.parameters())


def test_a_trend_tightens_first_and_gives_the_rate_back() -> None:
    training = Training(GuardConfig(**FAST | {"tighten_steps": 12}))
    guard = training.guard
    assert guard is not None
    used: list[float] = []
    step = training.optimizer.step
    training.optimizer.step = lambda: (used.append(training.optimizer.param_groups[0]["lr"]), step())[1]
    for _ in range(20):
        training.step(signals={"valid_ratio": 0.9})
    for _ in range(3):
        training.step(signals={"valid_ratio": 0.5})
        assert training.optimizer.param_groups[0]["lr"] == 1e-2
    assert used[-2:] == [1e-2, 5e-3]
    assert guard.coefficient_scale == 2
    training.run(12)
    assert used[-1] == 1e-2
    assert guard.coefficient_scale == 1
    assert kinds(training) == ["tighten"]


def test_a_trend_that_tightening_did_not_stop_rolls_back() -> None:
    training = Training()
    for _ in range(20):
        training.step(signals={"valid_ratio": 0.9})
    for _ in range(40):
        verdict = training.step(signals={"valid_ratio": 0.2})
        if not verdict.go:
            break
    assert verdict.cause == "format_collapse, in spite of tightening"
    assert kinds(training)[:2] == ["tighten", "roll_back"]


def test_its_own_state_is_json_and_resumes() -> None:
    whole, first = Training(), Training()
    for training in (whole, first):
        training.run(30)
        training.step(spoil_loss=lambda loss: loss * 100)
    assert first.guard is not None
    state = json.loads(json.dumps(first.guard.state_dict()))
    first.guard = Guard(first.model, first.optimizer, GuardConfig(**FAST), save=first.save, load=first.load)
    first.guard.load_state_dict(state)
    for training in (whole, first):
        training.rest = [
            training.step(spoil_gradient=(lambda grad: grad * HUGE) if at == 5 else None).action for at in range(20)
        ]
    assert whole.rest == first.rest
    assert "skip" in whole.rest
    assert whole.guard is not None
    torch.manual_seed(0)
    assert first.guard.state_dict()["ladder"] == whole.guard.state_dict()["ladder"]
    with pytest.raises(UsageError, match="format"):
        first.guard.load_state_dict({"format": 99})


def test_snapshots_in_a_folder_are_the_same_and_are_found_again(tmp_path: Path) -> None:
    training = Training(folder=tmp_path)
    guard = training.guard
    assert guard is not None
    training.run(45)
    assert guard.shelf.steps == [21, 31, 41]
    names = {path.name for path in (tmp_path / "snapshots" / "step-000000041").iterdir()}
    assert names == {"state.json", "state.safetensors"}
    kept = training.bits()
    guard.checkpoint()
    training.run(3)
    again = Guard(training.model, training.optimizer, GuardConfig(**FAST), folder=tmp_path)
    assert again.shelf.steps == [31, 41, 45]
    snapshot = again.shelf.before(46)
    assert snapshot is not None
    snapshot.restore(training.model, (training.optimizer,))
    training.load(snapshot.extra["loop"])
    assert same(training.bits(), kept)


def test_moments_keep_their_type() -> None:
    model = torch.nn.Linear(3, 3).bfloat16()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model(torch.randn(2, 3).bfloat16()).sum().backward()
    optimizer.step()
    for state in optimizer.state.values():
        state["exp_avg"] = state["exp_avg"].float() + 1e-5
    snapshot = Snapshot.take(1, model, (optimizer,))
    kept = [state["exp_avg"].clone() for state in optimizer.state.values()]
    for state in optimizer.state.values():
        state["exp_avg"] = state["exp_avg"] * 2
    snapshot.restore(model, (optimizer,))
    assert same([state["exp_avg"] for state in optimizer.state.values()], kept)


def test_the_batch_of_an_alarm_replays_to_the_bit(tmp_path: Path) -> None:
    training = Training(folder=tmp_path)
    training.run(30)
    x_BD, y_B1 = training.batch()
    training.batch = lambda: (x_BD, y_B1 * 100)
    verdict = training.step()
    assert verdict.action == "skip"
    del training.batch
    training.run(5)
    (folder,) = (tmp_path / "incidents").iterdir()
    before, drawn = training.bits(), torch.get_rng_state()
    result = replay(Incident.read(folder), training.model, training.loss_of)
    assert result.same
    assert result.loss > 1000
    assert set(result.by_group) == {"matrix", "vector"}
    assert same(training.bits(), before)
    assert torch.equal(torch.get_rng_state(), drawn)


def test_samples_that_are_no_numbers_are_dropped_and_told() -> None:
    training = Training()
    guard = training.guard
    assert guard is not None
    keep_R = guard.screen(
        {"reward": torch.tensor([1.0, NAN, 0.0]), "logprob": torch.tensor([[0.0], [0.0], [float("inf")]])}
    )
    assert keep_R.tolist() == [True, False, False]
    (event,) = guard.log.of("drop_samples")
    assert event["columns"] == {"reward": 1, "logprob": 1}
    # Two thirds of a batch are more than a batch can lose.
    assert training.step().cause == "not_finite"
    dry = Guard(training.model, training.optimizer, GuardConfig(dry_run=True))
    assert dry.screen({"reward": torch.tensor([1.0, NAN])}).all()


def test_options_that_make_no_sense_are_refused() -> None:
    for wrong in ({"window": -1}, {"dry_run": 1}, {"window_least": 300}, {"zclip_alpha": NAN}, {"max_rollbacks": 1.5}):
        with pytest.raises(UsageError):
            GuardConfig(**wrong)
    training = Training()
    with pytest.raises(UsageError, match="pairs"):
        Guard(training.model, training.optimizer, save=training.save)
