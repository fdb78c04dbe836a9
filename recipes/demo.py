"""The main job in under a minute: a season in the greenhouse, killed half way, resumed, judged, and checked byte by byte.

    make demo            or: python recipes/demo.py [folder for the results]

Each promise is tested here and printed with its result; the exit code is 0 only if all of them hold.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from overwinter.journal import Store, open_store

SEED, RUN = 7, "demo"
KILL_ON_DAY = 60
FLIP_AT = 0.55
"""Where in the journal a byte of the copy is flipped, as a share of its length."""
BOLD, DIM, GREEN, RED, PLAIN = ("\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m")
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    journal, damaged, page = folder / "demo.db", folder / "damaged.db", folder / "run.html"
    for old in (*folder.glob("demo.db*"), *folder.glob("damaged.db*"), page):
        old.unlink(missing_ok=True)
    promises = Promises()
    began = time.monotonic()

    title("1. A season begins")
    say("120 days in a greenhouse. The player is a trained model: a small decoder of this package, made by")
    say("recipes/train_bundled.py (imitation, then reinforcement learning with hindsight credit). It reads one page of")
    say("notes per decision and states its chance of success. `--policy rules` plays the scripted baseline instead.")
    day = play_and_kill(journal)
    promises.check(f"the process was killed with SIGKILL on day {day}, in mid-season", 0 < day < 120)

    title("2. What is left is the journal")
    overwinter("ls", store=journal)

    title("3. Go on")
    ended = overwinter("resume", RUN, store=journal, show_last=6)
    promises.check("the season went on to its end and was verified by the world's own outcome", ended == 0)

    check_player(journal, promises)

    title("4. No order was sent twice")
    check_orders(journal, promises)

    title("5. Anyone can check the journal")
    promises.check("every hash fits", overwinter("log", RUN, "--verify", store=journal) == 0)

    title("6. One byte of a copy is flipped")
    check_damage(journal, damaged, promises)

    title("7. The run as a page")
    made = overwinter("log", RUN, "--html", str(page), store=journal)
    promises.check(f"{page} was written", made == 0 and page.stat().st_size > 10_000)

    title(f"Done in {time.monotonic() - began:.0f} s. Try next")
    for command in (
        f"overwinter why {RUN} --store {journal}",
        f"overwinter credit {RUN} --store {journal}           # which decisions earned the outcome",
        f"overwinter fork {RUN}@400 --policy rules --name other --store {journal} && overwinter resume other --store {journal}",
        f"overwinter run --ask orders --store {journal}      # a person approves each order",
    ):
        print(f"   {command}")
    return promises.result()


class Promises:
    """What was promised and whether it held."""

    def __init__(self) -> None:
        self.broken: list[str] = []

    def check(self, promise: str, held: bool) -> None:
        print(paint(f"   {'✓' if held else '✗ BROKEN:'} {promise}", GREEN if held else RED))
        if not held:
            self.broken.append(promise)

    def result(self) -> int:
        for promise in self.broken:
            print(paint(f"BROKEN: {promise}", RED))
        return 1 if self.broken else 0


def play_and_kill(journal: Path) -> int:
    """Start a season in a process of its own and kill it when KILL_ON_DAY begins; the day it had reached."""
    command = ["run", "--seed", str(SEED), "--name", RUN, "--store", str(journal)]
    show(command)
    day, shown = 0, 0
    with subprocess.Popen(
        [sys.executable, "-m", "overwinter", *command], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            words = line.split()
            if "day" in words[:3]:
                day = int(words[words.index("day") + 1].partition("/")[0])
            if shown < 6 or "order fuel" in line:
                print(f"   {line.rstrip()}")
                shown += 1
            if day >= KILL_ON_DAY:
                process.send_signal(signal.SIGKILL)
                break
        print(paint(f"   … kill -9 {process.pid}", BOLD))
        return day if process.wait() == -signal.SIGKILL else 0


def check_player(journal: Path, promises: Promises) -> None:
    """Who made the decisions, and what it said of its chances, as the journal has it."""
    store = open_store(str(journal), read_only=True)
    try:
        answers = [entry.body for entry in store.read(RUN, kinds=["sample.completion"])]
        verified = any(entry.body["status"] == "verified" for entry in store.read(RUN, kinds=["verdict"]))
    finally:
        store.close()
    makers = {body["model"] for body in answers}
    chances = [body["success_chance"] for body in answers if body.get("success_chance") is not None]
    trained = len(makers) == 1 and not any(maker.startswith("policy:") for maker in makers)
    held = trained and len(chances) == len(answers) and not any(body["text_only"] for body in answers)
    first, last = (f"{chance:.0%}" for chance in (chances[0], chances[-1])) if chances else ("?", "?")
    end = "met" if verified else "not met"
    promises.check(
        f"one trained model, {', '.join(sorted(makers))}, made all {len(answers)} decisions, each with its token ids, and gave itself"
        f" {first} at first and {last} at last; the goal was {end}",
        held,
    )


def check_orders(journal: Path, promises: Promises) -> None:
    """Count the orders in the journal and in the world's own books."""
    store = open_store(str(journal), read_only=True)
    try:
        sent, confirmed, repeats = journalled_orders(store)
        saved = list(store.read(RUN, kinds=["world.saved"]))[-1]
        resumed = sum(1 for _ in store.read(RUN, kinds=["run.resumed"]))
    finally:
        store.close()
    booked = sum(winter["orders"] for winter in saved.body["outcome"]["facts"]["winters"])
    say(
        f"orders in the journal: {len(sent)}, each with a key of its own; confirmed: {confirmed}; in the supplier's books: {booked}"
    )
    say(
        f"processes that worked on the run: {resumed + 1}; calls repeated after the kill under their old key: {repeats}"
    )
    twice = [key for key, count in Counter(sent).items() if count > 1]
    promises.check(f"{booked} orders, none sent twice", not twice and len(sent) == confirmed == booked > 0)


