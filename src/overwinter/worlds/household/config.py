"""The options of a household and their spelling in a world's name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from overwinter.errors import UsageError

from .tables import FAMILIES

SPLITS = ("train", "seen", "unseen")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Which homes and tasks there are.

    Attributes:
        split: "train"; "seen", other tasks in the floor plans of the training; "unseen", floor plans that training never shows.
        family: one of `FAMILIES`, or "" for a mixture in equal parts.
        steps: actions until the episode is cut short.
    """

    split: str = "train"
    family: str = ""
    steps: int = 50

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise UsageError(f"the household has no split {self.split!r}", f"choose one of {', '.join(SPLITS)}")
        if self.family and self.family not in FAMILIES:
            raise UsageError(f"the household has no family {self.family!r}", f"choose one of {', '.join(FAMILIES)}")
        if self.steps < 1:
            raise UsageError(f"an episode of {self.steps} steps cannot be played", "give steps=1 or more")

    @property
    def name(self) -> str:
        """The world's name: what differs from the default, in a fixed order."""
        shown = [f"{key}={getattr(self, key)}" for key in _OPTIONS if getattr(self, key) != getattr(_DEFAULT, key)]
        return "household" + (":" + ",".join(shown) if shown else "")


_OPTIONS = ("split", "family", "steps")
_DEFAULT = Config()


def parse(name: str) -> Config:
    """The configuration that a name such as "household:split=unseen,family=heat" asks for."""
    _, colon, rest = name.partition(":")
    chosen: dict[str, str] = {}
    for option in rest.split(",") if colon else ():
        key, _, value = option.partition("=")
        number = value.isascii() and value.isdigit()
        if key not in _OPTIONS or not value or key in chosen or (key == "steps" and not number):
            raise UsageError(
                f"{option!r} is not an option of the household",
                "use split=NAME, family=NAME or steps=NUMBER, once each",
            )
        chosen[key] = value
    changes: dict[str, object] = {key: int(value) if key == "steps" else value for key, value in chosen.items()}
    return replace(_DEFAULT, **changes)  # type: ignore[arg-type]  # the keys were checked above
