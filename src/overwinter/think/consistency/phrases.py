"""Phrasings the rules were developed on, for `planted`. What they are worth is measured on others (recipes/consistency_heldout.py)."""

from __future__ import annotations

from overwinter.think.consistency.planted import Phrasing
from overwinter.think.consistency.slots import Vocabulary
from overwinter.think.consistency.wordlist import listed

DEVELOPMENT: dict[str, Phrasing] = {
    "age": Phrasing(
        first=(
            "In {y} {p} was {v} years old.",
            "{p} was {v} in {y}.",
            "{p}, who was {v} in {y}, kept a small school.",
            "At the beginning of {y}, {p} was a man of {v}.",
            "In {y}, at the age of {v}, {p} left the city.",
            "{p} turned {v} in the summer of {y}.",
        ),
    ),
    "age_birth": Phrasing(
        first=("{p} was born in {by}.", "Born in {by}, {p} grew up by the sea.", "{p} had been born in the year {by}."),
        second=(
            "In {y} {p} was {v} years old.",
            "{p} was {v} in {y}.",
            "In {y}, at the age of {v}, {p} went to sea.",
            "{p}, aged {v}, moved away in {y}.",
        ),
    ),
    "birth": Phrasing(
        first=(
            "{p} was born in {v}.",
            "{p}, born in {v}, was an only child.",
            "Born in {v}, {p} grew up by the sea.",
            "{p} had been born in the winter of {v}.",
            "The birth of {p} fell in {v}.",
        ),
    ),
    "event_date": Phrasing(
        first=(
            "{E} was on {v}.",
            "{E} took place on {v}.",
            "On {v} {e} broke out.",
            "{E} began on {v}.",
        ),
    ),
    "weekday": Phrasing(
        first=(
            "They set out on {w}, {d}.",
            "On {w} the {dth} they reached the coast.",
            "{d} fell on a {w}.",
            "It was {w}, {d}, when the letter came.",
        ),
    ),
    "order": Phrasing(
        first=(
            "{E1} was before {e2}.",
            "{E1} happened before {e2}.",
            "{E2} came after {e1}.",
            "{E1} preceded {e2}.",
            "{E2} took place after {e1}.",
        ),
    ),
    "duration": Phrasing(
        first=(
            "{E} lasted {v}.",
            "{E} had lasted for {v}.",
            "{E} took {v}.",
            "{E} continued for {v}.",
            "It was {v} before {e} ended.",
        ),
    ),
    "elapsed": Phrasing(
        first=(
            "From {y1} to {y2}, for {v} years, the house stood empty.",
            "The firm existed from {y1} to {y2}, that is {v} years.",
            "They met in {y1} and again {v} years later, in {y2}.",
        ),
    ),
    "place": Phrasing(
        first=(
            "On {d} {p} was in {v}.",
            "{p} was in {v} on {d}.",
            "On {d}, {p} stayed at {v}.",
            "{p} spent {d} at {v}.",
        ),
    ),
    "death": Phrasing(
        first=(
            "{p} died in {y}.",
            "{p} was buried in {y}.",
            "In {y} {p} was killed.",
            "{p} had died in the spring of {y}.",
        ),
        second=(
            "In {y2} {p} bought a house.",
            "{p} went to sea in {y2}.",
            "In the winter of {y2}, {p} wrote two letters.",
        ),
    ),
    "alive": Phrasing(
        first=(
            "{p} died in the night.",
            "{p} was killed by the fall.",
            "The next morning {p} was dead.",
            "They buried {p} by the church.",
        ),
        second=(
            "{p} opened the window and looked out.",
            "{p} sat at the table and wrote.",
            "{p} went down to the river.",
            "{p} smiled and took up the lamp.",
        ),
    ),
    "eyes": Phrasing(
        first=(
            "{p} had {v} eyes.",
            "{p}'s eyes were {v}.",
            "The {v} eyes of {p} were tired.",
            "{p} stared with {v} eyes.",
            "{p}, who had {v} eyes, kept silent.",
        ),
    ),
    "hair": Phrasing(
        first=(
            "{p} had {v} hair.",
            "{p}'s hair was {v}.",
            "The hair of {p} was {v}.",
            "{p} had long {v} hair.",
            "{p}'s {v} hair was wet.",
        ),
    ),
    "name": Phrasing(
        first=(
            "{p} closed the shop at six.",
            "The garden of {p} was full of weeds.",
            "They had sent for {p}.",
            "It was {p} who found the purse.",
        ),
    ),
    "title": Phrasing(
        first=(
            "{t} {p} came to dinner.",
            "They wrote to {t} {p}.",
            "{t} {p} had the best room.",
            "The dog of {t} {p} barked.",
        ),
    ),
    "kinship": Phrasing(
        first=(
            "{p} was {q}'s {v}.",
            "{p} was the {v} of {q}.",
            "{q}'s {v} {p} came to stay.",
            "{p}, the {v} of {q}, ran the inn.",
            "{p}, {q}'s {v}, ran the inn.",
        ),
    ),
    "list_count": Phrasing(
        first=(
            "There were {n} doors: {items}.",
            "He took {n} things with him: {items}.",
            "{N} people had the key: {items}.",
            "She kept {n} pictures: {items}.",
        ),
    ),
    "quantity": Phrasing(
        first=(
            "{x} had {v} {u}.",
            "There were {v} {u} in {x}.",
            "The {v} {u} of {x} were famous.",
            "{x} has {v} {u}.",
            "{x} held {v} {u}.",
        ),
    ),
    "measure": Phrasing(
        first=("{x} was {v} {m}.", "{x} is {v} {m}.", "{x} rose {v} {m}.", "{x}, which was {v} {m}, stood alone."),
    ),
    "price": Phrasing(
        first=("{x} cost {v}.", "{x} had been bought for {v}.", "The price of {x} was {v}.", "They paid {v} for {x}."),
    ),
    "distance": Phrasing(
        first=(
            "{a} was {v} from {b}.",
            "{a} lies {v} from {b}.",
            "From {a} to {b} it is {v}.",
            "The distance from {a} to {b} was {v}.",
            "It was {v} from {a} to {b}.",
        ),
    ),
    "direction": Phrasing(
        first=("{a} lies {v} of {b}.", "{a} was {v} of {b}.", "{a} lay to the {v} of {b}.", "{a} stands {v} of {b}."),
    ),
    "rule": Phrasing(
        first=("{p} never {past} {o}.", "{p} would never {base} {o}.", "Never would {p} {base} {o}."),
        second=("{p} {past} {o}.", "That night {p} {past} {o}.", "{p} got up and {past} {o}."),
    ),
    "law": Phrasing(
        first=(
            "In {x} nobody ever {past} {o}.",
            "Nobody in {x} was allowed to {base} {o}.",
            "It was forbidden to {base} {o} in {x}.",
        ),
        second=("In {x} {p} {past} {o}.", "{p} {past} {o} in {x}.", "That morning {p} {past} {o} in {x}."),
    ),
}

