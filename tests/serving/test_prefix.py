"""The name of a block covers everything before it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from course.serving.actions import RunBatch
from course.serving.batch import TokenResult
from course.serving.cluster import Cluster
from course.serving.plan import Plan
from course.serving.prefix import block_hashes, chained_hash
from course.serving.view import InstanceView
from tests.serving.helpers import instance, request, with_tokens

tokens = st.lists(st.integers(0, 2), max_size=24)
block_sizes = st.integers(1, 6)


@given(tokens, tokens, block_sizes)
def test_hashes_agree_exactly_as_far_as_the_tokens_do(first: list[int], second: list[int], block_size: int):
    ours, theirs = block_hashes(first, block_size), block_hashes(second, block_size)
    for index, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        end = (index + 1) * block_size
        assert (a == b) == (first[:end] == second[:end])


@given(tokens, block_sizes)
def test_only_full_blocks_have_a_hash(prompt: list[int], block_size: int):
    assert len(block_hashes(prompt, block_size)) == len(prompt) // block_size


def test_the_same_block_after_another_beginning_has_another_hash():
    assert block_hashes([1, 2, 5, 6], 2)[1] != block_hashes([3, 4, 5, 6], 2)[1]
    assert chained_hash(1, [5, 6]) != chained_hash(2, [5, 6])


def test_hashes_can_be_continued_one_block_at_a_time():
    first, second = block_hashes([1, 2, 3, 4], 2)
    assert chained_hash(0, [1, 2]) == first
    assert chained_hash(first, [3, 4]) == second


def test_hashes_are_the_same_in_every_process():
    assert block_hashes([1, 2, 3, 4], 4) == (chained_hash(0, [1, 2, 3, 4]),)
    assert chained_hash(0, []) == 1786884285633530058, "recorded runs name blocks by these numbers"


def test_a_prefix_that_a_plan_counts_on_is_not_evicted_by_its_decodes():
    """All free blocks are cached, and one that decodes takes the oldest: not those that another is to start from."""

    class Everything:
        def schedule(self, view: InstanceView) -> Plan:
            draft = view.draft()
            draft.decode_all()
            for sequence in view.waiting:
                draft.add(sequence, draft.tokens_left(sequence))
            return draft.plan

    only = instance(Everything(), num_blocks=7, block_size=4, prefix_cache=True)
    cluster = Cluster([only])

    def step() -> None:
        [action] = [action for action in cluster.decide(0.0) if isinstance(action, RunBatch)]
        sampled = [TokenResult(s) for chunk in action.batch.chunks for s in chunk.samples]
        cluster.on_batch_done(action.batch, sampled, 0.0)

    shared, junk, other = ([start + i for i in range(8)] for start in (0, 100, 200))
    for id, tokens in ((0, shared), (1, junk)):  # each leaves two cached blocks behind
        cluster.on_arrival(with_tokens(request(id, 8, 1), tokens, 4), 0.0)
        step()
    cluster.on_arrival(with_tokens(request(2, 8, 9), other, 4), 0.0)
    for _ in range(5):
        step()  # its third block is full now, and none is free that is not cached
    cluster.on_arrival(with_tokens(request(3, 9, 2), [*shared, 99], 4), 0.0)
    step()
    cluster.check_integrity()
    assert {s.request.id: s.num_known_tokens - s.num_computed_tokens for s in only.running} == {2: 1, 3: 1}
