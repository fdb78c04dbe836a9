"""The fifth held-out set of phrasings: news, travel notes and village histories; written after the last change of the rules.

The rules as they are have not been changed on account of what this set shows, so its figures are the ones to quote.
"""

from __future__ import annotations

import dataclasses

from consistency_heldout import WORDS as OTHER_WORDS
from overwinter.think.consistency.planted import Phrasing
from overwinter.think.consistency.slots import Vocabulary
from overwinter.think.consistency.wordlist import listed

FIFTH: dict[str, Phrasing] = {
    "age": Phrasing(
        first=(
            "When the new school opened in {y}, {p} was {v} years old and still could not sit still.",
            "The winner of {y} was {p}, a {v}-year-old from the hills.",
            "In {y} the mayor was {p}, aged {v}.",
            "In {y} {p}, at the age of {v}, learned to swim.",
        ),
    ),
    "age_birth": Phrasing(
        first=(
            "{p} was born here in {by} and went to the village school.",
            "The house where {p} was born in {by} is now a museum.",
            "{p}, born in {by}, is buried behind the chapel.",
        ),
        second=(
            "{p} was {v} years old when the railway came in {y}.",
            "In {y}, {p} was {v} and already famous.",
            "In the film of {y} one sees {p}, {v} years old, at the wheel.",
        ),
    ),
    "birth": Phrasing(
        first=(
            "{p} was born in the back room of the inn in {v}.",
            "The sculptor {p} was born in {v}, the son of a miner.",
            "{p} was born in {v} and baptised a week later.",
            "A plaque says that {p} was born in this house in {v}.",
        ),
    ),
    "event_date": Phrasing(
        first=(
            "{E}, which began on {v}, changed the valley for good.",
            "A stone recalls {e} of {v}.",
            "{E} was held on {v} in bright sunshine.",
            "On {v} {e} ended years of quarrelling.",
        ),
    ),
    "weekday": Phrasing(
        first=(
            "The bridge was closed on {w}, {d}, and has not been opened since.",
            "On {w}, {d}, the last tram ran.",
            "The vote of {w}, {d}, was the closest ever.",
        ),
    ),
    "order": Phrasing(
        first=(
            "{E2} took place ten years after {e1}.",
            "{E1} was already history before {e2} began.",
            "{E2} came soon after {e1}.",
            "{E1} preceded {e2}.",
        ),
    ),
    "duration": Phrasing(
        first=(
            "{E}, which lasted {v}, drew visitors from far away.",
            "{E} took {v} from beginning to end.",
            "{E} continued for {v} without a break.",
            "In the end {e} lasted {v}.",
        ),
    ),
    "elapsed": Phrasing(
        first=(
            "The pit was worked from {y1} to {y2}, for {v} years in all.",
            "The clock stopped in {y1} and was repaired {v} years later, in {y2}.",
            "Between {y1} and {y2}, over {v} years, three mills burned down.",
        ),
    ),
    "place": Phrasing(
        first=(
            "On {d} {p} gave a reading in {v}.",
            "{p} was in {v} on {d}, as the guest book shows.",
            "On {d}, {p} opened a shop in {v}.",
            "The police record has {p} in {v} on {d}.",
        ),
    ),
    "death": Phrasing(
        first=(
            "{p} died here in {y}.",
            "{p} died in {y} at a great age.",
            "The painter {p} died in {y}.",
            "In {y} {p} was murdered on the road to the mill.",
        ),
        second=(
            "In {y2} {p} painted the ceiling of the chapel.",
            "{p} came back in {y2} to sell the house.",
            "{p} bought the quarry in {y2}.",
        ),
    ),
    "alive": Phrasing(
        first=(
            "{p} died on the way to the hospital.",
            "{p} was murdered in the night.",
            "Before the year was out {p} died.",
            "The avalanche killed {p}.",
        ),
        second=(
            "{p} opened the meeting with a joke.",
            "{p} paid the bill and left.",
            "{p} told the reporters to go home.",
        ),
    ),
    "eyes": Phrasing(
        first=(
            "{p} had {v} eyes and a soft voice.",
            "The guide, {p}, had {v} eyes.",
            "Everyone remembers the {v} eyes of {p}.",
            "{p}'s eyes are {v}.",
        ),
    ),
    "hair": Phrasing(
        first=(
            "{p} had {v} hair and a soft voice.",
            "Everyone remembers the {v} hair of {p}.",
            "{p} tied up her {v} hair and went to work.",
            "The guide, {p}, had {v} hair.",
        ),
    ),
    "name": Phrasing(
        first=(
            "The keys are with {p}.",
            "A street is named after {p}.",
            "{p} keeps the bakery.",
            "The photographs are by {p}.",
        ),
    ),
    "title": Phrasing(
        first=(
            "The search was led by {t} {p}.",
            "{t} {p} declined to comment.",
            "A portrait of {t} {p} hangs in the town hall.",
            "According to {t} {p}, the road is safe.",
        ),
    ),
    "kinship": Phrasing(
        first=(
            "The bakery belongs to {p}, {q}'s {v}.",
            "{p} is the {v} of {q}.",
            "{p}, a {v} of {q}, keeps the bakery.",
            "{q}'s {v}, {p}, keeps the bakery.",
        ),
    ),
    "list_count": Phrasing(
        first=(
            "The thieves took {n} things: {items}.",
            "There are {n} sights: {items}.",
            "The museum shows {n} treasures: {items}.",
        ),
    ),
    "quantity": Phrasing(
        first=(
            "{x} still has {v} {u}.",
            "There are {v} {u} in {x}.",
            "The number of {u} in {x} is {v}.",
            "{x} with its {v} {u} is worth a visit.",
        ),
    ),
    "measure": Phrasing(
        first=(
            "{x} is {v} {m} and can be climbed.",
            "{x} was built {v} {m}.",
            "{x} stands {v} {m}.",
            "{x}, {v} {m}, is worth a visit.",
        ),
    ),
    "price": Phrasing(
        first=(
            "{x} was bought by the town for {v}.",
            "The town paid {v} for {x}.",
            "{x} cost {v}.",
            "The price paid for {x} was {v}.",
        ),
    ),
    "distance": Phrasing(
        first=(
            "{a} is {v} from {b} by road.",
            "From {a} it is {v} to {b}.",
            "{a} lies {v} from {b} on the old salt road.",
            "The distance between {a} and {b} is {v}.",
        ),
    ),
    "direction": Phrasing(
        first=(
            "{a} lies {v} of {b} on the old salt road.",
            "{a} is to the {v} of {b}.",
            "{a}, just {v} of {b}, has a fine church.",
            "{a} was founded {v} of {b}.",
        ),
    ),
    "rule": Phrasing(
        first=(
            "{p} never {past} {o}.",
            "All her life {p} never {past} {o}.",
            "{p} would never {base} {o}, as everyone knew.",
            "{p} always refused to {base} {o}.",
        ),
        second=(
            "At the station {p} {past} {o}.",
            "{p} {past} {o} on the balcony.",
            "That Sunday {p} {past} {o}.",
        ),
    ),
    "law": Phrasing(
        first=(
            "In {x} nobody ever {past} {o}.",
            "In {x} it was strictly forbidden to {base} {o}.",
            "Nobody was allowed to {base} {o} in {x}.",
        ),
        second=(
            "{p} {past} {o} in {x} on the first day.",
            "In {x}, {p} {past} {o} after breakfast.",
            "That summer {p} {past} {o} in {x}.",
        ),
    ),
}

