"""HTTP GET against a real server on loopback: the allow-list, redirects, private addresses, sizes, times, kinds."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.tools import Effect, ToolContext, ToolResult
from overwinter.tools.web import _Entry, _is_public, http_get

CONTEXT = ToolContext(run="r", entry=1, idempotency_key="k")
RELEASED = threading.Event()


class Site(BaseHTTPRequestHandler):
    """A page for every case."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        port = self.server.server_address[1]
        if path.startswith("/to/"):
            return self.answer(302, location=path.removeprefix("/to/").replace("PORT", str(port)))
        if path == "/loop":
            return self.answer(302, location="/loop")
        if path == "/hang":
            RELEASED.wait(10)
            return None
        if path == "/drip":
            self.send_response(200)
            self.end_headers()
            while not RELEASED.wait(0.02):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return None
            return None
        pages: dict[str, tuple[int, bytes, dict[str, str]]] = {
            "/docs/a": (200, b"page a", {}),
            "/latin": (200, b"caf\xe9", {"content-type": "text/plain; charset=latin-1"}),
            "/liar": (200, b"caf\xe9", {"content-type": "text/plain; charset=utf-8"}),
            "/odd": (200, b"plain", {"content-type": "text/plain; charset=klingon"}),
            "/json": (200, b"{}", {"content-type": "application/vnd.x+json"}),
            "/png": (200, b"\x89PNG", {"content-type": "image/png"}),
            "/bomb": (200, gzip.compress(b"x" * 1_000_000), {"content-encoding": "gzip"}),
            "/big": (200, b"x" * 100_000, {}),
            "/host": (200, self.headers["host"].encode(), {}),
            "/missing": (404, b"no such page", {}),
        }
        status, body, headers = pages.get(path, (404, b"?", {}))
        return self.answer(status, body, **headers)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": "text/plain", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        RELEASED.set()
        server.shutdown()


def get(port: int, path: str, allow: list[str] | None = None, **options: Any) -> ToolResult:
    options = {"allow_private": True, **options}
    tool = http_get(allow=allow or [f"127.0.0.1:{port}"], **options)[0]
    return tool.call({"url": f"http://127.0.0.1:{port}{path}"}, CONTEXT)


def test_a_page_comes_with_its_facts(port: int) -> None:
    result = get(port, "/docs/a")
    assert (result.ok, result.text) == (True, "page a")
    assert result.data["status"] == 200
    assert result.data["complete"] is True
    assert http_get(allow=[])[0].effect is Effect.PURE


@pytest.mark.parametrize(
    ("allow", "path", "good"),
    [
        ("http://127.0.0.1:PORT/docs", "/docs/a", True),
        ("http://127.0.0.1:PORT/docs/", "/docs/a", True),
        ("http://127.0.0.1:PORT/do", "/docs/a", False),
        ("http://127.0.0.1:PORT/docs", "/latin", False),
        ("http://127.0.0.1:PORT/docs", "/docs/../latin", False),
        ("http://127.0.0.1:PORT/docs", "/docs/%2e%2e/latin", False),
        ("http://127.0.0.1:PORT/docs", "/docs/%252e%252e/latin", False),
        ("http://127.0.0.1:PORT/docs", "/docs/..%5clatin", False),
        ("https://127.0.0.1:PORT", "/docs/a", False),
        ("127.0.0.1", "/docs/a", False),
        ("127.0.0.1:1", "/docs/a", False),
        ("example.org", "/docs/a", False),
    ],
)
def test_only_what_the_list_admits_is_fetched(port: int, allow: str, path: str, good: bool) -> None:
    result = get(port, path, allow=[allow.replace("PORT", str(port))])
    assert result.ok is good
    if not good:
        assert result.error == "denied"


