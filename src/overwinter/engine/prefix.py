"""Which prefixes are in memory already: content hashes, and the index from hash to block.

The idea: K and V of a token depend on everything before it and on the model that computed them, nothing else. So the hash
of a full block chains over its past,

    h(0) = H(fingerprint)        h(i+1) = H(h(i), tokens of block i)

and equal hashes mean equal K and V. The fingerprint covers whatever changes the numbers (weights, number format, rotary
parameters, adapter), whatever changes what ids mean (tokenizer), the block size, and a salt per tenant: tenants never share a
block, and none can learn from a fast first token what another has asked. Hashes are BLAKE2b-256 over bytes with lengths and
little-endian numbers: the same in every process and on every machine.

A hit ends before the last token of a prompt, so that there is always one to compute logits from. Hybrid models also need
the recurrent state at the boundary: a `Snapshot` per block boundary, opaque here, under a byte budget of its own; a hit that
needs one ends at the last boundary that has it.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from overwinter.engine.blocks import ROOT, BlockPool, BlockTable
from overwinter.errors import UsageError

HASH_BYTES = 32
_VERSION = b"overwinter kv prefix 1"


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Everything besides the tokens that decides what K and V are, and who may share them."""

    model: str
    """Hash of the weights and the configuration."""
    dtype: str
    """Number format or codec of the stored K and V."""
    rope: str
    """Rotary parameters, scaling included."""
    tokenizer: str
    """Hash of the vocabulary."""
    adapter: str = ""
    """LoRA or other change of the weights."""
    salt: bytes = b""
    """One secret per tenant."""

    def namespace(self, block_size: int) -> bytes:
        """h(0), for `BlockPool.open`."""
        digest = hashlib.blake2b(_VERSION + struct.pack("<Q", block_size), digest_size=HASH_BYTES)
        for field in fields(self):
            value = getattr(self, field.name)
            content = value if isinstance(value, bytes) else value.encode()
            digest.update(struct.pack("<Q", len(content)) + content)
        return digest.digest()


def block_hash(parent: bytes, tokens: Sequence[int]) -> bytes:
    """h(i+1) from h(i) and the tokens of block i."""
    try:
        content = struct.pack(f"<{len(tokens)}I", *tokens)
    except struct.error as fault:
        raise UsageError(f"token ids must be whole numbers below 2**32: {fault}", "pass the tokenizer's ids") from fault
    return hashlib.blake2b(parent + content, digest_size=HASH_BYTES).digest()


class Snapshot(NamedTuple):
    """Recurrent state right after a block's last token. `state` is the model's business; `size_bytes` is counted here."""

    state: object
    size_bytes: int


class Hit(NamedTuple):
    """The longest usable prefix in memory. Valid until the pool next allocates: attach it at once or look up again."""

    blocks: list[int]
    hashes: list[bytes]
    tokens: int
    revived: int
    """Blocks among them that are cached: taking them lowers `available` by as many."""
    snapshot: Snapshot | None


