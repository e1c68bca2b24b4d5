"""Paged KV memory as the control plane sees it: numbers of blocks, never tensors.

A block holds the keys and values of ``block_size`` consecutive tokens of one sequence (Kwon et
al., "PagedAttention", SOSP'23, section 4). Blocks are counted by reference, so that the n answers to one prompt
share it, and full blocks may be found again by the hash of everything up to their end.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from course.errors import UserError


class BlockPool:
    """``num_blocks`` blocks of ``block_size`` tokens.

    A block is *used* (references > 0), *cached* (no references, but its content can be found
    by hash until it is evicted, least recently used first) or *free*. Cached blocks count as
    free, for they can be had at any time. Ask, then do: `allocate` raises ValueError, having changed
    nothing, when `can_allocate` was not heeded. Sharing or releasing what nobody holds raises it too.
    """

    def __init__(self, num_blocks: int, block_size: int, prefix_cache: bool = False) -> None:
        if num_blocks < 1:
            raise UserError(f"num_blocks must be at least 1, got {num_blocks}: give the KV cache some memory")
        if block_size < 1:
            raise UserError(f"block_size must be at least 1 token, got {block_size}")
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.prefix_cache = prefix_cache
        self._references = [0] * num_blocks
        self._free = list(range(num_blocks - 1, -1, -1))  # the end is taken first
        self._cached: OrderedDict[int, None] = OrderedDict()  # least recently used first
        self._block_of: dict[int, int] = {}
        self._hash_of: dict[int, int] = {}

    @property
    def num_free_blocks(self) -> int:
        """Blocks that can be had now, cached ones included."""
        return len(self._free) + len(self._cached)

    @property
    def num_used_blocks(self) -> int:
        """Blocks that some sequence holds."""
        return self.num_blocks - self.num_free_blocks

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that hold ``num_tokens`` tokens."""
        return -(-num_tokens // self.block_size)

    def references(self, block: int) -> int:
        """How many block tables hold the block."""
        return self._references[block]

    # take and give back

    def can_allocate(self, count: int) -> bool:
        """Whether ``count`` blocks can be had now."""
        return count <= self.num_free_blocks

    def allocate(self, count: int) -> list[int]:
        """Take ``count`` blocks with one reference each; evicts cached blocks when need be."""
        if not self.can_allocate(count):
            raise ValueError(f"{count} blocks wanted, {self.num_free_blocks} free")
        while len(self._free) < count:
            self._evict_oldest()
        split = len(self._free) - count
        taken = self._free[split:]
        del self._free[split:]
        taken.reverse()
        for block in taken:
            self._references[block] = 1
        return taken

    def share(self, blocks: Iterable[int]) -> None:
        """Add a reference to blocks that are used or cached."""
        for block in blocks:
            if self._references[block] == 0:
                if block not in self._cached:
                    raise ValueError(f"block {block} is free and cannot be shared")
                del self._cached[block]
            self._references[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """Drop one reference to each block of a block table, given in order.

        The last block goes first, so that the end of a cached prefix is evicted before its beginning,
        without which it could not be found.
        """
        for block in reversed(blocks):
            count = self._references[block]
            if count == 0:
                raise ValueError(f"block {block} is released but nobody holds it")
            self._references[block] = count - 1
            if count == 1:
                if block in self._hash_of:
                    self._cached[block] = None
                else:
                    self._free.append(block)

    # prefix cache

    def match(self, hashes: Sequence[int]) -> list[int]:
        """Blocks of the longest cached prefix, given the chained hashes of a prompt's full blocks."""
        found: list[int] = []
        if self._block_of:
            for value in hashes:
                block = self._block_of.get(value)
                if block is None:
                    break
                found.append(block)
        return found

    def publish(self, block: int, block_hash: int) -> None:
        """Let a full, computed block be found by its hash. Of twins, the first stays known."""
        if not self.prefix_cache or block_hash in self._block_of or block in self._hash_of:
            return
        if self._references[block] == 0:
            raise ValueError(f"block {block} is published but nobody holds it")
        self._block_of[block_hash] = block
        self._hash_of[block] = block_hash

    def _evict_oldest(self) -> None:
        block, _ = self._cached.popitem(last=False)
        del self._block_of[self._hash_of.pop(block)]
        self._free.append(block)

    # truth

    def check_integrity(self, block_tables: Iterable[Sequence[int]]) -> None:
        """Raise AssertionError unless ``block_tables`` account for every reference, exactly."""
        held = Counter(block for table in block_tables for block in table)
        for block, count in enumerate(self._references):
            assert count == held[block], f"block {block} has {count} references but {held[block]} holders"
        free, cached = set(self._free), set(self._cached)
        assert len(free) == len(self._free), "a block is in the free list twice"
        assert not free & cached, f"blocks {free & cached} are both free and cached"
        idle = {block for block, count in enumerate(self._references) if count == 0}
        assert free | cached == idle, f"leaked blocks: {idle ^ (free | cached)}"
        assert {h: b for b, h in self._hash_of.items()} == self._block_of, "hash maps disagree"
        assert cached <= self._hash_of.keys(), "a cached block has no hash"
        assert not free & self._hash_of.keys(), "a free block can still be found by hash"
