"""The command: what it refuses before it loads anything."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from process_kit import model_folder

from overwinter.cli.flags import Common
from overwinter.cli.main import main
from overwinter.cli.serving import Limits, Listening, Loading, serve
from overwinter.errors import UsageError


def refused(folder: Path, *, listening: Listening | None = None, loading: Loading | None = None) -> UsageError:
    with pytest.raises(UsageError) as caught:
        serve(
            model=str(folder),
            listening=listening or Listening(port=0),
            limits=Limits(),
            loading=loading or Loading(),
            common=Common(store=str(folder.parent / "serve.db")),
        )
    return caught.value


def test_an_open_address_needs_keys(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.0.7", "example.org"):
        assert "no API key" in refused(tmp_path, listening=Listening(host=host, port=0)).problem
    keys = tmp_path / "keys"
    keys.write_text("k" * 24)
    keys.chmod(0o600)
    both = refused(tmp_path, listening=Listening(port=0, api_key_file=keys, without_keys=True))
    assert "--without-keys" in both.problem


def test_a_port_in_use_is_found_before_the_model_is_loaded(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refused(tmp_path, listening=Listening(port=port)).problem


def test_folders_that_will_not_do(tmp_path: Path) -> None:
    assert "tokenizer" in refused(tmp_path).problem
    assert "there is no folder" in refused(tmp_path / "none").problem
    model = model_folder(tmp_path / "tiny")
    assert "--dtype" in refused(model, loading=Loading(dtype="int3")).problem
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "damaged or cut short" in refused(model).problem
    (model / "tokenizer_config.json").write_text('{"chat_template": "{% if %}"}')
    assert "broken at line 1" in refused(model).problem


def test_errors_reach_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", str(tmp_path / "serve.db")]
    monkeypatch.setattr(sys, "argv", ["overwinter", "serve", "--model", str(tmp_path), "--port", "0", *store])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: there is no tokenizer.json")