WORDS = Vocabulary(
    first_names=listed(
        "Albert Bertha Conrad Della Ernest Flora Godfrey Harriet Ignatius Judith Kenneth Lavinia Maurice Nora Oswald "
        "Prudence Rupert Sabina Tobias Ursula"
    ),
    surnames=listed(
        "Ashdown Barlow Calloway Dawlish Elphick Farraday Gadsby Harker Imrie Jephson Kestrel Lomax Mossop Nuttall "
        "Osgood Penrose Quayle Ridley Stapleton Thwaite Upjohn Venables Wexford Yelland Babcock Chidley Draycott "
        "Fothergill Gosling Hebden Kersey Lidgate Mowbray Northcott Orchard Plumtree Rookwood Swinburne Tregarth "
        "Woodruff"
    ),
    towns=listed(
        "Ashwick Bramcote Coldharbour Deepdale Elmstead Foxhall Greystoke Hazelwick Ivinghoe Kelmarsh Longmere "
        "Millbrook Northwold Oakhampton Plumstock Ravensby Stonebeck Thornhill Upwick Willowby"
    ),
    events=(
        "the fire at {}",
        "the wedding at {}",
        "the battle of {}",
        "the voyage to {}",
        "the {} riot",
        "the ball at {}",
    ),
    things=("{} Hall", "{} House", "the {} Hotel", "{} Castle", "the inn at {}"),
    counted=listed("rooms doors guests servants books windows cellars"),
    measured=("{} Tower", "the spire of {}", "the {} Mast", "the dam at {}"),
    priced=("the {} mill", "the {} necklace", "the house at {}", "the {} clock"),
    colours=["blue", "brown", "green"],
    hair=["red", "black", "golden", "brown"],
    titles=listed("Captain Major Colonel Lieutenant Sergeant Admiral"),
    kin=listed("uncle nephew cousin aunt brother sister son daughter grandfather niece"),
    habits=(
        ("drink", "drank", "drunk", "wine"),
        ("eat", "ate", "eaten", "meat"),
        ("tell", "told", "told", "a lie"),
        ("carry", "carried", "carried", "a watch"),
        ("cross", "crossed", "crossed", "the bridge"),
        ("play", "played", "played", "cards"),
        ("climb", "climbed", "climbed", "the tower"),
        ("light", "lit", "lit", "a fire"),
    ),
    items=(
        "a silver spoon",
        "a map",
        "the green book",
        "two candles",
        "the cook",
        "the old gardener",
        "a broken clock",
        "the widow",
        "a ring",
        "the schoolmaster",
    ),
)

UNREAL = (
    "He dreamed that {lower}",
    "If things had been otherwise, {lower}",
    "It was rumoured that {lower}",
    '"{same}" he lied.',
    '"{same}" she said, but it was not true.',
    "She imagined that {lower}",
    "It was not true that {lower}",
    "Perhaps, he thought, {lower}",
)
