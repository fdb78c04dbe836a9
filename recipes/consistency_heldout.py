"""Held-out phrasings for `bench_consistency.py`: written before the rules were, and not consulted while they were made.

The same slots as `overwinter.think.consistency.phrases`, other sentences, other names, other things.
"""

from __future__ import annotations

from overwinter.think.consistency.planted import Phrasing
from overwinter.think.consistency.slots import Vocabulary
from overwinter.think.consistency.wordlist import listed

HELD_OUT: dict[str, Phrasing] = {
    "age": Phrasing(
        first=(
            "In {y} {p} turned {v}.",
            "{p} was a figure of {v} in {y}, and looked it.",
            "{p} celebrated a {vth} birthday in the spring of {y}.",
            "By the time {y} came round, {p} had reached the age of {v}.",
            "{p}, {v} years of age in {y}, seldom left the house.",
            "The census of {y} gives the age of {p} as {v}.",
        ),
    ),
    "age_birth": Phrasing(
        first=(
            "{p} was born in {by}, the youngest of a large family.",
            "{p} came into the world in the wet spring of {by}.",
            "The parish book records the birth of {p} in {by}.",
            "It was in {by} that {p} was born.",
        ),
        second=(
            "In {y}, {p} was {v} years old.",
            "{p} was {v} when the new road was opened in {y}.",
            "At the age of {v}, in {y}, {p} took over the shop.",
            "{p} turned {v} in {y}.",
        ),
    ),
    "birth": Phrasing(
        first=(
            "{p} was born in {v}.",
            "Born in {v}, {p} never knew the old town.",
            "{p} had come into the world in {v}, during a frost.",
            "The year of birth on the stone of {p} was {v}.",
            "{p}, who was born in {v}, had no brothers.",
            "{p} (born {v}) kept the accounts of the mill.",
        ),
    ),
    "event_date": Phrasing(
        first=(
            "{E} took place on {v}.",
            "It was on {v} that {e} began.",
            "{E}, on {v}, was remembered by everyone.",
            "On {v} came {e}.",
            "The date of {e} was {v}.",
            "{E} happened on {v}, in the rain.",
        ),
    ),
    "weekday": Phrasing(
        first=(
            "The bailiffs arrived on {w}, {d}, before breakfast.",
            "It was {w} the {dth}, and the yard was empty.",
            "{d} was a {w}, and nobody worked.",
            "On {w}, the {dth}, the first boats came back.",
        ),
    ),
    "order": Phrasing(
        first=(
            "{E1} came before {e2}.",
            "{E2} followed {e1} by some months.",
            "{E1} took place before {e2}.",
            "{E2} happened after {e1}.",
            "After {e1} came {e2}.",
            "{E1} was over long before {e2}.",
        ),
    ),
    "duration": Phrasing(
        first=(
            "{E} lasted {v}.",
            "{E} went on for {v}.",
            "For {v} {e} dragged on.",
            "It took {v} before {e} was over.",
            "{E}, which had lasted {v}, left its mark.",
            "{E} took {v} in all.",
        ),
    ),
    "elapsed": Phrasing(
        first=(
            "The school stood from {y1} to {y2}, a span of {v} years.",
            "The partnership ran from {y1} until {y2}, {v} years in all.",
            "The mill closed in {y1}; {v} years later, in {y2}, it opened again.",
            "Between {y1} and {y2}, a period of {v} years, nothing was built.",
        ),
    ),
    "place": Phrasing(
        first=(
            "On {d} {p} was in {v}.",
            "{p} spent {d} in {v}.",
            "{p} was seen in {v} on {d}.",
            "The whole of {d} found {p} in {v}.",
            "On {d}, {p} stayed in {v} with a cousin.",
        ),
    ),
    "death": Phrasing(
        first=(
            "{p} died in {y}.",
            "{p} was buried in {y} beside the old wall.",
            "The death of {p} came in {y}.",
            "{p} had died of a fever in {y}.",
            "{p} drowned in the autumn of {y}.",
        ),
        second=(
            "In {y2} {p} opened a shop by the bridge.",
            "{p} travelled north in {y2}.",
            "In the summer of {y2}, {p} sold the two fields.",
            "{p} married again in {y2}.",
        ),
    ),
    "alive": Phrasing(
        first=(
            "{p} died that same night.",
            "{p} was dead before the doctor came.",
            "They buried {p} on the hill at the end of the week.",
            "{p} fell from the tower and was killed.",
        ),
        second=(
            "{p} poured the tea and said nothing.",
            "{p} came in, wet to the skin, and sat by the fire.",
            "{p} walked down to the harbour with the letters.",
            "{p} laughed and shut the door.",
        ),
    ),
    "eyes": Phrasing(
        first=(
            "{p} had {v} eyes.",
            "The eyes of {p} were {v}.",
            "{p}'s {v} eyes missed nothing.",
            "{p} looked up with large {v} eyes.",
            "{p}, whose eyes were {v}, said little.",
            "{p}'s eyes were of a clear {v}.",
        ),
    ),
    "hair": Phrasing(
        first=(
            "{p} had {v} hair.",
            "{p}'s hair was {v} and hung loose.",
            "The {v} hair of {p} was tied with string.",
            "{p} brushed back a lock of {v} hair.",
            "{p}, with {v} hair under an old cap, waited outside.",
        ),
    ),
    "name": Phrasing(
        first=(
            "{p} kept the keys of the chapel.",
            "A letter for {p} lay on the table.",
            "Nobody had asked {p} about the horses.",
            "The cart belonged to {p}.",
            "{p} went home early that evening.",
        ),
    ),
    "title": Phrasing(
        first=(
            "{t} {p} inspected the stores.",
            "A servant announced {t} {p}.",
            "The carriage of {t} {p} stood at the gate.",
            "Nobody liked {t} {p} at first.",
            "The order was signed by {t} {p}.",
        ),
    ),
    "kinship": Phrasing(
        first=(
            "{p} was the {v} of {q}.",
            "{p} was {q}'s {v}.",
            "{p}, {q}'s {v}, lived over the stable.",
            "{q}'s {v}, {p}, lived over the stable.",
            "{p}, the {v} of {q}, had the small room.",
            "As {q}'s {v}, {p} was asked to sign.",
        ),
    ),
    "list_count": Phrasing(
        first=(
            "There were {n} gates: {items}.",
            "The will named {n} heirs: {items}.",
            "{N} things lay in the drawer: {items}.",
            "{N} men stood in the yard: {items}.",
            "He had {n} reasons: {items}.",
        ),
    ),
    "quantity": Phrasing(
        first=(
            "{x} had {v} {u}.",
            "There were {v} {u} in {x}.",
            "{x} boasted {v} {u}.",
            "The number of {u} in {x} was {v}.",
            "{x}, with its {v} {u}, was easy to find.",
            "{x} contained {v} {u} in those days.",
        ),
    ),
    "measure": Phrasing(
        first=(
            "{x} was {v} {m}.",
            "{x} stood {v} {m}.",
            "{x} measured {v} {m}.",
            "{x}, {v} {m}, could be seen from the road.",
            "{x} was about {v} {m}, as everyone knew.",
        ),
    ),
    "price": Phrasing(
        first=(
            "{x} had cost {v}.",
            "The price of {x} was {v}.",
            "{x} was bought for {v}.",
            "{v} had been paid for {x}.",
            "{x} cost {v}, neither more nor less.",
        ),
    ),
    "distance": Phrasing(
        first=(
            "{a} lay {v} from {b}.",
            "{a} was {v} from {b}.",
            "From {a} to {b} it was {v}.",
            "It was {v} from {a} to {b}.",
            "The distance between {a} and {b} was {v}.",
            "{V} separated {a} from {b}.",
        ),
    ),
    "direction": Phrasing(
        first=(
            "{a} lay {v} of {b}.",
            "{a} was to the {v} of {b}.",
            "To the {v} of {b} lay {a}.",
            "{a}, {v} of {b}, had no church.",
            "{a} stood a little to the {v} of {b}.",
        ),
    ),
    "rule": Phrasing(
        first=(
            "{p} never {past} {o}.",
            "{p} made it a rule never to {base} {o}.",
            "{p} always refused to {base} {o}.",
            "Under no circumstances would {p} {base} {o}.",
        ),
        second=(
            "{p} {past} {o} that evening.",
            "On the second day {p} {past} {o} without a word.",
            "{p} sat down and {past} {o}.",
            "After supper {p} {past} {o}.",
        ),
    ),
    "law": Phrasing(
        first=(
            "In {x} nobody was ever allowed to {base} {o}.",
            "It was forbidden in {x} to {base} {o}.",
            "No one in {x} {past} {o}, ever.",
            "The law of {x} forbade anyone to {base} {o}.",
        ),
        second=(
            "In {x} {p} {past} {o} in front of everybody.",
            "{p} {past} {o} in {x} that night.",
            "That evening in {x}, {p} {past} {o}.",
        ),
    ),
}

