"""Words of the update cases: names, attributes with their values, and the lists of templates.

`WRITTEN_WITH` was at hand while the rules were written. The others were written to be held out, each before it was first measured; then its
misses were looked at, the rules were made more general, and a new list was written. So only the last one, `HELD_OUT`, still says how the
rules do on phrases that nobody looked at; docs/log.md has what each list scored at first sight.

In a template S is the subject, P its attribute, V the value, A a former value, D a date, E an attribute that follows from P, W its value.
"""

from __future__ import annotations

from dataclasses import dataclass

EFFECTS = ("tax office", "badge code", "parking space", "access level", "delivery route", "service plan")
POSSESSIONS = (
    "a red car",
    "a canoe",
    "a cat",
    "a piano",
    "a greenhouse",
    "a drone",
    "a telescope",
    "a sewing machine",
    "a cabin",
    "a tandem",
)


@dataclass(frozen=True, kw_only=True)
class Templates:
    """One line of each is one template.

    Attributes:
        sets, dated: the value now; since a date.
        because: E is W because P is V.
        ends: P has no value any more.
        corrects: P never was A, it is V.
        gets, gives_up: possession.
        homes: where S lives.
    """

    sets: tuple[str, ...]
    dated: tuple[str, ...]
    because: tuple[str, ...]
    ends: tuple[str, ...]
    corrects: tuple[str, ...]
    gets: tuple[str, ...]
    gives_up: tuple[str, ...]
    homes: tuple[str, ...]


def joined(*lists: Templates) -> Templates:
    """The templates of all of them."""
    names = Templates.__dataclass_fields__
    return Templates(**{name: tuple(one for templates in lists for one in getattr(templates, name)) for name in names})


def _read(text: str) -> Templates:
    """From "name:" lines, each followed by templates."""
    lists: dict[str, list[str]] = {}
    for line in text.strip().splitlines():
        if line.endswith(":") and not line.startswith(" "):
            templates = lists[line[:-1]] = []
        else:
            templates.append(line.strip())
    return Templates(**{name: tuple(templates) for name, templates in lists.items()})


NAMES = (
    "Alice",
    "Bob",
    "Carol",
    "Dmitri",
    "Elif",
    "Farid",
    "Grace Okafor",
    "Henrik",
    "Ines",
    "Jun Sato",
    "Kofi",
    "Leila",
)
THINGS = (
    "the pump",
    "the north valve",
    "pump 3",
    "the backup server",
    "Project Lark",
    "the heater",
    "the ferry",
    "the mill",
    "unit B7",
)
ATTRIBUTES = {
    "phone number": "person",
    "manager": "person",
    "favourite colour": "person",
    "dentist": "person",
    "shift": "person",
    "salary": "person",
    "mode": "thing",
    "supplier": "thing",
    "firmware version": "thing",
    "operator": "thing",
    "limit": "thing",
    "location": "thing",
}
_PEOPLE = ["Ana Ruiz", "Tom", "Mrs Lindqvist", "Piotr", "Yara", "Samuel Adeyemi", "Noor", "Viktor"]
VALUES: dict[str, list[str]] = {
    "phone number": ["555-1017", "555-2290", "555-3481", "555-4402", "555-5963", "555-6127", "555-7788", "555-8354"],
    "manager": _PEOPLE,
    "favourite colour": ["blue", "dark green", "orange", "violet", "grey", "turquoise", "crimson", "ochre"],
    "dentist": _PEOPLE,
    "shift": ["early", "late", "night", "weekend", "split", "day"],
    "salary": ["2400 euros", "2650 euros", "2900 euros", "3150 euros", "3300 euros", "3720 euros", "4100 euros"],
    "mode": ["eco", "boost", "standby", "manual", "night", "frost protection"],
    "supplier": ["Acme", "Initech", "Globex", "Hooli", "Umbra Metals", "Norddraht", "Vandelay"],
    "firmware version": ["2.1", "2.4", "2.7", "2.12", "3.1", "3.4", "3.7", "3.12"],
    "operator": _PEOPLE,
    "limit": ["3 bar", "5 bar", "8 bar", "12 bar", "15 bar", "21 bar", "30 bar"],
    "location": ["hall 2", "the east wing", "Rotterdam", "bay 14", "the old barn", "Gdansk", "shelf C"],
    "home": ["Rome", "Oslo", "Porto", "Nairobi", "Ghent", "New Haven", "Kyoto", "Graz"],
}
FILLERS = (
    "The weather was fine.",
    "Thanks for the help yesterday.",
    "We had soup for lunch.",
    "See you at the meeting.",
    "The train came late again.",
    "I am reading a long book about bees.",
    "Hope all is well.",
    "It rained the whole week.",
    "Let me know what you think.",
)

