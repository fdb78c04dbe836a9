"""The advantage heads of a player's model: what other choices would have added, learnt from counterfactuals of lost seasons.

    python recipes/train_credit.py --model bundled:greenhouse --out out/credit          # about an hour on one core; goes on by files
    python recipes/train_credit.py --model bundled:greenhouse --out out/credit --quick  # all of it in miniature

Asks the world (`credit_questions.py`), and teaches a head (`learn.advantage`) for a player, by which `overwinter credit` ranks the mistakes
of its runs: a file to be put beside the model that judges, which stays as it is. The bundled model has one for the rules. `--players model`
teaches one for the model's own runs too; that named mistakes no better than hindsight does (docs/log.md). Another script is a row of PLAN.

Seeds from 500000 on; `check_credit.py` judges on seeds from 0 on.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from credit_questions import WORLD, Questions, lessons
from overwinter.learn.advantage import MODEL
from overwinter.learn.advantage_training import Config, fit_head
from overwinter.learn.appraisal import Appraiser
from overwinter.worlds.greenhouse.actions import ALL_ACTIONS
from overwinter.worlds.player import player_folder

PLAN = (
    Questions(player="rules", plays_on="rules", first=600_000, seasons=1000),
    Questions(player="rules", plays_on="rules", first=620_000, seasons=1000),
    Questions(player="greedy", plays_on=MODEL, first=800_000, seasons=100, decisions=14),
)
CONFIG = Config(world=WORLD, actions=ALL_ACTIONS)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="bundled:greenhouse", help="whose folder judges")
    parser.add_argument("--out", type=Path, required=True, help="where answers and heads are written")
    parser.add_argument("--players", nargs="+", choices=sorted({each.plays_on for each in PLAN}), default=["rules"])
    parser.add_argument("--quick", action="store_true", help="all of it in miniature")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    judge, began = Appraiser(player_folder(options.model)), time.monotonic()

    def say(words: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {words}", flush=True)

    plan = [replace(each, seasons=2, decisions=2, share=0.02) for each in PLAN] if options.quick else PLAN
    config = replace(CONFIG, networks=1, epochs=1) if options.quick else CONFIG
    for player in options.players:
        found = [each for asked in plan if asked.plays_on == player for each in lessons(asked, options.out, judge, say)]
        fit_head(found, config, say).write(options.out, player)
        say(f"the head for {player} is written")


if __name__ == "__main__":
    main()
