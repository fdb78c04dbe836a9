"""`watch`: a terminal view of a run, working or finished, drawn from the journal alone."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from overwinter.cli.flags import Common
from overwinter.cli.workplace import Workplace, workplace

if TYPE_CHECKING:
    from rich.console import RenderableType

    from overwinter.journal import Entry
    from overwinter.loop.state import RunState

TAIL = 12
BAR = 24
HIDDEN = frozenset({"sample.intent", "effect.intent", "world.saved"})
"""Kinds the timeline leaves out: their other half says more."""


def watch(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's name, or the beginning of one.")] = "last",
    *,
    once: Annotated[bool, typer.Option("--once", help="Draw it once and leave.")] = False,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", min=0.05, help="Seconds between looks.")] = 0.5,
    common: Common,
) -> None:
    """Show a run as it goes: goal, state, budget, questions, latest entries. Leaves when it ends; Ctrl-C leaves."""
    with workplace(common, read_only=True) as at:
        screen = Screen(at, at.resolve(run).run)
        screen.catch_up()
        if once:
            from overwinter.cli.looking import run_record

            at.out.record(run_record(at, at.store.info(screen.run)))
            if not common.json:
                at.out.console.print(screen.draw())
            return
        try:
            if sys.stdout.isatty() and not common.json:
                _follow_live(at, screen, every)
            else:
                _follow_lines(at, screen, every)
        except KeyboardInterrupt:
            return


def _follow_live(at: Workplace, screen: Screen, every: float) -> None:
    from rich.live import Live

    with Live(screen.draw(), console=at.out.console, auto_refresh=False) as live:
        while not screen.state.ended:
            time.sleep(every)
            screen.catch_up()
            live.update(screen.draw(), refresh=True)


def _follow_lines(at: Workplace, screen: Screen, every: float) -> None:
    """For pipes: the last entries, then each new one."""
    from overwinter.cli.live import entry_line
    from overwinter.cli.looking import clock_text

    head = screen.state.head_seq
    fresh: list[Entry] = list(at.store.read(screen.run, max(0, head - TAIL + 1), head + 1))
    while True:
        for entry in fresh:
            at.out.record(entry.as_json())
            if entry.kind not in HIDDEN:
                at.out.parts(entry_line(at.store, entry, clock=clock_text(entry.time_us)))
        if screen.state.ended:
            return
        time.sleep(every)
        fresh = list(screen.catch_up())


class Screen:
    """A run as a picture. `catch_up` reads what is new, `draw` makes the picture of what is known."""

    def __init__(self, at: Workplace, run: str) -> None:
        from overwinter.loop.session import load_state

        self.run = run
        self._at = at
        self.state: RunState = load_state(at.store, run)
        self.tail: deque[Entry] = deque(maxlen=TAIL)
        self.confidence: deque[float] = deque(maxlen=40)
        self.chance: deque[float] = deque(maxlen=40)
        self.score: float | None = None
        for entry in at.store.read(run, max(0, self.state.head_seq - 8 * TAIL)):
            self._note(entry)

    def catch_up(self) -> list[Entry]:
        """Read the entries since the last look."""
        fresh = list(self._at.store.read(self.run, self.state.head_seq + 1))
        for entry in fresh:
            self.state.apply(entry)
            self._note(entry)
        return fresh

    def draw(self) -> RenderableType:
        from rich.console import Group
        from rich.panel import Panel

        from overwinter.cli.output import one_line

        info = self._at.store.info(self.run)
        body = Group(*self._head(), *self._budget(), *self._question(), *self._timeline())
        return Panel(body, title=one_line(info.title or self.run, 70), title_align="left", border_style="dim")

    def _note(self, entry: Entry) -> None:
        if entry.kind not in HIDDEN:
            self.tail.append(entry)
        if entry.kind == "sample.completion" and entry.body.get("confidence") is not None:
            self.confidence.append(entry.body["confidence"])
        if entry.kind == "sample.completion" and entry.body.get("success_chance") is not None:
            self.chance.append(entry.body["success_chance"])
        if entry.kind == "world.saved":
            self.score = entry.body["outcome"]["score"]

    def _head(self) -> Iterator[RenderableType]:
        from rich.text import Text

        from overwinter.cli.output import one_line
        from overwinter.cli.pauses import status_style, status_words
        from overwinter.loop.run import status

        now = status(self.state)
        if now == "running":
            now = self._at.standing(self._at.store.info(self.run))
        line = Text.assemble((status_words(now), status_style(now)), f"   run {self.run}, step {self.state.step}")
        line.append(f", {self.state.head_seq + 1} entries", "dim")
        if self.score is not None:
            line.append(f"   score {self.score:.1f}", "cyan")
        if self.confidence:
            line.append(f"   confidence {sparkline(self.confidence)} {self.confidence[-1]:.2f}", "magenta")
        if self.chance:
            line.append(f"   success {sparkline(self.chance)} {self.chance[-1]:.0%}", "magenta")
        yield line
        yield Text(one_line(self.state.goal, 400), style="bold", overflow="fold")
        for row in self.state.acceptance:
            if row["text"] != self.state.goal:
                yield Text(f"  {row['id']} {one_line(row['text'], 200)}  ({row['check']['kind']})", style="dim")

    def _budget(self) -> Iterator[RenderableType]:
        from rich.text import Text

        from overwinter.amounts import amount_text

        for budget in self._at.store.info(self.run).budgets:
            for resource, line in sorted(self._at.store.budget(budget).items()):
                if line.cap is None and not line.spent:
                    continue
                text = Text(f"  {'' if budget == self.run else budget + ' '}{amount_text(resource, line.spent):>14} ")
                if line.cap:
                    filled = min(BAR, round(BAR * (line.spent + line.reserved) / line.cap))
                    style = "red" if filled > BAR * 0.9 else "green"
                    text.append("█" * filled, style).append("░" * (BAR - filled), "dim")
                    text.append(f" of {amount_text(resource, line.cap)}")
                yield text

    def _question(self) -> Iterator[RenderableType]:
        from rich.text import Text

        from overwinter.cli.output import visible
        from overwinter.cli.pauses import next_steps, wait_text

        if self.state.waiting is not None:
            yield Text(visible(wait_text(self.state)), style="bold yellow")
            for purpose, command in next_steps(self._at, self.state):
                yield Text(visible(f"  {purpose + ':':26} {command}"))

    def _timeline(self) -> Iterator[RenderableType]:
        from rich.text import Text

        from overwinter.cli.live import entry_line
        from overwinter.cli.looking import clock_text
        from overwinter.cli.output import visible

        yield Text()
        for entry in self.tail:
            text = Text(no_wrap=True, overflow="ellipsis")
            for part, style in entry_line(self._at.store, entry, clock=clock_text(entry.time_us)):
                text.append(visible(part), style)
            yield text


def sparkline(values: deque[float]) -> str:
    """Values from 0 to 1 as small bars."""
    return "".join("▁▂▃▄▅▆▇█"[min(7, max(0, int(value * 8)))] for value in values)
