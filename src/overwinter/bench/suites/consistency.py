"""Does a text contradict itself? Made from a seed: two statements that cannot both hold, or a pair that only looks so, some lines apart.

The pairs are those of `overwinter.think.consistency.planted` (docs/consistency.md): contradictions of every kind its rules claim,
and decoys that say the same in other words, are lied or dreamt, are about somebody else, or are explained. Half of the texts hold a
contradiction.
"""

from __future__ import annotations

import random
from pathlib import Path

from overwinter.bench.suite import Item, Suite, register
from overwinter.bench.suites.forms import closing, score_choice
from overwinter.think.consistency.phrases import DEVELOPMENT, UNREAL, WORDS
from overwinter.think.consistency.planted import DECOY, PLANT, Planter
from overwinter.think.consistency.slots import PLANTABLE, SELF_CONTRADICTING

COUNT, FILLERS = 200, 8
OPTIONS = {"A": "It contradicts itself.", "B": "It does not."}


def load(_: Path | None, seed: int) -> list[Item]:
    """Texts in turn with a contradiction and with a decoy, over all kinds."""
    items = []
    for place in range(COUNT):
        kind = PLANTABLE[place // 2 % len(PLANTABLE)]
        planter = Planter(DEVELOPMENT, WORDS, UNREAL, seed * COUNT + place)
        rng = random.Random(f"contradictions:{seed}:{place}")  # noqa: S311 - no secret
        truth = (PLANT, DECOY)[place % 2]
        variety = "" if truth == PLANT else rng.choice(planter.varieties(kind))
        said = planter.sentences(kind, truth, variety)
        # Of every other kind one statement at most: nothing else in the text can contradict itself.
        others = [each for each in PLANTABLE if each != kind and each not in SELF_CONTRADICTING]
        lines = [planter.sentences(each, PLANT)[0] for each in rng.sample(others, FILLERS)]
        spots = sorted(rng.sample(range(FILLERS + 1), len(said)))
        for spot, sentence in reversed(list(zip(spots, said, strict=True))):
            lines.insert(spot, sentence)
        items.append(
            Item(
                id=f"{seed}-{place}",
                question="\n".join(lines),
                gold="A" if truth == PLANT else "B",
                options=OPTIONS,
                slices={"kind": kind, "variety": variety or "contradiction"},
            )
        )
    return items


def ask(item: Item, style: str) -> str:
    options = "\n".join(f"{letter}. {text}" for letter, text in item.options.items())
    rule = (
        "Does this text contradict itself? What somebody lied, dreamt or supposed does not count, nor does a change that the "
        "text accounts for."
    )
    return f"{item.question}\n\n{rule}\n\n{options}\n\n{closing(style, 'the letter')}"


register(
    Suite(
        name="contradictions",
        family="consistency",
        about="does a text contradict itself? planted errors and decoys",
        load=load,
        ask=ask,
        score=score_choice,
        max_tokens=512,
    )
)
