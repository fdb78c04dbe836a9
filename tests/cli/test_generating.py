"""generate: text, records, constraints, seeds, and errors that say what to do."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from cli_kit import Cli

GREEDY = ("generate", "Storm: none.", "--max-tokens", "8")


def test_text_streams_and_a_rate_follows(cli: Cli, tiny_model: Path) -> None:
    said = cli(*GREEDY, "--model", str(tiny_model))
    assert said.code == 0, said.err
    assert said.out.strip()
    assert "8 tokens" in said.err
    assert "ended by --max-tokens" in said.err
    assert said.out.rstrip("\n") == cli(*GREEDY, "--model", f"local:{tiny_model}").out.rstrip("\n")


def test_json_is_one_record(cli: Cli, tiny_model: Path) -> None:
    said = cli(*GREEDY, "--model", str(tiny_model), "--json", "--logprobs", "2")
    record = said.record
    assert said.err == ""
    assert record["finish"] == "length"
    assert len(record["token_ids"]) == len(record["logprobs"]) == 8
    assert [row["id"] for row in record["logprobs"]] == record["token_ids"]
    for row in record["logprobs"]:
        assert row["logprob"] == row["top"][0]["logprob"], "the greedy token is the likeliest"
        assert math.isfinite(row["logprob"])


def test_logprobs_for_people(cli: Cli, tiny_model: Path) -> None:
    said = cli(*GREEDY, "--model", str(tiny_model), "--logprobs", "1")
    lines = said.out.splitlines()
    assert "LOG-PROB" in said.out
    assert sum(line.strip()[:1].isdigit() for line in lines) >= 8


def test_a_seed_repeats_and_is_told(cli: Cli, tiny_model: Path) -> None:
    hot = (*GREEDY, "--model", str(tiny_model), "--temperature", "1", "--json")
    first = cli(*hot).record
    assert cli(*hot, "--seed", str(first["seed"])).record["token_ids"] == first["token_ids"]
    assert cli(*hot, "--seed", "1").record["token_ids"] != cli(*hot, "--seed", "2").record["token_ids"]
    narrow = (*hot, "--top-k", "1", "--seed", "3")
    assert cli(*narrow).record["token_ids"] == cli(*GREEDY, "--model", str(tiny_model), "--json").record["token_ids"]


def test_what_must_come_out(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}))
    base = ("generate", "Storm", "--model", str(tiny_model), "--json", "--temperature", "1", "--seed", "1")
    assert cli(*base, "--choices", "wait", "--choices", "heat off").record["text"].strip() in {"wait", "heat off"}
    assert cli(*base, "--regex", "[ab]{3}c").record["text"].strip("ab") == "c"
    assert isinstance(json.loads(cli(*base, "--schema", str(schema)).record["text"])["a"], bool)


def test_a_chat_goes_through_the_template(cli: Cli, tiny_model: Path) -> None:
    base = ("generate", "hi", "--model", str(tiny_model), "--max-tokens", "3", "--json")
    plain, chat = cli(*base).record, cli(*base, "--chat").record
    system = cli(*base, "--chat", "--system", "Keep it warm.").record
    assert plain["prompt_tokens"] < chat["prompt_tokens"] < system["prompt_tokens"]


def test_standard_input_is_a_prompt(cli: Cli, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Storm: none."))
    said = cli("generate", "--model", str(tiny_model), "--max-tokens", "8", "--json")
    assert said.record["token_ids"] == cli(*GREEDY, "--model", str(tiny_model), "--json").record["token_ids"]


def test_a_stop_string_ends_it(cli: Cli, tiny_model: Path) -> None:
    text = cli(*GREEDY, "--model", str(tiny_model), "--json").record["text"]
    stop = text.strip()[2:4]
    record = cli(*GREEDY, "--model", str(tiny_model), "--json", "--stop", stop).record
    assert record["finish"] == "stop"
    assert record["stop"] == stop
    assert text.startswith(record["text"])
    assert stop not in record["text"]


def test_the_configuration_names_the_model(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "overwinter.toml").write_text(f'model = "local:{tiny_model}"\n[local]\ncontext = 12\n')
    assert cli(*GREEDY, "--json").record["model"] == "tiny"
    said = cli("generate", "Storm: none.", "--max-tokens", "50")
    assert said.code == 2
    assert "50 of output do not fit tiny's context of 12" in said.err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "no model is named"),
        (["--model", "nowhere"], "is no model"),
        (["--model", "local:nowhere"], "nowhere is no model folder"),
        (["--model", "http://127.0.0.1:1/v1#m"], "does not run in this process"),
        (["--model", "MODEL", "--dtype", "int4"], "dtype 'int4' is not known"),
        (["--model", "MODEL", "--regex", "a", "--choices", "b"], "each say what the answer is"),
        (["--model", "MODEL", "--regex", "("], "the regular expression '(' cannot be used"),
        (["--model", "MODEL", "--schema", "none.json"], "none.json cannot be read"),
        (["--model", "MODEL", "--temperature", "-1"], "temperature is -1"),
        (["--model", "MODEL", "--system", "x"], "--system is a turn of a chat"),
    ],
)
def test_errors_say_what_to_do(cli: Cli, tiny_model: Path, words: list[str], problem: str) -> None:
    said = cli("generate", "x", *(str(tiny_model) if word == "MODEL" else word for word in words))
    assert said.code == 2
    assert problem in said.err
    assert "→" in said.err
    assert "Traceback" not in said.err


def test_damaged_weights_are_an_error(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[:1000])
    said = cli("generate", "x", "--model", str(broken))
    assert said.code == 2
    assert "damaged or cut short (1000 bytes)" in said.err
    (broken / "tokenizer.json").unlink()
    assert "there is no tokenizer.json" in cli("generate", "x", "--model", str(broken)).err
