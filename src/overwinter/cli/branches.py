"""What `why` says of a search: votes, first steps, branches, and which was committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overwinter.cli.workplace import Workplace
    from overwinter.journal import Entry

SHOWN_OPTIONS, SHOWN_BRANCHES = 8, 12


def search_record(entry: Entry) -> dict[str, Any]:
    """A search as JSON: the body of its search.ended entry, and the options."""
    return {"seq": entry.seq, **entry.body, "options": options_of(entry.body)}


def options_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """First steps, in the order in which they were found: label, share of the votes, tries, mean worth, visits, tokens, committed."""
    rows = body["nodes"]
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["of"] == 0:
            found.setdefault(row["label"], []).append(row)
    chosen = _chosen(body)
    return [
        {
            "label": label,
            "vote": body["votes"].get(label, 0.0),
            "prior": tries[0].get("prior"),
            "tries": len(tries),
            "worth": sum(row["worth"] for row in tries) / len(tries),
            "visits": sum(row["visits"] for row in tries),
            "tokens": sum(_cost(rows, row["node"]) for row in tries),
            "committed": chosen in [row["node"] for row in tries],
        }
        for label, tries in found.items()
    ]


def print_search(at: Workplace, entry: Entry) -> None:
    """A table of the options, and the branches behind them."""
    from overwinter.cli.output import one_line

    body = entry.body
    options = options_of(body)
    at.out.line(f"searched for at #{entry.seq}: {body['tokens']} tokens; {body['why']}")
    rows = [
        [
            "→" if option["committed"] else "",
            one_line(option["label"], 40),
            f"{option['vote']:.2f}",
            "" if option["prior"] is None else f"{option['prior']:.2f}",
            f"{option['worth']:.3f}",
            str(option["tries"]),
            str(option["visits"]),
            str(option["tokens"]),
        ]
        for option in options[:SHOWN_OPTIONS]
    ]
    titles = ["", "FIRST STEP", "VOTE", "MODEL", "VALUE", "TRIES", "NODES", "TOKENS"]
    at.out.table(titles, rows, right=["VOTE", "MODEL", "VALUE", "TRIES", "NODES", "TOKENS"])
    if len(options) > SHOWN_OPTIONS:
        at.out.line(f"and {len(options) - SHOWN_OPTIONS} more first steps; --json lists all", "dim")
    if body["branch"]:
        began = body["branch"].rpartition(".")[0]
        at.out.line(f"its branches: {began}.1 to .{len(body['nodes']) - 1}, each with a log of its own", "dim")


def _chosen(body: dict[str, Any]) -> int:
    return int(body["branch"].rpartition(".")[2]) if body["branch"] else -1


def _cost(rows: list[dict[str, Any]], node: int) -> int:
    own = next(row["tokens"] for row in rows if row["node"] == node)
    return int(own) + sum(_cost(rows, row["node"]) for row in rows if row["of"] == node and row["node"] != node)
