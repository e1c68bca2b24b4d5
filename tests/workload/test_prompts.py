import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.errors import UserError
from course.workload.build import build_workload
from course.workload.hashing import chain_all
from course.workload.prompts import block_hashes, with_prompt_tokens
from course.workload.traces import TraceRow, read_trace


def row(num_prompt_tokens, *contents, block_tokens=512):
    return TraceRow(0, num_prompt_tokens, 4, chain_all(contents), hash_block_tokens=block_tokens)


def num_equal(one, other):
    """Length of the common prefix."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def test_a_row_that_shares_nothing_has_no_hashes():
    assert block_hashes(row(1000), 16, 0) == ()


def test_one_hash_per_full_block_of_the_pool():
    assert len(block_hashes(row(1000, 1, 2), 16, 0)) == 62
    assert len(block_hashes(row(1024, 1, 2), 16, 0)) == 64
    assert block_hashes(row(15, 1), 16, 0) == ()


def test_hashes_agree_exactly_as_far_as_the_trace_says():
    one, other = block_hashes(row(1500, 1, 2, 3), 16, 0), block_hashes(row(1100, 1, 2, 9), 16, 1)
    assert num_equal(one, other) == 1024 // 16
    assert len(set(one)) == len(one)


def test_a_pool_block_that_straddles_two_trace_blocks_is_shared_only_if_both_are():
    one, other = (block_hashes(row(30, 1, x, block_tokens=10), 8, x) for x in (2, 3))
    # Tokens 0..9 are shared; block 1 holds 8..15 and is not.
    assert num_equal(one, other) == 1


def test_tokens_that_the_trace_does_not_name_are_shared_with_nobody():
    short, full = row(1024, 7), row(512, 7)
    one, other = block_hashes(short, 16, 0), block_hashes(short, 16, 1)
    assert num_equal(one, other) == 32 == len(block_hashes(full, 16, 2))
    assert not set(one[32:]) & set(other[32:])


prompts = st.lists(st.tuples(st.integers(1, 300), st.lists(st.integers(0, 2), max_size=12)), min_size=2, max_size=5)


@given(prompts, st.sampled_from([1, 4, 16]), st.sampled_from([8, 25]), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_tokens_agree_wherever_hashes_agree_and_nowhere_else(specs, block_size, block_tokens, seed):
    rows = [row(num, *contents[: -(-num // block_tokens)], block_tokens=block_tokens) for num, contents in specs]
    workload = build_workload(rows, block_size=block_size)
    requests = with_prompt_tokens(workload, 2**40, seed).requests
    for one in requests:
        assert len(one.prompt) == one.num_prompt_tokens
        for other in requests:
            if one.id < other.id:
                num_blocks = num_equal(one.prefix_hashes, other.prefix_hashes)
                num_tokens = num_equal(one.prompt, other.prompt)
                assert num_tokens == num_blocks * block_size, "with 2**40 ids no two tokens agree by chance"


def test_scaling_scales_what_is_shared():
    rows = [row(5120, *range(10)), row(5120, *range(5), *range(20, 25))]
    workload = build_workload(rows, context_tokens=512, block_size=4)
    one, other = with_prompt_tokens(workload, 2**40).requests
    assert one.num_prompt_tokens == 512 - 1
    assert num_equal(one.prompt, other.prompt) == pytest.approx(256, abs=4)


def test_draws_depend_on_the_seed_and_stay_in_the_vocabulary():
    workload = build_workload([row(400, 1), row(400)])
    one, same, other = (with_prompt_tokens(workload, 10, seed, first_token=3) for seed in (0, 0, 1))
    assert one == same
    assert one.requests[0].prompt != other.requests[0].prompt
    assert set(one.requests[0].prompt) == set(one.requests[1].prompt) == set(range(3, 10))


def test_a_prompt_does_not_depend_on_the_rest_of_the_workload():
    rows = [row(100, 1), row(90, 1), row(80, 2)]
    few, many = (with_prompt_tokens(build_workload(some), 4096) for some in (rows[:1], rows))
    assert few.requests[0] == many.requests[0]


@pytest.mark.parametrize(("vocab_size", "first_token"), [(0, 0), (5, 5), (5, -1)])
def test_refuses_an_empty_vocabulary(vocab_size, first_token):
    with pytest.raises(UserError, match="no token ids between"):
        with_prompt_tokens(build_workload([row(3)]), vocab_size, first_token=first_token)


def test_mooncake_shares_in_small_blocks_what_it_shares_in_large_ones(trace_dir):
    rows = read_trace(trace_dir / "mooncake_conversation.jsonl")[:300]
    workload = build_workload(rows, block_size=64)
    seen: set[int] = set()
    num_hits = num_tokens = 0
    for request in workload.requests:
        num_hits += 64 * len(seen.intersection(request.prefix_hashes))
        num_tokens += request.num_prompt_tokens
        seen.update(request.prefix_hashes)
    seen_512: set[int] = set()
    num_hits_512 = 0
    for trace_row in rows:
        num_hits_512 += 512 * len(seen_512.intersection(trace_row.prefix_hashes))
        seen_512.update(trace_row.prefix_hashes)
    assert num_hits == pytest.approx(num_hits_512, rel=0.01)
    assert 0.05 < num_hits / num_tokens < 0.4
