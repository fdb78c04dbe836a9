"""Tools of MCP servers, by way of the official SDK (`pip install 'overwinter[mcp]'`).

One background thread runs one event loop; one task holds the connection and the calls come to it from outside. When the
server dies, calls in flight fail as `unavailable` and the next call starts the server again.

Effect classes come from the server's hints:

    readOnlyHint                     pure
    idempotentHint                   idempotent
    anything else, or no hints       irreversible

`idempotent` and not `keyed`: the hint promises that the same arguments have no further effect, and says nothing of
keys. The key travels anyway, in the request's `_meta` under `overwinter/idempotency-key`; where a server is known to
honour it, say so with `effects={"order": Effect.KEYED}`. Hints are the server's word about itself: for a server you
do not trust, `trust_hints=False` makes every tool irreversible that `effects` does not name.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import importlib.util
import os
import shutil
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from overwinter.errors import ToolError, UsageError
from overwinter.tools.effect import Effect, ToolContext, ToolResult, failure
from overwinter.tools.signature import SchemaSignature
from overwinter.tools.tool import Tool

KEY_IN_META = "overwinter/idempotency-key"
_TIED = str(Path(__file__).with_name("_tied.py"))
_CLOSE_S = 10.0
_MARGIN_S = 1.0


class McpServer:
    """One MCP server, started or reached on first use.

    Args:
        name: the first part of its tools' names: `name.tool`.
        command: the program and its arguments, for a server over stdio; or
        url: the address, for a server over streamable HTTP.
        env: environment variables for the program, besides the few harmless ones that the SDK passes on.
        timeout_s: how long connecting, listing and each call may take.
        effects: effect classes by the server's own tool names; they override the hints.
        trust_hints: whether the server's hints count.
    """

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str] | None = None,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
        effects: Mapping[str, Effect | str] | None = None,
        trust_hints: bool = True,
    ) -> None:
        if (not command) == (not url):
            raise UsageError(f"MCP server {name!r} needs either a command or a url", "give exactly one of the two")
        if importlib.util.find_spec("mcp") is None:
            raise ToolError(f"MCP server {name!r}: the MCP SDK is missing", "pip install 'overwinter[mcp]'")
        self.name = name
        self.timeout_s = timeout_s
        self._command = list(command or ())
        self._url = url or ""
        self._env = dict(env or {})
        self._effects = {each: _effect(name, each, effect) for each, effect in (effects or {}).items()}
        self._trust_hints = trust_hints
        # A server may chat on its error stream for weeks; set OVERWINTER_MCP_STDERR=1 to see it.
        shown = os.environ.get("OVERWINTER_MCP_STDERR")
        self._errors = sys.stderr if shown else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 lives as long
        self._lock = threading.Lock()
        self._link: _Link | None = None

    def tools(self) -> list[Tool]:
        """The server's tools.

        Raises:
            ToolError: the server cannot be reached, or `effects` names tools that it does not have.
        """
        try:
            listed = self._ask(_list_all, self.timeout_s)
        except (_UnavailableError, TimeoutError) as reason:
            problem = str(reason) or f"gave no list of tools within {self.timeout_s:g} s"
            raise ToolError(f"MCP server {self.name!r} {problem}", f"check {self._where()}") from reason
        strangers = sorted(set(self._effects) - {each.name for each in listed})
        if strangers:
            problem = f"MCP server {self.name!r} has no tools {strangers}, for which effects are given"
            raise ToolError(problem, f"it has: {', '.join(each.name for each in listed)}")
        return [self._tool(each) for each in listed]

    def close(self) -> None:
        """End the connection and the program; the next use starts them again."""
        with self._lock:
            link, self._link = self._link, None
        if link is not None:
            link.close()

    def _where(self) -> str:
        return self._url or " ".join(self._command)

    def _tool(self, listed: Any) -> Tool:
        return Tool(
            name=f"{self.name}.{listed.name}",
            description=listed.description or listed.title or listed.name,
            signature=SchemaSignature(parameters=listed.input_schema, check=_checker(listed.input_schema)),
            effect=self._effects.get(listed.name) or effect_of_hints(listed.annotations if self._trust_hints else None),
            function=functools.partial(self._call, listed.name),
            # This class keeps the time itself; the margin lets it say so before the caller gives up.
            timeout_s=self.timeout_s + _MARGIN_S,
            tags=frozenset({"mcp", self.name}),
            owner=self,
        )

    def _call(self, name: str, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        deadline_s = self.timeout_s if context.deadline_s is None else min(self.timeout_s, context.deadline_s)
        meta = {KEY_IN_META: context.idempotency_key}
        try:
            answer = self._ask(lambda client: client.call_tool(name, arguments, meta=meta), deadline_s)
        except TimeoutError:
            text = f"MCP server {self.name!r} gave no answer within {deadline_s:g} s; the call may still take effect."
            return failure("timeout", text, in_doubt=True)
        except _UnavailableError as reason:
            # Where the request may have left, the effect may have happened.
            return failure("unavailable", f"MCP server {self.name!r} {reason}", in_doubt=reason.sent)
        return _read_answer(answer)

    def _ask(self, question: Callable[[Any], Coroutine[Any, Any, Any]], deadline_s: float) -> Any:
        """Put a question to the connected client, connecting first where needed."""
        with self._lock:
            if self._link is None or not self._link.alive:
                self._link = _Link(self._connection, self.timeout_s)
            link = self._link
        try:
            return link.ask(question, deadline_s)
        except _UnavailableError:
            with self._lock:
                if self._link is link:
                    self._link = None
            link.close()
            raise

    def _connection(self) -> Any:
        from mcp import Client, StdioServerParameters, stdio_client

        if self._url:
            return Client(self._url, cache=None)
        program, *arguments = self._command
        if os.name == "posix" and shutil.which(program, path=self._env.get("PATH")):
            arguments = ["-I", "-S", "-B", _TIED, str(os.getpid()), program, *arguments]
            program = sys.executable
        parameters = StdioServerParameters(command=program, args=arguments, env=self._env)
        return Client(stdio_client(parameters, errlog=self._errors), cache=None)


class _UnavailableError(Exception):
    """The server cannot be reached, or is gone. `sent`: whether the request may have reached it."""

    def __init__(self, problem: str, *, sent: bool) -> None:
        super().__init__(problem)
        self.sent = sent


class _Link:
    """One connection to one server, living in a thread of its own until it breaks or is closed."""

    def __init__(self, connect: Callable[[], Any], timeout_s: float) -> None:
        self._connect = connect
        self._loop = asyncio.new_event_loop()
        self._client: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="overwinter-mcp", daemon=True)
        self._thread.start()
        try:
            self._client.result(timeout_s)
        except TimeoutError:
            self.close()
            raise _UnavailableError(f"did not answer the greeting within {timeout_s:g} s", sent=False) from None
        except _UnavailableError:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._stop.is_set()

    def ask(self, question: Callable[[Any], Coroutine[Any, Any, Any]], deadline_s: float) -> Any:
        """Run a question on the loop; TimeoutError when the time is up."""
        answering = self._answer(question, self._client.result())
        try:
            future = asyncio.run_coroutine_threadsafe(answering, self._loop)
        except RuntimeError as reason:  # the loop ended since we looked
            answering.close()
            raise _UnavailableError("is gone", sent=False) from reason
        try:
            return future.result(deadline_s)
        except concurrent.futures.CancelledError as reason:
            raise _UnavailableError("was closed during the call", sent=True) from reason
        finally:
            future.cancel()

    def close(self) -> None:
        """Leave the connection and wait for the thread; the SDK ends the program, by force if it must."""
        with contextlib.suppress(RuntimeError):  # the loop has already ended
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._live())
        finally:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

    async def _live(self) -> None:
        # The client must be entered and left by the same task, so this one waits in between.
        held = asyncio.ensure_future(self._hold())
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({held, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not self._client.done():  # still connecting: nobody waits any more
            held.cancel()
        self._stop.set()
        await asyncio.wait({held})
        stopped.cancel()

    async def _hold(self) -> None:
        try:
            async with self._connect() as client:
                self._client.set_result(client)
                await self._stop.wait()
        # Whatever the SDK, its transports or the operating system raise here ends the connection, and says so.
        except (Exception, asyncio.CancelledError, BaseExceptionGroup) as reason:  # noqa: BLE001
            if not self._client.done():
                self._client.set_exception(_UnavailableError(f"cannot be reached: {_innermost(reason)}", sent=False))

    async def _answer(self, question: Callable[[Any], Coroutine[Any, Any, Any]], client: Any) -> Any:
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED

        try:
            return await question(client)
        except MCPError as reason:
            if reason.error.code == CONNECTION_CLOSED:
                raise _UnavailableError(f"went away during the call: {reason}", sent=True) from reason
            return reason
        except asyncio.CancelledError:
            raise
        # The transports' own errors differ by kind of connection; each means that the server is not there.
        except Exception as reason:
            raise _UnavailableError(f"went away during the call: {_innermost(reason)}", sent=True) from reason


def _effect(server: str, tool: str, effect: Effect | str) -> Effect:
    try:
        return Effect(effect)
    except ValueError:
        problem = f"MCP server {server!r}: {effect!r} is no effect class for {tool!r}"
        raise UsageError(problem, f"use one of: {', '.join(Effect)}") from None


def effect_of_hints(hints: Any) -> Effect:
    """The effect class that a server's tool annotations promise; without a promise, the safe one."""
    if hints is None:
        return Effect.IRREVERSIBLE
    if hints.read_only_hint:
        return Effect.PURE
    return Effect.IDEMPOTENT if hints.idempotent_hint else Effect.IRREVERSIBLE


