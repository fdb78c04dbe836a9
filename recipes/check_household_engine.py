"""ALFWorld's side of `check_household.py`: runs in an environment that has alfworld and not overwinter.

python check_household_engine.py games.json      one JSON list per game on stdout, one object per state in it
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    import alfworld
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from alfworld.gen.goal_library import gdict
    from textworld.envs import PddlEnv

    data = Path(alfworld.__file__).parent / "data"
    domain, grammar = (data / "alfred.pddl").read_text(), (data / "alfred.twl2").read_text()
    infos = textworld.EnvInfos(admissible_commands=True, won=True, facts=True)
    folder = Path(tempfile.mkdtemp())
    for i, game in enumerate(json.loads(Path(sys.argv[1]).read_text())):
        library = gdict[game["goal"]]
        # The library writes '#' for '-', and its number of closing brackets differs from goal to goal.
        goal = library["pddl"].replace("#", "-").format(**game["fill"])
        problem = balanced(game["problem"] + goal)
        sentence = library["templates"][0].format(**game["fill"])
        content = {
            "pddl_domain": domain,
            "grammar": grammar.replace("UNKNOWN GOAL", sentence),
            "pddl_problem": problem,
            "solvable": True,
            "walkthrough": None,
        }
        file = folder / f"{i}.tw-pddl"
        file.write_text(json.dumps(content))
        env = AlfredDemangler(PddlEnv(infos), shuffle=False)
        env.load(str(file))
        rows = [row(env.reset())]
        rows += [row(env.step(command)[0]) for command in game["commands"]]
        print(json.dumps(rows), flush=True)


def balanced(text: str) -> str:
    while text.count(")") > text.count("("):
        text = text.rstrip()[:-1]
    return text + ")" * (text.count("(") - text.count(")"))


def row(state: Any) -> dict[str, Any]:
    return {
        "commands": list(state["admissible_commands"]),
        "won": bool(state["won"]),
        "facts": [[fact.name, *(argument.name.strip() for argument in fact.arguments)] for fact in state["facts"]],
        "feedback": state["feedback"],
    }


if __name__ == "__main__":
    main()
