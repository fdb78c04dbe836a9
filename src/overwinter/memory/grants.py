"""Grants: the only way from one namespace into another, and a one-way one. Who owns a namespace writes into its notebook who may
read it; without such an entry nobody else can, and nobody can ever write across.

Whose namespace somebody works in is not asked here: it comes from the run's setup or the configuration of whoever started the
program, never from the arguments of a tool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.errors import UsageError
from overwinter.journal import Draft, Entry, Store
from overwinter.memory.memory import Memory
from overwinter.memory.namespace import check_namespace
from overwinter.memory.policy import notebook_entries

if TYPE_CHECKING:
    from overwinter.memory.embed import Embedder


def readers(store: Store, namespace: str) -> frozenset[str]:
    """The namespaces that may read this one, beside itself."""
    allowed: set[str] = set()
    for entry in notebook_entries(store, check_namespace(namespace), ["grant.changed"]):
        (allowed.add if entry.body["allowed"] else allowed.discard)(str(entry.body["reader"]))
    return frozenset(allowed)


def may_read(store: Store, reader: str, namespace: str) -> bool:
    return reader == namespace or reader in readers(store, namespace)


def change_grant(memory: Memory, reader: str, by: str, *, allowed: bool) -> Entry:
    """Let `reader` read the namespace of `memory`, or no longer. UsageError for a grant to oneself."""
    if check_namespace(reader) == memory.namespace:
        raise UsageError(f"namespace {reader!r} reads itself without a grant", "name another namespace")
    return memory.notebook.append([Draft(kind="grant.changed", body={"reader": reader, "allowed": allowed, "by": by})])[
        0
    ]


def open_for(
    store: Store, reader: str, namespace: str, *, embedder: Embedder | None = None, previous: Embedder | None = None
) -> Memory:
    """The memory of `namespace`, to be read by `reader`. It checks the grant once; ask again for each question.

    Raises:
        UsageError: there is no grant. It does not tell whether the namespace exists.
    """
    if not may_read(store, check_namespace(reader), check_namespace(namespace)):
        raise UsageError(
            f"namespace {reader!r} may not read {namespace!r}",
            f"let its owner run `overwinter memory grant {reader}` there first",
        )
    return Memory.open(store, namespace, embedder=embedder, previous=previous)
