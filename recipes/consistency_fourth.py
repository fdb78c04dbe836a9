"""A fourth held-out set of phrasings, in the manner of memoirs and modern prose; written after the rules' last change, used once."""

from __future__ import annotations

import dataclasses

from consistency_heldout import WORDS as OTHER_WORDS
from overwinter.think.consistency.planted import Phrasing
from overwinter.think.consistency.slots import Vocabulary
from overwinter.think.consistency.wordlist import listed

FOURTH: dict[str, Phrasing] = {
    "age": Phrasing(
        first=(
            "I first met {p} in {y}; {p} was {v} then, and looked older.",
            "By {y}, {p} was a tired {v} years old.",
            "In {y}, {p}, {v} years old and out of work, moved into the flat next door.",
            "Turning {v} in {y}, {p} gave up smoking.",
        ),
    ),
    "age_birth": Phrasing(
        first=(
            "{p} was born in {by}, the year of the great frost.",
            "Like my mother, {p} was born in {by}.",
            "{p}, who had been born in {by}, still remembered the horses.",
        ),
        second=(
            "In {y} {p} was {v}, with two children and no job.",
            "{p} was all of {v} when the war ended in {y}.",
            "At {v}, {p} went back to school in {y}.",
        ),
    ),
    "birth": Phrasing(
        first=(
            "The passport said that {p} was born in {v}.",
            "{p} was born in {v}, on a kitchen table.",
            "My neighbour {p}, born in {v}, never learned to drive.",
            "{p} first saw the light of day in {v}.",
        ),
    ),
    "event_date": Phrasing(
        first=(
            "I was there when {e} began on {v}.",
            "{E} started on {v} and nobody was ready.",
            "My diary has {e} on {v}.",
            "On {v}, the day of {e}, the shops were closed.",
        ),
    ),
    "weekday": Phrasing(
        first=(
            "We moved out on a {w}, {d}, in the pouring rain.",
            "The last entry in her diary is for {w}, {d}.",
            "My train left on {w}, {d}, two hours late.",
        ),
    ),
    "order": Phrasing(
        first=(
            "{E1} happened the summer before {e2}.",
            "{E2} came three years after {e1}.",
            "First came {e1}; {e2} followed within the year.",
            "After {e1} nobody was surprised by {e2}.",
        ),
    ),
    "duration": Phrasing(
        first=(
            "{E} lasted {v}, or so it felt.",
            "{E} lasted exactly {v}.",
            "It took {v} until {e} was over.",
            "{E} went on for {v} altogether.",
        ),
    ),
    "elapsed": Phrasing(
        first=(
            "We lived there from {y1} to {y2}, {v} years altogether.",
            "He walked out in {y1} and turned up again {v} years later, in {y2}, as if nothing had happened.",
        ),
    ),
    "place": Phrasing(
        first=(
            "I know for certain that {p} was in {v} on {d}.",
            "On {d}, {p} was working in {v}.",
            "{p} spent all of {d} in {v}.",
        ),
    ),
    "death": Phrasing(
        first=(
            "{p} died in {y}, three weeks after the operation.",
            "We lost sight of each other, and in {y} {p} died.",
            "{p} was killed in a road accident in {y}.",
        ),
        second=(
            "In {y2}, {p} called me out of the blue.",
            "{p} moved to the coast in {y2}.",
            "In the autumn of {y2} {p} rented the shop on the corner.",
        ),
    ),
    "alive": Phrasing(
        first=(
            "{p} died in hospital two days later.",
            "Then {p} died, quite suddenly, on the stairs.",
            "{p} was killed on the motorway.",
        ),
        second=(
            "{p} shrugged and ordered another coffee.",
            "{p} looked at the floor and said nothing.",
            "{p} called the dog and closed the gate.",
        ),
    ),
    "eyes": Phrasing(
        first=(
            "{p} had her father's {v} eyes.",
            "{p}'s {v} eyes gave nothing away.",
            "I remember {p} as a child with {v} eyes.",
            "{p} has {v} eyes and a scar on the chin.",
        ),
    ),
    "hair": Phrasing(
        first=(
            "{p} had short {v} hair in those days.",
            "I remember {p} as a child with {v} hair.",
            "{p}'s hair was {v} like mine.",
            "{p} ran a hand through the {v} hair.",
        ),
    ),
    "name": Phrasing(
        first=(
            "I got a postcard from {p}.",
            "{p} ran the kiosk opposite.",
            "Everyone in our street knew {p}.",
        ),
    ),
    "title": Phrasing(
        first=(
            "{t} {p} lived on the second floor.",
            "I was afraid of {t} {p}.",
            "On the door it said {t} {p}.",
        ),
    ),
    "kinship": Phrasing(
        first=(
            "{p} is {q}'s {v}.",
            "{p} was the favourite {v} of {q}.",
            "{q}'s {v} {p} drove the van.",
        ),
    ),
    "list_count": Phrasing(
        first=(
            "I packed {n} things: {items}.",
            "{N} people saw it happen: {items}.",
            "In the attic we found {n} treasures: {items}.",
        ),
    ),
    "quantity": Phrasing(
        first=(
            "{x} has {v} {u}, I counted them.",
            "There are {v} {u} in {x}.",
            "{x}, with {v} {u}, was far too big for us.",
        ),
    ),
    "measure": Phrasing(
        first=(
            "{x} is {v} {m}, which is more than it sounds.",
            "{x} was {v} {m} in those days.",
            "{x}, {v} {m}, was what we steered by.",
        ),
    ),
    "price": Phrasing(
        first=(
            "{x} cost my uncle {v}.",
            "At the auction he paid {v} for {x}.",
            "{x} was bought for {v} in the end.",
        ),
    ),
    "distance": Phrasing(
        first=(
            "{a} is {v} from {b}, and there was no bus.",
            "It was {v} from {a} to {b} by the old road.",
            "From {a} to {b} it is {v} as the crow flies.",
        ),
    ),
    "direction": Phrasing(
        first=(
            "{a} is just {v} of {b}.",
            "We grew up in {a}, {v} of {b}.",
            "{a} lies a few miles {v} of {b}.",
        ),
    ),
    "rule": Phrasing(
        first=(
            "{p} never {past} {o}, not even at weddings.",
            "{p} never {past} {o}.",
            "My friend {p} would never {base} {o}.",
        ),
        second=(
            "On the last evening {p} {past} {o}.",
            "{p} {past} {o} and grinned.",
            "Later {p} {past} {o} in the garden.",
        ),
    ),
    "law": Phrasing(
        first=(
            "Nobody in {x} ever {past} {o}.",
            "In {x} it was forbidden to {base} {o}.",
            "No one in {x} was allowed to {base} {o}.",
        ),
        second=(
            "In {x} that night {p} {past} {o}.",
            "{p} {past} {o} in {x} and nobody minded.",
        ),
    ),
}

