"""`overwinter memory …`, the part that writes: notes and core, erase, policies, grants, export and import."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overwinter.cli.flags import By, Common
from overwinter.cli.remembering import remembering
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.cli.workplace import Workplace
    from overwinter.memory.choose import Selector
    from overwinter.memory.memory import Memory


@dataclass(frozen=True, kw_only=True)
class Which:
    """What is to be erased. Entries named by citation are taken as they are; all other conditions must hold together."""

    words: Annotated[
        str | None, typer.Option("--words", metavar="TEXT", help="Entries that contain these words, in any case.")
    ] = None
    pattern: Annotated[
        str | None,
        typer.Option("--pattern", metavar="REGEX", help="Entries in which this regular expression is found."),
    ] = None
    session: Annotated[list[str] | None, typer.Option("--session", metavar="NAME", help="Of this session or run.")] = (
        None
    )
    actor: Annotated[
        list[str] | None, typer.Option("--actor", metavar="WHO", help="Said by: user, person:NAME, tool:NAME.")
    ] = None
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="Happened at or after this time.")] = None
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Happened before this time; a day is included.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a policy says."""

    kind: Annotated[
        list[str] | None, typer.Option("--kind", metavar="KIND", help="Units of this kind: message, tool_result …")
    ] = None
    session: Annotated[
        list[str] | None, typer.Option("--session", metavar="NAME", help="Units of this session or run.")
    ] = None
    actor: Annotated[
        list[str] | None, typer.Option("--actor", metavar="WHO", help="Units said by: user, person:NAME …")
    ] = None
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Erase what was told this long ago: 90d, 52w …")
    ] = None
    max_units: Annotated[
        int | None, typer.Option("--max-units", metavar="NUMBER", min=0, help="Keep only so many of the newest.")
    ] = None
    hold: Annotated[bool, typer.Option("--hold", help="Legal hold: nothing it covers can be erased.")] = False

    @property
    def says_something(self) -> bool:
        return any(getattr(self, each.name) not in (None, False) for each in dataclasses.fields(self))


def write(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is to be remembered.")],
    *,
    cite: Annotated[list[str] | None, typer.Option("--cite", metavar="RUN#ENTRY", help="An entry it rests on.")] = None,
    happened: Annotated[
        str | None, typer.Option("--happened", metavar="TIME", help="When it happened; default: now.")
    ] = None,
    session: Annotated[str, typer.Option("--session", metavar="NAME", help="What it belongs to.")] = "",
    by: By = None,
    common: Common,
) -> None:
    """Note something in the notebook, durably."""
    from overwinter.cli.when import parse_time
    from overwinter.memory.choose import parse_cite

    for each in cite or ():
        parse_cite(each)
    with remembering(common, sync=False) as (at, memory):
        data: dict[str, Any] = {} if not session else {"session": session}
        if happened is not None:
            now = at.store.now_us()
            data |= {"happened_us": parse_time(happened, now), "happened_until_us": parse_time(happened, now, end=True)}
        entry = memory.write(text, cites=cite or (), actor=f"person:{at.who(by)}", data=data)
        at.out.record(entry.as_json())
        at.out.line(f"noted as {entry.run}#{entry.seq}")


def core(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A block; default: list all.")] = None,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="What it shall say; default: print it.")] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Take the block out.")] = False,
    by: By = None,
    common: Common,
) -> None:
    """Print or change the core: short blocks that are always in view, such as standing wishes and open duties."""
    from overwinter.memory.core import change
    from overwinter.memory.transfer import core_blocks

    if remove and (name is None or text is not None):
        raise UsageError("--remove takes one block out", "name the block, and no text")
    with remembering(common, sync=False) as (at, memory):
        blocks = core_blocks(memory)
        if name is not None and (remove or text is None) and name not in blocks:
            raise UsageError(f"there is no core block {name!r}", f"list them with `{at.command('memory', 'core')}`")
        if name is None or (text is None and not remove):
            for each, block in blocks.items():
                if name in (None, each):
                    at.out.record({"name": each, **block})
                    at.out.parts([(each, "bold"), (f"  by {block['by']}, approved by {block['approved_by']}", "dim")])
                    at.out.line(f"    {block['text']}")
            return
        who = f"person:{at.who(by)}"
        draft, blobs = change(name, "" if remove else text or "", by=who, approved_by=who)
        entry = memory.notebook.append([draft], blobs)[0]
        at.out.record(entry.as_json())
        at.out.line(f"{'took out' if remove else 'set'} core block {name} ({entry.run}#{entry.seq})")


