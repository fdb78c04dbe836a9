"""The trainer's tests need overwinter[local]; without it they are not collected."""

from __future__ import annotations

from importlib.util import find_spec

if any(find_spec(name) is None for name in ("torch", "safetensors", "tokenizers", "jinja2")):
    collect_ignore_glob = ["test_*.py"]
