"""A tool: a function with a schema, an effect class, a time limit, and perhaps a probe.

    @tool(effect=Effect.KEYED, timeout_s=10)
    def order_fuel(litres: int, context: ToolContext) -> dict:
        '''Order heating fuel; it arrives in three days.

        Args:
            litres: how much, at most 500.
        '''
        return supplier.order(litres, key=context.idempotency_key)

`validate` is strict and happens before the intent is journalled; `call` never raises for what the tool does, because a
run must be able to journal a receipt for every intent. `probe_result` answers the only question that matters for an
intent without a receipt: did it happen?
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

from overwinter.errors import ToolError
from overwinter.tools.calling import Outcome, call_with_deadline, limit_result, read_outcome
from overwinter.tools.effect import (
    Effect,
    ErrorKind,
    ToolContext,
    ToolResult,
    canonical_json,
    failure,
    idempotency_key,
)
from overwinter.tools.signature import Signature, read_arguments, read_function

__all__ = [
    "Effect",
    "ErrorKind",
    "Tool",
    "ToolContext",
    "ToolResult",
    "Toolbox",
    "failure",
    "idempotency_key",
    "tool",
]

DEFAULT_TIMEOUT_S = 30.0
DEFAULT_OUTPUT_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_NAME_CHARS = 64


class Closeable(Protocol):
    """Something that holds a process or a connection on behalf of tools."""

    def close(self) -> None:
        """Give it back; closing twice is allowed."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One thing a run can do. Made by `@tool`, by the built-in factories, or from an MCP server.

    `effect` may be a function of the validated arguments, for tools where only some calls write.
    `owner` is closed together with the toolbox that holds the tool.
    """

    name: str
    description: str
    signature: Signature = field(repr=False)
    effect: Effect | Callable[[dict[str, Any]], Effect]
    function: Callable[..., Any] = field(repr=False)
    probe: Callable[..., Any] | None = field(default=None, repr=False)
    timeout_s: float = DEFAULT_TIMEOUT_S
    max_output_bytes: int = DEFAULT_OUTPUT_BYTES
    tags: frozenset[str] = frozenset()
    owner: Closeable | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.wire_name) > _NAME_CHARS:
            problem = f"{self.name!r} is no tool name"
            raise ToolError(problem, f"use at most {_NAME_CHARS} letters, digits, `_`, `-`, and `.` between words")
        if not self.timeout_s > 0 or self.max_output_bytes <= 0:
            raise ToolError(f"tool {self.name!r}: limits must be positive", "mend timeout_s or max_output_bytes")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the plain function, as if it had never been decorated."""
        return self.function(*args, **kwargs)

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema (draft 2020-12) of the arguments."""
        return self.signature.parameters

    @property
    def wire_name(self) -> str:
        """The name for model APIs, several of which allow no dots in function names."""
        return self.name.replace(".", "__")

    def effect_of(self, arguments: dict[str, Any]) -> Effect:
        """The effect class of this call."""
        if isinstance(self.effect, Effect):
            return self.effect
        outcome = call_with_deadline(self.effect, {"arguments": arguments}, self.timeout_s)
        if not isinstance(outcome.value, Effect):
            problem = f"tool {self.name!r}: its effect function gave no Effect but {outcome.raised or outcome.value!r}"
            raise ToolError(problem, "mend the function given as `effect=`")
        return outcome.value

    def validate(self, arguments: Any) -> dict[str, Any]:
        """The arguments, a JSON object or its text, in normal form: plain JSON, defaults filled in.

        Raises:
            ToolError: names the field, what was given and what was expected.
        """
        try:
            return self.signature.normalise(read_arguments(arguments))
        except ToolError as reason:
            raise ToolError(f"tool {self.name!r}: {reason.problem}", reason.next_step) from reason

    def call(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        """Do it. Whatever the tool does wrong comes back as a result with `ok=False`."""
        try:
            normal = self.validate(arguments)
            effect = self.effect_of(normal)
            bound = self.signature.bind(normal, context)
        except ToolError as reason:
            return limit_result(failure("arguments", str(reason)), self.max_output_bytes)
        deadline_s = self._deadline_s(context)
        if deadline_s <= 0:
            return failure("timeout", "No time was left, so the call was not made.")
        outcome = call_with_deadline(self.function, bound, deadline_s)
        return read_outcome(outcome, effect, deadline_s, self.max_output_bytes)

    def probe_result(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult | None:
        """Ask the outside world whether the effect of this call took place: its result if so, None if certainly not.

        Raises:
            ToolError: there is no probe, or it cannot tell; then only a person can.
        """
        if self.probe is None:
            raise self._cannot_tell("it has no probe")
        bound = self.signature.bind(self.validate(arguments), context)
        wanted = inspect.signature(self.probe).parameters
        deadline_s = self._deadline_s(context)
        outcome = call_with_deadline(self.probe, {name: bound[name] for name in wanted}, deadline_s)
        if outcome.timed_out:
            raise self._cannot_tell(f"its probe gave no answer within {deadline_s:g} s")
        if outcome.raised is not None:
            raise self._cannot_tell(f"its probe failed: {outcome.raised!r}") from outcome.raised
        return self._read_probe(outcome)

    def _read_probe(self, outcome: Outcome) -> ToolResult | None:
        if outcome.value is None:
            return None
        if isinstance(outcome.value, bool):
            # `False` would read as "it happened, and the result is False": too dear a mistake to allow.
            raise self._cannot_tell(
                "its probe returned a bool; it must return the result, or None for `did not happen`"
            )
        result = read_outcome(outcome, Effect.PURE, self.timeout_s, self.max_output_bytes)
        if not result.ok:
            raise self._cannot_tell(f"its probe failed: {result.text}")
        return result

    def _cannot_tell(self, why: str) -> ToolError:
        problem = f"cannot tell whether the effect of {self.name!r} took place: {why}"
        return ToolError(problem, "look at the outside world yourself, then approve or deny the entry")

    def _deadline_s(self, context: ToolContext) -> float:
        return self.timeout_s if context.deadline_s is None else min(self.timeout_s, context.deadline_s)


def tool(
    *,
    effect: Effect | Callable[[dict[str, Any]], Effect],
    name: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    max_output_bytes: int = DEFAULT_OUTPUT_BYTES,
    probe: Callable[..., Any] | None = None,
    tags: Iterable[str] = (),
) -> Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function: schema from its type hints and defaults, descriptions from its docstring.

    Args:
        effect: what repeating a call would do, or a function from the validated arguments to it.
        name: the tool's name; the function's own by default.
        timeout_s: how long a call may take.
        max_output_bytes: how much of the answer the model gets to see.
        probe: takes some of the function's parameters; returns the result if the effect took place, None if not.
        tags: free labels for configuration, such as "network".

    Raises:
        ToolError: a type has no schema, or the declaration contradicts itself.
    """

    def declare(function: Callable[..., Any]) -> Tool:
        title = name or str(getattr(function, "__name__", ""))
        description, signature = read_function(function, title)
        if effect is Effect.KEYED and signature.context_name is None:
            problem = f"tool {title!r} is keyed but never sees its key, so a repeat would be a second effect"
            raise ToolError(problem, "take a parameter `context: ToolContext` and send `context.idempotency_key` along")
        known = set(inspect.signature(function).parameters)
        unknown = sorted(set(inspect.signature(probe).parameters) - known) if probe else []
        if unknown:
            problem = f"tool {title!r}: its probe takes {unknown}, which the tool does not"
            raise ToolError(problem, "give the probe parameters of the same names")
        return Tool(
            name=title,
            description=description or title.replace("_", " "),
            signature=signature,
            effect=effect,
            function=function,
            probe=probe,
            timeout_s=timeout_s,
            max_output_bytes=max_output_bytes,
            tags=frozenset(tags),
        )

    return declare