class PrefixIndex:
    """Finds published blocks by content, publishes full ones, and keeps the snapshots that go with them."""

    def __init__(self, pool: BlockPool, *, snapshot_budget_bytes: int = 0) -> None:
        self.pool = pool
        self.snapshot_budget_bytes = snapshot_budget_bytes
        self.snapshot_bytes = 0
        self._block_of: dict[bytes, int] = {}
        self._hash_of: dict[int, bytes] = {}
        self._snapshots: OrderedDict[bytes, Snapshot] = OrderedDict()  # least recently used first
        pool.on_withdraw.append(self._forget)

    def __len__(self) -> int:
        return len(self._block_of)

    def chain(self, namespace: bytes, tokens: Sequence[int], known: Sequence[bytes] = ()) -> list[bytes]:
        """Content hashes of the whole blocks of `tokens` that leave one token over; `known` are the first ones."""
        size, hashes = self.pool.config.block_size, list(known)
        for start in range(len(hashes) * size, len(tokens) - size if namespace else 0, size):
            parent = hashes[-1] if hashes else namespace
            hashes.append(block_hash(parent, tokens[start : start + size]))
        return hashes

    def is_published(self, content: bytes) -> bool:
        return content in self._block_of

    def lookup(self, namespace: bytes, tokens: Sequence[int], *, needs_snapshot: bool = False) -> Hit:
        """The longest prefix of `tokens` in memory: whole blocks, at least one token left over."""
        return self.lookup_chain(self.chain(namespace, tokens), needs_snapshot=needs_snapshot)

    def lookup_chain(self, chain: Sequence[bytes], *, needs_snapshot: bool = False) -> Hit:
        """`lookup` for a caller that keeps the hashes."""
        size = self.pool.config.block_size
        blocks: list[int] = []
        hashes: list[bytes] = []
        usable = 0
        for content in chain:
            block = self._block_of.get(content)
            if block is None:
                break
            blocks.append(block)
            hashes.append(content)
            if not needs_snapshot or content in self._snapshots:
                usable = len(blocks)
        del blocks[usable:], hashes[usable:]
        revived = sum(not self.pool.references(block) for block in blocks)
        snapshot = self._snapshots.get(hashes[-1]) if hashes else None
        return Hit(blocks, hashes, usable * size, revived, snapshot)

    def attach(self, table: BlockTable, tokens: Sequence[int], *, needs_snapshot: bool = False) -> Hit:
        """Starts an empty table with the longest prefix in memory."""
        return self.attach_hit(table, self.lookup(table.namespace, tokens, needs_snapshot=needs_snapshot))

    def attach_hit(self, table: BlockTable, hit: Hit) -> Hit:
        """`attach` for what a lookup has just found."""
        if table.length or not table.is_open:
            raise UsageError("a prefix can only be attached to an empty, open table", "attach before appending")
        for block in hit.blocks:
            self.pool.acquire(block)
        table.blocks, table.hashes, table.length = hit.blocks.copy(), hit.hashes.copy(), hit.tokens
        if hit.snapshot:
            self._snapshots.move_to_end(hit.hashes[-1])
        return hit

    def publish(self, table: BlockTable, tokens: Sequence[int]) -> int:
        """Lets others find the table's full blocks; `tokens` are the sequence's ids, final and written in every layer.

        Where the same content is published already, the table moves over to that block and its own becomes free: sequences
        that computed one prefix side by side end up sharing it. A block that forks still share is not moved (it would break
        the prefix rule of blocks.py), and publication stops there until the table is its only holder.

        Returns:
            How many of the table's leading blocks are published now.
        """
        size = self.pool.config.block_size
        full = min(len(tokens), table.length) // size if table.namespace else 0
        for at in range(len(table.hashes), full):
            parent = table.hashes[-1] if table.hashes else table.namespace
            own, content = table.blocks[at], block_hash(parent, tokens[at * size : (at + 1) * size])
            known = self._block_of.get(content)
            if known is None:
                self.pool.publish(own, table.blocks[at - 1] if at else ROOT)
                self._block_of[content], self._hash_of[own] = own, content
            elif known != own:
                if self.pool.references(own) > 1:
                    break
                self.pool.acquire(known)
                table.blocks[at] = known
                self.pool.release(own)
            table.hashes.append(content)
        return len(table.hashes)

    def put_snapshot(self, content: bytes, snapshot: Snapshot) -> bool:
        """Keeps the state at the end of a published block, dropping the least recently used ones that it displaces.

        Returns:
            False if the block is not published or the state alone is over the budget: then nothing was changed.
        """
        if content not in self._block_of or snapshot.size_bytes > self.snapshot_budget_bytes:
            return False
        self.drop_snapshot(content)
        while self.snapshot_bytes + snapshot.size_bytes > self.snapshot_budget_bytes:
            self.drop_snapshot(next(iter(self._snapshots)))
        self._snapshots[content] = snapshot
        self.snapshot_bytes += snapshot.size_bytes
        return True

    def get_snapshot(self, content: bytes) -> Snapshot | None:
        """The state at the end of that block, and a sign that it is in use."""
        if content in self._snapshots:
            self._snapshots.move_to_end(content)
        return self._snapshots.get(content)

    def drop_snapshot(self, content: bytes) -> None:
        """Forgets that state, if it is there."""
        dropped = self._snapshots.pop(content, None)
        if dropped:
            self.snapshot_bytes -= dropped.size_bytes

    def _forget(self, block: int) -> None:
        content = self._hash_of.pop(block)
        del self._block_of[content]
        self.drop_snapshot(content)
