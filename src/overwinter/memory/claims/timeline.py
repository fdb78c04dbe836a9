"""Timelines: what the statements of one key come to, on both axes of time.

`Timeline` is a pure function of its statements, whatever the order they are added in. It replays them in the order they were told. At each
telling it knows the *runs*: a value and since when it holds, until which other value. Whenever a run looks other than before, the version
that was believed so far is closed on the axis of knowledge and a new one begins there. So a plain filter on the two pairs of times answers
what was believed at any time about any other.

Rules of a run:
- Another value of a key that holds one ends it where the other begins (`newer`), wherever in the order of telling it comes.
- The same value again is evidence, and no new run. After another value, or after its end, it is a new one.
- A denial ends it (`denied`). "Never" and "correction" take the value out of the timeline from the time they are told on (`corrected`).
- It ends with what it was said to follow from (`depends on`), until it is said anew.
- What a trusted source said is ended by trusted sources alone; what others say against it stands beside it, and as evidence against it.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from overwinter.memory.claim import Claim, Evidence, claim_id
from overwinter.memory.claims.statement import (
    CORRECTED,
    DENIED,
    DEPENDS,
    EARLIEST_US,
    NEWER,
    REPEAT_MARK,
    REPEATS,
    STATED,
    WEAKER,
    Statement,
    said_triple,
)
from overwinter.memory.claims.words import covers, is_single

MAX_EVIDENCE = 8
"""Of each kind a claim carries beside its own: the latest. The others lie in rows of their own."""

Steps = Mapping[str, tuple[tuple[int, int | None], ...]]
"""Of a statement that others depend on: (since when it is known, end of its run or None)."""

State = tuple[int, int | None, str, str]
"""Begin, end, by which statement, by which rule."""


@dataclass(slots=True)
class Run:
    """One value, from its beginning to its end, with who supports it and who speaks against it."""

    head: Statement
    start: int
    end: int | None = None
    by: str = ""
    why: str = ""
    about: int | None = None
    supports: list[Statement] = field(default_factory=list)
    against: list[Statement] = field(default_factory=list)

    def close(self, at: int, by: str, why: str) -> None:
        if self.end is None or at < self.end:
            self.end, self.by, self.why = max(at, self.start), by, why

    def take_end(self, statement: Statement) -> None:
        if statement.ends_us is None:
            return
        if statement.ends_softly:
            self.about = statement.ends_us
        else:
            self.end, self.by, self.why = max(statement.ends_us, self.start), "", STATED


@dataclass(slots=True)
class Version:
    """How a run looked from one telling to another."""

    known_from: int
    state: State
    known_to: int | None = None


def version_id(statement: str, known_from: int) -> str:
    return hashlib.sha256(f"version/{statement}/{known_from}".encode()).hexdigest()[:32]


def base_of(claim: Claim) -> str:
    """The statement whose row, or later version, this is; the claim's own id where the span that said it is gone."""
    triple = said_triple(claim)
    for one in claim.evidence:
        id_ = claim_id(one.unit, one.first, one.last, triple)
        if claim.id in {id_, version_id(id_, claim.known_from_us)}:
            return id_
    return claim.id


def _telling(one: Statement) -> tuple[int, bool, str]:
    """The order of telling; within one telling, what was wrong comes before what is right instead."""
    return one.told_us, not one.never, one.id


