"""Recipes: what is wrong is refused with its place; what is shipped is right; the guide lists every key."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from train_kit import recipe

from overwinter.errors import UsageError
from overwinter.learn.stability import GuardConfig
from overwinter.learn.train.recipe import Recipe, difference, read_recipe

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "recipes").glob("train_*.toml"))
TOML = """
[data]
sources = [{ path = "a.txt" }]
context = 8
[model]
d_model = 16
n_layers = 1
n_heads = 2
n_kv_heads = 2
d_head = 8
d_mlp = 16
[schedule]
steps = 3
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_recipes_are_right(path: Path) -> None:
    assert read_recipe(path).schedule.steps > 0


def test_defaults_paths_and_changes(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(TOML)
    changes = [
        "run.seed=7",
        "tokenizer.kind=chars",
        "optimiser.betas=[0.8, 0.9]",
        "model.pattern=A",
        "model.init={std=0.1}",
    ]
    made = read_recipe(tmp_path / "r.toml", changes)
    assert made.data.sources[0].path == str(tmp_path / "a.txt")
    assert (made.run.seed, made.tokenizer.kind, made.optimiser.betas) == (7, "chars", (0.8, 0.9))
    assert made.model.switches["pattern"] == "A"
    assert made.model.init is not None
    assert made.model.init.std == 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("run.sed=1", r"r\.toml: run\.sed is no key; did you mean seed"),
        ("runs.seed=1", r"runs is no key"),
        ("data.sources=[{path='a', wieght=2}]", r"data\.sources\[0\]\.wieght is no key; did you mean weight"),
        ("data.sources=[{weight=2}]", r"data\.sources\[0\]\.path is missing"),
        ("optimiser.lr=fast", r"optimiser\.lr: .*number"),
        ("schedule.kind=step", r"schedule\.kind"),
        ("model.d_modle=3", r"r\.toml: Config has no 'd_modle'"),
        ("model.pattern=X", r"unknown letters"),
        ("model.vocab_size=9", r"vocab_size is the tokenizer's"),
        ("model.start=there", r"start comes with a network of its own"),
        ("model.init={stdd=1}", r"model\.init\.stdd is no key"),
        ("loss.z_loss=-1", r"z_loss -1"),
        ("data.context=1", r"context 1"),
        ("nothing", r"names no value"),
        ("run.seed.x=1", r"seed is no table"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: str, said: str) -> None:
    (tmp_path / "r.toml").write_text(TOML + "[run]\nseed = 0\n")
    with pytest.raises(UsageError, match=said):
        read_recipe(tmp_path / "r.toml", [change])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "r.toml").write_text("data = [")
    with pytest.raises(UsageError, match="not valid TOML"):
        read_recipe(tmp_path / "r.toml")


def test_the_first_difference_is_named(tmp_path: Path) -> None:
    one, other = recipe(tmp_path).to_dict(), recipe(tmp_path, run={"keep": 9}, optimiser={"lr": 1.0}).to_dict()
    assert difference(one, one, ()) is None
    assert difference(one, other, ("run.",)) == "optimiser.lr was 0.002 and is 1.0"
    assert difference(one, other, ("run.", "optimiser.lr")) is None


def keys_of(cls: type[Any], table: str) -> list[tuple[str, str]]:
    hints, found = get_type_hints(cls), []
    for each in fields(cls):
        inner = [part for part in (hints[each.name], *getattr(hints[each.name], "__args__", ())) if is_dataclass(part)]
        if inner and isinstance(inner[0], type):
            found += keys_of(inner[0], f"{table}.{each.name}".lstrip("."))
        found.append((table, each.name))
    return found


def test_the_guide_names_every_key() -> None:
    page = (ROOT / "docs" / "training.md").read_text("utf-8")
    inside = page.partition("## Recipes")[2].partition("\n## ")[0]
    missing = [
        f"{table}.{key}"
        for table, key in keys_of(Recipe, "")
        if table and f"`{key}`" not in inside and key != "switches" and table != "guard"
    ]
    assert not missing
    # The guard's keys are the fields of its configuration: the page names the usual ones and where all are documented.
    assert "stability/config.py" in inside
    named = set(re.findall(r"`(\w+)`", inside.partition("### `[guard]`")[2].partition("\n### ")[0]))
    assert len(named & {field.name for field in fields(GuardConfig)}) >= 8


def test_the_examples_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "training.md").read_text("utf-8"), re.DOTALL)
    exec(compile(block, "docs/training.md", "exec", dont_inherit=True), {"__name__": "training_page"})