WRITTEN_WITH = _read(
    """
sets:
  {S}'s {P} is {V}.
  {S}'s {P} is now {V}.
  the {P} of {S} is {V}.
  {S}'s {P} changed to {V}.
  the {P} of {S} was set to {V}.
  remember that {S}'s {P} is {V}.
  {S} changed the {P} to {V}.
  {S} has a new {P}: {V}.
  for {S}, the {P} is {V}.
  {S} uses {V} as the {P}.
  update: {S}'s {P} became {V}.
  set the {P} of {S} to {V}.
  {V} is {S}'s new {P}.
dated:
  since {D}, {S}'s {P} is {V}.
  on {D} {S}'s {P} changed to {V}.
  {S}'s {P} has been {V} since {D}.
  as of {D}, the {P} of {S} is {V}.
  from {D}, {S}'s {P} was {V}.
because:
  {S}'s {E} is {W} because {S}'s {P} is {V}.
  as long as {S}'s {P} is {V}, {S}'s {E} is {W}.
ends:
  {S}'s {P} is no longer {V}.
  {S} no longer has a {P}.
  {S}'s {P} was cancelled.
  {S}'s {P} is not {V} any more.
corrects:
  correction: {S}'s {P} is {V}, not {A}.
  {S}'s {P} was never {A}. Correction: {S}'s {P} is {V}.
gets:
  {S} has {V}.
  {S} bought {V}.
  {S} owns {V}.
  {S} got {V}.
gives_up:
  {S} no longer has {V}.
  {S} gave away {V}.
  {S} does not have {V} any more.
  {S} got rid of {V}.
homes:
  {S} lives in {V}.
  {S} moved to {V}.
  {S} relocated to {V}.
  {S}'s home is {V}.
  {S} now lives in {V}.
"""
)

FIRST_HELD_OUT = _read(
    """
sets:
  heads-up everyone, {S}'s {P} got bumped to {V}.
  effective immediately, the {P} for {S} is {V}.
  we have decided on {V} as {S}'s {P}.
  I have just switched {S}'s {P} over to {V}.
  please update your records: {S}'s {P} is {V}.
  going forward {S}'s {P} shall be {V}.
  {S} has settled on {V} for the {P}.
  meanwhile the {P} of {S} was altered to {V}.
  as it stands, {S}'s {P} is {V}.
  you can write down {V} as {S}'s {P}.
  the new {P} of {S} is {V}.
  {S} went with {V} as the {P}.
  they made {V} the {P} of {S}.
  as far as {S} is concerned, the {P} is {V}.
  good to know: the current {P} of {S} is {V}.
  {V} has become the {P} of {S}.
dated:
  starting {D}, {S}'s {P} is {V}.
  {S}'s {P} went to {V} on {D}.
  back on {D}, {S}'s {P} became {V}.
  {S} has had {V} as {P} since {D}.
  it was on {D} that {S}'s {P} changed to {V}.
  the {P} of {S} has been {V} from {D} on.
because:
  since {S}'s {P} is {V}, {S}'s {E} is {W}.
  {S}'s {E} is {W}, given that {S}'s {P} is {V}.
  because the {P} of {S} is {V}, the {E} of {S} is {W}.
  {S}'s {E} is {W} as long as {S}'s {P} is {V}.
ends:
  {S} does not have a {P} any more.
  {S} gave up the {P}.
  the {P} of {S} has been removed.
  {S}'s {P} no longer exists.
  there is no {P} for {S} any more.
  {S} is without a {P} now.
corrects:
  I was wrong about {S}: the {P} is {V}, not {A}.
  sorry, my mistake, {S}'s {P} is {V} and not {A}.
  {S}'s {P} has never been {A}; it is {V}.
  actually {S}'s {P} is {V}, not {A}.
gets:
  {S} has just bought {V}.
  {S} is the proud owner of {V}.
  {S} picked up {V} last week.
  {S} now owns {V}.
gives_up:
  {S} has sold {V}.
  {S} parted with {V}.
  {S} doesn't own {V} any longer.
  {S} handed {V} over to a neighbour.
homes:
  {S} has moved house to {V}.
  {S} settled in {V}.
  {S} resides in {V} now.
  {V} is where {S} lives now.
  {S} is based in {V}.
"""
)

