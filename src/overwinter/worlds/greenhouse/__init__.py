"""The greenhouse: bring three beds through a winter with noisy sensors, fuel ordered days ahead and forecast storms.

Idea: a small world that needs what long runs need. Damage shows two weeks late, fuel orders cannot be taken back, the
notes of the first days matter in the tenth week, forecasts are probabilities, and the outcome comes in spring.

Invariants:
- One step is one action; a working day has two slots, looks are free and change nothing.
- Weather, prices, pests' arrivals and faults depend on (seed, winter, config) alone, never on the actions.
- The state is JSON of 2 to 3 kB, and 0.7 kB more for each past winter; restoring it continues bit for bit.
- The text of an observation is a function of its data, and both say the same.

Reading order: `config` (the rules as numbers), `weather` (what will happen), `state`, `actions` (what the player does),
`night` (what the house does), `view` (what is seen), `world`; then the players `policies`, `belief`, `expert`, the
`report` and `audit` (a report held against the log).
"""

from .config import Config
from .report import SeasonLog, season_report
from .world import Greenhouse

__all__ = ["Config", "Greenhouse", "SeasonLog", "season_report"]
