"""`player.json`: what a model folder says about the world it plays from a page of notes, and how far its chance can be believed.

    {"format": 1, "world": "greenhouse", "calibration": {"world": "greenhouse", "scale": 1.1, "shift": -0.2}}

The chance is the model's own bet on the outcome line, p = P(well) / (P(well) + P(badly)), put through the calibration that was fitted
on episodes it was not trained on: sigmoid(scale · logit(p) + shift), Platt's. It holds in the world it was fitted in, and nowhere else.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from overwinter.errors import UsageError

PLAYER = "player.json"
BUNDLED = "bundled"
BUNDLED_FOLDER = Path(__file__).parents[1] / "bundled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """`player.json` of a model folder.

    Attributes:
        world: the kind of world it plays, as "greenhouse".
        calibrated_for: the whole name of the world its chance was calibrated in; "" where there is no calibration.
        scale, shift: the calibration, on the logit.
    """

    world: str
    calibrated_for: str = ""
    scale: float = 1.0
    shift: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Raises UsageError when the file is missing or says what this version does not know."""
        path = folder / PLAYER
        try:
            raw = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read: {error}", f"name a model folder that has a {PLAYER}") from error
        if not isinstance(raw, dict) or raw.get("format") != 1 or raw.keys() - {"format", "world", "calibration"}:
            raise UsageError(f"{path} is not of format 1", "install the version of overwinter that wrote it")
        calibration = raw.get("calibration") or {}
        if calibration.keys() - {"world", "scale", "shift"}:
            raise UsageError(f"{path} has a calibration of another kind", "install the version that wrote it")
        return cls(
            world=str(raw["world"]),
            calibrated_for=str(calibration.get("world", "")),
            scale=float(calibration.get("scale", 1.0)),
            shift=float(calibration.get("shift", 0.0)),
        )

    def calibrated(self, log_odds: float) -> float:
        """The stated probability for the model's own log-odds of success."""
        return 1.0 / (1.0 + math.exp(-max(-40.0, min(40.0, self.scale * log_odds + self.shift))))


def is_player(folder: Path) -> bool:
    """Whether a model folder plays a world from notes."""
    return (folder / PLAYER).is_file()


def bundled_for(world_name: str) -> bool:
    """Whether a model came with the package that was trained for exactly this world."""
    folder = BUNDLED_FOLDER / world_name
    return is_player(folder) and Card.read(folder).calibrated_for == world_name


def player_folder(path: str) -> Path:
    """The folder of "bundled:WORLD", or the path itself."""
    kind, _, world = path.partition(":")
    return BUNDLED_FOLDER / world if kind == BUNDLED and world else Path(path)
