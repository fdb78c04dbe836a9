"""A player with drawn weights, as a folder: it plays badly, and everything else about it is as it should be."""

from __future__ import annotations

from pathlib import Path

WORLD = "greenhouse:days=20"


def make_player(folder: Path, *, seed: int = 3, world: str = WORLD) -> Path:
    import torch

    from overwinter.learn.players import line_tokenizer, save_player
    from overwinter.model import Config, fresh
    from overwinter.worlds.greenhouse.actions import ALL_ACTIONS
    from overwinter.worlds.greenhouse.notebook import all_lines

    torch.set_num_threads(1)
    tokenizer = line_tokenizer(all_lines(), ALL_ACTIONS)
    shape = Config(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=16,
        n_layers=1,
        n_heads=2,
        n_kv_heads=2,
        d_head=8,
        d_mlp=32,
        context=64,
        tied=True,
    )
    decoder = fresh(shape, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        decoder.embed.weight.normal_(0.0, 0.7, generator=generator)
    calibration = {"world": world, "scale": 0.5, "shift": 0.25}
    save_player(folder, decoder, tokenizer, world="greenhouse", calibration=calibration, card="# A small player\n")
    return folder
