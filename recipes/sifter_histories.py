"""Histories to train and judge the sifter on: people who talk for months, passages of old books, and LoCoMo (judging only).

histories("train", count=150, seed=1)    people of one split; the splits share no name, wording, value or kind of fact
book_histories(folder, "train", …)       passages of public-domain books in the order of the book, asked with a gap
locomo(path)                             ten real dialogues; CC BY-NC 4.0, so nothing is ever trained or chosen on them
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from overwinter.memory.sift.question import names_in
from overwinter.memory.sift.session import Session, Turn
from overwinter.memory.sift.words import GAP, Haystack, terms
from sifter_facts import MOODS, SPLITS, Kind, Split

DAY_US = 86_400_000_000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question about a history.

    Attributes:
        gold: positions of sessions that say the answer. For a fact that changed, `related` has those too that say an older or a
            newer value, as LongMemEval labels them.
        kind: "current", "first", "when", "list", "cloze", or LoCoMo's category.
    """

    text: str
    answers: tuple[str, ...]
    gold: frozenset[int]
    related: frozenset[int]
    kind: str
    turns: frozenset[tuple[int, int]] = frozenset()
    """(session, turn) of the evidence, where it is known."""


@dataclass(kw_only=True)
class History:
    name: str
    sessions: list[Session]
    questions: list[Asked] = field(default_factory=list)


# People


@dataclass
class _Fact:
    """Values of one kind for one person: (session, value), in order of time."""

    kind: Kind
    person: int
    told: list[tuple[int, str]]
    again: list[tuple[int, str]] = field(default_factory=list)


def histories(split: str, count: int, seed: int, prose: Sequence[str] = ()) -> list[History]:
    """Args:
    prose: sentences that people say in between, beside the small talk of the split; real prose makes words less telling.
    """
    return [_History(split, random.Random(f"{split}/{seed}/{n}"), prose).make(n) for n in range(count)]