SECOND_HELD_OUT = _read(
    """
sets:
  I wanted to let you know that {S}'s {P} is {V}.
  as of this week the {P} of {S} stands at {V}.
  from now on use {V} as {S}'s {P}.
  the {P} for {S} has been switched to {V}.
  {S}'s {P} turned out to be {V}.
  they have assigned {V} as the {P} of {S}.
  {S} told me the {P} is {V} now.
  {S} picked {V} as the new {P}.
  if anyone asks, {S}'s {P} is {V}.
  to be clear: the {P} of {S} is {V}.
  {S}'s {P}: {V}.
  the team changed the {P} of {S} to {V} this morning.
  we agreed that {S}'s {P} will be {V}.
  I believe the {P} of {S} is {V}.
  {V} took over as {S}'s {P}.
  {S}'s {P} has changed; it is {V} now.
  a small change: {S} now has {V} as {P}.
  by the way, {S} moved the {P} to {V}.
dated:
  {S}'s {P} was changed to {V} on {D}.
  effective {D}, the {P} of {S} is {V}.
  I forgot to say that {S}'s {P} became {V} on {D}.
  {D}: {S}'s {P} set to {V}.
  ever since {D} the {P} of {S} has been {V}.
  on {D} the {P} of {S} went to {V}.
  {S} has had {V} as the {P} since {D}.
because:
  {S}'s {E} is {W}, because {S}'s {P} is {V}.
  given that {S}'s {P} is {V}, the {E} of {S} is {W}.
  the {P} of {S} is {V}, so {S}'s {E} is {W}.
  as {S}'s {P} is {V}, {S}'s {E} is {W}.
  so long as the {P} of {S} is {V}, {S}'s {E} is {W}.
ends:
  the {P} of {S} was deleted.
  {S} has no {P} any longer.
  {S} lost the {P}.
  {S}'s {P} has been revoked.
  {S} stopped having a {P}.
  the {P} of {S} is gone.
  {S} doesn't have a {P} anymore.
corrects:
  correction, {S}'s {P} is {V} rather than {A}.
  I misspoke: {S}'s {P} is {V}, not {A}.
  it was a mistake to say {A}: {S}'s {P} is {V}.
  {S}'s {P} was never {A}, it is {V}.
  not {A} but {V} is {S}'s {P}, I was wrong.
gets:
  {S} acquired {V} yesterday.
  {S} is now the owner of {V}.
  {S} treated herself to {V}.
  {S} has {V} now.
  {S} inherited {V}.
gives_up:
  {S} sold {V} to a friend.
  {S} has given {V} away.
  {S} has no use for {V} and sold it.
  {S} no longer owns {V}.
  {S} lost {V}.
homes:
  {S} has relocated to {V}.
  {S} is living in {V} these days.
  {S} found a new home in {V}.
  {S} calls {V} home.
  {S} moved from town to {V}.
"""
)

