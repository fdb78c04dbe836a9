"""The sandbox: each limit is tried for real. What this system cannot promise is skipped, as the report says."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.tools import Effect, ToolContext, ToolResult, process
from overwinter.tools.process import Capture
from overwinter.tools.sandbox import Limits, python_sandbox, sandbox_report, shell_sandbox

CONTEXT = ToolContext(run="r", entry=1, idempotency_key="k")
HELD: dict[str, bool] = sandbox_report()["held"]


def needs(promise: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not HELD.get(promise), reason=f"this system cannot keep the promise {promise!r}")


def python(code: str, context: ToolContext = CONTEXT, **options: Any) -> ToolResult:
    return python_sandbox(**options)[0].call({"code": code}, context)


def shell(command: str, context: ToolContext = CONTEXT, **options: Any) -> ToolResult:
    return shell_sandbox(**options)[0].call({"command": command}, context)


def survivors(mark: str) -> list[str]:
    """Command lines of living processes that contain the mark."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in line:
            found.append(line)
    return found


def gone(mark: str) -> bool:
    until_s = time.monotonic() + 3
    while survivors(mark) and time.monotonic() < until_s:
        time.sleep(0.01)
    return not survivors(mark)


def test_a_program_prints_and_a_failure_shows_where() -> None:
    assert python("print(6 * 7)").text.strip() == "42"
    failed = python("x = 1\nx / 0")
    assert (failed.ok, failed.error, failed.data["exit_code"]) == (False, "crash", 1)
    assert "line 2" in failed.text
    assert "ZeroDivisionError" in failed.text


def test_a_shell_command_tells_its_exit_code_and_its_signal() -> None:
    assert shell("echo out; echo err >&2").text == "out\nerr\n"
    assert shell("exit 3").data["exit_code"] == 3
    assert "SIGSEGV" in shell("kill -SEGV $$").text
    assert shell("true").text == "(done, no output)"
    long = "echo " + "x" * 200_000
    assert shell(long).ok, "a command longer than the system allows for one argument"


def test_the_environment_is_clean_and_the_folder_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "sk-secret")
    seen = json.loads(python("import os, json; print(json.dumps([dict(os.environ), os.getcwd()]))").text)
    assert "sk-secret" not in str(seen)
    assert not Path(seen[1]).exists(), "deleted afterwards"


@pytest.mark.parametrize(
    "command", ["sleep {mark}", "sleep {mark} & sleep {mark}", "trap '' TERM INT HUP; sleep {mark}"]
)
def test_at_the_time_limit_everything_is_killed(command: str) -> None:
    mark = f"77{os.getpid()}"
    begun_s = time.monotonic()
    result = shell(command.format(mark=mark), limits=Limits(time_s=0.3))
    assert time.monotonic() - begun_s < 4
    assert (result.ok, result.error, result.data["timed_out"]) == (False, "timeout", True)
    assert "killed after 0.3 s" in result.text
    assert gone(f"sleep {mark}")


@needs("descendants")
def test_a_child_that_leaves_the_group_is_killed_too() -> None:
    mark = f"78{os.getpid()}"
    assert shell(f"setsid sleep {mark} & echo started").text == "started\n"
    assert gone(f"sleep {mark}")


def test_a_background_child_does_not_hold_up_the_answer() -> None:
    begun_s = time.monotonic()
    assert shell("sleep 60 & echo done", limits=Limits(time_s=30)).text == "done\n"
    assert time.monotonic() - begun_s < 10


def test_a_command_that_closes_its_output_is_still_timed() -> None:
    assert shell("exec >&- 2>&-; sleep 60", limits=Limits(time_s=0.3)).error == "timeout"


def test_the_callers_deadline_is_the_shorter_one() -> None:
    hurried = ToolContext(run="r", entry=1, idempotency_key="k", deadline_s=1.0)
    result = shell("sleep 60", context=hurried, limits=Limits(time_s=30))
    assert result.data["timed_out"] is True, "killed by the sandbox, not left running by the caller"
    assert result.wall_s < 5


