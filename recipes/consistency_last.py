"""A third held-out set of phrasings, in the manner of chronicles, reports and guide books; written after the rules, used once."""

from __future__ import annotations

import dataclasses

from consistency_heldout import WORDS as OTHER_WORDS
from overwinter.think.consistency.planted import Phrasing
from overwinter.think.consistency.slots import Vocabulary
from overwinter.think.consistency.wordlist import listed

LAST: dict[str, Phrasing] = {
    "age": Phrasing(
        first=(
            "According to the parish rolls {p} was {v} years of age in {y}.",
            "In {y} the post went to {p}, aged {v}, a newcomer to the district.",
            "{p} ({v} years old in {y}) was the eldest of the applicants.",
            "At {v}, {p} was in {y} the youngest member of the board.",
        ),
    ),
    "age_birth": Phrasing(
        first=(
            "{p} (born {by}) was educated at home.",
            "Born in {by} to a family of weavers, {p} learned the trade early.",
            "{p} was born in the harvest month of {by}.",
        ),
        second=(
            "{p}, now aged {v}, was elected in {y}.",
            "The photograph of {y} shows {p} at the age of {v}.",
            "In {y}, when {p} was {v}, the mill burned down.",
        ),
    ),
    "birth": Phrasing(
        first=(
            "Born {v}, {p} belonged to the old school.",
            "The baptismal entry states that {p} was born in {v}.",
            "{p} was a child of the hungry years, born in {v}.",
            "{v} saw the birth of {p}.",
        ),
    ),
    "event_date": Phrasing(
        first=(
            "The chronicle places {e} on {v}.",
            "{E} ({v}) is treated in the next chapter.",
            "On {v} {e} took the town by surprise.",
            "{E} opened on {v} under a clear sky.",
        ),
    ),
    "weekday": Phrasing(
        first=(
            "Minutes of the meeting of {w}, {d}.",
            "The council met on {w} ({d}) and again a month later.",
            "{w} the {dth} was kept as a holiday.",
        ),
    ),
    "order": Phrasing(
        first=(
            "{E2} followed upon {e1}.",
            "{E1} preceded {e2} by two years.",
            "{E2} was held the year after {e1}.",
            "Shortly after {e1} came {e2}.",
        ),
    ),
    "duration": Phrasing(
        first=(
            "The duration of {e} was {v}.",
            "{E}, lasting {v}, cost more than it brought.",
            "{E} was over after {v}.",
            "After {v}, {e} ended.",
        ),
    ),
    "elapsed": Phrasing(
        first=(
            "The society was founded in {y1} and dissolved {v} years later, in {y2}.",
            "The office was vacant from {y1} until {y2} ({v} years).",
            "In {y2}, {v} years after the first stone had been laid in {y1}, the church was opened.",
        ),
    ),
    "place": Phrasing(
        first=(
            "{p} signed the register in {v} on {d}.",
            "On {d} {p} preached in {v}.",
            "A diary entry shows {p} in {v} on {d}.",
            "{p} was staying in {v} on {d}.",
        ),
    ),
    "death": Phrasing(
        first=(
            "{p} died of typhus in {y}.",
            "{p} (who died in {y}) left the library to the town.",
            "The funeral of {p} was held in {y}.",
        ),
        second=(
            "In {y2} {p} paid for the new organ.",
            "{p} opened the second factory in {y2}.",
            "{p} visited the colony in {y2}, for the last time.",
        ),
    ),
    "alive": Phrasing(
        first=(
            "{p} died in the accident.",
            "{p} was found dead in the boathouse.",
            "The town buried {p} with all honours.",
        ),
        second=(
            "{p} thanked the committee and sat down.",
            "{p} signed the contract without reading it.",
            "{p} left the hall by the side door.",
        ),
    ),
    "eyes": Phrasing(
        first=(
            "The passport describes {p}: eyes {v}, no marks.",
            "{p} had the {v} eyes of the islanders.",
            "{p}, tall and with {v} eyes, was hard to overlook.",
            "The portrait shows {p} with {v} eyes.",
        ),
    ),
    "hair": Phrasing(
        first=(
            "The portrait shows {p} with {v} hair.",
            "{p}, tall and with {v} hair, was hard to overlook.",
            "{p} had thick {v} hair, parted in the middle.",
            "{p}'s {v} hair was the talk of the school.",
        ),
    ),
    "name": Phrasing(
        first=(
            "The minutes were taken by {p}.",
            "A motion by {p} was carried.",
            "{p} seconded the motion.",
            "The report thanks {p} for the maps.",
        ),
    ),
    "title": Phrasing(
        first=(
            "The force was led by {t} {p}.",
            "{t} {p} gave evidence on the second day.",
            "The house of {t} {p} was sold.",
            "Among the guests was {t} {p}.",
        ),
    ),
    "kinship": Phrasing(
        first=(
            "{p}, {v} of {q}, managed the estate.",
            "{p} (the {v} of {q}) managed the estate.",
            "The estate passed to {q}'s {v}, {p}.",
            "{p} was in fact the {v} of {q}.",
        ),
    ),
    "list_count": Phrasing(
        first=(
            "Exhibits ({n} items): {items}.",
            "The inventory lists {n} things: {items}.",
            "{N} prizes were given: {items}.",
        ),
    ),
    "quantity": Phrasing(
        first=(
            "{x} has a total of {v} {u}.",
            "{x} was built with {v} {u}.",
            "The guide gives {x} {v} {u}.",
            "{x} comprises {v} {u}.",
        ),
    ),
    "measure": Phrasing(
        first=(
            "{x} is {v} {m}.",
            "At {v} {m}, {x} is the pride of the county.",
            "{x} ({v} {m}) was finished by his son.",
            "{x} reaches {v} {m}.",
        ),
    ),
    "price": Phrasing(
        first=(
            "{x} was purchased for {v}.",
            "The town bought {x} for {v}.",
            "{x} cost the town {v}.",
            "The purchase price of {x} was {v}.",
        ),
    ),
    "distance": Phrasing(
        first=(
            "{a} is situated {v} from {b}.",
            "{a} ({v} from {b}) has a market.",
            "The railway from {a} to {b} is {v} long.",
            "The distance from {a} to {b} is given as {v}.",
        ),
    ),
    "direction": Phrasing(
        first=(
            "{a} is situated {v} of {b}.",
            "{a} (a little {v} of {b}) has a market.",
            "{a}, which lies {v} of {b}, has a market.",
            "The hamlet of {a} lies just {v} of {b}.",
        ),
    ),
    "rule": Phrasing(
        first=(
            "{p} never {past} {o}, as all the biographers agree.",
            "In all those years {p} never {past} {o}.",
            "On principle {p} would never {base} {o}.",
        ),
        second=(
            "At the dinner {p} {past} {o}.",
            "{p} {past} {o} during the interval.",
            "In the second act {p} {past} {o}.",
        ),
    ),
    "law": Phrasing(
        first=(
            "The statutes forbid anyone in {x} to {base} {o}.",
            "Nobody in {x} may {base} {o}.",
            "In {x} it is unlawful to {base} {o}.",
        ),
        second=(
            "At noon {p} {past} {o} in {x}.",
            "In {x} {p} {past} {o} on market day.",
            "{p} {past} {o} in {x} without being stopped.",
        ),
    ),
}

