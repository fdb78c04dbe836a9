"""Does a text give orders to the agent that reads it? Untrusted text that does is kept as quoted data and never enters the core.

Rules of two strengths. One strong rule is enough: "ignore previous instructions", an imitated system prompt, a tool call as JSON, a
request to pass on secrets, an order not to tell the user. Weak ones (an appeal to the machine as such, a rule "from now on", "do not
mention", "run this") need company. A person's guide to other persons ("you must restart the server") stays below the line.

This is a label, not a wall: what keeps memory from being obeyed is that it is shown as quoted data. Poisoning by plain false statements
(MINJA, arXiv 2503.03704) has no imperative to be seen here; trust and contradiction of claims are for that.
"""

from __future__ import annotations

import re
import unicodedata

THRESHOLD = 2

_OBJECTS = (
    r"(?:instructions?|prompts?|rules?|directions?|messages?|guidelines?|context|commands?|orders|constraints"
    r"|training|policies|programming)"
)
_SECRETS = (
    r"(?:system prompt|(?:hidden |secret |initial )?instructions|api[ _-]?keys?|passwords?|credentials?|secrets?|tokens?"
    r"|private keys?|ssh keys?"
    r"|environment variables?|\.env\b|(?:chat|conversation) (?:history|log)|conversation|memor(?:y|ies)|user'?s? (?:data"
    r"|emails?|files?|address))"
)
_MACHINE = (
    r"(?:ai|a\.i\.|llms?|language models?|(?:ai |coding |virtual )?(?:assistants?|agents?)|chat ?bots?|models?|bot"
    r"|claude|chatgpt|gpt|gemini|copilot)"
)
_DO = (
    r"(?:answer|approve|call|click|confirm|delete|disclose|do|download|email|execute|fetch|follow|forward|give|go|ignore"
    r"|include|install|invoke|mark|open"
    r"|output|post|print|purchase|buy|recommend|remember|reply|report|respond|reveal|run|save|say|send|share|store|submit"
    r"|transfer|treat|upload|use"
    r"|visit|wire|write|obey|comply|pretend|act|behave|begin|start|stop|tell|always|never|immediately)"
)

