"""The archive: a long job that needs, at its end, what was said at its beginning.

Idea: the first letters tell facts, each once: the code of a vault, where a thing lies, what was promised to whom. Then come hundreds of
documents that are filed by what they say themselves, and that mention other vaults, things and people to mislead. In the second half
visitors ask for the facts of the letters, one by one. Nobody says whether an answer was right; the verdict falls at the end: every
answer right, and nineteen of twenty documents filed well.

A player with a window smaller than the job has lost the letters by then, unless it kept them where it can find them. Guessing one
answer in six, for 24 questions, succeeds once in 10^18 episodes.

Invariants: the whole episode follows from the seed; the state is a place in it and two counts. Nothing is ever said twice.

Reading order: `story` (what happens), `world` (the World), `policies` (the clerk, who reads only what is in view).

Names: archive, archive:letters=24,documents=400.
"""

from __future__ import annotations

from overwinter.errors import UsageError

from .policies import ClerkPolicy
from .story import Config
from .world import Archive

__all__ = ["Archive", "ClerkPolicy", "Config", "parse"]


def parse(name: str) -> Config:
    """The options of a name. Raises UsageError for one that is not known."""
    chosen: dict[str, int] = {}
    options = name.partition(":")[2]
    for option in options.split(",") if ":" in name else ():
        key, _, value = option.partition("=")
        if key not in ("letters", "documents") or not value.isascii() or not value.isdigit() or key in chosen:
            raise UsageError(
                f"{option!r} is not an option of the archive", "use letters=NUMBER or documents=NUMBER, once each"
            )
        chosen[key] = int(value)
    return Config(**chosen)