def test_endless_output_is_counted_but_not_kept() -> None:
    result = python(
        "import os\nfor _ in range(3000): os.write(1, b'x' * 65536)\nprint('the end')",
        limits=Limits(output_bytes=1000, time_s=30),
    )
    assert result.ok
    assert result.truncated_bytes == 3000 * 65536 + len("the end\n") - 1000
    assert result.text.endswith("the end\n")
    assert len(result.text) < 1200


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(min_value=4, max_value=60))
def test_a_capture_keeps_the_beginning_and_the_end(parts: list[bytes], limit_bytes: int) -> None:
    capture, whole = Capture(limit_bytes), b"".join(parts)
    for part in parts:
        capture.add(part)
    assert capture.left_out_bytes == max(0, len(whole) - limit_bytes)
    text, _ = capture.text()
    if not capture.left_out_bytes:
        assert text == whole.decode(errors="replace")
    else:
        head = whole[: limit_bytes * 3 // 4].decode(errors="replace")
        tail = whole[len(whole) - (limit_bytes - limit_bytes * 3 // 4) :].decode(errors="replace")
        assert text == f"{head}\n[… {capture.left_out_bytes} bytes left out …]\n{tail}"


def test_output_that_is_no_utf8_is_readable_and_marked() -> None:
    result = shell(r"printf 'caf\351'")
    assert result.ok
    assert result.text == "caf\ufffd"
    assert result.data["replaced_bytes"] is True


@needs("memory")
def test_memory_is_limited() -> None:
    result = python("x = bytearray(1 << 29)", limits=Limits(memory_bytes=256 << 20))
    assert "MemoryError" in result.text


@needs("file_size")
def test_file_size_is_limited(tmp_path: Path) -> None:
    result = shell("head -c 3000000 /dev/zero > big", root=tmp_path, limits=Limits(file_bytes=1 << 20))
    assert not result.ok
    assert (tmp_path / "big").stat().st_size == 1 << 20


@needs("open_files")
def test_open_files_are_limited() -> None:
    code = "import os\nwhile True: os.open('/dev/null', 0)"
    assert "Too many open files" in python(code, limits=Limits(open_files=32)).text


@needs("processes")
def test_a_fork_bomb_stays_small() -> None:
    code = "import os\nfor n in range(200):\n  if os.fork() == 0: __import__('signal').pause()"
    assert "BlockingIOError" in python(code, limits=Limits(processes=20)).text


def test_cpu_time_is_limited_apart_from_wall_time() -> None:
    spec = python("import resource; print(resource.getrlimit(resource.RLIMIT_CPU))", limits=Limits(time_s=2.5))
    assert spec.text.strip() == "(4, 4)"


@pytest.fixture
def listener() -> Iterator[int]:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept_quietly, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _accept_quietly(server: Any) -> None:
    import contextlib

    with contextlib.suppress(OSError):
        while True:
            server.accept()


CONNECT = "import socket; socket.create_connection(('127.0.0.1', {port}), timeout=2); print('con' + 'nected')"


@needs("network")
def test_the_network_is_off_unless_asked_for(listener: int) -> None:
    assert "connected" not in python(CONNECT.format(port=listener)).text
    assert python(CONNECT.format(port=listener), network=True).text == "connected\n"


@needs("read_outside")
def test_files_outside_cannot_be_read_unless_listed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    assert "hidden" not in shell(f"cat {secret}").text
    assert shell(f"cat {secret}", readable=[tmp_path]).text == "hidden"
    assert shell(f"echo x > {secret}", readable=[tmp_path]).ok is False
    assert secret.read_text() == "hidden"


@needs("write_outside")
def test_files_outside_cannot_be_written_or_deleted(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.write_text("kept")
    (root / "link").symlink_to(outside)
    shell("echo x > link; echo x > ../outside; rm -f ../outside; mv link ../moved; : > ../new", root=root)
    assert outside.read_text() == "kept"
    assert sorted(os.listdir(tmp_path)) == ["outside", "root"]


def test_a_persistent_root_keeps_files(tmp_path: Path) -> None:
    assert shell("echo one > a; mkdir d", root=tmp_path).ok
    assert shell("cat a; mv a d/; ls d", root=tmp_path).text == "one\na\n"


def test_the_effect_follows_from_what_stays_behind(tmp_path: Path) -> None:
    assert python_sandbox()[0].effect is Effect.IDEMPOTENT
    assert python_sandbox(root=tmp_path)[0].effect is Effect.IRREVERSIBLE
    assert shell_sandbox(network=True)[0].effect is Effect.IRREVERSIBLE
    assert shell_sandbox(effect=Effect.IRREVERSIBLE)[0].effect is Effect.IRREVERSIBLE
    fresh = shell("sleep 60", limits=Limits(time_s=0.1))
    lasting = shell("sleep 60", root=tmp_path, limits=Limits(time_s=0.1))
    assert (fresh.data["in_doubt"], lasting.data["in_doubt"]) == (False, True)
    with pytest.raises(UsageError, match="no folder"):
        shell_sandbox(root=tmp_path / "missing")


@pytest.fixture
def bare_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A system that has neither namespaces nor Landlock."""
    source = Path(process._LAUNCH).read_text()
    poorer = source.replace("libc.unshare(flags) != 0", "True").replace("if version < 1:", "if True:")
    assert poorer.count("if True:") == 2
    (tmp_path / "launch.py").write_text(poorer)
    monkeypatch.setattr(process, "_LAUNCH", str(tmp_path / "launch.py"))
    sandbox_report.cache_clear()
    yield
    sandbox_report.cache_clear()


@pytest.mark.usefixtures("bare_system")
def test_on_a_bare_system_the_sandbox_still_kills_and_the_report_says_what_is_open() -> None:
    report = sandbox_report()
    for promise in ["network", "read_outside", "write_outside", "descendants"]:
        assert report["held"][promise] is False, promise
    assert any("network is open" in each for each in report["advice"])
    assert report["held"]["file_size"] is True
    mark = f"79{os.getpid()}"
    assert shell(f"sleep {mark} & sleep {mark}", limits=Limits(time_s=0.3)).error == "timeout"
    assert gone(f"sleep {mark}")


def test_the_report_is_complete_and_advises_on_each_gap() -> None:
    assert set(HELD) >= {"time", "output", "memory", "file_size", "network", "read_outside", "write_outside"}
    assert len(sandbox_report()["advice"]) == sum(not good for good in HELD.values())