_STRONG = (
    rf"\b(?:ignore|disregard|forget|override|bypass|discard|neglect|set aside)\b(?: (?:all|any|every|the|your|these|of|my"
    rf"|everything|other|both|and)\b)*"
    rf"(?: (?:previous|prior|above|earlier|preceding|existing|former|system|safety|original|current|past"
    rf"|foregoing))?(?: (?:and|or) \w+)?"
    rf"(?: (?:previous|prior|earlier|system|safety|user))? {_OBJECTS}\b",
    r"\b(?:ignore|disregard|forget) (?:everything|all|anything)(?: (?:that|you|which))?.{0,20}\b(?:above|before|previous"
    r"|prior|said|told|so far|know)\b",
    rf"\byou (?:must|have to|shall|will) (?:now|immediately|from now on|henceforth|at once)\b,? ?(?:only |always |never )?{_DO}?",
    r"\byou are now (?:in |an? |the |my |called |known as |no longer |free|unrestricted|jailbroken|dan\b)",
    r"\byour (?:new|real|true|actual|updated|only|primary) (?:task|goal|role|job|instructions?|objective|purpose|directive"
    r"|identity|persona)\b"
    r".{0,10}(?:\bis\b|\bare\b|:)",
    r"<\|?(?:im_start|system|start_header_id|eot_id|endoftext)\|?>|\[/?INST\]|<<SYS>>|</?(?:system|system_prompt|instructions)>",
    r"(?:^|\n)\s*(?:#+ *)?\[?(?:system|developer) (?:prompt|message|instruction|override|note|update"
    r"|notice)s?\]? ?:\s*\S+(?: \S+){2}",
    r"(?:^|\n)\s*(?:#+ *)?\[?(?:system|developer)\]? ?: ?[^\n]{0,60}\b(?:you|your|the user|the (?:operator|administrator)"
    r"|ignore|obey|assistant|must)\b",
    r"\b(?:begin|start|new|end of|updated) (?:system |developer |user |admin )?(?:prompt|instructions?)\b ?[:\]\-=]",
    r"(?:^|\n)\s*#{2,} ?(?:system|instructions? (?:for|to) (?:the )?(?:ai|assistant|agent|model))",
    rf"\b(?:important|urgent|critical|special|secret|hidden)?:? ?(?:instructions?|message|notice|note|order"
    rf"|directive)s? (?:for|to) "
    rf"(?:the |any |all |every )?{_MACHINE}\b",
    r"\{\s*\"(?:name|tool|tool_name|function|recipient_name)\"\s*:\s*(?:\"[\w.-]+\"|\{\s*\"name\")\s*,\s*\"(?:arguments|parameters|args|input|tool_input)\"\s*:",
    r"\"(?:tool_calls|function_call)\"\s*:\s*[\[{]|<(?:tool_call|function_calls?|antml:invoke|invoke name=)|\bAction Input ?:",
    rf"\b(?:send|e-?mail|forward|post|upload|transmit|leak|reveal|exfiltrate|disclose|dump|append|submit|give|tell|copy"
    rf"|paste|include|repeat|print|output)\b"
    rf"(?: (?:me|us|all|the|your|any|of|full|complete|entire|every|a|copy|contents?|list|user'?s?|current|stored|saved|whole)\b)*"
    rf" {_SECRETS}\b(?:.{{0,80}}\b(?:to|at|in|via|into|verbatim|here|below|above|back)\b|[.!]?$)",
    r"\b(?:do not|don't|never|without|must not) (?:tell|telling|inform|informing|mention(?:ing)?|reveal(?:ing)?"
    r"|notify(?:ing)?|alert(?:ing)?|ask(?:ing)?"
    r"|warn(?:ing)?|show(?:ing)?)\b(?: (?:this|it|that|anything|about|to|any of this|these instructions)\b)* "
    r"(?:the |your |any |to )?(?:user|human|owner|operator|person|anyone|developer|principal|permission|confirmation)\b",
    r"\b(?:in|for|to) (?:all|every|each|any) (?:future|subsequent|following|later) (?:conversations?|sessions?|answers?"
    r"|responses?|repl(?:y|ies)|requests?|chats?|tasks?|runs?)\b",
    r"\b(?:add|store|save|write|put|insert|record|commit) (?:this|the following|these|it)\b.{0,30}\b(?:your|the agent's"
    r"|long[- ]term|core|permanent|persistent) "
    r"(?:memory|memories|core|instructions?|rules?|system prompt|profile)\b",
    r"\b(?:enable|enter|activate|switch (?:in)?to) (?:developer|debug|god|dan|jailbreak|admin|unrestricted|root) mode\b",
    r"\b(?:pretend|act as if|behave as (?:if|though)|imagine) (?:that )?you (?:are|were|have|had|can)\b.{0,60}"
    r"\b(?:no (?:rules|restrictions|limits|filter)|unrestricted|not an ai|without (?:any )?(?:restrictions|limits)"
    r"|administrator|root)\b",
    r"\bignorier\w* (?:alle|die|deine|saemtliche|sämtliche)\b.{0,25}\b(?:anweisungen|befehle|regeln)\b",
    r"\bignore[zr]? (?:toutes? |les |tes |vos )+.{0,25}\binstructions\b|\bignora (?:todas? |las "
    r"|tus )+.{0,25}\b(?:instrucciones|reglas)\b",
)
_WEAK = (
    rf"\b(?:dear|attention|hey|hello|hi|note to|as an?|if you are an?|you,? the|listen,?) (?:the |any |an? "
    rf"|all )?{_MACHINE}\b(?=.{{0,80}}(?:\b(?:you|please|must|should|do|never|always)\b|[:,!] ?{_DO}\b))",
    rf"(?:^|[\n.!;(]) *(?:the |any |every )?{_MACHINE}(?: reading (?:this|it))?,? (?:must|should|shall|has to|needs to"
    rf"|is to|will now|please)\b",
    rf"\b{_MACHINE} (?:reading|processing|parsing|that (?:reads|processes)|who reads) this\b",
    rf"\bfrom now on\b,? ?(?:you|always|never|every|all|{_DO})\b",
    rf"\byou (?:must|should|will|have to|need to|shall|are (?:required|instructed|ordered|obliged|to)(?: to)?) (?:always "
    rf"|never |only |first |also |instead |now )*{_DO}\b",
    rf"(?:^|[\n.!;:]) *(?:please |now |then |instead,? |immediately |also )*(?:{_DO}) (?:the following|this|these|that|all"
    rf"|every|any|only|it|exactly|no|nothing)\b",
    r"\b(?:call|use|invoke|run|execute|trigger) (?:the )?[`'\"]?\w+[`'\"]? (?:tool|function|action|plugin)\b|\b(?:call"
    r"|invoke) `?\w+\(",
    r"\b(?:execute|run) (?:the following|this|these) (?:commands?|code|scripts?|tools?|steps?)\b|\b(?:curl"
    r"|wget)\b[^\n]{0,120}\|\s*(?:ba|z)?sh\b",
    r"\bdo not (?:mention|reveal|disclose|verify|check|question|refuse|follow|trust|ask)\b|\bwithout (?:asking|confirmation"
    r"|verification|verifying|approval|review)\b",
    rf"\b(?:system prompt|{_MACHINE}'s (?:instructions|memory|rules)|your (?:system prompt|instructions|memory|guidelines"
    rf"|context window|tools))\b",
    r"\b(?:the (?:user|owner|operator|administrator|developer)|your (?:user|owner|operator|developer|creator)s?) (?:has "
    r"|have )?(?:already )?(?:approved|authori[sz]ed|consented|agreed|wants you|asked you|permits?)\b",
    r"\b(?:transfer|wire|send|pay) (?:\S+ ){0,6}(?:to (?:the )?(?:account|wallet|address|iban)|bitcoin|btc|eth)\b",
    r"\b(?:mark|report|declare|treat) (?:this|the|it|all|every|your)(?: \w+){0,3} as (?:done|verified|complete|completed"
    r"|approved|trusted|safe|authori[sz]ed)\b",
    r"\b(?:important|urgent|critical|override|mandatory)\s*[:!]",
    r"\bact as\b|\brole-?play as\b|\bpretend to be\b|\bjailbreak\b",
    r"https?://\S+\?\S*=(?:\{|\[|<|%7B|\$)",
    r"\bremember (?:to always|to never|that you (?:must|should|have to)|this rule)\b|\balways (?:recommend|answer|respond"
    r"|reply|approve|prefer|choose|say)\b",
)
_STRONG_PATTERN = re.compile("|".join(f"(?:{rule})" for rule in _STRONG), re.IGNORECASE)
_WEAK_PATTERNS = [re.compile(rule, re.IGNORECASE) for rule in _WEAK]
_HIDDEN = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]")


def reads_like_instruction(text: str) -> bool:
    """True for text that addresses the agent with orders, imitates a system prompt or a tool call, or asks for secrets."""
    plain = re.sub(r"[ \t]+", " ", _HIDDEN.sub("", unicodedata.normalize("NFKC", text)).replace("’", "'"))
    if _STRONG_PATTERN.search(plain):
        return True
    # Only the first thousands of characters count for company: a long guide has a weak cue of each kind somewhere.
    return any(_weak(plain[first : first + WINDOW]) >= THRESHOLD for first in range(0, len(plain), WINDOW // 2))


WINDOW = 600
"""Characters within which weak cues must stand together."""


def _weak(text: str) -> int:
    return sum(1 for rule in _WEAK_PATTERNS if rule.search(text))
