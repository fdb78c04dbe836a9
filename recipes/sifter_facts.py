"""What people in the synthetic histories say and are asked. Three splits that share no kind of fact, no wording, no value and no name.

{p} the person as subject ("I" or "Ada"), {ps} possessive ("my", "Ada's"), {do} {has} {is} verbs that agree, {v} the value, {o} somebody
else. A statement is said by the person; `others` is said about somebody else; `hedges` mention a value that never came true.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of fact.

    Attributes:
        shape: "state" (one value at a time, may change), "event" (happens at a date), "list" (values add up).
        says, moves: how it is told first, and how a change is told (for events and lists: how it is told).
        asks: questions for the value; first: for the value before any change; whens: for the date.
    """

    name: str
    shape: str
    says: tuple[str, ...]
    moves: tuple[str, ...] = ()
    others: tuple[str, ...]
    hedges: tuple[str, ...]
    asks: tuple[str, ...]
    first: tuple[str, ...] = ()
    whens: tuple[str, ...] = ()
    chat: tuple[str, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Split:
    names: tuple[str, ...]
    others: tuple[str, ...]
    kinds: tuple[Kind, ...]
    openers: tuple[str, ...]
    small_talk: tuple[str, ...]
    doings: tuple[str, ...]
    answers: tuple[str, ...]


def _kind(name: str, shape: str, text: str) -> Kind:
    """Lines "field: variant | variant"."""
    fields: dict[str, tuple[str, ...]] = {}
    for line in text.strip().splitlines():
        field, _, variants = line.strip().partition(": ")
        fields[field] = tuple(variant.strip() for variant in variants.split(" | "))
    return Kind(name=name, shape=shape, **fields)


TRAIN = Split(
    names=("Ada", "Bruno", "Clara", "Dmitri", "Esther", "Felix", "Greta", "Hassan", "Irene", "Jonas", "Kira", "Luca"),
    others=("my brother Theo", "my neighbour Ruth", "my cousin Milan", "a friend of mine, Petra", "my colleague Sven"),
    openers=("Hi again!", "Hello, how are things?", "Good to talk to you.", "Hey, long time no see.", "Morning!"),
    small_talk=(
        "The weekend was {a} and I mostly spent it {d}.",
        "I have been {d} a lot lately, it is {a}.",
        "Honestly, {d} has become rather {a}.",
        "We talked about {d} over dinner, which was {a}.",
        "Do you enjoy {d} too?",
        "I read an article on {d} and found it {a}.",
    ),
    doings=(
        "baking bread",
        "walking along the river",
        "sorting old photographs",
        "watching films",
        "repairing the bicycle",
        "learning to juggle",
        "weeding the flower beds",
        "listening to the radio",
        "playing cards",
        "cleaning the attic",
    ),
    answers=(
        "That sounds lovely.",
        "I see, tell me more.",
        "Thanks for telling me.",
        "Interesting! How did it feel?",
        "Got it.",
    ),
    kinds=(
        _kind(
            "job",
            "state",
            """
            says: I work as a {v} | My job is being a {v} | These days I earn my living as a {v}
            moves: I changed careers and started as a {v} | I quit and took a position as a {v}
            others: {o} works as a {v} | {o} found a job as a {v}
            hedges: I was thinking about becoming a {v}, but decided against it | Maybe one day I will be a {v}
            asks: What {do} {p} do for a living? | What is {ps} job now? | Which profession {do} {p} work in currently?
            first: What was {ps} first job before any change? | What did {p} work as originally?
            whens: When did {p} start the job as a {v}?
            chat: Work has been exhausting this month | My boss keeps asking for overtime
            values: florist | bus driver | nurse | tax adviser | carpenter | pastry chef | librarian | welder""",
        ),
        _kind(
            "city",
            "state",
            """
            says: I live in {v} | My home is in {v} | I have a small flat in {v}
            moves: I moved to {v} | I packed everything and settled in {v}
            others: {o} lives in {v} | {o} moved to {v}
            hedges: I was tempted to move to {v}, but it came to nothing | I might move to {v} some day, who knows
            asks: Where {do} {p} live now? | Which city is {ps} home in? | In which town {do} {p} currently live?
            first: Where did {p} live first, before moving? | Which city did {p} originally live in?
            whens: When did {p} move to {v}?
            chat: The rent keeps rising everywhere | I love exploring the streets near home
            values: Lisbon | Graz | Turku | Leeds | Bologna | Utrecht | Nantes | Krakow | Valencia | Bergen""",
        ),
        _kind(
            "car",
            "state",
            """
            says: I drive a {v} | My car is a {v} | I get around in a {v}
            moves: I sold the old car and bought a {v} | I traded my car in for a {v}
            others: {o} drives a {v} | {o} bought a {v}
            hedges: I almost bought a {v} | I keep considering a {v}, perhaps next year
            asks: What car {do} {p} drive? | Which vehicle {do} {p} own these days?
            first: Which car did {p} drive before? | What car did {p} have originally?
            whens: When did {p} buy the {v}?
            chat: Parking is impossible downtown | The garage charged a fortune for the service
            values: red Volvo | white Fiat | green Skoda | blue Toyota | grey Peugeot | yellow Mini | silver Honda | black Seat""",
        ),
        _kind(
            "diet",
            "state",
            """
            says: I follow a {v} diet | My diet is strictly {v} | I eat {v} food only
            moves: I switched to a {v} diet | From this week on I eat {v}
            others: {o} follows a {v} diet | {o} went {v}
            hedges: I wish I had the will to go {v} | I was considering a {v} diet
            asks: What kind of diet {do} {p} follow? | How {do} {p} eat nowadays?
            first: Which diet did {p} follow before? | What was {ps} earlier diet?
            chat: Cooking takes so much time | The market has wonderful vegetables
            values: vegan | gluten-free | low-carb | Mediterranean | vegetarian | ketogenic | macrobiotic | pescatarian""",
        ),
        _kind(
            "pet",
            "event",
            """
            says: I adopted a {v} | We brought home a {v} from the shelter
            moves: I adopted a {v}
            others: {o} adopted a {v} | {o} has a {v}
            hedges: I might adopt a {v}, maybe | I would love a {v}, but the landlord said no
            asks: What animal did {p} adopt? | Which pet did {p} bring home?
            whens: When did {p} adopt the {v}?
            chat: Animals are such good company | The vet around the corner is very kind
            values: tabby kitten | three-legged beagle | grey parrot | pair of rabbits | retired greyhound | corn snake | tortoise""",
        ),
        _kind(
            "trips",
            "list",
            """
            says: I took a trip to {v} | I travelled to {v} | I spent a few days in {v} on holiday
            moves: I took a trip to {v}
            others: {o} travelled to {v} | {o} spent a holiday in {v}
            hedges: I was thinking about a trip to {v} | Maybe I will travel to {v} some time
            asks: Which places has {p} travelled to? | What are all the places {p} visited on trips?
            whens: When did {p} take the trip to {v}?
            chat: Packing light is an art | Airports make me nervous
            values: Iceland | Morocco | Crete | Scotland | Malta | Corsica | Estonia | Madeira | Slovenia""",
        ),
        _kind(
            "budget",
            "state",
            """
            says: My monthly grocery budget is {v} euros | I spend {v} euros a month on groceries
            moves: I raised the grocery budget to {v} euros | From now on groceries may cost {v} euros a month
            others: {o} spends {v} euros a month on groceries
            hedges: I was considering {v} euros for groceries, but no
            asks: How much {do} {p} spend on groceries each month? | How many euros is {ps} grocery budget?
            first: How much did {p} spend on groceries before? | How many euros was {ps} grocery budget originally?
            chat: Everything is getting more expensive | I keep all receipts in a shoe box
            values: 240 | 310 | 275 | 420 | 365 | 190 | 515 | 455""",
        ),
        _kind(
            "doctor",
            "state",
            """
            says: My dentist is Dr. {v} | I go to Dr. {v} for my teeth
            moves: I changed dentists and see Dr. {v} | My dentist retired, so I go to Dr. {v}
            others: {o} sees Dr. {v} for dental work
            hedges: Somebody recommended Dr. {v} as a dentist, but I am not sure
            asks: Who is {ps} dentist? | Who looks after {ps} teeth?
            first: Who was {ps} dentist before? | Who did {p} see as a dentist originally?
            chat: I hate the waiting room at the dentist | Flossing is a habit I never learned
            values: Okafor | Lindqvist | Marchetti | Takahashi | Brennan | Novak | Delacroix""",
        ),
        _kind(
            "instrument",
            "event",
            """
            says: I started {v} lessons | I signed up for {v} classes
            moves: I started {v} lessons
            others: {o} takes {v} lessons | {o} plays the {v}
            hedges: I dreamt of learning the {v} | Perhaps I should learn the {v}
            asks: What instrument did {p} begin to learn? | Which instrument {is} {p} taking lessons in?
            whens: When did {p} begin {v} lessons?
            chat: Music makes the evenings shorter | The neighbours complain about noise
            values: cello | trumpet | accordion | harp | banjo | clarinet | oboe | ukulele""",
        ),
        _kind(
            "courses",
            "list",
            """
            says: I finished a course in {v} | I passed the exam in {v}
            moves: I finished a course in {v}
            others: {o} took a course in {v}
            hedges: I was considering a course in {v}
            asks: Which courses has {p} completed? | What are all the subjects {p} has finished courses in?
            whens: When did {p} finish the course in {v}?
            chat: Studying in the evening is hard | The lecture hall was freezing
            values: statistics | ceramics | Portuguese | first aid | astronomy | bookkeeping | beekeeping | calligraphy""",
        ),
        _kind(
            "siblings",
            "state",
            """
            says: My sister's name is {v} | I have a sister called {v}
            others: {o} has a sister called {v}
            hedges: If I had a daughter I would name her {v}
            asks: What is the name of {ps} sister? | Who is {ps} sister?
            chat: Family gatherings are always loud | My parents called twice today
            values: Noemi | Saskia | Valerie | Rosalind | Tamara | Henrike | Ottilie""",
        ),
        _kind(
            "run",
            "event",
            """
            says: I ran a half marathon in {v} minutes | I completed a half marathon, my time was {v} minutes
            moves: I ran a half marathon in {v} minutes
            others: {o} ran a half marathon in {v} minutes
            hedges: I wish I could run it in {v} minutes
            asks: How many minutes did {p} need for the half marathon? | How long did {ps} half marathon take?
            whens: When did {p} run the half marathon?
            chat: My running shoes are worn out | Training in the rain builds character
            values: 112 | 127 | 98 | 134 | 141 | 105""",
        ),
    ),
)

DEV = Split(
    names=("Mira", "Niklas", "Orla", "Pavel", "Quentin", "Rosa"),
    others=("my uncle Egon", "my flatmate Bea", "an old classmate, Yannick", "my aunt Dorothea"),
    openers=("Hey there.", "Nice to hear from you.", "So, what is new?"),
    small_talk=(
        "It rained all day, so I ended up {d}; rather {a}.",
        "My evenings go into {d}.",
        "Have you ever tried {d}?",
        "Somebody told me that {d} is {a}.",
    ),
    doings=("knitting socks", "solving crosswords", "painting fences", "birdwatching", "tidying the cellar", "rowing"),
    answers=("Oh, how come?", "Thank you for sharing.", "That makes sense.", "Noted."),
    kinds=(
        _kind(
            "team",
            "state",
            """
            says: I support {v} in handball | My handball club is {v}
            moves: I changed sides and cheer for {v} | I became a member of {v}
            others: {o} supports {v} | {o} cheers for {v}
            hedges: I was almost converted to {v}
            asks: Which handball club {do} {p} support? | Which handball team is {ps} favourite now?
            first: Which handball club did {p} support before?
            chat: The match last night was dull | Tickets sell out in minutes
            values: Flensburg | Magdeburg | Veszprem | Aalborg | Kielce | Zagreb""",
        ),
        _kind(
            "phone",
            "state",
            """
            says: My phone is a {v} | I use a {v} for calls
            moves: My old phone broke and I replaced it with a {v} | I upgraded my phone to a {v}
            others: {o} has a {v} phone
            hedges: I was considering a {v}, too expensive though
            asks: Which phone {do} {p} use? | What is {ps} current phone?
            first: Which phone did {p} use originally?
            whens: When did {p} get the {v}?
            chat: Batteries never last | Group chats never stop
            values: Pixel | Nokia | Fairphone | Motorola | Xperia | Galaxy""",
        ),
        _kind(
            "exhibitions",
            "list",
            """
            says: I went to an exhibition about {v} | I saw a show at the museum about {v}
            moves: I went to an exhibition about {v}
            others: {o} went to an exhibition about {v}
            hedges: I might go to an exhibition about {v}
            asks: Which exhibitions has {p} been to? | What are all the exhibitions {p} saw?
            whens: When did {p} go to the exhibition about {v}?
            chat: Museums are quiet on Tuesdays | The museum shop is a trap
            values: dinosaurs | Vermeer | lighthouses | robots | textiles | meteorites""",
        ),
        _kind(
            "injury",
            "event",
            """
            says: I hurt my {v} and need to rest | I injured my {v} while exercising
            moves: I hurt my {v}
            others: {o} hurt a {v} | {o} injured the {v}
            hedges: I almost hurt my {v}
            asks: What part of the body did {p} injure? | What did {p} hurt?
            whens: When did {p} injure the {v}?
            chat: Physiotherapy is dull | I should stretch more
            values: left knee | right shoulder | ankle | wrist | lower back""",
        ),
    ),
)

TEST = Split(
    names=("Tove", "Ulrich", "Vera", "Wendel", "Xenia", "Yusuf", "Zelda", "Anselm", "Birgit", "Caspar"),
    others=(
        "my stepfather Ivo",
        "the man next door, Gernot",
        "my goddaughter Lotte",
        "a schoolfriend called Malik",
        "my tutor Selma",
    ),
    openers=("Hi!", "Hello once more.", "Glad you wrote.", "Good evening.", "Oh, there you are."),
    small_talk=(
        "Today went by {d}, quite {a}.",
        "Lately {d} keeps me busy.",
        "I cannot say that {d} is {a}, yet I go on.",
        "My week: mostly {d}.",
        "What do you think about {d}?",
        "There was a programme about {d}, surprisingly {a}.",
    ),
    doings=(
        "making jam",
        "restoring furniture",
        "hiking in the hills",
        "drawing maps",
        "fishing",
        "singing in the choir",
        "pruning trees",
        "skating",
        "writing letters",
        "mending clothes",
    ),
    answers=(
        "Wonderful.",
        "Really? Go on.",
        "I appreciate the details.",
        "Understood.",
        "How nice of you to mention it.",
    ),
    kinds=(
        _kind(
            "school",
            "state",
            """
            says: I teach {v} at the grammar school | At school I give lessons in {v}
            moves: The headmistress reassigned me, I teach {v} from this term on | I swapped subjects and give lessons in {v}
            others: {o} teaches {v} | {o} gives lessons in {v}
            hedges: I imagine teaching {v} one day
            asks: Which subject {do} {p} teach? | What {do} {p} give lessons in at present?
            first: Which subject did {p} teach originally? | What did {p} teach before?
            whens: When did {p} begin to teach {v}?
            chat: The pupils were restless | Marking homework takes all Sunday
            values: chemistry | geography | Latin | physics | history | drama | economics | biology""",
        ),
        _kind(
            "bank",
            "state",
            """
            says: I keep my savings at {v} | My savings account is with {v}
            moves: I closed the account and took my savings to {v} | I transferred all my savings to {v}
            others: {o} keeps savings at {v} | {o} has an account with {v}
            hedges: I was tempted by the interest at {v}
            asks: Which bank {do} {p} keep savings at? | Where {is} {ps} savings account now?
            first: Which bank held {ps} savings originally? | Where did {p} keep savings before?
            whens: When did {p} transfer the savings to {v}?
            chat: Interest rates are a joke | I finally sorted the tax papers
            values: Nordbank | Alpina | Sparhaus | Meridian | Concordia | Triodos | Volkskasse""",
        ),
        _kind(
            "roommate",
            "state",
            """
            says: I share the apartment with {v} | My roommate is {v}
            moves: My roommate left, and {v} took over the room | I share the apartment with a new person, {v}
            others: {o} shares an apartment with {v}
            hedges: I was considering {v} as a roommate
            asks: Who {do} {p} share the apartment with? | Who is {ps} roommate at the moment?
            first: Who was {ps} previous roommate? | Who did {p} share the apartment with at first?
            whens: When did {v} become {ps} roommate?
            chat: The kitchen is never clean | We need a new shower curtain
            values: Fabio | Linnea | Oksana | Desmond | Ignacio | Merle | Rashid | Solveig""",
        ),
        _kind(
            "coffee",
            "state",
            """
            says: I always order a {v} at the bar | My usual drink at the bar is a {v}
            moves: I gave up the old habit and order a {v} | My usual drink became a {v}
            others: {o} always orders a {v}
            hedges: I might try a {v}
            asks: What {do} {p} usually order at the bar? | What is {ps} usual drink nowadays?
            first: What did {p} usually order before?
            chat: The bar on the corner was full again | They raised prices by half
            values: flat white | espresso tonic | chai latte | lemon soda | ginger tea | macchiato | iced matcha""",
        ),
        _kind(
            "books",
            "list",
            """
            says: I finished reading {v} | I read {v} to the last page
            moves: I finished reading {v}
            others: {o} finished reading {v} | {o} read {v}
            hedges: I was thinking about reading {v} | Perhaps I will read {v}
            asks: Which books has {p} finished reading? | What are all the novels {p} has read?
            whens: When did {p} finish reading {v}?
            chat: My shelf is about to collapse | I read far too late at night
            values: Middlemarch | Ulysses | Dracula | Persuasion | Walden | Nostromo | Ivanhoe | Candide""",
        ),
        _kind(
            "donation",
            "event",
            """
            says: I donated {v} dollars to the animal shelter | I gave {v} dollars to the animal shelter
            moves: I donated {v} dollars to the animal shelter
            others: {o} donated {v} dollars to a shelter
            hedges: I was considering to give {v} dollars
            asks: How many dollars did {p} donate to the animal shelter? | How much money did {p} give the shelter?
            whens: When did {p} donate to the animal shelter?
            chat: Charity letters fill my mailbox | The shelter needs volunteers
            values: 85 | 120 | 45 | 300 | 60 | 175""",
        ),
        _kind(
            "appliance",
            "event",
            """
            says: I ordered a new {v} online | I bought a new {v} for the household
            moves: I ordered a new {v} online
            others: {o} ordered a {v} | {o} paid for a {v}
            hedges: I almost ordered a {v} | I wish I could afford a {v}
            asks: What appliance did {p} purchase? | What did {p} buy for the household?
            whens: When did {p} order the {v}?
            chat: Deliveries always come when I am out | The kitchen needs repainting
            values: dishwasher | waffle iron | steam oven | juicer | vacuum robot | rice cooker""",
        ),
        _kind(
            "concerts",
            "list",
            """
            says: I went to a concert by {v} | I heard {v} live on stage
            moves: I went to a concert by {v}
            others: {o} went to a concert by {v} | {o} heard {v} live
            hedges: I might see {v} live | I was tempted to get tickets for {v}
            asks: Which bands has {p} heard live? | What are all the concerts {p} went to?
            whens: When did {p} go to the concert by {v}?
            chat: My ears still ring | Festivals are too crowded
            values: Kraftwerk | Sigur | Calexico | Portishead | Wilco | Goldfrapp | Interpol""",
        ),
    ),
)

SPLITS = {"train": TRAIN, "dev": DEV, "test": TEST}
MOODS = {
    "train": ("pleasant", "tiring", "dull", "fun"),
    "dev": ("odd", "calming"),
    "test": ("cheerful", "slow", "demanding", "soothing"),
}
