"""Secrets out of texts, before anything is stored: "[redacted KIND]" stands in their place.

Three ways to know a secret: its own form (keys of providers, PEM blocks, JSON web tokens), its place (a password in a URL, the right
side of `password =`, an Authorization header), and, near words like *token*, a string too random to be a word. Random strings alone are
not enough: hashes, ids and keys of our own journal look just like that and must stay.

Cards are known by their issuer's prefix, length and Luhn's check digit. Redacting twice changes nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from overwinter.memory.literals import Gate, fold

MIN_ENTROPY_BITS = 3.0
"""Per character. Words of this length stay below 3, hexadecimal tokens reach 3.5, base64 ones 4.5."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Redacted:
    """A text without its secrets, and which kinds there were, sorted."""

    text: str
    kinds: tuple[str, ...]


_APART = r"(?<![A-Za-z0-9])"


def _key(prefix: str, rest: str) -> str:
    return rf"{_APART}{prefix}{rest}(?![A-Za-z0-9])"


_FORMS = (
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    _key("AGE-SECRET-KEY-1", r"[0-9A-Z]{50,}"),
)
_PROVIDERS = (
    _key("(?:AKIA|ASIA|ABIA|ACCA)", r"[A-Z0-9]{16}"),  # AWS
    _key("sk-ant-", r"[A-Za-z0-9_-]{20,}"),
    _key("sk-(?:proj-|svcacct-|admin-|or-v1-)?", r"[A-Za-z0-9_-]{20,}"),
    _key("(?:ghp|gho|ghu|ghs|ghr)_", r"[A-Za-z0-9]{30,}"),
    _key("github_pat_", r"[A-Za-z0-9_]{22,}"),
    _key("gl(?:pat|dt|rt|ptt|cbt)-", r"[A-Za-z0-9_-]{20,}"),
    _key("xox[abeoprs]-", r"[A-Za-z0-9-]{10,}"),  # Slack
    _key("xapp-", r"[A-Za-z0-9-]{20,}"),
    _key("AIza", r"[A-Za-z0-9_-]{35}"),  # Google
    _key(r"ya29\.", r"[A-Za-z0-9_-]{20,}"),
    _key("GOCSPX-", r"[A-Za-z0-9_-]{20,}"),
    _key("hf_", r"[A-Za-z0-9]{30,}"),
    _key("npm_", r"[A-Za-z0-9]{36}"),
    _key("pypi-", r"AgE[A-Za-z0-9_-]{50,}"),
    _key("(?:sk|rk|pk)_(?:live|test)_", r"[A-Za-z0-9]{16,}"),  # Stripe
    _key("whsec_", r"[A-Za-z0-9]{24,}"),
    _key(r"SG\.", r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),  # SendGrid
    _key("do[opr]_v1_", r"[a-f0-9]{64}"),
    _key("shp(?:at|ca|pa|ss)_", r"[a-fA-F0-9]{32}"),
    _key("dapi", r"[a-f0-9]{32}"),
    _key("gsk_", r"[A-Za-z0-9]{40,}"),
    _key("r8_", r"[A-Za-z0-9]{37}"),
    _key("(?:pplx|xai|nvapi|tvly)-", r"[A-Za-z0-9_-]{30,}"),
    _key("lin_api_", r"[A-Za-z0-9]{32,}"),
    _key("hvs\\.", r"[A-Za-z0-9_-]{24,}"),  # Vault
    _key("[0-9]{8,10}:AA", r"[A-Za-z0-9_-]{33}"),  # Telegram
    r"https://hooks\.slack\.com/services/[A-Za-z0-9/]{20,}",
    r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d+/[A-Za-z0-9_-]{20,}",
)
_NEAR = (
    r"(?:api[\s_-]?key|access[\s_-]?key(?:[\s_-]?id)?|secret[\s_-]?(?:access[\s_-]?)?key|account[\s_-]?key|shared[\s_-]?access[\s_-]?key"
    r"|encryption[\s_-]?key|signing[\s_-]?key|private[\s_-]?key|client[\s_-]?secret|app[\s_-]?secret|secret|credentials?"
    r"|(?:auth|access|refresh|api|bot|bearer|id|session|personal[\s_-]access)[\s_-]?token|token)"
)
_NAMES_ONE = r"(?:pass[\s_-]?(?:word|phrase|code)|passwd|pwd)"
_SAY = r"""["']?\s*(?::=|=>|=|:|\bis\b|\bwas\b|\bto\b)\s*"""

