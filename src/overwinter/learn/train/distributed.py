"""Several processes as one: DDP and FSDP2 behind five verbs, and the same verbs for one process alone.

    torchrun --nproc-per-node 2 -m overwinter train recipe.toml

Every process holds the same cursor and makes the same list of batches of a step; process r computes every n-th of them from r
on. Losses are divided by the targets of the whole step, and both wrappers average gradients, so a loss is multiplied by the
number of processes: n processes are one process with n times the batches, up to rounding.

`ddp` keeps the whole model in each process. `fsdp` (`fully_shard`, arXiv 2304.11277) splits weights, gradients and moments; mixers and MLPs
are gathered one by one while they work. NCCL where there are GPUs, gloo elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from overwinter.errors import OverwinterError, UsageError
from overwinter.learn.train.objective import Objective


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The processes of one training, seen from one of them."""

    rank: int = 0
    count: int = 1
    kind: Literal["ddp", "fsdp"] = "ddp"
    device: str = "cpu"
    _copies: list[nn.parallel.DistributedDataParallel] = field(default_factory=list, repr=False)

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def wrap(self, objective: Objective) -> nn.Module:
        """The module to call in place of the objective. Make the optimiser after this: FSDP replaces parameters."""
        if self.count == 1:
            return objective
        if self.kind == "fsdp":
            _shard(objective, self.device)
            return objective
        unused = objective.decoder.config.looped is not None
        ids = [torch.device(self.device).index or 0] if self.device.startswith("cuda") else None
        copy = nn.parallel.DistributedDataParallel(objective, device_ids=ids, find_unused_parameters=unused)
        self._copies.append(copy)
        return copy

    def accumulating(self, module: nn.Module, *, last: bool) -> Any:
        """A context for one batch: gradients are exchanged with the last one only."""
        if isinstance(module, nn.parallel.DistributedDataParallel) and not last:
            return module.no_sync()
        if self.count > 1 and self.kind == "fsdp":
            module.set_requires_gradient_sync(last)  # type: ignore[operator]
        return nullcontext()

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.count > 1:
            values = values.clone()
            torch.distributed.all_reduce(values)
        return values

    def let_go(self) -> None:
        """Take what is wrapped out of the group; it cannot be trained any more.

        A group joins gloo's threads when its last holder drops it. DDP's reducer, which Python would free later, does so with the GIL held,
        and a thread that throws away its last all-reduce may be waiting for just that. Python's own reference lets go of the GIL first.
        """
        while self._copies:
            copy = self._copies.pop()
            del copy.reducer, copy.logger

    def lead(self, work: Callable[[], object]) -> None:
        """Do something in the first process while the others wait. What is refused there is refused in all of them."""
        refused: OverwinterError | None = None
        if self.leads:
            try:
                work()
            except OverwinterError as error:
                refused = error
        if self.any(refused is not None):
            raise refused or UsageError("the first process could not begin", "read what it says")

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            torch.distributed.barrier()

    def any(self, here: bool) -> bool:
        """Whether it holds in any process."""
        if self.count == 1:
            return here
        return bool(self.total(torch.tensor(float(here), device=self.device)) > 0)


@contextmanager
def workers(kind: Literal["ddp", "fsdp"], device: str) -> Iterator[Workers]:
    """The processes that torchrun started, or this one alone.

    Args:
        kind: how they share the work.
        device: `cpu`, `cuda`, or `auto`, which takes a GPU if there is one.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("the recipe asks for a GPU, and torch sees none", 'set run.device to "cpu" or "auto"')
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Workers(kind=kind, device=device)
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    crew = Workers(rank=int(os.environ["RANK"]), count=count, kind=kind, device=device)
    try:
        yield crew
    finally:
        crew.let_go()
        torch.distributed.destroy_process_group()


def _shard(objective: Objective, device: str) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(torch.device(device).type, (torch.distributed.get_world_size(),))
    for block in objective.decoder.blocks:
        for name in ("mixer", "mlp"):
            part = getattr(block, name)
            if part is not None:
                # What is called as a module can be gathered on its own; a block is not, its parts are.
                fully_shard(part, mesh=mesh)
    fully_shard(objective, mesh=mesh)
