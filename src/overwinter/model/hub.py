"""From what a user names to a folder: a path, or a name on the Hugging Face hub such as "org/name" or "org/name@revision".

A path that exists goes first. Then the hub's cache on this machine, read here without a library and without a network. Only
what is not there is downloaded, by `huggingface_hub` where that is installed: configs, safetensors, tokenizer and templates,
never code. The name, not the commit, is what messages and servers show (`shown_name`).
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

from overwinter.errors import UsageError
from overwinter.model.weights import CONFIG, INDEX, WEIGHTS, read_json

PATTERNS = ["*.json", "*.safetensors", "*.jinja", "tok*.bin"]
"""Files that are downloaded."""
_NAME = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*?)(?:@([\w.-]+))?")
_PREFIX = "models--"


def find_folder(name: str | Path) -> Path:
    """The folder of a model.

    Args:
        name: a path, or a name on the hub with or without a revision (branch, tag or commit; default is main).

    Raises:
        UsageError: there is no such folder, and the hub's cache and the hub do not have it either.
    """
    if Path(name).exists():
        return Path(name)
    match = _NAME.fullmatch(str(name))
    if match is None or isinstance(name, Path):
        raise UsageError(
            f"there is no folder {name}", "name the folder of a checkpoint, or a model on the hub as org/name"
        )
    repo, revision = match[1], match[2] or "main"
    cached = _cached(repo, revision)
    return _download(repo, revision) if cached is None else cached


def shown_name(folder: str | Path) -> str:
    """What to call the model of a folder: "org/name" in the hub's cache, else the folder's own name."""
    folder = Path(folder).resolve()
    repo = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repo.startswith(_PREFIX):
        return repo.removeprefix(_PREFIX).replace("--", "/", 1)
    return folder.name


def cache_folder() -> Path:
    """Where the hub's files lie, by the environment variables that its own library reads."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(home).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"


def _cached(repo: str, revision: str) -> Path | None:
    """A complete copy in the cache; one that was broken off counts as none."""
    place = cache_folder() / (_PREFIX + repo.replace("/", "--"))
    reference = place / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    folder = place / "snapshots" / commit
    return folder if _is_complete(folder) else None


def _is_complete(folder: Path) -> bool:
    if not (folder / CONFIG).exists():
        return False
    if not (folder / INDEX).exists():
        return (folder / WEIGHTS).exists()
    places = read_json(folder / INDEX).get("weight_map")
    return isinstance(places, dict) and all((folder / str(shard)).exists() for shard in places.values())


def _download(repo: str, revision: str) -> Path:
    problem = f"there is no folder {repo}, and the cache in {cache_folder()} has no complete {repo} at {revision}"
    if find_spec("huggingface_hub") is None:
        raise UsageError(problem, "pip install huggingface_hub to download it, or name the folder of a checkpoint")
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(repo, revision=revision, cache_dir=cache_folder(), allow_patterns=PATTERNS)
    except (OSError, ValueError) as error:  # all of the library's errors are one of these
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"{problem}; the hub did not give it: {first}",
            "check the name, the network and your access, or name the folder of a checkpoint",
        ) from error
    return Path(found)
