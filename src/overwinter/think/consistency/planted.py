"""Planted contradictions: long documents with known errors of each kind, and decoys that only look like errors.

A plant is two statements of one thing, in different words, that cannot both hold (for some kinds: one statement that contradicts
itself). A decoy is the same pair with equal values in other words or units, or with the second one said by a liar, dreamt, supposed
or of another person, or with the change explained. They are put at the ends of paragraphs of narration, far apart. Names and figures
are drawn, so that no document is known beforehand; the same seed gives the same document.

The generator takes its sentences from a set of phrasings. Rules are developed on one set and measured on another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from overwinter.errors import UsageError
from overwinter.think.consistency.slots import (
    MONTHS,
    SELF_CONTRADICTING,
    SLOTS,
    WEEKDAYS,
    Drawer,
    Vocabulary,
)

PLANT, DECOY = "plant", "decoy"
EXPLAINED: dict[str, str] = {
    "hair": "Later {p} dyed it, and from then on {p}'s hair was {v}.",
    "title": "A year later {p} was promoted: {t} {p} now had two rooms.",
    "rule": "After that winter {p} gave up the habit and {past} {o} every day.",
    "eyes": "In the glass {p} wore that night, the eyes seemed {v}.",
    "quantity": "Later more were added, and {x} had {v} {u}.",
}
"""A change that the text accounts for."""


@dataclass(frozen=True, kw_only=True)
class Phrasing:
    """Sentences for one kind. `second` empty: the second statement is another sentence of `first`."""

    first: tuple[str, ...]
    second: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What was put in.

    Attributes:
        truth: "plant", a contradiction, or "decoy", none.
        variety: of a decoy: "same" (a paraphrase), "unreal" (a lie, dream, supposition), "other" (another person), "explained".
        spans: half-open character spans of the sentences, in text order; one where a sentence contradicts itself.
    """

    kind: str
    truth: str
    variety: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    text: str
    planted: tuple[Planted, ...]


class Planter(Drawer):
    """Draws sentences and puts them into a text."""

    def __init__(self, phrasings: Mapping[str, Phrasing], words: Vocabulary, unreal: Sequence[str], seed: int) -> None:
        super().__init__(words, seed)
        self.phrasings, self.unreal = phrasings, unreal

    # Documents

    def sentences(self, kind: str, truth: str, variety: str = "") -> tuple[str, ...]:
        """The one or two sentences of a plant or decoy."""
        pair = SLOTS[kind](self)
        phrasing = self.phrasings[kind]
        first = self.rng.choice(phrasing.first)
        if not phrasing.second and kind in SELF_CONTRADICTING:
            return (_fill(first, pair.unlike if truth == PLANT else pair.like),)
        rest = [form for form in phrasing.second or phrasing.first if form != first]
        second = self.rng.choice(rest)
        if variety == "explained":
            second = EXPLAINED[kind]
        slots = {"": pair.unlike, "same": pair.like, "other": pair.other}.get(variety, pair.unlike)
        said = _fill(second, slots)
        if variety == "unreal":
            said = self._unreal(said)
        return _fill(first, pair.first), said

    def _unreal(self, sentence: str) -> str:
        names = {*self.words.first_names, *self.words.towns, *MONTHS, *WEEKDAYS, *self.words.titles}
        head = sentence.split(maxsplit=1)[0].strip(",.'s")
        lower = sentence if head in names or sentence[0].isdigit() else sentence[0].lower() + sentence[1:]
        form = self.rng.choice(self.unreal)
        same = sentence if '{same}" T' in form or "might" in form else sentence[:-1] + ","
        return form.format(same=same, lower=lower)

    def varieties(self, kind: str) -> tuple[str, ...]:
        """The decoys there are of a kind."""
        if kind in SELF_CONTRADICTING:
            return ("same",)
        pair = SLOTS[kind](self)
        made = ["unreal"] if kind != "name" else []
        made += ["same"] * bool(pair.like) + ["other"] * bool(pair.other) + ["explained"] * (kind in EXPLAINED)
        return tuple(made)

    def document(self, host: str, kinds: Sequence[str], *, each: int = 1) -> Document:
        """`host` with `each` plants and as many decoys of every kind.

        Raises:
            UsageError: the host has too few paragraphs of narration.
        """
        wanted: list[tuple[str, str, str, tuple[str, ...]]] = []
        for kind in kinds:
            for _ in range(each):
                wanted.append((kind, PLANT, "", self.sentences(kind, PLANT)))
                variety = self.rng.choice(self.varieties(kind))
                wanted.append((kind, DECOY, variety, self.sentences(kind, DECOY, variety)))
        places = places_of(host)
        need = sum(len(sentences) for *_, sentences in wanted)
        if len(places) < need:
            raise UsageError(
                f"{need} sentences do not fit into {len(places)} paragraphs of narration", "take a longer host"
            )
        chosen = sorted(self.rng.sample(places, need))
        slots = self._spread(wanted, need)
        return _insert(host, chosen, slots, wanted)

    def _spread(self, wanted: Sequence[tuple[str, str, str, tuple[str, ...]]], need: int) -> list[tuple[int, int]]:
        """For each place in order: which item and which of its sentences stands there; firsts before seconds."""
        order = [index for index, (*_, sentences) in enumerate(wanted) for _ in sentences]
        self.rng.shuffle(order)
        seen: dict[int, int] = {}
        slots = []
        for index in order[:need]:
            slots.append((index, seen.get(index, 0)))
            seen[index] = seen.get(index, 0) + 1
        return slots


def places_of(host: str) -> list[int]:
    """Ends of paragraphs of narration: no speech in them, a full stop at the end, more than a line long."""
    found = []
    for match in re.finditer(r"[^\n]+(?:\n(?!\s*\n)[^\n]+)*", host):
        words = match[0].rstrip()
        if len(words) > 120 and words.endswith(".") and not re.search(r"[\"“”‘’*_]|'\s|\s'", words):
            found.append(match.start() + len(words))
    return found


def _insert(
    host: str,
    places: Sequence[int],
    slots: Sequence[tuple[int, int]],
    wanted: Sequence[tuple[str, str, str, tuple[str, ...]]],
) -> Document:
    parts: list[str] = []
    spans: dict[int, list[tuple[int, int]]] = {}
    at, length = 0, 0
    for place, (index, which) in zip(places, slots, strict=True):
        sentence = wanted[index][3][which]
        parts += [host[at:place], " ", sentence]
        length += place - at + 1
        spans.setdefault(index, []).append((length, length + len(sentence)))
        length += len(sentence)
        at = place
    parts.append(host[at:])
    planted = tuple(
        Planted(kind=kind, truth=truth, variety=variety, spans=tuple(spans[index]))
        for index, (kind, truth, variety, _) in enumerate(wanted)
    )
    return Document(text="".join(parts), planted=planted)


def _fill(form: str, slots: Mapping[str, str]) -> str:
    """A sentence; slots in capitals are those in small letters with a capital."""
    given = {
        **slots,
        **{key.upper(): value[:1].upper() + value[1:] for key, value in slots.items() if key.upper() not in slots},
    }
    given |= {key[0].upper() + key[1:]: value[:1].upper() + value[1:] for key, value in slots.items()}
    sentence = form.format(**given)
    return sentence[:1].upper() + sentence[1:]
