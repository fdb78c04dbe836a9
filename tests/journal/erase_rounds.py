"""Kill an erasure before each of its statements, one after another: `python erase_rounds.py CODE`.

CODE is Python that leaves an open journal in `store`. Each round writes a run with a secret inline and one in a blob, forks a process
that erases both and is killed by SIGKILL right before its Nth statement, and completes it from here: whatever state the kill left,
the chain must verify before and after, and afterwards no byte of the secrets may be left. Ends when a round outlives its kill.
Prints one line of JSON. A process of its own, because it forks.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from typing import Any

from journal_kit import append_blob, append_texts, begin

from overwinter.journal import ERASED, Store, erase, verify
from overwinter.journal.texts import search


def main(code: str) -> None:
    kills, states = 0, set()
    while True:
        run, store = f"r{kills}", _open(code)
        secrets = [f"inline secret number {kills}", f"long secret number {kills} " * 100]
        lease = begin(store, run)
        append_texts(store, lease, secrets[0])
        append_blob(store, lease, secrets[1])
        store.release(lease)
        store.close()
        killed = _erase_and_die(code, run, kills)
        store = _open(code)
        assert verify(store, run).ok, f"after kill {kills}: {verify(store, run).problems}"
        kinds = [entry.kind for entry in store.read(run)]
        states.add((kinds.count(ERASED), kinds.count("entries.erased")))
        assert kinds.count(ERASED) in (0, 2), kinds
        erase(store, run, [1, 2], reason="asked for", by="test")
        store.scrub()
        kinds = [entry.kind for entry in store.read(run)]
        assert (kinds.count(ERASED), kinds.count("entries.erased")) == (2, 1), f"after kill {kills}: {kinds}"
        assert search(store, [secrets[0], secrets[1][:60]]) == [], f"after kill {kills}"
        assert verify(store, run).ok, f"after kill {kills}"
        store.close()
        if not killed:
            break
        kills += 1
    print(json.dumps({"kills": kills, "states": len(states)}))


def _erase_and_die(code: str, run: str, number: int) -> bool:
    """Whether the child met its kill before it was done."""
    pid = os.fork()
    if pid == 0:
        try:
            store = _open(code)
            _die_before(store, number)
            erase(store, run, [1, 2], reason="asked for", by="test")
            store.scrub()
            os._exit(0)
        finally:
            # Never back into the parent's code; a child that gets here has failed, and its traceback says why.
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, f"kill {number}: the eraser failed"
    return os.WIFSIGNALED(status)


def _die_before(store: Store, number: int) -> None:
    count, execute = [0], store._execute  # type: ignore[attr-defined]

    def counted(sql: str, args: Any = ()) -> Any:
        # Looking changes nothing, so a kill before a look leaves what a kill before the next write leaves.
        writes = not sql.lstrip().upper().startswith(("SELECT", "WITH"))
        if writes and count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        count[0] += writes
        return execute(sql, args)

    store._execute = counted  # type: ignore[attr-defined]


def _open(code: str) -> Store:
    names: dict[str, Any] = {}
    exec(code, names)
    store: Store = names["store"]
    return store


if __name__ == "__main__":
    main(sys.argv[1])
