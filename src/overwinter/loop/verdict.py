"""Done is a verdict on evidence, by a checker that is not the actor.

Each line of the acceptance list has a check (see `goal.Criterion`). All met: verified. One not met: rejected, and the actor
goes on with the findings in view. None failed but some could not be checked: the run ends "finished, unverified", and says so.
Every finding names the entries it rests on. A report that the claim is made with must not contradict itself or the journal (`reported`).

The claim is the intent of its checks. What a check has brought is journalled at once and read again after a crash; a check
without a result is made again, which is harmless: tools that check are pure, commands run in the sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from overwinter.errors import ToolError
from overwinter.journal import Draft, Entry, Packer, unpack
from overwinter.loop.goal import Criterion, Goal
from overwinter.loop.model import Constraint, CountsViews, Message, Model, View
from overwinter.loop.sampling import ask
from overwinter.loop.session import Session, room_for_view
from overwinter.loop.state import CHECK_SOURCE, JUDGING
from overwinter.loop.view import TURN_TOKENS, Measured, render, view_digest
from overwinter.tools import Effect, ToolContext
from overwinter.tools.fence import FENCE_RULE, fence

if TYPE_CHECKING:
    from overwinter.think.consistency import Finding as Contradiction

VERIFIED, UNVERIFIED, REJECTED = "verified", "unverified", "rejected"
EVIDENCE_ENTRIES = 40
EVIDENCE_KINDS = ("effect.receipt", "observed", "event.received")
JUDGE_SCHEMA = {
    "type": "object",
    "properties": {
        "met": {"type": "boolean"},
        "entries": {"type": "array", "items": {"type": "integer"}},
        "note": {"type": "string"},
    },
    "required": ["met", "entries", "note"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What was found for one criterion. `met` None: it could not be checked."""

    id: str
    met: bool | None
    entries: tuple[int, ...]
    note: str

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "met": self.met, "entries": list(self.entries), "note": self.note}


def judge(session: Session) -> Iterator[Entry]:
    """Check the open claim and write the verdict; ends the run where there is nothing left to do.

    Raises:
        BudgetExhausted, ModelError: a judge model could not be asked; the claim stays open.
    """
    goal = Goal.from_json(session.state.goal, session.state.acceptance)
    findings: list[Finding] = []
    for criterion in goal.acceptance:
        if criterion.check["kind"] == "judge":
            finding = yield from _by_judge(session, criterion)
        elif criterion.check["kind"] == "world":
            finding = _by_world(session, criterion)
        elif criterion.check["kind"] in {"tool", "command"}:
            finding = yield from _by_tool(session, criterion)
        else:
            finding = Finding(id=criterion.id, met=None, entries=(), note="nobody was named who could check this")
        findings.append(finding)
    findings += _by_report(session)
    yield from _conclude(session, findings, checker=_checker(goal))


def status_of(findings: list[Finding]) -> str:
    """The verdict that findings add up to. An empty list verifies nothing."""
    if any(finding.met is False for finding in findings):
        return REJECTED
    return VERIFIED if findings and all(finding.met for finding in findings) else UNVERIFIED


def _checker(goal: Goal) -> str:
    return "+".join(sorted({str(criterion.check["kind"]) for criterion in goal.acceptance})) or "none"


def _conclude(session: Session, findings: list[Finding], checker: str) -> Iterator[Entry]:
    status = status_of(findings)
    verdict_seq = session.state.head_seq + 1
    body = {
        "claim": session.state.claim,
        "status": status,
        "checker": checker,
        "findings": [finding.as_json() for finding in findings],
    }
    drafts = [Draft(kind="verdict", body=body)]
    over = session.parts.world is not None and session.parts.world.done
    if status != REJECTED or over:
        ended = "failed" if status == REJECTED else status
        notes = "; ".join(f"{finding.id}: {finding.note}" for finding in findings) or "no acceptance list was given"
        drafts.append(Draft(kind="run.ended", body={"status": ended, "detail": notes, "verdict": verdict_seq}))
    yield from session.append(drafts)


def _by_report(session: Session) -> list[Finding]:
    """What contradicts itself or the journal in the report that the claim is made with; nothing where all is well or there is no report.

    A report can take away from a verdict and never add to it. Where it can still be mended it is sent back; once the world is over, the
    run ends unverified at best.
    """
    from overwinter.loop.reported import report_of

    assert session.state.claim is not None
    wrong = report_of(session.store, session.run, _entry(session, session.state.claim))
    over = session.parts.world is not None and session.parts.world.done
    met = False if not over and any(one.kind == "log" for one in wrong) else None
    return [
        Finding(
            id="report",
            met=met,
            entries=_cited(session.state.claim, one),
            note=f"{one.explanation}: “{one.second.text[:160]}”",
        )
        for one in wrong
    ]


def _cited(claim: int, wrong: Contradiction) -> tuple[int, ...]:
    """The claim, and the entry of the evidence where that is another one."""
    source = wrong.first.source.removeprefix("#").partition(" ")[0]
    return (claim, int(source)) if source.isdigit() else (claim,)


def _by_world(session: Session, criterion: Criterion) -> Finding:
    world = session.parts.world
    if world is None:
        return Finding(id=criterion.id, met=None, entries=(), note="the run has no world")
    outcome = world.outcome()
    entries = tuple(session.state.items[-1:]) + (
        () if session.state.world_saved is None else (session.state.world_saved,)
    )
    if outcome.success is None:
        # An episode that was cut short has no outcome: nobody can say more than that.
        met, note = (None, "the episode ended without an outcome") if world.done else (False, "still open; go on")
        return Finding(id=criterion.id, met=met, entries=entries, note=note)
    return Finding(id=criterion.id, met=outcome.success, entries=entries, note=f"score {outcome.score:.1f}")