class Timeline:
    """See the module docstring.

    Args:
        single: whether the key holds one value at a time; else this is the timeline of one value.
        foreign: statements that end runs here and have their own row elsewhere (denials of several values at once).
    """

    def __init__(self, *, single: bool) -> None:
        self.single = single
        self.statements: dict[str, Statement] = {}
        self.foreign: set[str] = set()
        self.steps: Steps = {}
        self._told: list[tuple[int, bool, str]] = []
        self._follows = False
        self._clear()

    def _clear(self) -> None:
        self.versions: dict[str, list[Version]] = {}
        self.runs: dict[str, Run] = {}
        self.folded: dict[str, tuple[str, str]] = {}  # statement → run it went into, and why
        self.dirty: set[str] = set()
        self._points: list[tuple[tuple[int, int, str], Statement]] = []
        self._removed: list[tuple[str, int, str, bool]] = []
        self._never: list[Statement] = []
        self._current: dict[bool, Run | None] = {True: None, False: None}
        self._denials: list[Run] = []
        self._known = EARLIEST_US

    def add(self, statements: Iterable[Statement], *, foreign: bool = False) -> None:
        """Take statements in. Those told after all others are appended; any other makes it replay."""
        new = [one for one in statements if one.id not in self.statements]
        if not new:
            return
        new.sort(key=_telling)
        late = not self._told or _telling(new[0]) > self._told[-1]
        for one in new:
            self.statements[one.id] = one
            bisect.insort(self._told, _telling(one))
            if foreign:
                self.foreign.add(one.id)
        self._follows = self._follows or any(one.depends for one in new)
        if late and not self._follows:
            for one in new:
                self._tell(one)
        else:
            self.replay()

    def remove(self, ids: Iterable[str]) -> None:
        gone = set(ids)
        self.statements = {id_: one for id_, one in self.statements.items() if id_ not in gone}
        self._told = [place for place in self._told if place[2] not in gone]
        self.replay()

    def replay(self, steps: Steps | None = None) -> None:
        """From nothing, in the order of telling; with other ends of what its statements depend on."""
        if steps is not None:
            self.steps = steps
        self._clear()
        changes = sorted({known for one in self.steps.values() for known, _ in one})
        for told, _, id_ in self._told:
            while changes and changes[0] < told:
                self._rerun(changes.pop(0))
            self._tell(self.statements[id_])
        for known in changes:
            self._rerun(known)
        self.dirty = set(self.statements)

    # Telling

    def _tell(self, one: Statement) -> None:
        known = self._known = max(self._known, one.told_us)
        self.dirty.add(one.id)
        place = one.place
        if one.never:
            self._removed.append((one.value, one.told_us, one.id, one.sure))
            self._never.append(one)
        elif one.corrects:
            place = (self._corrected_from(one), *place[1:])
        if not one.never:
            entry = (place, one)
            if not one.corrects and not self._removed and (not self._points or place > self._points[-1][0]):
                self._points.append(entry)
                for run in self._step(place[0], one, known):
                    self._record(run, known)
                return
            bisect.insort(self._points, entry, key=lambda pair: pair[0])
        self._rerun(known)

    def _corrected_from(self, one: Statement) -> int:
        """The beginning of what it corrects, which is taken out: the value its own unit calls wrong, or the one believed until now."""
        wrong = next((never.value for never in self._never if never.unit == one.unit), None)
        if wrong is None:
            run = self._current[one.sure] or self._current[not one.sure]
            if run is None or run.head.value == one.value or (run.head.sure and not one.sure):
                return one.valid_from_us
            wrong = run.head.value
            self._removed.append((wrong, one.told_us, one.id, run.head.sure))
        begins = [
            place[0]
            for place, other in self._points
            if other.polarity and other.value == wrong and other.told_us <= one.told_us
        ]
        return begins[-1] if begins else one.valid_from_us

    def _is_removed(self, one: Statement) -> str:
        for value, told, by, sure in self._removed:
            if one.polarity and one.value == value and one.told_us <= told and one.id != by and (sure or not one.sure):
                return by
        return ""

    def _rerun(self, known: int) -> None:
        """All runs anew, as they look at `known`."""
        self._known = known
        before = self.folded
        self.runs, self.folded, self._denials = {}, {}, []
        self._current = {True: None, False: None}
        for never in self._never:
            self.runs[never.id] = Run(head=never, start=EARLIEST_US)
        for place, one in self._points:
            if by := self._is_removed(one):
                self.folded[one.id] = (by, CORRECTED)
                continue
            for _ in self._step(place[0], one, known):
                pass
        for never in self._never:
            again = [
                place[0]
                for place, one in self._points
                if one.polarity and one.value == never.value and not self._is_removed(one)
            ]
            if again:
                self.runs[never.id].close(min(again), "", NEWER)
        for id_, versions in self.versions.items():
            if id_ not in self.runs and versions and versions[-1].known_to is None:
                self._note(id_, None, known)
        for run in self.runs.values():
            self._record(run, known)
        self.dirty |= {id_ for id_, _ in before.items() ^ self.folded.items()}

    # Runs

    def _step(self, at: int, one: Statement, known: int) -> Iterator[Run]:
        """The next statement in order of validity; the runs it touches."""
        return self._affirm(at, one, known) if one.polarity else self._deny(at, one, known)

    def _open(self, sure: bool, at: int, known: int) -> Run | None:
        run = self._current[sure]
        if run is None:
            return None
        ends = [end for end in (run.end, self._follows_until(run, known)[0]) if end is not None]
        return run if not ends or min(ends) > at else None

    def _affirm(self, at: int, one: Statement, known: int) -> Iterator[Run]:
        sure, weak = self._open(True, at, known), self._open(False, at, known)
        for denial in self._denials:
            if (
                (one.sure or not denial.head.sure)
                and covers(denial.head.value, one.value, several=not self.single)
                and denial.end is None
            ):
                denial.close(at, one.id, NEWER)
                yield denial
        beside = sure if one.sure else weak
        if not one.sure and sure is not None:
            if sure.head.value == one.value:
                beside = sure
            else:
                sure.against.append(one)
                yield sure
        if beside is not None and beside.head.value == one.value:
            if not one.own or beside.head.own:  # the agent's own repeating of what it was told is no evidence
                beside.supports.append(one)
            if one.sure or not beside.head.sure:
                beside.take_end(one)
            self.folded[one.id] = (beside.head.id, REPEATS)
            self.dirty.add(one.id)
            yield beside
            return
        for run in (sure, weak) if one.sure else (weak,):
            if run is not None:
                run.close(at, one.id, NEWER if run.head.value != one.value else WEAKER)
                yield run
        run = Run(head=one, start=self._back_to(one.sure) if one.reaches_back and beside is None else at)
        run.take_end(one)
        self.runs[one.id] = self._current[one.sure] = run
        yield run

    def _back_to(self, sure: bool) -> int:
        """Where what was known before has ended."""
        last = self._current[sure]
        return EARLIEST_US if last is None or last.end is None else last.end

    def _deny(self, at: int, one: Statement, known: int) -> Iterator[Run]:
        for level in (True, False):
            run = self._open(level, at, known)
            if run is None or not covers(one.value, run.head.value, several=not self.single):
                continue
            if level and not one.sure:
                run.against.append(one)
            else:
                run.close(at, one.id, DENIED)
            yield run
        for denial in self._denials:
            same = denial.head.value == one.value and denial.end is None
            if same and (denial.head.sure or not one.sure):
                denial.supports.append(one)
                self.folded[one.id] = (denial.head.id, REPEATS)
                self.dirty.add(one.id)
                yield denial
                return
        run = Run(head=one, start=at)
        self.runs[one.id] = run
        self._denials.append(run)
        yield run

    def _follows_until(self, run: Run, known: int) -> tuple[int | None, str]:
        """The end of what a run was said to follow from, and which statement that is; None: of nothing that has ended.

        Said again by itself before that end, it still follows; after it, it is a new run.
        """
        first: tuple[int | None, str] = (None, "")
        for one in (run.head, *run.supports):
            for id_ in one.depends if one.sure or not run.head.sure else ():
                end = next((end for since, end in reversed(self.steps.get(id_, ())) if since <= known), None)
                if end is not None and (first[0] is None or end < first[0]):
                    first = (end, id_)
        return first

    def _state(self, run: Run, known: int) -> State | None:
        end, by, why = run.end, run.by, run.why
        if end is None and run.about is not None:
            end, why = max(run.about, run.start), STATED
        until, cause = self._follows_until(run, known)
        if until is not None and (end is None or until < end):
            end, by, why = max(until, run.start), cause, DEPENDS
        return None if end is not None and end <= run.start else (run.start, end, by, why)

    # Versions

    def _record(self, run: Run, known: int) -> None:
        self._note(run.head.id, self._state(run, known), known)

    def _note(self, id_: str, state: State | None, known: int) -> None:
        self.dirty.add(id_)
        versions = self.versions.setdefault(id_, [])
        last = versions[-1] if versions and versions[-1].known_to is None else None
        if last is not None and last.state == state:
            return
        if last is not None:
            if last.known_from == known:
                versions.pop()
            else:
                last.known_to = known
        if state is None:
            return
        if versions and versions[-1].known_to == known and versions[-1].state == state:
            versions[-1].known_to = None
        else:
            versions.append(Version(known_from=known, state=state))

    # Rows

    def rows(self, ids: Iterable[str]) -> dict[str, list[Claim]]:
        """The rows of some statements."""
        return {
            id_: list(self._rows(self.statements[id_]))
            for id_ in ids
            if id_ in self.statements and id_ not in self.foreign
        }

    def _rows(self, one: Statement) -> Iterator[Claim]:
        versions = self.versions.get(one.id, [])
        if not versions:
            by, why = self.folded.get(one.id, ("", NEWER))
            if one.id in self.runs:
                run = self.runs[one.id]
                by, why = run.by, run.why or DEPENDS
            start = one.valid_from_us
            yield self._row(one, one.id, Version(known_from=one.told_us, state=(start, start, by, why)), repeat=True)
            return
        for number, version in enumerate(versions):
            yield self._row(one, version_id(one.id, version.known_from) if number else one.id, version)

    def _row(self, one: Statement, id_: str, version: Version, *, repeat: bool = False) -> Claim:
        start, end, by, why = version.state
        marks = one.marks(start, version.known_from) if id_ == one.id else ""
        return Claim(
            id=id_,
            subject=one.subject,
            predicate=one.predicate + (REPEAT_MARK if repeat else ""),
            object=one.object,
            polarity=one.polarity,
            confidence=one.confidence,
            valid_from_us=start,
            valid_to_us=end,
            known_from_us=version.known_from,
            known_to_us=version.known_to,
            superseded_by=by,
            reason=why + marks,
            evidence=self._evidence(one, open_=version.known_to is None and not repeat),
            depends=one.depends,
        )

    def _evidence(self, one: Statement, *, open_: bool) -> tuple[Evidence, ...]:
        run = self.runs.get(one.id)
        own = [one.evidence]
        if run is None or not open_:
            return tuple(own)
        for others, supports in ((run.supports, True), (run.against, False)):
            latest = sorted(others, key=lambda other: (other.told_us, other.id))[-MAX_EVIDENCE:]
            own += [
                Evidence(unit=other.unit, first=other.first, last=other.last, supports=supports) for other in latest
            ]
        return tuple(dict.fromkeys(own))


