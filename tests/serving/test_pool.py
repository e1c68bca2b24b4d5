"""The block pool against a model that is too simple to be wrong."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from course.errors import UserError
from course.serving.pool import BlockPool

Content = tuple[int, ...]  # what the blocks of a prompt hold, one number for each block


class PoolMachine(RuleBasedStateMachine):
    """Tables come, share, publish and go. The model: who holds what, what is cached, and in which order it goes."""

    tables = Bundle("tables")

    @initialize(num_blocks=st.integers(1, 12), prefix_cache=st.booleans())
    def begin(self, num_blocks: int, prefix_cache: bool) -> None:
        self.pool = BlockPool(num_blocks, 4, prefix_cache)
        self.held: list[list[int]] = []
        self.known: dict[Content, int] = {}  # cached or in use, to be found by everything up to its end
        self.oldest_first: list[int] = []  # cached and held by nobody

    def holders(self, block: int) -> int:
        return sum(block in table for table in self.held)

    def num_free(self) -> int:
        return self.pool.num_blocks - len({block for table in self.held for block in table})

    def take(self, count: int) -> list[int]:
        """Allocate, and let the model evict what has to go."""
        used = {block for table in self.held for block in table}
        while self.pool.num_blocks - len(used) - len(self.oldest_first) < count:
            gone = self.oldest_first.pop(0)
            self.known = {content: block for content, block in self.known.items() if block != gone}
        taken = self.pool.allocate(count)
        assert len(set(taken)) == count
        assert not used & set(taken), "a block in use was given away"
        assert not set(self.oldest_first) & set(taken), "a cached block went although free ones were left"
        return taken

    @rule(target=tables, count=st.integers(0, 5))
    def allocate(self, count: int) -> list[int]:
        if count > self.num_free():
            assert not self.pool.can_allocate(count)
            with pytest.raises(ValueError, match=f"{count} blocks wanted, {self.num_free()} free"):
                self.pool.allocate(count)
            return []
        assert self.pool.can_allocate(count)
        table = self.take(count)
        self.held.append(table)
        return table

    @rule(target=tables, content=st.lists(st.integers(0, 1), min_size=1, max_size=4).map(tuple))
    def compute_a_prompt(self, content: Content) -> list[int]:
        prefixes = [content[: k + 1] for k in range(len(content))]
        hits = self.pool.match([hash(prefix) for prefix in prefixes])
        self.pool.share(hits)
        self.oldest_first = [block for block in self.oldest_first if block not in hits]
        self.held.append(list(hits))
        table = self.held[-1]
        if not self.pool.can_allocate(len(content) - len(hits)):
            self.release(table)
            return []
        table += self.take(len(content) - len(hits))
        for prefix, block in zip(prefixes, table, strict=True):
            self.pool.publish(block, hash(prefix))
            if self.pool.prefix_cache and block not in self.known.values():
                self.known.setdefault(prefix, block)
        return table

    @rule(target=tables, table=tables)
    def share(self, table: list[int]) -> list[int]:
        if not any(table is other for other in self.held):
            return []
        self.pool.share(table)
        self.held.append(list(table))
        return self.held[-1]

    @rule(table=consumes(tables))
    def release(self, table: list[int]) -> None:
        self.held = [other for other in self.held if other is not table] if table else self.held
        self.pool.release(table)
        for block in reversed(table):
            if self.holders(block) == 0 and block in self.known.values():
                self.oldest_first.append(block)

    @precondition(lambda self: self.num_free() > len(self.oldest_first))
    @rule()
    def a_free_block_can_neither_be_shared_nor_released(self) -> None:
        used = {block for table in self.held for block in table}
        free = next(b for b in range(self.pool.num_blocks) if b not in used and b not in self.oldest_first)
        with pytest.raises(ValueError, match=f"block {free} is free and cannot be shared"):
            self.pool.share([free])
        with pytest.raises(ValueError, match=f"block {free} is released but nobody holds it"):
            self.pool.release([free])

    @invariant()
    def pool_and_model_agree(self) -> None:
        if not hasattr(self, "pool"):
            return
        self.pool.check_integrity(self.held)
        assert self.pool.num_free_blocks == self.num_free()
        assert self.pool.num_used_blocks == self.pool.num_blocks - self.num_free()
        for block in range(self.pool.num_blocks):
            assert self.pool.references(block) == self.holders(block)
        for content, block in self.known.items():
            assert self.pool.match([hash(content)]) == [block]


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestPool = PoolMachine.TestCase


def test_blocks_are_rounded_up():
    pool = BlockPool(8, 4)
    assert [pool.blocks_for(n) for n in (0, 1, 3, 4, 5, 8, 9)] == [0, 1, 1, 1, 2, 2, 3]


def test_the_end_of_a_cached_prefix_goes_before_its_beginning():
    pool = BlockPool(4, 4, prefix_cache=True)
    table = pool.allocate(3)
    for index, block in enumerate(table):
        pool.publish(block, index)
    pool.release(table)
    held = [*pool.allocate(2)]
    assert pool.match([0, 1, 2]) == table[:2]
    held += pool.allocate(1)
    assert pool.match([0, 1, 2]) == table[:1]
    pool.check_integrity([held])


def test_the_least_recently_used_prefix_goes_first():
    pool = BlockPool(2, 4, prefix_cache=True)
    for name in (7, 8):
        (block,) = pool.allocate(1)
        pool.publish(block, name)
        pool.release([block])
    found = pool.match([7])
    pool.share(found)  # used once more
    pool.release(found)
    pool.allocate(1)
    assert pool.match([8]) == []
    assert pool.match([7]) == found


def test_a_match_ends_at_the_first_gap():
    pool = BlockPool(3, 4, prefix_cache=True)
    first, second, third = pool.allocate(3)
    pool.publish(first, 1)
    pool.publish(third, 3)
    assert pool.match([1, 2, 3]) == [first]
    assert pool.match([2, 3]) == []
    assert second not in pool.match([1])


def test_of_twins_the_first_stays_known_and_the_other_is_simply_free():
    pool = BlockPool(2, 4, prefix_cache=True)
    first, twin = pool.allocate(2)
    pool.publish(first, 5)
    pool.publish(twin, 5)
    pool.release([twin])
    assert pool.match([5]) == [first]
    assert pool.allocate(1) == [twin]
    pool.check_integrity([[first], [twin]])


def test_without_a_prefix_cache_nothing_is_found():
    pool = BlockPool(2, 4)
    (block,) = pool.allocate(1)
    pool.publish(block, 5)
    assert pool.match([5]) == []


def test_a_block_that_nobody_holds_cannot_be_published():
    pool = BlockPool(2, 4, prefix_cache=True)
    with pytest.raises(ValueError, match="block 1 is published but nobody holds it"):
        pool.publish(1, 5)


@pytest.mark.parametrize(
    ("num_blocks", "block_size", "name"), [(0, 4, "num_blocks"), (-1, 4, "num_blocks"), (4, 0, "block_size")]
)
def test_a_pool_has_blocks_and_blocks_have_tokens(num_blocks: int, block_size: int, name: str):
    with pytest.raises(UserError, match=name):
        BlockPool(num_blocks, block_size)


def broken(**changes: object) -> BlockPool:
    pool = BlockPool(3, 4, prefix_cache=True)
    (block,) = pool.allocate(1)
    pool.publish(block, 5)
    for name, value in changes.items():
        setattr(pool, name, value)
    return pool


@pytest.mark.parametrize(
    ("pool", "tables", "message"),
    [
        (broken(), [[1]], "block 0 has 1 references but 0 holders"),
        (broken(), [[0], [0]], "block 0 has 1 references but 2 holders"),
        (broken(_free=[2], _num_touched=3), [[0]], "leaked blocks: {1}"),
        (broken(_free=[2, 1, 1], _num_touched=3), [[0]], "in the free list twice"),
        (broken(_block_of={}), [[0]], "hash maps disagree"),
        (broken(_free=[0, 1, 2], _used=set(), _num_touched=3), [], "can still be found by hash"),
    ],
)
def test_a_broken_pool_is_found_out(pool: BlockPool, tables: list[list[int]], message: str):
    with pytest.raises(AssertionError, match=message):
        pool.check_integrity(tables)
