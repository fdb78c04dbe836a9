"""Names on the hub: a folder goes before the cache, the cache before the network, and what is nowhere is said."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from model_kit import some_ids, tiny

from overwinter.errors import UsageError
from overwinter.model import hub, load, load_tokenizer, save

COMMIT = "0123abcd"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, an empty folder to stand in, and a hub that nobody may ask."""

    def refused(*args: Any, **kwargs: Any) -> str:
        raise AssertionError("the network was asked")

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    answer_with(monkeypatch, refused)
    return tmp_path / "hub"


def answer_with(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    library = types.ModuleType("huggingface_hub")
    library.__spec__ = types.SimpleNamespace(name="huggingface_hub")  # type: ignore[assignment]
    library.snapshot_download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)


def put(cache: Path, name: str = "org/tiny.v1", commit: str = COMMIT, seed: int = 0) -> Path:
    """A cached model, laid out as the hub's library does: snapshots of links into blobs, and a reference."""
    place = cache / ("models--" + name.replace("/", "--"))
    save(tiny(seed=seed), place / "blobs")
    folder = place / "snapshots" / commit
    folder.mkdir(parents=True)
    for blob in (place / "blobs").iterdir():
        (folder / blob.name).symlink_to(blob)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text(commit)
    return folder


@pytest.mark.parametrize("name", ["org/tiny.v1", "org/tiny.v1@main", f"org/tiny.v1@{COMMIT}"])
def test_a_cached_model_needs_no_network(name: str, cache: Path) -> None:
    folder = put(cache)
    assert hub.find_folder(name) == folder
    with torch.no_grad():
        assert torch.equal(load(name)(some_ids(1, 5)), tiny()(some_ids(1, 5)))
    with pytest.raises(UsageError, match=r"no tokenizer\.json"):
        load_tokenizer(name)
    assert hub.shown_name(folder) == "org/tiny.v1"


def test_a_folder_of_that_name_goes_first(cache: Path) -> None:
    put(cache, seed=1)
    save(tiny(seed=2), "org/tiny.v1")
    assert hub.find_folder("org/tiny.v1") == Path("org/tiny.v1")
    with torch.no_grad():
        assert torch.equal(load("org/tiny.v1")(some_ids(1, 5)), tiny(seed=2)(some_ids(1, 5)))
    assert hub.shown_name("org/tiny.v1") == "tiny.v1"


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "shard"])
def test_a_copy_that_was_broken_off_is_fetched_again(lost: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(cache)
    if lost == "shard":
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "part-1.safetensors"}}))
    else:
        (folder / lost).unlink()
    asked: list[tuple[Any, ...]] = []

    def whole(repo: str, **kwargs: Any) -> str:
        asked.append((repo, kwargs["revision"], kwargs["cache_dir"]))
        assert not {"*.py", "*"} & set(kwargs["allow_patterns"])
        return str(put(cache, "org/other"))

    answer_with(monkeypatch, whole)
    assert load("org/tiny.v1").config == tiny().config
    assert asked == [("org/tiny.v1", "main", cache)]


@pytest.mark.parametrize("error", [OSError("404 Client Error.\n\nmore"), ValueError("404 Client Error.")])
def test_what_is_nowhere_is_said(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **kwargs: Any) -> str:
        raise error

    answer_with(monkeypatch, fails)
    with pytest.raises(UsageError, match=r"no folder org/none, and the cache .* at main; .*404 Client Error\.\n"):
        load("org/none")


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install huggingface_hub"):
        load("org/none")


@pytest.mark.parametrize("name", ["none", "a/b/c", "../none", "/no/where", Path("org/none"), "org/none@", ""])
def test_what_is_neither_a_folder_nor_a_name_is_said(name: str | Path) -> None:
    with pytest.raises(UsageError, match=r"no folder|no config\.json"):
        load(name)


def test_the_cache_is_where_the_library_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert hub.cache_folder() == Path.home() / ".cache" / "huggingface" / "hub"
    for variable, inside in (
        ("XDG_CACHE_HOME", "huggingface/hub"),
        ("HF_HOME", "hub"),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HUB_CACHE", ""),
    ):
        monkeypatch.setenv(variable, f"/somewhere/{variable}")
        assert hub.cache_folder() == Path(f"/somewhere/{variable}") / inside
