"""A second held-out set of phrasings, written after the rules were mended on what the first one showed; used once.

Longer sentences with subordinate clauses, as novels have them. Names and things are those of the first held-out set's kind, drawn anew.
"""

from __future__ import annotations

import dataclasses

from consistency_heldout import WORDS as OTHER_WORDS
from overwinter.think.consistency.planted import Phrasing
from overwinter.think.consistency.slots import Vocabulary
from overwinter.think.consistency.wordlist import listed

FINAL: dict[str, Phrasing] = {
    "age": Phrasing(
        first=(
            "It was remembered afterwards that in {y} {p} had been {v} years old and in excellent health.",
            "{p}, then a widow of {v}, let the upper floor in {y} and lived on the rent.",
            "When the bank failed in {y}, {p} was already {v} and had no wish to begin again.",
            "The doctor, who came in {y}, put down the age of {p} as {v}.",
            "{p} entered upon {y} at the age of {v}, with little money and less hope.",
        ),
    ),
    "age_birth": Phrasing(
        first=(
            "{p} was born in {by}, in the room above the bakery, during the worst storm of that year.",
            "Of the early life of {p}, who was born in {by}, little has come down to us.",
            "The birth of {p} in {by} had gone almost unnoticed.",
        ),
        second=(
            "By {y} {p} was {v}, and the stairs were beginning to be a trouble.",
            "{p} gave up the business in {y}, at the age of {v}, and never regretted it.",
            "In the spring of {y}, being {v} years of age, {p} went abroad for the first time.",
        ),
    ),
    "birth": Phrasing(
        first=(
            "{p} was born in {v} and brought up by the nuns.",
            "The register gives {v} as the year in which {p} was born.",
            "{p}, whose birth in {v} had cost the mother her life, grew up alone.",
            "Nobody disputed that {p} had been born in {v}.",
            "{p} was born at the old farm in {v}, the last of nine.",
        ),
    ),
    "event_date": Phrasing(
        first=(
            "{E}, which everybody had been expecting, began on {v} in a thick fog.",
            "It was {v} when {e} took place at last.",
            "{E} had been fixed for {v}, and on that day it was held.",
            "On the morning of {v}, {e} began without a word of warning.",
            "{E} fell on {v}, as the older people well remembered.",
        ),
    ),
    "weekday": Phrasing(
        first=(
            "The ship came in on {w}, {d}, with her flag at half mast.",
            "On the evening of {w}, {d}, the lamps were lit for the last time.",
            "The letter was dated {w}, the {dth}, and bore no signature.",
            "{w}, {d}, was the coldest day that anyone could remember.",
        ),
    ),
    "order": Phrasing(
        first=(
            "{E1} took place a full year before {e2}.",
            "{E2} came only after {e1}, when most of the houses stood empty.",
            "{E1} had long been over before {e2} began.",
            "It was after {e1} that {e2} took place.",
            "Before {e2} there had been {e1}.",
        ),
    ),
    "duration": Phrasing(
        first=(
            "{E} lasted {v}, and at the end of it nobody could say what it had been for.",
            "All in all {e} took {v}.",
            "{E} had gone on for {v} when peace was made.",
            "{E}, which took {v}, emptied the town's purse.",
            "For {v} {e} went on, day and night.",
        ),
    ),
    "elapsed": Phrasing(
        first=(
            "He had served from {y1} to {y2}, which makes {v} years, under three masters.",
            "Between {y1} and {y2}, in the course of {v} years, the river was bridged twice.",
            "She left in {y1}, a girl without a penny, and it was {v} years later, in {y2}, that she came back.",
        ),
    ),
    "place": Phrasing(
        first=(
            "On {d} {p} was in {v}, where three people spoke to the stranger.",
            "It is certain that {p} was in {v} on {d}.",
            "{p} passed the whole of {d} in {v}, in bed with a cold.",
            "The books of the inn show that on {d} {p} slept in {v}.",
        ),
    ),
    "death": Phrasing(
        first=(
            "{p} died in {y}, leaving nothing but debts and a parrot.",
            "After a long illness {p} died in {y}.",
            "{p} was killed in {y}, in the second week of the war.",
            "In the cold {y} {p} died, and the shop passed to strangers.",
        ),
        second=(
            "{p} returned in {y2} and took rooms above the chemist's.",
            "In {y2} {p} built the long wall that still stands.",
            "Late in {y2}, {p} wrote a letter to the newspaper and signed it.",
        ),
    ),
    "alive": Phrasing(
        first=(
            "{p} died a little before dawn, without a word.",
            "On the third day {p} died.",
            "{p} was shot dead at the gate by a man who was never found.",
            "They laid {p} in the grave that afternoon; {p} had died on the road.",
        ),
        second=(
            "{p} took the letter, turned it over twice, and put it in the fire.",
            "{p} nodded and went out to see to the horses.",
            "Presently {p} rose and lit the lamp.",
        ),
    ),
    "eyes": Phrasing(
        first=(
            "{p} had large {v} eyes, which seemed to ask a question of everyone.",
            "What one noticed first about {p} was a pair of {v} eyes.",
            "{p} fixed the lawyer with two {v} eyes and waited.",
            "In that light {p}'s eyes, which were {v}, looked almost kind.",
        ),
    ),
    "hair": Phrasing(
        first=(
            "{p} wore the {v} hair of the family cut short.",
            "The wind had loosened the {v} hair of {p}.",
            "{p} was easily known by a quantity of {v} hair.",
            "{p}'s hair was {v}, and there was a great deal of it.",
        ),
    ),
    "name": Phrasing(
        first=(
            "It was agreed that {p} should speak first.",
            "The umbrella turned out to be the property of {p}.",
            "Between the two windows hung a portrait of {p}.",
            "{p} had not been asked, and came all the same.",
        ),
    ),
    "title": Phrasing(
        first=(
            "At the head of the table sat {t} {p}, carving.",
            "{t} {p} was understood to have lost a great deal of money.",
            "The horse had been lent by {t} {p}.",
            "Nothing more was heard that week of {t} {p}.",
        ),
    ),
    "kinship": Phrasing(
        first=(
            "{p} was the {v} of {q}, and in the village nobody let them forget it.",
            "The only {v} of {q} was {p}.",
            "{p} came down, being {q}'s {v}, to put the house in order.",
            "{q}'s {v} {p} had the key to the cellar.",
            "The heir was {p}, the {v} of {q}.",
        ),
    ),
    "list_count": Phrasing(
        first=(
            "On the shelf stood {n} objects: {items}.",
            "She had brought {n} presents: {items}.",
            "{N} witnesses had come: {items}.",
            "The room held {n} curiosities: {items}.",
        ),
    ),
    "quantity": Phrasing(
        first=(
            "{x} had no fewer than {v} {u}, most of them unused.",
            "In {x} there were {v} {u}.",
            "{x} counted {v} {u} at that time.",
            "All the {v} {u} of {x} had been painted white.",
            "{x} could be recognised by its {v} {u}.",
        ),
    ),
    "measure": Phrasing(
        first=(
            "{x} was exactly {v} {m}, for the schoolmaster had measured it.",
            "{x}, being {v} {m}, threw a long shadow.",
            "Strangers were always told that {x} measured {v} {m}.",
            "With its {v} {m}, {x} was the pride of the county.",
        ),
    ),
    "price": Phrasing(
        first=(
            "The old lord had paid {v} for {x}.",
            "{x}, which had cost {v}, was left to the nephew.",
            "It had cost {v} to buy {x}.",
            "{x} had been bought for {v} at the great sale.",
        ),
    ),
    "distance": Phrasing(
        first=(
            "{a} lies {v} from {b}, on the other side of the moor.",
            "The road from {a} to {b} is {v} long.",
            "Between {a} and {b} there are {v} of bad road.",
            "{a}, {v} from {b}, had neither inn nor smithy.",
        ),
    ),
    "direction": Phrasing(
        first=(
            "{a} lies to the {v} of {b}, behind the hills.",
            "{a} is a village {v} of {b}.",
            "Due {v} of {b}, at the end of the cart track, lay {a}.",
            "The valley of {a} is {v} of {b}.",
        ),
    ),
    "rule": Phrasing(
        first=(
            "{p}, who had been brought up strictly, never {past} {o}.",
            "As long as anyone could remember, {p} never {past} {o}.",
            "{p} would never {base} {o}, whatever the company might say.",
            "{p} refused on principle to {base} {o}.",
        ),
        second=(
            "When the others had gone to bed, {p} {past} {o}.",
            "{p} {past} {o} with every sign of pleasure.",
            "At about nine o'clock {p} quietly {past} {o}.",
        ),
    ),
    "law": Phrasing(
        first=(
            "By an old custom nobody in {x} ever {past} {o}.",
            "It is strictly forbidden in {x} to {base} {o}.",
            "No one is allowed to {base} {o} in {x}.",
        ),
        second=(
            "{p} went to {x} and, in {x}, {past} {o}.",
            "On the first evening in {x}, {p} {past} {o} and went to bed.",
            "In {x}, {p} {past} {o} as if it were the most natural thing.",
        ),
    ),
}

