"""Teaching an advantage head: episodes, and what the world said that other choices would have added.

    head = fit_head([Lesson(trace=…, gains=…), …], Config(world="greenhouse", actions=…))
    head.write(folder)

Each network of the head sees every decision that was asked about in every pass, with dropout on its columns: there are thousands of columns
and few episodes. It learns two things: the points that the other action adds, cut at `most` either way, since a season's collapse is no
more a lesson than half of one; and whether they reach `margin`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from overwinter.errors import UsageError
from overwinter.learn.advantage import WINDOWS, AdvantageHead, PageColumns, Rows, episode_rows
from overwinter.learn.appraisal import LOOKS, Trace
from overwinter.learn.batch import Floats

LAYERS = ("first", "second", "points", "sure")


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """Attributes:
    gains: [decisions, actions] what the action added to the score when the world was asked; NaN where it was not.
    """

    trace: Trace
    gains: Floats


@dataclass(frozen=True, kw_only=True)
class Config:
    """Args:
    actions: of the world, in the order of `Lesson.gains`.
    margin: points of score from which another choice counts as better.
    most: points beyond which a gain teaches no more.
    networks: how many are taught; their mean is told.
    dropout_in: share of columns left out of an example.
    every: every so many pages are looked at for the kinds of lines.
    """

    world: str
    actions: tuple[str, ...]
    windows: tuple[tuple[int, int], ...] = WINDOWS
    margin: float = 0.5
    most: float = 20.0
    networks: int = 4
    hidden: int = 256
    epochs: int = 15
    batch: int = 256
    lr: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.5
    dropout_in: float = 0.2
    every: int = 5
    seed: int = 0


class Network(nn.Module):
    """Two hidden layers, and two numbers for each action."""

    def __init__(self, width: int, actions: int, config: Config) -> None:
        super().__init__()
        self.dropout, self.dropout_in = config.dropout, config.dropout_in
        self.first = nn.Linear(width, config.hidden)
        self.second = nn.Linear(config.hidden, config.hidden)
        self.points = nn.Linear(config.hidden, actions)
        self.sure = nn.Linear(config.hidden, actions)

    def forward(self, rows_ND: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            rows_ND = rows_ND * (torch.rand_like(rows_ND) >= self.dropout_in)
        hidden_NH = functional.dropout(self.first(rows_ND).relu(), self.dropout, self.training)
        hidden_NH = functional.dropout(self.second(hidden_NH).relu(), self.dropout, self.training)
        return self.points(hidden_NH), self.sure(hidden_NH)


def fit_head(lessons: Sequence[Lesson], config: Config, say: Callable[[str], None] = lambda _: None) -> AdvantageHead:
    """Teach a head.

    Raises:
        UsageError: nothing was asked.
    """
    asked = [np.isfinite(lesson.gains).any(1) for lesson in lessons]
    if not any(rows.any() for rows in asked):
        raise UsageError("no lesson has a gain", "ask the world about some decisions first")
    columns = PageColumns.of(look.page for lesson in lessons for look in lesson.trace.looks[:: config.every])
    rows = np.concatenate(
        [
            episode_rows(lesson.trace, columns, config.actions, config.windows)[is_asked]
            for lesson, is_asked in zip(lessons, asked, strict=True)
        ]
    )
    gains = np.concatenate([lesson.gains[is_asked] for lesson, is_asked in zip(lessons, asked, strict=True)])
    say(
        f"{len(lessons)} episodes, {len(rows)} decisions, {int(np.isfinite(gains).sum())} answers, {rows.shape[1]} columns"
    )
    head = AdvantageHead(
        world=config.world,
        columns=columns,
        actions=config.actions,
        windows=config.windows,
        margin=config.margin,
        unit=config.most / 2.0,
        free=LOOKS,
        centre=rows.mean(0),
        scale=rows.std(0) + np.float32(1e-3),
        weights={},
    )
    networks = [_teach(head.standardised(rows), gains, config, number, say) for number in range(config.networks)]
    for layer in LAYERS:
        parts = [getattr(network, layer) for network in networks]
        head.weights[f"{layer}.weight"] = np.stack([part.weight.detach().numpy().T for part in parts])  # type: ignore[index]
        head.weights[f"{layer}.bias"] = np.stack([part.bias.detach().numpy()[None] for part in parts])  # type: ignore[index]
    return head


def _teach(rows: Rows, gains: Floats, config: Config, number: int, say: Callable[[str], None]) -> Network:
    generator = torch.Generator().manual_seed(1000 * config.seed + number)
    with torch.random.fork_rng():
        torch.manual_seed(1000 * config.seed + number)
        network = Network(rows.shape[1], len(config.actions), config)
        optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        data = torch.from_numpy(rows)
        known = torch.from_numpy(np.isfinite(gains))
        points = torch.from_numpy(np.nan_to_num(gains).clip(-config.most, config.most) * 2.0 / config.most).float()
        better = torch.from_numpy(np.nan_to_num(gains) >= config.margin).float()
        total, done, shown = config.epochs * -(-len(data) // config.batch), 0, 0.0
        network.train()
        for _ in range(config.epochs):
            shown = 0.0
            for part in torch.split(torch.randperm(len(data), generator=generator), config.batch):
                for group in optimiser.param_groups:
                    group["lr"] = config.lr * min(1.0, (done + 1) / 100) * (1.0 - done / total)
                told, sure = network(data[part])
                each = functional.smooth_l1_loss(told, points[part], reduction="none")
                each = each + functional.binary_cross_entropy_with_logits(sure, better[part], reduction="none")
                loss = (each * known[part]).sum() / known[part].sum()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                shown += float(loss.detach()) * len(part) / len(data)
                done += 1
    say(f"network {number + 1} of {config.networks}: loss of the last pass {shown:.3f}")
    return network.eval()
