"""Training on a CPU: the loss that small models reach in how many seconds, and tokens per second beside nanoGPT's model.

    python recipes/bench_training.py --text input.txt --nanogpt model.py     # about fifteen minutes; writes into docs/training.md
    python recipes/bench_training.py --text input.txt --quick                # a smoke run: prints, writes nothing
    python recipes/bench_training.py --nanogpt model.py                      # speed alone, two minutes

`input.txt` is tiny Shakespeare, of which the first 90 % are trained on. `model.py` is that of karpathy/nanoGPT (MIT); nothing of it is
kept here, and without it that table is left out. Speed: both models have the same width, depth, heads, context and batch, float32, no
dropout, tied embeddings, biases nowhere; ours has rotary positions, RMS norms and squared ReLU where nanoGPT has learned positions,
layer norms and GELU. A step is forward, backward, clipping and AdamW. Steps alternate in one process, and ratios are formed within one
turn, of processor time, which is what other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import platform
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench_journal import ROOT, spread, table, write_between
from overwinter.learn.train import Objective, build_optimiser, clip_gradients, read_recipe, train
from overwinter.learn.train.allocator import keep_freed_memory
from overwinter.learn.train.data import Batch
from overwinter.model import Config, MambaConfig, fresh

PAGE, WORK = ROOT / "docs" / "training.md", ROOT / "out" / "bench-training"
RECIPE = Path(__file__).with_name("train_shakespeare.toml")
SHAPES = {"128 × 4, 16 × 128": (128, 4, 4, 16, 128), "384 × 6, 4 × 256": (384, 6, 6, 4, 256)}
"""Width, layers, heads, rows, context."""
VOCABULARY = 65
Step = Callable[[Tensor, Tensor], None]


def our_step(shape: tuple[int, ...], **switches: Any) -> Step:
    width, layers, heads, _, context = shape
    sizes = {"d_model": width, "n_layers": layers, "n_heads": heads, "n_kv_heads": heads, "d_head": width // heads}
    config = Config(
        vocab_size=VOCABULARY, d_mlp=4 * width, context=context, mlp="relu2", tied=True, **{**sizes, **switches}
    )
    objective = Objective(fresh(config)).train()
    optimiser = build_optimiser(objective.decoder)

    def step(ids_BL: Tensor, targets_BL: Tensor) -> None:
        (objective(Batch(ids_BL, targets_BL, None)).loss / ids_BL.numel()).backward()
        clip_gradients(objective, 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step


def their_step(path: Path, shape: tuple[int, ...]) -> Step:
    width, layers, heads, _, context = shape
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sizes = {"n_layer": layers, "n_head": heads, "n_embd": width, "block_size": context}
    model = module.GPT(module.GPTConfig(vocab_size=VOCABULARY, bias=False, dropout=0.0, **sizes))
    optimiser = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")

    def step(ids_BL: Tensor, targets_BL: Tensor) -> None:
        _, loss = model(ids_BL, targets_BL)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def speed(nanogpt: Path | None, turns: int) -> str:
    rows = []
    for name, shape in SHAPES.items():
        width = shape[0]
        mamba = MambaConfig(n_heads=width // 16, head_dim=32, d_state=64, chunk_size=32)
        steps: dict[str, Step] = {} if nanogpt is None else {"nanoGPT": their_step(nanogpt, shape)}
        steps |= {
            "plain": our_step(shape),
            "QK-norm, softcap": our_step(shape, qk_norm=True, logit_softcap=15.0),
            "MMMA": our_step(shape, qk_norm=True, logit_softcap=15.0, pattern="MMMA", mamba=mamba),
        }
        ids_BL, targets_BL = torch.randint(0, VOCABULARY, (2, shape[3], shape[4])).unbind()
        seconds: dict[str, list[float]] = {each: [] for each in steps}
        for turn in range(turns + 1):
            for each, step in steps.items():
                began = time.process_time()
                step(ids_BL, targets_BL)
                if turn:
                    seconds[each].append(time.process_time() - began)
        for each, taken in seconds.items():
            rate = ids_BL.numel() / statistics.median(taken)
            ratio = "–"
            if nanogpt is not None:
                ratio = spread([theirs / ours for theirs, ours in zip(seconds["nanoGPT"], taken, strict=True)], ".2f")
            rows.append([f"{name}: {each}", f"{rate:,.0f}", ratio])
    return table(["width × layers, rows × context", "targets per processor second", "times nanoGPT"], rows)


def shakespeare(text: Path, *, quick: bool) -> str:
    changes = [f'data.sources=[{{path="{text.absolute()}"}}]', "run.threads=1"]
    changes += ["schedule.steps=12", "schedule.warmup=4", "run.evaluate_every=0"] if quick else []
    rows = []
    for name in ("MMMA", "AAAA"):
        recipe = read_recipe(RECIPE, changes)
        if name == "AAAA":
            switches = {key: value for key, value in recipe.model.switches.items() if key != "mamba"} | {"pattern": "A"}
            recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, switches=switches))
        done = train(recipe, WORK / name)
        outcome = done.outcome
        rows.append(
            [
                name,
                f"{done.parameters:,}",
                f"{outcome.step}",
                f"{outcome.tokens:,}",
                f"{outcome.cpu_s:.0f}",
                f"{outcome.loss:.3f}",
            ]
        )
    head = ["characters of Shakespeare", "parameters", "steps", "targets", "processor seconds", "held-out loss"]
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, help="tiny Shakespeare; without it speed alone is measured")
    parser.add_argument("--nanogpt", type=Path, help="model.py of karpathy/nanoGPT")
    parser.add_argument("--quick", action="store_true", help="a smoke run: small, and docs/ is left alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as `train` does; it helps both models
    machine = f"One thread of {platform.machine()}, torch {torch.__version__}, float32."
    tables = {"speed": f"{speed(given.nanogpt, 2 if given.quick else 15)}\n\n{machine}"}
    if given.text is not None:
        try:
            tables["loss"] = shakespeare(given.text, quick=given.quick)
        finally:
            shutil.rmtree(WORK, ignore_errors=True)
    for name, text in tables.items():
        print(text, end="\n\n")
        if not given.quick:
            write_between(PAGE, f"<!-- bench_training {name}: begin -->", f"<!-- bench_training {name}: end -->", text)


if __name__ == "__main__":
    main()
