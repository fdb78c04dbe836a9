"""glibc's malloc, told to keep what a training step frees.

By default it gives the end of its heap back to the system when a step has freed it, and the next step faults it in again, page by page:
5,000 to 8,000 faults a step for models of 1 to 10 million parameters, some percent of the time. Kept, it costs nothing, and the process
stays as large as its largest step. Pieces above 32 MiB are mapped one by one as ever: on the heap they would leave holes.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>."""
_NEVER, _PIECE = 1 << 30, 32 << 20
"""No trimming below a gigabyte; and the threshold that glibc itself would come to, which setting the other one would freeze too low."""


def keep_freed_memory() -> bool:
    """From now on this process keeps the memory it frees. False where malloc is not glibc's, and nothing was changed."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return False
    return all(mallopt(name, value) == 1 for name, value in ((_TRIM_THRESHOLD, _NEVER), (_MMAP_THRESHOLD, _PIECE)))
