"""Whether an owner still lives: a guess that may only ever err on the side of waiting."""

from __future__ import annotations

import os
import subprocess
import sys

from journal_kit import SRC

from overwinter.journal.lease import is_dead, this_owner


def _owner(*, host: str = "", boot: str = "", namespace: str = "", pid: str = "", start: str = "") -> str:
    mine_host, place, mine_pid, mine_start = this_owner().split("/")
    mine_boot, _, mine_namespace = place.partition("+")
    place = f"{boot or mine_boot}+{namespace or mine_namespace}"
    return "/".join((host or mine_host, place, pid or mine_pid, start or mine_start))


def _ended_process() -> tuple[str, subprocess.Popen[str]]:
    """An owner that has ended but that nobody has waited for: a zombie."""
    source = (
        f"import sys; sys.path.insert(0, {str(SRC)!r})\nfrom overwinter.journal.lease import *; print(this_owner())"
    )
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    owner = process.stdout.readline().strip()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return owner, process


def test_this_process_lives() -> None:
    assert _owner() == this_owner()
    assert not is_dead(this_owner())


def test_ended_processes_are_dead_waited_for_or_not() -> None:
    owner, process = _ended_process()
    assert is_dead(owner)
    process.communicate()
    assert is_dead(owner)


def test_a_reused_process_number_is_another_process() -> None:
    assert is_dead(_owner(start="1"))


def test_nothing_survives_a_restart_of_the_machine() -> None:
    assert is_dead(_owner(boot="b6a1"))


def test_what_cannot_be_known_counts_as_living() -> None:
    assert not is_dead(_owner(host="elsewhere", boot="b6a1"))
    assert not is_dead(_owner(namespace="4026530000", start="1"))
    assert not is_dead(_owner(boot="-"))
    assert not is_dead("me")
    assert not is_dead("")
    assert not is_dead(_owner(pid="x"))
