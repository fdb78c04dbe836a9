"""`overwinter memory refit` and `vectors`: files of uses, what is kept, and which vectors answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_kit import Cli, Said

TOWNS = [f"Town{number}" for number in range(40)]


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Forty towns, each spoken of twice: what is asked for is always said a turn later."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "overwinter.toml").write_text('store = "journal.db"\nby = "Ada"\n')
    turns = [
        text for town in TOWNS for text in (f"And {town} then?", f"It was lovely, the harbour of {len(town)} ships.")
    ]
    lines = [
        json.dumps({"role": "user", "content": text, "time": f"2031-04-07T10:{at:02}:00Z"})
        for at, text in enumerate(turns[:59])
    ]
    lines += [
        json.dumps({"role": "user", "content": text, "time": f"2031-04-08T11:{at:02}:00Z"})
        for at, text in enumerate(turns[59:])
    ]
    (tmp_path / "chat.jsonl").write_text("\n".join(lines), "utf-8")
    cli = Cli(monkeypatch)
    assert cli("memory", "import", "chat.jsonl").code == 0
    return lambda *words: cli("memory", *words)


def _uses(path: Path, count: int = 40) -> None:
    rows = [
        {"question": f"how was {town}?", "cites": [f"memory-default#{3 + 2 * at}"]}
        for at, town in enumerate(TOWNS[:count])
    ]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")


def test_uses_are_fitted_to_and_kept(memory: Callable[..., Said], tmp_path: Path) -> None:
    _uses(tmp_path / "uses.jsonl")
    tried = memory("refit", "uses.jsonl", "--dry-run", "--json")
    assert tried.code == 0, tried.err
    assert tried.record["uses"] == 40
    assert tried.record["kept"] is False
    assert tried.record["recall_after"] >= max(tried.record["recall_before"], tried.record["recall_words"])
    assert tried.record["threshold"] is None  # nobody asked what memory does not know
    first = memory("refit", "uses.jsonl", "--json").record
    again = memory("refit", "uses.jsonl", "--json").record
    assert again["recall_before"] == pytest.approx(first["recall_after"])
    afresh = memory("refit", "uses.jsonl", "--reset", "--json").record
    assert afresh["recall_before"] == pytest.approx(first["recall_before"])
    assert "held out" in memory("refit", "uses.jsonl").out


def test_few_uses_change_nothing(memory: Callable[..., Said], tmp_path: Path) -> None:
    _uses(tmp_path / "uses.jsonl", 5)
    said = memory("refit", "uses.jsonl")
    assert said.out.splitlines()[0] == "5 uses; weights: too few uses"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "is no JSON"),
        ('{"question": "x"}', "is no use"),
        ('{"question": "x", "cites": ["memory-default#999"]}', "which this memory does not hold"),
        ('{"question": "x", "cites": [], "answer": 1}', "is no use"),
    ],
)
def test_a_line_that_is_no_use_is_named(memory: Callable[..., Said], tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "uses.jsonl").write_text(f"\n{line}\n")
    said = memory("refit", "uses.jsonl")
    assert said.code == 2
    assert "uses.jsonl:2" in said.err
    assert problem in said.err


def test_without_an_embedder_there_are_no_vectors(memory: Callable[..., Said]) -> None:
    said = memory("vectors")
    assert said.code == 2
    assert "set embedder in [memory]" in said.err


def test_vectors_of_our_own_engine_follow_each_other(
    memory: Callable[..., Said], tmp_path: Path, tiny_model: Path
) -> None:
    import shutil

    config = 'store = "journal.db"\nby = "Ada"\n[memory]\nembedder = "engine:{}"\n'
    shutil.copytree(tiny_model, tmp_path / "second")
    (tmp_path / "overwinter.toml").write_text(config.format(tiny_model))
    found = memory("vectors", "--json").record
    assert (found["waiting"], found["in_use"]) == (0, found["wanted"])
    assert memory("search", "harbour", "--json").code == 0

    from safetensors.torch import load_file, save_file

    (weights,) = (tmp_path / "second").glob("*.safetensors")
    tensors = {name: tensor * 1.5 for name, tensor in load_file(weights).items()}
    weights.chmod(0o644)
    save_file(tensors, weights)
    both = config.format(tmp_path / "second") + f'previous_embedder = "engine:{tiny_model}"\n'
    (tmp_path / "overwinter.toml").write_text(both)
    other = memory("vectors", "--drop-old", "--json").record
    assert other["wanted"] != found["wanted"]
    assert other["in_use"] == other["wanted"]
    assert other["dropped"] == [found["wanted"]]
    assert set(other["stored"]) == {other["wanted"]}
