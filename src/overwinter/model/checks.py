"""Whether the values of a dataclass of switches are of the kinds that its annotations name."""

from __future__ import annotations

import math
import re
from dataclasses import fields, is_dataclass
from typing import Any

from overwinter.errors import UsageError

SEE_DOCS = "see docs/model.md for the switches and their values"


def check_types(value: Any) -> None:
    """Whole numbers are at least 1 (or 0, if that is the default), reals finite and positive, switches true or false, names
    one of those listed, dataclasses of the class named."""
    for field in fields(value):
        given, annotation = getattr(value, field.name), str(field.type)
        if given is None and "None" in annotation:
            continue
        if annotation.startswith("int"):
            lowest = 0 if field.default == 0 else 1
            right = isinstance(given, int) and not isinstance(given, bool) and given >= lowest
        elif annotation.startswith("float"):
            real = isinstance(given, int | float) and not isinstance(given, bool)
            right = real and math.isfinite(given) and given > 0
        elif annotation == "bool":
            right = isinstance(given, bool)
        elif annotation.startswith("Literal"):
            right = isinstance(given, str) and given in re.findall(r"'(\w+)'", annotation)
        elif is_dataclass(given):
            right = type(given).__name__ in annotation or annotation.startswith("RopeScaling")
        else:
            right = isinstance(given, str) and annotation == "str"
        if not right:
            raise UsageError(f"{type(value).__name__}.{field.name} cannot be {given!r}", SEE_DOCS)
