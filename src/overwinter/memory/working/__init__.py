"""Working memory: what a run keeps at hand while its window is small. The idea is Memex's (arXiv 2603.04257): in place of the whole
history the model sees a short summary and an index of handles, and reads back by handle what it needs.

What we changed, and why:

- The content of a handle is always a range of journal entries. What the agent says of it is a note beside it: a retelling is no
  evidence, and the journal has the words.
- Handles are immutable and versioned (`name@2`); nothing is overwritten, and none is ever lost.
- Compressing early is the agent's choice, compressing at all is not: at 95 % of the window the runtime does it itself.
- One count of tokens. What the status line shows is what limits, warnings and the reward go by.

Here are the pure parts, which know the journal and nothing of the loop: `handles` (names and versions), `selection` (which entries are
meant), `paging` (content in pages), `text_index` (finding by words), `reward` (what an episode's use of memory costs). The tools
themselves and the view are `overwinter.loop.memory`.
"""

from __future__ import annotations

HINT_AT, WARN_AT, COMPRESS_AT = 0.80, 0.90, 0.95
"""Shares of the window: the status line hints, it warns, the runtime compresses by itself."""

MEMORY_TOOLS = frozenset({"compress", "read", "find", "list_handles", "pin", "unpin", "recall"})
"""Names of the tools by which a run works with its memory. What they bring is never learnt as something new."""
