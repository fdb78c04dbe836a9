"""Suites: questions, how they are put, and how answers are counted. A suite is one value; whoever has one registers it.

    register(Suite(name="capitals", family="mine", about="…", load=load, ask=ask, score=score))

A question is asked in one turn, or by a `Dialogue` in several: then the suite answers back (a patient, a guesser's partner) from the
question's own facts, by rule, so that a run that was killed goes on where it was without asking anybody again.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from overwinter.errors import UsageError

STYLES = ("direct", "reason")
"""direct: the answer alone. reason: think first, then a last line with the answer and a confidence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question.

    Attributes:
        gold: what counts as right, JSON; its form is the suite's business.
        options: letter → text, of multiple choice.
        opening, facts: what a dialogue tells at once, and what it may tell when it is asked.
        slices: facts to report by: specialty, difficulty, modality …
        images: pictures that belong to the question. Models here read text: they are not shown, and the slice "modality" says so.
        suite: which suite it belongs to, where several are run as one.
    """

    id: str
    question: str
    gold: Any
    options: Mapping[str, str] = field(default_factory=dict)
    facts: tuple[str, ...] = ()
    slices: Mapping[str, str] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    opening: str = ""
    suite: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """What was read from a text.

    Attributes:
        correct: 0..1; None where nobody can tell (it takes a judge).
        stated: the confidence the text states, 0..1.
        status: as of a recorded answer.
    """

    answer: str | None
    correct: float | None
    stated: float | None = None
    status: str = "ok"


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnRecord:
    """Where a dialogue stood after one turn.

    Attributes:
        information: share of what could be known that was told by then, 0..1.
        stated, correct: of the answer as it would have been given then; None where none was.
        act: what the model did: ask, answer, other.
        modality: of what the turn brought.
    """

    turn: int
    information: float
    act: str
    stated: float | None = None
    correct: float | None = None
    modality: str = "text"


class Dialogue(Protocol):
    """A question under way. A pure function of the item and of what was heard: a resumed run hears the journal's answers again."""

    turns: list[TurnRecord]
    asked: int
    """Questions, tests and other requests of the model so far: the cost in tools."""

    def prompt(self) -> str:
        """What is said to the model now."""
        ...

    def hear(self, text: str) -> bool:
        """Take in what it said; whether the question is over."""
        ...

    def scored(self) -> Scored: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """A set of questions with its rules.

    Attributes:
        version: of prompt and scorer; figures of two versions are not compared.
        load: (folder or None, seed) → items. Raises UsageError where data is missing.
        ask: (item, style) → the prompt.
        score: (item, text) → what was read from it.
        open: of suites with dialogues, instead of ask and score.
        world: of suites that are played, its name; items are seeds.
        figures: of its own, from answers alone.
        needs: what has to lie in the data folder, in words.
        caution: what must stand beside its figures.
    """

    name: str
    family: str
    about: str
    load: Callable[[Path | None, int], Sequence[Item]]
    ask: Callable[[Item, str], str] | None = None
    score: Callable[[Item, str], Scored] | None = None
    open: Callable[[Item, str], Dialogue] | None = None
    world: str = ""
    figures: Callable[[Sequence[Any]], Mapping[str, Any]] | None = None
    needs: str = ""
    caution: str = ""
    version: int = 1
    max_tokens: int = 1024

    def begin(self, item: Item, style: str) -> Dialogue:
        """The question under way."""
        if self.open is not None:
            return self.open(item, style)
        assert self.ask is not None, "a suite has ask and score, open, or a world"
        assert self.score is not None
        return OneTurn(self.ask(item, style), item, self.score)


class OneTurn:
    """A question that is asked once."""

    def __init__(self, prompt: str, item: Item, score: Callable[[Item, str], Scored]) -> None:
        self.turns: list[TurnRecord] = []
        self.asked = 0
        self._prompt, self._item, self._score = prompt, item, score
        self._text = ""

    def prompt(self) -> str:
        return self._prompt

    def hear(self, text: str) -> bool:
        self._text = text
        return True

    def scored(self) -> Scored:
        return self._score(self._item, self._text)


# The registry

_SUITES: dict[str, Suite] = {}
_MODULES = ("synthetic", "reasoning", "clinical", "dialogues", "concordance", "worlds", "memories")
_loaded = False


