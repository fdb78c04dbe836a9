"""Calling a function with a deadline, and turning whatever comes back into text that fits the view.

A Python function cannot be killed from outside. At the deadline the caller goes on and the thread is left alone; the
result says so, because the effect may still happen. Tools that must die at the deadline run in a process (sandbox.py).
"""

from __future__ import annotations

import contextvars
import dataclasses
import inspect
import json
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from overwinter.tools.effect import Effect, ToolResult, failure

_TRACE_FRAMES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a call ended: a value, an exception, or neither because the time was up."""

    value: Any = None
    raised: BaseException | None = None
    timed_out: bool = False
    wall_s: float = 0.0


def call_with_deadline(function: Callable[..., Any], arguments: dict[str, Any], deadline_s: float) -> Outcome:
    """Run the function in a thread of its own and wait for it at most `deadline_s`."""
    begun_s = time.monotonic()
    outcomes: list[Outcome] = []

    def work() -> None:
        try:
            value = function(**arguments)
            if inspect.iscoroutine(value):
                import asyncio  # a third of the package's import time, and few tools need it

                value = asyncio.run(value)
            outcomes.append(Outcome(value=value))
        # The last frame before the thread ends: whatever a tool raises, SystemExit too, belongs to its caller.
        except BaseException as raised:  # noqa: BLE001
            outcomes.append(Outcome(raised=raised))

    context = contextvars.copy_context()
    # A daemon, so that a tool that hangs cannot keep the whole program from ending.
    thread = threading.Thread(target=context.run, args=(work,), name="overwinter-tool", daemon=True)
    thread.start()
    thread.join(deadline_s)
    wall_s = time.monotonic() - begun_s
    if not outcomes:
        return Outcome(timed_out=True, wall_s=wall_s)
    return dataclasses.replace(outcomes[0], wall_s=wall_s)


def read_outcome(outcome: Outcome, effect: Effect, deadline_s: float, max_output_bytes: int) -> ToolResult:
    """The result of a call; never raises."""
    if outcome.timed_out:
        text = (
            f"No answer within {deadline_s:g} s. The call was given up, not stopped: it may still be running and may "
            "still take effect."
        )
        result = failure("timeout", text, in_doubt=True)
    elif outcome.raised is not None:
        result = _crash(_describe(outcome.raised), effect)
    else:
        try:
            result = _read_value(outcome.value)
            json.dumps(result.data, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as reason:
            # The function ran to its end, so its effect happened; only the answer cannot be read.
            kind = type(outcome.value).__name__
            result = _crash(f"The tool ran, but its answer of type {kind} cannot be read: {reason}", effect)
    return limit_result(dataclasses.replace(result, wall_s=outcome.wall_s), max_output_bytes)


def limit_result(result: ToolResult, max_output_bytes: int) -> ToolResult:
    """Cut text and data down to the limit; `truncated_bytes` counts what is missing from the text."""
    text, left_out_bytes = limit_text(result.text, max_output_bytes)
    data = result.data
    data_bytes = len(json.dumps(data))
    if data_bytes > max_output_bytes:
        kept = {"in_doubt": True} if data.get("in_doubt") else {}
        data = {"dropped_bytes": data_bytes, **kept}
    return dataclasses.replace(result, text=text, data=data, truncated_bytes=result.truncated_bytes + left_out_bytes)


def limit_text(text: str, max_bytes: int) -> tuple[str, int]:
    """Keep three quarters from the start and one from the end, since errors stand at the end; say what is missing.

    Returns valid Unicode: lone surrogates, which no UTF-8 file can hold, become question marks.
    """
    raw = text.encode("utf-8", errors="replace")
    left_out_bytes = len(raw) - max_bytes
    if left_out_bytes <= 0:
        return raw.decode("utf-8"), 0
    head_bytes = max_bytes * 3 // 4
    head = raw[:head_bytes].decode("utf-8", errors="ignore")
    tail = raw[head_bytes + left_out_bytes :].decode("utf-8", errors="ignore")
    return f"{head}\n[… {left_out_bytes} bytes left out …]\n{tail}", left_out_bytes


def _read_value(value: Any) -> ToolResult:
    if isinstance(value, ToolResult):
        if not isinstance(value.text, str) or not isinstance(value.data, dict):
            raise TypeError("a ToolResult holds a str as text and a dict as data")
        return dataclasses.replace(value, data=_to_json(value.data))
    if value is None:
        return ToolResult(ok=True, text="(done, no output)")
    if isinstance(value, str):
        return ToolResult(ok=True, text=value)
    if isinstance(value, bytes | bytearray):
        text = bytes(value).decode("utf-8", errors="replace")
        return ToolResult(ok=True, text=text, data={"replaced_bytes": True} if "\ufffd" in text else {})
    plain = _to_json(value)
    text = json.dumps(plain, ensure_ascii=False)
    return ToolResult(ok=True, text=text, data=plain if isinstance(plain, dict) else {"value": plain})


def _to_json(value: Any) -> Any:
    from pydantic_core import to_json

    return json.loads(to_json(value, inf_nan_mode="strings", bytes_mode="base64"))


def _crash(text: str, effect: Effect) -> ToolResult:
    if effect is Effect.IRREVERSIBLE:
        return failure("crash", f"{text}\nWhether the effect took place is unknown.", in_doubt=True)
    return failure("crash", text)


def _describe(raised: BaseException) -> str:
    """The exception and its last few frames: enough to mend the call, without the machine's whole stack."""
    frames = traceback.extract_tb(raised.__traceback__)[1:][-_TRACE_FRAMES:]
    places = [f"  in {frame.name}, line {frame.lineno}: {frame.line}" for frame in frames]
    # format_exception_only also survives an exception whose own __str__ fails.
    what = "".join(traceback.format_exception_only(raised)).strip()
    return "\n".join([f"The tool crashed: {what}", *places])
