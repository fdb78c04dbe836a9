"""What can be inconsistent in a long text: five categories, nineteen subtypes (ConStory-Bench, arXiv 2603.05890), and what rules claim.

A kind is a thing the rule path looks for and is measured on; each belongs to one subtype. Subtypes without a kind are for a model to find
(`model.py`): no rule of ours reads tone, causes or what a character should know.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Category(StrEnum):
    TIMELINE = "timeline and plot"
    CHARACTER = "characterization"
    WORLD = "world-building"
    FACT = "factual detail"
    STYLE = "narrative style"


class Subtype(StrEnum):
    ABSOLUTE_TIME = "absolute time"
    DURATION = "duration"
    SIMULTANEITY = "simultaneity"
    CAUSELESS = "causeless effect"
    CAUSAL_LOGIC = "causal logic"
    ABANDONED = "abandoned element"
    MEMORY = "memory"
    KNOWLEDGE = "knowledge"
    SKILL = "skill fluctuation"
    FORGOTTEN = "forgotten ability"
    CORE_RULES = "core rules"
    NORMS = "social norms"
    GEOGRAPHY = "geography"
    APPEARANCE = "appearance"
    NOMENCLATURE = "nomenclature"
    QUANTITY = "quantity"
    PERSPECTIVE = "perspective"
    TONE = "tone"
    STYLE = "style"


CATEGORY_OF: dict[Subtype, Category] = {
    Subtype.ABSOLUTE_TIME: Category.TIMELINE,
    Subtype.DURATION: Category.TIMELINE,
    Subtype.SIMULTANEITY: Category.TIMELINE,
    Subtype.CAUSELESS: Category.TIMELINE,
    Subtype.CAUSAL_LOGIC: Category.TIMELINE,
    Subtype.ABANDONED: Category.TIMELINE,
    Subtype.MEMORY: Category.CHARACTER,
    Subtype.KNOWLEDGE: Category.CHARACTER,
    Subtype.SKILL: Category.CHARACTER,
    Subtype.FORGOTTEN: Category.CHARACTER,
    Subtype.CORE_RULES: Category.WORLD,
    Subtype.NORMS: Category.WORLD,
    Subtype.GEOGRAPHY: Category.WORLD,
    Subtype.APPEARANCE: Category.FACT,
    Subtype.NOMENCLATURE: Category.FACT,
    Subtype.QUANTITY: Category.FACT,
    Subtype.PERSPECTIVE: Category.STYLE,
    Subtype.TONE: Category.STYLE,
    Subtype.STYLE: Category.STYLE,
}

LOOKS_FOR: dict[Subtype, str] = {
    Subtype.ABSOLUTE_TIME: "dates, seasons or weather of the same event that cannot both hold; events in two orders",
    Subtype.DURATION: "different lengths of one journey or event; ages that do not fit the time that has passed",
    Subtype.SIMULTANEITY: "a person or an object in two places at once",
    Subtype.CAUSELESS: "an ability, thing or piece of knowledge that comes from nowhere",
    Subtype.CAUSAL_LOGIC: "an effect against its cause: the dead act, the broken thing works",
    Subtype.ABANDONED: "an important thing, goal or promise that is never heard of again",
    Subtype.MEMORY: "somebody forgets or denies what they lived through",
    Subtype.KNOWLEDGE: "somebody knows what they cannot know, or not what they must",
    Subtype.SKILL: "competence that jumps without a reason; a fixed habit that is broken without a word",
    Subtype.FORGOTTEN: "a known ability that is not used where it would help",
    Subtype.CORE_RULES: "what the world's own rules (physics, magic, technology) rule out",
    Subtype.NORMS: "a law or taboo that is broken and nobody minds",
    Subtype.GEOGRAPHY: "places, distances and directions that move",
    Subtype.APPEARANCE: "bodies, clothes and things that look different",
    Subtype.NOMENCLATURE: "names, titles, kinship and spellings that change",
    Subtype.QUANTITY: "amounts, dates, sizes and prices that disagree; lists that do not have as many items as announced",
    Subtype.PERSPECTIVE: "a point of view that changes without a reason",
    Subtype.TONE: "a break of register or mood",
    Subtype.STYLE: "a break of vocabulary, syntax or quality",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What a rule looks for.

    Attributes:
        confidence: how likely a finding is a real contradiction: findings that were right over findings, one success and one
            failure added, on the development documents of `recipes/bench_consistency.py`.
    """

    subtype: Subtype
    looks_for: str
    confidence: float = 0.9

    @property
    def category(self) -> Category:
        return CATEGORY_OF[self.subtype]


KINDS: dict[str, Kind] = {
    "age": Kind(subtype=Subtype.DURATION, looks_for="a person's ages in given years that do not fit each other"),
    "age_birth": Kind(subtype=Subtype.DURATION, looks_for="an age in a given year against the year of birth"),
    "birth": Kind(subtype=Subtype.QUANTITY, looks_for="two years of birth of one person"),
    "event_date": Kind(subtype=Subtype.ABSOLUTE_TIME, looks_for="two dates of one named event"),
    "weekday": Kind(subtype=Subtype.ABSOLUTE_TIME, looks_for="a weekday that the date did not fall on"),
    "order": Kind(subtype=Subtype.ABSOLUTE_TIME, looks_for="two named events in both orders"),
    "duration": Kind(subtype=Subtype.DURATION, looks_for="two lengths of one named event"),
    "elapsed": Kind(subtype=Subtype.DURATION, looks_for="a number of years that two given years are not apart"),
    "place": Kind(subtype=Subtype.SIMULTANEITY, looks_for="a person in two places on one date"),
    "death": Kind(subtype=Subtype.CAUSAL_LOGIC, looks_for="two years of death, or something done in a year after it"),
    "alive": Kind(subtype=Subtype.CAUSAL_LOGIC, looks_for="somebody whose death was told acts later in the story"),
    "eyes": Kind(subtype=Subtype.APPEARANCE, looks_for="two colours of one person's eyes"),
    "hair": Kind(subtype=Subtype.APPEARANCE, looks_for="two colours of one person's hair, without dye or age"),
    "name": Kind(subtype=Subtype.NOMENCLATURE, looks_for="one full name in two spellings"),
    "title": Kind(subtype=Subtype.NOMENCLATURE, looks_for="two ranks of one person, without a promotion"),
    "kinship": Kind(subtype=Subtype.NOMENCLATURE, looks_for="two relations between the same two persons"),
    "list_count": Kind(subtype=Subtype.QUANTITY, looks_for="a list with another number of items than announced"),
    "quantity": Kind(subtype=Subtype.QUANTITY, looks_for="two counts of the same parts of one named thing"),
    "measure": Kind(subtype=Subtype.QUANTITY, looks_for="two sizes of one named thing"),
    "price": Kind(subtype=Subtype.QUANTITY, looks_for="two prices of one named thing"),
    "distance": Kind(subtype=Subtype.GEOGRAPHY, looks_for="two distances between the same two places"),
    "direction": Kind(subtype=Subtype.GEOGRAPHY, looks_for="one place on opposite sides of another"),
    "rule": Kind(subtype=Subtype.SKILL, looks_for="something a person never does, done by that person"),
    "law": Kind(subtype=Subtype.NORMS, looks_for="something nobody does or may do in a place, done there"),
}
"""What the rule path claims to find, each measured on planted contradictions (docs/benchmarks.md)."""
