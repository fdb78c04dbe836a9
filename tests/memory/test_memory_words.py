"""Words and stems are SQLite's, so that what a question's terms weigh here is what the index finds there."""

from __future__ import annotations

import sqlite3

import pytest

from overwinter.memory.words import stem, stems, words

# One line for each rule of the stemmer, with words that only just do not fit it.
VOCABULARY = """
caresses ponies ties caress cats ies s is gas feed agreed plastered bled motoring sing conflated troubled sized hopping tanned
falling hissing fizzed failing filing happy sky relational conditional rational valenci hesitanci digitizer conformabli
radicalli differentli vileli analogousli vietnamization predication operator feudalism decisiveness hopefulness callousness
formaliti sensitiviti sensibiliti analogi triplicate formative formalize electriciti electrical hopeful goodness revival
allowance inference airliner gyroscopic adjustable defensible irritant replacement adjustment dependent adoption homologou
communism activate angulariti homologous effective bowdlerize probate rate cease controll roll generalizations oscillators
yellow syzygy toy enjoyment queueing 2023 v2 ab a
"""


def _sqlite_stems(texts: list[str]) -> list[list[str]]:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE texts USING fts5(text, tokenize = 'porter unicode61')")
    database.execute("CREATE VIRTUAL TABLE found USING fts5vocab(texts, 'instance')")
    database.executemany("INSERT INTO texts(rowid, text) VALUES (?, ?)", enumerate(texts))
    found = [[] for _ in texts]
    for term, row, _ in sorted(database.execute("SELECT term, doc, offset FROM found"), key=lambda hit: hit[2]):
        found[row].append(term)
    return found


def test_stems_are_those_of_sqlite() -> None:
    vocabulary = VOCABULARY.split()
    expected = _sqlite_stems(vocabulary)
    assert [[stem(word)] for word in vocabulary] == expected


@pytest.mark.parametrize(
    "text",
    [
        "It's snake_case, isn't it? 3.5 °C — café Žižkov",
        "naïve résumé coöperation Ångström",
        "path/to/file.py#L12 user@example.org",
        "日本語 Привет мир",
    ],
)
def test_texts_are_cut_as_sqlite_cuts_them(text: str) -> None:
    assert stems(text) == _sqlite_stems([text])[0]


def test_words_keep_their_endings() -> None:
    assert words("The Ponies' greenhouses") == ["the", "ponies", "greenhouses"]