THIRD_HELD_OUT = _read(
    """
sets:
  change of plan: {S}'s {P} is going to be {V}.
  I have put {V} down as {S}'s {P}.
  according to the latest list, {S}'s {P} is {V}.
  the {P} of {S}, as of today, is {V}.
  {S} decided to change the {P} to {V}.
  we replaced {S}'s {P} with {V}.
  {S} is using {V} for the {P} at the moment.
  {V} will be the {P} of {S} from now on.
  new {P} for {S}: {V}.
  the admin set {S}'s {P} to {V}.
  {S} has {V} as the {P} these days.
  so {S}'s {P} ended up being {V}.
  {S}'s current {P} happens to be {V}.
  don't forget, the {P} of {S} is {V} now.
  {S}'s got {V} as the {P} now.
  {S}'s {P} is not what it was, it is {V} now.
dated:
  the {P} of {S} was {V} as of {D}.
  on {D}, {V} became {S}'s {P}.
  {S}'s {P} is {V}, and has been since {D}.
  as early as {D}, the {P} of {S} was {V}.
  {S} changed the {P} to {V} on {D}.
  I noticed that on {D} {S}'s {P} was set to {V}.
because:
  {S}'s {E} is {W} for as long as {S}'s {P} is {V}.
  because {S}'s {P} is {V}, {S} has {W} as {E}.
  {S}'s {P} is {V}, which means that {S}'s {E} is {W}.
  seeing that {S}'s {P} is {V}, the {E} for {S} is {W}.
ends:
  {S} was stripped of the {P}.
  we took away {S}'s {P}.
  {S} currently has no {P}.
  {S}'s {P} was given up.
  as of today {S} has no {P}.
  {S}'s {P} does not exist anymore.
  {S} dropped the {P}.
corrects:
  my earlier message was wrong: {S}'s {P} is {V}, not {A}.
  {S}'s {P} is not {A} and never was; it is {V}.
  contrary to what I said, {S}'s {P} is {V}, not {A}.
  I got it wrong, {S}'s {P} is actually {V}.
  please disregard what I said about {S}; the {P} is {V}, it never was {A}.
gets:
  {S} just got {V}.
  {S} is now a proud owner of {V}.
  {S} finally bought {V}.
  {S} came home with {V}.
  {S} has purchased {V}.
gives_up:
  {S} had to sell {V}.
  {S} got rid of {V} last week.
  {S} gave {V} to charity.
  {S} doesn't have {V} anymore.
  {S} let go of {V}.
homes:
  {S} packed up and moved to {V}.
  {S} has been living in {V} lately.
  {S} now makes {V} home.
  {S} went to live in {V}.
  {S}'s new home is {V}.
"""
)

