"""Worlds whose engine is a Java program."""

from __future__ import annotations

import shutil

from overwinter.errors import UsageError


def need_java(world: str) -> None:
    """Say what to install if there is no Java to run `world` in."""
    if shutil.which("java") is None:
        raise UsageError(
            f"{world} runs in Java, and there is no java on the PATH", "install a Java runtime, 8 or later"
        )
