"""The bundled model of the greenhouse, from nothing: imitation of the planning expert, then reinforcement learning with hindsight credit.

    python recipes/train_bundled.py --out out/bundled          # about an hour and a half on two cores; goes on where it was stopped
    python recipes/train_bundled.py --out out/bundled --quick  # all of it in miniature, to see that it works

Stages, each in a folder of its own, each skipped where it is there already:

    demonstrated  the expert plays; every decision with the page it was made from
    imitated      a decoder learns what the expert does, how seasons end, and what is done in those that end well or badly
    advised       it plays itself, the expert says what it would have done (DAgger, arXiv 1011.0686), and it learns again; twice
    reinforced    it plays groups of seasons from the same seed and learns from its own outcomes by the credit named below
    hindsight     what it did in seasons of its own that ended well, and in those that ended badly: the outcome line's other two words
    calibrated    its bets against the outcomes of seasons it was not trained on
    player        the folder that ships, with card and figures on held-out seeds

Seeds: 100000 and up to train, 20000 to 20399 to calibrate, 0 to 199 held out; nothing was chosen by the last.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bundled_report import Scored, calibrate, describe, evaluate
from bundled_seasons import WORLD, Codec, Season, Steps, make_tokenizer, play
from overwinter.learn.credit import advantages
from overwinter.learn.improve import credit_for_pages
from overwinter.learn.players import save_player
from overwinter.learn.reinforce.ends import hidden_at
from overwinter.learn.reinforce.form import TextForm
from overwinter.learn.reinforce.policy import CandidatePolicy
from overwinter.learn.reinforce.seat import LocalSeats, open_seat
from overwinter.learn.reinforce.trainer import Config as ReinforceConfig
from overwinter.learn.reinforce.trainer import EvaluateConfig, reinforce
from overwinter.learn.reinforce.update import UpdateConfig
from overwinter.learn.train.optim import OptimiserConfig, build_optimiser, clip_gradients
from overwinter.learn.train.schedule import Schedule
from overwinter.model import Config, Decoder, TextFormat, fresh, load, save
from overwinter.worlds.greenhouse.actions import ALL_ACTIONS

OUTCOME_WEIGHT = 0.2
"""Of the bet on the outcome, beside the action."""
FORGET_OUTCOME = 0.5
"""Share of examples with `outcome ?` in the slot; the others say how the season ended."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Everything that `--quick` makes small."""

    d_model: int = 128
    n_layers: int = 3
    demonstrations: int = 512
    imitation_epochs: int = 3
    advice_rounds: int = 2
    advised_seasons: int = 384
    advice_epochs: int = 2
    iterations: int = 16
    tasks: int = 8
    group_size: int = 8
    calibration_seeds: int = 400
    held_out: int = 200


QUICK = Size(
    d_model=32, n_layers=1, demonstrations=4, imitation_epochs=1, advice_rounds=1, advised_seasons=2, advice_epochs=1,
    iterations=1, tasks=1, group_size=2, calibration_seeds=8, held_out=4,
)  # fmt: skip