def erase(
    cites: Annotated[
        list[str] | None, typer.Argument(metavar="[CITATION]...", help="RUN#ENTRY, or ids of units.")
    ] = None,
    *,
    which: Which,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept, and must not repeat the text.")
    ] = "asked for",
    keep_echoes: Annotated[
        bool, typer.Option("--keep-echoes", help="Leave what repeats the text, and list it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Erase; without it, only say what would go.")] = False,
    by: By = None,
    common: Common,
) -> None:
    """Erase entries and everything that repeats or derives from them, then search every byte for what is left (exit code 1)."""
    from overwinter.cli.output import Progress
    from overwinter.cli.remembered import plan_record, print_plan, print_receipt
    from overwinter.memory.erase import erase as erase_all
    from overwinter.memory.erase import plan

    with remembering(common) as (at, memory):
        selector = _selector(which, tuple(cites or ()), at.store.now_us())
        progress, echoes = Progress("entries searched"), "keep" if keep_echoes else "erase"
        if not yes:
            made = plan(memory, selector, echoes=echoes, progress=progress)
            progress.done()
            at.out.record(plan_record(made))
            print_plan(at.out, made)
            at.out.line("nothing was erased; say --yes to do it", "bold")
            return
        receipt = erase_all(memory, selector, reason=reason, by=at.who(by), echoes=echoes, progress=progress)
        progress.done()
        at.out.record({**dataclasses.asdict(receipt), "clean": receipt.clean})
        print_receipt(at.out, receipt)
        if not receipt.clean:
            raise typer.Exit(1)


def _selector(which: Which, cites: tuple[str, ...], now_us: int) -> Selector:
    from overwinter.cli.when import parse_time
    from overwinter.memory.choose import Selector

    return Selector(
        cites=tuple(each for each in cites if "#" in each),
        units=tuple(each for each in cites if "#" not in each),
        sessions=frozenset(which.session or ()),
        actors=frozenset(which.actor or ()),
        words=which.words or "",
        pattern=which.pattern or "",
        since_us=None if which.since is None else parse_time(which.since, now_us),
        until_us=None if which.until is None else parse_time(which.until, now_us, end=True),
    )


def policy(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The policy to set or lift; default: list all.")
    ] = None,
    *,
    rule: Rule,
    lift: Annotated[bool, typer.Option("--lift", help="Take the policy out of force.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Erase now what the policies say has had its time.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --apply: erase; without it, only say what would go.")
    ] = False,
    by: By = None,
    common: Common,
) -> None:
    """List, set, lift or apply retention policies and legal holds."""
    from overwinter.memory.policy import lift_policy, policies

    if apply and (name is not None or lift or rule.says_something):
        raise UsageError("--apply carries out all policies in force", "give it alone, or with --yes")
    if name is None and (lift or rule.says_something):
        raise UsageError("the policy has no name", "write `overwinter memory policy NAME …`")
    with remembering(common, sync=apply) as (at, memory):
        if apply:
            _apply(at, memory, dry_run=not yes, by=at.who(by))
            return
        if name is not None and lift:
            at.out.record(lift_policy(memory, name, at.who(by)).as_json())
            at.out.line(f"policy {name} is no longer in force")
        elif name is not None and rule.says_something:
            _set_policy(at, memory, name, rule, at.who(by))
        else:
            found = policies(at.store, memory.namespace)
            if name is not None and name not in found:
                raise UsageError(f"there is no policy {name!r}", f"list them with `{at.command('memory', 'policy')}`")
            for each in found.values():
                if name in (None, each.name):
                    at.out.record({"name": each.name, **each.as_json()})
                    at.out.line(f"{each.name}: {_policy_text(each)}")


def _set_policy(at: Workplace, memory: Memory, name: str, rule: Rule, by: str) -> None:
    from overwinter.amounts import parse_duration_s
    from overwinter.memory.policy import Policy, set_policy

    made = Policy(
        name=name,
        kinds=frozenset(rule.kind or ()),
        sessions=frozenset(rule.session or ()),
        actors=frozenset(rule.actor or ()),
        ttl_s=None if rule.older_than is None else parse_duration_s(rule.older_than),
        max_units=rule.max_units,
        hold=rule.hold,
    )
    at.out.record(set_policy(memory, made, by).as_json())
    at.out.line(f"policy {name}: {_policy_text(made)}")


def _policy_text(policy: Any) -> str:
    from overwinter.amounts import duration_text

    about = [*sorted(policy.kinds), *sorted(policy.sessions), *sorted(policy.actors)]
    what = ", ".join(about) or "everything"
    if policy.hold:
        return f"hold {what}"
    rules = [] if policy.ttl_s is None else [f"older than {duration_text(policy.ttl_s)}"]
    rules += [] if policy.max_units is None else [f"beyond the newest {policy.max_units}"]
    return f"erase {what} {' or '.join(rules)}"


