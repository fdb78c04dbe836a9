"""Where K and V lie: tensors in blocks, and the files that sequences are suspended to.

The idea: one tensor holds every block, all layers of a block side by side,

    data_NLSTHD    N blocks, L layers, S = K or V, T tokens of a block, H kv heads, D head width

so that copying, moving or storing a block is one contiguous transfer, while `k_LNTHD` and `v_LNTHD` are views on the same
memory for the layer at work. Attention gets contiguous K and V from `gather`: bit for bit what a sequence with memory of its
own would hold. Nothing is computed here, so nothing can round.

A suspended sequence is a safetensors file of its K and V without the blocks: (L, tokens, H, D). It comes back into whatever
blocks are free, of any size, bit for bit, and carries no byte of anybody else's. It is written under a temporary name,
synced and renamed: the file is there whole or not at all; a checksum finds later damage.

B rows of a batch; X any leading dimensions.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from overwinter.engine.blocks import BlockPool, BlockTable, Copy, Exhausted
from overwinter.errors import StoreError, UsageError

_FORMAT = "overwinter tensors 1"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Shape of the memory. `blocks` and `block_size` are those of the pool."""

    layers: int
    blocks: int
    kv_heads: int
    head_dim: int
    block_size: int = 16
    dtype: torch.dtype = torch.float32
    device: str = "cpu"


class Places(NamedTuple):
    """Slots as the storage addresses them; worked out once per step, used by every layer."""

    blocks: Tensor
    offsets: Tensor