WORDS = Vocabulary(
    first_names=listed(
        "Ambrose Beatrix Cedric Dorothea Edgar Florence Gilbert Hester Ivor Josephine Lambert Millicent Nigel Ottilie "
        "Percival Rosamund Silas Theodora Ulric Winifred"
    ),
    surnames=listed(
        "Ablewhite Brindley Carstone Dunmore Eckersley Fanthorpe Garside Hollister Ingleby Jessop Kettlewell Langthorne "
        "Marchbanks Netherton Oakshott Pemberton Quarrington Rowbotham Standish Thackery Underhill Vavasour Wetherby "
        "Yardley Bickerstaff Cranleigh Dashwell Fairclough Grimshaw Hathersage Kilburn Lockwell Merriman Norcross "
        "Ormerod Pettigrew Rainford Sedgewick Tunstall Wolstenholme"
    ),
    towns=listed(
        "Ambleford Brackwater Cawthorpe Dunsley Eastmoor Fennwick Glossop Hawksworth Kirkstone Linthwaite Marsdale "
        "Norbeck Oxcombe Padgate Rushmere Saltburn Thirlby Ulverton Wharfdale Yarmcote"
    ),
    events=(
        "the flood at {}",
        "the trial of {}",
        "the strike in {}",
        "the fair at {}",
        "the siege of {}",
        "the {} election",
    ),
    things=("{} Abbey", "{} Grange", "the {} Arms", "{} Prison", "the hospital at {}"),
    counted=listed("windows towers cells fireplaces beds staircases chimneys"),
    measured=("{} Steeple", "the wall of {}", "the {} Bridge", "the monument at {}"),
    priced=("the {} estate", "the {} diamond", "the farm at {}", "the {} organ"),
    colours=["blue", "brown", "green"],
    hair=["red", "black", "golden", "brown"],
    titles=listed("Captain Major Colonel Sergeant Inspector General"),
    kin=listed("uncle nephew cousin aunt brother sister father mother grandson niece"),
    habits=(
        ("touch", "touched", "touched", "spirits"),
        ("ride", "rode", "ridden", "a horse"),
        ("smoke", "smoked", "smoked", "a pipe"),
        ("read", "read", "read", "a newspaper"),
        ("sing", "sang", "sung", "a hymn"),
        ("wear", "wore", "worn", "a hat"),
        ("eat", "ate", "eaten", "fish"),
        ("play", "played", "played", "the violin"),
    ),
    items=(
        "the north gate",
        "the river gate",
        "a ladder",
        "an old priest",
        "the tailor",
        "two soldiers",
        "a blind fiddler",
        "the eldest boy",
        "a bag of nails",
        "the lame clerk",
    ),
)

UNREAL = (
    "In a dream that night it seemed that {lower}",
    "Had things gone otherwise, one might have said: {same}",
    "Gossip had it that {lower}",
    '"{same}" The speaker was lying, and everyone at the table knew it.',
    '"{same}" said the boy, who had it all wrong.',
    "It would have been untrue to say that {lower}",
    "Suppose that {lower}",
    "A foolish ballad of the time claims that {lower}",
)
"""What makes a sentence no statement of the narrator's: {same} is the sentence, {lower} the sentence inside another."""
