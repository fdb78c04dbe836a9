"""Tools: what a run can do to the world, and what the world may say back.

A tool is a function with a JSON schema, an effect class, a time limit and perhaps a probe. The loop journals an intent,
calls, and journals a receipt; the effect class decides what happens to an intent whose receipt is missing.

Invariants, each with a test:

- A call never raises for what the tool does: crash, timeout, bad answer and wrong arguments are results.
- The normal form of the arguments is plain JSON; validating it again changes nothing; the idempotency key is its hash.
- An irreversible call that crashed, and any call that timed out, is marked `in_doubt`.
- What the model sees is valid Unicode and no longer than the tool's limit.
- Tool output is data: in the view it stands in a fence that no content can close.
- No file tool leaves its root; no HTTP tool leaves its allow-list; a sandboxed process dies with all its children.

Read `effect.py`, `tool.py`, then what you need of `signature.py`, `calling.py`, `fence.py`, `filesystem.py`, `web.py`,
`sandbox.py` (with `process.py` and `_launch.py`), `mcp.py`.

The built-in tools load on first use, so that importing this package stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from overwinter.tools.fence import FENCE_RULE, fence
from overwinter.tools.signature import SchemaSignature
from overwinter.tools.tool import (
    Effect,
    ErrorKind,
    Tool,
    Toolbox,
    ToolContext,
    ToolResult,
    failure,
    idempotency_key,
    tool,
)

if TYPE_CHECKING:
    from overwinter.tools.filesystem import files
    from overwinter.tools.mcp import McpServer
    from overwinter.tools.sandbox import Limits, python_sandbox, sandbox_report, shell_sandbox
    from overwinter.tools.web import http_get

__all__ = [
    "FENCE_RULE",
    "Effect",
    "ErrorKind",
    "Limits",
    "McpServer",
    "SchemaSignature",
    "Tool",
    "ToolContext",
    "ToolResult",
    "Toolbox",
    "failure",
    "fence",
    "files",
    "http_get",
    "idempotency_key",
    "python_sandbox",
    "sandbox_report",
    "shell_sandbox",
    "tool",
]

_LAZY = {
    "Limits": "process",
    "McpServer": "mcp",
    "files": "filesystem",
    "http_get": "web",
    "python_sandbox": "sandbox",
    "sandbox_report": "sandbox",
    "shell_sandbox": "sandbox",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
