"""The phrases in which a clause says a fact: patterns over English, most particular first.

A clause comes with its dates, adverbs and negations blanked out (`clauses`), so the patterns see bare forms: "Bob's phone number is 12"
for "As of Monday Bob's phone number is now 12". `s`, `p`, `o` are subject, predicate and object; `a` is a former object.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_WORD = r"[\w#@][\w'’&/@#+.-]*"
_NOUN = r"[A-Za-z][\w/-]*"
_DET = r"(?:the|a|an|my|our|your|his|her|their|its|this|that)"
NAME = rf"(?:{_DET}\s+)?{_WORD}(?:\s+{_WORD}){{0,4}}?"
ATTRIBUTE = rf"{_NOUN}(?:\s+{_NOUN}){{0,3}}?"
OBJECT = r"(?P<o>\S.*?)"

_CHANGED = (
    r"(?:changed|switched|moved|updated|set|reset|raised|lowered|increased|reduced|decreased|renamed|revised|adjusted|rescheduled"
    r"|postponed"
    r"|corrected|upgraded|downgraded|bumped|shifted|rose|risen|fell|fallen|dropped|grew|grown|climbed|modified|altered|converted"
    r"|extended|amended"
    r"|swapped|flipped|gone|went|brought\s+forward|pushed(?:\s+back)?|cut|turned|transferred|reassigned|jumped|sunk|sank|slid|slipped)"
)
_CHANGE = (
    r"(?:change|switch|move|update|set|reset|raise|lower|increase|reduce|decrease|rename|adjust|reschedule|postpone"
    r"|modify|alter|bump|turn)s?"
)
_AUX = r"(?:(?:has|have|had|is|are|was|were|got|been|being|will|shall|be|gets|(?:had|managed|decided|chose|going)\s+to)\s+)*"
_BE = (
    r"(?:(?:has|have|had|will|shall)\s+)?(?:is|are|was|were|been|be|became|becomes|become|remains?|remained|stays?|stayed|equals"
    r"|reads?|shows|showed"
    r"|stands\s+at|stood\s+at|comes\s+to|amounts\s+to|turned\s+out\s+to\s+be|turned|lies\s+at|sits\s+at)"
)
_TO = r"(?:up\s+|down\s+|over\s+)?(?:to|into|at|as|by)"
_FROM = r"(?:\s+(?:up\s+|down\s+)?from\s+(?P<a>\S.*?))?"
_OWN = r"(?:his|her|its|their|the|my|our|your|a|an)"

_CHOSE = (
    r"(?:(?:can|may|please|to)\s+)?(?:decided\s+(?:on|for)|chose|chosen|picked|selected|named|appointed|registered|entered"
    r"|recorded|noted|uses?|using|opted\s+for"
    r"|went\s+with|gone\s+with|go(?:es)?\s+with|settled\s+on|agreed\s+on|writ(?:e|ten)\s+down|put\s+down|note|record|enter|take"
    r"|took|taken|list|set|given|gave|put|\w{2,}(?:ed|ing))"
)

_FILL = (
    r"(?:is|are|was|were|has|have|had|will|shall|got|gets|up|down|over|back|to|going|happens?|ended|turn(?:s|ed)?|seems?"
    r"|appears?|ends?|out|should|\w{2,}ed|\w{2,}ing)"
)
_LINK = r"(?:is|are|be|being|been|to|as|at|into|reads?|equals?)"

OF_SUBJECT = (
    rf"(?P<s>{NAME})['’]s\s+(?P<p>{ATTRIBUTE})",
    rf"(?P<s>{_WORD}s)['’]\s+(?P<p>{ATTRIBUTE})",
    rf"(?P<s>my|our|your|his|her|their|its)\s+(?P<p>{ATTRIBUTE})",
    rf"(?:(?:the|a|an)\s+|(?=(?:new|current|latest|updated)\s))(?P<p>{ATTRIBUTE})\s+(?:of|for)\s+(?P<s>{NAME})",
)
"""How an attribute of a subject is named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrase:
    """A pattern and what it means.

    Attributes:
        predicate: fixed, or "" where the pattern names it (`p`).
        event: it tells of a change ("moved to"), so that a date is its beginning.
        ends: it denies ("sold").
    """

    pattern: re.Pattern[str]
    predicate: str = ""
    event: bool = False
    ends: bool = False


