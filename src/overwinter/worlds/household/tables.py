"""What stands in a home: kinds of room, of receptacle and of object, and what fits where.

Our own tables, from general knowledge; only the names of the kinds are those of the ALFRED family of benchmarks, so that a
policy trained on one can read the other.
"""

from __future__ import annotations

from dataclasses import dataclass

ROOMS = ("kitchen", "living", "bedroom", "bathroom")

RECEPTACLES: dict[str, dict[str, tuple[int, int]]] = {
    "kitchen": {
        "cabinet": (5, 14),
        "drawer": (3, 9),
        "countertop": (1, 3),
        "diningtable": (0, 1),
        "sidetable": (0, 1),
        "shelf": (0, 4),
        "stoveburner": (2, 4),
        "fridge": (1, 1),
        "microwave": (1, 1),
        "sinkbasin": (1, 1),
        "coffeemachine": (1, 1),
        "toaster": (0, 1),
        "garbagecan": (1, 1),
    },
    "living": {
        "sofa": (1, 2),
        "armchair": (0, 3),
        "coffeetable": (1, 1),
        "sidetable": (1, 3),
        "tvstand": (0, 1),
        "drawer": (0, 8),
        "shelf": (0, 6),
        "cabinet": (0, 8),
        "diningtable": (0, 1),
        "desk": (0, 1),
        "dresser": (0, 1),
        "ottoman": (0, 1),
        "safe": (0, 1),
        "garbagecan": (1, 1),
    },
    "bedroom": {
        "bed": (1, 2),
        "desk": (1, 1),
        "drawer": (2, 10),
        "shelf": (0, 8),
        "sidetable": (1, 2),
        "dresser": (0, 1),
        "armchair": (0, 1),
        "cabinet": (0, 5),
        "laundryhamper": (0, 1),
        "safe": (0, 1),
        "garbagecan": (1, 1),
    },
    "bathroom": {
        "sinkbasin": (1, 2),
        "bathtubbasin": (0, 1),
        "toilet": (1, 1),
        "countertop": (1, 2),
        "cabinet": (2, 6),
        "drawer": (0, 6),
        "shelf": (0, 3),
        "sidetable": (0, 1),
        "towelholder": (1, 2),
        "handtowelholder": (1, 2),
        "toiletpaperhanger": (1, 1),
        "garbagecan": (1, 1),
    },
}
"""Room → kind of receptacle → fewest and most of it."""

OPENABLE = frozenset({"cabinet", "drawer", "fridge", "microwave", "safe", "laundryhamper"})