def journalled_orders(store: Store) -> tuple[list[str], int, int]:
    """Keys of the orders sent, how many were confirmed, and how many calls of any kind were repeated after a crash."""
    orders: dict[int, str] = {}
    sent: list[str] = []
    confirmed = repeats = 0
    for entry in store.read(RUN, kinds=["effect.intent", "effect.receipt"]):
        if entry.kind == "effect.intent":
            repeats += entry.body["attempt"] > 1
            if entry.body["call"]["arguments"].get("action", "").startswith("order fuel"):
                orders[entry.seq] = entry.body["key"]
                if entry.body["attempt"] == 1:
                    sent.append(entry.body["key"])
        elif entry.body["intent"] in orders and entry.body["ok"]:
            confirmed += 1
    return sent, confirmed, repeats


def check_damage(journal: Path, damaged: Path, promises: Promises) -> None:
    """Flip one bit of one entry in a copy; `log --verify` must name the entry and the byte."""
    with sqlite3.connect(journal) as source, sqlite3.connect(damaged) as target:
        source.backup(target)
        count = target.execute("SELECT count(*) FROM entries WHERE run = ?", (RUN,)).fetchone()[0]
        seq = int(count * FLIP_AT)
        data = bytes(target.execute("SELECT data FROM entries WHERE run = ? AND seq = ?", (RUN, seq)).fetchone()[0])
    source.close()
    target.close()
    raw = bytearray(damaged.read_bytes())
    offset = len(data) // 2
    place = raw.find(data) + offset
    raw[place] ^= 0x04
    damaged.write_bytes(raw)
    say(
        f"byte {place:,} of the file, which is byte {offset} of entry {seq}, now reads {chr(raw[place])!r} instead of {chr(data[offset])!r}"
    )
    output: list[str] = []
    code = overwinter("log", RUN, "--verify", store=damaged, keep=output)
    named = any(f"entry {seq}:" in line and f"byte {offset} " in line for line in output)
    promises.check(f"the check fails and names entry {seq}, byte {offset}", code == 1 and named)


def overwinter(*words: str, store: Path, show_last: int = 0, keep: list[str] | None = None) -> int:
    """Run a command as a user would and print what it says; its exit code."""
    command = [*words, "--store", str(store)]
    show(command)
    done = subprocess.run(
        [sys.executable, "-m", "overwinter", *command], check=False, capture_output=True, text=True, encoding="utf-8"
    )
    lines = (done.stdout + done.stderr).splitlines()
    if show_last and len(lines) > show_last + 4:
        lines = [*lines[:4], paint(f"… {len(lines) - show_last - 4} more lines", DIM), *lines[-show_last:]]
    for line in lines:
        print(f"   {line}")
    if keep is not None:
        keep += lines
    return done.returncode


def show(command: list[str]) -> None:
    print(paint(f"   $ overwinter {' '.join(command)}", BOLD))


def title(text: str) -> None:
    print(paint(f"\n{text}", BOLD))


def say(text: str) -> None:
    print(f"   {text}")
    sys.stdout.flush()


def paint(text: str, colour: str) -> str:
    return f"{colour}{text}{PLAIN}" if COLOUR else text


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "out")))