def _of_subject() -> list[Phrase]:
    """What is said of an attribute; the forms that could be misread for another come last."""
    changed = rf"{_AUX}{_CHANGED}"
    shapes = (
        (r"{own}\s+" + rf"{changed}{_FROM}\s+{_TO}\s+{OBJECT}", True),
        (r"{own}\s+" + rf"{changed}\s+{_TO}\s+{OBJECT}\s+(?:up\s+|down\s+)?from\s+(?P<a>\S.*?)", True),
        (r"{own}\s+" + rf"{_AUX}(?:\w{{2,}}ed|given|known|shown|written)\s+(?:to\s+be|as|at|to)\s+{OBJECT}", True),
        (
            r"{own}\s+" + rf"(?:has|got|gets|takes|took|carries)\s+(?:a|the)\s+(?:new\s+)?value\s+(?:of\s+)?{OBJECT}",
            True,
        ),
        (r"{own}\s+" + rf"{_AUX}replaced\s+by\s+{OBJECT}", True),
        (r"{own}\s+" + rf"{_BE}\s+{OBJECT}", False),
        (r"{own}\s*(?::|=|->|→)\s*" + OBJECT, False),
        (rf"(?:{NAME}\s+)?{_AUX}(?:{_CHANGED}|{_CHANGE})\s+" + r"{own}" + rf"{_FROM}\s+{_TO}\s+{OBJECT}", True),
        (rf"{OBJECT}\s+(?:has\s+)?(?:replaced|replaces|succeeded|succeeds)\s+(?P<a>\S.*?)\s+as\s+" + r"{own}", True),
        (rf"(?:{NAME}\s+)?{_AUX}{_CHOSE}\s+{OBJECT}\s+(?:down\s+)?(?:as|to\s+be)\s+" + r"{own}", True),
        (rf"(?:{NAME}\s+)?{_AUX}(?:made|named|appointed|declared|elected|make)\s+{OBJECT}\s+" + r"{own}", True),
        (r"{own}\s+" + rf"(?:{_FILL}\s+){{1,5}}{_LINK}\s+{OBJECT}", True),
        (
            rf"(?:{NAME}\s+)?{_AUX}(?:replac|swapp|exchang|substitut)(?:ed|e|ing|es)\s+"
            + r"{own}"
            + rf"\s+(?:with|by|for)\s+{OBJECT}",
            True,
        ),
        (rf"{OBJECT}\s+{_AUX}(?:\w{{2,}}ed|given|chosen|taken|made)\s+(?:as|for|to\s+be)\s+" + r"{own}", True),
        (
            rf"{OBJECT}\s+(?:has\s+been|is|became|becomes|has\s+become|serves\s+as|was\s+made|will\s+be|took\s+over\s+as)\s+"
            + r"{own}",
            False,
        ),
    )
    return [
        Phrase(pattern=_compiled(shape.replace("{own}", own)), event=event)
        for shape, event in shapes
        for own in OF_SUBJECT
    ]


_HAVE = r"(?:has|have|had|got|gets|received|receives|took|takes|chose|picked|adopted|uses?|selected|was\s+given|were\s+given|is\s+given)"