class _History:
    def __init__(self, split: str, rng: random.Random, prose: Sequence[str]) -> None:
        self.words: Split = SPLITS[split]
        self.split, self.rng, self.prose = split, rng, prose
        self.changes = rng.random() < 0.5  # in the other half nothing ever changes, and new is no better than old
        self.talkative = rng.choice((0.0, 0.5, 0.9)) if prose else 0.0
        self.named = rng.random() < 0.6
        self.people = rng.sample(self.words.names, 2)
        self.count = rng.randint(18, 32)
        self.with_claims = rng.random() < 0.4
        self.lines: list[list[Turn]] = [[] for _ in range(self.count)]

    def make(self, number: int) -> History:
        facts = [fact for person in (0, 1) for fact in self._facts(person)]
        for fact in facts:
            self._tell(fact)
            self._distract(fact)
        start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=self.rng.randint(0, 700))
        sessions = []
        for place in range(self.count):
            start += timedelta(days=self.rng.randint(2, 12), hours=self.rng.randint(0, 8))
            sessions.append(
                Session(key=str(place), turns=tuple(self._turns(place)), happened_us=int(start.timestamp()) * 1_000_000)
            )
        history = History(name=f"{self.split}-{number}", sessions=sessions)
        asked = [question for fact in facts for question in self._asks(fact, sessions)]
        history.questions = self.rng.sample(asked, min(8, len(asked)))
        return history

    def _facts(self, person: int) -> Iterator[_Fact]:
        if person == 1 and not self.named:
            return  # an assistant has no life of its own
        kinds = self.words.kinds
        for kind in self.rng.sample(kinds, min(len(kinds), self.rng.randint(4, 7))):
            times = {"state": self.rng.choice((1, 1, 2, 2, 3)), "event": 1, "list": self.rng.randint(2, 4)}[kind.shape]
            times = times if kind.moves and (self.changes or kind.shape != "state") else 1
            places = sorted(self.rng.sample(range(self.count), times))
            values = self.rng.sample(kind.values, times)
            yield _Fact(kind, person, list(zip(places, values, strict=True)))

    def _tell(self, fact: _Fact) -> None:
        last = len(fact.told) - 1
        for index, (place, value) in enumerate(fact.told):
            forms = fact.kind.says if index == 0 else fact.kind.moves
            holds = fact.kind.shape != "state" or index == last
            self._say(place, fact.person, self.rng.choice(forms).format(v=value), holds)
            until = fact.told[index + 1][0] if index < last and fact.kind.shape == "state" else self.count
            if fact.kind.shape == "state" and until - place > 2 and self.rng.random() < 0.4:
                later = self.rng.randrange(place + 1, until)
                self._say(later, fact.person, self.rng.choice(fact.kind.says).format(v=value), holds)
                fact.again.append((later, value))

    def _distract(self, fact: _Fact) -> None:
        """The same matter where it is no answer: somebody else's, a plan that came to nothing, or talk without the fact."""
        taken = {value for _, value in fact.told}
        free = [value for value in fact.kind.values if value not in taken]
        for forms, chance in ((fact.kind.others, 0.7), (fact.kind.others, 0.3), (fact.kind.hedges, 0.5)):
            if self.rng.random() < chance:
                line = self.rng.choice(forms).format(v=self.rng.choice(free), o=self.rng.choice(self.words.others))
                self._say(self.rng.randrange(self.count), fact.person, line[0].upper() + line[1:], None)
        for _ in range(self.rng.randint(0, 3)):
            self._say(
                self.rng.randrange(self.count), self.rng.choice((0, fact.person)), self.rng.choice(fact.kind.chat), None
            )

    def _say(self, place: int, person: int, line: str, holds: bool | None) -> None:
        known = holds if self.with_claims and self.rng.random() < 0.8 else None
        said = [self._turn(person, line + ".", known)]
        if self.rng.random() < 0.15:
            said = [replace(said[0], text=f"{said[0].text} And you?")]
        self.lines[place] += said

    def _turn(self, person: int, text: str, valid: bool | None = None) -> Turn:
        if self.named:
            return Turn("user", text, self.people[person], valid)
        return Turn(("user", "assistant")[person], text, "", valid)

    def _turns(self, place: int) -> list[Turn]:
        """The session's facts among small talk; a fact may share its turn with some."""
        turns = list(self.lines[place])
        self.rng.shuffle(turns)
        turns = [
            replace(turn, text=f"{self._small_talk()} {turn.text}") if self.rng.random() < 0.4 else turn
            for turn in turns
        ]
        for _ in range(self.rng.randint(3, 16 if self.talkative else 9)):
            person = self.rng.randint(0, 1)
            text = self._small_talk() if self.named or person == 0 else self.rng.choice(self.words.answers)
            turns.insert(self.rng.randint(0, len(turns)), self._turn(person, text))
        return [self._turn(self.rng.randint(0, 1), self.rng.choice(self.words.openers)), *turns]

    def _small_talk(self) -> str:
        if self.rng.random() < self.talkative:
            return " ".join(self.rng.choice(self.prose) for _ in range(self.rng.randint(1, 2)))
        form = self.rng.choice(self.words.small_talk)
        return form.format(a=self.rng.choice(MOODS[self.split]), d=self.rng.choice(self.words.doings))

    def _asks(self, fact: _Fact, sessions: list[Session]) -> Iterator[Asked]:
        told = [*fact.told, *fact.again]
        where = frozenset(place for place, _ in told)
        values = [value for _, value in fact.told]

        def says(value: str) -> frozenset[int]:
            return frozenset(place for place, said in told if said == value)

        if fact.kind.shape == "list":
            yield Asked(
                text=self._form(fact, fact.kind.asks),
                answers=(", ".join(values),),
                gold=where,
                related=where,
                kind="list",
            )
        else:
            text = self._form(fact, fact.kind.asks)
            yield Asked(text=text, answers=(values[-1],), gold=says(values[-1]), related=where, kind="current")
        if fact.kind.first and len(values) > 1:
            text = self._form(fact, fact.kind.first)
            yield Asked(text=text, answers=(values[0],), gold=says(values[0]), related=where, kind="first")
        if fact.kind.whens and (fact.kind.shape != "state" or len(values) > 1):
            place, value = fact.told[-1]
            moment = datetime.fromtimestamp((sessions[place].happened_us or 0) / 1e6, UTC)
            text = self._form(fact, fact.kind.whens, value)
            gold = frozenset({place})
            answer = f"{moment.day} {moment:%B} {moment.year}"
            yield Asked(text=text, answers=(answer,), gold=gold, related=says(value), kind="when")

    def _form(self, fact: _Fact, forms: tuple[str, ...], value: str = "") -> str:
        name = self.people[fact.person]
        words = (
            {"p": name, "ps": f"{name}'s", "do": "does", "is": "is"}
            if self.named
            else {"p": "I", "ps": "my", "do": "do", "is": "am"}
        )
        text = self.rng.choice(forms)
        if not self.named:
            text = text.replace("has {p}", "have {p}").replace("{p} has", "{p} have").replace("{is} {ps}", "is {ps}")
        return text.format(v=value, **words)


