"""Each detector on made-up signals: it fires on what it is for, in time, and not on healthy noise."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from overwinter.learn.stability import Alarm, GuardConfig, History, Reading, build_detectors

Signals = Callable[[int, np.random.Generator], Mapping[str, float]]


def healthy(step: int, draw: np.random.Generator) -> dict[str, float]:
    """A run of reinforcement learning that goes well: success rises slowly, entropy and length settle."""
    skill = 1 / (1 + np.exp(-(step - 400) / 120))
    return {
        "loss": draw.normal(0, 0.05),
        "gradient_norm": float(draw.lognormal(-1, 0.3)),
        "lr": 1e-3,
        "reward": skill + draw.normal(0, 0.08),
        "success": float(np.clip(0.1 + 0.75 * skill + draw.normal(0, 0.08), 0, 1)),
        "reward_std": 0.45 - 0.2 * skill + draw.normal(0, 0.03),
        "entropy": 1.2 - 0.7 * skill + draw.normal(0, 0.02),
        "kl": 0.02 * skill + abs(draw.normal(0, 0.003)),
        "length": 60 + 15 * skill + draw.normal(0, 3),
        "valid_ratio": float(np.clip(0.93 + draw.normal(0, 0.03), 0, 1)),
        "zero_variance_share": float(np.clip(0.25 + draw.normal(0, 0.1), 0, 1)),
        "cap_hit_share": float(np.clip(0.05 + draw.normal(0, 0.02), 0, 1)),
        "ess_share": 0.97,
        "weight_mean": 1.0,
        "silent_share": 0.0,
        "mixed_group_share": 0.0,
        "duplicate_share": 0.0,
        "staleness": 1.0,
    }


def watch(signals: Signals, steps: int, *, seed: int = 0, loss_margin: float | None = None) -> list[tuple[int, Alarm]]:
    config = GuardConfig(loss_margin=loss_margin)
    history = History(config.window, config.window_least, config.spike_sigma)
    detectors, draw, found = build_detectors(config), np.random.default_rng(seed), []
    for step in range(1, steps + 1):
        values = signals(step, draw)
        reading = Reading(step=step, values=values, z=history.z(values), history=history)
        found += [(step, alarm) for detector in detectors if (alarm := detector.observe(reading)) is not None]
        history.push(values)
    return found


@pytest.mark.parametrize("seed", range(2))
def test_healthy_noise_raises_nothing(seed: int) -> None:
    assert watch(healthy, 700, seed=seed) == []


def spoilt(**bad: Callable[[int, float], float]) -> Signals:
    """From step 301 on; the functions see the steps since and the healthy value."""

    def signals(step: int, draw: np.random.Generator) -> dict[str, float]:
        values = healthy(min(step, 300), draw)
        if step > 300:
            values |= {name: change(step - 300, values[name]) for name, change in bad.items()}
        return values

    return signals


FAULTS: dict[str, tuple[Signals, str, int]] = {
    "loss spike": (spoilt(loss=lambda t, v: v + 5), "spike.loss", 1),
    "gradient spike": (spoilt(gradient_norm=lambda t, v: 1e6), "spike.gradient_norm", 1),
    "nan": (spoilt(loss=lambda t, v: float("nan")), "not_finite", 1),
    "entropy runs away": (spoilt(entropy=lambda t, v: v * 1.03**t), "drift.entropy", 20),
    "entropy collapses": (spoilt(entropy=lambda t, v: v * 0.93**t), "drift.entropy", 20),
    "kl runs away": (spoilt(kl=lambda t, v: v + 0.002 * 1.2**t), "drift.kl", 20),
    "length runs away": (spoilt(length=lambda t, v: v * 1.06**t), "length_runaway", 25),
    "echo trap": (
        spoilt(entropy=lambda t, v: v * 0.95**t, reward_std=lambda t, v: v * 0.93**t),
        "collapse",
        28,
    ),
    "format": (spoilt(valid_ratio=lambda t, v: v - 0.2), "format_collapse", 3),
    "nothing to learn": (spoilt(zero_variance_share=lambda t, v: 1.0), "dead_learning", 3),
    "reward turned round": (spoilt(reward=lambda t, v: -v - 1), "jump.reward", 3),
    "reward leaks": (spoilt(reward=lambda t, v: v + 2), "jump.reward", 3),
    "environment cut short": (spoilt(cap_hit_share=lambda t, v: 1.0), "jump.cap_hit_share", 3),
    "silent": (spoilt(silent_share=lambda t, v: 0.5), "level.silent_share", 3),
    "mixed groups": (spoilt(mixed_group_share=lambda t, v: 0.25), "level.mixed_group_share", 3),
    "stale": (spoilt(ess_share=lambda t, v: 0.1), "level.ess_share", 3),
    "far off": (spoilt(weight_mean=lambda t, v: 3.0), "level.weight_mean", 3),
    "learning rate": (spoilt(lr=lambda t, v: 30 * v), "lr_jump", 1),
    "success is lost": (spoilt(success=lambda t, v: max(0.0, v - 0.01 * t)), "success_fell", 30),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_by_its_detector_in_time(name: str) -> None:
    signals, detector, within = FAULTS[name]
    found = watch(signals, 330)
    first = next((step for step, alarm in found if alarm.detector == detector), None)
    assert first is not None, found[:3]
    assert 300 < first <= 300 + within
    assert min(step for step, _ in found) > 300
    since = next(alarm.since for _, alarm in found if alarm.detector == detector)
    assert since <= first
    json.dumps(dict(found[0][1].evidence))


REMEDIES = {
    "success is gone": (spoilt(success=lambda t, v: v - 0.9), "jump.success", "skip", True),
    "success comes at once": (spoilt(success=lambda t, v: v + 0.6), "jump.success", "tell", False),
    "reward with a witness": (spoilt(reward=lambda t, v: v + 2), "jump.reward", "tell", False),
    "reward became constant": (spoilt(zero_variance_share=lambda t, v: 1.0), "dead_learning", "hold", False),
    "nearly constant": (spoilt(zero_variance_share=lambda t, v: 0.9), "dead_learning", "tighten", False),
    "a loss far off": (spoilt(loss=lambda t, v: v + 5), "spike.loss", "skip", True),
    "a loss off": (spoilt(loss=lambda t, v: 0.42), "spike.loss", "skip", False),
    "a long gradient": (spoilt(gradient_norm=lambda t, v: 1e6), "spike.gradient_norm", "skip", False),
    "mixed groups": (spoilt(mixed_group_share=lambda t, v: 0.25), "level.mixed_group_share", "tell", False),
    "stale": (spoilt(staleness=lambda t, v: 99.0), "level.staleness", "hold", False),
}


@pytest.mark.parametrize("name", REMEDIES)
def test_what_is_asked_for_depends_on_what_could_help(name: str) -> None:
    signals, detector, remedy, grave = REMEDIES[name]
    alarm = next(alarm for _, alarm in watch(signals, 310, loss_margin=0.5) if alarm.detector == detector)
    assert (alarm.remedy, alarm.grave) == (remedy, grave)


def test_what_is_held_is_refused_at_every_step() -> None:
    found = [step for step, alarm in watch(spoilt(staleness=lambda t, v: 99.0), 330) if alarm.remedy == "hold"]
    assert found == list(range(303, 331))


def test_a_reward_without_a_witness_tightens() -> None:
    def alone(step: int, draw: np.random.Generator) -> dict[str, float]:
        return {
            name: value for name, value in spoilt(reward=lambda t, v: v + 2)(step, draw).items() if name != "success"
        }

    assert next(alarm.remedy for _, alarm in watch(alone, 310)) == "tighten"


def test_two_points_are_no_trend() -> None:
    bad = {"valid_ratio": 0.1, "zero_variance_share": 1.0, "silent_share": 1.0, "ess_share": 0.0, "weight_mean": 9.0}
    changes = {name: lambda t, v, worst=worst: worst if t % 3 else v for name, worst in bad.items()}
    assert watch(spoilt(**changes), 340) == []


def test_one_outlier_and_the_way_back_are_no_jump() -> None:
    assert watch(spoilt(reward=lambda t, v: v + (3 if t == 5 else 0)), 360) == []


def test_what_falls_while_success_rises_is_learning() -> None:
    falling = {"entropy": lambda t, v: v * 0.93**t, "reward_std": lambda t, v: v * 0.9**t}
    assert watch(spoilt(**falling), 330)
    assert watch(spoilt(**falling, success=lambda t, v: min(1.0, v + 0.03 * t)), 330) == []


def test_all_solved_is_not_dead() -> None:
    solved = spoilt(zero_variance_share=lambda t, v: 1.0, success=lambda t, v: 1.0)
    assert "dead_learning" not in [alarm.detector for step, alarm in watch(solved, 400) if step > 310]


def test_a_steady_ramp_is_no_drift() -> None:
    assert watch(spoilt(entropy=lambda t, v: v - 0.0005 * t), 600) == []


def test_outputs_grow_in_every_training_that_begins_and_later_in_sick_ones() -> None:
    def looked_at(late: float) -> list[int]:
        def signals(step: int, draw: np.random.Generator) -> dict[str, float]:
            if step % 50:
                return {}
            early = 1.0 + min(step, 1000) / 200
            return {"output_rms": early * late ** (max(0, step - 1000) / 1000) * float(np.exp(draw.normal(0, 0.03)))}

        return [step for step, alarm in watch(signals, 2600) if alarm.detector == "rms_growth"]

    assert looked_at(late=1.5) == []
    assert looked_at(late=3.0)[0] == 2100


def test_a_gradient_that_hardly_varies_may_be_half_as_long_again() -> None:
    def steady(norm: float) -> list[str]:
        def signals(step: int, draw: np.random.Generator) -> dict[str, float]:
            return {
                "loss": 2.5 + draw.normal(0, 0.05),
                "gradient_norm": norm if step == 200 else 0.6 + draw.normal(0, 0.03),
            }

        return [alarm.detector for _, alarm in watch(signals, 210)]

    assert steady(0.95) == []
    assert steady(2.0) == ["spike.gradient_norm"]


def test_a_loss_that_stays_high_is_found_and_falling_is_not() -> None:
    def loss(step: int, draw: np.random.Generator) -> dict[str, float]:
        return {"loss": 2 + 2 * float(np.exp(-step / 50)) + draw.normal(0, 0.05) + 0.012 * max(0, step - 300)}

    found = watch(loss, 420, loss_margin=0.5)
    assert found[0][1].detector == "loss_above_best"
    assert watch(loss, 300, loss_margin=0.5) == []


def test_a_first_success_after_long_silence_is_no_spike() -> None:
    """Gradients that were zero for a window are not what is usual."""
    from guard_kit import FAST, Training

    training = Training(GuardConfig(**FAST))
    for _ in range(60):
        assert training.step(spoil_loss=lambda loss: loss * 0).go
    assert training.step(spoil_loss=lambda loss: loss * 0 + loss - loss.detach()).go


def test_states_are_json_and_go_on() -> None:
    signals = spoilt(entropy=lambda t, v: v * 0.93**t, valid_ratio=lambda t, v: v - 0.2)
    config = GuardConfig(loss_margin=0.5)
    whole = build_detectors(config)
    history, draw = History(128, 64, 6.0), np.random.default_rng(0)
    ends: list[list[str]] = []
    for step in range(1, 320):
        values = signals(step, draw)
        reading = Reading(step=step, values=values, z=history.z(values), history=history)
        if step == 302:
            halves = build_detectors(config)
            for old, new in zip(whole, halves, strict=True):
                new.load_state_dict(json.loads(json.dumps(old.state_dict())))
        now = [alarm.detector for detector in whole if (alarm := detector.observe(reading))]
        if step >= 302:
            ends.append(now)
            again = [alarm.detector for detector in halves if (alarm := detector.observe(reading))]
            assert now == again
        history.push(values)
    assert any(ends)