FOURTH_HELD_OUT = _read(
    """
sets:
  just a note that {S}'s {P} is {V} now.
  we moved {S}'s {P} to {V}.
  {S}'s {P} has been updated, it is {V}.
  the {P} of {S} is currently {V}.
  hi, quick question later, but first: {S}'s {P} is {V}.
  {S} is on a new {P}: {V}.
  my notes say that the {P} of {S} is {V}.
  it looks like {S}'s {P} is {V} these days.
  all agreed, {S}'s {P} becomes {V}.
  {S} has changed the {P} to {V}.
  please use {V} as the {P} for {S}.
  {S}'s new {P} will be {V}.
  they set {S}'s {P} to {V} after lunch.
  the {P} for {S} was raised to {V}.
  {S} now goes with {V} as the {P}.
  I heard from the office that {S}'s {P} is {V}.
dated:
  {S}'s {P} has been {V} ever since {D}.
  from {D} on, {S}'s {P} is {V}.
  on {D} the {P} of {S} became {V}.
  we set {S}'s {P} to {V} on {D}.
  the {P} of {S} changed on {D} to {V}.
  as of {D} {S}'s {P} is {V}.
because:
  {S}'s {E} is {W} because the {P} of {S} is {V}.
  since the {P} of {S} is {V}, the {E} of {S} is {W}.
  {S}'s {P} is {V}, therefore {S}'s {E} is {W}.
  as long as the {P} of {S} is {V}, the {E} of {S} is {W}.
ends:
  {S} no longer has any {P}.
  the {P} of {S} was cancelled yesterday.
  {S}'s {P} has ended.
  {S} has no {P} anymore.
  {S}'s {P} isn't {V} any more.
  we cancelled {S}'s {P}.
corrects:
  correction: the {P} of {S} is {V}, not {A}.
  sorry, I was wrong: {S}'s {P} is {V}, not {A}.
  {S}'s {P} was never {A}. It is {V}.
  that was a mistake, {S}'s {P} is {V} instead of {A}.
gets:
  {S} bought {V} on Saturday.
  {S} has {V}.
  {S} got {V} for the birthday.
  {S} owns {V} now.
  {S} adopted {V}.
gives_up:
  {S} sold {V} yesterday.
  {S} gave {V} away.
  {S} no longer has {V}.
  {S} doesn't have {V} any more.
  {S} lost {V} on the train.
homes:
  {S} moved to {V} for work.
  {S} lives in {V} now.
  {S} has moved from the village to {V}.
  {S} resides in {V}.
  {S} is living in {V} at the moment.
"""
)

FIFTH_HELD_OUT = _read(
    """
sets:
  {S}'s {P} is {V} as of now.
  the {P} of {S} is {V}, not that it matters.
  we now have {V} as {S}'s {P}.
  the {P} of {S} was switched to {V} last night.
  {S}'s {P} got set to {V}.
  I changed {S}'s {P} to {V}.
  in case you need it, {S}'s {P} is {V}.
  {S} updated the {P} to {V}.
  {S}'s {P} went to {V}.
  the {P} of {S} will now be {V}.
  for your files: {S}'s {P} is {V}.
  {V} is now the {P} of {S}.
  {S}'s {P} moved to {V}, just so you know.
  I am told {S}'s {P} is {V}.
  please note the new {P} of {S}: {V}.
  {S} wants {V} as the {P}.
dated:
  {S}'s {P} is {V} since {D}.
  starting on {D}, the {P} of {S} is {V}.
  it is {D} that {S}'s {P} became {V}.
  {S} changed {P} to {V} on {D}.
  on {D}, {S}'s {P} was set to {V}.
  from {D} onwards the {P} of {S} is {V}.
because:
  {S}'s {E} is {W} because {S}'s {P} is {V} right now.
  as {S}'s {P} is {V}, the {E} of {S} is {W}.
  {S} has {W} as the {E} because {S}'s {P} is {V}.
  now that {S}'s {P} is {V}, {S}'s {E} is {W}.
ends:
  {S}'s {P} is no longer {V}.
  {S} has given up the {P}.
  {S}'s {P} expired.
  {S} does not have any {P} anymore.
  the {P} of {S} does not exist any more.
  the {P} of {S} has been dropped.
corrects:
  no, {S}'s {P} is {V}, not {A}.
  that was wrong. {S}'s {P} is {V}, not {A}.
  {S}'s {P} was never {A} but {V}.
  I said {S}'s {P} was {A}, but that was wrong: {S}'s {P} is {V}.
  correction: not {A}, {S}'s {P} is {V}.
gets:
  {S} bought {V} last month.
  {S} has {V} at home.
  {S} was given {V}.
  {S} owns {V} these days.
  {S} got {V} from a friend.
gives_up:
  {S} sold {V} last week.
  {S} has sold {V} again.
  {S} does not own {V} anymore.
  {S} returned {V}.
  {S} gave {V} to a neighbour.
homes:
  {S} moved to {V} last year.
  {S} lives in {V} these days.
  {S} is now based in {V}.
  {S} and the family moved to {V}.
  {S} relocated from the coast to {V}.
"""
)

