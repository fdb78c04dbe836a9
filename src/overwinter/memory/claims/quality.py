"""What is worth a claim: filters against the chatter that has the form of a fact ("Life is tough", "I had a great time").

Junk drowns what matters (97.8 % of the entries of one audited store were junk, mem0 issue 4573), and a fact that no rule understands is not
lost: its unit is found by search. So when in doubt, no claim.
"""

from __future__ import annotations

import re

_DETERMINER = re.compile(r"(?:the|my|our|your|this)\s", re.IGNORECASE)
_NO_SUBJECT = re.compile(
    r"\b(?:is|are|was|were|has|have|had|will|can|must|may|do|does|did|that|which|who|because|to|there|here|what|how|why|when|where|everything|nothing|something"
    r"|anything|someone|everyone|everybody|one|ones|not|also|said|says|than|if|as|by|and\s+i|i|we|you|he|she|they|it|me|us|him|them|really|just|so|much|many|such|both"
    r"|for|with|at|glad|thanks|sorry|since|last|next|make|makes|made|let|got|gonna|know|see|think|bet|keep|take)\b|['’](?:m|ve|ll|re|d)\b",
    re.IGNORECASE,
)
_TALKS_OF_ANOTHER = re.compile(r"(?i:the|my|our|your|this)\s+[a-z]+\s(?:\S+\s)*[A-Z][a-z]+$")
_COMMON = re.compile(
    r"(?:\w+ing|\w+ness|\w+tion|life|love|music|art|dance|family|friends?|kids|people|things?|stuff|sounds?|looks?|seems?|feels?|hope|time|work|books?|pets?"
    r"|moments?|memories|nature|change|support|practice|today|tomorrow|yesterday|tonight|everyone|nobody|somebody|god|wow|yep|yup|nope|cool|awesome|congrats|good|great"
    r"|nice|lovely|thanks?|glad|happy|sorry|maybe|sure|totally|definitely|exactly|agreed|glad|setbacks?|dreams?|success|money|food|health|nothing|all|most|some|many"
    r"|others?|both|each|these|those|such|same|must|should|would|could|can|let|take|keep|make|try|check|get|give|go|come|see|look|enjoy|appreciate|just|not|never|always)",
    re.IGNORECASE,
)
_OPINION = re.compile(
    r"\b(?:awesome|amazing|great|fun|funny|good|nice|cool|tough|hard|easy|best|better|worst|worse|bad|wild|lovely|beautiful|inspiring|incredible|fantastic|wonderful"
    r"|super|perfect|key|vital|important|interesting|exciting|excited|breathtaking|scary|sad|happy|glad|proud|thankful|grateful|lucky|hilarious|crazy|insane|blast|stunning"
    r"|special|unique|worth|worthwhile|satisfying|rewarding|rough|challenging|refreshing|freeing|cute|adorable|sweet|delicious|yummy|tasty|fine|okay|ok|ready|sure|true|right"
    r"|real|really|truly|so|such|pretty|kinda|quite|very|too|huge|massive|a\s+bit|a\s+lot|lots|everything|something|nothing|anything|thing|things|way|kind|time|fan|chance"
    r"|journey|experience|feeling|feelings|passion|faith|effect|impact|trouble|idea|ideas|reason|point|deal|joy|love|dream|gift|treat|win|loss|day|moment|moments|memories)\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"\b(?:who|which|that|because|when|where|if|you|me|we|i|he|she|they|us|him|them|it|and\s+(?:a|the|my|i))\b|['’](?:m|ve|ll|re|d)\b",
    re.IGNORECASE,
)
_THING = re.compile(
    r"(?:an?|the|my|our|your|his|her|its|their|one|two|three|four|five|six|seven|eight|nine|ten|no|another|several|\d+|[A-Z]\S*)(?:\s|$)"
)
_LOOSE = re.compile(r"\b(?:for|to|in|with|about|on|at|from|into)\b", re.IGNORECASE)
_DANGLING = re.compile(
    r"\b(?:in|on|for|to|of|with|at|by|from|into|and|or|a|an|the|my|about|always|all|still|back)$", re.IGNORECASE
)
_ACTION = re.compile(
    r"(?:\w+ly\s+)?\w+(?:ed|ing|en|t)\s+(?:by|up|out|in|with|for|from|on|at|about|me|my|you)\b|\w+ly\s+\w+ed\b|\w+ing\b|been\b|(?:un)?able\b",
    re.IGNORECASE,
)
_BARE_VERB = re.compile(
    r"\s+(?:like|love|enjoy|have|own|live|work|speak|hate|prefer|use|play|study|drive|adore|possess|keep|dislike|report|belong|cost|weigh|are|am|were|reside|serve)\b"
)
_MANY = re.compile(r"(?:we|they|you|i|these|those)\b|.*\b(?:and|\w+[^s'’]s)$", re.IGNORECASE)


def _is_opinion(words: str) -> bool:
    return bool(_OPINION.fullmatch(words.split(maxsplit=1)[0])) and words.casefold() not in _MAY_BE_VALUES


_MAY_BE_VALUES = frozenset({"day", "good", "bad", "fine", "ready", "ok", "true", "hard", "easy"})


def is_subject(words: str, *, starts: bool) -> bool:
    """A name, something with a number or sign in it, or a thing with its article.

    `starts`: it opens the sentence, where any word has a capital.
    """
    tokens = words.split()
    determined = bool(_DETERMINER.match(words))
    bare = tokens[1:] if determined else tokens
    if (
        not bare
        or (_DETERMINER.match(words + " x") and len(tokens) == 1)
        or _TALKS_OF_ANOTHER.match(words)
        or len(bare) > 5
        or _NO_SUBJECT.search(" ".join(bare))
    ):
        return False
    if determined or any(re.search(r"[\d_@#]|\w[-.]\w", token) for token in bare):
        return True
    if not all(token[0].isupper() or token in {"of", "de", "van", "von", "al", "bin", "the", "and"} for token in bare):
        return False
    return not (starts and len(bare) == 1 and _COMMON.fullmatch(bare[0]))


def agrees(subject: str, rest: str, *, helped: bool = False) -> bool:
    """One does not "like" and "have", one "likes" and "has"; unless helped by a "does not" or "used to" that was blanked out."""
    if helped:
        return True
    return not re.match(r"\s+(?:having|owning)\b", rest) and not (
        _BARE_VERB.match(rest) and not _MANY.match(subject.strip())
    )


def is_value(predicate: str, words: str, *, denied: bool = False) -> bool:
    """What follows a verb or an attribute is a value, and not the beginning of a story or an opinion."""
    if _DANGLING.search(words):
        return False
    if predicate == "has":
        return (
            (denied or bool(_THING.match(words)))
            and not re.search(r"['’]s\s|\sas\s|^\w+ed$", words)
            and len(words.split()) <= 5
            and not _LOOSE.search(words)
            and not _OPINION.search(words)
            and not _CLAUSE.search(words)
        )
    if predicate in {"likes", "dislikes", "prefers", "plays", "uses", "speaks", "studies"}:
        return (
            len(words.split()) <= 5
            and "," not in words
            and not _CLAUSE.search(words)
            and not re.match(r"(?:the\s+(?:way|idea|thought|fact)|to|it|how)\b", words, re.IGNORECASE)
        )
    if predicate in {"home", "employer", "birthplace", "location"} and (len(words.split()) > 5 or _ACTION.match(words)):
        return False
    return not (_CLAUSE.search(words) or _ACTION.match(words) or _is_opinion(words) or len(words.split()) > 7)


def is_state(predicate: str, subject: str, words: str) -> bool:
    """ "The door is open", "Alice is a nurse"; not "The party was a blast"."""
    if predicate == "age":
        return True
    if (
        _OPINION.search(words)
        or _DANGLING.search(words)
        or re.match(r"(?:this|that|these)\b", words, re.IGNORECASE)
        or _CLAUSE.search(words)
        or _ACTION.match(words)
    ):
        return False
    if predicate == "is":
        return len(words.split()) <= 2 and not _LOOSE.search(words)
    return predicate != "is a" or (
        len(words.split()) <= 4
        and not _LOOSE.search(words)
        and not re.match(r"(?:it|this|that)\b", subject, re.IGNORECASE)
    )
