"""A small model that works out sums step by step, and what it says when it is asked many times: the samples of `bench_votes_model.py`.

    python recipes/arithmetic.py --out out/arithmetic            # writes the examples, trains, in about four minutes on one thread
    python recipes/arithmetic.py --out out/arithmetic --check    # and says how often single samples are right

A sum begins with two digits and goes on with steps, each +, − or × and an operand, read from left to right modulo 100. The
model writes each step with its total and ends; its answer is the last total:

    37+85*4-19=    →    +85=22;*4=88;-19=69;

So an answer needs every step, a wrong step is seen in the probabilities where it is made, and everything after it follows calmly from the
wrong total. Same seed, same examples.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench_journal import ROOT, progress

if TYPE_CHECKING:
    from overwinter.engine import Engine

RECIPE = Path(__file__).with_name("train_arithmetic.toml")
WORK = ROOT / "out" / "arithmetic"
MODULUS = 100
LENGTHS = (3, 4, 5, 6, 7, 8)
"""Steps of the sums that are trained on."""
_STEP = re.compile(r"[-+*]\d{1,2}=(\d\d);")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sum:
    """A question, the chain that is right, and the answer."""

    prompt: str
    chain: str
    answer: str


def draw(rng: random.Random, steps: int) -> Sum:
    total = rng.randrange(MODULUS)
    prompt, chain = f"{total:02d}", ""
    for _ in range(steps):
        sign = rng.choice("+-*")
        operand = rng.randrange(2, 10) if sign == "*" else rng.randrange(MODULUS)
        written = f"{sign}{operand}" if sign == "*" else f"{sign}{operand:02d}"
        total = {"+": total + operand, "-": total - operand, "*": total * operand}[sign] % MODULUS
        prompt, chain = prompt + written, chain + f"{written}={total:02d};"
    return Sum(prompt=prompt + "=", chain=chain, answer=f"{total:02d}")


def sums(seed: int, count: int, lengths: Sequence[int] = LENGTHS) -> Iterator[Sum]:
    rng = random.Random(seed)
    for _ in range(count):
        yield draw(rng, rng.choice(lengths))


def answer_of(text: str) -> str | None:
    """The last total of a chain; None where the text is no chain."""
    found, at = None, 0
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            return None
        found, at = step[1], step.end()
    return found


def write_examples(path: Path, *, seed: int, count: int) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"prompt": each.prompt, "target": each.chain}) for each in sums(seed, count))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def trained(out: Path = WORK, *, seed: int = 0, count: int = 120_000, changes: Sequence[str] = ()) -> Path:
    """The model's folder; trained if it is not there, gone on with where a training was broken off."""
    from overwinter.learn.train import read_recipe, train

    examples = out / "examples.jsonl"
    write_examples(examples, seed=seed, count=count)
    settings = [f'data.sources=[{{path="{examples.absolute()}"}}]', f"run.seed={seed}", *changes]
    folder = out / f"training-{seed}"
    done = train(
        read_recipe(RECIPE, settings),
        folder,
        resume=(folder / "recipe.json").exists(),
        watch=_tell,
    )
    assert done.model is not None, "the training was stopped before its end: run it again"
    return done.model


def _tell(event: object) -> None:
    if isinstance(event, dict) and event.get("event") in ("evaluation", "final"):
        progress(json.dumps(event))


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Which questions are asked, and how.

    Attributes:
        length: steps of the sums.
        seed: of questions and samples; other seeds ask other questions.
    """

    length: int
    questions: int = 200
    samples: int = 64
    temperature: float = 1.0
    seed: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One chain as the engine gave it.

    Attributes:
        answer: None where it is no chain.
        chosen, tops: per token, the log-probability of the one that was said, and of the `TOP` likeliest, best first; of the model itself,
            whatever the temperature.
    """

    answer: str | None
    text: str
    chosen: tuple[float, ...]
    tops: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question with all its samples."""

    prompt: str
    answer: str
    samples: tuple[Sample, ...]


TOP = 10
"""The vocabulary has 19 tokens; ten are about the half of it that is ever likely."""
AT_ONCE = 16
"""Questions whose samples are drawn together."""


def recorded(model: Path, plan: Plan) -> list[Asked]:
    """Samples of our engine with the log-probabilities of its tokens. The same plan gives the same samples."""
    import torch

    from overwinter.engine import Config, Engine

    torch.set_num_threads(1)
    engine = Engine.load(model, Config(max_running=1024, step_tokens=16384))
    asked = list(sums(1_000_003 * plan.seed + plan.length, plan.questions, (plan.length,)))
    made: list[Asked] = []
    for first in range(0, len(asked), AT_ONCE):
        made += _answered(engine, asked[first : first + AT_ONCE], plan, first)
        progress(f"{plan.length} steps, seed {plan.seed}: {len(made)} of {plan.questions} questions")
    return made


def _answered(engine: Engine, some: Sequence[Sum], plan: Plan, first: int) -> Iterator[Asked]:
    from overwinter.engine import Request, SamplingParams

    assert engine.text is not None
    requests = [
        Request(
            prompt_ids=tuple(engine.text.encode(question.prompt)),
            max_tokens=8 * plan.length + 4,
            sampling=SamplingParams(
                temperature=plan.temperature, seed=(plan.seed << 32) + (first + place) * 4096 + number
            ),
            logprobs=TOP,
        )
        for place, question in enumerate(some)
        for number in range(plan.samples)
    ]
    results = engine.run(requests)
    for place, question in enumerate(some):
        mine = results[place * plan.samples : (place + 1) * plan.samples]
        samples = tuple(
            Sample(
                answer=answer_of(result.text) if result.finish == "stop" else None,
                text=result.text,
                chosen=tuple(token.logprob or 0.0 for token in result.logprobs),
                tops=tuple(tuple(value for _, value in token.top) for token in result.logprobs),
            )
            for result in mine
        )
        yield Asked(prompt=question.prompt, answer=question.answer, samples=samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WORK)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="say how often single samples are right")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE")
    arguments = parser.parse_args()
    model = trained(arguments.out, seed=arguments.seed, changes=arguments.set)
    progress(f"{model}")
    if arguments.check:
        for length in (3, 5, 8):
            asked = recorded(model, Plan(length=length, questions=100, samples=8, seed=900))
            right = [sample.answer == each.answer for each in asked for sample in each.samples]
            progress(f"{length} steps: {100 * sum(right) / len(right):.1f} % of {len(right)} samples are right")


if __name__ == "__main__":
    main()
