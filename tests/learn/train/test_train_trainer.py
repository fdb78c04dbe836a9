"""The loop and the loss: what adds up, what is learned, what a guard may do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from train_kit import HYBRID, recipe, same_bits, tiny, weights_of

from overwinter.errors import UsageError
from overwinter.learn.train import objective as objective_module
from overwinter.learn.train.data import NO_TARGET, Batch, Examples, Mixture, Windows, collate
from overwinter.learn.train.metrics import read_metrics
from overwinter.learn.train.objective import LossConfig, Objective
from overwinter.learn.train.optim import build_optimiser
from overwinter.learn.train.schedule import Schedule
from overwinter.learn.train.shards import Document, Shards, write_shards
from overwinter.learn.train.trainer import Trainer, TrainerConfig
from overwinter.learn.train.training import train
from overwinter.learn.train.whole import training_hidden
from overwinter.model import Decoder, LoopConfig, TextFormat, load


def counting(folder: Path, tokens: int = 600) -> Shards:
    """Tokens that count up to 30 and begin again."""
    return write_shards(folder, [Document(ids=np.arange(tokens) % 31)], vocab_size=33)


def trainer_of(folder: Path, decoder: Decoder, *, loss: LossConfig | None = None, **config: Any) -> Trainer:
    shards = Shards(folder) if folder.exists() else counting(folder)
    objective = Objective(decoder, loss)
    optimiser = build_optimiser(decoder)
    mixture = Mixture([Windows(shards, context=12)])
    return Trainer(objective, optimiser, Schedule(steps=20), mixture, TrainerConfig(**config))


def random_batch(rows: int = 3, length: int = 20, seed: int = 0) -> Batch:
    ids = torch.randint(0, 33, (rows, length + 1), generator=torch.Generator().manual_seed(seed))
    return Batch(ids[:, :-1], ids[:, 1:].clone(), None)


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"pattern": "AW", "window": 5},
        {"attn_softcap": 3.0, "n_kv_heads": 1},
        HYBRID,
        {"qk_norm": True, "rope_base": None},
    ],
)
def test_documents_in_one_row_are_as_each_alone(switches: dict[str, Any]) -> None:
    decoder, ids = tiny(**switches), random_batch(3, 21).ids
    plain = training_hidden(decoder, ids)
    torch.testing.assert_close(plain, decoder.hidden(ids), atol=1e-6, rtol=1e-5)
    starts = torch.zeros(ids.shape, dtype=torch.bool)
    starts[1, 7] = starts[1, 13] = starts[2, 1] = True
    packed = training_hidden(decoder, ids, starts)
    for row, begin, end in ((0, 0, 21), (1, 0, 7), (1, 7, 13), (1, 13, 21), (2, 0, 1), (2, 1, 21)):
        alone = decoder.hidden(ids[row : row + 1, begin:end])
        torch.testing.assert_close(packed[row, begin:end], alone[0], atol=2e-6, rtol=1e-5)


def test_the_loss_is_the_cross_entropy_of_what_has_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, batch = tiny(logit_softcap=5.0), random_batch()
    batch.targets[0, 3:9] = batch.targets[2] = NO_TARGET
    logits = decoder(batch.ids).flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, batch.targets.flatten(), reduction="sum")
    found = Objective(decoder)(batch)
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.ce, expected.detach())
    assert batch.n_targets == 34
    squares = logits.logsumexp(-1)[batch.targets.flatten() >= 0].square().sum()
    capped = Objective(decoder, LossConfig(z_loss=0.1))
    torch.testing.assert_close(capped(batch).loss, expected + 0.1 * squares)
    grads = torch.autograd.grad(capped(batch).loss, decoder.head.weight)[0]  # type: ignore[union-attr]
    monkeypatch.setattr(objective_module, "LARGEST_LOGITS", 0)
    monkeypatch.setattr(objective_module, "CHUNK_TOKENS", 10)
    chunked = capped(batch)
    torch.testing.assert_close(chunked.loss, expected + 0.1 * squares)
    torch.testing.assert_close(torch.autograd.grad(chunked.loss, decoder.head.weight)[0], grads)  # type: ignore[union-attr]


def test_ole_joins_the_gradient_and_not_the_figure() -> None:
    decoder, batch = tiny(), random_batch()
    plain, with_ole = Objective(decoder).train()(batch), Objective(decoder, LossConfig(ole=0.5)).train()(batch)
    assert torch.equal(plain.ce, with_ole.ce)
    assert not torch.equal(plain.loss, with_ole.loss)
    evaluated = Objective(decoder, LossConfig(ole=0.5)).eval()(batch)
    torch.testing.assert_close(evaluated.loss, plain.loss)


def test_the_gate_learns_alone(tmp_path: Path) -> None:
    decoder = tiny(loop=LoopConfig(n_loops=2), norm="sandwich")
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    trainer_of(tmp_path / "data", decoder, loss=LossConfig(stage="gate"), batch_rows=2).take_step()
    changed = {name for name, value in decoder.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("exit_gate" in name for name in changed)
    with pytest.raises(UsageError, match="exit gate"):
        Objective(tiny(), LossConfig(stage="gate"))


def test_pieces_of_a_step_add_up(tmp_path: Path) -> None:
    """Rows with and without targets, in one batch and in four."""
    lengths = [9, 4, 12, 5, 7, 12, 3, 6]
    shards = write_shards(
        tmp_path / "data",
        [Document(ids=[n + 1] * length, learn=[at >= 2 for at in range(length)]) for n, length in enumerate(lengths)],
        vocab_size=33,
    )
    found = []
    for rows, accumulate in ((8, 1), (2, 4)):
        decoder = tiny()
        mixture = Mixture([Examples(shards, context=12, batch_rows=1, shuffle=False)])
        trainer = Trainer(
            Objective(decoder),
            build_optimiser(decoder),
            Schedule(steps=3),
            mixture,
            TrainerConfig(batch_rows=rows, accumulate=accumulate),
        )
        losses = [trainer.take_step()[0].loss for _ in range(2)]
        found.append((losses, {name: value.clone() for name, value in decoder.state_dict().items()}))
    (losses, weights), (other_losses, other_weights) = found
    assert losses == pytest.approx(other_losses, abs=1e-5)
    for name, value in weights.items():
        torch.testing.assert_close(value, other_weights[name], atol=1e-5, rtol=0)


def test_it_learns(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "data", tiny(qk_norm=True), batch_rows=8)
    for group in trainer.optimiser.param_groups:
        group["full_lr"] = 0.02
    losses = [trainer.take_step()[0].ce for _ in range(20)]
    assert losses[0] > 3.3
    assert losses[-1] < 1.0


def test_bfloat16_is_close_and_keeps_its_weights_in_float32(tmp_path: Path) -> None:
    steps = {}
    for precision in ("float32", "bfloat16"):
        trainer = trainer_of(tmp_path / "data", tiny(**HYBRID), batch_rows=4, precision=precision)
        steps[precision] = [trainer.take_step()[0].loss for _ in range(3)]
        assert {each.dtype for each in trainer.objective.parameters()} == {torch.float32}
    assert steps["bfloat16"] == pytest.approx(steps["float32"], abs=0.02)
    assert steps["bfloat16"] != steps["float32"]


@dataclass
class Said:
    go: bool = True
    stopped: bool = False
    action: str = "go"
    cause: str = ""
    skip_batches: int = 0


@dataclass
class ScriptedGuard:
    """Says what it is told to, at the step it is told to."""

    trainer: Trainer
    script: dict[int, str]
    asked: int = 0
    kept: dict[str, Any] = field(default_factory=dict)
    stepped: int = 0
    clips: bool = True

    def before_step(self, loss: Any, *, batch: Any = None) -> Said:
        self.asked += 1
        said = self.script.get(self.asked, "go")
        if said == "rolled_back":
            self.trainer.load_state(self.kept)
            return Said(go=False, action=said, skip_batches=2)
        if self.asked == 1:
            self.kept = self.trainer.state()
        return Said(go=said == "go", stopped=said == "stop", action=said, cause="a test")

    def after_step(self) -> None:
        self.stepped += 1

    def state_dict(self) -> dict[str, Any]:
        return {"asked": self.asked}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.asked = int(state["asked"])


def test_a_guard_skips_goes_back_and_stops(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "data", tiny(), batch_rows=2)
    guard = trainer.guard = ScriptedGuard(trainer, {2: "skip", 4: "rolled_back", 6: "stop"})
    trainer.take_step()
    before = {name: value.clone() for name, value in trainer.objective.state_dict().items()}
    trainer.take_step()
    assert same_bits(before, trainer.objective.state_dict()), "a skipped step changes no weight"
    trainer.take_step()
    assert (trainer.step, trainer.mixture.taken) == (3, [6])
    trainer.take_step()
    assert (trainer.step, trainer.mixture.taken) == (0, [6]), (
        "back at the start, whose batch of 2 and 2 more are left out"
    )
    events: list[Mapping[str, Any]] = []
    trainer.watch = events.append
    outcome = trainer.run()
    assert (outcome.finished, outcome.cause) == (False, "a test")
    assert guard.stepped == 3
    assert {"kind": "guard", "step": 1, "action": "stop", "cause": "a test"} in events, (
        "a step that ended it was not taken"
    )


def test_a_gradient_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "data", tiny(), batch_rows=2)
    with torch.no_grad():
        trainer.objective.decoder.norm.weight[0] = float("nan")
    with pytest.raises(UsageError, match="not finite"):
        trainer.take_step()


def test_a_training_leaves_a_folder_that_works(tmp_path: Path) -> None:
    made = recipe(tmp_path, run={"evaluate_every": 3, "evaluate_rows": 4, "seed": 5})
    done = train(made, tmp_path / "out")
    assert done.model == tmp_path / "out" / "model"
    record = json.loads((done.model / "training.json").read_text())
    assert record["recipe"]["run"]["seed"] == 5
    assert record["figures"]["loss"] == done.outcome.loss
    text, decoder = TextFormat.load(done.model), load(done.model)
    assert text.vocab_size == decoder.config.vocab_size
    with torch.no_grad():
        assert decoder(torch.tensor([text.encode("1 and 2")])).isfinite().all()
    events = read_metrics(tmp_path / "out")
    assert [event["step"] for event in events if event["kind"] == "evaluation"] == [3, 6]
    assert [event["step"] for event in events if event["kind"] == "step"] == [1, 2, 3, 4, 5, 6]


def test_going_on_from_a_model(tmp_path: Path) -> None:
    first = train(recipe(tmp_path), tmp_path / "first")
    assert first.model is not None
    again = replace(recipe(tmp_path), model=replace(recipe(tmp_path).model, switches={}, start=str(first.model)))
    second = train(again, tmp_path / "second")
    assert second.outcome.loss is not None
    assert first.outcome.loss is not None
    assert second.outcome.loss < first.outcome.loss
    assert not same_bits(weights_of(tmp_path / "second" / "model"), weights_of(first.model))


def test_examples_from_json_lines(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}+1=", "target": str(n + 1)} for n in range(30)] + [{"ids": [3, 4, 5], "learn": [0, 1, 1]}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"sources": [{"path": "pairs.jsonl"}], "kind": "examples", "packing": "pack", "holdout": 0.2}
    done = train(recipe(tmp_path, data=data), tmp_path / "out")
    assert done.outcome.finished
    held, kept = (Shards(tmp_path / "out" / "data" / f"0-{part}") for part in ("held", "train"))
    assert len(held) + len(kept) == 31
    text = TextFormat.load(tmp_path / "out" / "tokenizer")
    ids, learn = kept.ids(0, int(kept.ends[0])), kept.learn(0, int(kept.ends[0]))
    assert text.decode(ids[~learn].tolist()).endswith("+1=")
    assert ids[learn][-1] in text.end_ids
    batch = collate([Examples(kept, context=16, batch_rows=2, packing="pack").row(0)])
    assert batch.starts is not None
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(UsageError, match="line 1 has neither"):
        train(recipe(tmp_path, data=data), tmp_path / "other")
