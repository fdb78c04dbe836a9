"""The clerk: a player that reads only what is in its view, as a language model does, and works by simple rules.

It files what the document says, and answers what the view says. What the view does not say it looks for with the memory tools if it
has them, and guesses if not. So the same clerk shows what memory is worth: nothing else differs between the two runs.

It keeps nothing between two steps. Its summaries hold no facts: it relies on handles, to put them to the test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from ..world import Observation

_NOW = re.compile(r"(Letter|Document|Visitor) (\d+) of \d+\. ([^\n]*)")
_SEEN = re.compile(r"<data from=\"entry|\[overwinter\] As things stand|\[archive|You keep|Document|Visitor|Letter")
"""Turns that say what is before it, and not what memory brought."""
_SUBJECT = re.compile(r"It is a record of (\w+)\.")
_KEPT_LETTER = re.compile(r'<data from="entry (\d+)" fence="\w+">\nLetter (\d+) of')
_IN_HANDLE = re.compile(r"\(in ([\w-]+@\d+)\)")
_COMPRESS = re.compile(r"Compress (soon|NOW)")
MIN_TURNS = 6
"""With fewer results in view there is nothing worth compressing."""


class ClerkPolicy:
    """See the module's page. `read` plays from a view; `act`, with one observation alone, files well and guesses."""

    name = "clerk"

    def reset(self, seed: int) -> None:
        """It has no state."""

    def act(self, observation: Observation, actions: Sequence[str]) -> str:
        return self.read([observation.data.get("text", "")], (), actions)

    def read(self, texts: Sequence[str], tools: Sequence[str], actions: Sequence[str]) -> str:
        """One of `actions`, or a call of one of `tools` as text."""
        if "compress" in tools and _COMPRESS.search(texts[-1]):
            called = self._compress(texts)
            if called:
                return called
        now = next((found for text in reversed(texts) if _SEEN.match(text) and (found := _NOW.search(text))), None)
        if now is None or len(actions) == 1:
            return actions[0]
        if now[1] == "Document":
            subject = _SUBJECT.search(now[3])
            wanted = f"file under {subject[1]}" if subject is not None else ""
            return wanted if wanted in actions else actions[0]
        return self._answer(now[3], texts, tools, actions)

    def _answer(self, question: str, texts: Sequence[str], tools: Sequence[str], actions: Sequence[str]) -> str:
        name, told = _asked(question)
        for text in texts:
            found = re.search(told, " ".join(text.split()))
            said = [action for action in actions if found is not None and action.endswith(f" {found[1]}")]
            if said:
                return said[0]
        looked = next((text for text in reversed(texts) if f'from="find {name}"' in text), "")
        if "find" in tools and not looked:
            return _call("find", query=name, k=5)
        for handle in _IN_HANDLE.findall(looked):
            if "read" in tools and not any(f'from="handle {handle}"' in text for text in texts):
                return _call("read", handle=handle, page=1)
        return actions[0]

    def _compress(self, texts: Sequence[str]) -> str:
        """Keep the letters in view under a handle of their own; the rest is found by `find`."""
        view = "\n".join(texts)
        if view.count('<data from="entry ') < MIN_TURNS:
            return ""
        letters = [(int(seq), int(number)) for seq, number in _KEPT_LETTER.findall(view)]
        keep = []
        if letters:
            entries = ", ".join(str(seq) for seq, _ in letters)
            numbers = f"{letters[0][1]}-{letters[-1][1]}"
            keep.append({"handle": f"letters-{numbers}", "description": f"letters {numbers}", "selection": entries})
        summary = "The archive: letters are kept under handles; file each document by its subject; look up what visitors ask for."
        return _call("compress", summary=summary, keep=keep)


def _asked(question: str) -> tuple[str, str]:
    """(words to look for, pattern of the sentence that answers)."""
    code = re.match(r"What is the code of the (.+)\?", question)
    if code is not None:
        return f"code of the {code[1]}", rf"The code of the {code[1]} is (\d+)\."
    place = re.match(r"Where does the (.+) lie\?", question)
    if place is not None:
        return f"the {place[1]} lies", rf"The {place[1]} lies ([^.]+)\."
    person = re.match(r"(.+) has come\.", question)
    who = person[1] if person is not None else question
    return f"promised {who}", rf"I promised {re.escape(who)} ([^.]+)\."


def _call(tool: str, **arguments: object) -> str:
    return json.dumps({"tool": tool, "arguments": arguments})
