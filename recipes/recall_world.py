"""People who do not exist, and a small model that has read about them: the world in which `bench_recall.py` looks at thinking.

    python recipes/recall_world.py --out out/recall --seed 1     # writes what is read and trains, about two minutes on one thread

A person has two names and six facts, drawn independently: knowing one says nothing of another but whom it is about. The model reads
notes about everybody, most of them in one order,

    ana berg : town oslo . craft potter . pet heron . ...

and learns from one half of the people how questions are answered: at once, after thinking, and after as many words of nothing:

    ask ana berg craft : answer potter
    ask ana berg craft : think town oslo . pet heron . answer potter
    ask ana berg craft : think hm hm hm hm hm hm answer potter

Asked is about the other half, of whom it knows the notes alone. A fact that the model has always read behind others is hard to say by
itself; the thinking can say the others first. Every statement of a trace is true or false by the world, so its effect can be measured.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_journal import ROOT, progress

RECIPE = Path(__file__).with_name("train_entities.toml")
WORK = ROOT / "out" / "recall"
RELATIONS = ("town", "craft", "pet", "fruit", "river", "month")
FIRST, LAST, VALUES = 24, 24, 24
"""How many first names, last names, and values of each relation."""
ORDERED = 0.9
"""Share of the notes in the order of `RELATIONS`; the others are shuffled."""
THINK, ANSWER, NOTHING = " think", " answer", " hm"
_SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Names and what is true of them, by relation."""

    name: str
    facts: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """Everybody, and of whom questions are taught and asked.

    Attributes:
        values: the possible values of each relation.
    """

    known: tuple[Person, ...]
    asked: tuple[Person, ...]
    values: dict[str, tuple[str, ...]]

    @property
    def all(self) -> tuple[Person, ...]:
        return self.known + self.asked


def people(seed: int, count: int = 256) -> People:
    rng = random.Random(seed)
    words = [a + b + c for a in _SYLLABLES for b in _SYLLABLES for c in ("n", "s", "")]
    rng.shuffle(words)
    taken = iter(words)
    first, last = [[next(taken) for _ in range(count_)] for count_ in (FIRST, LAST)]
    values = {relation: tuple(next(taken) for _ in range(VALUES)) for relation in RELATIONS}
    names = rng.sample([f"{a} {b}" for a in first for b in last], count)
    made = [Person(name=name, facts={each: rng.choice(values[each]) for each in RELATIONS}) for name in names]
    return People(known=tuple(made[: count // 2]), asked=tuple(made[count // 2 :]), values=values)


def stated(facts: Sequence[tuple[str, str]]) -> str:
    """Facts as notes and traces say them."""
    return "".join(f" {relation} {value} ." for relation, value in facts)


def question(person: Person, relation: str) -> str:
    return f"ask {person.name} {relation} :"


def read_trace(trace: str) -> list[tuple[str, str]]:
    """The (relation, value) pairs that a trace states."""
    words = trace.split()
    return [
        (words[at], words[at + 1]) for at in range(len(words) - 1) if words[at] in RELATIONS and words[at + 1] != "."
    ]


def examples(seed: int, count: int, world: People) -> Iterator[dict[str, str]]:
    rng = random.Random(seed)
    for _ in range(count):
        kind = rng.random()
        if kind < 0.6:
            yield _note(rng, rng.choice(world.all))
        else:
            yield _asked(rng, rng.choice(world.known), "off" if kind < 0.72 else "on" if kind < 0.88 else "filler")


def _note(rng: random.Random, person: Person) -> dict[str, str]:
    order = list(RELATIONS)
    if rng.random() >= ORDERED:
        rng.shuffle(order)
    return {"prompt": f"{person.name} :", "target": stated([(each, person.facts[each]) for each in order])}


def _asked(rng: random.Random, person: Person, kind: str) -> dict[str, str]:
    relation = rng.choice(RELATIONS)
    prompt, answer = question(person, relation), f"{ANSWER} {person.facts[relation]}"
    if kind == "off":
        return {"prompt": prompt, "target": answer}
    if kind == "filler":
        # What stands there is given, and not to be learnt.
        return {"prompt": prompt + THINK + NOTHING * rng.randrange(1, 17), "target": answer}
    before = list(RELATIONS[: RELATIONS.index(relation)]) or [each for each in RELATIONS if each != relation]
    told = before[-rng.randrange(1, 6) :] if rng.random() < 0.9 else []
    return {"prompt": prompt, "target": THINK + stated([(each, person.facts[each]) for each in told]) + answer}


def trained(out: Path, seed: int, *, count: int = 80_000, changes: Sequence[str] = ()) -> Path:
    """The model's folder for the world of a seed; trained if it is not there, gone on with where a training was broken off."""
    from overwinter.learn.train import read_recipe, train

    source, folder = out / f"examples-{seed}.jsonl", out / f"training-{seed}"
    if not source.exists():
        source.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(each) for each in examples(seed, count, people(seed)))
        source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = [f'data.sources=[{{path="{source.absolute()}"}}]', f"run.seed={seed}", *changes]
    done = train(read_recipe(RECIPE, settings), folder, resume=(folder / "recipe.json").exists())
    assert done.model is not None, "the training was stopped before its end: run it again"
    progress(f"{done.model}: loss {done.outcome.loss}")
    return done.model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WORK)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE")
    arguments = parser.parse_args()
    trained(arguments.out, arguments.seed, changes=arguments.set)


if __name__ == "__main__":
    main()
