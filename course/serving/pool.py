"""Paged KV memory as the control plane sees it: numbers of blocks, never tensors.

A block holds the keys and values of ``block_size`` consecutive tokens of one sequence (Kwon et
al., "PagedAttention", SOSP'23, section 4). Blocks are counted by reference, so that the n answers to one prompt
share it, and full blocks may be found again by the hash of everything up to their end.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from course.errors import UserError
from course.serving.prefix import block_hashes


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
        self._num_touched = 0  # blocks from this number on have never been used: a large pool costs nothing
        self._free: list[int] = []  # touched and free; the end is taken first
        self._used: set[int] = set()
        self._more: dict[int, int] = {}  # references beyond the first
        self._num_promised = 0
        self.peak_used_blocks = 0  # the most that were ever held or promised at once
        self._cached: OrderedDict[int, None] = OrderedDict()  # least recently used first
        self._block_of: dict[int, int] = {}
        self._hash_of: dict[int, int] = {}

    @property
    def numbers_at_once(self) -> bool:
        """Whether blocks of prompts and of moves get their numbers before somebody reads them."""
        return False

    @property
    def num_free_blocks(self) -> int:
        """Blocks that can be had now, cached ones included."""
        return self.num_blocks - len(self._used) - self._num_promised

    @property
    def num_used_blocks(self) -> int:
        """Blocks that some sequence holds or has been promised."""
        return len(self._used) + self._num_promised

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that hold ``num_tokens`` tokens."""
        return -(-num_tokens // self.block_size)

    def references(self, block: int) -> int:
        """How many block tables hold the block."""
        return (block in self._used) + self._more.get(block, 0)

    # take and give back

    def can_allocate(self, count: int) -> bool:
        """Whether ``count`` blocks can be had now."""
        return count <= self.num_free_blocks

    def allocate(self, count: int) -> list[int]:
        """Take ``count`` blocks with one reference each; evicts cached blocks when need be."""
        self._make_room(count)
        free = self._free
        if (missing := count - len(free)) > 0:
            free[:0] = range(self._num_touched + missing - 1, self._num_touched - 1, -1)
            self._num_touched += missing
        split = len(free) - count
        taken = free[split:]
        del free[split:]
        taken.reverse()
        self._used.update(taken)
        if (used := len(self._used) + self._num_promised) > self.peak_used_blocks:
            self.peak_used_blocks = used
        return taken

    def promise(self, count: int) -> None:
        """Set ``count`` blocks aside whose numbers nobody needs to know yet. Evicts as `allocate` does."""
        used = len(self._used) + self._num_promised + count
        if used > self.num_blocks or self._cached:
            self._make_room(count)
        self._num_promised += count
        if used > self.peak_used_blocks:
            self.peak_used_blocks = used

    def redeem(self, count: int) -> list[int]:
        """The numbers of ``count`` promised blocks."""
        self._num_promised -= count
        return self.allocate(count)

    def forgive(self, count: int) -> None:
        """``count`` promised blocks are not wanted any more."""
        self._num_promised -= count

    def _make_room(self, count: int) -> None:
        if count > self.num_free_blocks:
            raise ValueError(f"{count} blocks wanted, {self.num_free_blocks} free")
        if self._cached:
            while len(self._free) + self.num_blocks - self._num_touched - self._num_promised < count:
                self._evict_oldest()

    def share(self, blocks: Iterable[int]) -> None:
        """Add a reference to blocks that are used or cached."""
        for block in blocks:
            if block in self._used:
                self._more[block] = self._more.get(block, 0) + 1
            elif block in self._cached:
                del self._cached[block]
                self._used.add(block)
            else:
                raise ValueError(f"block {block} is free and cannot be shared")

    def release(self, blocks: Sequence[int]) -> None:
        """Drop one reference to each block of a block table, given in order.

        The last block goes first, so that the end of a cached prefix is evicted before its beginning,
        without which it could not be found.
        """
        used = self._used
        if not (self._more or self._hash_of):  # nothing is shared and nothing will be found again: all at once
            if not used.issuperset(blocks):
                raise ValueError(f"block {next(b for b in blocks if b not in used)} is released but nobody holds it")
            used.difference_update(blocks)
            self._free.extend(reversed(blocks))
            return
        for block in reversed(blocks):
            if block not in used:
                raise ValueError(f"block {block} is released but nobody holds it")
            if more := self._more.pop(block, 0):
                if more > 1:
                    self._more[block] = more - 1
            else:
                used.remove(block)
                if block in self._hash_of:
                    self._cached[block] = None
                else:
                    self._free.append(block)

    # prefix cache

    def name_blocks(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """Chained hashes of the full blocks of a prompt; none without a prefix cache."""
        return block_hashes(tokens, self.block_size) if self.prefix_cache else ()

    def match(self, hashes: Sequence[int], num_tokens: int | None = None) -> list[int]:
        """Blocks of the longest cached prefix, given the chained hashes of a text's full blocks.

        Of a text of ``num_tokens`` tokens, at least one is left to compute: without a query there is nothing to
        sample from.
        """
        found: list[int] = []
        if self._block_of:
            for value in hashes if num_tokens is None else hashes[: (num_tokens - 1) // self.block_size]:
                block = self._block_of.get(value)
                if block is None:
                    break
                found.append(block)
        return found

    def publish(self, block: int, block_hash: int) -> None:
        """Let a full, computed block be found by its hash. Of twins, the first stays known."""
        if not self.prefix_cache or block_hash in self._block_of or block in self._hash_of:
            return
        if block not in self._used:
            raise ValueError(f"block {block} is published but nobody holds it")
        self._block_of[block_hash] = block
        self._hash_of[block] = block_hash

    def _evict_oldest(self) -> None:
        block, _ = self._cached.popitem(last=False)
        del self._block_of[self._hash_of.pop(block)]
        self._free.append(block)

    # truth

    def check_integrity(self, block_tables: Iterable[Sequence[int]], num_promised: int = 0) -> None:
        """Raise AssertionError unless ``block_tables`` and promises account for every reference, exactly."""
        held = Counter(block for table in block_tables for block in table)
        for block in held.keys() | self._used | self._more.keys():
            count = self.references(block)
            assert count == held[block], f"block {block} has {count} references but {held[block]} holders"
        free, cached = set(self._free), set(self._cached)
        assert len(free) == len(self._free), "a block is in the free list twice"
        assert not free & cached, f"blocks {free & cached} are both free and cached"
        idle = set(range(self._num_touched)) - self._used
        assert free | cached == idle, f"leaked blocks: {idle ^ (free | cached)}"
        assert self._num_promised == num_promised, f"{self._num_promised} blocks are promised, {num_promised} awaited"
        assert self.num_free_blocks >= 0, "more blocks are promised than there are"
        assert {h: b for b, h in self._hash_of.items()} == self._block_of, "hash maps disagree"
        assert cached <= self._hash_of.keys(), "a cached block has no hash"
        assert not free & self._hash_of.keys(), "a free block can still be found by hash"
