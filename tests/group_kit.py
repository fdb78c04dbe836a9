"""Processes that are one process group, started from a process that has only done the imports.

They are forked by a fork server, which has none of the threads, locks and pools that the tests before it left behind, and pays for the
import of torch once. What hangs says where.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
from collections.abc import Callable, Mapping

import torch
from torch.distributed import TCPStore

PATIENCE_S = 90
"""Less than the limit of a test, so that what hangs is told as that."""


def together(work: Callable[[int], object], *, count: int = 2) -> None:
    """Run `work(rank)` in processes with the environment that torchrun gives; fails if one of them does.

    `work` and what it is bound to travel by name, so it is a function of a module or a `functools.partial` of one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch.distributed.fsdp", "torch.distributed.tensor", "overwinter.learn.train.training"]
    )
    # As torchrun does it: the store in which they meet is here, so no port has to be found free and stay so.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    children = [context.Process(target=_in_group, args=(work, rank, shared), daemon=True) for rank in range(count)]
    for child in children:
        child.start()
    try:
        for child in children:
            child.join(PATIENCE_S)
        assert [child.exitcode for child in children] == [0] * count
    finally:
        for child in children:
            child.kill()


def _in_group(work: Callable[[int], object], rank: int, shared: Mapping[str, str]) -> None:
    faulthandler.dump_traceback_later(PATIENCE_S - 5)
    torch.set_num_threads(1)
    os.environ |= {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    work(rank)
    faulthandler.cancel_dump_traceback_later()
