"""Memory that a step frees is not faulted in again by the next."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import ctypes, resource, sys
from overwinter.learn.train.allocator import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    parts = [libc.malloc(4 << 20) for _ in range(16)]
    for part in parts:
        libc.memset(part, 1, 4 << 20)
    for part in parts:
        libc.free(part)
for _ in range(2):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")
def test_freed_memory_is_kept() -> None:
    def faults(how: str) -> int:
        return int(
            subprocess.run([sys.executable, "-c", STEPS, how], check=True, capture_output=True, text=True).stdout
        )

    assert faults("keep") < 1000
    assert faults("leave") > 10_000


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    from overwinter.learn.train.allocator import keep_freed_memory

    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
