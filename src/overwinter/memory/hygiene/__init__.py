"""What keeps memory clean: secrets are taken out before a text is stored, and text that reads like an order is known as such.

`redact` and `reads_like_instruction` are pure functions of a text.
"""

from overwinter.memory.hygiene.instructions import reads_like_instruction
from overwinter.memory.hygiene.redact import Redacted, redact

__all__ = ["Redacted", "reads_like_instruction", "redact"]
