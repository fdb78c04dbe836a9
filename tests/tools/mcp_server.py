"""A small real MCP server for the tests: `python mcp_server.py FILE [PORT]`; over stdio, or over HTTP on PORT.

FILE receives a line for each effect, so that a test sees what happened and with which key.
"""

import os
import sys
import time

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolAnnotations

LOG = sys.argv[1]
server = MCPServer("shop")


def note(line: str) -> None:
    with open(LOG, "a", encoding="utf-8") as stream:
        stream.write(line + "\n")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def look(shelf: int, label: str = "x") -> str:
    """Look at a shelf."""
    return f"{label}{shelf}: café"


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
def set_price(price: float) -> dict[str, float]:
    """Set the price."""
    return {"price": price}


@server.tool(annotations=ToolAnnotations(destructive_hint=True, read_only_hint=False))
def discard() -> str:
    """Throw all away."""
    raise ValueError("the bin is full")


@server.tool()
def order(litres: int, ctx: Context) -> str:
    """Order fuel."""
    meta = ctx.request_context.meta or {}
    note(f"ordered {litres} {meta.get('overwinter/idempotency-key')}")
    return "ordered"


@server.tool()
def die() -> str:
    """End the server in the middle of the call."""
    note("died")
    os._exit(3)


@server.tool()
def hang() -> str:
    """Answer too late."""
    time.sleep(1.5)
    return "late"


if __name__ == "__main__":
    if len(sys.argv) > 2:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("stdio")
