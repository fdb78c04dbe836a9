"""Our own folders: exact round trips, damage named, nothing half written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from model_kit import SHAPE, SWITCHES, some_ids, tiny
from safetensors.torch import load_file, save_file

from overwinter.errors import UsageError
from overwinter.model import Config, load, load_tokenizer, save, weights


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_what_is_saved_is_loaded(switches: dict[str, Any], tmp_path: Path) -> None:
    decoder, ids_BL = tiny(**switches), some_ids(2, 12)
    save(decoder, tmp_path / "here" / "tiny")
    again = load(tmp_path / "here" / "tiny")
    assert again.config == decoder.config
    with torch.no_grad():
        assert torch.equal(again(ids_BL), decoder(ids_BL))
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["tiny"]


def test_the_dtype_is_the_files_unless_asked(tmp_path: Path) -> None:
    save(tiny().to(torch.bfloat16), tmp_path / "half")
    assert load(tmp_path / "half").embed.weight.dtype == torch.bfloat16
    assert load(tmp_path / "half", dtype=torch.float32).embed.weight.dtype == torch.float32


def test_a_tokenizer_travels_along(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    save(tiny(), tmp_path / "with", tokenizer=Tokenizer(WordLevel({"snow": 0, "?": 1}, unk_token="?")))
    assert load_tokenizer(tmp_path / "with").encode("snow").ids == [0]
    save(tiny(), tmp_path / "without")
    with pytest.raises(UsageError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path / "without")
    (tmp_path / "without" / "tokenizer.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        load_tokenizer(tmp_path / "without")


def test_a_folder_with_content_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        save(tiny(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(UsageError, match="No space left"):
        save(tiny(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [0, 4, 100, 5_000, -1])
def test_a_file_cut_short_is_named(kept: int, tmp_path: Path) -> None:
    save(tiny(), tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UsageError, match=r"model\.safetensors is damaged or cut short"):
        load(tmp_path / "out")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.json"):
        load(tmp_path)
    save(tiny(), tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"neither model\.safetensors nor"):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"embed.weight": "a.safetensors", "norm.weight": "b.safetensors"}, r"lacks 2 of 2 shards: a\.safetensors"),
        ({"embed.weight": "../a.safetensors"}, "out of its folder"),
        ({"nothing.weight": "whole.safetensors"}, r"no shard holds: nothing\.weight"),
        ({}, "weight_map"),
    ],
)
def test_a_wrong_index_is_said(places: dict[str, str], words: str, tmp_path: Path) -> None:
    save(tiny(), tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").rename(tmp_path / "out" / "whole.safetensors")
    (tmp_path / "out" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(UsageError, match=words):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("norm.weight"), r"missing: norm\.weight"),
        (lambda t: t.update(more=torch.ones(1)), "unexpected: more"),
        (lambda t: t.update({"norm.weight": torch.ones(7)}), r"norm\.weight has shape \(7,\)[\s\S]*\(32,\)"),
        (lambda t: t.update({"norm.weight": torch.ones(32, dtype=torch.int8)}), r"norm\.weight is torch\.int8"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: Any, words: str, tmp_path: Path) -> None:
    save(tiny(), tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(UsageError, match=words):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loops": 4}, "no 'loops'"),
        ({"format": 2}, "format 2"),
        ({"d_model": "32"}, "d_model cannot be '32'"),
        ({"n_layers": 0}, "n_layers cannot be 0"),
        ({"n_kv_heads": 3}, "3 key heads"),
        ({"d_head": 7}, "even"),
        ({"rope_fraction": 0.4}, "even"),
        ({"rope_fraction": 1.5}, "at most 1"),
        ({"rope_base": None, "rope_fraction": 0.5}, "without rope_base"),
        ({"rope_base": 0}, "rope_base cannot be 0"),
        ({"embedding_scale": 0.0}, "embedding_scale cannot be"),
        ({"pattern": "AX"}, r"'X'[\s\S]*'A', 'M', 'W'"),
        ({"pattern": "M"}, "no `mamba`"),
        ({"mamba": {"n_heads": 4}}, "and `mamba`"),
        ({"pattern": "M", "mamba": {"n_heads": 4, "d_model": 32}}, "MambaConfig has no 'd_model'"),
        ({"pattern": "M", "mamba": {}}, "MambaConfig needs n_heads"),
        ({"pattern": "M", "mamba": 4}, "MambaConfig cannot be 4"),
        ({"pattern": "AAAA"}, "longer"),
        ({"pattern": "W"}, "window None"),
        ({"window": 4}, "window 4"),
        ({"qk_norm": 1}, "qk_norm cannot be 1"),
        ({"attn_softcap": -1.0}, "attn_softcap cannot be"),
        ({"mlp": "gelu"}, "mlp cannot be 'gelu'"),
        ({"norm": "post"}, "norm cannot be 'post'"),
        ({"rope_scaling": {"kind": "ntk"}}, "ntk"),
        ({"rope_scaling": {"kind": "yarn", "factor": 2.0}}, "needs original_context"),
        ({"rope_scaling": {"kind": "yarn", "factor": 2.0, "original_context": 8, "x": 1}}, "no 'x'"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    save(tiny(), tmp_path / "out")
    path = tmp_path / "out" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=words):
        load(tmp_path / "out")


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_config_that_is_not_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json"):
        load(tmp_path)


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_a_config_survives_json(switches: dict[str, Any]) -> None:
    config = Config(**{**SHAPE, **switches})
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_base_install_does_not_touch_torch() -> None:
    """In a fresh process: the public names need no torch, and where torch is missing the model says what to install."""
    code = """
import sys
import overwinter, overwinter.loop.run, overwinter.cli.main
assert "torch" not in sys.modules and "overwinter.model" not in sys.modules
import overwinter.model
assert "torch" not in sys.modules
del sys.modules["overwinter.model"]
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else real(name, *rest)
try:
    import overwinter.model.decoder
except overwinter.OverwinterError as error:
    assert "torch" in error.problem and error.next_step == "pip install 'overwinter[local]'", error
else:
    raise SystemExit("imported without torch")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_path(), check=False)
    assert done.returncode == 0, done.stderr


def _path() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
