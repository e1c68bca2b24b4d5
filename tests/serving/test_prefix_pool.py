"""A prefix cache from outside in the place of the pool's own: the same hits, the same evictions, the same run."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.pool import BlockPool
from course.serving.prefix import block_hashes
from course.serving.prefix_pool import PrefixCachePool, prefix_pool_of
from course.serving.schedulers import PrefillFirst
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from tests.serving.helpers import request, with_tokens, workload


class LeastRecent:
    """The shortest cache there is."""

    def __init__(self) -> None:
        self.block_of: dict[int, int] = {}
        self.holders: dict[int, int] = {}
        self.idle: list[int] = []

    def add(self, block_hash: int, block: int) -> None:
        self.block_of[block_hash], self.holders[block_hash] = block, 1

    def hold(self, hashes: list[int]) -> None:
        for each in hashes:
            if not self.holders[each]:
                self.idle.remove(each)
            self.holders[each] += 1

    def release(self, hashes: list[int]) -> None:
        for each in reversed(hashes):
            self.holders[each] -= 1
            if not self.holders[each]:
                self.idle.append(each)

    def evict(self) -> int:
        return self.block_of.pop(self.idle.pop(0))


class InUse(LeastRecent):
    def evict(self) -> int:
        return next(iter(self.block_of.values()))


def found(hashes, block_of, num_tokens, block_size):
    blocks = []
    for each in hashes[: (num_tokens - 1) // block_size]:
        if each not in block_of:
            break
        blocks.append(block_of[each])
    return blocks


def test_at_least_one_token_is_left_to_compute() -> None:
    for make_pool in (BlockPool, prefix_pool_of(LeastRecent), prefix_pool_of(LeastRecent, found)):
        pool = make_pool(4, 2, True)
        hashes = pool.name_blocks([1, 2, 3, 4])
        table = pool.allocate(2)
        for block, name in zip(table, hashes, strict=True):
            pool.publish(block, name)
        assert pool.match(hashes) == table
        assert pool.match(hashes, 5) == table
        assert pool.match(hashes, 4) == table[:1]
        assert pool.match(hashes[:1], 2) == []


def test_a_block_in_use_is_not_given_away() -> None:
    pool = PrefixCachePool(InUse(), 2, 2)
    for number in (1, 2):
        [block] = pool.allocate(1)
        pool.publish(block, number)
    pool.release([1])
    with pytest.raises(ValueError, match="evicts block 0, which is in use"):
        pool.allocate(1)


def test_blocks_are_named_by_whoever_is_asked_to() -> None:
    asked = []

    def names(tokens: list[int], block_size: int) -> list[int]:
        asked.append((tokens, block_size))
        return list(block_hashes(tokens, block_size))

    pool = prefix_pool_of(LeastRecent, name_blocks=names)(4, 2, True)
    assert pool.name_blocks((1, 2, 3)) == block_hashes([1, 2, 3], 2)
    assert asked == [([1, 2, 3], 2)]
    assert prefix_pool_of(LeastRecent, name_blocks=names)(4, 2, False).name_blocks((1, 2)) == ()


PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=12)


@given(
    num_blocks=st.integers(10, 24),
    block_size=st.sampled_from([1, 2, 4]),
    asked=st.lists(
        st.tuples(st.floats(0, 0.05), PROMPTS, st.integers(1, 5), st.integers(1, 2)), min_size=1, max_size=10
    ),
    own_search=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_run_on_it_is_the_same_run(num_blocks: int, block_size: int, asked: list, own_search: bool) -> None:
    """Shared prompts, answers of one prompt (n = 2), preemption and all; integrity after every instant."""
    num_blocks = max(num_blocks, 40 // block_size)
    requests = [
        with_tokens(request(i, len(tokens), most, time_s, n=n), tokens, block_size)
        for i, (time_s, tokens, most, n) in enumerate(asked)
    ]

    def run(**pool: object) -> list[tuple[object, ...]]:
        instance = Instance(PrefillFirst(), num_blocks, block_size, prefix_cache=True, **pool)
        cluster = Cluster([instance])
        driver = VirtualDriver(cluster, LinearCost(), after_event=lambda _: cluster.check_integrity())
        records = driver.run(workload(*requests)).records
        peak = instance.memory.pool.peak_used_blocks
        return [(r.request_id, r.outcome, r.num_preemptions, *r.token_times_s, peak) for r in records]

    assert run(make_pool=prefix_pool_of(LeastRecent, found if own_search else None)) == run()
