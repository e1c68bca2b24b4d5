"""A prefix cache of somebody's own behind the interface of the pool, so that it serves an engine or a simulation.

``LocalEngine("tiny", prefix_cache=True, make_pool=prefix_pool_of(PrefixCache))`` serves with one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from course.serving.pool import BlockPool
from course.serving.prefix import block_hashes

NameBlocks = Callable[[Sequence[int], int], Sequence[int]]
"""(tokens, block_size) → the chained hashes of the full blocks, as `course.serving.prefix.block_hashes` gives them."""
CachedPrefix = Callable[[Sequence[int], dict[int, int], int, int], list[int]]
"""(hashes, block of each cached hash, tokens of the text, block_size) → the blocks to start from."""


class PrefixCache(Protocol):
    """Which hash is in which block, and which block goes first when room is needed.

    It is told who holds what: a block that nobody holds may be evicted, any other may not.
    """

    block_of: dict[int, int]

    def add(self, block_hash: int, block: int) -> None:
        """A block that one sequence holds can be found from now on."""
        ...

    def hold(self, hashes: list[int]) -> None:
        """One more sequence holds the blocks of these hashes."""
        ...

    def release(self, hashes: list[int]) -> None:
        """A sequence lets go of them; they are given in the order of its text."""
        ...

    def evict(self) -> int:
        """Forget a block that nobody holds, and return its number."""
        ...


class PrefixCachePool(BlockPool):
    """A pool that leaves to a `PrefixCache` what is found and what is evicted.

    It keeps its own count of holders: ValueError where the cache would give away a block in use.
    """

    def __init__(
        self,
        cache: PrefixCache,
        num_blocks: int,
        block_size: int,
        prefix_cache: bool = True,
        cached_prefix: CachedPrefix | None = None,
        name_blocks: NameBlocks = block_hashes,
    ) -> None:
        super().__init__(num_blocks, block_size, prefix_cache)
        self.cache = cache
        self._find, self._name = cached_prefix, name_blocks

    def name_blocks(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """Hashes of the full blocks of a prompt; none without a prefix cache."""
        return tuple(self._name(list(tokens), self.block_size)) if self.prefix_cache else ()

    def match(self, hashes: Sequence[int], num_tokens: int | None = None) -> list[int]:
        """Blocks of the longest cached prefix of a text of ``num_tokens`` tokens (None: longer than its hashes say)."""
        if self._find is None:
            return super().match(hashes, num_tokens)
        if num_tokens is None:
            num_tokens = len(hashes) * self.block_size + 1
        return list(self._find(hashes, self.cache.block_of, num_tokens, self.block_size))

    def publish(self, block: int, block_hash: int) -> None:
        """Let a full, computed block be found by its hash. Of twins, the first stays known."""
        had_a_name = block in self._hash_of
        super().publish(block, block_hash)
        if not had_a_name and block in self._hash_of:
            self.cache.add(block_hash, block)
            for _ in range(self.references(block) - 1):
                self.cache.hold([block_hash])

    def share(self, blocks: Iterable[int]) -> None:
        """Add a reference to blocks that are used or cached."""
        blocks = list(blocks)
        super().share(blocks)
        if named := self._named(blocks):
            self.cache.hold(named)

    def release(self, blocks: Sequence[int]) -> None:
        """Drop one reference to each block of a block table, given in order."""
        super().release(blocks)
        if named := self._named(blocks):
            self.cache.release(named)

    def _named(self, blocks: Iterable[int]) -> list[int]:
        return [self._hash_of[block] for block in blocks if block in self._hash_of]

    def _evict_oldest(self) -> None:
        block = self.cache.evict()
        if block not in self._cached:
            raise ValueError(f"the prefix cache evicts block {block!r}, which is in use or not cached")
        del self._cached[block]
        del self._block_of[self._hash_of.pop(block)]
        self._free.append(block)

    def check_integrity(self, block_tables: Iterable[Sequence[int]], num_promised: int = 0) -> None:
        """Raise AssertionError unless tables and promises account for every reference, and the cache knows the same."""
        super().check_integrity(block_tables, num_promised)
        assert self.cache.block_of == self._block_of, "the cache and the pool know different hashes"


def prefix_pool_of(
    make_cache: Callable[[], PrefixCache],
    cached_prefix: CachedPrefix | None = None,
    name_blocks: NameBlocks = block_hashes,
) -> Callable[[int, int, bool], PrefixCachePool]:
    """What an `Instance` or an engine takes as ``make_pool``; a part that is left out is the course's own."""

    def make_pool(num_blocks: int, block_size: int, prefix_cache: bool = False) -> PrefixCachePool:
        return PrefixCachePool(make_cache(), num_blocks, block_size, prefix_cache, cached_prefix, name_blocks)

    return make_pool
