"""`doctor` and `gc`: what is installed and in force, and what may be forgotten."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from overwinter.cli.flags import Common
from overwinter.cli.workplace import workplace
from overwinter.errors import UsageError


def doctor(*, common: Common) -> None:
    """Say what is installed, what is not, and what to do; and every setting with its origin."""
    from overwinter.cli.checkup import checks, settings_rows
    from overwinter.cli.output import Output
    from overwinter.cli.workplace import load_settings

    effective = load_settings(common)
    out = Output(as_json=common.json)
    rows = list(settings_rows(effective))
    for name, value, origin in rows:
        out.record({"check": "setting", "name": name, "value": value, "origin": origin})
    out.table(["SETTING", "VALUE", "ORIGIN"], [[name, str(value), origin] for name, value, origin in rows])
    out.line()
    failed = False
    for check in checks(effective):
        out.record(dataclasses.asdict(check))
        mark, style = {True: ("ok", "green"), False: ("PROBLEM", "bold red"), None: ("-", "yellow")}[check.ok]
        out.parts([(f"{mark:8} ", style), (f"{check.check:16} ", ""), (check.value, "dim")])
        if check.advice:
            out.line(f"{'':8}   → {check.advice}")
        failed = failed or check.ok is False
    if failed:
        raise typer.Exit(1)


def gc(
    *,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Only runs that ended this long ago: 30d, 12h …")
    ],
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="KIND", help="Only texts of entries of this kind, e.g. world.saved."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    common: Common,
) -> None:
    """Forget texts of old runs. Entries and hashes stay, so every journal can still be verified."""
    from overwinter.amounts import bytes_text, parse_duration_s
    from overwinter.journal import Retention, collect
    from overwinter.journal.entry import BODIES

    unknown = [each for each in kind or () if each not in BODIES]
    if unknown:
        raise UsageError(f"there is no kind of entry {unknown[0]!r}", f"use one of: {', '.join(BODIES)}")
    policy = Retention(older_than_s=parse_duration_s(older_than), kinds=tuple(kind or ()), name=f"gc {older_than}")
    with workplace(common) as at:
        done = collect(at.store, policy, at.store.now_us(), dry_run=dry_run)
        at.out.record({**dataclasses.asdict(done), "dry_run": dry_run})
        freed = "" if dry_run else f", {bytes_text(done.freed_bytes)} freed"
        at.out.line(f"{'would forget' if dry_run else 'forgot'} {done.blobs} texts of {done.runs} runs{freed}")
