"""What a benchmark is: a suite, its questions, and how they are put. It stands in the run's first entry, so that anybody can go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from overwinter.bench.suite import STYLES, Item, Suite, choose, find, items_digest
from overwinter.errors import UsageError
from overwinter.journal import Store

SETUP = "bench"
"""The field of a run's setup that marks a benchmark."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """How a suite is put to a model.

    Attributes:
        samples: answers to each question.
        style: "direct" or "reason".
        constrain: multiple choice may only be answered by a letter; its probability is the confidence.
        parallel: questions under way at once; no part of the benchmark itself.
    """

    samples: int = 1
    style: str = "reason"
    constrain: bool = False
    temperature: float = 0.0
    max_tokens: int = 1024
    timeout_s: float = 600.0
    seed: int = 0
    parallel: int = 1

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise UsageError(f"there is no style {self.style!r}", f"use one of: {', '.join(STYLES)}")
        if self.samples > 1 and self.temperature == 0:
            raise UsageError("several samples at temperature 0 are the same", "give --temperature 0.7, or one sample")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A benchmark before it is begun.

    Attributes:
        model: the setup of the model, in the loop's form, JSON.
        data: the folder the questions come from; "" for none.
        count: how many of the suite's questions were drawn; None for all.
    """

    suite: Suite
    items: Sequence[Item]
    config: Config
    model: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    count: int | None = None

    @property
    def title(self) -> str:
        return f"bench {self.suite.name}: {len(self.items)} questions × {self.config.samples}"

    def as_json(self) -> dict[str, Any]:
        """What the first entry keeps."""
        config = asdict(self.config)
        config.pop("parallel")
        return {
            "suite": self.suite.name,
            "version": self.suite.version,
            "data": self.data,
            "count": self.count,
            "questions": len(self.items),
            "digest": items_digest(self.items),
            **config,
        }


def make_plan(name: str, config: Config, *, data: Path | None, count: int | None, model: Mapping[str, Any]) -> Plan:
    """Load a suite's questions. Raises UsageError where there is no such suite, or its data is missing."""
    suite = find(name)
    items = choose(suite.load(data, config.seed), count, config.seed)
    folder = "" if data is None else str(data.absolute())
    return Plan(suite=suite, items=items, config=config, model=model, data=folder, count=count)


def plan_of(store: Store, run: str, *, parallel: int = 1, data: Path | None = None) -> Plan:
    """The plan of a run that was begun, its questions loaded again. Raises UsageError for a run that is no benchmark."""
    setup = setup_of(store, run)
    kept = setup[SETUP]
    names = set(Config.__dataclass_fields__) - {"parallel"}
    config = Config(**{name: kept[name] for name in names}, parallel=parallel)
    folder = data or (Path(kept["data"]) if kept["data"] else None)
    made = make_plan(kept["suite"], config, data=folder, count=kept["count"], model=setup["model"])
    if made.suite.version != kept["version"]:
        raise UsageError(
            f"run {run!r} was begun with version {kept['version']} of suite {kept['suite']!r}; this is version {made.suite.version}",
            "go on with the program it was begun with, or begin anew",
        )
    return made


def setup_of(store: Store, run: str) -> dict[str, Any]:
    """The setup of a benchmark's run. Raises UsageError for another run."""
    first = next(iter(store.read(run, 0, 1)), None)
    setup: dict[str, Any] = {} if first is None else first.body.get("setup", {})
    if SETUP not in setup:
        raise UsageError(f"run {run!r} is no benchmark", "name one that `overwinter bench run` made")
    return setup


def modality(item: Item) -> str:
    """Of a question's input, as the slices name it."""
    return item.slices.get("modality") or ("text+image" if item.images else "text")
