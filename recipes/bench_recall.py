"""Thinking to recall on people who do not exist: what thinking gains, what of it is mere computing, and what false facts on the way cost.

    python recipes/bench_recall.py --write     # four worlds and models, about seven minutes of one thread; tables into docs/benchmarks.md
    python recipes/bench_recall.py --quick     # a smoke run: one world, a short training, writes nothing

World, notes and model are those of `recall_world.py`, another one for each seed. Asked is about people of whom the model knows
the notes alone, at temperature 1. What was measured of a seed lies in out/recall and is used again. Intervals are t-intervals of
the seeds' means.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_journal import PAGE, progress, table, write_between
from overwinter.think.recall import (
    Agreement,
    ByRule,
    Chain,
    Checker,
    Consensus,
    Fact,
    FactBase,
    Settings,
    Standing,
    Thought,
    filler,
    pass_at_k,
    recall,
    recall_in_two_stages,
)
from overwinter.think.vote import Ballot, majority
from recall_world import (
    ANSWER,
    NOTHING,
    RELATIONS,
    THINK,
    WORK,
    People,
    Person,
    people,
    question,
    read_trace,
    stated,
    trained,
)

if TYPE_CHECKING:
    from overwinter.engine import Engine

BEGIN, END = "<!-- bench_recall: begin -->", "<!-- bench_recall: end -->"
T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
FILLERS = (4, 8, 16)
AT_ONCE = "at once"
PROCEDURES = (
    "majority at once",
    "majority after filler",
    "majority of chains",
    "chains checked by a table",
    "chains checked by one another",
    "chains checked by the model itself",
    "two stages, 4 traces, table",
)


@dataclass(frozen=True, kw_only=True)
class Scale:
    seeds: int = 4
    questions: int = 100
    samples: int = 16
    steps: int | None = None


class EngineThinker:
    """Our engine behind the protocol of `overwinter.think.recall`: the forms of `recall_world` around each question."""

    def __init__(self, engine: Engine, seed: int, temperature: float = 1.0) -> None:
        self.engine, self.temperature = engine, temperature
        self._seeds = random.Random(seed)

    def ids(self, text: str) -> tuple[int, ...]:
        assert self.engine.text is not None
        return tuple(self.engine.text.encode(text))

    def prompt_tokens(self, asked: str, context: str = "") -> int:
        return len(self.ids(asked + THINK + context + ANSWER))

    def think(self, asked: str, n: int, *, max_tokens: int) -> list[Thought]:
        return self.many([asked + THINK] * n, max_tokens)

    def answer(self, asked: str, n: int, *, context: str = "", max_tokens: int) -> list[Thought]:
        return self.many([asked + (THINK + context if context else "") + ANSWER] * n, max_tokens)

    def many(self, prompts: Sequence[str], max_tokens: int) -> list[Thought]:
        from overwinter.engine import Request, SamplingParams

        made = []
        requests = [
            Request(
                prompt_ids=self.ids(prompt),
                max_tokens=max_tokens,
                sampling=SamplingParams(temperature=self.temperature, seed=self._seeds.getrandbits(62)),
            )
            for prompt in prompts
        ]
        seen = ""
        for prompt, result in zip(prompts, self.engine.run(requests), strict=True):
            said = result.text if prompt.endswith(ANSWER) else result.text.partition(ANSWER)[2]
            trace = "" if prompt.endswith(ANSWER) else result.text.partition(ANSWER)[0]
            words = said.split()
            answer = words[0] if len(words) == 1 else None
            paid = 0 if prompt == seen else len(result.prompt_ids)
            made.append(Thought(trace=trace, answer=answer, tokens=len(result.output_ids), prompt_tokens=paid))
            seen = prompt
        return made


@dataclass(frozen=True, kw_only=True)
class Asked:
    person: Person
    relation: str

    @property
    def text(self) -> str:
        return question(self.person, self.relation)

    @property
    def truth(self) -> str:
        return self.person.facts[self.relation]

    def facts(self, trace: str) -> Iterator[Fact]:
        for relation, value in read_trace(trace):
            yield Fact(subject=self.person.name, relation=relation, object=value)

    def before(self) -> list[tuple[str, str]]:
        """Up to three true facts that the notes have before the one asked for, or behind it for the first."""
        place = RELATIONS.index(self.relation)
        return [(each, self.person.facts[each]) for each in (RELATIONS[max(0, place - 3) : place] or RELATIONS[1:4])]


def asked_of(world: People, count: int, seed: int) -> list[Asked]:
    everything = [Asked(person=person, relation=relation) for person in world.asked for relation in RELATIONS]
    return random.Random(seed).sample(everything, count)


def right(thoughts: Sequence[Thought], truth: str) -> float:
    return sum(thought.answer == truth for thought in thoughts) / len(thoughts)


# One seed


def measured(seed: int, scale: Scale, out: Path) -> dict[str, Any]:
    """All figures of a seed; from its file where it was measured before."""
    path = out / f"measured-{seed}-{scale.questions}-{scale.samples}.json"
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    import torch

    from overwinter.engine import Config, Engine

    torch.set_num_threads(1)
    model = trained(
        out, seed, changes=[] if scale.steps is None else [f"schedule.steps={scale.steps}", "schedule.warmup=5"]
    )
    world = people(seed)
    thinker = EngineThinker(Engine.load(model, Config(max_running=256, step_tokens=8192)), seed)
    asked = asked_of(world, scale.questions, seed)
    began = time.process_time()
    figures = gains(thinker, asked, scale.samples)
    figures |= planted(thinker, asked, world, scale.samples)
    figures |= selected(thinker, asked, scale.samples)
    progress(f"seed {seed}: {time.process_time() - began:.0f} processor seconds of asking")
    path.write_text(json.dumps(figures), encoding="utf-8")
    return figures


def sampled(
    thinker: EngineThinker, asked: Sequence[Asked], samples: int, contexts: Sequence[str | None]
) -> list[list[Thought]]:
    """Samples for each question: after a context, at once (""), or thinking (None)."""
    prompts = []
    for each, context in zip(asked, contexts, strict=True):
        ending = THINK if context is None else (THINK + context + ANSWER if context else ANSWER)
        prompts += [each.text + ending] * samples
    made = thinker.many(prompts, 24)
    return [made[at : at + samples] for at in range(0, len(made), samples)]


def gains(thinker: EngineThinker, asked: Sequence[Asked], samples: int) -> dict[str, Any]:
    """Accuracy at once, after nothing, thinking, and with true facts given; and of thinking by where the fact stands in the notes."""
    ways: dict[str, list[str | None]] = {AT_ONCE: [""] * len(asked)}
    ways |= {f"filler {count}": [NOTHING * count] * len(asked) for count in FILLERS}
    ways |= {"thinking": [None] * len(asked), "true facts given": [stated(each.before()) for each in asked]}
    found: dict[str, Any] = {}
    for name, contexts in ways.items():
        answers = sampled(thinker, asked, samples, contexts)
        found[name] = statistics.mean(right(some, each.truth) for some, each in zip(answers, asked, strict=True))
        counts = [round(samples * right(some, each.truth)) for some, each in zip(answers, asked, strict=True)]
        found[f"{name}: pass@{samples}"] = statistics.mean(pass_at_k(samples, count, samples) for count in counts)
        found[f"{name}: tokens"] = statistics.mean(thought.tokens for some in answers for thought in some)
        for place, relation in enumerate(RELATIONS):
            of = [
                right(some, each.truth) for some, each in zip(answers, asked, strict=True) if each.relation == relation
            ]
            found[f"{name}: place {place + 1}"] = statistics.mean(of) if of else math.nan
    return found


def planted(thinker: EngineThinker, asked: Sequence[Asked], world: People, samples: int) -> dict[str, Any]:
    """Three facts are given; so many of them are false."""
    some = [each for each in asked if len(each.before()) == 3]
    rng, found = random.Random(7), {}
    for count in range(4):
        contexts = []
        for each in some:
            facts = each.before()
            for place in rng.sample(range(3), count):
                relation, value = facts[place]
                facts[place] = relation, rng.choice([other for other in world.values[relation] if other != value])
            contexts.append(stated(facts))
        answers = sampled(thinker, some, samples, contexts)
        found[f"{count} false"] = statistics.mean(right(x, each.truth) for x, each in zip(answers, some, strict=True))
    nothing = sampled(thinker, some, samples, [NOTHING * 9] * len(some))
    found["9 words of nothing"] = statistics.mean(right(x, each.truth) for x, each in zip(nothing, some, strict=True))
    return found


def agreement(thinker: EngineThinker, fact: Fact, n: int) -> tuple[list[str], int]:
    """Fresh answers at once to the question whose answer the fact is."""
    made = thinker.answer(f"ask {fact.subject} {fact.relation} :", n, max_tokens=2)
    return [thought.answer or "" for thought in made], sum(thought.tokens + thought.prompt_tokens for thought in made)


@dataclass(kw_only=True)
class Seen:
    """What came of the questions so far."""

    answers: dict[str, list[tuple[bool, int]]] = field(default_factory=dict)
    """By procedure: right or not, and tokens."""
    kinds: dict[str, list[bool]] = field(default_factory=lambda: {"A": [], "B": [], "C": []})
    within: list[float] = field(default_factory=list)
    judged: list[tuple[bool, Standing]] = field(default_factory=list)
    """Whether a fact is true, and what the model says of it."""
    votes: list[dict[str, Any]] = field(default_factory=list)
    """Per question the truth and, by either verifier, answer, class and number of supported facts of each chain."""

    def figures(self) -> dict[str, Any]:
        chains = sum(map(len, self.kinds.values()))
        found: dict[str, Any] = {"votes": self.votes}
        found |= {name: statistics.mean(ok for ok, _ in values) for name, values in self.answers.items()}
        found |= {
            f"{name}: tokens": statistics.mean(cost for _, cost in values) for name, values in self.answers.items()
        }
        found |= {f"class {kind}": _share(values) for kind, values in self.kinds.items()}
        found |= {f"class {kind}: share": len(values) / chains for kind, values in self.kinds.items()}
        found["any chain"] = _share([value for values in self.kinds.values() for value in values])
        found["A − C within a question"] = _share(self.within)
        for standing in Standing:
            of_it = [true for true, said in self.judged if said is standing]
            found[f"model says {standing}: true"] = _share(of_it)
            found[f"model says {standing}: share"] = len(of_it) / max(1, len(self.judged))
        return found


def _share(values: Sequence[float]) -> float:
    return statistics.mean(values) if values else math.nan


def selected(thinker: EngineThinker, asked: Sequence[Asked], samples: int) -> dict[str, Any]:
    """The procedure itself, against votes that check nothing."""
    seen = Seen()
    for each in asked:
        _select(thinker, each, samples, seen)
    return seen.figures()


def _select(thinker: EngineThinker, each: Asked, samples: int, seen: Seen) -> None:
    settings = Settings(samples=samples, max_tokens=24, answer_tokens=2)
    # The table knows the person's facts but for the one that is asked for.
    known = FactBase(
        {(each.person.name, name): value for name, value in each.person.facts.items() if name != each.relation}
    )
    extractor = ByRule(each.facts)
    checked = recall(each.text, thinker, extractor, Checker(verifiers=[known]), settings)
    replay = Replay(thinker, [chain.thought for chain in checked.chains])
    doubter = Checker(verifiers=[Agreement(ask=partial(agreement, thinker))])
    unsure = Settings(samples=samples, max_tokens=24, support=0.7)
    by_itself = recall(each.text, replay, extractor, doubter, unsure)
    together = recall(each.text, replay, extractor, Checker(verifiers=[Consensus()]), unsure)
    two = recall_in_two_stages(
        each.text, thinker, extractor, Checker(verifiers=[known]), settings, render=_render, traces=4
    )
    nothing = filler(each.text, thinker, 8, settings, word=NOTHING)
    at_once = thinker.answer(each.text, samples, max_tokens=2)
    thoughts = [chain.thought for chain in checked.chains]
    found = (
        (_voted(at_once), _cost(at_once)),
        (nothing.answer, nothing.tokens),
        (_voted(thoughts), _cost(thoughts)),
        (checked.answer, checked.tokens),
        (together.answer, together.tokens),
        (by_itself.answer, by_itself.tokens),
        (two.answer, two.tokens),
    )
    for name, (answer, tokens) in zip(PROCEDURES, found, strict=True):
        seen.answers.setdefault(name, []).append((answer == each.truth, tokens))
    of: dict[str, list[bool]] = {kind: [] for kind in seen.kinds}
    for chain in checked.chains:
        of[chain.kind].append(chain.thought.answer == each.truth)
    for kind, values in of.items():
        seen.kinds[kind] += values
    if of["A"] and of["C"]:
        seen.within.append(statistics.mean(of["A"]) - statistics.mean(of["C"]))
    seen.votes.append(
        {
            "truth": each.truth,
            "table": _rows(checked.chains),
            "itself": _rows(by_itself.chains),
            "together": _rows(together.chains),
        }
    )
    for chain in by_itself.chains:
        for fact, check in zip(chain.facts, chain.checks, strict=True):
            seen.judged.append((known.verify(fact).standing is Standing.SUPPORTED, check.standing))


def _rows(chains: Sequence[Chain]) -> list[list[Any]]:
    return [
        [chain.thought.answer, chain.kind, chain.count(Standing.SUPPORTED), chain.count(Standing.CONTRADICTED)]
        for chain in chains
    ]


def _voted(thoughts: Sequence[Thought]) -> str | None:
    return majority([Ballot(answer=thought.answer) for thought in thoughts]).answer


def _render(facts: Sequence[Fact]) -> str:
    return stated([(fact.relation, fact.object) for fact in facts])


def _cost(thoughts: Sequence[Thought]) -> int:
    return sum(thought.tokens + thought.prompt_tokens for thought in thoughts)


class Replay:
    """The same chains once more, so that two verifiers judge the same ones."""

    def __init__(self, thinker: EngineThinker, thoughts: Sequence[Thought]) -> None:
        self._thinker, self._thoughts = thinker, thoughts
        self.prompt_tokens, self.answer = thinker.prompt_tokens, thinker.answer

    def think(self, asked: str, n: int, *, max_tokens: int) -> Sequence[Thought]:
        return self._thoughts[:n]


# The tables


def interval(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean of the seeds and half of its 95 % t-interval, in points."""
    known = [100 * value for value in values if not math.isnan(value)]
    if not known:
        return "–"
    mean, form = statistics.mean(known), "+.1f" if signed else ".1f"
    if len(known) < 2:
        return f"{mean:{form}}"
    return f"{mean:{form}} ± {T_975[len(known)] * statistics.stdev(known) / math.sqrt(len(known)):.1f}"