WORDS: Vocabulary = dataclasses.replace(
    OTHER_WORDS,
    first_names=listed(
        "Adela Bernard Clement Drusilla Eustace Fabian Griselda Horatio Isolde Julius Katharine Leopold Matilda Neville Octavia "
        "Phineas Rowena Stephen Tabitha Vincent"
    ),
    surnames=listed(
        "Aldridge Blackwood Chatterton Danvers Enderby Frobisher Greenhalgh Heathcote Ivory Jellicoe Kenworthy Loveday Maitland "
        "Newbold Ogilvie Prendergast Quiller Ravenscroft Satterthwaite Trevelyan Urquhart Vanbrugh Whitcombe Yeoman Allardyce "
        "Burnaby Cholmondeley Devereux Featherstone Gillespie"
    ),
    towns=listed(
        "Appledore Benwick Chalcombe Duncroft Elverton Farleigh Gransden Hartwell Ilminster Kinver Lambourn Mendham Netherby Orford "
        "Pulham Quorndon Ripley Selworthy Tadcaster Whitstone"
    ),
)

UNREAL = (
    "It was only in the child's dream that {lower}",
    "One might have imagined that {lower}",
    "The newspaper claimed, falsely, that {lower}",
    '"{same}" cried the drunkard, who was known for such tales.',
    '"{same}" said the pedlar; but he lied.',
    "If the gossips were right, {lower}",
    "Nobody believed for a moment that {lower}",
)
