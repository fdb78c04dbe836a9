"""HTTP GET with an allow-list: `http_get`.

An entry is a host (`example.org`, `localhost:8080`) or the beginning of a URL (`https://example.org/docs`). Three doors
are shut that an allow-list alone leaves open:

- Redirects are followed by hand, and each address must be on the list.
- A name on the list may point into the private network (by mistake, or changed between check and use). So the name is
  resolved here, every address must be public, and the connection goes to the address that was checked.
- `https://allowed@evil.org/`, `/docs/../admin` and `/docs/%2e%2e/admin` are refused, not interpreted.

No proxy of the environment is used: it would resolve names on its own.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import httpx

from overwinter.errors import UsageError
from overwinter.tools.effect import Effect, ToolContext, ToolResult, failure
from overwinter.tools.tool import Tool, tool

MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_PORTS = {"http": 80, "https": 443}
_TEXT = re.compile(r"(text/.*|application/(.*\+)?(json|xml|yaml|javascript|x-ndjson|toml))$")


class _RefusedError(Exception):
    """This address is not fetched; the message is for the model."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the allow-list; None stands for any."""

    scheme: str | None
    host: str
    port: int | None
    path: str

    @classmethod
    def parse(cls, text: str) -> _Entry:
        try:
            url = httpx.URL(text if "://" in text else f"any://{text}")
        except httpx.InvalidURL as reason:
            raise UsageError(f"{text!r} is no host and no URL: {reason}", "write `example.org`") from reason
        scheme = None if url.scheme == "any" else url.scheme
        host_alone = scheme is None and url.path in ("", "/")
        if not url.host or "*" in url.host or url.userinfo or url.query or not (host_alone or scheme in _PORTS):
            problem = f"{text!r} is neither a host nor the beginning of an http(s) URL"
            raise UsageError(problem, "write `example.org`, `example.org:8080` or `https://example.org/docs`")
        port = url.port or (_PORTS[scheme] if scheme else None)
        return cls(scheme=scheme, host=url.host.rstrip("."), port=port, path=url.path.rstrip("/"))

    def admits(self, url: httpx.URL) -> bool:
        port = url.port or _PORTS[url.scheme]
        return (
            url.host.rstrip(".") == self.host
            and self.scheme in (None, url.scheme)
            # A host without a port means the usual ports, not any service on that machine.
            and (port == self.port if self.port else port in _PORTS.values())
            and (url.path == self.path or url.path.startswith(self.path + "/"))
        )