class Report:
    """Tables over seeds."""

    def __init__(self, seeds: Sequence[dict[str, Any]], scale: Scale) -> None:
        self.seeds, self.scale = seeds, scale

    def of(self, name: str) -> list[float]:
        return [float(each[name]) for each in self.seeds]

    def share(self, name: str) -> str:
        return interval(self.of(name))

    def against(self, name: str, other: str) -> str:
        if name == other:
            return "–"
        return interval([a - b for a, b in zip(self.of(name), self.of(other), strict=True)], signed=True)

    def mean(self, name: str) -> float:
        return statistics.mean(self.of(name))

    def gains(self) -> str:
        best = f"pass@{self.scale.samples}"
        rows = [
            [
                name,
                self.share(name),
                self.against(name, AT_ONCE),
                self.share(f"{name}: {best}"),
                f"{self.mean(f'{name}: tokens'):.1f}",
            ]
            for name in (AT_ONCE, *(f"filler {count}" for count in FILLERS), "thinking", "true facts given")
        ]
        return table(["answer", "right, %", "− at once", f"{best}, %", "tokens said"], rows)

    def places(self) -> str:
        ways = ("filler 8", "thinking", "true facts given")
        rows = []
        for place in range(1, len(RELATIONS) + 1):
            base = f"{AT_ONCE}: place {place}"
            rows.append(
                [str(place), self.share(base), *(self.against(f"{name}: place {place}", base) for name in ways)]
            )
        return table(["place of the fact in most notes", "at once, %", *(f"{name} − at once" for name in ways)], rows)

    def planted(self) -> str:
        names = ["9 words of nothing", *(f"{count} false" for count in range(4))]
        told = ["no facts, as many words of nothing", *(f"{count} of 3 facts false" for count in range(4))]
        rows = [
            [text, self.share(name), self.against(name, names[0]), self.against(name, "0 false")]
            for name, text in zip(names, told, strict=True)
        ]
        return table(["given", "right, %", "− no facts", "− all true"], rows)

    def classes(self) -> str:
        told = {"A": "states facts, all true", "B": "states none", "C": "states a false one"}
        rows = [
            [
                f"{kind}: {text}",
                self.share(f"class {kind}: share"),
                self.share(f"class {kind}"),
                self.against(f"class {kind}", "any chain"),
            ]
            for kind, text in told.items()
        ]
        within = interval(self.of("A − C within a question"), signed=True)
        said = f"Within a question that has both, chains of class A are right {within} points more often than those of class C."
        return table(["class of chain", "share, %", "right, %", "− any chain"], rows) + "\n\n" + said

    def procedure(self) -> str:
        base = "majority of chains"
        rows = [
            [name, self.share(name), self.against(name, base), f"{self.mean(f'{name}: tokens'):,.0f}"]
            for name in PROCEDURES
        ]
        said = []
        for standing in Standing:
            part = self.mean(f"model says {standing}: share")
            said.append(
                f"{standing} {100 * part:.0f} %, of which {self.share(f'model says {standing}: true')} % are true"
            )
        text = f"What the model itself finds of the facts in its chains: {'; '.join(said)}."
        return table(["answer by", "right, %", f"− {base}", "tokens a question"], rows) + "\n\n" + text

    def text(self) -> str:
        scale = self.scale
        about = f"{len(self.seeds)} worlds with a model each, {scale.questions} questions a world, {scale.samples} samples at "
        about += "temperature 1; ± is a 95 % interval over worlds."
        parts = [
            about,
            "**Priming and buffer.** The same model and questions:",
            self.gains(),
            self.places(),
            "**False facts, planted**, where the notes have three facts before the one asked for:",
            self.planted(),
            "**False facts, as the chains state them:**",
            self.classes(),
            f"**The procedure**, {scale.samples} samples:",
            self.procedure(),
        ]
        return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WORK)
    parser.add_argument("--seeds", type=int, default=Scale().seeds)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="one world, 40 steps of training, 10 questions")
    arguments = parser.parse_args()
    scale = Scale(seeds=1, questions=10, samples=4, steps=40) if arguments.quick else Scale(seeds=arguments.seeds)
    out = arguments.out / "quick" if arguments.quick else arguments.out
    text = Report([measured(seed, scale, out) for seed in range(1, scale.seeds + 1)], scale).text()
    print(text)
    if arguments.write and not arguments.quick:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