class Recipe:
    def __init__(self, out: Path, size: Size, seed: int, estimator: str) -> None:
        self.out, self.size, self.seed, self.estimator = out, size, seed, estimator
        self.tokenizer = make_tokenizer()
        self.codec = Codec(self.tokenizer)
        self.began = time.monotonic()

    def run(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        demonstrated = self.seasons("demonstrated", 100_000, self.size.demonstrations, None)
        decoder = self.stage(
            "imitated", lambda: self.learn(self.fresh(), demonstrated, self.size.imitation_epochs, 2e-3)
        )
        seen = [demonstrated]
        for number in range(1, self.size.advice_rounds + 1):
            first = 200_000 + 10_000 * number
            seen.append(self.seasons(f"advised{number}-seasons", first, self.size.advised_seasons, decoder))
            decoder = self.stage(f"advised{number}", partial(self.again, decoder, list(seen), number))
        imitator = decoder
        reinforced = self.stage("reinforced", lambda: self.reinforce(copy.deepcopy(imitator)))
        decoder = self.stage("hindsight", lambda: self.look_back(copy.deepcopy(reinforced), Steps.join(seen[1:])))
        self.finish(decoder, imitator)

    # --- stages ---------------------------------------------------------------------------------------------------

    def stage(self, name: str, make) -> Decoder:
        folder = self.out / name
        if not (folder / "config.json").exists():
            self.say(f"{name} begins")
            save(make(), folder, tokenizer=self.tokenizer)
            self.say(f"{name} done")
        return load(folder)

    def fresh(self) -> Decoder:
        d = self.size.d_model
        config = Config(
            vocab_size=self.tokenizer.get_vocab_size(),
            d_model=d,
            n_layers=self.size.n_layers,
            n_heads=4,
            n_kv_heads=4,
            d_head=d // 4,
            d_mlp=2 * d,
            context=64,
            mlp="relu2",
            qk_norm=True,
            tied=True,
        )
        return fresh(config, seed=self.seed)

    def seasons(self, name: str, first: int, count: int, decoder: Decoder | None) -> Steps:
        """Seasons of the expert, or of the model with the expert's advice."""
        path = self.out / f"{name}.npz"
        if not path.exists():
            choose = _follow_advice if decoder is None else Sampler(decoder, self.codec, self.seed + first)
            parts = []
            for start in range(first, first + count, 64):
                played = play(range(start, min(start + 64, first + count)), self.codec, choose, say=lambda _: None)
                self.codec.check(played[0].notebook.lines())
                parts.append(Steps.join([season.steps() for season in played]))
                self.say(f"{name}: {start + len(played) - first} of {count} seasons")
            joined = Steps.join(parts)
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, **{field.name: getattr(joined, field.name) for field in fields(Steps)})
            partial.replace(path)
        with np.load(path) as kept:
            steps = Steps(**{name: kept[name] for name in kept.files})
        self.say(f"{name}: {len(steps)} decisions, mean score {_per_season(steps, steps.score):.1f}")
        return steps

    def learn(self, decoder: Decoder, steps: Steps, epochs: int, lr: float, batch: int = 256) -> Decoder:
        """Cross-entropy on the expert's action (among the legal ones) and on the season's outcome."""
        optimiser = build_optimiser(decoder, OptimiserConfig(lr=lr, weight_decay=0.05))
        total = max(1, epochs * (len(steps) // batch))
        schedule = Schedule(kind="wsd", steps=total, warmup=min(100, total // 4), decay=0.5, final=0.02)
        generator = torch.Generator().manual_seed(self.seed)
        data = {
            name: torch.from_numpy(np.asarray(getattr(steps, name)))
            for name in ("ids", "length", "advice", "legal", "success")
        }
        decoder.train()
        shown, done = np.zeros(2), 0
        for _ in range(epochs):
            order = torch.randperm(len(steps), generator=generator)
            for rows in order[: len(order) // batch * batch or len(order)].split(batch):
                optimiser.set_factor(schedule.factor(done))
                action, outcome = self.losses(decoder, {name: column[rows] for name, column in data.items()}, generator)
                (action + OUTCOME_WEIGHT * outcome).backward()
                clip_gradients(decoder, 1.0)
                optimiser.step()
                optimiser.zero_grad()
                shown += [float(action.detach()), float(outcome.detach())]
                done += 1
                if done % 100 == 0:
                    self.say(f"step {done} of {total}: action {shown[0] / 100:.4f}, outcome {shown[1] / 100:.4f}")
                    shown[:] = 0
        return decoder.eval()

    def again(self, decoder: Decoder, seen: list[Steps], number: int) -> Decoder:
        """Go on with the new pages and as many of the old ones: what the earlier seasons taught must not be forgotten."""
        old = Steps.join(seen[:-1])
        mixed = Steps.join([seen[-1], _some(old, min(len(old), len(seen[-1])), self.seed + number)])
        return self.learn(decoder, mixed, self.size.advice_epochs, 1e-3)

    def losses(self, decoder: Decoder, part: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        slots, success = self.codec.slots, part["success"]
        said = torch.where(success, slots["well"], slots["badly"])
        said[torch.rand(len(said), generator=generator) < FORGET_OUTCOME] = slots["?"]
        outcome_B2, action_BA = heads(decoder, self.codec, part["ids"].long(), part["length"].long(), said)
        action = functional.cross_entropy(action_BA.masked_fill(~part["legal"], -1e9), part["advice"].float())
        return action, functional.cross_entropy(outcome_B2, success.long())

    def reinforce(self, decoder: Decoder) -> Decoder:
        """Groups of seasons from one seed each; the better ones of a group teach, decision by decision."""
        folder = self.out / "imitator"
        if not folder.exists():
            save_player(folder, decoder, self.tokenizer, world=WORLD)
        form = TextForm(TextFormat.load(folder))
        policy = CandidatePolicy(decoder, outcome=form.outcome, end_id=form.end_id)
        seats = LocalSeats(lambda: open_seat(WORLD), count=self.size.tasks * self.size.group_size)
        config = ReinforceConfig(
            iterations=self.size.iterations,
            tasks=self.size.tasks,
            group_size=self.size.group_size,
            seed=self.seed,
            first_seed=300_000,
            update=UpdateConfig(kl_coef=0.02, success_coef=0.2, hindsight_coef=0.05),
            optimiser=OptimiserConfig(lr=1e-4, weight_decay=0.0),
            needs_hindsight=True,
            evaluate=EvaluateConfig(every=0),
            checkpoint_every=1,
        )
        credit = credit_for_pages(self.estimator)
        reinforce(
            config, policy, seats, form, folder=self.out / "reinforcing", progress=self.say_figures,
            credit=lambda batch, memory: advantages(batch, credit, memory),
        )  # fmt: skip
        return policy.decoder.eval()

    def look_back(self, decoder: Decoder, steps: Steps, batch: int = 256, lr: float = 5e-4) -> Decoder:
        """Learn what was done in seasons that ended well, and in those that ended badly; all else stays as the teacher has it.

        All its own lost seasons, and as many decisions of those it won.
        """
        lost, won = np.flatnonzero(~steps.success), np.flatnonzero(steps.success)
        rng = np.random.default_rng(self.seed)
        rows = np.concatenate([lost, rng.permutation(won)[: max(len(lost), batch)]])
        teacher = copy.deepcopy(decoder)
        optimiser = build_optimiser(decoder, OptimiserConfig(lr=lr, weight_decay=0.0))
        total = max(1, 2 * len(rows) // batch)
        schedule = Schedule(kind="linear", steps=total, warmup=min(50, total // 4), final=0.02)
        decoder.train()
        for done in range(total):
            part = torch.from_numpy(rng.choice(rows, batch))
            ids, length = torch.from_numpy(steps.ids)[part].long(), torch.from_numpy(steps.length)[part].long()
            legal, success = torch.from_numpy(steps.legal)[part], torch.from_numpy(steps.success)[part]
            said = torch.where(success, self.codec.slots["well"], self.codec.slots["badly"])
            asked = torch.full_like(said, self.codec.slots["?"])
            optimiser.set_factor(schedule.factor(done))
            with torch.no_grad():
                bets_B2, wanted_BA = heads(teacher, self.codec, ids, length, asked)
            bet_B2, action_BA = heads(decoder, self.codec, ids, length, asked)
            _, then_BA = heads(decoder, self.codec, ids, length, said)
            taken = torch.from_numpy(steps.action)[part].long()
            kept = functional.cross_entropy(
                action_BA.masked_fill(~legal, -1e9), wanted_BA.masked_fill(~legal, -1e9).softmax(-1)
            )
            kept = kept + functional.cross_entropy(bet_B2, bets_B2.softmax(-1))
            told = functional.cross_entropy(then_BA.masked_fill(~legal, -1e9), taken)
            (kept + told).backward()
            clip_gradients(decoder, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            if (done + 1) % 50 == 0:
                self.say(
                    f"step {done + 1} of {total}: kept {float(kept.detach()):.4f}, hindsight {float(told.detach()):.4f}"
                )
        return decoder.eval()

    def finish(self, decoder: Decoder, imitator: Decoder) -> None:
        first = 20_000
        fitting = self.scored("calibration", decoder, range(first, first + self.size.calibration_seeds))
        calibration = calibrate(fitting)
        held_out = range(self.size.held_out)
        found = {
            "imitated": self.scored("imitated-held-out", imitator, held_out),
            "bundled": self.scored("held-out", decoder, held_out),
        }
        report = evaluate(found, calibration, held_out)
        record = {
            "recipe": "recipes/train_bundled.py",
            "seed": self.seed,
            "estimator": self.estimator,
            "size": {field.name: getattr(self.size, field.name) for field in fields(Size)},
            "parameters": sum(p.numel() for p in decoder.parameters()),
            "figures": report,
        }
        card = describe(record)
        save_player(
            self.out / "player", decoder, self.tokenizer, world=WORLD,
            calibration={"world": WORLD, **calibration}, training=record, card=card,
        )  # fmt: skip
        print(json.dumps(report, indent=2))
        print(card)

    def scored(self, name: str, decoder: Decoder, seeds: Sequence[int]) -> Scored:
        """Greedy seasons on seeds, with the bet before each decision."""
        path = self.out / f"{name}.npz"
        if not path.exists():
            seasons = Sampler(decoder, self.codec, 0, greedy=True).scored(seeds)
            np.savez(path, **seasons)
            self.say(f"{name}: {len(seeds)} seasons, mean score {seasons['score'].mean():.1f}")
        with np.load(path) as kept:
            return Scored(**{key: kept[key] for key in kept.files})

    def say_figures(self, figures) -> None:
        names = ("iteration", "score", "success", "entropy", "kl", "play_s", "learn_s")
        self.say("  ".join(f"{name} {figures[name]:.3g}" for name in names if name in figures))

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:7.0f} s  {text}", flush=True)


def heads(decoder: Decoder, codec: Codec, ids_BL: Tensor, length_B: Tensor, slot_B: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of (badly, well) behind the page, and of all actions behind the outcome slot."""
    rows = torch.arange(len(ids_BL))
    ids_BL = ids_BL[:, : int(length_B.max()) + 1].clone()
    ids_BL[rows, length_B] = slot_B
    positions_BL = torch.arange(ids_BL.shape[1]).expand(ids_BL.shape)
    hidden_B2D = hidden_at(decoder, ids_BL, positions_BL, torch.stack([length_B - 1, length_B], dim=1))
    bets_BV, actions_BV = decoder.logits(hidden_B2D).unbind(1)
    return bets_BV[:, [codec.slots["badly"], codec.slots["well"]]], actions_BV[:, torch.from_numpy(codec.actions)]


class Sampler:
    """Plays by a decoder: draws from the legal actions, or takes the likeliest."""

    def __init__(self, decoder: Decoder, codec: Codec, seed: int, *, greedy: bool = False) -> None:
        self.decoder, self.codec, self.greedy = decoder, codec, greedy
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, living: list[Season]) -> list[str]:
        return self.choose(living)[0]

    @torch.inference_mode()
    def choose(self, living: list[Season]) -> tuple[list[str], np.ndarray]:
        """Actions, and log-odds of success."""
        length_B = torch.tensor([len(season.page) for season in living])
        ids_BL = torch.full((len(living), int(length_B.max()) + 1), self.codec.end)
        legal_BA = torch.zeros(len(living), len(ALL_ACTIONS), dtype=torch.bool)
        for row, season in enumerate(living):
            ids_BL[row, : len(season.page)] = torch.tensor(season.page)
            legal_BA[row, [self.codec.index[action] for action in season.legal]] = True
        slot_B = torch.full((len(living),), self.codec.slots["?"])
        bets_B2, scores_BA = heads(self.decoder, self.codec, ids_BL, length_B, slot_B)
        scores_BA = scores_BA.masked_fill(~legal_BA, -torch.inf)
        if not self.greedy:
            scores_BA = scores_BA - torch.rand(scores_BA.shape, generator=self.generator).log().neg().log()
        picked = [ALL_ACTIONS[index] for index in scores_BA.argmax(-1).tolist()]
        return picked, (bets_B2[:, 1] - bets_B2[:, 0]).double().numpy()

    def scored(self, seeds: Sequence[int]) -> dict[str, np.ndarray]:
        """Seasons to their ends: score and success of each; seed, day and log-odds of each decision."""
        columns: dict[str, list] = {"seed": [], "day": [], "odds": []}
        scores, successes = [], []
        for start in range(0, len(seeds), 64):
            part = list(seeds[start : start + 64])

            def choose(living: list[Season]) -> list[str]:
                picked, odds = self.choose(living)
                for season, odd in zip(living, odds, strict=True):
                    columns["seed"].append(season.seed)
                    columns["day"].append(season.observation.data["day"])
                    columns["odds"].append(odd)
                return picked

            seasons = play(part, self.codec, choose, advised=False, say=lambda _: None)
            ends = [season.world.outcome() for season in seasons]
            # A season that was given up has earned nothing.
            scores += [0.0 if end.success is None else end.score for end in ends]
            successes += [bool(end.success) for end in ends]
        return {
            "seeds": np.array(list(seeds)), "score": np.array(scores), "success": np.array(successes),
            **{name: np.array(values) for name, values in columns.items()},
        }  # fmt: skip


def _follow_advice(living: list[Season]) -> list[str]:
    return [season.advice for season in living]


def _some(steps: Steps, count: int, seed: int) -> Steps:
    rows = np.random.default_rng(seed).permutation(len(steps))[:count]
    return replace(steps, **{field.name: getattr(steps, field.name)[rows] for field in fields(Steps)})


def _per_season(steps: Steps, values: np.ndarray) -> float:
    _, first = np.unique(steps.seed, return_index=True)
    return float(values[first].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/bundled"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--estimator", default="calibrated", help="of the credit in reinforcement learning")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--quick", action="store_true", help="all stages in miniature")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    Recipe(options.out, QUICK if options.quick else Size(), options.seed, options.estimator).run()


if __name__ == "__main__":
    main()
