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


def hurt(training: Training) -> None:
    """What a flipped bit or a wild update does."""
    with torch.no_grad():
        training.model[3].weight.mul_(30)


def test_a_stretch_of_bad_batches_costs_nothing_but_its_steps() -> None:
    """Ten in a row: nothing was applied, so there is nothing to go back for, and the rate stays what it was."""
    training = Training()
    training.run(40)
    spared = Training()
    spared.run(40)
    guard = training.guard
    assert guard is not None
    random = torch.get_rng_state()
    for at in range(10):
        spoil = (lambda loss: loss * 100) if at % 2 else (lambda loss: loss * NAN)
        assert training.step(spoil_loss=spoil).action == "skip"
    assert guard.lr_scale == 1
    assert guard.log.of("roll_back") == guard.log.of("tighten") == []
    # From here on it is the training that never saw them.
    training.cursor = spared.cursor
    ends = []
    for each in (training, spared):
        torch.set_rng_state(random)
        assert all(verdict.go for verdict in each.run(10))
        ends.append(each.bits())
    assert same(*ends)


def test_a_gradient_that_stays_long_is_taken_at_the_usual_length() -> None:
    """Clipping digests it, so it must not freeze the training: a few are refused, then they are clipped and taken with care."""
    training = Training()
    training.run(40)
    verdicts = [training.step(spoil_gradient=lambda grad: grad * HUGE) for _ in range(20)]
    assert [verdict.action for verdict in verdicts[:6]] == ["skip"] * 5 + ["go"]
    assert all(verdict.clip < 1e-3 for verdict in verdicts if verdict.go)
    assert not any(verdict.action in ("rolled_back", "stop") for verdict in verdicts)


def test_a_rollback_restores_every_bit_and_skips_the_batches() -> None:
    training = Training()
    guard = training.guard
    assert guard is not None
    kept: dict[int, list[torch.Tensor]] = {}
    while guard.step < 45:
        training.step()
        if guard.shelf.steps[-1] == guard.step:
            kept[guard.step] = training.bits()
    hurt(training)
    for _ in range(2):
        assert training.step().action == "skip"
    batch, cursor = training.batch(), training.cursor + 1
    training.cursor = cursor
    loss = training.loss_of(training.model, batch)
    loss.backward()
    last = guard.before_step(loss)
    assert last.action == "rolled_back"
    (event,) = guard.log.of("roll_back")
    # The newest that twenty quiet steps have confirmed.
    to = max(step for step in kept if step <= 25)
    assert event["to"] == to
    assert "moved" in event["cause"]
    assert same(training.bits(), kept[to])
    assert last.skip_batches == guard.step - to == cursor - training.cursor
    assert guard.lr_scale == pytest.approx(0.5)
    training.cursor += last.skip_batches
    assert training.step().go
    assert training.optimizer.param_groups[0]["lr"] == 1e-2


def test_the_rate_comes_back_after_one_rollback_and_not_after_a_relapse() -> None:
    training = Training(GuardConfig(**FAST | {"rollback_steps": 12}))
    guard = training.guard
    assert guard is not None
    training.run(50)
    hurt(training)
    while not guard.log.of("roll_back"):
        training.step()
    assert guard.lr_scale == 0.5
    training.run(13)
    assert guard.lr_scale == 1
    hurt(training)
    while len(guard.log.of("roll_back")) < 2:
        training.step()
    training.run(20)
    assert guard.lr_scale == pytest.approx(0.3)


def test_after_a_rollback_the_rate_does_not_exceed_that_of_the_healthy_state() -> None:
    training = Training(GuardConfig(**FAST | {"lr_jump": 1e9}))
    guard = training.guard
    assert guard is not None
    training.run(50)
    training.optimizer.param_groups[0]["lr"] = 10.0
    while not guard.log.of("roll_back"):
        training.step()
    # The schedule insists; what is lent stays.
    training.optimizer.param_groups[0]["lr"] = 10.0
    assert guard.lr_scale == pytest.approx(0.5 * 1e-2 / 10.0)


def test_weights_that_are_no_numbers_are_given_up_at_once() -> None:
    training = Training()
    training.run(45)
    with torch.no_grad():
        next(training.model.parameters())[0, 0] = NAN
    assert training.step().action == "rolled_back"
    assert all(torch.isfinite(parameter).all() for parameter in training.model.parameters())


def test_a_training_that_never_got_going_begins_anew_with_a_tenth_of_the_rate() -> None:
    training = Training(GuardConfig(**FAST | {"window": 500, "window_least": 400, "loss_margin": 0.5}))
    first = [parameter.detach().clone() for parameter in training.model.parameters()]
    guard = training.guard
    assert guard is not None
    training.optimizer.param_groups[0]["lr"] = 30.0
    for _ in range(60):
        if training.step().action == "rolled_back":
            break
    assert guard.log.of("roll_back")[0]["to"] == 0
    assert same(list(training.model.parameters()), first)
    assert guard.pace.for_good == pytest.approx(0.1)


def test_a_learning_rate_that_jumps_is_held_at_the_highest_before() -> None:
    training = Training()
    used: list[float] = []
    step = training.optimizer.step
    training.optimizer.step = lambda: (used.append(training.optimizer.param_groups[0]["lr"]), step())[1]
    training.run(40)
    training.optimizer.param_groups[0]["lr"] = 3.0
    training.run(3)
    assert used[-3:] == pytest.approx([1e-2] * 3)
    assert training.optimizer.param_groups[0]["lr"] == 3.0
    training.optimizer.param_groups[0]["lr"] = 2e-2  # twice as high is a schedule's business
    training.run(1)
    assert used[-1] == 2e-2