def register(suite: Suite) -> Suite:
    """Make a suite known. Raises UsageError for a name that is taken by another one."""
    if suite.name in _SUITES and _SUITES[suite.name] is not suite:
        raise UsageError(f"there is a suite {suite.name!r} already", "give yours another name")
    _SUITES[suite.name] = suite
    return suite


def suites() -> dict[str, Suite]:
    """All suites by name: those of this package, and those that installed packages name under the entry point "overwinter.suites"."""
    global _loaded  # noqa: PLW0603 - the registry is one for the process
    if not _loaded:
        _loaded = True
        for name in _MODULES:
            import_module(f"overwinter.bench.suites.{name}")
        from importlib.metadata import entry_points

        for entry in entry_points(group="overwinter.suites"):
            register(entry.load())
    return dict(_SUITES)


def families() -> dict[str, list[Suite]]:
    """Suites by family."""
    found: dict[str, list[Suite]] = {}
    for suite in suites().values():
        found.setdefault(suite.family, []).append(suite)
    return found


def find(name: str) -> Suite:
    """The suite of this name, or the whole family as one suite. Raises UsageError that lists what there is."""
    known, groups = suites(), families()
    if name in known:
        return known[name]
    if name in groups:
        return _family(name, [suite for suite in groups[name] if not suite.world])
    raise UsageError(
        f"there is no suite {name!r}",
        f"choose a suite ({', '.join(sorted(known))}) or a family ({', '.join(sorted(groups))})",
    )


def _family(name: str, members: Sequence[Suite]) -> Suite:
    if not members:
        raise UsageError(f"the suites of {name!r} are played one by one", "name one of them; `overwinter bench suites`")

    def load(folder: Path | None, seed: int) -> list[Item]:
        found, missing = list[Item](), list[str]()
        for suite in members:
            try:
                items = suite.load(folder, seed)
            except UsageError as error:
                missing.append(f"{suite.name}: {error.problem}")
                continue
            found += [
                replace(
                    item, id=f"{suite.name}/{item.id}", suite=suite.name, slices={"suite": suite.name, **item.slices}
                )
                for item in items
            ]
        if not found:
            raise UsageError(f"no suite of {name!r} has data: {missing[0]}", "name the folder with --data")
        return found

    return Suite(
        name=name,
        family=name,
        about=", ".join(suite.name for suite in members),
        load=load,
        open=lambda item, style: find(item.suite).begin(item, style),
        figures=_shared(members, "figures"),
        caution=next((suite.caution for suite in members if suite.caution), ""),
        max_tokens=max(suite.max_tokens for suite in members),
    )


def _shared(members: Sequence[Suite], name: str) -> Any:
    found = [getattr(suite, name) for suite in members if getattr(suite, name) is not None]
    return found[0] if found and all(each is found[0] for each in found) and len(found) == len(members) else None


# Items


def choose(items: Sequence[Item], count: int | None, seed: int) -> list[Item]:
    """`count` of the items, drawn by `seed`, in their own order; all without a count. Ids must differ."""
    if len({item.id for item in items}) != len(items):
        raise UsageError("two questions have the same id", "mend the data")
    if count is None or count >= len(items):
        return list(items)
    kept = set(random.Random(seed).sample(range(len(items)), count))  # noqa: S311 - no secret
    return [item for place, item in enumerate(items) if place in kept]


def items_digest(items: Iterable[Item]) -> str:
    """What a run was asked, as a hash: with other data it is another benchmark."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps([item.id, item.question, item.gold, dict(item.options)], default=str).encode())
    return digest.hexdigest()


def need(folder: Path | None, *names: str) -> Path:
    """The first of these files in the data folder, at its top or anywhere below.

    Raises:
        UsageError: no folder, or none of them in it.
    """
    wanted = " or ".join(names)
    if folder is None:
        raise UsageError(
            f"this suite needs {wanted}, and no data folder is named",
            "give --data FOLDER; docs/bench.md says where the files come from",
        )
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", "name the folder that holds the data with --data")
    for name in names:
        found = folder / name
        if found.is_file():
            return found
        below = sorted(folder.rglob(name))
        if below:
            return below[0]
    raise UsageError(
        f"{folder} does not hold {wanted}",
        "get the file (docs/bench.md says where), or name another folder with --data",
    )


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file with one JSON object a line. Raises UsageError that names a bad line."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except ValueError as error:
                raise UsageError(
                    f"line {number} of {path} is no JSON: {error}", "mend the line, or get the file again"
                ) from error
