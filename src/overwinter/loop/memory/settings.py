"""What a setup says of memory, checked.

    {"memory": {"namespace": "default", "tools": ["compress", "read", …], "core": true, "repeats": true,
                "recall": {"auto": true, "k": 4, "budget_tokens": 400, "with_goal": false,
                           "min_relevance": 0.0}}}

Every field may be left out. The namespace is taken from here and never from a tool's arguments: an actor cannot ask for another's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from overwinter.errors import UsageError
from overwinter.memory.namespace import check_namespace
from overwinter.memory.unit import DEFAULT_NAMESPACE
from overwinter.memory.working import MEMORY_TOOLS


@dataclass(frozen=True, kw_only=True, slots=True)
class RecallSettings:
    """Recall from the namespace before a step.

    Attributes:
        auto: look up the last observation (at first the goal) before each step that follows a new one; without it only the tool
            `recall` looks anything up.
        k: most items shown at once; `budget_tokens`: about how long they may be together.
        with_goal: ask with the goal's words too, not with the observation's alone.
        min_relevance: items of a smaller calibrated relevance are left out; the index abstains by itself as well.
    """

    auto: bool = True
    k: int = 4
    budget_tokens: int = 400
    with_goal: bool = False
    min_relevance: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class MemorySettings:
    """Memory of a run.

    Attributes:
        embedder: what makes vectors, as `overwinter.loop.models.embedding.open_embedder` names it; "" for words only.
        previous_embedder: the one before it, whose vectors answer until the new ones are complete.
        tools: the memory tools the actor has.
        core: show the namespace's core blocks in every view.
        repeats: answer a pure call that was made before, with nothing changed since, from the journal.
    """

    namespace: str = DEFAULT_NAMESPACE
    embedder: str = ""
    previous_embedder: str = ""
    tools: tuple[str, ...] = tuple(sorted(MEMORY_TOOLS))
    core: bool = True
    repeats: bool = True
    recall: RecallSettings = field(default_factory=RecallSettings)

    def as_setup(self) -> dict[str, Any]:
        """The settings as a setup says them."""
        return {**dataclasses.asdict(self), "tools": list(self.tools)}


def parse_memory(raw: Any) -> MemorySettings:
    """Raises UsageError for an unknown field, tool or value."""
    fields = _fields(
        raw, {"namespace", "embedder", "previous_embedder", "tools", "core", "repeats", "recall"}, "memory"
    )
    namespace = fields.get("namespace", DEFAULT_NAMESPACE)
    if not isinstance(namespace, str):
        raise UsageError(f"memory has namespace={namespace!r}", "give its name")
    check_namespace(namespace)
    for name in ("embedder", "previous_embedder"):
        if not isinstance(fields.get(name, ""), str):
            raise UsageError(f"memory has {name}={fields[name]!r}", "give its name as a text")
    tools = fields.get("tools", sorted(MEMORY_TOOLS))
    if not isinstance(tools, list | tuple) or not set(tools) <= MEMORY_TOOLS:
        raise UsageError(f"memory has tools={tools!r}", f"give a list out of: {', '.join(sorted(MEMORY_TOOLS))}")
    return MemorySettings(
        namespace=namespace,
        embedder=fields.get("embedder", ""),
        previous_embedder=fields.get("previous_embedder", ""),
        tools=tuple(tools),
        core=_bool(fields, "core"),
        repeats=_bool(fields, "repeats"),
        recall=_recall(fields.get("recall", {})),
    )


def _recall(raw: Any) -> RecallSettings:
    fields = _fields(raw, {"auto", "k", "budget_tokens", "with_goal", "min_relevance"}, "memory.recall")
    for name, least, most in (("k", 1, 50), ("budget_tokens", 16, 1 << 20), ("min_relevance", 0, 1)):
        value = fields.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise UsageError(f"memory.recall has {name}={value!r}", f"give a number from {least} to {most}")
    for name in ("k", "budget_tokens"):
        if not isinstance(fields.get(name, 1), int):
            raise UsageError(f"memory.recall has {name}={fields[name]!r}", "give a whole number")
    if not isinstance(fields.get("with_goal", False), bool):
        raise UsageError(f"with_goal of memory.recall is {fields['with_goal']!r}", "write true or false")
    return RecallSettings(**{**fields, "auto": _bool(fields, "auto")})


def _fields(raw: Any, known: set[str], where: str) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise UsageError(f"{where} is no table: {raw!r}", f"use: {', '.join(sorted(known))}")
    unknown = sorted(raw.keys() - known)
    if unknown:
        raise UsageError(f"{where} has unknown fields {unknown}", f"use: {', '.join(sorted(known))}")
    return dict(raw)


def _bool(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, True)
    if not isinstance(value, bool):
        raise UsageError(f"{name} of memory is {value!r}", "write true or false")
    return value
