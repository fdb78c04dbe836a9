"""model info, convert and bench; and what doctor says about the engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_kit import Cli


def test_info_says_what_is_there(cli: Cli, tiny_model: Path) -> None:
    record = cli("model", "info", str(tiny_model), "--json").record
    assert record["model"].startswith("tiny@")
    assert record["shape"]["n_layers"] == 2
    assert record["switches"] == {"tied": True}
    assert record["weight_bytes"] == 4 * record["parameters"]
    assert record["cache_bytes_token"] == 2 * 2 * 2 * 8 * 4, "K and V, layers, heads, width, bytes"
    assert record["state_bytes"] == 0
    assert (record["packed"] > 0) is not bool(record["plain"]), "this shape is packed whole or not at all"
    assert record["is_exact"] in (True, False)
    assert record["text"]["template"] == ["default"]
    assert list(record["text"]["end_tokens"].values()) == ["<|end|>"]
    table = cli("model", "info", str(tiny_model)).out
    assert f"{record['parameters']:,}, float32" in table
    assert "tied=True" in table


def test_info_counts_parameters_right(cli: Cli, tiny_model: Path) -> None:
    from overwinter.model import load

    counted = sum(each.numel() for each in load(tiny_model).parameters())
    assert cli("model", "info", str(tiny_model), "--json").record["parameters"] == counted


def test_convert_there_and_back_keeps_every_bit(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    import torch

    from overwinter.model import TextFormat, load

    said = cli("model", "convert", str(tiny_model), "published", "--to", "hf")
    assert said.code == 0, said.err
    assert "as llama" in said.out
    record = cli("model", "convert", "published", "back", "--to", "overwinter", "--json").record
    assert record["family"] == "overwinter"
    before, after = load(tiny_model).state_dict(), load(tmp_path / "back").state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    texts = [TextFormat.load(folder) for folder in (tiny_model, tmp_path / "published", tmp_path / "back")]
    chats = [text.encode_chat([{"role": "user", "content": "wait"}]) for text in texts]
    assert chats[0] == chats[1] == chats[2]
    assert texts[0].end_ids == texts[1].end_ids == texts[2].end_ids
    greedy = [
        cli("generate", "Storm", "--model", each, "--max-tokens", "6", "--json").record["token_ids"]
        for each in (str(tiny_model), "published", "back")
    ]
    assert greedy[0] == greedy[1] == greedy[2]


def test_convert_rounds_where_asked(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    cli("model", "convert", str(tiny_model), "half", "--to", "overwinter", "--dtype", "bfloat16")
    assert json.loads((tmp_path / "half" / "generation_config.json").read_text())["eos_token_id"] > 0
    assert cli("model", "info", "half", "--json").record["dtype"] == "bfloat16"
    assert cli("model", "info", "half", "--json", "--dtype", "float32").record["dtype"] == "float32"


def test_nothing_is_overwritten_or_left_half(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    said = cli("model", "convert", str(tiny_model), "full", "--to", "hf")
    assert said.code == 2
    assert "is not an empty folder" in said.err
    assert cli("model", "convert", str(tiny_model), "x", "--to", "gguf").code == 2
    assert cli("model", "convert", "nowhere", "x", "--to", "hf").code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_bench_measures_each_batch(cli: Cli, tiny_model: Path) -> None:
    words = ("model", "bench", str(tiny_model), "--batch", "2", "--batch", "1", "--repeats", "1", "--threads", "1")
    said = cli(*words, "--prompt-tokens", "20", "--new-tokens", "3", "--json")
    assert said.code == 0, said.err
    assert [record["batch"] for record in said.records] == [1, 2]
    for record in said.records:
        assert record["prefill_tokens_s"] > 0
        assert record["decode_tokens_s"] > 0
        assert 0 < record["read_fraction"] < 10


@pytest.mark.parametrize(
    "words", [("info", "nowhere"), ("bench", "nowhere"), ("convert", "nowhere", "x", "--to", "hf")]
)
def test_no_folder_is_an_error(cli: Cli, words: tuple[str, ...]) -> None:
    said = cli("model", *words)
    assert said.code == 2
    assert "is no model folder" in said.err


def test_doctor_knows_the_engine_and_the_configured_model(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "overwinter.toml").write_text(f'model = "local:{tiny_model}"\njudge = "local:gone"\n')
    said = cli("doctor", "--json")
    rows = {record["check"]: record for record in said.records if record["check"] != "setting"}
    assert said.code == 1
    assert "torch" in rows["extra local"]["value"]
    assert "threads" in rows["engine"]["value"]
    assert rows["model"]["ok"] is True
    assert rows["judge"]["ok"] is False
    assert str(tmp_path / "gone") in rows["judge"]["value"], "paths in a file are relative to it"
