"""Which blocks a sequence holds, and which copies that costs."""

from __future__ import annotations

from course.serving.batch import BlockCopy
from course.serving.memory import Memory
from course.serving.pool import BlockPool
from course.serving.sequence import Sequence
from tests.serving.helpers import request, with_tokens

TOKENS = list(range(20))


def memory(num_blocks: int = 8, host: int = 0, prefix_cache: bool = True) -> Memory:
    return Memory(BlockPool(num_blocks, 4, prefix_cache), host)


def sequence(tokens: list[int], id: int = 0) -> Sequence:
    return Sequence(with_tokens(request(id, 1), tokens, 4), rank=id)


def compute(memory: Memory, sequence: Sequence, num_tokens: int) -> list[BlockCopy]:
    copies = memory.grow(sequence, num_tokens)
    sequence._num_computed += num_tokens
    memory.publish(sequence)
    return copies


def test_blocks_grow_with_the_tokens_and_only_then():
    store, one = memory(), sequence(TOKENS[:9])
    lengths = []
    for num_tokens in (3, 1, 1, 3, 1):  # to 3, 4, 5, 8, 9 tokens
        assert compute(store, one, num_tokens) == []
        lengths.append(len(one.block_table))
    assert lengths == [1, 1, 2, 2, 3]


def test_a_block_is_found_only_after_its_last_token_was_computed():
    store, one, other = memory(), sequence(TOKENS[:9]), sequence(TOKENS[:9], id=1)
    found = []
    for num_tokens in (3, 1, 3, 1, 1):
        compute(store, one, num_tokens)
        found.append(len(store.cached_prefix(other)))
    assert found == [0, 1, 1, 2, 2]


def test_growing_alone_publishes_nothing():
    store, one, other = memory(), sequence(TOKENS[:9]), sequence(TOKENS[:9], id=1)
    store.grow(one, 9)  # the batch is on its way, its keys and values are not there yet
    assert store.cached_prefix(other) == []


def test_one_token_is_always_left_to_compute():
    store, one = memory(), sequence(TOKENS[:8])
    compute(store, one, 8)
    assert len(store.cached_prefix(sequence(TOKENS[:8], id=1))) == 1, "the second block holds the last token"
    assert len(store.cached_prefix(sequence(TOKENS[:9], id=1))) == 2


def test_a_cached_prefix_counts_as_computed():
    store, one, other = memory(), sequence(TOKENS[:12]), sequence(TOKENS[:10], id=1)
    compute(store, one, 12)
    store.take_prefix(other)
    assert (other.num_computed_tokens, other.block_table) == (8, one.block_table[:2])
    assert [store.pool.references(b) for b in one.block_table] == [2, 2, 1]


def test_a_fork_shares_and_the_first_to_write_copies_the_last_block():
    store, one, other = memory(prefix_cache=False), sequence(TOKENS[:10]), sequence(TOKENS[:10], id=1)
    compute(store, one, 10)
    store.fork(one, other)
    first, second, third = one.block_table
    assert other.block_table == (first, second, third)
    (copy,) = compute(store, other, 1)
    assert copy.source == third
    assert other.block_table == (first, second, copy.target)
    assert compute(store, one, 1) == [], "nobody else holds it any more"
    assert [store.pool.references(b) for b in (first, second, third, copy.target)] == [2, 2, 1, 1]
    store.check_integrity([one, other], [])


def test_a_fork_at_the_end_of_a_block_copies_nothing():
    store, one, other = memory(prefix_cache=False), sequence(TOKENS[:8]), sequence(TOKENS[:8], id=1)
    compute(store, one, 8)
    store.fork(one, other)
    assert compute(store, other, 1) == []
    assert compute(store, one, 1) == []
    assert one.block_table[:2] == other.block_table[:2]
    assert one.block_table[2] != other.block_table[2]


def test_dropping_one_holder_leaves_the_blocks_of_the_other():
    store, one, other = memory(), sequence(TOKENS[:10]), sequence(TOKENS[:10], id=1)
    compute(store, one, 10)
    store.fork(one, other)
    store.drop(one)
    assert (one.block_table, one.num_computed_tokens) == ((), 0)
    assert store.pool.num_used_blocks == 3
    assert compute(store, other, 1) == []
    store.check_integrity([other], [])


def test_swapping_names_each_pair_of_blocks_and_keeps_the_counters():
    store, one = memory(host=4, prefix_cache=False), sequence(TOKENS[:10])
    compute(store, one, 10)
    on_device = one.block_table
    out = store.swap_out(one)
    assert [copy.source for copy in out] == list(on_device)
    assert (one.is_swapped, one.block_table, one.num_computed_tokens) == (True, (), 10)
    assert store.pool.num_used_blocks == 0
    back = store.swap_in(one)
    assert [copy.source for copy in back] == [copy.target for copy in out]
    assert tuple(copy.target for copy in back) == one.block_table
    assert not one.is_swapped


def test_host_blocks_are_free_only_after_they_were_read():
    store, one = memory(host=4), sequence(TOKENS[:10])
    compute(store, one, 10)
    store.swap_out(one)
    store.swap_in(one)
    assert store.num_free_host_blocks == 1
    store.check_integrity([one], [])
    store.settle()
    assert store.num_free_host_blocks == 4
    store.check_integrity([one], [])


def test_dropping_a_swapped_sequence_frees_its_host_blocks():
    store, one = memory(host=4), sequence(TOKENS[:10])
    compute(store, one, 10)
    store.swap_out(one)
    store.drop(one)
    assert store.num_free_host_blocks == 4
    store.check_integrity([one], [])


def test_a_shared_block_is_swapped_to_a_block_of_ones_own():
    store, one, other = memory(host=4, prefix_cache=False), sequence(TOKENS[:6]), sequence(TOKENS[:6], id=1)
    compute(store, one, 6)
    store.fork(one, other)
    store.swap_out(other)
    assert store.pool.num_used_blocks == 2
    store.swap_in(other)
    store.settle()
    assert not set(one.block_table) & set(other.block_table)
    store.check_integrity([one, other], [])
