"""Kill a writer with SIGKILL at random moments, again and again: `python kill_rounds.py CODE ROUNDS SEED`.

CODE is Python that leaves an open journal in `store`. Each round forks a writer that opens the journal, appends entries and
blobs and acknowledges each on a pipe, and kills it after a random number of acknowledgements and a moment more. Then the
journal is opened again: every acknowledged entry must be there, the chain must verify, and the next writer must get the lease
at once. Prints one line of JSON with the totals. A process of its own, because it forks.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import traceback
from typing import Any

from journal_kit import append_blob, append_texts, texts

from overwinter.journal import NewRun, Store, verify
from overwinter.journal.lease import this_owner


def main(code: str, rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    store = _open(code)
    store.create(NewRun(run="r"))
    store.close()
    acknowledged, unacknowledged = 0, 0
    for number in range(rounds):
        acks = _kill_one(code, number, rng)
        store = _open(code)
        written = [text for text in texts(store, "r") if text.startswith(f"{number}:")]
        assert written[: len(acks)] == acks, f"round {number}: acknowledged {acks}, found {written}"
        # What was being written when the kill came may be there or not; more than that may not.
        assert len(written) <= len(acks) + 1, f"round {number}: acknowledged {acks}, found {written}"
        acknowledged, unacknowledged = acknowledged + len(acks), unacknowledged + len(written) - len(acks)
        if number % 10 == 9 or number == rounds - 1:
            report = verify(store, "r")
            assert report.ok, report.problems
        store.close()
    print(json.dumps({"rounds": rounds, "acknowledged": acknowledged, "unacknowledged": unacknowledged}))


def _kill_one(code: str, number: int, rng: random.Random) -> list[str]:
    """The acknowledgements that a writer got out before it was killed."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _write(code, number, write_end)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        acks = [pipe.readline().strip() for _ in range(rng.randint(0, 20))]
        for _ in range(rng.randint(0, 20_000)):
            pass
        os.kill(pid, signal.SIGKILL)
        acks += [line.strip() for line in pipe if line.endswith("\n")]
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), f"round {number}: the writer ended by itself"
    return acks


def _write(code: str, number: int, write_end: int) -> None:
    try:
        store = _open(code)
        lease = store.acquire("r", this_owner(), 3600)
        for i in range(10_000):
            # A long text every so often, so that the log is carried over into the database file under the killer's eyes too.
            if i % 3 == 2:
                append_blob(store, lease, os.urandom(8192).hex(), kind="world.saved")
            text = f"{number}:{i}"
            append_texts(store, lease, text)
            os.write(write_end, f"{text}\n".encode())
    finally:
        # Never back into the parent's code; a writer that gets here has failed, and its traceback says why.
        traceback.print_exc()
        os._exit(1)


def _open(code: str) -> Store:
    names: dict[str, Any] = {}
    exec(code, names)
    store: Store = names["store"]
    return store


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