def _apply(at: Workplace, memory: Memory, *, dry_run: bool, by: str) -> None:
    from overwinter.cli.remembered import print_receipt
    from overwinter.memory.policy import apply_policies

    clean = True
    for done in apply_policies(memory, at.store.now_us(), dry_run=dry_run, by=by):
        at.out.record({**dataclasses.asdict(done), "dry_run": dry_run})
        held = f"; {done.held} more are held" if done.held else ""
        at.out.line(f"{done.policy}: {'would erase' if dry_run else 'erased'} {done.entries} entries{held}")
        if done.receipt is not None:
            print_receipt(at.out, done.receipt)
            clean = clean and done.receipt.clean
    if not clean:
        raise typer.Exit(1)


def grant(
    reader: Annotated[
        str | None, typer.Argument(metavar="[NAMESPACE]", help="Who may read yours; default: list all.")
    ] = None,
    *,
    revoke: Annotated[bool, typer.Option("--revoke", help="No longer.")] = False,
    by: By = None,
    common: Common,
) -> None:
    """Let another namespace read this one. It is the only way across, and one can never write across."""
    from overwinter.memory.grants import change_grant, readers

    if revoke and reader is None:
        raise UsageError("--revoke takes one grant back", "name the namespace that shall no longer read")
    with remembering(common, sync=False) as (at, memory):
        if reader is not None:
            entry = change_grant(memory, reader, at.who(by), allowed=not revoke)
            at.out.record(entry.as_json())
            at.out.line(f"{reader} may {'no longer ' if revoke else ''}read {memory.namespace}")
            return
        for each in sorted(readers(at.store, memory.namespace)):
            at.out.record({"reader": each, "namespace": memory.namespace})
            at.out.line(f"{each} may read {memory.namespace}")


def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; JSONL.")],
    *,
    journal: Annotated[
        bool, typer.Option("--journal", help="The entries themselves, to be imported with the same hashes.")
    ] = False,
    common: Common,
) -> None:
    """Write memory to a file: units with where they come from, claims, digests, core, policies, receipts, and a manifest."""
    from overwinter.cli.output import Progress
    from overwinter.memory.moving import export_journal
    from overwinter.memory.transfer import export_memory

    with remembering(common, sync=not journal) as (at, memory):
        progress = Progress("exported")
        manifest = (export_journal if journal else export_memory)(memory, path, progress)
        progress.done()
        at.out.record({"file": str(path), **dataclasses.asdict(manifest)})
        plurals = {"core": "core blocks", "entry": "entries", "policy": "policies"}
        counts = ", ".join(f"{count} {plurals.get(kind, kind + 's')}" for kind, count in manifest.counts.items())
        at.out.line(f"wrote {path}: {counts or 'nothing'}")


def import_(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An export, JSONL chats, or a text.")],
    *,
    form: Annotated[
        str,
        typer.Option("--as", metavar="FORM", help="export, journal, chat or text; default: what the file looks like."),
    ] = "",
    session: Annotated[
        str, typer.Option("--session", metavar="NAME", help="For chats and texts: what it belongs to.")
    ] = "",
    by: By = None,
    common: Common,
) -> None:
    """Take in an export of ours, conversations of other systems, or a text. Importing twice changes nothing."""
    from overwinter.cli.output import Progress
    from overwinter.memory import moving, transfer
    from overwinter.memory.chats import read_chats

    forms = {transfer.FORMAT: "export", moving.FORMAT: "journal"}
    form = form or forms.get(transfer.is_export(path), "") or "other"
    if form not in (*forms.values(), "chat", "text", "other"):
        raise UsageError(f"there is no form {form!r}", "use one of: export, journal, chat, text")
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "name an export, JSONL chats, or a text")
    with remembering(common, sync=form != "journal") as (at, memory):
        progress = Progress("imported")
        if form == "journal":
            moved = moving.import_journal(at.store, path, progress)
            progress.done()
            _remember(memory)
            at.out.record(dataclasses.asdict(moved))
            at.out.line(
                f"took in {moved.written} of {moved.entries} entries of {moved.runs} runs; the others were here"
            )
            return
        if form == "export":
            done = transfer.import_memory(memory, path, at.who(by), progress)
        else:
            done = transfer.import_chats(
                memory, read_chats(path, session=session, kind=form.replace("other", "")), progress
            )
        progress.done()
        _remember(memory)
        at.out.record(dataclasses.asdict(done))
        at.out.line(f"took in {done.written} of {done.read}; {done.known} were here already")
        if done.core or done.policies:
            at.out.line(f"set {done.core} core blocks and {done.policies} policies")


def _remember(memory: Memory) -> None:
    from overwinter.cli.output import Progress

    progress = Progress("entries remembered")
    memory.sync(progress)
    progress.done()


import_.__name__ = "import"  # a word of Python, but the right one for the command
