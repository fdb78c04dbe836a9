"""An MCP server written with the SDK, for a run that is killed: `python mcp_shop.py FILE`. Each effect is a line in FILE.

An order that FILE.pause asks for stops after its effect and before its answer: it makes FILE.paused, and waits to be killed.
"""

import json
import os
import sys
import time

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolAnnotations

LOG = sys.argv[1]
server = MCPServer("shop")


def carry_out(tool: str, litres: int, ctx: Context) -> str:
    key = (ctx.request_context.meta or {}).get("overwinter/idempotency-key")
    with open(LOG, "a+", encoding="utf-8") as stream:
        stream.seek(0)
        done = [json.loads(line) for line in stream]
    known = tool == "order_keyed" and any(row["key"] == key for row in done)
    if not known:
        with open(LOG, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"tool": tool, "litres": litres, "key": key}) + "\n")
    if os.path.exists(f"{LOG}.pause"):
        os.unlink(f"{LOG}.pause")
        open(f"{LOG}.paused", "w").close()
        time.sleep(60)
    return f"ordered {litres}"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def stock() -> str:
    """How much fuel there is."""
    return "80 litres"


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
def order_keyed(litres: int, ctx: Context) -> str:
    """Order fuel; the same key twice is one order."""
    return carry_out("order_keyed", litres, ctx)


@server.tool()
def order(litres: int, ctx: Context) -> str:
    """Order fuel; each call is an order."""
    return carry_out("order", litres, ctx)


if __name__ == "__main__":
    server.run("stdio")
