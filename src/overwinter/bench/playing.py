"""A benchmark of episodes: each is a run of the loop in the same journal, named after the benchmark's run; this one holds the results.

An episode that was under way when its process died is gone on with, as any run is; one that is over is not played again.
"""

from __future__ import annotations

from collections.abc import Iterator

from overwinter.bench.asking import Played, Player
from overwinter.bench.ledger import Ledger, Progress, Result
from overwinter.bench.plan import Plan
from overwinter.bench.suite import Item, Scored
from overwinter.errors import OverwinterError, UsageError
from overwinter.journal import Draft, Packer, Store


class PlayedRun(Ledger):
    """A benchmark of a world's seeds."""

    def __init__(self, store: Store, run: str, plan: Plan, player: Player) -> None:
        if plan.config.samples > 1:
            raise UsageError("a world's seed is played once", "play more seeds: --count")
        super().__init__(store, run, plan)
        self.player = player

    def work(self, progress: Progress | None = None) -> Iterator[Result]:
        """Play what is open; each episode's result once it is on disk.

        Raises:
            OverwinterError: noted in the journal; the run can be resumed.
        """
        try:
            for item in self.items.values():
                if (item.id, 0) not in self.done:
                    yield self.count((item, 0, self._play(item)), progress)
        except OverwinterError as error:
            self.suspend("model", error.problem)
            raise
        except KeyboardInterrupt:
            self.suspend("stopped", "stopped from the keyboard")
            raise
        self.end()

    def _play(self, item: Item) -> Scored:
        packer, episode = Packer(), f"{self.run}-{item.id}"
        data = {
            "item": item.id,
            "sample": 0,
            "turn": 1,
            "modality": "world",
            "slices": dict(item.slices),
            "run": episode,
        }
        body = {"source": f"bench:{self.suite.name}", "text": packer.text(item.question), "data": data}
        self.append([Draft(kind="observed", body=body, refs=packer.take_refs())], packer)
        played = self.player.play(self.suite.world, int(item.gold), episode)
        self.keep_lease()
        status = "ok" if played.success is not None else "limit"
        result = Scored(
            answer={True: "success", False: "failure", None: None}[played.success],
            correct=float(bool(played.success)),
            stated=played.stated,
            status=status,
        )
        self.append([self.verdict(item, 0, result, -1, _more(played))])
        return result


def _more(played: Played) -> dict[str, object]:
    return {
        "value": played.score,
        "asked": played.tool_calls,
        "tokens_in": played.tokens_in,
        "tokens_out": played.tokens_out,
        "seconds": round(played.seconds, 3),
        "entry": f"{played.run}#{played.entry}",
    }