WORDS: Vocabulary = dataclasses.replace(
    OTHER_WORDS,
    first_names=listed(
        "Astrid Bruno Celia Dominic Estelle Felix Greta Hugo Ingrid Jonas Klara Lorenz Mirabel Nestor Odette Pascal Ramona Stellan "
        "Therese Viktor"
    ),
    surnames=listed(
        "Altmark Berenger Castellan Dubray Ekman Falkner Gruber Holmquist Iversen Jansson Keller Lindgren Marchetti Novak Olander "
        "Petrov Quist Rosetti Sandoval Tillmann Ullman Vargas Wexler Zeller Bergstrom Corvin Delacroix Engstrom Forster Grimaldi"
    ),
    towns=listed(
        "Aldermoor Brenford Castleby Dornach Erlen Felsham Grindel Hochwald Immenstadt Kalmar Lauterbrunn Moorfleet Niederau Oberlin "
        "Pontresa Rieden Sandvik Tarnow Valmont Wengen"
    ),
)

UNREAL = (
    "In the children's book about the valley, {lower}",
    "A local joke has it that {lower}",
    '"{same}" the old man will tell you, and wink.',
    "Tourists are sometimes told that {lower}",
    "Had the plan been carried out, one could have read: {same}",
    "Contrary to what is often read, it is false that {lower}",
    "He imagined a world in which {lower}",
)
