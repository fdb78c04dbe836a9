"""How memory is printed: units, claims, receipts and differences, as lines for people and records for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from overwinter.cli.output import one_line
from overwinter.cli.when import date_text, range_text, time_text

if TYPE_CHECKING:
    from overwinter.cli.output import Output
    from overwinter.memory.claim import Claim
    from overwinter.memory.diff import Diff
    from overwinter.memory.erase import Plan, Receipt
    from overwinter.memory.unit import Hit, Unit

TEXT_CHARS = 400
SHOWN_PLACES = 20


def unit_record(unit: Unit) -> dict[str, Any]:
    return {"cite": unit.cite, **dataclasses.asdict(unit), "flags": sorted(unit.flags)}


def hit_record(hit: Hit) -> dict[str, Any]:
    scores = {
        "score": hit.score,
        "relevance": hit.relevance,
        "channels": hit.channels,
        "duplicates": list(hit.duplicates),
    }
    return {**scores, **unit_record(hit.unit)}


def print_unit(out: Output, unit: Unit, now_us: int, *, head: str = "", full: bool = False) -> None:
    """A unit in two lines: where, when and who; what."""
    flags = f"  [{', '.join(sorted(unit.flags))}]" if unit.flags else ""
    where = f"  {unit.session}" if unit.session != unit.run else ""
    out.parts(
        [
            (head, "bold"),
            (unit.cite, "cyan"),
            (f"  {time_text(unit.happened_us, now_us)}  {unit.actor} ({unit.trust}){where}{flags}", "dim"),
        ]
    )
    for line in unit.text.splitlines() if full else [one_line(unit.text, TEXT_CHARS)]:
        out.line(f"    {line}")


def print_hit(out: Output, number: int, hit: Hit, now_us: int) -> None:
    chance = "" if hit.relevance is None else f" ({hit.relevance:.0%})"
    print_unit(out, hit.unit, now_us, head=f"{number:2}  {hit.score:.3f}{chance}  ")
    more = [f"{name} {score:.2f}" for name, score in sorted(hit.channels.items())]
    if hit.duplicates:
        more.append(f"also said in {', '.join(hit.duplicates[:5])}" + (" …" if len(hit.duplicates) > 5 else ""))
    if more:
        out.line(f"    found by {', '.join(more)}", "dim")


def claim_record(claim: Claim) -> dict[str, Any]:
    return dataclasses.asdict(claim)


def claim_text(claim: Claim) -> str:
    """Subject, predicate, object, and from when until when it held."""
    denied = "" if claim.polarity else "not "
    said = f"{claim.subject} {claim.predicate} {denied}{claim.object}"
    return f"{one_line(said, 200)}  [{range_text(claim.valid_from_us, claim.valid_to_us)}]"


def print_claims(out: Output, claims: Sequence[Claim], title: str = "claims") -> None:
    if claims:
        out.line(f"{title}:", "bold")
    for claim in claims:
        ended = claim.known_to_us is not None or claim.valid_to_us is not None
        out.line(f"    {claim_text(claim)}", "dim" if ended else "")


def print_diff(out: Output, found: Diff, now_us: int) -> None:
    out.line(f"between {date_text(found.from_us)} and {date_text(found.to_us)}: {found.units} units were told", "bold")
    for claim in found.added:
        out.line(f"  + {claim_text(claim)}", "green")
    for before, after in found.changed:
        out.line(f"  - {claim_text(before)}", "red")
        out.line(f"  + {claim_text(after)}", "green")
    for claim in found.closed:
        out.line(f"  - {claim_text(claim)}", "red")
    for unit in found.newest:
        print_unit(out, unit, now_us)


def print_plan(out: Output, plan: Plan) -> None:
    going = sorted(plan.going)
    places = [f"{run}#{seq}" for run, seq in going]
    out.line(f"would erase {len(plan.chosen)} entries and {len(going) - len(plan.chosen)} that repeat them:", "bold")
    print_places(out, places)
    records = sum(map(len, plan.echoes.records.values()))
    out.line(
        f"and {records} token records, {len(plan.echoes.letters)} letters; {len(plan.said)} texts would be looked for"
    )
    if plan.kept:
        out.line("these repeat a text and would stay:")
        print_places(out, [f"{run}#{seq}: {why}" for (run, seq), why in sorted(plan.kept.items())])


def plan_record(plan: Plan) -> Mapping[str, Any]:
    return {
        "dry_run": True,
        "entries": [f"{run}#{seq}" for run, seq in sorted(plan.going)],
        "chosen": len(plan.chosen),
        "kept": {f"{run}#{seq}": why for (run, seq), why in sorted(plan.kept.items())},
        "records": sum(map(len, plan.echoes.records.values())),
        "letters": len(plan.echoes.letters),
        "texts": len(plan.said),
    }


def print_receipt(out: Output, receipt: Receipt) -> None:
    counts = receipt.counts
    out.line(
        f"erased {len(receipt.entries)} entries, {receipt.echoes} of them echoes  (receipt {receipt.cite})", "bold"
    )
    names = ("units", "claims", "digests", "blobs", "records", "letters")
    out.line(f"    with {', '.join(f'{counts.get(name, 0)} {name}' for name in names)}")
    if counts.get("shared_blobs"):
        out.line(f"    {counts['shared_blobs']} texts stay, because entries that stay hold them too", "yellow")
    if receipt.kept:
        out.line("    these repeat a text and stay:", "yellow")
        print_places(out, [f"{cite}: {why}" for cite, why in receipt.kept.items()])
    checked = f"{receipt.checked} texts and pieces of texts looked for in every row and file"
    if receipt.clean:
        out.line(f"    0 bytes left: {checked}", "bold green")
    else:
        out.line(f"    STILL THERE, {checked}:", "bold red")
        print_places(out, receipt.left)
    for place in receipt.elsewhere:
        out.line(f"    out of reach from here: {place}", "yellow")


def print_places(out: Output, places: Iterable[str]) -> None:
    rows = list(places)
    for place in rows[:SHOWN_PLACES]:
        out.line(f"    {place}")
    if len(rows) > SHOWN_PLACES:
        out.line(f"    and {len(rows) - SHOWN_PLACES} more; --json lists all")