SIXTH_HELD_OUT = _read(
    """
sets:
  {S}'s {P}, I hear, is {V}.
  the {P} of {S} has become {V}.
  let me tell you that {S}'s {P} is {V}.
  we will use {V} as {S}'s {P}.
  {S}'s {P} shifted to {V}.
  the {P} for {S} is now set at {V}.
  {S} confirmed that the {P} is {V}. That is final.
  fyi the {P} of {S} is {V}.
  {S}'s {P} is {V} again.
  they gave {S} a new {P}: {V}.
  {S} chose {V} as the {P}.
  {S}'s {P} was changed to {V} by the office.
  update on {S}: the {P} is {V}.
  the {P} of {S} went from whatever it was to {V}.
  I set {S}'s {P} to {V}.
  {V} became {S}'s {P} today.
dated:
  since {D} {S}'s {P} has been {V}.
  on {D} we changed {S}'s {P} to {V}.
  {S}'s {P} became {V} as of {D}.
  the {P} of {S} has been {V} since {D}.
  {S}'s {P} changed to {V} on {D}.
  back on {D} the {P} of {S} was set to {V}.
because:
  because {S}'s {P} is {V}, {S}'s {E} is {W}.
  {S}'s {E} is {W} since the {P} of {S} is {V}.
  the {E} of {S} is {W}, because the {P} is {V}.
  given that {S}'s {P} is {V}, {S}'s {E} is {W}.
ends:
  {S}'s {P} was removed.
  {S} does not have a {P} anymore.
  the {P} of {S} is no longer {V}.
  {S}'s {P} has been cancelled.
  {S} no longer has the {P}.
  there is no longer a {P} for {S}.
corrects:
  correction: {S}'s {P} is {V}, not {A}.
  I made a mistake: {S}'s {P} is {V}, not {A}.
  {S}'s {P} is {V}, not {A} as I said.
  {S}'s {P} never was {A}. It is {V}.
  actually, {S}'s {P} is {V} and not {A}.
gets:
  {S} bought {V}.
  {S} has got {V}.
  {S} now has {V}.
  {S} received {V} as a present.
  {S} purchased {V} in May.
gives_up:
  {S} sold {V}.
  {S} no longer owns {V}.
  {S} gave {V} away last month.
  {S} has lost {V}.
  {S} does not have {V} anymore.
homes:
  {S} moved to {V}.
  {S} lives in {V}.
  {S} has settled down in {V}.
  {S}'s home is now {V}.
  {S} has been living in {V} since the summer.
"""
)

