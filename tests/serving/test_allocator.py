"""An allocator from outside in the place of the pool's own: the same tokens, the same blocks in use."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.errors import UserError
from course.serving.allocator import AllocatorPool, pool_of
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.schedulers import PrefillFirst
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request, Workload


class Stack:
    """The shortest allocator there is."""

    def __init__(self, num_blocks: int) -> None:
        self.free_blocks = list(range(num_blocks))
        self.references = [0] * num_blocks

    def allocate(self, count: int) -> list[int]:
        return self.fork([self.free_blocks.pop() for _ in range(count)])

    def fork(self, table: list[int]) -> list[int]:
        for block in table:
            self.references[block] += 1
        return list(table)

    def free(self, table: list[int]) -> None:
        for block in table:
            self.references[block] -= 1
            if not self.references[block]:
                self.free_blocks.append(block)


def test_it_is_asked_for_every_block() -> None:
    pool = pool_of(Stack)(8, 4, False)
    table = pool.allocate(3)
    pool.share(table)
    assert [pool.references(block) for block in table] == [2, 2, 2]
    pool.release(table[:1])
    assert (pool.num_free_blocks, pool.num_used_blocks) == (5, 3)
    pool.promise(2)
    assert (pool.num_free_blocks, pool.peak_used_blocks) == (3, 5)
    table += pool.redeem(1)
    pool.forgive(1)
    pool.check_integrity([table, table[1:3]])
    with pytest.raises(ValueError, match="5 blocks wanted, 4 free"):
        pool.allocate(5)
    pool.check_integrity([table, table[1:3]])


def test_integrity_sees_what_is_leaked_and_what_is_given_twice() -> None:
    pool = AllocatorPool(stack := Stack(4), 4, 4)
    table = pool.allocate(2)
    with pytest.raises(AssertionError, match=f"block {table[0]} has 1 references but 0 holders"):
        pool.check_integrity([table[1:]])
    stack.free_blocks.append(table[0])
    with pytest.raises(AssertionError, match="is misplaced"):
        pool.check_integrity([table])


def test_it_has_no_prefix_cache() -> None:
    with pytest.raises(UserError, match="leave prefix_cache off"):
        pool_of(Stack)(8, 4, True)


@given(
    num_blocks=st.integers(6, 24),
    block_size=st.sampled_from([1, 2, 4]),
    asked=st.lists(
        st.tuples(st.floats(0, 20), st.integers(1, 4), st.integers(1, 4), st.integers(1, 2)), min_size=1, max_size=8
    ),
)
@settings(max_examples=60, deadline=None)
def test_a_run_on_it_is_the_same_run(
    num_blocks: int, block_size: int, asked: list[tuple[float, int, int, int]]
) -> None:
    """Answers of one prompt (n = 2), preemption and all; integrity after every instant."""

    def run(**pool: object) -> list[tuple[object, ...]]:
        instance = Instance(PrefillFirst(), num_blocks, block_size, **pool)
        driver = VirtualDriver(
            Cluster([instance]),
            LinearCost(),
            after_event=lambda _: instance.memory.check_integrity(instance.sequences, []),
        )
        requests = [Request(i, time_s, prompt, most, n=n) for i, (time_s, prompt, most, n) in enumerate(asked)]
        records = driver.run(Workload(requests, {i: most for i, (_, _, most, _) in enumerate(asked)})).records
        peak = instance.memory.pool.peak_used_blocks
        return [(r.request_id, r.outcome, r.num_preemptions, *r.token_times_s, peak) for r in records]

    assert run(make_pool=pool_of(Stack)) == run()
