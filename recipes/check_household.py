"""Hold the household's rules against ALFWorld's own engine, step by step.

    python recipes/check_household.py --alfworld-python /path/to/other/venv/bin/python [--games 36] [--steps 30]

Every other game takes the gold path at half of its steps and ends soon; the rest take it at a tenth. All other steps prefer the
rare actions, then draw a verb of those that are possible, looks seldom, then one of its actions.

ALFWorld (`pip install alfworld==0.4.2`, which compiles a planner under the GPL for some minutes) lives in a virtual environment of
its own and is never imported here. Games of our generator are written in its format, both sides take the same actions, and after
every step are compared: the commands that can be given, success, the facts of the state, and the answer (lists in any order).
Prints one row per family and every disagreement. Takes four minutes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from overwinter.errors import UsageError
from overwinter.worlds.household import Config, Game, Household, facts
from overwinter.worlds.household.tables import APPLIANCE, FAMILIES, OBJECTS, OPENABLE
from overwinter.worlds.rng import Stream

ENGINE = Path(__file__).with_name("check_household_engine.py")
KEYS = {
    "pick": "pick_and_place_simple",
    "two": "pick_two_obj_and_place",
    "light": "look_at_obj_in_light",
    "clean": "pick_clean_then_place_in_recep",
    "heat": "pick_heat_then_place_in_recep",
    "cool": "pick_cool_then_place_in_recep",
}
PREDICATES = {
    "inreceptacle": "in",
    "opened": "open",
    "isclean": "clean",
    "ishot": "hot",
    "iscool": "cool",
    "istoggled": "toggled",
    "issliced": "sliced",
}


RARE = ("slice", "heat", "cool", "clean", "use", "take knife", "take butterknife")
LOOKS = ("look", "inventory", "help")


def identifier(name: str, count: int) -> str:
    """The mangled id that ALFWorld turns into `name`: of n of a kind it counts backwards, and a basin ends its id."""
    kind, _, number = name.rpartition(" ")
    stem, tail = (kind.removesuffix("basin"), "_bar_basin") if kind.endswith("basin") else (kind, "")
    return f"{stem}_bar_{count - int(number):03d}{tail}"


def ids_of(names: tuple[str, ...]) -> list[str]:
    kinds = [name.rpartition(" ")[0] for name in names]
    return [identifier(name, kinds.count(kind)) for name, kind in zip(names, kinds, strict=True)]


def problem(game: Game) -> str:
    """The game as a PDDL problem of ALFWorld's domain, without its goal."""
    places, things = ids_of(game.receptacles), ids_of(game.objects)
    object_types = dict.fromkeys((*game.object_kinds, "knife", "butterknife"))
    place_types = dict.fromkeys((*game.receptacle_kinds, *APPLIANCE.values()))
    lines = ["(define (problem household) (:domain alfred) (:objects agent1 - agent"]
    lines += [f"{kind}Type - otype" for kind in object_types] + [f"{kind}Type - rtype" for kind in place_types]
    lines += [f"{each} - receptacle" for each in places] + [f"{each} - object" for each in things]
    lines += [f"loc{i} - location" for i in range(len(places) + 1)] + [") (:init"]
    for i, (each, kind) in enumerate(zip(places, game.receptacle_kinds, strict=True)):
        lines.append(f"(receptacleType {each} {kind}Type) (receptacleAtLocation {each} loc{i + 1})")
        lines += [f"(openable {each})"] if kind in OPENABLE else []
    for each, name, place in zip(things, game.object_kinds, game.start, strict=True):
        kind = OBJECTS[name]
        lines.append(f"(objectType {each} {name}Type) (inReceptacle {each} {places[place]})")
        lines.append(f"(objectAtLocation {each} loc{place + 1})")
        lines.append(f"(toggleable {each})" if kind.lamp else f"(pickupable {each})")
        properties = ("cleanable", "heatable", "coolable", "sliceable")
        lines += [f"({word} {each})" for word in properties if getattr(kind, word)]
    for place in place_types:
        lines += [f"(canContain {place}Type {name}Type)" for name in object_types if place in OBJECTS[name].fits]
    return "\n".join([*lines, "(atLocation agent1 loc0) (= (total-cost) 0))"])


def trace(world: Household, seed: int, steps: int, gold_share: float) -> list[dict[str, Any]]:
    """Our side: before each step and at the end the commands, facts and success; with each step command and answer."""
    draw = Stream(701, seed)
    observation = world.reset(seed)
    rows = [_row(world, None, observation.data["feedback"])]
    while world.actions() and len(rows) <= steps:
        gold, actions = world.gold_path(), list(world.actions())
        chosen = gold[0]
        if not draw.coin(gold_share):
            rare = [action for action in actions if action.startswith(RARE)]
            lively = [action for action in actions if action not in LOOKS or draw.coin(0.1)]
            actions = rare if rare and draw.coin(0.4) else lively
            verbs = sorted({action.partition(" ")[0] for action in actions})
            verb = verbs[draw.below(len(verbs))]
            same = [action for action in actions if action.partition(" ")[0] == verb]
            chosen = same[draw.below(len(same))]
        observation = world.step(chosen).observation
        rows.append(_row(world, chosen, observation.data["feedback"]))
    return rows