class KeyTimelines:
    """All statements of one key: one timeline where it holds one value, else one for each value."""

    def __init__(self, predicate: str) -> None:
        self.single = is_single(predicate)
        self.lines: dict[str, Timeline] = {}

    def add(self, statements: Iterable[Statement]) -> None:
        parts: dict[str, list[Statement]] = {}
        for one in statements:
            parts.setdefault("" if self.single else one.value, []).append(one)
        for value, part in sorted(parts.items()):
            if value not in self.lines:
                self.lines[value] = Timeline(single=self.single)
                if not self.single:
                    self.lines[value].add(self._denials(value), foreign=True)
            self.lines[value].add(part)
        if not self.single:
            self._spread([one for part in parts.values() for one in part if not one.polarity])

    def _denials(self, value: str) -> list[Statement]:
        lines = [line for other, line in self.lines.items() if other != value and covers(other, value, several=True)]
        return [
            one
            for line in lines
            for id_, one in line.statements.items()
            if not one.polarity and id_ not in line.foreign
        ]

    def _spread(self, denials: list[Statement]) -> None:
        for value, line in self.lines.items():
            line.add(
                [one for one in denials if one.value != value and covers(one.value, value, several=True)], foreign=True
            )

    def remove(self, ids: Iterable[str]) -> None:
        gone = set(ids)
        for line in self.lines.values():
            if gone & line.statements.keys():
                line.remove(gone)

    def replay(self, steps: Steps) -> None:
        for line in self.lines.values():
            own = {id_: steps[id_] for one in line.statements.values() for id_ in one.depends if id_ in steps}
            if own != line.steps:
                line.replay(own)

    def statements(self) -> dict[str, Statement]:
        return {
            id_: one for line in self.lines.values() for id_, one in line.statements.items() if id_ not in line.foreign
        }

    def take_rows(self) -> dict[str, list[Claim]]:
        """Rows by statement of what may have changed since the last call."""
        changed: dict[str, list[Claim]] = {}
        for line in self.lines.values():
            changed.update(line.rows(sorted(line.dirty)))
            line.dirty = set()
        return changed

    def steps_of(self, id_: str) -> tuple[tuple[int, int | None], ...]:
        """How the run of a statement ends, as told over time."""
        for line in self.lines.values():
            if id_ not in line.statements or id_ in line.foreign:
                continue
            head = line.folded.get(id_, (id_, ""))[0] if id_ not in line.runs else id_
            steps: list[tuple[int, int | None]] = []
            for version in line.versions.get(head, []):
                steps.append((version.known_from, version.state[1]))
                if version.known_to is not None:
                    steps.append((version.known_to, version.state[0]))
            return tuple(dict(steps).items())
        return ()