WITH_ATTRIBUTE = [
    Phrase(
        pattern=_compiled(rf"(?P<s>{NAME})\s+{_BE}\s+(?:the\s+|an?\s+)?(?:\w+\s+)?owner\s+of\s+{OBJECT}"),
        predicate="has",
    ),
    *_of_subject(),
    Phrase(
        pattern=_compiled(
            rf"(?P<s>{NAME})\s+{_AUX}(?:{_CHANGED}|{_CHANGE})\s+{_OWN}\s+(?P<p>{ATTRIBUTE}){_FROM}\s+{_TO}\s+{OBJECT}"
        ),
        event=True,
    ),
    Phrase(
        pattern=_compiled(
            rf"(?P<s>{NAME})\s+{_AUX}(?:replac|swapp|exchang)(?:ed|e|ing)\s+{_OWN}"
            rf"\s+(?P<p>{ATTRIBUTE})(?:\s+(?P<a>\S.*?))?\s+(?:with|by|for)\s+{OBJECT}"
        ),
        event=True,
    ),
    Phrase(
        pattern=_compiled(
            rf"(?P<s>{NAME})\s+{_HAVE}\s+(?:{_OWN}\s+)?(?:new\s+)?(?P<p>{ATTRIBUTE})\s*(?::|\bof\b(?=.*\d)|\bnamely\b|=)\s*{OBJECT}"
        )
    ),
    Phrase(
        pattern=_compiled(
            rf"(?P<s>{NAME})(?:['’]s)?\s+{_AUX}(?:{_HAVE[3:-1]}|{_CHOSE}|wants)\s+{OBJECT}"
            rf"\s+as\s+(?:{_OWN}\s+)?(?P<p>{ATTRIBUTE})"
        )
    ),
    Phrase(
        pattern=_compiled(
            rf"(?P<s>{NAME})\s+{_AUX}(?:uses?|using|used|settled\s+on|chose|chosen|picked|took|opted\s+for|went\s+with"
            rf"|has)\s+{OBJECT}\s+for\s+(?:the|its|his|her|their)"
            rf"\s+(?P<p>{ATTRIBUTE})"
        )
    ),
    Phrase(
        pattern=_compiled(
            rf"(?:for|on|from|as\s+for|as\s+to|regarding|concerning|about|with|at|as\s+far\s+as|when\s+it\s+comes\s+to"
            rf"|in\s+the\s+case\s+of|speaking\s+of|talking\s+about)\s+(?P<s>{NAME})(?:\s+(?:is"
            rf"|are)\s+concerned)?\s*[,:]?\s+(?:the|its|his|her|their|a)\s+(?P<p>{ATTRIBUTE})"
            rf"\s+(?:{_BE}|{_AUX}{_CHANGED}{_FROM}\s+{_TO})\s+{OBJECT}"
        )
    ),
    Phrase(pattern=_compiled(rf"(?P<s>{NAME})\s*:\s*(?P<p>{ATTRIBUTE})\s*(?:=|:|->|→|\bis\b)\s*{OBJECT}")),
    Phrase(
        pattern=_compiled(
            rf"(?P<s>{NAME})\s+(?:is|are|was|went|goes|came|has|got|moved|switched|changed)\s+(?:\w+\s+){{0,3}}?(?:a|the|his|her"
            rf"|its|their)\s+(?:new\s+)?(?P<p>{ATTRIBUTE})\s*[:=]\s*{OBJECT}"
        )
    ),
    Phrase(
        pattern=_compiled(
            rf"(?:{NAME}\s+)?{_AUX}(?:gave|given|giving|assigned|handed|issued|sent|got|found)\s+(?P<s>{NAME})\s+(?:an?|the|his"
            rf"|her|its|their)\s+(?:new\s+|other\s+)?"
            rf"(?P<p>{ATTRIBUTE})\s*(?::|,\s*namely|,)\s*{OBJECT}"
        )
    ),
    Phrase(pattern=_compiled(rf"(?P<s>{NAME})\s+\((?P<p>{ATTRIBUTE})\)\s*(?:=|:|->|→|\bis\b)\s*{OBJECT}")),
    Phrase(
        pattern=_compiled(rf"(?P<s>{NAME})\s+(?:switched|changed)\s+(?P<p>{ATTRIBUTE}){_FROM}\s+to\s+{OBJECT}"),
        event=True,
    ),
]
"""Subject, predicate and object are all named."""


def _verb(predicate: str, verbs: str, *, event: bool = False, ends: bool = False) -> Phrase:
    pattern = _compiled(rf"(?P<s>{NAME})\s+{_AUX}(?:{verbs})\s+{OBJECT}")
    return Phrase(pattern=pattern, predicate=predicate, event=event, ends=ends)


