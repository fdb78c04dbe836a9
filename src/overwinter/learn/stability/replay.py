"""Run the batch that raised an alarm again, on the weights and random numbers that it met.

A batch that spiked does not spike on other weights (PaLM found so): what is kept is the batch and the state, and the copy is exact. An
`Incident` is made by the guard; `replay` computes its loss and gradient again on a model of the same shape, which is put back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from overwinter.learn.stability.detectors import Alarm
from overwinter.learn.stability.signals import Groups, parameter_norms
from overwinter.learn.stability.snapshot import copied, random_state, read_folder, set_random_state, write_folder


@dataclass(frozen=True, kw_only=True)
class Incident:
    """A batch, the state it met, and what was measured of it."""

    step: int
    causes: tuple[str, ...]
    batch: Any
    model: Mapping[str, Tensor]
    random: Mapping[str, Any]
    """As at the end of the step before."""
    measured: Mapping[str, Any]

    @classmethod
    def of(
        cls, step: int, model: nn.Module, batch: Any, alarms: Sequence[Alarm], random: Mapping[str, Any], measured: Any
    ) -> Incident:
        return cls(
            step=step,
            causes=tuple(alarm.detector for alarm in alarms),
            batch=copied(batch),
            model=copied(dict(model.state_dict())),
            random=random,
            measured=dict(measured),
        )

    def write(self, folder: Path) -> None:
        """To a new folder, as JSON and safetensors."""
        write_folder(folder, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def read(cls, folder: Path) -> Incident:
        return cls(**read_folder(folder))


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The batch again, beside what was measured then."""

    loss: float
    gradient_norm: float
    by_group: Mapping[str, float]
    measured_loss: Any
    measured_gradient_norm: Any

    @property
    def same(self) -> bool:
        """Whether loss and gradient norm are those of the alarm, to the bit; NaN equals NaN."""
        return str(self.loss) == str(self.measured_loss) and str(self.gradient_norm) == str(self.measured_gradient_norm)


def replay(incident: Incident, model: nn.Module, loss_of: Callable[[nn.Module, Any], Tensor]) -> Replayed:
    """Compute the loss and gradient of an incident again.

    Args:
        incident: from `Guard.incidents`, or read from a folder.
        model: of the same shape; its weights, gradients and the shared random numbers are put back afterwards.
        loss_of: the loss of a batch, as in the loop.
    """
    weights, random = copied(dict(model.state_dict())), random_state()
    gradients = [parameter.grad for parameter in model.parameters()]
    try:
        model.load_state_dict(dict(incident.model))
        if incident.random:
            set_random_state(incident.random)
        model.zero_grad(set_to_none=True)
        loss = loss_of(model, copied(incident.batch))
        loss.backward()  # type: ignore[no-untyped-call]
        groups = Groups(model)
        norms, norm = parameter_norms([parameter.grad for parameter in groups.parameters])
    finally:
        model.load_state_dict(weights)
        set_random_state(random)
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient
    return Replayed(
        loss=float(loss.detach()),
        gradient_norm=norm,
        by_group=groups.by_group(norms),
        measured_loss=incident.measured.get("loss"),
        measured_gradient_norm=incident.measured.get("gradient_norm"),
    )