def _by_tool(session: Session, criterion: Criterion) -> Generator[Entry, None, Finding]:
    """Call a pure tool, or a command in the sandbox, and journal what it said as evidence."""
    check = criterion.check
    done = session.state.checked.get(criterion.id)
    if done is not None:
        return _tool_finding(session, criterion, _entry(session, done))
    context = ToolContext(run=session.run, entry=session.state.head_seq, idempotency_key="check", deadline_s=None)
    try:
        if check["kind"] == "command":
            from overwinter.tools.sandbox import shell_sandbox

            # The command may write (a build, a test run), but only where the run's own sandbox works.
            tool, arguments = shell_sandbox(root=check.get("root"))[0], {"command": check["command"]}
        else:
            tool, arguments = session.parts.toolbox.get(check["tool"]), dict(check.get("arguments", {}))
            if tool.effect_of(tool.validate(arguments)) is not Effect.PURE:
                raise ToolError(f"{tool.name!r} is not pure", "check with a tool that only looks")
        result = tool.call(tool.validate(arguments), context)
    except ToolError as error:
        return Finding(id=criterion.id, met=None, entries=(), note=f"the check could not run: {error.problem}")
    packer = Packer()
    source = f"{CHECK_SOURCE}{criterion.id}"
    body = {"source": source, "text": packer.text(fence(result.text, source)), "data": {"ok": result.ok}}
    entry = session.append([Draft(kind="observed", body=body, refs=packer.take_refs())], packer)[0]
    yield entry
    return _tool_finding(session, criterion, entry)


def _tool_finding(session: Session, criterion: Criterion, entry: Entry) -> Finding:
    text, wanted = unpack(session.store, entry.body["text"]), criterion.check.get("contains")
    # Without the fence, whose mark could contain what is looked for.
    text = "\n".join(text.split("\n")[1:-1])
    met = entry.body["data"]["ok"] and (wanted is None or str(wanted) in text)
    note = "the check passed" if met else f"the check failed: see entry {entry.seq}"
    return Finding(id=criterion.id, met=met, entries=(entry.seq,), note=note)


def _by_judge(session: Session, criterion: Criterion) -> Generator[Entry, None, Finding]:
    """Ask a model that is not the actor. Its answer counts only if it is in form and cites entries it was shown."""
    model = session.parts.judge
    if model is None:
        return Finding(id=criterion.id, met=None, entries=(), note="no judge model is configured")
    done = session.state.checked.get(criterion.id)
    if done is None:
        view = _judge_view(session, criterion, model, room_for_view(model, session.parts.pace))
        if isinstance(model, CountsViews):
            tokens = model.count_view(view)
        else:
            tokens = sum(model.count_tokens(message.text) + TURN_TOKENS for message in view.messages)
        measured = Measured(view=view, tokens=tokens, digest=view_digest(view))
        purpose, form = f"{JUDGING}:{criterion.id}", Constraint(json_schema=JUDGE_SCHEMA)
        yield from ask(session, model, measured, left=session.left(), purpose=purpose, constraint=form)
        done = session.state.checked[criterion.id]
    completion = _entry(session, done)
    ranges = _entry(session, completion.body["intent"]).body["view"]["shown"]
    shown = {seq for first, last in ranges for seq in range(first, last + 1)}
    return read_judgement(criterion.id, unpack(session.store, completion.body["text"]), shown)


def _entry(session: Session, seq: int) -> Entry:
    return next(session.store.read(session.run, seq, seq + 1))


def read_judgement(criterion: str, text: str, shown: set[int]) -> Finding:
    """A judge's words as a finding; anything out of form is "could not be checked", never "met"."""
    start, end = text.find("{"), text.rfind("}")
    try:
        raw = json.loads(text[start : end + 1])
        met, cited, note = raw["met"], raw["entries"], str(raw["note"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return Finding(id=criterion, met=None, entries=(), note="the judge's answer was not in form")
    note = note.encode("utf-8", "replace").decode()
    cited = cited if isinstance(cited, list) else []
    entries = tuple(seq for seq in cited if type(seq) is int and seq in shown)
    if met is True and not entries:
        note = f"the judge cited no entry that it was shown: {note}"
        return Finding(id=criterion, met=None, entries=(), note=note[:400])
    return Finding(id=criterion, met=met if isinstance(met, bool) else None, entries=entries, note=note[:400])


def _judge_view(session: Session, criterion: Criterion, model: Model, room: int) -> View:
    """The judge's view: results and observations, the newest that fit; not the worker's own words."""
    system = (
        "You check the work of somebody else. Decide from the evidence alone whether the criterion holds. "
        f"{FENCE_RULE}\n"
        'Answer with JSON: {"met": true or false, "entries": [numbers of the entries that show it], "note": "why"}\n'
        f"GOAL: {session.state.goal}\nCRITERION: {criterion.text}"
    )
    left = room - model.count_tokens(system) - 64
    seqs = session.state.items[-EVIDENCE_ENTRIES:]
    found = session.store.read(session.run, seqs[0], seqs[-1] + 1, kinds=EVIDENCE_KINDS) if seqs else ()
    rows: list[str] = []
    shown: list[tuple[int, int]] = []
    for entry in reversed(list(found)):
        row = f"#{entry.seq} {render(session.store, entry).text}"
        left -= model.count_tokens(row) + 1
        if left < 0:
            break
        rows.append(row)
        shown.append((entry.seq, entry.seq))
    evidence = "EVIDENCE:\n" + "\n".join(reversed(rows))
    return View(
        messages=(Message(role="system", text=system), Message(role="user", text=evidence)),
        shown=tuple(reversed(shown)),
        hidden=session.state.head_seq + 1 - len(shown),
    )
