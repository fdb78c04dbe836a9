"""Confidence in a run: the record of each completion, the calibrators of the run's scope, and when a person should be asked.

    {"confidence": {"calibrators": {…a file of calibrators…}, "task": "support tickets", "language": "en"}}

A calibrator holds for the model, revision, task and tools it was fitted with (`think.confidence.calibrators.Scope`). Where the run's are
others, nothing is applied, the record says why, and a gate for doubtful calls asks about all of them. The setup holds the calibrators
themselves, so that the run is the same on another machine; a model that comes with some brings them along with its weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overwinter.errors import UsageError
from overwinter.journal import ERASED, Store
from overwinter.loop.world import ACT
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.confidence.record import CALL, CONSEQUENTIAL, RUN, Statement, make
from overwinter.think.confidence.stored import FILE_NAME, Shelf, shelf_of
from overwinter.think.confidence.stored import load as load_shelf

if TYPE_CHECKING:
    from overwinter.loop.model import Completion
    from overwinter.loop.session import Parts, Session
    from overwinter.loop.state import RunState

FIELDS = frozenset({"calibrators", "task", "language"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Confidence:
    """What a run knows of its confidence.

    Attributes:
        shelf: calibrators; None for a run that has none.
        task, language: the parts of the scope that only a person can name; a world's name is its task.
    """

    shelf: Shelf | None = None
    task: str = ""
    language: str = ""


def build_confidence(spec: Mapping[str, Any], model: Mapping[str, Any]) -> Confidence:
    """From the setup's table, and the file that a model folder brings along.

    Raises:
        UsageError: an unknown field, or a file that holds no calibrators.
    """
    unknown = sorted(spec.keys() - FIELDS)
    if unknown:
        raise UsageError(f"confidence has unknown fields {unknown}", f"use: {', '.join(sorted(FIELDS))}")
    path = _brought_by(model)
    shelf = None
    if "calibrators" in spec:
        shelf = shelf_of(spec["calibrators"], "the setup")
    elif path is not None:
        shelf = load_shelf(path)
    return Confidence(shelf=shelf, task=str(spec.get("task", "")), language=str(spec.get("language", "")))


def _brought_by(model: Mapping[str, Any]) -> Path | None:
    if model.get("kind") != "player":
        return None
    from overwinter.worlds.player import player_folder

    path = player_folder(str(model.get("path", ""))) / FILE_NAME
    return path if path.is_file() else None


def scope_of(parts: Parts, model: str) -> Scope:
    """Where this run's numbers come from. `model` is the name that answered, with its revision after an "@"."""
    name, _, revision = model.partition("@")
    world = parts.world.name if parts.world is not None else ""
    return Scope(
        model=name,
        revision=revision,
        task=parts.confidence.task or world,
        tools=ACT if parts.only_acts else parts.toolbox.fingerprint()[:12],
        language=parts.confidence.language,
    )


def record_of(parts: Parts, completion: Completion, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The `confidence_record` of a completion of the actor."""
    chance = completion.success_chance
    stated = [] if chance is None else [Statement(value=chance, of=RUN, when="pre")]
    record = make(
        completion.logprobs,
        completion.top_logprobs,
        signals={"choice": completion.choice_probability, "stated": chance, **completion.signals},
        stated=stated,
    )
    scope = scope_of(parts, completion.model)
    # What the numbers are numbers of: a calibrator that is fitted on them holds there and nowhere else.
    record["scope"] = {name: value for name, value in asdict(scope).items() if value}
    shelf = parts.confidence.shelf
    if shelf is not None:
        objects = (RUN, CALL, CONSEQUENTIAL) if any(_consequential(parts, call) for call in calls) else (RUN, CALL)
        made, refused = shelf.calibrate(record["signals"], scope, objects)
        record |= {"calibrated": made} if made else {}
        record |= {"refused": refused} if refused else {}
    return record


def consequential(parts: Parts, tool: str, arguments: Mapping[str, Any]) -> bool:
    """Whether the tool, or the world it acts in, calls this call one that a person might want to be asked about first."""
    if tool == ACT and parts.world is not None:
        return parts.world.consequential(str(arguments.get("action")))
    return tool in parts.toolbox and "consequential" in parts.toolbox.get(tool).tags


def _consequential(parts: Parts, call: Mapping[str, Any]) -> bool:
    arguments = call["arguments"]
    return isinstance(arguments, Mapping) and consequential(parts, call["tool"], arguments)


def gate_confidence(state: RunState, *, is_consequential: bool) -> float | None:
    """What a gate goes by: the calibrated probability of this kind of call where there is one, else that of any call, else the raw
    confidence of the completion."""
    if is_consequential and CONSEQUENTIAL in state.calibrated:
        return state.calibrated[CONSEQUENTIAL]
    return state.calibrated.get(CALL, state.confidence)


def is_doubtful(session: Session, *, is_consequential: bool) -> bool:
    """Whether a person should be asked: the calibrated probability lies below the threshold that was fitted with it. Without one of
    this scope nothing can be promised, and everything is doubtful."""
    state, shelf = session.state, session.parts.confidence.shelf
    of = CONSEQUENTIAL if is_consequential and CONSEQUENTIAL in state.calibrated else CALL
    held = shelf.find(of) if shelf is not None else None
    if held is None or held.ask_below is None or of not in state.calibrated:
        return True
    return state.calibrated[of] < held.ask_below


def common_scope(store: Store, runs: Sequence[str]) -> Scope:
    """The scope that runs share, for a calibrator that is fitted on them.

    Raises:
        UsageError: they do not share one.
    """
    found = {_scope_in(store, run) for run in runs} - {None}
    if len(found) != 1:
        several = "; ".join(str(each) for each in sorted(map(str, found))[:3]) or "none says of which model it is"
        raise UsageError(
            f"these runs have {len(found)} scopes: {several}", "fit on runs of one model, task and set of tools"
        )
    [scope] = found
    assert scope is not None
    return scope


def _scope_in(store: Store, run: str) -> Scope | None:
    """As the run's own records say; None for a run without one."""
    for entry in store.read(run, 0, kinds=("sample.completion",)):
        raw = entry.body.get("confidence_record") if entry.kind != ERASED else None
        if raw is not None and "scope" in raw:
            return Scope(**raw["scope"])
    return None
