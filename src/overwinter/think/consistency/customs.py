"""Claims of the form never and always: what a person never does, what nobody does in a place; and deeds against them.

The rule names a verb and a thing; a deed counts against it if the same person (or anybody in the same place) does that to that. "Had
never" is no rule: what had never happened may happen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from overwinter.think.consistency.claim import Claim
from overwinter.think.consistency.names import Name
from overwinter.think.consistency.people import PAST
from overwinter.think.consistency.seen import Seen, thing_key
from overwinter.think.consistency.wordlist import listed

_OBJECT = (
    r"(?P<o>(?:the\s+|an?\s+|any\s+)?(?:[a-z-]+\s+)?[a-z-]{3,})(?=\s*(?:[,.;:]|$)|\s+(?:in|on|at"
    r"|again|before|after|that|with|without|to|for|when|while|by|from|under|over|and|until|so|ever)\b)"
)
_NEVER = re.compile(
    rf"\b(?:never(?:\s+(?:again|once))?\s+(?P<past>{PAST})"
    rf"|(?:would|will|did|does|do)\s+never\s+(?P<b1>[a-z]+)"
    rf"|(?:refus(?:ed|es)|made\s+it\s+a\s+rule\s+never|made\s+a\s+point\s+(?:of\s+)?never"
    rf"|had\s+sworn\s+never|swore\s+never|vowed\s+never)\s+to\s+(?P<b2>[a-z]+))\s+{_OBJECT}",
    re.I,
)
_NEVER_BEFORE = re.compile(
    r"\b(?:never|under\s+no\s+circumstances|on\s+no\s+account|at\s+no\s+time)\s+(?:would|will|did|does)\s+(?:$)", re.I
)
_BASE = re.compile(rf"^\s+(?P<b>[a-z]+)\s+{_OBJECT}", re.I)
_FORBIDDEN = re.compile(
    rf"\b(?:forbidden|forbade|forbids|prohibited|unlawful|illegal|not\s+allowed|allowed"
    rf"|permitted|might|may)\b(?P<gap>[^.;]{{0,40}}?)\s+(?:to\s+)?(?P<b>[a-z]+)\s+{_OBJECT}",
    re.I,
)
_NOBODY = re.compile(
    rf"\b(?:nobody|no\s+one|no\s+man|no\s+woman)\b[^.;,]{{0,40}}?\s(?:ever\s+)?(?P<past>{PAST})\s+{_OBJECT}", re.I
)
_NOBODY_MAY = re.compile(
    r"\b(?:nobody|no\s+one|no\s+man|forbidden|forbade|forbids|prohibited|unlawful|illegal)\b", re.I
)
_EXCUSE = re.compile(
    r"\b(?:no\s+longer|gave\s+up|given\s+up|for\s+the\s+first\s+time|until"
    r"|at\s+last|till|except|save\s+when|unless|only\s+once|as\s+usual\s+not|had)\b",
    re.I,
)
_DID = re.compile(rf"\b(?P<past>{PAST})\s+{_OBJECT}", re.I)
_EMPTY = frozenset(
    listed(
        "it him her them that this anything something nothing one more much way time day word once again away well home "
        "back"
    )
)
_LEMMAS = dict(
    pair.split(":")
    for pair in listed(
        "ate:eat eaten:eat drank:drink drunk:drink rode:ride ridden:ride wore:wear worn:wear sang:sing sung:sing "
        "told:tell wrote:write written:write lit:light took:take taken:take gave:give spoke:speak went:go came:come "
        "saw:see ran:run swam:swim drove:drive flew:fly kept:keep held:hold left:leave lost:lose made:make met:meet "
        "paid:pay sold:sell bought:buy sent:send shot:shoot slept:sleep stole:steal swore:swear taught:teach "
        "threw:throw broke:break brought:bring built:build caught:catch chose:choose drew:draw fought:fight felt:feel "
        "found:find forgot:forget got:get grew:grow heard:hear knew:know led:lead lent:lend rang:ring rose:rise "
        "said:say sat:sit shook:shake stood:stand struck:strike thought:think tore:tear understood:understand won:win "
        "dug:dig"
    )
)


def lemma(verb: str) -> str:
    """The stem of a verb, the same for its past and its base form."""
    word = verb.lower()
    word = _LEMMAS.get(word, word)
    if word.endswith("ied"):
        return word[:-3] + "y"
    if word.endswith("ed") and len(word) > 4:
        word = word[:-2]
        return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "sl" else word.rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


def _deed(verb: str, thing: str) -> str:
    """Verb and object as one key, "" for objects that say nothing."""
    head = thing_key(re.sub(r"^(?:the|an?|any)\s+", "", thing.strip(), flags=re.I))
    if not head or head.split()[-1] in _EMPTY or head.split()[0] in _EMPTY:
        return ""
    return f"{lemma(verb)} {head}"


def rules(seen: Seen) -> Iterator[Claim]:
    """What a person never does, and what persons do."""
    if seen.person is None:
        return
    person = seen.persons[0]
    match = _never(seen, person)
    if match is not None:
        deed, words = match
        if deed and not re.search(r"\bhad\s+never\b|\bnever\s+(?:had|been)\b", seen.words, re.I):
            yield seen.claim_of("rule", person, deed, words, attribute=deed, role="never")
        return
    if not seen.sentence.asserted or _EXCUSE.search(seen.words):
        return
    for deed, words in _deeds(seen.words[person.last :]):
        yield seen.claim_of("rule", person, deed, words, attribute=deed, role="deed")


def _never(seen: Seen, person: Name) -> tuple[str, str] | None:
    if "?" in seen.words or not re.search(
        r"\b(?:never|refus\w+|no\s+circumstances|no\s+account|at\s+no\s+time)\b", seen.words, re.I
    ):
        return None
    found = _NEVER.search(seen.words, person.last) if person.last < len(seen.words) else None
    if found is not None:
        verb = found["past"] or found["b1"] or found["b2"]
        return _deed(verb, found["o"]), found[0]
    if _NEVER_BEFORE.search(seen.words[: person.titled_first]):
        behind = _BASE.match(seen.words[person.last :])
        if behind is not None:
            return _deed(behind["b"], behind["o"]), f"never {behind['b']} {behind['o']}"
    return ("", "")


def _deeds(words: str) -> Iterator[tuple[str, str]]:
    """Verb and object of what a person does, from behind the name on."""
    for match in _DID.finditer(words):
        deed = _deed(match["past"], match["o"])
        if deed and "," not in words[: match.start()].strip(" ,"):
            yield deed, match[0]


def laws(seen: Seen) -> Iterator[Claim]:
    """What nobody does or may do in a place, and what is done there."""
    places = [
        name
        for name in seen.names
        if name.sort != "person" and re.search(r"\b(?:in|at|of)\s+$", seen.words[: name.first], re.I)
    ]
    if len(places) != 1:
        return
    key = thing_key(places[0].words)
    words = seen.words.replace(f" in {places[0].words}", " " * (4 + len(places[0].words)))
    if _NOBODY_MAY.search(words):
        match = _FORBIDDEN.search(words) or _NOBODY.search(words)
        if match is not None and not seen.persons and "?" not in words:
            said = match.groupdict()
            deed = _deed(said.get("b") or said.get("past") or "", match["o"])
            if deed:
                yield seen.claim("law", key, deed, " ".join(match[0].split()), attribute=deed, role="never")
        return
    if not seen.sentence.asserted or seen.person is None or _EXCUSE.search(words):
        return
    for deed, did in _deeds(words[seen.person.last :]):
        yield seen.claim("law", key, deed, did, attribute=deed, role="deed")