def test_a_probe_says_whose_fault_refusals_are() -> None:
    for damaged in (False, True):
        training = Training(GuardConfig(**FAST | {"weight_jump": 1e9}))
        guard = training.guard
        assert guard is not None
        known = training.batch()
        guard.probe = lambda training=training, known=known: float(training.loss_of(training.model.eval(), known))
        training.run(50)
        training.model.train()
        if damaged:
            hurt(training)
        actions = [training.step(spoil_loss=lambda loss: loss * 100).action for _ in range(3)]
        assert actions == ["skip", "skip", "rolled_back" if damaged else "skip"]


def test_changed_data_are_waited_out_then_doubted_then_tried() -> None:
    training = Training(GuardConfig(**FAST | {"hold_steps": 8, "probation_steps": 30, "loss_margin_steps": 60}))
    guard = training.guard
    assert guard is not None
    training.run(60)
    verdicts = [training.step(spoil_loss=lambda loss: loss + 1.2) for _ in range(60)]
    assert kinds(training) == ["skip"] * 8 + ["roll_back"] + ["skip"] * 8 + ["tighten", "probation"]
    # What stays and can be worked with is what is usual from then on.
    assert all(verdict.go for verdict in verdicts[17:])
    assert not guard.ladder.on_probation(guard.step)


def test_who_says_that_the_data_change_is_believed() -> None:
    training = Training()
    training.run(60)
    assert training.guard is not None
    training.guard.accept()
    assert all(training.step(spoil_loss=lambda loss: loss + 3).go for _ in range(20))


def test_a_rollback_goes_behind_the_beginning_of_the_evidence() -> None:
    training = Training(
        GuardConfig(**FAST | {"loss_margin_steps": 25, "points": 3, "spike_sigma": 1e9, "zclip": False})
    )
    training.run(40)
    for _ in range(60):
        verdict = training.step(spoil_loss=lambda loss: loss + 1)
        if not verdict.go:
            break
    assert verdict.cause == "loss_above_best"
    assert training.guard is not None
    (event,) = training.guard.log.of("roll_back")
    assert event["to"] < event["since"] <= 42


def test_rungs_are_climbed_in_order_and_the_last_is_a_report(tmp_path: Path) -> None:
    training = Training(GuardConfig(**FAST | {"hold_steps": 4}), folder=tmp_path)
    training.run(50)
    actions = []
    for _ in range(60):
        actions.append(training.step(spoil_loss=lambda loss: loss * NAN).action)
        if actions[-1] == "stop":
            break
    assert actions == ["skip"] * 4 + ["rolled_back"] + ["skip"] * 4 + ["stop"]
    assert training.step().action == "stop"
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["rollbacks"] == 1
    assert "not_finite" in report["stopped"]
    assert "not_finite" in (tmp_path / "report.md").read_text()
    events = read_events(tmp_path / "events.jsonl")
    assert [event["kind"] for event in events].count("roll_back") == 1
    alarm = next(event for event in events if event["kind"] == "alarm")
    assert alarm["detector"] == "not_finite"
    assert alarm["evidence"] == {"loss": "nan", "gradient_norm": "nan"}
    assert all(torch.isfinite(parameter).all() for parameter in training.model.parameters())


def test_rollbacks_of_long_ago_are_forgiven() -> None:
    training = Training(GuardConfig(**FAST | {"max_rollbacks": 1, "rollback_span": 60}))
    guard = training.guard
    assert guard is not None
    for count in (1, 2):
        training.run(70)
        hurt(training)
        while len(guard.log.of("roll_back")) < count and not guard.ladder.stopped:
            training.step()
    assert not guard.ladder.stopped
    hurt(training)
    assert [training.step().action for _ in range(3)][-1] == "stop"


def test_a_reward_that_jumps_is_told_and_its_victim_convicts_it() -> None:
    """Leaked and harmless, it may go on; when success is lost after it, it is refused, and the state from before is back."""
    calm = {"reward": 0.5, "success": 0.6}

    def noisy(training: Training, **means: float) -> dict[str, float]:
        draw = torch.Generator().manual_seed(len(training.seen))
        return {name: value + 0.05 * float(torch.randn((), generator=draw)) for name, value in means.items()}

    harmless, harmful = (Training(GuardConfig(**FAST | {"loss_margin": None, "hold_steps": 10})) for _ in range(2))
    for training in (harmless, harmful):
        for _ in range(60):
            training.step(signals=noisy(training, **calm))
    for at in range(60):
        assert harmless.step(signals=noisy(harmless, reward=1.5, success=0.6)).go
        harmful.step(signals=noisy(harmful, reward=1.5, success=max(0.0, 0.6 - 0.02 * at)))
    assert harmless.guard is not None
    assert harmful.guard is not None
    assert kinds(harmless) == []
    assert [event["detector"] for event in harmless.guard.log.of("alarm")] == ["jump.reward"]
    (event,) = harmful.guard.log.of("roll_back")
    assert event["cause"] == "success_fell"
    assert event["to"] < 60
    assert harmful.guard.log.of("skip")[-1]["cause"] == "jump.reward"
    assert harmful.guard.ladder.stopped.startswith("jump.reward")


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
    assert guard.shelf.steps == [0, 20, 30, 40]
    names = {path.name for path in (tmp_path / "snapshots" / "step-000000040").iterdir()}
    assert names == {"state.json", "state.safetensors"}
    kept = training.bits()
    guard.checkpoint()
    training.run(3)
    again = Guard(training.model, training.optimizer, GuardConfig(**FAST), folder=tmp_path)
    assert again.shelf.steps == guard.shelf.steps
    assert again.shelf.steps[-1] == 45
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
