"""Policies: how long what is remembered may stay, and what may not go. Each is an entry of the namespace's notebook; the newest of a
name counts, and an empty one lifts it.

Nothing is forgotten by default. A policy with a time to live, or a largest number of units, erases when `apply_policies` is called
(`overwinter memory policy --apply`, from cron); what another policy holds stays, and what an open run still needs waits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from overwinter.errors import UsageError
from overwinter.journal import Draft, Entry, Store
from overwinter.memory.choose import Place, all_units
from overwinter.memory.namespace import notebook_of
from overwinter.memory.unit import KINDS, Filter, Unit

if TYPE_CHECKING:
    from overwinter.memory.erase import Receipt
    from overwinter.memory.memory import Memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """One rule.

    Attributes:
        kinds, sessions, actors: of the units it is about; empty for all.
        ttl_s: they are erased when they were told this long ago; None: never for their age.
        max_units: only so many of the newest are kept; None: any number.
        hold: they must not be erased, by nobody, while this policy is in force.
    """

    name: str
    kinds: frozenset[str] = field(default=frozenset())
    sessions: frozenset[str] = field(default=frozenset())
    actors: frozenset[str] = field(default=frozenset())
    ttl_s: float | None = None
    max_units: int | None = None
    hold: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(self.kinds - set(KINDS))
        if unknown:
            raise UsageError(f"there is no kind of unit {unknown[0]!r}", f"use one of: {', '.join(KINDS)}")
        if self.hold and (self.ttl_s is not None or self.max_units is not None):
            raise UsageError("a hold keeps what a time to live or a number would erase", "make two policies of it")
        if not self.hold and self.ttl_s is None and self.max_units is None:
            raise UsageError("the policy does nothing", "give a time to live, a number of units, or a hold")
        if (self.ttl_s is not None and self.ttl_s < 0) or (self.max_units is not None and self.max_units < 0):
            raise UsageError("ages and numbers are not negative", "give a larger one")

    def covers(self, unit: Unit) -> bool:
        fits = (not self.kinds or unit.kind in self.kinds) and (not self.sessions or unit.session in self.sessions)
        return fits and (not self.actors or unit.actor in self.actors)

    @property
    def where(self) -> Filter:
        return Filter(kinds=self.kinds, sessions=self.sessions, actors=self.actors, exclude_flags=frozenset())

    def as_json(self) -> dict[str, Any]:
        return {
            "kinds": sorted(self.kinds),
            "sessions": sorted(self.sessions),
            "actors": sorted(self.actors),
            "ttl_s": self.ttl_s,
            "max_units": self.max_units,
            "hold": self.hold,
        }


def policy_from(name: str, raw: Mapping[str, Any]) -> Policy:
    """The policy of an entry. Raises UsageError for fields that no policy has."""
    known = Policy.__dataclass_fields__.keys() - {"name"}
    if raw.keys() - known:
        raise UsageError(
            f"policy {name!r} has unknown fields {sorted(raw.keys() - known)}", f"use: {', '.join(sorted(known))}"
        )
    return Policy(
        name=name,
        kinds=frozenset(raw.get("kinds", ())),
        sessions=frozenset(raw.get("sessions", ())),
        actors=frozenset(raw.get("actors", ())),
        ttl_s=raw.get("ttl_s"),
        max_units=raw.get("max_units"),
        hold=bool(raw.get("hold", False)),
    )


def set_policy(memory: Memory, policy: Policy, by: str) -> Entry:
    """Put a policy in force, in the place of an earlier one of the same name."""
    body = {"name": policy.name, "policy": policy.as_json(), "by": by}
    return memory.notebook.append([Draft(kind="policy.set", body=body)])[0]


def lift_policy(memory: Memory, name: str, by: str) -> Entry:
    """Take a policy out of force. UsageError if there is none of this name."""
    if name not in policies(memory.store, memory.namespace):
        raise UsageError(f"there is no policy {name!r}", "list them with `overwinter memory policy`")
    return memory.notebook.append([Draft(kind="policy.set", body={"name": name, "policy": {}, "by": by})])[0]


def policies(store: Store, namespace: str) -> dict[str, Policy]:
    """What is in force, by name."""
    found: dict[str, Policy] = {}
    for entry in notebook_entries(store, namespace, ["policy.set"]):
        name = str(entry.body["name"])
        found.pop(name, None)
        if entry.body["policy"]:
            found[name] = policy_from(name, entry.body["policy"])
    return found


def notebook_entries(store: Store, namespace: str, kinds: Iterable[str]) -> list[Entry]:
    """Entries of these kinds of a namespace's notebook; none where there is no notebook yet."""
    try:
        return list(store.read(notebook_of(namespace), kinds=list(kinds)))
    except UsageError:
        return []


def refuse_held(memory: Memory, places: Iterable[Place]) -> None:
    """Raise UsageError if a hold covers any of these entries. An entry without units is covered by holds without conditions."""
    held = held_places(memory, places)
    if held:
        (run, seq), name = next(iter(held.items()))
        raise UsageError(
            f"policy {name!r} holds {len(held)} of the entries, {run}#{seq} among them: they must not be erased",
            f"leave them out, or lift the hold with `overwinter memory policy {name} --lift`",
        )


def held_places(memory: Memory, places: Iterable[Place]) -> dict[Place, str]:
    """Those of these entries that a hold covers, and the policy's name."""
    holds = [policy for policy in policies(memory.store, memory.namespace).values() if policy.hold]
    wanted = set(places)
    held: dict[Place, str] = {}
    for policy in holds:
        if not (policy.kinds or policy.sessions or policy.actors):
            return dict.fromkeys(sorted(wanted), policy.name)
        for unit in all_units(memory, policy.where):
            if (unit.run, unit.seq) in wanted:
                held[unit.run, unit.seq] = policy.name
    return held


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What a policy did, or would do.

    Attributes:
        entries: to be erased. held: left alone because another policy holds them.
        receipt: of the erasure; None for a dry run, or if there was nothing to erase.
    """

    policy: str
    entries: int
    held: int
    receipt: Receipt | None = None


def apply_policies(memory: Memory, now_us: int, *, dry_run: bool = False, by: str = "overwinter") -> list[Applied]:
    """Erase what the policies in force say has had its time. Call `memory.sync()` first.

    What repeats an entry has a time of its own and stays until then.
    """
    from overwinter.memory.erase import erase_places

    done: list[Applied] = []
    for policy in policies(memory.store, memory.namespace).values():
        if policy.hold:
            continue
        due = _due(memory, policy, now_us)
        held = held_places(memory, due)
        going = due - held.keys()
        receipt = None
        if going and not dry_run:
            receipt = erase_places(
                memory, going, reason=f"policy {policy.name}", by=by, echoes="keep", skip_needed=True
            )
        done.append(Applied(policy=policy.name, entries=len(going), held=len(held), receipt=receipt))
    return done


def _due(memory: Memory, policy: Policy, now_us: int) -> set[Place]:
    """Whole entries: one goes when all its units are due."""
    told: dict[Place, int] = {}
    units: dict[Place, int] = defaultdict(int)
    for unit in all_units(memory, policy.where):
        told[unit.run, unit.seq] = unit.told_us
        units[unit.run, unit.seq] += 1
    due: set[Place] = set()
    if policy.ttl_s is not None:
        limit = now_us - round(policy.ttl_s * 1e6)
        due |= {place for place, at in told.items() if at <= limit}
    if policy.max_units is not None:
        kept = 0
        for place in sorted(told, key=lambda each: (told[each], each), reverse=True):
            kept += units[place]
            if kept > policy.max_units:
                due.add(place)
    return due
