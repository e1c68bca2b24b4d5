"""A block allocator of somebody's own behind the interface of the pool, so that it runs an engine or a simulation.

``LocalEngine("tiny", make_pool=pool_of(BlockAllocator))`` serves with one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from course.errors import UserError
from course.serving.pool import BlockPool


class Allocator(Protocol):
    """Blocks 0 … n-1, and how many block tables hold each of them.

    ``free_blocks`` are those that nobody holds; ``references[block]`` counts the holders of a block.
    """

    free_blocks: list[int]
    references: list[int]

    def allocate(self, count: int) -> list[int]:
        """Take ``count`` blocks, one reference each."""
        ...

    def fork(self, table: list[int]) -> list[int]:
        """Another table of the same blocks, each with one reference more."""
        ...

    def free(self, table: list[int]) -> None:
        """Drop one reference to each block of a table."""
        ...


class AllocatorPool(BlockPool):
    """A pool that asks an `Allocator` for every block. It has no prefix cache."""

    def __init__(self, allocator: Allocator, num_blocks: int, block_size: int, prefix_cache: bool = False) -> None:
        if prefix_cache:
            raise UserError("an allocator of your own finds no cached prefixes: leave prefix_cache off")
        super().__init__(num_blocks, block_size)
        self.allocator = allocator

    @property
    def numbers_at_once(self) -> bool:
        """The allocator is to be at work in a simulation, too, where nobody reads numbers."""
        return True

    @property
    def num_free_blocks(self) -> int:
        """Blocks that can be had now."""
        return len(self.allocator.free_blocks) - self._num_promised

    @property
    def num_used_blocks(self) -> int:
        """Blocks that some sequence holds or has been promised."""
        return self.num_blocks - self.num_free_blocks

    def references(self, block: int) -> int:
        """How many block tables hold the block."""
        return self.allocator.references[block]

    def allocate(self, count: int) -> list[int]:
        """Take ``count`` blocks with one reference each."""
        self._make_room(count)
        taken = list(self.allocator.allocate(count)) if count else []
        self.peak_used_blocks = max(self.peak_used_blocks, self.num_used_blocks)
        return taken

    def promise(self, count: int) -> None:
        """Set ``count`` blocks aside whose numbers nobody needs to know yet."""
        self._make_room(count)
        self._num_promised += count
        self.peak_used_blocks = max(self.peak_used_blocks, self.num_used_blocks)

    def share(self, blocks: Iterable[int]) -> None:
        """Add a reference to blocks that are used."""
        if blocks := list(blocks):
            self.allocator.fork(blocks)

    def release(self, blocks: Sequence[int]) -> None:
        """Drop one reference to each block of a block table."""
        if blocks:
            self.allocator.free(list(blocks))

    def check_integrity(self, block_tables: Iterable[Sequence[int]], num_promised: int = 0) -> None:
        """Raise AssertionError unless ``block_tables`` and promises account for every reference, exactly."""
        held = Counter(block for table in block_tables for block in table)
        free = self.allocator.free_blocks
        assert len(set(free)) == len(free), "a block is in the free list twice"
        for block in range(self.num_blocks):
            count = self.references(block)
            assert count == held[block], f"block {block} has {count} references but {held[block]} holders"
            assert (block in free) == (count == 0), f"block {block} with {count} references is misplaced"
        assert self._num_promised == num_promised, f"{self._num_promised} blocks are promised, {num_promised} awaited"


def pool_of(make_allocator: Callable[[int], Allocator]) -> Callable[[int, int, bool], AllocatorPool]:
    """What an `Instance` or an engine takes as ``make_pool``; ``make_allocator`` is given the number of blocks."""

    def make_pool(num_blocks: int, block_size: int, prefix_cache: bool = False) -> AllocatorPool:
        return AllocatorPool(make_allocator(num_blocks), num_blocks, block_size, prefix_cache)

    return make_pool