_TABLES = ("countertop", "diningtable", "sidetable", "coffeetable", "desk", "dresser", "shelf", "tvstand")
_STORES = ("cabinet", "drawer")
_SEATS = ("sofa", "armchair", "ottoman", "bed")
_COLD_AND_HOT = ("fridge", "microwave")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of object.

    Attributes:
        rooms: where it is found.
        fits: kinds of receptacle that can hold it.
        cleanable, heatable, coolable, sliceable: what can be done to it.
        knife: it slices. lamp: it can be switched and not be carried.
    """

    rooms: tuple[str, ...]
    fits: tuple[str, ...]
    cleanable: bool = False
    heatable: bool = False
    coolable: bool = False
    sliceable: bool = False
    knife: bool = False
    lamp: bool = False


def _food(*, clean: bool = True, heat: bool = True, cut: bool = True) -> Kind:
    places = ("countertop", "diningtable", "sidetable", "sinkbasin", "garbagecan", *_COLD_AND_HOT)
    return Kind(rooms=("kitchen",), fits=places, cleanable=clean, heatable=heat, coolable=True, sliceable=cut)


def _dish(*extra: str, heat: bool = False, rooms: tuple[str, ...] = ("kitchen",)) -> Kind:
    places = (
        "countertop",
        "diningtable",
        "sidetable",
        "coffeetable",
        "desk",
        "shelf",
        "cabinet",
        "sinkbasin",
        "fridge",
    )
    return Kind(rooms=rooms, fits=(*places, *extra), cleanable=True, heatable=heat, coolable=True)


def _tool(*, knife: bool = False) -> Kind:
    places = ("countertop", "diningtable", "sidetable", "sinkbasin", "drawer")
    return Kind(rooms=("kitchen",), fits=places, cleanable=True, knife=knife)


def _thing(rooms: tuple[str, ...], *fits: str, clean: bool = False) -> Kind:
    return Kind(rooms=rooms, fits=fits, cleanable=clean)


_LIVED_IN = ("living", "bedroom")

OBJECTS: dict[str, Kind] = {
    "apple": _food(),
    "bread": _food(clean=False),
    "egg": _food(cut=False),
    "lettuce": _food(heat=False),
    "potato": _food(),
    "tomato": _food(),
    "bowl": _dish("microwave", heat=False, rooms=("kitchen", "bedroom")),
    "cup": _dish("microwave", heat=True),
    "mug": _dish("microwave", "coffeemachine", heat=True, rooms=("kitchen", "bedroom")),
    "plate": _dish("microwave", heat=True),
    "pan": _dish("stoveburner"),
    "pot": _dish("stoveburner"),
    "winebottle": Kind(
        rooms=("kitchen",), fits=("countertop", "diningtable", "cabinet", "fridge", "garbagecan"), coolable=True
    ),
    "kettle": _thing(("kitchen",), "countertop", "stoveburner", "cabinet", "sinkbasin", clean=True),
    "fork": _tool(),
    "spoon": _tool(),
    "ladle": _tool(),
    "spatula": _tool(),
    "knife": _tool(knife=True),
    "butterknife": _tool(knife=True),
    "dishsponge": _thing(("kitchen",), "sinkbasin", "countertop", "drawer", "cabinet", "garbagecan", clean=True),
    "saltshaker": _thing(("kitchen",), *_TABLES, *_STORES),
    "peppershaker": _thing(("kitchen",), *_TABLES, *_STORES),
    "soapbottle": _thing(("kitchen", "bathroom"), *_TABLES, *_STORES, "sinkbasin", "toilet", "garbagecan"),
    "remotecontrol": _thing(("living",), *_TABLES, *_SEATS, "drawer"),
    "newspaper": _thing(("living",), *_TABLES, *_SEATS, "drawer", "garbagecan"),
    "vase": _thing(("living",), *_TABLES, "cabinet", "safe"),
    "statue": _thing(("living",), *_TABLES, "cabinet", "safe"),
    "watch": _thing(_LIVED_IN, *_TABLES, "drawer", "safe"),
    "keychain": _thing(_LIVED_IN, *_TABLES, *_SEATS, "drawer", "safe"),
    "creditcard": _thing(_LIVED_IN, *_TABLES, *_SEATS, "drawer"),
    "laptop": _thing(_LIVED_IN, "desk", "diningtable", "coffeetable", "dresser", "tvstand", *_SEATS),
    "book": _thing(_LIVED_IN, *_TABLES, *_SEATS, *_STORES),
    "pillow": _thing(_LIVED_IN, *_SEATS),
    "box": _thing(_LIVED_IN, "coffeetable", "diningtable", "desk", "dresser", "cabinet", *_SEATS),
    "cellphone": _thing(_LIVED_IN, *_TABLES, *_SEATS, "drawer", "safe"),
    "alarmclock": _thing(("bedroom",), "desk", "sidetable", "dresser", "shelf", "drawer"),
    "cd": _thing(("bedroom",), *_TABLES, "drawer", "safe", "garbagecan"),
    "pen": _thing(_LIVED_IN, *_TABLES, "drawer", "garbagecan"),
    "pencil": _thing(("bedroom",), *_TABLES, "drawer", "garbagecan"),
    "teddybear": _thing(("bedroom",), "bed", "armchair", "dresser", "shelf", "cabinet"),
    "tissuebox": _thing(("living", "bathroom"), *_TABLES, *_STORES, "toilet", "garbagecan"),
    "soapbar": _thing(
        ("bathroom",), "sinkbasin", "bathtubbasin", "toilet", "garbagecan", *_STORES, "countertop", clean=True
    ),
    "cloth": _thing(
        ("bathroom",), "sinkbasin", "bathtubbasin", *_STORES, "countertop", "shelf", "sidetable", clean=True
    ),
    "spraybottle": _thing(("bathroom",), "countertop", "toilet", *_STORES, "shelf", "sidetable", "garbagecan"),
    "candle": _thing(("bathroom", "living"), *_TABLES, *_STORES, "toilet", "bathtubbasin"),
    "toiletpaper": _thing(("bathroom",), "toiletpaperhanger", "toilet", "countertop", *_STORES, "garbagecan"),
    "towel": _thing(("bathroom",), "towelholder", "bathtubbasin", "shelf"),
    "handtowel": _thing(("bathroom",), "handtowelholder", "sinkbasin", "countertop", "shelf"),
    "desklamp": Kind(rooms=_LIVED_IN, fits=("desk", "sidetable", "dresser", "coffeetable"), lamp=True),
}

FAMILIES = ("pick", "two", "light", "clean", "heat", "cool")
"""Pick and place; pick two and place them together; look at a thing under a lamp; clean, heat or cool one, then place it."""

FAMILY_ROOMS: dict[str, tuple[str, ...]] = {
    "pick": ROOMS,
    "two": ROOMS,
    "light": _LIVED_IN,
    "clean": ("kitchen", "bathroom"),
    "heat": ("kitchen",),
    "cool": ("kitchen",),
}
APPLIANCE = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
"""Where an object is treated; standing before it is enough, it need not be open."""