WORDS: Vocabulary = dataclasses.replace(
    OTHER_WORDS,
    first_names=listed(
        "Alison Brian Carla Derek Elaine Frank Gloria Howard Irene Jeremy Karen Leonard Monica Nicholas Pamela Raymond Sandra Trevor "
        "Valerie Walter"
    ),
    surnames=listed(
        "Atkins Barraclough Cartwright Dickson Eastwood Fielding Garrison Haddon Illingworth Jenkins Kellaway Longbottom Mathers "
        "Newsome Oldfield Pickering Renshaw Shackleton Tattersall Wilkinson Ackroyd Bracewell Crowther Dearden Entwistle Fairhurst "
        "Greenwood Holroyd Kershaw Lumley"
    ),
    towns=listed(
        "Ashbourne Bexhill Clitheroe Dawlington Easington Fordham Guiseley Helmsley Ingleton Keswater Lowdham Malton Newlyn Otley "
        "Pickhill Redbourn Skipwith Thirsk Uckfield Wetwang"
    ),
)

UNREAL = (
    "I once dreamed that {lower}",
    "In the film they made of it, {lower}",
    '"{same}" he told the police, and none of it was true.',
    "For a joke I used to tell people that {lower}",
    "If I had believed the neighbours, {lower}",
    "It isn't true that {lower}",
    "Maybe {lower}",
)
