"""Configuration: four layers, origins, refusals, and doctor, which shows it all but no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_kit import Cli
from hypothesis import given
from hypothesis import strategies as st

from overwinter.amounts import budget_flag, parse_budget, parse_duration_s
from overwinter.config import load, unknown_variables
from overwinter.errors import UsageError


def test_layers(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "overwinter.toml").write_text(
        'store = "a.db"\nbudget = "calls=5"\n[world]\nseed = 1\npolicy = "rules"\n[pace]\nmax_tokens = 64\n'
    )
    inner = tmp_path / "x" / "y"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    monkeypatch.setenv("OVERWINTER_WORLD__SEED", "2")
    monkeypatch.setenv("OVERWINTER_PACE__TEMPERATURE", "0.5")
    monkeypatch.setenv("OVERWINTER_BUDGET", "calls=6")
    effective = load({"budget": "calls=7", "model": None})
    rows = {name: (value, origin) for name, value, origin in effective.rows()}
    file = str(tmp_path / "overwinter.toml")
    assert rows["store"] == (str(tmp_path / "a.db"), file)
    assert rows["world.seed"] == (2, "environment OVERWINTER_WORLD__SEED")
    assert rows["world.policy"] == ("rules", file)
    assert rows["world.name"] == ("greenhouse", "default")
    assert rows["budget"] == ("calls=7", "flag --budget")
    assert rows["model"] == ("", "default")
    assert effective.settings.pace == {"max_tokens": 64, "temperature": 0.5}


def test_the_user_s_own_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "home" / "overwinter").mkdir(parents=True)
    (tmp_path / "home" / "overwinter" / "overwinter.toml").write_text('by = "Ada"')
    assert load().settings.by == "Ada"
    (tmp_path / "overwinter.toml").write_text('by = "Bo"')
    assert load().settings.by == "Bo"


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ('stor = "x"', "stor", "unknown key"),
        ("[world]\nsed = 3", "world.sed", "unknown key"),
        ("[world]\nseed = -3", "world.seed", "greater than or equal to 0"),
        ("[pace]\nmax_token = 3", "pace", "max_token"),
        ('[tools]\nfile = "x"', "tools", "unknown keys file"),
        ('[endpoint]\napi_key = "sk-1"', "endpoint", "use api_key_env"),
        ("[endpoint]\nspeed = 3", "endpoint", "unknown keys speed"),
        ('budget = "calls=many"', "budget", "not an amount of calls"),
        ('[[gates]]\ndecision = "perhaps"', "gates", "perhaps"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(
    cli: Cli, tmp_path: Path, text: str, key: str, problem: str
) -> None:
    (tmp_path / "overwinter.toml").write_text(text)
    said = cli("ls")
    assert said.code == 2
    assert f"{tmp_path / 'overwinter.toml'}: {key}:" in said.err
    assert problem in said.err
    assert "sk-1" not in said.err


def test_files_that_cannot_be_read(cli: Cli, tmp_path: Path) -> None:
    assert cli("ls", "--config", "none.toml").code == 2
    (tmp_path / "overwinter.toml").write_text("store = ")
    assert "not valid TOML" in cli("ls").err


def test_a_variable_that_does_not_fit(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERWINTER_WORLD__SEED", "soon")
    said = cli("ls")
    assert said.code == 2
    assert "OVERWINTER_WORLD__SEED" in said.err
    monkeypatch.setenv("OVERWINTER_WORLD__SEED", "1")
    monkeypatch.setenv("OVERWINTER_GATES", "[")
    assert cli("ls").code == 2


def test_misspelt_variables_are_found() -> None:
    found = unknown_variables(
        {"OVERWINTER_STROE": "x", "OVERWINTER_STORE": "y", "OVERWINTER_WORLD__SEED": "1", "HOME": "/"}
    )
    assert found == ["OVERWINTER_STROE"]


def test_the_file_s_gates_and_flags_make_the_setup(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "overwinter.toml").write_text(
        '[[gates]]\nname = "g"\ndecision = "allow"\ntool = "act"\n[world]\nname = "greenhouse:days=20"\n'
    )
    assert cli("run", "--ask", "orders", "--deny", "irreversible", "--max-steps", "1", "--policy", "rules").code == 3
    setup = cli("log", "--json", "--kind", "run.started").record["body"]["setup"]
    assert [rule["name"] for rule in setup["gates"]] == ["--deny irreversible", "--ask orders", "g"]
    assert setup["model"] == {"kind": "policy", "policy": "rules"}
    assert setup["world"] == {"name": "greenhouse:days=20", "seed": 0}


def test_no_key_gets_into_a_journal(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "overwinter.toml").write_text('[endpoint]\napi_key_env = "MY_KEY"\nmax_attempts = 1\n')
    monkeypatch.setenv("MY_KEY", "sk-secret-123")
    said = cli("run", "hello", "--model", "http://127.0.0.1:9/v1#m", "--name", "r1")
    assert said.code == 3
    assert "the model cannot answer" in said.out
    everything = said.out + said.err + cli("log", "--json").out + cli("doctor", "--json").out
    assert "sk-secret-123" not in everything
    assert b"sk-secret-123" not in (tmp_path / "overwinter.db").read_bytes()
    assert "MY_KEY" in everything


def test_doctor(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "overwinter.toml").write_text('[[tools.mcp]]\nname = "t"\ncommand = ["x"]\nenv = {TOKEN = "hush"}\n')
    monkeypatch.setenv("OVERWINTER_STROE", "x")
    said = cli("doctor", "--json")
    assert said.code == 0
    checks = {record["check"]: record for record in said.records}
    assert {"setting", "python", "sqlite", "disk", "store", "sandbox", "extra mcp", "environment"} <= set(checks)
    settings = {record["name"]: record for record in said.records if record["check"] == "setting"}
    assert settings["store"]["origin"] == "default"
    assert settings["tools.mcp"]["origin"] == str(tmp_path / "overwinter.toml")
    text = cli("doctor").out
    assert "hush" not in said.out + text
    assert "OVERWINTER_STROE" in text
    assert "fsync works" in text


def test_doctor_finds_what_is_broken(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "overwinter.db").write_text("no database at all" * 99)
    said = cli("doctor")
    assert said.code == 1
    assert "PROBLEM" in said.out
    said = cli("doctor", "--store", "postgresql://me:hush@127.0.0.1:1/x?connect_timeout=2")
    assert said.code == 1
    assert "hush" not in said.out + said.err


def test_gc(season: Cli) -> None:
    would = season("gc", "--older-than", "0s", "--dry-run", "--json").record
    assert would["blobs"] > 0
    done = season("gc", "--older-than", "0s", "--json").record
    assert done["blobs"] == would["blobs"]
    assert done["freed_bytes"] > 0
    assert season("log", "done", "--verify").code == 0
    assert season("log", "done").code == 0
    assert season("log", "done", "--html", "page.html").code == 0
    assert season("gc", "--older-than", "soon").code == 2
    assert season("gc", "--older-than", "1d", "--kind", "nothing").code == 2


def test_budgets_in_words() -> None:
    assert parse_budget("tokens=200k,usd=2.50,wall=2h,calls=500") == {
        "tokens": 200_000,
        "micro_usd": 2_500_000,
        "wall_ms": 7_200_000,
        "tool_calls": 500,
    }
    assert parse_budget(" tokens = 1.5M , usd=$3") == {"tokens": 1_500_000, "micro_usd": 3_000_000}
    assert parse_budget("") == {}
    assert parse_duration_s("1.5m") == 90


@pytest.mark.parametrize(
    "text",
    [
        "tokens",
        "tokens=",
        "tokens=-1",
        "tokens=0",
        "calls=1.5",
        "usd=2k",
        "wall=2y",
        "tokens=1,tokens=2",
        "€=3",
        "tokens=1e99",
        "tokens=9999999g",
    ],
)
def test_budgets_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        parse_budget(text)


@given(
    st.dictionaries(
        st.sampled_from(["tokens", "micro_usd", "wall_ms", "tool_calls"]), st.integers(1, 10**9), min_size=1
    )
)
def test_a_budget_survives_being_written_out(amounts: dict[str, int]) -> None:
    assert parse_budget(budget_flag(amounts)) == amounts
