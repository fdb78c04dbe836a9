"""Several processes on one journal, and processes that end without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from journal_kit import SRC, Place, begin, python, texts

from overwinter.journal import Store, verify

ROUNDS = 100

READY = """
import overwinter.journal.sqlite
from overwinter.journal import NewRun
print("ready", flush=True)
name = input()
"""

CREATE = """
store.create(NewRun(run=name))
print("made", flush=True)
"""

FIGHT = """
import sys
from overwinter.errors import LeaseLost
from overwinter.journal import Draft
name = input()
written = 0
while written < 40:
    lease = store.acquire("r", name, 3600, take_over=True)
    try:
        for _ in range(min(5, 40 - written)):
            body = {"source": name, "text": {"text": f"{name}{written}"}, "data": {}}
            store.append("r", [Draft(kind="observed", body=body)], fence=lease.fence)
            written += 1
    except LeaseLost:
        pass
print(written, flush=True)
"""


class CrashConformance:
    @pytest.mark.crash
    def test_a_killed_writer_loses_nothing_it_acknowledged(self, place: Place) -> None:
        """SIGKILL cannot be caught: no handler, no destructor and no `finally` of the writer gets to tidy up."""
        command = [sys.executable, str(Path(__file__).with_name("kill_rounds.py")), place.code, str(ROUNDS), "1"]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SRC)}, timeout=100
        )
        assert done.returncode == 0, done.stderr
        counted = json.loads(done.stdout)
        assert counted["rounds"] == ROUNDS
        assert counted["acknowledged"] > ROUNDS

    def test_four_processes_create_one_journal(self, place: Place) -> None:
        processes = [python(READY + place.code + CREATE) for _ in range(4)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for number, process in enumerate(processes):
            assert process.stdin is not None
            print(f"run{number}", file=process.stdin, flush=True)
        assert [process.communicate()[0] for process in processes] == ["made\n"] * 4
        store = place.open()
        assert sorted(info.run for info in store.runs()) == [f"run{number}" for number in range(4)]
        store.close()

    def test_two_processes_that_rob_each_other_make_one_chain(self, place: Place, store: Store) -> None:
        store.release(begin(store))
        processes = {name: python(place.code + FIGHT) for name in "xy"}
        for name, process in processes.items():
            assert process.stdin is not None
            print(name, file=process.stdin, flush=True)
        assert [process.communicate()[0] for process in processes.values()] == ["40\n"] * 2
        written = texts(store, "r")
        assert sorted(written) == sorted(f"{name}{i}" for name in "xy" for i in range(40))
        assert verify(store, "r").ok