class Toolbox:
    """The tools of one run: ordered, with unique names, closed as one."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for each in tools:
            # By wire name, because that is where two tools could be mistaken for each other.
            if each.wire_name in self._tools:
                problem = f"two tools are named {each.name!r} ({self._tools[each.wire_name].name!r} came first)"
                raise ToolError(problem, "rename one with `@tool(name=…)`")
            self._tools[each.wire_name] = each

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.replace(".", "__") in self._tools

    def get(self, name: str) -> Tool:
        """The tool of this name (or wire name); ToolError lists names that come near."""
        found = self._tools.get(name.replace(".", "__"))
        if found is not None:
            return found
        names = [each.name for each in self]
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = (
            f"perhaps {' or '.join(map(repr, near))}" if near else f"choose from: {', '.join(names) or 'none at all'}"
        )
        raise ToolError(f"there is no tool {name!r:.{_NAME_CHARS}}", hint)

    def call(self, name: str, arguments: Any, context: ToolContext) -> ToolResult:
        """Call by name, straight from a model's words. An unknown name or unreadable arguments become a result."""
        try:
            found = self.get(name)
        except ToolError as reason:
            return failure("unknown", str(reason))
        return found.call(arguments, context)

    def schemas(self) -> list[dict[str, Any]]:
        """The tools as model APIs expect them (OpenAI's `tools`), under their wire names."""
        return [
            {
                "type": "function",
                "function": {
                    "name": each.wire_name,
                    "description": each.description,
                    "parameters": each.parameters,
                },
            }
            for each in self
        ]

    def fingerprint(self) -> str:
        """SHA-256 of names, schemas and effects: a run notices when its tools changed under it."""
        facts = [
            [each.name, each.description, each.parameters, str(each.effect) if isinstance(each.effect, Effect) else "?"]
            for each in self
        ]
        return hashlib.sha256(canonical_json(facts).encode("ascii")).hexdigest()

    def close(self) -> None:
        """Close the servers behind the tools, each once."""
        for owner in {id(each.owner): each.owner for each in self}.values():
            if owner is not None:
                owner.close()

    def __enter__(self) -> Toolbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()