SEVENTH_HELD_OUT = _read(
    """
sets:
  {S}'s {P} has just become {V}.
  from today on {S}'s {P} is {V}.
  the {P} of {S} is {V}, as agreed yesterday.
  we settled on {V} as {S}'s {P}.
  I want you to know that {S}'s {P} is {V}.
  {S} now uses {V} as the {P}.
  the new {P} for {S} is {V}.
  {S}'s {P} was fixed at {V}.
  my colleague put {S}'s {P} at {V}.
  {S}'s {P} is {V} for the moment.
  change for {S}: the {P} is {V}.
  and {S}'s {P} is {V} by now.
  {S} has {V} as {P}.
  you will find that {S}'s {P} is {V}.
  {S}'s {P} switched to {V}.
  they told us {S}'s {P} is {V}.
dated:
  {S}'s {P} has been {V} from {D}.
  on {D} {S} changed the {P} to {V}.
  as of {D} the {P} for {S} is {V}.
  since {D} the {P} of {S} is {V}.
  {S}'s {P} turned to {V} on {D}.
  in the end {S}'s {P} was set to {V} on {D}.
because:
  {S}'s {E} is {W} as long as the {P} of {S} is {V}.
  because the {P} of {S} is {V}, {S}'s {E} is {W}.
  {S}'s {P} is {V}, so the {E} of {S} is {W}.
  {S}'s {E} is {W}, given that the {P} of {S} is {V}.
ends:
  {S}'s {P} is gone.
  {S} has no {P} now.
  we dropped {S}'s {P}.
  {S} no longer has {V} as the {P}.
  the {P} for {S} was cancelled.
  {S}'s {P} was deleted last night.
corrects:
  oops, {S}'s {P} is {V}, not {A}.
  correction to my last message: {S}'s {P} is {V}, not {A}.
  I had it wrong: {S}'s {P} is {V}, not {A}.
  {S}'s {P} was never {A}, it was always {V}.
  scratch that, {S}'s {P} is {V}, not {A}.
gets:
  {S} got {V}.
  {S} has acquired {V}.
  {S} bought {V} for little money.
  {S} owns {V}.
  {S} now possesses {V}.
gives_up:
  {S} sold {V} on Monday.
  {S} has gotten rid of {V}.
  {S} does not possess {V} any more.
  {S} gave away {V}.
  {S} had {V} but sold it.
homes:
  {S} moved back to {V}.
  {S} lives in {V} again.
  {S} has taken a flat in {V}.
  {S}'s home is in {V}.
  {S} relocated to {V} with the children.
"""
)

HELD_OUT = _read(
    """
sets:
  we can report that {S}'s {P} is {V}.
  {S}'s {P} is {V} from this week on.
  the {P} of {S} has moved to {V}.
  let us use {V} as the {P} of {S}.
  {S} got {V} as the new {P}.
  please set {S}'s {P} to {V}.
  {S} is now at {V} for the {P}.
  the office lists {V} as {S}'s {P}.
  {S}'s {P}: now {V}.
  as you asked, {S}'s {P} is {V}.
  the {P} of {S} reads {V}.
  {S}'s {P} will from now on be {V}.
  looking at the list, {S}'s {P} is {V}.
  {S} has been given {V} as the {P}.
  I learned today that the {P} of {S} is {V}.
  {S}'s {P} was moved to {V}.
dated:
  {S}'s {P} is {V} as of {D}.
  on {D} {S}'s {P} became {V}.
  the {P} of {S} has been {V} as of {D}.
  from {D} {S}'s {P} was {V}.
  it turned out that {S}'s {P} changed to {V} on {D}.
  {S} has had {V} as {P} since {D}.
because:
  {S}'s {E} is {W}, because the {P} of {S} is {V}.
  as long as {S}'s {P} is {V}, the {E} is {W} for {S}.
  {S}'s {E} is {W} because {S} has {V} as {P}.
  the {P} of {S} is {V}, therefore the {E} of {S} is {W}.
ends:
  {S}'s {P} was cancelled last week.
  {S} does not have the {P} any more.
  the {P} of {S} no longer exists.
  {S}'s {P} is not {V} anymore.
  {S} has lost the {P}.
  {S} is without a {P}.
corrects:
  wait, that is wrong: {S}'s {P} is {V}, not {A}.
  {S}'s {P} is {V} and never was {A}.
  correction: {S}'s {P} should have been {V}, not {A}.
  my mistake, {S}'s {P} is {V}, not {A}.
  I confused things. {S}'s {P} is {V}, not {A}.
gets:
  {S} bought {V} today.
  {S} picked up {V}.
  {S} has {V} now.
  {S} became the owner of {V}.
  {S} adopted {V} in spring.
gives_up:
  {S} sold {V} in the end.
  {S} doesn't own {V} any more.
  {S} gave {V} back.
  {S} got rid of {V}.
  {S} donated {V} to the museum.
homes:
  {S} has moved to {V}.
  {S} now lives in {V} with a friend.
  {S} settled in {V}.
  {S} is moving to {V}.
  {S} resides in {V} these days.
"""
)