@dataclass(frozen=True, kw_only=True)
class _Fetcher:
    entries: tuple[_Entry, ...]
    allow_private: bool
    max_bytes: int

    def check(self, text: str) -> httpx.URL:
        """The URL, if it is on the list and means to everybody what it means here."""
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL as reason:
            raise _RefusedError(f"{text[:200]!r} is no URL: {reason}") from reason
        if url.scheme not in _PORTS or not url.host or url.userinfo:
            raise _RefusedError(f"{text[:200]!r}: only http and https URLs without user names are fetched.")
        # Unquoted twice, because some servers do.
        if {".", ".."} & set(re.split(r"[/\\]", unquote(unquote(url.raw_path.partition(b"?")[0].decode("ascii"))))):
            raise _RefusedError(f"{text[:200]!r}: `.` and `..` in the path are not resolved; write the path out.")
        if not any(entry.admits(url) for entry in self.entries):
            allowed = ", ".join(f"{e.scheme + '://' if e.scheme else ''}{e.host}{e.path}" for e in self.entries)
            raise _RefusedError(f"{text[:200]!r} is not on the allow-list. Allowed: {allowed or 'nothing'}.")
        return url

    def address_of(self, url: httpx.URL) -> str:
        """One address of the host; all of them must be public."""
        port = url.port or _PORTS[url.scheme]
        found = socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        for each in addresses:
            if not self.allow_private and not _is_public(each):
                raise _RefusedError(f"{url.host} is at {each}, which is not a public address.")
        return addresses[0]

    def fetch(self, text: str, until_s: float) -> ToolResult:
        with httpx.Client(trust_env=False, follow_redirects=False, timeout=_left_s(until_s)) as client:
            for _ in range(MAX_REDIRECTS + 1):
                url = self.check(text)
                # To the address that was checked, under the name that was asked for: a second look-up could differ.
                request = client.build_request(
                    "GET",
                    url.copy_with(host=self.address_of(url)),
                    headers={"host": url.netloc.decode("ascii"), "accept-encoding": "identity"},
                    extensions={"sni_hostname": url.host},
                )
                response = client.send(request, stream=True)
                try:
                    if response.status_code not in _REDIRECTS or "location" not in response.headers:
                        return self._read(response, url, until_s)
                    text = str(url.join(response.headers["location"]))
                finally:
                    response.close()
        raise _RefusedError(f"more than {MAX_REDIRECTS} redirects, the last to {text[:200]!r}")

    def _read(self, response: httpx.Response, url: httpx.URL, until_s: float) -> ToolResult:
        kind = response.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
        facts = {"url": str(url), "status": response.status_code, "content_type": kind}
        if not _TEXT.match(kind):
            return failure("denied", f"{url} is {kind}, and only text is fetched.", **facts)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            # A few compressed bytes can unfold to gigabytes; it was asked for plainly.
            return failure("denied", f"{url} was sent compressed although plain text was asked for.", **facts)
        raw = bytearray()
        for part in response.iter_raw():  # as it arrives: a buffered read would hide a server that drips
            raw += part
            if len(raw) > self.max_bytes:
                break
            _left_s(until_s)
        cut = len(raw) > self.max_bytes
        try:
            body = bytes(raw[: self.max_bytes]).decode(response.charset_encoding or "utf-8", errors="replace")
        except LookupError:  # a charset that nobody knows
            body = bytes(raw[: self.max_bytes]).decode("utf-8", errors="replace")
        facts |= {"bytes": min(len(raw), self.max_bytes), "complete": not cut}
        note = f"\n[… the page is longer; the first {self.max_bytes} bytes are shown]" if cut else ""
        if response.is_success:
            return ToolResult(ok=True, text=body + note, data=facts)
        return failure("unavailable", f"{url} answered {response.status_code}.\n{body}{note}", **facts)


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        # IPv4 in IPv6 clothes (mapped, 6to4, NAT64) reaches the private network just as well.
        hidden = parsed.ipv4_mapped or parsed.sixtofour
        if hidden is None and parsed in ipaddress.ip_network("64:ff9b::/96"):
            hidden = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if hidden is not None:
            parsed = hidden
    return parsed.is_global and not parsed.is_multicast


def _left_s(until_s: float) -> float:
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise httpx.ReadTimeout("the time for the whole page was up")
    return left_s


def http_get(
    *, allow: Sequence[str], allow_private: bool = False, timeout_s: float = 20.0, max_bytes: int = 256 * 1024
) -> list[Tool]:
    """The tool `http_get`. It is declared `pure`, so list no address where a GET changes something.

    Args:
        allow: hosts and URL beginnings; nothing else is fetched.
        allow_private: whether loopback and private addresses may be reached through names on the list.
        timeout_s: time for one page, redirects included.
        max_bytes: how much of a page is read.
    """
    fetcher = _Fetcher(
        entries=tuple(_Entry.parse(each) for each in allow), allow_private=allow_private, max_bytes=max_bytes
    )

    def get(url: str, context: ToolContext) -> ToolResult:
        """Fetch a text page by HTTP GET.

        Args:
            url: a full http or https URL on the allow-list.
        """
        time_s = timeout_s if context.deadline_s is None else min(timeout_s, context.deadline_s)
        try:
            return fetcher.fetch(url, time.monotonic() + time_s)
        except _RefusedError as reason:
            return failure("denied", str(reason))
        except httpx.TimeoutException:
            return failure("timeout", f"{url[:200]} did not answer within {time_s:g} s.")
        except (httpx.HTTPError, OSError, UnicodeError) as reason:
            return failure("unavailable", f"{url[:200]} cannot be reached: {reason}")

    # The fetcher keeps the time itself; the margin lets it say so before the caller gives up.
    declare = tool(
        effect=Effect.PURE,
        name="http_get",
        timeout_s=timeout_s + 1,
        max_output_bytes=max_bytes * 3 + 1024,  # a Latin-1 page grows when written as UTF-8
        tags=["network"],
    )
    return [declare(get)]