def test_a_redirect_may_not_leave_the_list(port: int) -> None:
    docs = [f"http://127.0.0.1:{port}/docs", f"http://127.0.0.1:{port}/to"]
    assert get(port, "/to/http://127.0.0.1:PORT/docs/a", allow=docs).text == "page a"
    for target in ["/latin", "http://localhost:PORT/docs/a", "file:///etc/passwd", "http://169.254.169.254/"]:
        result = get(port, f"/to/{target}", allow=docs)
        assert (result.ok, result.error) == (False, "denied"), target
    assert "redirects" in get(port, "/loop").text


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http://127.0.0.1@evil.example/",
        "http://user:pw@127.0.0.1/",
        "http://[::1",
        "javascript:alert(1)",
        "//127.0.0.1/x",
        "",
        "http:///x",
        "http://127.0.0.1.evil.example/",
        "http://evil.example/127.0.0.1",
    ],
)
def test_tricky_urls_are_denied(url: str) -> None:
    result = http_get(allow=["127.0.0.1"], allow_private=True)[0].call({"url": url}, CONTEXT)
    assert (result.ok, result.error) == (False, "denied")


hosts = st.sampled_from(["good.example", "evil.example", "good.example.evil.example", "xgood.example"])
urls = st.builds(
    "{}://{}{}{}/{}".format,
    st.sampled_from(["http", "https", "ftp"]),
    st.sampled_from(["", "good.example@", "good.example:80@", "good.example%40"]),
    hosts,
    st.sampled_from(["", ":80", ":443", ":8080"]),
    st.text(alphabet="ab./%2e\\@:?#", max_size=12),
)


@given(urls)
def test_no_url_is_admitted_that_would_connect_elsewhere(url: str) -> None:
    entry = _Entry.parse("good.example")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return
    if parsed.scheme in ("http", "https") and parsed.host and entry.admits(parsed):
        assert httpx.Request("GET", parsed).url.host == "good.example"
        assert (parsed.port or 80) in (80, 443)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *(
            "::1",
            "::",
            "fe80::1",
            "fe80::1%eth0",
            "fc00::1",
            "::ffff:10.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::a00:1",
            "ff0e::1",
        ),
    ],
)
def test_private_addresses_are_known_in_every_dress(address: str) -> None:
    assert not _is_public(address)


def test_public_addresses_are_public() -> None:
    assert all(map(_is_public, ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"]))


def test_a_listed_name_that_points_inside_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get(port, "/docs/a", allow_private=False).error == "denied"
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def inside(host: Any, *args: Any, **kwargs: Any) -> Any:
        looked_up.append(str(host))
        return real("127.0.0.1" if host == "shop.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", inside)
    arguments = {"url": f"http://shop.example:{port}/host"}
    refused = http_get(allow=[f"shop.example:{port}"])[0].call(arguments, CONTEXT)
    assert (refused.ok, refused.error) == (False, "denied")
    assert "127.0.0.1" in refused.text
    looked_up.clear()
    fetched = http_get(allow=[f"shop.example:{port}"], allow_private=True)[0].call(arguments, CONTEXT)
    assert fetched.text == f"shop.example:{port}"
    assert looked_up.count("shop.example") == 1, "a second look-up could bring another address"


def test_sizes_are_capped_and_compressed_pages_refused(port: int) -> None:
    big = get(port, "/big", max_bytes=1_000)
    assert big.ok
    assert (big.data["bytes"], big.data["complete"]) == (1_000, False)
    assert "first 1000 bytes" in big.text
    assert get(port, "/bomb").error == "denied"


def test_only_text_and_every_charset_readable(port: int) -> None:
    assert get(port, "/png").error == "denied"
    assert get(port, "/json").ok
    assert get(port, "/latin").text == "café"
    assert get(port, "/liar").text == "caf\ufffd"
    assert get(port, "/odd").text == "plain"


def test_errors_of_the_server_and_no_server(port: int) -> None:
    missing = get(port, "/missing")
    assert (missing.ok, missing.error, missing.data["status"]) == (False, "unavailable", 404)
    assert "no such page" in missing.text
    with socket.create_server(("127.0.0.1", 0)) as closing:
        free = closing.getsockname()[1]
    assert get(free, "/").error == "unavailable"


@pytest.mark.parametrize("path", ["/hang", "/drip"])
def test_slow_servers_are_cut_off(port: int, path: str) -> None:
    begun_s = time.monotonic()
    assert get(port, path, timeout_s=0.2).error == "timeout"
    assert time.monotonic() - begun_s < 1


@pytest.mark.parametrize(
    "entry", ["", "*.example.org", "ftp://example.org", "example.org/docs", "https://a@b", "http://"]
)
def test_unclear_entries_are_refused_when_declared(entry: str) -> None:
    with pytest.raises(UsageError):
        http_get(allow=[entry])
