"""The household: find things in a room, treat them and put them where they shall be; the rules of ALFWorld, in Python.

Idea: six families of tasks in four kinds of room, generated from a seed, with thirteen verbs and the wording of ALFWorld's text
protocol, at a thousand times the speed of its engine and without its planner, which is a GPL program. Homes and tables are our
own; the rules and the wording are compared with the engine step by step (`recipes/check_household.py`).

Invariants:
- A game is a function of (split, family, seed). The three splits share no task; "unseen" shares no floor plan with the others.
- `rules.py` (codes, fast) and `facts.py` (facts, plain) agree in every state; a test walks both.
- `terminated` means that the task is done, `truncated` that the steps ran out. Reward is 1 for the former.
- What stands in a closed receptacle is hidden from observations, not from `state_key`, `gold_path` and `outcome`.

Reading order: `tables`, `config`, `home` (what stands where), `facts` (the rules, plainly), `rules` (the rules, fast), `words`,
`world`; then the players: `plan` (sees everything), `policies` (see what is said).

Shridhar et al.: "ALFWorld: Aligning Text and Embodied Environments for Interactive Learning", ICLR 2021, arXiv 2010.03768.
"""

from .config import Config, parse
from .home import Game, make_game
from .rules import Rules, State
from .world import Household

__all__ = ["Config", "Game", "Household", "Rules", "State", "make_game", "parse"]