_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")
_URL = re.compile(
    r"(?P<keep>\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>\[]*:)(?P<secret>[^\s/@\"'<>]{1,200})(?=@[^\s@])", re.IGNORECASE
)
_QUERY = re.compile(
    r"(?P<keep>[?&](?:access_token|api_?key|token|secret|password|sig|signature|auth)=)(?P<secret>[^\s&\"'<>#\[]{8,})",
    re.I,
)
_BEARER = re.compile(
    r"(?P<keep>\b(?:bearer|(?:authorization|proxy-authorization)[\"']?\s*:\s*[\"']?(?:basic|token|digest))\s+)"
    r"(?P<secret>[A-Za-z0-9+/_.~-]{12,}=*)",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    rf"(?P<keep>\b(?:\w+[_-])?{_NAMES_ONE}{_SAY}(?P<quote>[\"'`]?))(?P<secret>[^\s\"'`,;<>{{}}()\[\]]{{3,200}})",
    re.I,
)
_QUOTED = re.compile(
    rf"(?P<keep>\b(?:\w+[_-])?{_NAMES_ONE}{_SAY}(?P<quote>[\"'`]))(?P<secret>[^\"'`\n\[\]]{{3,200}})(?=(?P=quote))",
    re.I,
)
_SPOKEN = re.compile(
    rf"(?P<keep>\b(?:my|our|the|his|her|their|your|new|wifi|wi-fi|login)\s+(?:[\w-]+\s+){{0,2}}{_NAMES_ONE}"
    r"(?:\s+(?:for|of|to|on|at)\s+(?:[\w.'-]+\s+){1,4}?|\s+)(?:is|was|:)\s+(?P<quote>[\"'`]?))(?P<secret>[^\s\"'`,;<>{}()\[\]]{3,200})",
    re.IGNORECASE,
)
_RANDOM = re.compile(
    rf"(?P<keep>\b(?:\w+[_-])?{_NEAR}(?:\s+for\s+[\w.-]+)?{_SAY}[\"'`]?)(?P<secret>[A-Za-z0-9+/_.~=-]{{12,400}})",
    re.I,
)
_PIN = re.compile(
    r"(?P<keep>\b(?:pin|cvv|cvc)(?:[\s-]?(?:code|number))?\s*(?:is|:|=)\s*)(?P<secret>\d{3,8})\b", re.IGNORECASE
)
_CARD = re.compile(r"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w-]|\.\d)")
_NEAR_CARD = re.compile(r"\b(?:card|visa|master|amex|credit|debit|pan)", re.IGNORECASE)

_NO_PASSWORD = frozenset(
    re.findall(
        r"\w+",
        """required optional wrong correct incorrect invalid valid missing empty none null true false not too the a an in on at for by to be
        been set stored hashed encrypted changed reset expired weak strong safe secure secret unknown redacted here there it what string str
        text bytes field prompt and or that this your my fine ok okay good bad same default needed""",
    )
)
"""What stands behind "the password is" without being one."""


def redact(text: str) -> Redacted:
    """Take the secrets out of a text."""
    kinds: set[str] = set()

    def put(kind: str) -> str:
        kinds.add(kind)
        return f"[redacted {kind}]"

    may_match = _GATE.may_match(fold(text))
    for number, (pattern, kind, holds) in enumerate(_RULES):
        # Once something was put in, its words ("token") may be what a later rule looks for.
        if kinds or may_match >> number & 1:
            text = pattern.sub(lambda match, kind=kind, holds=holds: _replaced(match, kind, holds, put), text)  # type: ignore[misc]
    return Redacted(text=text, kinds=tuple(sorted(kinds)))


def _replaced(
    match: re.Match[str], kind: str, holds: Callable[[re.Match[str]], bool], put: Callable[[str], str]
) -> str:
    if not holds(match):
        return match.group()
    if "secret" not in match.re.groupindex:
        return put(kind)
    secret = match["secret"]
    tail = secret[len(secret.rstrip(".!?")) :] if kind == "password" else ""
    return match["keep"] + put(kind) + tail


