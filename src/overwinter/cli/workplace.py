"""What a command works with: the configuration in force, the store, and the run that was meant."""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from overwinter.cli.flags import Common, Plain
from overwinter.cli.output import Output
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.config import Effective, Settings
    from overwinter.journal import RunInfo, Store

ENDED = frozenset({"verified", "unverified", "failed", "cancelled"})
LAST = "last"
"""The word for the newest run."""


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """An open store and what belongs to it."""

    common: Common
    effective: Effective
    store: Store
    out: Output

    @property
    def settings(self) -> Settings:
        return self.effective.settings

    @property
    def namespace(self) -> str:
        """Whose memory one works with here."""
        return self.settings.memory.namespace

    def command(self, *words: str) -> str:
        """A command to print: what to type to go on, with the options that find the same journal again."""
        more = []
        if self.common.config is not None:
            more += ["--config", str(self.common.config)]
        if self.common.store is not None:
            more += ["--store", mask_password(self.common.store)]
        return shlex.join(["overwinter", *words, *more])

    def resolve(self, name: str) -> RunInfo:
        """The run called `name`, or the only one whose name begins so, or the newest for "last".

        Raises:
            UsageError: none, or several.
        """
        from overwinter.memory.notebook import AT_REST

        try:
            return self.store.info(name)
        except UsageError:
            runs = self.store.runs()
        # Branches of a search are asked for by their whole name.
        runs = [info for info in runs if not info.is_branch]
        worked = [info for info in runs if info.status != AT_REST]
        found = worked[:1] if name == LAST else [info for info in runs if info.run.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(info.run for info in found[:8])
            raise UsageError(f"several runs begin with {name!r}: {several}", "give more of the name")
        wanted = "there is no run yet" if name == LAST else f"there is no run {name!r} in {shown_store(self.store.url)}"
        raise UsageError(wanted, f"see what there is with `{self.command('ls')}`")

    def standing(self, info: RunInfo) -> str:
        """A run's status, and for one that should be running whether a living process works on it."""
        return standing(self.store, info)

    def is_worked_on(self, info: RunInfo) -> bool:
        """Whether a process holds the run and, as far as can be known, lives."""
        return is_worked_on(self.store, info)

    def who(self, by: str | None) -> str:
        """Who acts, as the journal names them."""
        return by or self.settings.by or _user()


def is_worked_on(store: Store, info: RunInfo) -> bool:
    from overwinter.journal.lease import is_dead

    return bool(info.owner) and info.expires_us > store.now_us() and not is_dead(info.owner)


def standing(store: Store, info: RunInfo) -> str:
    if info.status != "running" or is_worked_on(store, info):
        return info.status
    return "ready" if info.head_seq == info.fork_seq + 1 else "interrupted"


def load_settings(common: Plain, flags: Mapping[str, Any] | None = None) -> Effective:
    from overwinter.config import load

    store = common.store if isinstance(common, Common) else None
    return load({"store": store, **(flags or {})}, file=common.config)


@contextmanager
def workplace(
    common: Common, *, read_only: bool = False, flags: Mapping[str, Any] | None = None
) -> Iterator[Workplace]:
    """The store of the configuration, closed at the end."""
    from overwinter.journal import open_store

    effective = load_settings(common, flags)
    store = open_store(effective.settings.store, read_only=read_only)
    try:
        yield Workplace(common=common, effective=effective, store=store, out=Output(as_json=common.json))
    finally:
        store.close()


def mask_password(url: str) -> str:
    """`url` without its password."""
    password = urlsplit(url).password if "://" in url else None
    return url.replace(f":{password}@", ":…@") if password else url


def shown_store(url: str) -> str:
    return mask_password(url).removeprefix("sqlite:")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "user"
