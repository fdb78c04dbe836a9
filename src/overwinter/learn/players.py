"""Model folders that play a world from a page of notes (`worlds/notebook.py`): their tokenizer, their files.

A page is a list of lines from a finite set, so each line is one token, and so is each action: a decision costs a prompt of forty
tokens and an answer of one. Below the lines lie plain bytes, so that the tokenizer can write any other text too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from overwinter.learn.reinforce.form import TextForm
from overwinter.learn.reinforce.policy import CandidatePolicy
from overwinter.model import Decoder, TextFormat, load
from overwinter.model.checkpoint import save
from overwinter.model.weights import new_folder, write_json
from overwinter.worlds.notebook import OUTCOMES, outcome_line
from overwinter.worlds.player import PLAYER

END = "<|end|>"
TRAINING, CARD = "training.json", "README.md"


class Student:
    """A player's folder as a policy: to be asked, judged by, or trained."""

    def __init__(self, folder: Path) -> None:
        self.text = TextFormat.load(folder)
        self.form = TextForm(self.text)
        self.policy = CandidatePolicy(load(folder), outcome=self.form.outcome, end_id=self.form.end_id)


def line_tokenizer(lines: Iterable[str], actions: Iterable[str]) -> Tokenizer:
    """A tokenizer with a token for each line of a page (with its line end), each outcome line and each action, on a ground of bytes.

    Args:
        lines: every line that a page can hold, without line ends.
        actions: every action of the world.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    whole = [f"{line}\n" for line in (*lines, *map(outcome_line, OUTCOMES))]
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in (*whole, *actions)])
    return tokenizer


def save_player(
    folder: Path,
    decoder: Decoder,
    tokenizer: Tokenizer,
    *,
    world: str,
    calibration: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    card: str = "",
    beside: Iterable[Path] = (),
) -> None:
    """Write a player's folder: all of it or nothing.

    Args:
        world: the kind of world it plays.
        calibration: `{"world": …, "scale": …, "shift": …}`, or None where its bets were never calibrated.
        training: the record of how it was made, as JSON values.
        card: the model card, in Markdown.
        beside: files that are copied into it, such as advantage heads: they read pages, so they outlive a change of weights.
    """
    with new_folder(folder) as partial:
        save(decoder, partial, tokenizer=tokenizer)
        write_json(partial / "generation_config.json", {"eos_token_id": tokenizer.token_to_id(END)})
        write_json(partial / PLAYER, {"format": 1, "world": world, "calibration": dict(calibration or {})})
        if training is not None:
            write_json(partial / TRAINING, dict(training))
        if card:
            (partial / CARD).write_text(card, "utf-8")
        for path in beside:
            shutil.copyfile(path, partial / path.name)