def _row(world: Household, command: str | None, feedback: str) -> dict[str, Any]:
    rules, state = world._started(), world._state  # the recipe looks inside on purpose
    now = facts.of_state(rules, state)
    commands = list(facts.legal(world.game, now))
    return {
        "command": command,
        "feedback": feedback,
        "commands": sorted(commands),
        "won": rules.solved(state),
        "facts": sorted(map(list, now)),
    }


def their_facts(raw: list[list[str]], game: Game) -> list[list[str]]:
    found = [[PREDICATES[name], *args] for name, *args in raw if name in PREDICATES]
    for name, *args in raw:
        if name == "holds":
            found.append(["held", args[1]])
        elif name == "atlocation" and args[1] != "loc0":
            found.append(["at", game.receptacles[int(args[1].removeprefix("loc")) - 1]])
    return sorted(found)


def plain(text: str) -> list[str]:
    """An answer with its lists in no order, and without help's text, which is our own."""
    return sorted(re.findall(r"\w+(?: \d+)?", text.replace(" and", "")))


def differences(ours: dict[str, Any], theirs: dict[str, Any], game: Game) -> list[str]:
    found = []
    if ours["commands"] != sorted(theirs["commands"]):
        found.append(f"commands {sorted(set(ours['commands']) ^ set(theirs['commands']))}")
    if ours["won"] != theirs["won"]:
        found.append(f"success {ours['won']} here, {theirs['won']} there")
    facts_there = their_facts(theirs["facts"], game)
    if ours["facts"] != facts_there:
        found.append(
            f"facts {[each for each in ours['facts'] + facts_there if (each in ours['facts']) != (each in facts_there)]}"
        )
    said = theirs["feedback"].partition("\n\nYour task")[0].rpartition("=-")[2]
    if ours["command"] != "help" and plain(ours["feedback"]) != plain(said):
        found.append(f"answer {ours['feedback']!r}, {said!r}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alfworld-python", required=True, help="the Python of an environment with alfworld==0.4.2")
    parser.add_argument("--games", type=int, default=36)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    work, games = [], []
    for i in range(options.games):
        family, split = FAMILIES[i % len(FAMILIES)], ("train", "unseen")[i // len(FAMILIES) % 2]
        world = Household(Config(family=family, split=split))
        rows = trace(world, i, options.steps, 0.1 if i // (2 * len(FAMILIES)) % 2 else 0.5)
        game = world.game
        games.append((game, rows))
        fill = {"obj": game.target, "recep": game.destination, "toggle": game.destination, "mrecep": ""}
        commands = [row["command"] for row in rows[1:]]
        work.append({"problem": problem(game), "goal": KEYS[family], "fill": fill, "commands": commands})
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "games.json"
        asked.write_text(json.dumps(work))
        ran = subprocess.run(
            [options.alfworld_python, str(ENGINE), str(asked)], stdout=subprocess.PIPE, text=True, check=False
        )
    if ran.returncode:
        raise UsageError("ALFWorld's side failed", "read its message above")
    sys.exit(report(games, [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("[")]))


def report(games: list[tuple[Game, list[dict[str, Any]]]], answers: list[list[dict[str, Any]]]) -> int:
    """Print the table; 1 if anything differs."""
    counts = {family: [0, 0, 0, 0] for family in FAMILIES}
    verbs: dict[str, int] = {}
    for (game, ours), theirs in zip(games, answers, strict=True):
        row = counts[game.family]
        row[0] += 1
        row[3] += ours[-1]["won"]
        for step, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            wrong = differences(mine, other, game)
            row[1] += 1
            row[2] += not wrong
            verb = (mine["command"] or "start").partition(" ")[0]
            verbs[verb] = verbs.get(verb, 0) + 1
            if wrong:
                print(f"{game.family} in {game.room} {game.plan}, step {step}, {mine['command']!r}: {'; '.join(wrong)}")
    print("| family | games | states compared | agree | games won |\n|---|---|---|---|---|")
    for family, (played, states, agree, won) in counts.items():
        print(f"| {family} | {played} | {states} | {agree} | {won} |")
    print("Actions compared: " + ", ".join(f"{verb} {verbs[verb]}" for verb in sorted(verbs)) + ".")
    return int(any(states != agree for _, states, agree, _ in counts.values()))


if __name__ == "__main__":
    main()