def entropy_bits(text: str) -> float:
    """Shannon entropy per character of a string's own letters."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())


def _is_placeholder(word: str) -> bool:
    """`***`, `$VAR`, `<password>`, `xxxxx`, `os.environ`, or what was redacted before."""
    plain = word.casefold().strip(".!?:")
    return (
        len(set(plain)) < 3
        or plain.startswith(("$", "%", "redacted", "os.", "env.", "example", "your", "//"))
        or plain in _NO_PASSWORD
    )


def _is_password(match: re.Match[str]) -> bool:
    """On the right of `=` or `:` nearly anything; after "is" only what is no plain word, unless it is quoted."""
    secret = match["secret"].rstrip(".!?")
    if len(secret) < 3 or _is_placeholder(secret):
        return False
    if "=" in match["keep"].rsplit("ass", 1)[-1] or match["quote"]:
        return True
    return _mixed(secret) or (":" in match["keep"] and not _ends_like_participle(secret))


def _is_spoken_password(match: re.Match[str]) -> bool:
    secret = match["secret"].rstrip(".!?")
    if len(secret) < 3 or _is_placeholder(secret) or _ends_like_participle(secret):
        return False
    after = match.string[match.end() : match.end() + 2]
    return bool(match["quote"]) or _mixed(secret) or not after.strip() or after[0] in ",;.!?\n"


def _ends_like_participle(word: str) -> bool:
    return word.casefold().endswith(("ed", "ing", "able", "en"))


def _mixed(word: str) -> bool:
    letters = any(letter.isalpha() for letter in word)
    return (
        not letters
        or any(not letter.isalpha() for letter in word)
        or not (word.islower() or word.istitle() or word.isupper())
    )


def _is_random(match: re.Match[str]) -> bool:
    secret = match["secret"].rstrip(".=")
    if (
        _is_placeholder(secret)
        or not any(letter.isdigit() for letter in secret)
        or not any(letter.isalpha() for letter in secret)
    ):
        return False
    return len(secret) >= 12 and entropy_bits(secret) >= MIN_ENTROPY_BITS and not _is_dotted_name(secret)


def _is_dotted_name(word: str) -> bool:
    """`tokens.step-12.json`: parts that are words or numbers."""
    parts = [part for part in re.split(r"[._/=~-]", word) if part]
    return len(parts) > 1 and all(part.isdigit() or (part.isalpha() and len(part) < 20) for part in parts)


def _is_card(match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match.group())
    issuer = re.match(
        r"(?:4\d{15}|4\d{12}|5[1-5]\d{14}|2(?:2[2-9]|[3-6]\d|7[01]|720)\d{12,13}|3[47]\d{13}|6(?:011|5\d\d)\d{12}|3[068]\d{12})$",
        digits,
    )
    if not issuer or not _luhn(digits):
        return False
    # A run of digits without gaps may be a time in microseconds; only what is surely a card is taken then.
    grouped = bool(re.search(r"\d[ -]\d", match.group()))
    near = match.string[max(0, match.start() - 40) : match.start()]
    return grouped or bool(_NEAR_CARD.search(near)) or (len(digits) >= 15 and digits[0] in "3456")


def _luhn(digits: str) -> bool:
    doubled = (
        sum(divmod(2 * int(digit), 10)) if place % 2 else int(digit) for place, digit in enumerate(reversed(digits))
    )
    return sum(doubled) % 10 == 0


def _always(match: re.Match[str]) -> bool:
    return not _is_placeholder(match["secret"])


_FORM_PATTERNS = [re.compile(form, re.DOTALL) for form in _FORMS]
# What all keys have in front is asked once a place and not forty times: this pattern would take half of all the time of a redaction.
_KEYS = "|".join(form.removeprefix(_APART) for form in _PROVIDERS if form.startswith(_APART))
_PROVIDER_PATTERN = re.compile(
    "|".join([f"{_APART}(?:{_KEYS})", *(form for form in _PROVIDERS if not form.startswith(_APART))])
)
_RULES: tuple[tuple[re.Pattern[str], str, Callable[[re.Match[str]], bool]], ...] = (
    *((pattern, "private key", lambda _: True) for pattern in _FORM_PATTERNS),
    (_JWT, "token", lambda _: True),
    (_PROVIDER_PATTERN, "api key", lambda _: True),
    (_URL, "password", _always),
    (_QUERY, "token", _always),
    (_BEARER, "token", _always),
    (_QUOTED, "password", _is_password),
    (_ASSIGNED, "password", _is_password),
    (_SPOKEN, "password", _is_spoken_password),
    (_RANDOM, "token", _is_random),
    (_PIN, "pin", _always),
    (_CARD, "card", _is_card),
)
_GATE = Gate([pattern for pattern, _, _ in _RULES])
