"""A run as one page: a single HTML file without scripts, network or other files, for a phone and a desktop.

Idea: one pass over the journal keeps what the page can show (`digest`: bounded, whatever the run's length), `charts` draws the
curves, `render` writes the page. Filters are checkboxes that CSS looks at, and a link to an entry shows it even when it is
filtered out; so the page needs no JavaScript, and a policy in its head forbids any, should hostile text ever slip through.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from overwinter.cli.page.digest import digest_run
from overwinter.cli.page.render import render_page
from overwinter.journal import RunInfo, Store


def write_page(store: Store, info: RunInfo, path: Path, *, progress: Callable[[int, int], None] | None = None) -> int:
    """Write the page of a run; its size in bytes."""
    data = render_page(store, digest_run(store, info, progress=progress)).encode("utf-8", "replace")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return len(data)