# Books


SHELVES = {
    "train": ("childrens_classics", None),
    "dev": ("gutenberg_classics", ("Jack_London", "Jane_Austen")),
    "test": ("gutenberg_classics", ("Mark_Twain", "Henry_James", "Joseph_Conrad", "Elizabeth_Gaskell", "George_Eliot")),
}
"""Which books each split may read: no author is in two of them. All are in the public domain (NOTE.txt of the folders)."""


def prose(corpora: Path, split: str, count: int = 4000) -> list[str]:
    """Sentences of 40 to 200 characters from the split's books; none without the corpora."""
    rng = random.Random(f"prose/{split}")
    found: list[str] = []
    for book in _books(corpora, split):
        text = " ".join(
            part for part in book.read_text(encoding="utf-8").split("\n\n") if not part.startswith(("#", "-"))
        )
        sentences = [s.strip() for s in re.split(r"(?<=[.!?])\s+", text.replace("_", "").replace("\n", " "))]
        sentences = [s for s in sentences if 40 < len(s) < 200]
        found += rng.sample(sentences, min(len(sentences), 400))
    return rng.sample(found, min(count, len(found)))


def _books(corpora: Path, split: str) -> list[Path]:
    folder, authors = SHELVES[split]
    books = sorted((corpora / folder).glob("*_*.txt"))
    return [book for book in books if authors is None or book.name.startswith(authors)]


def book_histories(corpora: Path, split: str, count: int, seed: int, passages: int = 24) -> list[History]:
    """Each: consecutive-in-order passages drawn from one book as sessions without dates, questions with a gap for a name or number."""
    books = _books(corpora, split)
    rng = random.Random(f"books/{split}/{seed}")
    found: list[History] = []
    while len(found) < count:
        book = rng.choice(books)
        history = _book_history(book, rng, passages, len(found))
        if len(history.questions) >= 3:
            found.append(history)
    return found


