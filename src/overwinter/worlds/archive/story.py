"""What happens in an episode: letters, documents and visitors, all of it from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from overwinter.errors import UsageError

from ..rng import Stream

LETTER, DOCUMENT, VISITOR = "letter", "document", "visitor"
OPTIONS = 6
"""Answers a visitor's question leaves to choose from."""
LETTERS_MAX, DOCUMENTS_MAX = 72, 100_000
_FACTS, _DOCUMENT, _ORDER, _ANSWERS = range(4)
T = TypeVar("T")

COLOURS = (
    "amber",
    "azure",
    "bronze",
    "copper",
    "crimson",
    "golden",
    "ivory",
    "jade",
    "olive",
    "scarlet",
    "silver",
    "violet",
)
VAULTS = ("vault", "chest", "cabinet", "strongbox")
THINGS = (
    "almanac", "anchor", "barometer", "bell", "candlestick", "chronicle", "clarinet", "compass", "fiddle", "globe", "hourglass",
    "inkwell", "kettle", "lantern", "ledger", "lute", "mirror", "quilt", "sextant", "spyglass", "sundial", "tapestry", "telescope",
    "violin",
)  # fmt: skip
PLACES = (
    "behind the stove", "below the stairs", "in the attic", "in the bakery", "in the boathouse", "in the chapel", "in the cistern",
    "in the crypt", "in the dairy", "in the dovecote", "in the forge", "in the gatehouse", "in the granary", "in the greenhouse",
    "in the mill", "in the orchard shed", "in the pantry", "in the sacristy", "in the smokehouse", "in the stable", "in the tannery",
    "in the tower", "in the washhouse", "under the bridge",
)  # fmt: skip
PEOPLE = (
    "Agda", "Birger", "Cilla", "Dagny", "Edvin", "Frida", "Gustav", "Hedda", "Ingrid", "Jonas", "Kerstin", "Ludvig", "Magda",
    "Nils", "Olga", "Petrus", "Ragnar", "Signe", "Torsten", "Ulrika", "Valborg", "Wilma", "Yngve", "Zara",
)  # fmt: skip
GIFTS = (
    "a barrel of herring", "a bolt of linen", "a brass lamp", "a cask of cider", "a crate of apples", "a day at the loom",
    "a fishing net", "a goose", "a jar of honey", "a kid goat", "a load of peat", "a map of the fjord", "a new plough", "a pair of boots",
    "a quire of paper", "a ram", "a sack of barley", "a seat in the boat", "a silver spoon", "a spinning wheel", "a stack of hay",
    "a week of shelter", "a wheel of cheese", "a woollen coat",
)  # fmt: skip
SUBJECTS = ("births", "boundaries", "debts", "harvests", "marriages", "tolls")
_FILLERS = (
    "The ink has run where rain came through the roof.",
    "A second hand has added the word 'paid' and struck it out again.",
    "The seal is broken, and half of it is missing.",
    "It is dated at Michaelmas, in the year of the late frost.",
    "Two witnesses have signed it with a cross.",
    "The margin is full of sums that do not come out.",
    "Somebody has pressed a fern between the leaves.",
    "The clerk before you has folded it four times.",
    "A corner was eaten by mice, and with it the sum.",
    "It was bound with red thread, and later with string.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How long an episode is.

    Attributes:
        letters: facts told at the beginning; each is asked for once.
        documents: papers filed in between.
    """

    letters: int = 24
    documents: int = 400

    def __post_init__(self) -> None:
        if not 1 <= self.letters <= LETTERS_MAX or not 2 <= self.documents <= DOCUMENTS_MAX:
            raise UsageError(
                f"an archive of {self.letters} letters and {self.documents} documents cannot be made",
                f"take 1 to {LETTERS_MAX} letters and 2 to {DOCUMENTS_MAX} documents",
            )


@dataclass(frozen=True, slots=True)
class Event:
    """One thing to deal with: its text, the actions there are, and the right one."""

    kind: str
    number: int
    text: str
    actions: tuple[str, ...]
    right: str


@dataclass(frozen=True, slots=True)
class _Fact:
    """A letter's fact: how it is told, how it is asked for, and what the answer is among others of its kind."""

    told: str
    asked: str
    answer: str
    others: tuple[str, ...]


def make_story(seed: int, config: Config) -> list[Event]:
    """All events of an episode, in order."""
    facts = _facts(seed, config.letters)
    letters = [_letter(seed, number, fact, config) for number, fact in enumerate(facts, 1)]
    papers = [_document(seed, number, config) for number in range(1, config.documents + 1)]
    order = _shuffled(list(range(config.letters)), Stream(seed, _ORDER))
    visitors = [_visitor(seed, number, facts[which], config) for number, which in enumerate(order, 1)]
    first = config.documents // 2
    events = letters + papers[:first]
    # Visitors come evenly through the second half, the last one behind the last document.
    rest = papers[first:]
    done = 0
    for number, visitor in enumerate(visitors, 1):
        upto = len(rest) * number // len(visitors)
        events += [*rest[done:upto], visitor]
        done = upto
    return events


def _facts(seed: int, count: int) -> list[_Fact]:
    draw = Stream(seed, _FACTS)
    vaults = _shuffled([f"{colour} {vault}" for colour in COLOURS for vault in VAULTS], draw)
    things, places = _shuffled(THINGS, draw), _shuffled(PLACES, draw)
    people, gifts = _shuffled(PEOPLE, draw), _shuffled(GIFTS, draw)
    codes: list[str] = []
    while len(codes) < LETTERS_MAX:
        code = str(1000 + draw.below(9000))
        if code not in codes:
            codes.append(code)
    found = []
    for number in range(count):
        which = number // 3
        kind = number % 3
        if kind == 0:
            name, answer, others = vaults[which], f"answer {codes[which]}", [f"answer {code}" for code in codes]
            told, asked = f"The code of the {name} is {codes[which]}.", f"What is the code of the {name}?"
        elif kind == 1:
            name, answer, others = things[which], f"look {places[which]}", [f"look {place}" for place in places]
            told, asked = f"The {name} lies {places[which]}.", f"Where does the {name} lie?"
        else:
            name, answer, others = people[which], f"give {gifts[which]}", [f"give {gift}" for gift in gifts]
            told, asked = f"I promised {name} {gifts[which]}.", f"{name} has come. What was promised to {name}?"
        found.append(_Fact(told, asked, answer, tuple(each for each in others if each != answer)))
    return _shuffled(found, draw)


def _letter(seed: int, number: int, fact: _Fact, config: Config) -> Event:
    draw = Stream(seed, _FACTS, number)
    words = [_pick(_FILLERS, draw), fact.told, _pick(_FILLERS, draw)]
    text = f"Letter {number} of {config.letters}. {' '.join(words)} Somebody will ask for it when the time comes."
    return Event(LETTER, number, text, ("take the next paper",), "take the next paper")


def _document(seed: int, number: int, config: Config) -> Event:
    draw = Stream(seed, _DOCUMENT, number)
    subject = _pick(SUBJECTS, draw)
    words = [_pick(_FILLERS, draw) for _ in range(3)]
    words.insert(draw.below(4), f"It is a record of {subject}.")
    words.insert(draw.below(5), _misleading(draw))
    actions = tuple(f"file under {each}" for each in SUBJECTS)
    text = f"Document {number} of {config.documents}. {' '.join(words)}"
    return Event(DOCUMENT, number, text, actions, f"file under {subject}")


def _misleading(draw: Stream) -> str:
    """A sentence like a letter's, about what was and is no more: it answers no question."""
    kind = draw.below(3)
    if kind == 0:
        return f"It mentions a {_pick(COLOURS, draw)} {_pick(VAULTS, draw)} and the number {1000 + draw.below(9000)}."
    if kind == 1:
        return f"A {_pick(THINGS, draw)} was seen {_pick(PLACES, draw)} before the fire."
    return f"{_pick(PEOPLE, draw)} once asked for {_pick(GIFTS, draw)} and was refused."


def _visitor(seed: int, number: int, fact: _Fact, config: Config) -> Event:
    draw = Stream(seed, _ANSWERS, number)
    options = _shuffled([fact.answer, *_shuffled(fact.others, draw)[: OPTIONS - 1]], draw)
    return Event(VISITOR, number, f"Visitor {number} of {config.letters}. {fact.asked}", tuple(options), fact.answer)


def _pick(options: tuple[str, ...], draw: Stream) -> str:
    return options[draw.below(len(options))]


def _shuffled(rows: list[T] | tuple[T, ...], draw: Stream) -> list[T]:
    """Fisher and Yates."""
    mixed = list(rows)
    for last in range(len(mixed) - 1, 0, -1):
        other = draw.below(last + 1)
        mixed[last], mixed[other] = mixed[other], mixed[last]
    return mixed