_KEEP_LIVING = (
    r"liv(?:es?|ed|ing)\s+in|resid(?:es?|ed|ing)\s+in|(?:is\s+|are\s+|was\s+)?based\s+in|(?:re)?settled(?:\s+down)?\s+in|at\s+home\s+in"
    r"|(?:found|has|made|makes?)\s+(?:a|his|her|their|my|its)\s+(?:new\s+)?home\s+in|(?:took|taken|rented|rents"
    r"|bought)\s+an?\s+(?:flat|house|apartment|place|room)\s+in|took\s+up\s+residence\s+in|(?:went|returned"
    r"|came)(?:\s+back)?\s+to\s+live\s+in"
)
_GET = (
    r"got(?=\s+(?:an?|the|my|his|her|its|some|two|three|another)\s)|picked\s+up|came\s+by|brought\s+home|got\s+hold\s+of"
    r"|came\s+into\s+(?:the\s+)?possession\s+of|was\s+gifted|snapped\s+up|procured|obtained|took\s+(?:home|in)"
    r"|came\s+(?:home|back)\s+with|treated\s+(?:him|her|my|it)self\s+to|treated\s+(?:them|our)selves\s+to|has\s+got|"
    r"inherited|received|was\s+given|b(?:ought|uys?)|adopted|adopts|acquired|purchased|got\s+(?:himself|herself|themselves|myself"
    r"|ourselves)"
)
_RID = (
    r"sell|give\s+(?:up|away)|part\s+with|cancel|return|drop|donate|(?:was|were|been)\s+(?:stripped|deprived|robbed"
    r"|relieved)\s+of|stripped\s+of|"
    r"s(?:old|ells?)|gave\s+away|given\s+away|lost|got\s+rid\s+of|gotten\s+rid\s+of|returned|donated|cancel(?:l?ed|s)|terminated|scrapped"
    r"|discontinued|gave\s+up|given\s+up|unsubscribed\s+from|closed|ended|threw\s+(?:away|out)|dropped|parted\s+with"
    r"|handed\s+over|passed\s+on|disposed\s+of|auctioned(?:\s+off)?|swapped|exchanged|surrendered|relinquished|destroyed|smashed"
    r"|junked|pawned|traded\s+in|discarded|let\s+go\s+of"
)

VERBS = [
    Phrase(
        pattern=_compiled(
            rf"(?P<s>{NAME})\s+{_AUX}(?:moved|relocated|went\s+to\s+live|transferred)\s+from\s+(?P<a>\S.*?)\s+(?:in)?to\s+{OBJECT}"
        ),
        predicate="home",
        event=True,
    ),
    _verb(
        "home",
        r"(?:moved?|relocated?|emigrated|moving|relocating)(?:\s+(?:house|home|over|back))?\s+(?:in)?to|went\s+to\s+live\s+in",
        event=True,
    ),
    _verb("home", r"moved\s+(?:away\s+from|out\s+of)", event=True, ends=True),
    _verb("home", _KEEP_LIVING),
    Phrase(
        pattern=_compiled(
            rf"(?P<s>{NAME})\s+(?:has\s+|have\s+)?(?:calls?|made|makes?|called)\s+{OBJECT}\s+(?:(?:his|her|their|my"
            rf"|its)\s+)?(?:new\s+)?home"
        ),
        predicate="home",
    ),
    Phrase(
        pattern=_compiled(rf"{OBJECT}\s+is\s+where\s+(?P<s>{NAME})\s+(?:lives|resides|is\s+at\s+home)"),
        predicate="home",
    ),
    Phrase(pattern=_compiled(rf"{OBJECT}\s+is\s+where\s+(?P<s>{NAME})\s+works"), predicate="employer"),
    _verb(
        "employer",
        r"(?:joined|started\s+(?:working\s+)?(?:at|for|with)|got\s+a\s+job\s+(?:at|with)|was\s+hired\s+by|took\s+a\s+job\s+(?:at|with))",
        event=True,
    ),
    _verb(
        "employer",
        r"(?:quit|resigned\s+from|retired\s+from|was\s+fired\s+(?:from|by)|left\s+(?:his|her|their|my)\s+job\s+at)",
        event=True,
        ends=True,
    ),
    _verb(
        "job",
        r"(?:work(?:s|ed|ing)?|(?:is|was)\s+employed|serv(?:es?|ed|ing))\s+as|(?:was\s+)?(?:promoted\s+to|appointed(?:\s+as)?)",
    ),
    _verb("employer", r"work(?:s|ed|ing)?\s+(?:at|for)|(?:is\s+|was\s+)?employed\s+(?:by|at)"),
    _verb("spouse", r"(?:is|was|got)\s+married\s+to|married"),
    _verb("allergic to", r"(?:is|are|was)\s+allergic\s+to|allergic\s+to"),
    _verb(
        "likes",
        r"lik(?:es?|ed|ing)|lov(?:es?|ed|ing)|enjoy(?:s|ed|ing)?|ador(?:es?|ed)|(?:is|are|was)\s+(?:fond\s+of|a\s+fan\s+of|into)"
        r"|fond\s+of",
    ),
    _verb("dislikes", r"dislik(?:es?|ed)|hat(?:es?|ed|ing)|detests?|can(?:'|’)?t\s+stand|cannot\s+stand|avoids?"),
    Phrase(
        pattern=_compiled(
            rf"(?P<s>{NAME})\s+prefer(?:s|red|ring)?\s+{OBJECT}\s+(?:over|to|rather\s+than|instead\s+of)\s+(?P<a>\S.*?)"
        ),
        predicate="prefers",
    ),
    _verb("prefers", r"prefer(?:s|red|ring)?"),
    _verb("speaks", r"sp(?:eaks?|oke|eaking)"),
    _verb("studies", r"stud(?:y|ies|ied|ying)"),
    _verb("name", r"(?:is|was|are|got)\s+(?:called|named|renamed(?:\s+to)?|known\s+as)|goes\s+by"),
    _verb("birthplace", r"(?:is|was|were)\s+born\s+in"),
    _verb("price", r"costs?|is\s+priced\s+at|sells\s+for"),
    _verb("weight", r"weigh(?:s|ed)?"),
    _verb(
        "location",
        r"(?:is|are|was|were)\s+(?:located|stored|kept|found|placed|parked|installed)\s+(?:in|at|on|under|near)|sits\s+(?:in|on|at)",
    ),
    _verb("owner", r"belong(?:s|ed)?\s+to|(?:is|are|was|were)\s+owned\s+by"),
    _verb("manager", r"report(?:s|ed)?\s+to|(?:is|are|was|were)\s+(?:managed|led|run|headed|supervised)\s+by"),
    _verb("deadline", r"(?:is|are|was|were|falls)\s+due(?:\s+(?:on|by|in))?"),
    _verb("expiry", r"(?:expires?|runs?\s+out)(?:\s+(?:on|in))?"),
    _verb("vehicle", r"driv(?:es?|ing)|drove"),
    _verb("member of", r"(?:is|are|was|became|becomes)\s+(?:a\s+)?(?:part|member)\s+of"),
    _verb("has", _GET, event=True),
    Phrase(
        pattern=_compiled(
            rf"(?P<s>{NAME})\s+{_AUX}(?:gave|give|given|handed|passed|threw|thrown|traded|sold|auctioned|signed|swapped"
            rf"|exchanged)\s+{OBJECT}\s+(?:away|over|on|out|in|(?:to|for)\s+\S.*?|off)(?:\s+to\s+.*)?"
        ),
        predicate="has",
        event=True,
        ends=True,
    ),
    _verb("has", _RID, event=True, ends=True),
    _verb("has", r"own(?:s|ed|ing)?|ha(?:s|ve|ving)(?:\s+got)?|possess(?:es|ed)?"),
    _verb("uses", r"us(?:es?|ed|ing)|subscrib(?:es?|ed)\s+to"),
    _verb("plays", r"play(?:s|ed|ing)?"),
]
"""The verb says the predicate."""