def _book_history(book: Path, rng: random.Random, passages: int, number: int) -> History:
    paragraphs = [" ".join(part.split()) for part in book.read_text(encoding="utf-8").split("\n\n")]
    paragraphs = [
        part.replace("_", "") for part in paragraphs if 80 < len(part) < 900 and not part.startswith(("#", "-"))
    ]
    starts = sorted(rng.sample(range(max(1, len(paragraphs) - 5)), min(passages, max(1, len(paragraphs) // 8))))
    sessions = [
        Session(key=str(n), turns=tuple(Turn("document", text) for text in paragraphs[start : start + 4]))
        for n, start in enumerate(starts)
    ]
    asked = [question for place in range(len(sessions)) if (question := _gap(sessions, place, rng))]
    return History(
        name=f"book-{number}-{book.stem}", sessions=sessions, questions=rng.sample(asked, min(8, len(asked)))
    )


def _gap(sessions: list[Session], place: int, rng: random.Random) -> Asked | None:
    """A sentence of the passage with a name or number taken out and two thirds of its other words lost."""
    sentences = [
        s for turn in sessions[place].turns for s in re.split(r"(?<=[.!?;])\s+", turn.text) if 9 < len(s.split()) < 40
    ]
    rng.shuffle(sentences)
    for sentence in sentences:
        inside = sentence.split(" ", 1)[1]
        hidden = [m[0] for m in re.finditer(r"\b(?:[A-Z][a-z]+(?: [A-Z][a-z]+)*|\d[\d,]*)\b", inside)]
        hidden = [word for word in hidden if names_in(word) or word[0].isdigit()]
        if not hidden:
            continue
        answer = rng.choice(hidden)
        left, _, right = sentence.partition(f" {answer}")
        kept = [word for word in f"{left} {GAP}{right}".split() if GAP in word or rng.random() > 0.65]
        if len(terms(" ".join(kept))) >= 3:
            gold = frozenset({place})
            return Asked(text=" ".join(kept), answers=(answer,), gold=gold, related=gold, kind="cloze")
    return None


# Questions that people asked of encyclopaedias


def musique(path: Path) -> list[History]:
    """A hundred questions of MuSiQue (CC BY 4.0) with twenty paragraphs each, of which two to four hold the answer together."""
    found = []
    for number, entry in enumerate(json.loads(path.read_text(encoding="utf-8"))):
        parts = entry["paragraphs"]
        gold = frozenset(n for n, part in enumerate(parts) if part["is_supporting"])
        sessions = [
            Session(key=str(n), turns=(Turn("document", f"{part['title']}. {part['paragraph_text']}"),))
            for n, part in enumerate(parts)
        ]
        asked = Asked(text=entry["question"], answers=(entry["answer"],), gold=gold, related=gold, kind="multi-hop")
        found.append(History(name=f"musique-{number}", sessions=sessions, questions=[asked]))
    return found


def hotpot(path: Path) -> list[History]:
    """A hundred questions of HotpotQA (CC BY-SA 4.0; judging only) with ten paragraphs each."""
    found = []
    for number, entry in enumerate(json.loads(path.read_text(encoding="utf-8"))):
        titles = {title for title, _ in entry["supporting_facts"]}
        gold = frozenset(n for n, (title, _) in enumerate(entry["context"]) if title in titles)
        sessions = [
            Session(key=str(n), turns=tuple(Turn("document", text) for text in (f"{title}.", *sentences)))
            for n, (title, sentences) in enumerate(entry["context"])
        ]
        asked = Asked(text=entry["question"], answers=(entry["answer"],), gold=gold, related=gold, kind="multi-hop")
        found.append(History(name=f"hotpot-{number}", sessions=sessions, questions=[asked]))
    return found


# LoCoMo


def locomo(path: Path) -> list[History]:
    """Categories 1 to 4; the sessions are the candidates, and the sessions of the evidence are gold."""
    return [_dialogue(number, entry) for number, entry in enumerate(json.loads(path.read_text(encoding="utf-8")))]


def _dialogue(number: int, entry: dict) -> History:
    talk = entry["conversation"]
    names = sorted((k for k in talk if re.fullmatch(r"session_\d+", k) and talk[k]), key=lambda k: int(k[8:]))
    place = {name.removeprefix("session_"): n for n, name in enumerate(names)}
    sessions = [
        Session(
            key=name,
            happened_us=_moment(talk[f"{name}_date_time"]),
            turns=tuple(Turn("user", _said(turn), turn["speaker"]) for turn in talk[name]),
        )
        for name in names
    ]
    questions = []
    for qa in entry["qa"]:
        cited = {(m[1], m[2]) for item in qa.get("evidence", ()) for m in re.finditer(r"D(\d+):(\d+)", str(item))}
        gold = frozenset(place[session] for session, _ in cited if session in place)
        if qa["category"] in (1, 2, 3, 4) and gold:
            answer = str(qa["answer"]).split(";")[0] if qa["category"] == 3 else str(qa["answer"])
            parts = tuple(part.strip() for part in answer.split(",")) if qa["category"] == 1 else (answer,)
            kind = {1: "multi-hop", 2: "temporal", 3: "open", 4: "single-hop"}[qa["category"]]
            turns = frozenset((place[session], int(turn) - 1) for session, turn in cited if session in place)
            questions.append(Asked(text=qa["question"], answers=parts, gold=gold, related=gold, kind=kind, turns=turns))
    return History(name=f"locomo-{number}", sessions=sessions, questions=questions)


def _said(turn: dict) -> str:
    caption = turn.get("blip_caption")
    return f"{turn['text']} [shares a picture: {caption}]" if caption else turn["text"]


def _moment(text: str) -> int:
    return int(datetime.strptime(text, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC).timestamp()) * 1_000_000


# Turn by turn


def as_units(history: History, haystack: Haystack, asked: Asked, count: int = 30) -> tuple[list[Session], Asked] | None:
    """The question over single turns: the `count` best of the stage before, each with its neighbours, in order of time.

    Gold are the turns named, else the best turn of each gold session. None where none of them is among the candidates.
    """
    scores = haystack.turn_scores(terms(asked.text.replace(GAP, " ")))
    ranked = sorted(scores, key=lambda place: (-scores[place], place))[:count]
    places = sorted(ranked)

    def named(sessions: frozenset[int]) -> frozenset[int]:
        best = [max((p for p in scores if p[0] == n), key=lambda p: scores[p], default=None) for n in sessions]
        wanted = asked.turns or frozenset(best)
        return frozenset(n for n, place in enumerate(places) if place in wanted)

    gold = named(asked.gold)
    if not gold:
        return None
    return [_unit(history, place) for place in places], replace(asked, gold=gold, related=named(asked.related))


def _unit(history: History, place: tuple[int, int]) -> Session:
    session, turn = history.sessions[place[0]], place[1]
    return Session(
        key=f"{place[0]}:{turn}",
        turns=(session.turns[turn],),
        happened_us=session.happened_us,
        before=session.turns[max(0, turn - 1) : turn],
        after=session.turns[turn + 1 : turn + 2],
    )