class PagedStore:
    """K and V of all blocks. Knows nothing of sequences: it reads and writes where it is told."""

    def __init__(self, config: Config) -> None:
        self.config = config
        shape = (config.blocks, config.layers, 2, config.block_size, config.kv_heads, config.head_dim)
        self.data_NLSTHD = torch.zeros(shape, dtype=config.dtype, device=config.device)
        self.k_LNTHD = self.data_NLSTHD[:, :, 0].transpose(0, 1)
        self.v_LNTHD = self.data_NLSTHD[:, :, 1].transpose(0, 1)

    @property
    def size_bytes(self) -> int:
        return self.data_NLSTHD.nbytes

    @property
    def block_bytes(self) -> int:
        return self.size_bytes // self.config.blocks

    @property
    def token_bytes(self) -> int:
        return self.block_bytes // self.config.block_size

    def places(self, slots: Sequence[int]) -> Places:
        slots_B = torch.tensor(slots, dtype=torch.int64, device=self.config.device)
        return Places(slots_B // self.config.block_size, slots_B % self.config.block_size)

    def index(self, blocks: Sequence[int]) -> Tensor:
        """Block numbers as `gather` takes them."""
        return torch.tensor(blocks, dtype=torch.int64, device=self.config.device)

    def write(self, layer: int, places: Places, k_BHD: Tensor, v_BHD: Tensor) -> None:
        """Puts one layer's K and V of new tokens where `BlockTable.append` made room."""
        self.write_both(layer, places, torch.stack((k_BHD, v_BHD), dim=1))

    def write_both(self, layer: int, places: Places, kv_B2HD: Tensor) -> None:
        """`write` for K and V that lie side by side."""
        self.data_NLSTHD[:, layer][places.blocks, :, places.offsets] = kv_B2HD

    def gather(self, layer: int, blocks_XN: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """The first `length` tokens of K and V in order, contiguous within a sequence: (X, length, H, D) each.

        Rows of a batch are padded with any valid block number; what is read there is old content, to be masked.
        """
        return self._gather(self.k_LNTHD[layer], blocks_XN, length), self._gather(
            self.v_LNTHD[layer], blocks_XN, length
        )

    def _gather(self, from_NTHD: Tensor, blocks_XN: Tensor, length: int) -> Tensor:
        size = self.config.block_size
        if length > blocks_XN.shape[-1] * size:
            raise UsageError(
                f"{blocks_XN.shape[-1]} blocks of {size} do not hold {length} tokens", "pass the whole table's blocks"
            )
        # index_select copies whole blocks: three times the speed of advanced indexing on a CPU.
        found = from_NTHD.index_select(0, blocks_XN.reshape(-1))
        shape = (*blocks_XN.shape[:-1], blocks_XN.shape[-1] * size, *found.shape[-2:])
        return found.view(shape)[..., :length, :, :]

    def copy_block(self, source: int, target: int) -> None:
        self.data_NLSTHD[target].copy_(self.data_NLSTHD[source])

    def carry_out(self, copies: Sequence[Copy]) -> None:
        """Copy-on-write, in the order in which the tables asked for it; before this step's writes."""
        for copy in copies:
            self.copy_block(copy.source, copy.target)

    def export(self, table: BlockTable) -> dict[str, Tensor]:
        """A sequence's own K and V, out of the blocks: `k` and `v` of (L, length, H, D)."""
        if not self.config.layers:
            nothing = torch.empty(
                (0, table.length, self.config.kv_heads, self.config.head_dim), dtype=self.config.dtype
            )
            return {"k": nothing, "v": nothing.clone()}
        index = self.index(table.blocks)
        by_layer = [self.gather(layer, index, table.length) for layer in range(self.config.layers)]
        return {"k": torch.stack([k for k, _ in by_layer]), "v": torch.stack([v for _, v in by_layer])}

    def restore(self, pool: BlockPool, tensors: Mapping[str, Tensor], namespace: bytes = b"") -> BlockTable | Exhausted:
        """What `export` gave, in blocks of its own again; `Exhausted` if the pool has too few, and nothing changed."""
        k_LTHD, v_LTHD = self._checked(tensors, "k"), self._checked(tensors, "v")
        if k_LTHD.shape != v_LTHD.shape:
            raise UsageError("K and V differ in length", "import what export gave, unchanged")
        table = pool.open(namespace)
        growth = table.append(k_LTHD.shape[1])
        if isinstance(growth, Exhausted):
            return growth
        places = self.places(growth.slots)
        for layer in range(self.config.layers):
            self.write(layer, places, k_LTHD[layer].to(self.config.device), v_LTHD[layer].to(self.config.device))
        return table

    def _checked(self, tensors: Mapping[str, Tensor], name: str) -> Tensor:
        config = self.config
        tensor = tensors.get(name)
        found = "nothing" if tensor is None else f"{tuple(tensor.shape)} {tensor.dtype}"
        if (
            tensor is None
            or tensor.ndim != 4
            or tensor.dtype != config.dtype
            or (tensor.shape[0], *tensor.shape[2:]) != (config.layers, config.kv_heads, config.head_dim)
        ):
            wanted = f"({config.layers}, tokens, {config.kv_heads}, {config.head_dim}) {config.dtype}"
            raise UsageError(f"{name!r} should be {wanted} and is {found}", "resume with the model that suspended it")
        return tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> int:
    """Writes a safetensors file that is there whole or not at all, power cuts included. Returns its size in bytes."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {name: _own(tensor) for name, tensor in tensors.items()}
    header = {"format": _FORMAT, "checksum": _checksum(plain, notes), "notes": json.dumps(dict(notes), sort_keys=True)}
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        save_file(plain, temporary, metadata=header)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
        return path.stat().st_size
    except (OSError, SafetensorError) as fault:
        raise StoreError(f"{path} could not be written: {fault}", "free disk space or choose another folder") from fault
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and notes of `write_tensors`; damage of any kind is an error, never a wrong number."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        notes = {str(name): str(note) for name, note in json.loads(header.get("notes", "{}")).items()}
    except (OSError, SafetensorError, ValueError) as fault:
        raise StoreError(
            f"{path} cannot be read: {fault}", "use another copy, or compute the sequence again"
        ) from fault
    if header.get("format") != _FORMAT or header.get("checksum") != _checksum(tensors, notes):
        raise StoreError(f"{path} is damaged or not ours", "use another copy, or compute the sequence again")
    return tensors, notes


def _own(tensor: Tensor) -> Tensor:
    """On the CPU, contiguous, in memory of its own: safetensors refuses tensors that share."""
    plain = tensor.detach().cpu().contiguous()
    return plain if plain.untyped_storage().nbytes() == plain.nbytes else plain.clone()


def _checksum(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    digest = hashlib.blake2b(digest_size=32)
    digest.update(json.dumps(dict(notes), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