ABSENT = (
    [
        _compiled(
            rf"{own}\s+(?:(?:has|have|had)\s+)?(?:(?:is|are|was|were|been|got)\s+)?(?:now\s+)?(?:cancel(?:l)?ed|removed|deleted"
            rf"|revoked|abolished|discontinued|terminated|cleared"
            r"|unset|lost|gone|withdrawn|dropped|scrapped|expired|lapsed|exist(?:s|ed)?|taken\s+away|run\s+out|ran\s+out|void"
            r"|no\s+more|stopped|ended|over|shut\s+down|retired|decommissioned|waived|lifted|suspended|nullified"
            r"|history|given\s+up|taken\s+from\s+(?:him|her|them|it)|come\s+to\s+an\s+end|dissolved|disconnected|deactivated"
            r"|emptied|erased)"
        )
        for own in OF_SUBJECT
    ]
    + [
        _compiled(
            rf"there\s+(?:is|are|was|were)\s+(?:no|not\s+an?)\s+(?P<p>{ATTRIBUTE})\s+(?:for|of|at|in|on)\s+(?P<s>{NAME})"
        ),
        _compiled(
            rf"(?P<s>{NAME})\s+(?:is|are|goes|remains|stays)\s+without\s+(?:an?\s+|any\s+|its\s+|his\s+|her\s+"
            rf"|their\s+)?(?P<p>{ATTRIBUTE})"
        ),
    ]
    + [
        _compiled(
            rf"(?:{NAME}\s+)?{_AUX}(?:took\s+away|removed?|cancel(?:l)?ed|deleted?|revoked|dropped|abolished|cleared|withdrew"
            rf"|scrapped|ended|terminated|closed|gave\s+up"
            rf"|got\s+rid\s+of|discontinued|unset|erased|put\s+an\s+end\s+to|unregistered|disconnected)\s+{own}"
        )
        for own in OF_SUBJECT
    ]
)
"""The attribute has no value any more ("exists" is met only where "no longer" was blanked out)."""

