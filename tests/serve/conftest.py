"""The server's tests need overwinter[local,serve]; without them they are not collected."""

from __future__ import annotations

from importlib.util import find_spec

if any(
    find_spec(name) is None
    for name in ("torch", "tokenizers", "llguidance", "starlette", "uvicorn", "prometheus_client")
):
    collect_ignore_glob = ["test_*.py"]
