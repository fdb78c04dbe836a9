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

Read `effect.py`, `tool.py`, then what you need of `signature.py`, `calling.py`, `fence.py`, `files.py`, `http.py`,
`sandbox.py`, `mcp.py`.
"""

from __future__ import annotations

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

__all__ = [
    "Effect",
    "ErrorKind",
    "SchemaSignature",
    "Tool",
    "ToolContext",
    "ToolResult",
    "Toolbox",
    "failure",
    "idempotency_key",
    "tool",
]
