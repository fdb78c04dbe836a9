"""API keys: who may ask, and whose prefixes are whose.

A key file has one key per line, optionally with a name before it; `#` begins a comment:

    # team      key
    greenhouse  sk-4f1c…
    sk-77aa…

Names say whose stored responses are whose, so that a key can be exchanged under the same name. Keys are compared as digests,
all of them, in constant time. Each key has a salt of its own: prompts of two keys never share memory, so that nobody can find
out by timing what another has asked.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from overwinter.errors import UsageError
from overwinter.serve.errors import Refusal

ENVIRONMENT = "OVERWINTER_API_KEYS"
"""Keys separated by commas or white space, for where a file is inconvenient."""
LEAST_CHARACTERS = 16


@dataclass(frozen=True)
class Tenant:
    """Who asks.

    Attributes:
        name: "" where no keys are needed.
        salt: of its prefixes.
    """

    name: str = ""
    salt: bytes = b""


class Keys:
    """The keys that open the server; none at all leaves it open."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        for name, key in keys.items():
            if len(key) < LEAST_CHARACTERS or not key.isascii():
                raise UsageError(
                    f"the API key {name!r} has {len(key)} characters",
                    f"use at least {LEAST_CHARACTERS} random ASCII characters, as from `openssl rand -hex 24`",
                )
        self._tenants = {
            _digest(key): Tenant(name, hashlib.sha256(b"prefixes\0" + key.encode()).digest())
            for name, key in keys.items()
        }
        if len(self._tenants) < len(keys):
            raise UsageError("the same API key is listed twice", "give each name a key of its own")

    @classmethod
    def load(cls, path: Path | None, environment: Mapping[str, str]) -> Keys:
        """Keys of a file, if one is named, and of the environment.

        Raises:
            UsageError: the file cannot be read, others may read it, or it holds no key.
        """
        named: dict[str, str] = {}
        if path is not None:
            _add(named, _lines_of(path))
            if not named:
                raise UsageError(f"{path} holds no key", "write one key per line, or leave the option out")
        _add(named, ([key] for key in environment.get(ENVIRONMENT, "").replace(",", " ").split()))
        return cls(named)

    @property
    def is_open(self) -> bool:
        return not self._tenants

    def named(self, name: str) -> Tenant:
        """A tenant by name, as stored responses remember it; one whose key is gone gets a salt of nobody's."""
        found = next((tenant for tenant in self._tenants.values() if tenant.name == name), None)
        return found or Tenant(name, hashlib.sha256(b"gone\0" + name.encode()).digest() if name else b"")

    def tenant_of(self, authorization: str | None) -> Tenant:
        """Who sends this Authorization header.

        Raises:
            Refusal: 401, no key or an unknown one.
        """
        if self.is_open:
            return Tenant()
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise _unknown("an API key is needed: send the header 'Authorization: Bearer KEY'")
        given, found = _digest(key.strip()), None
        for digest, tenant in self._tenants.items():  # all of them, found or not: the time tells nothing
            if hmac.compare_digest(digest, given):
                found = tenant
        if found is None:
            raise _unknown("the API key is not known here")
        return found


def _unknown(message: str) -> Refusal:
    return Refusal(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _add(named: dict[str, str], rows: Iterable[list[str]]) -> None:
    for row in rows:
        name = row[0] if len(row) == 2 else f"key-{_digest(row[0]).hex()[:8]}"
        if name in named:
            raise UsageError(f"the API key name {name!r} is used twice", "give each key a name of its own")
        named[name] = row[-1]


def _lines_of(path: Path) -> list[list[str]]:
    try:
        text, mode = path.read_text(encoding="utf-8"), path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the key file {path} cannot be read: {error}", "name a readable text file") from error
    if mode & 0o007:
        raise UsageError(f"every user of this machine may read {path}", f"keep it to yourself: chmod 600 {path}")
    rows = [line.partition("#")[0].split() for line in text.splitlines()]
    if any(len(row) > 2 for row in rows):
        raise UsageError(f"a line of {path} has more than a name and a key", "write NAME KEY, or KEY alone")
    return [row for row in rows if row]
