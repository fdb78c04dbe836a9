"""Two gloo processes with a guard each: what one rank alone sees, both act upon."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from guard_kit import FAST, Training

import group_kit
from overwinter.errors import UsageError
from overwinter.learn.stability import Guard, GuardConfig, gather_over
from overwinter.learn.stability.together import agreed


class Shared(Training):
    """Data parallel by hand: gradients are averaged, losses are each rank's own."""

    def __init__(self, rank: int, *, together: bool, folder: Path | None = None) -> None:
        super().__init__(guarded=False)
        self.guard = Guard(
            self.model,
            self.optimizer,
            GuardConfig(**FAST),
            save=self.save,
            load=self.load,
            folder=folder,
            gather=gather_over() if together else None,
        )
        self.rank = rank
        for parameter in self.model.parameters():
            parameter.register_hook(self.average)

    def average(self, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        torch.distributed.all_reduce(gradient)
        return gradient / 2


def trained(rank: int, out: Path, *, together: bool) -> None:
    """Loss spikes, samples that are no numbers and a broken weight, on rank 1 alone."""
    torch.distributed.init_process_group("gloo")
    training = Shared(rank, together=together)
    assert training.guard is not None
    mine = rank == 1
    actions = []
    for at in range(60):
        if mine and at == 33:
            training.guard.screen({"reward": torch.tensor([1.0, float("nan"), float("nan"), float("nan")])})
        if mine and at == 50:
            with torch.no_grad():
                training.model[3].weight[0, 0] = float("nan")
        scale = 100.0 if mine and at == 30 else 1.0
        verdict = training.step(spoil_loss=lambda loss, scale=scale: loss.detach() * (scale - 1) + loss)
        actions.append(verdict.action)
    weights = torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()])
    (out / f"{rank}.json").write_text(json.dumps({"actions": actions, "weights": weights.tolist()}))


def outcomes(out: Path, *, together: bool) -> list[dict[str, list[float]]]:
    group_kit.together(partial(trained, out=out, together=together))
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


def test_ranks_decide_alike(tmp_path: Path) -> None:
    one, other = outcomes(tmp_path, together=True)
    assert one["actions"] == other["actions"]
    assert one["actions"][30] == "skip"
    assert one["actions"][50] == "rolled_back"
    assert one["weights"] == other["weights"]


def test_without_agreement_they_would_not(tmp_path: Path) -> None:
    """What the test above would miss if the ranks agreed by themselves."""
    one, other = outcomes(tmp_path, together=False)
    assert one["actions"] != other["actions"]
    assert one["weights"] != other["weights"]


def fake(other: Sequence[float]) -> Callable[[Sequence[float]], list[list[float]]]:
    """A second rank that always has the same to say; it measures what the first does."""
    return lambda mine: [list(mine), list(other) if len(other) == len(mine) and mine[0] != len(other) else list(mine)]


def test_means_of_what_is_measured_and_the_worst_of_levels() -> None:
    values = {"loss": 1.0, "attention_logit": 3.0, "gate_entropy_share": 0.5, "reward": 1.0}
    found = agreed(values, fake([3.0, 9.0, 0.1, float("nan")]))
    assert [found[name] for name in ("loss", "attention_logit", "gate_entropy_share")] == [2.0, 9.0, 0.1]
    assert str(found["reward"]) == "nan"
    assert agreed({"loss": 1.0, "x": float("inf")}, fake([1.0, 1.0]))["x"] == float("inf")


def test_ranks_that_measure_different_things_are_told() -> None:
    with pytest.raises(UsageError, match="different signals"):
        agreed({"loss": 1.0}, lambda mine: [list(mine), [2.0, 7.0]])
    with pytest.raises(UsageError, match="init_process_group"):
        gather_over()