WORDS: Vocabulary = dataclasses.replace(
    OTHER_WORDS,
    first_names=listed(
        "Alaric Blanche Crispin Daphne Edwin Frieda Gerald Hilda Ingram Jocelyn Laurence Mabel Norman Olive Philip Rhoda Sigmund "
        "Thelma Valentine Wilhelmina"
    ),
    surnames=listed(
        "Arkwright Bellweather Crowhurst Dovedale Ellerton Fenwick Goodenough Halliday Inskip Jardine Kirkbride Lidstone Meredith "
        "Nethersole Openshaw Pennington Rathbone Stallybrass Titmuss Venning Wainwright Addlestone Brackley Coverdale Dunstable "
        "Etheridge Gascoigne Hartley Linacre Mottram"
    ),
    towns=listed(
        "Alderbury Bexworth Corsham Dorrington Evenlode Frampton Gisburn Hadleigh Isleham Kelvedon Ludgrove Mossley Nunwick Ormskirk "
        "Pewsham Risborough Sandiway Teignford Wadhurst Yoxford"
    ),
)

UNREAL = (
    "A later pamphlet alleges, without proof, that {lower}",
    "In the comic opera of that name {lower}",
    '"{same}" the witness maintained, and was convicted of perjury.',
    "It has been wrongly stated that {lower}",
    "Perhaps {lower}",
    "There is no truth in the rumour that {lower}",
)