async def _list_all(client: Any) -> list[Any]:
    listed: list[Any] = []
    cursor = None
    while True:
        page = await client.list_tools(cursor=cursor)
        listed += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return listed


def _checker(schema: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Check arguments against the server's schema with the validator that the SDK brings along."""

    def check(arguments: dict[str, Any]) -> None:
        import jsonschema  # type: ignore[import-untyped]

        try:
            jsonschema.validate(arguments, schema)
        except jsonschema.ValidationError as reason:
            place = ".".join(map(str, reason.absolute_path)) or "arguments"
            problem = f"{place}: {reason.message}; expected {reason.schema}"
            raise ToolError(problem, "correct the arguments and call again") from reason
        except jsonschema.SchemaError as reason:
            raise ToolError(f"the server's schema is wrong: {reason.message}", "ask its author") from reason

    return check


def _read_answer(answer: Any) -> ToolResult:
    from mcp import MCPError

    if isinstance(answer, MCPError):
        return failure("crash", f"The server refused the call: {answer}", code=answer.error.code)
    text = "\n".join(_read_block(block) for block in answer.content)
    data = answer.structured_content
    if not text and data is not None:
        import json

        text = json.dumps(data, ensure_ascii=False)
    return ToolResult(
        ok=not answer.is_error,
        text=text or "(done, no output)",
        data=data if isinstance(data, dict) else {} if data is None else {"value": data},
        error="crash" if answer.is_error else None,
    )


def _read_block(block: Any) -> str:
    """Text as it is; of pictures, sounds and resources what can be said in words."""
    if block.type == "text":
        return str(block.text)
    if block.type == "resource" and getattr(block.resource, "text", None) is not None:
        return str(block.resource.text)
    if block.type == "resource_link":
        return f"[link to {block.uri}]"
    kind = getattr(block, "mime_type", None) or getattr(getattr(block, "resource", None), "mime_type", None)
    return f"[{block.type}{f' of type {kind}' if kind else ''}, not shown]"


def _innermost(reason: BaseException) -> str:
    """The first error inside the groups that task groups wrap round it."""
    while isinstance(reason, BaseExceptionGroup):
        reason = reason.exceptions[0]
    return f"{type(reason).__name__}: {reason}"