AGE = _compiled(rf"(?P<s>{NAME})\s+(?:(?:is|was|are|am)\s+(?P<o>\d{{1,3}})\s+years?(?:\s+old)?)")
STATE = _compiled(
    rf"(?P<s>{NAME})\s+(?P<be>{_BE}|went|goes|got|{_AUX}(?:switched|turned|set|changed){_FROM}(?:\s+to)?)\s+{OBJECT}"
)
IT_IS = _compiled(rf"(?P<s>it|he|she|they|i|we|you)['’](?:s|m|re)\s+(?P<be>){OBJECT}")
MENTIONED = [
    _compiled(rf"{own}\s+(?:{_AUX}{_CHANGED}|{_BE}\s+(?:new|different|another|wrong|what\s.*))") for own in OF_SUBJECT
]
"""An attribute is spoken of, and what it is comes next: "her number has changed; it is 12"."""

NO_VALUE = _compiled(
    r"(?:i|we|you|he|she|they|it|is|are|was|were|be|been|has|have|had|got|gets?|use|uses|take|takes|took|put|puts|chose|made|make"
    r"|keep|keeps|kept|went|goes|go|on|to|with"
    r"|will|shall|can|must|now|for|of|in|at|that|this|want|wants|need|needs|call|calls|see|find|found|give|gives|gave|say|says"
    r"|said|know|\w{2,}ed|\w{2,}ing|\S*,)"
)
"""Where the words of a value end, going back from the attribute it is given to."""

_FILLER = (
    rf"(?:{_FILL}|now|a|an|the|new|value|set|put|made|this|time|we|they|with|of|has|have|had|does|do|did|can|could|may"
    rf"|must|want|need|s|ends?|comes?|came|lands?|stands?)"
)
ANCHORED = [
    *(
        (_compiled(rf"(?:[\w',]+\s+){{0,4}}?{own}\s+(?:{_FILLER}\s+){{0,6}}{_LINK}\s+(?P<rest>\S.*)"), False)
        for own in (OF_SUBJECT[0], OF_SUBJECT[1])
    ),
    *((_compiled(rf"{own}\s+(?:{_FILLER}\s+){{0,6}}{_LINK}\s+(?P<rest>\S.*)"), False) for own in OF_SUBJECT[2:]),
    *((_compiled(rf"(?P<rest>\S.*?)\s+(?:down\s+)?(?:as|to\s+be|becomes|became)\s+{own}"), True) for own in OF_SUBJECT),
]
"""An attribute at the beginning with a value at the end, or the other way round; the last resort."""

PROMISE = _compiled(
    rf"(?P<s>{NAME})(?:\s+|(?=['’]ll))(?:will|['’]ll|shall|promis(?:e|es|ed)(?:\s+\w+)?\s+to|agree(?:s|d)?\s+to|commit(?:s"
    rf"|ted)?\s+to|undertake(?:s|n)?\s+to"
    rf"|(?:am|is|are)\s+going\s+to|plans?\s+to|has\s+to|have\s+to|must|need\s+to|needs\s+to)\s+{OBJECT}"
)
KEPT = _compiled(
    rf"(?P<s>{NAME})\s+(?:has\s+|have\s+|['’]ve\s+)?(?P<o>\w+(?:ed|nt|de|ne|id|ote|ook|ave|ught)\s+\S.*?),?\s+(?:as\s+(?:promised"
    rf"|agreed)|(?:in|on)\s+time)"
)
LINE = _compiled(r"(?P<p>[A-Za-z][\w /.-]{0,40}?)\s*(?::|=|->|→)\s*(?P<o>\S.{0,120}?)")
"""A line of a tool's result: the subject is who reports it, or stands before a dot."""

PRONOUNS = frozenset(
    [
        "he",
        "she",
        "it",
        "they",
        "this",
        "that",
        "his",
        "her",
        "its",
        "their",
        "him",
        "them",
        "these",
        "those",
        "who",
        "which",
        "there",
        "what",
    ]
)
SELF, YOU = frozenset(("i", "my", "we", "our", "me", "us", "mine", "i'm", "myself")), frozenset(("you", "your"))
