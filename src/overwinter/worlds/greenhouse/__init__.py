"""The greenhouse: keep three beds alive through a winter with noisy sensors, ordered fuel and forecast storms."""

from .config import Config
from .world import Greenhouse

__all__ = ["Config", "Greenhouse"]
