"""Bugs that small engines have shipped, one by one. Each test says what went wrong there."""

from __future__ import annotations

import pytest

from course.serving.batch import TokenResult
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.plan import Chunk, Plan, Preemption
from course.serving.pool import BlockPool
from course.serving.prefix import block_hashes
from course.serving.schedulers import SCHEDULERS, make_scheduler
from course.serving.sequence import Sequence
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request
from tests.serving.helpers import Scripted, finish, instance, queue, request, run, with_tokens, workload

BLOCK = 4
TOKENS = list(range(100, 140))


def prompt(id: int, length: int, output: int = 8) -> Request:
    """A request whose prompt is the beginning of one and the same text."""
    return with_tokens(request(id, length, output), TOKENS[:length], BLOCK)


def caching(num_blocks: int = 16) -> Instance:
    return instance(Scripted(), num_blocks, BLOCK, prefix_cache=True)


# prefix cache


@pytest.mark.parametrize("length", [1, 3, 4, 5, 7, 8, 9, 12])
def test_a_full_prefix_hit_leaves_a_token_to_compute(length: int):
    """Nothing left to compute means no query, and nothing to sample from."""
    machine = caching()
    first, second = queue(machine, prompt(0, length), prompt(1, length))
    run(machine, Plan([Chunk(first, length)]))
    left = machine.memory.pool.block_size * ((length - 1) // BLOCK)
    batch = run(machine, Plan([Chunk(second, length - left)]))
    (chunk,) = batch.chunks
    assert chunk.num_tokens >= 1
    assert (chunk.start, chunk.start + chunk.num_tokens) == (left, length)
    assert chunk.samples == (second,)


def test_a_block_is_named_by_everything_before_it():
    """Without the parent in the hash, [a b][x y] would be served the cache of [c d][x y]."""
    machine = caching()
    tail = [7, 7, 7, 7, 7]
    first, second = queue(
        machine,
        with_tokens(request(0, 1), [1, 1, 1, 1, *tail], BLOCK),
        with_tokens(request(1, 1), [2, 2, 2, 2, *tail], BLOCK),
    )
    run(machine, Plan([Chunk(first, 9)]))
    (chunk,) = run(machine, Plan([Chunk(second, 9)])).chunks
    assert chunk.start == 0
    assert not set(chunk.block_table) & set(first.block_table)


def test_a_block_is_not_found_while_the_batch_that_fills_it_runs():
    """Published when it is allocated, a block would be read before it is written."""
    machine = caching()
    first, second = queue(machine, prompt(0, 8), prompt(1, 9))
    machine.scheduler.plans.append(Plan([Chunk(first, 8), Chunk(second, 9)]))
    batch = machine.schedule(0.0)[1]
    assert [chunk.start for chunk in batch.chunks] == [0, 0]
    assert not set(first.block_table) & set(second.block_table)
    finish(machine, batch)


def test_a_block_in_use_is_never_evicted():
    """The pool is full of cached blocks; the prefix that an admission is about to use must not be what goes."""
    machine = caching(num_blocks=6)
    (old,) = queue(machine, prompt(0, 8, 1))
    run(machine, Plan([Chunk(old, 8)]))  # ends: two cached blocks, four free
    (filler,) = queue(machine, request(1, 4, 1))
    run(machine, Plan([Chunk(filler, 4)]))
    second, third = queue(machine, request(2, 12), prompt(3, 12), rank=2)
    batch = run(machine, Plan([Chunk(second, 12), Chunk(third, 4)]))  # three free for the one, one more for the other
    assert batch.chunks[1].start == 8
    assert not set(batch.chunks[0].block_table) & set(batch.chunks[1].block_table)
    assert machine.memory.pool.num_free_blocks == 0


def test_an_answer_is_found_by_the_next_prompt_of_the_conversation():
    """The hash of a block that an answer completes belongs to that block and no other."""
    machine = caching()
    (first,) = queue(machine, prompt(0, 6))
    text = TOKENS[:12]
    hashes = block_hashes(text, BLOCK)
    for known in range(7, 12):  # a token is known after each step
        size = 6 if known == 7 else 1
        machine.scheduler.plans.append(Plan([Chunk(first, size)]))
        batch = machine.schedule(0.0)[1]
        completed = hashes[known // BLOCK - 1] if known % BLOCK == 0 else None
        machine.complete(batch, [TokenResult(first, block_hash=completed)])
        machine.check_integrity()
    (second,) = queue(machine, with_tokens(request(1, 12), text, BLOCK))
    (chunk,) = run(machine, Plan([Chunk(second, 4)])).chunks
    assert chunk.start == 8
    assert chunk.block_table[:2] == list(first.block_table[:2])


def test_a_hash_that_comes_without_those_before_it_is_not_believed():
    """A prompt without hashes: the first one its answer brings is that of a later block, not of the first."""
    machine = caching()
    (first,) = queue(machine, request(0, 7))
    for size in (7, 1):
        machine.scheduler.plans.append(Plan([Chunk(first, size)]))
        batch = machine.schedule(0.0)[1]
        machine.complete(batch, [TokenResult(first, block_hash=12345)])
    (second,) = queue(machine, Request(1, 0.0, 8, 1, prefix_hashes=(12345, 6)))
    (chunk,) = run(machine, Plan([Chunk(second, 8)])).chunks
    assert chunk.start == 0


def test_counters_are_fresh_after_a_preemption_and_a_prefix_hit():
    """Stale, they say that tokens are computed whose blocks are gone, or compute cached ones again."""
    machine = caching()
    first, second = queue(machine, prompt(0, 10), prompt(1, 10))
    run(machine, Plan([Chunk(first, 10)]))
    run(machine, Plan([Chunk(second, 2)]))
    run(machine, Plan([Chunk(second, 1)]))  # 11 computed, 12 known
    machine.scheduler.plans.append(Plan(preempt=[Preemption(second)]))
    machine.schedule(0.0)
    machine.check_integrity()
    assert (second.num_computed_tokens, second.block_table) == (0, ())
    assert second.num_known_tokens == 12
    (chunk,) = run(machine, Plan([Chunk(second, 4)])).chunks
    assert (chunk.start, chunk.num_tokens, len(chunk.block_table)) == (8, 4, 3)
    assert chunk.samples == (second,)
    assert second.num_output_tokens == 3


# chunks


@pytest.mark.parametrize("sizes", [(1, 1, 8), (3, 5, 2), (4, 4, 2), (10,), (9, 1), (7, 2, 1)])
def test_a_chunk_attends_to_what_is_computed_and_to_itself_and_no_further(sizes: tuple[int, ...]):
    """Attention over the length of the whole prompt inside a chunk reads blocks that are not written yet."""
    machine = instance(Scripted(), 16, BLOCK)
    (sequence,) = queue(machine, request(0, sum(sizes)))
    done = 0
    for size in sizes:
        machine.scheduler.plans.append(Plan([Chunk(sequence, size)]))
        batch = machine.schedule(0.0)[1]
        (chunk,) = batch.chunks
        assert (chunk.start, chunk.num_tokens) == (done, size)
        assert len(chunk.block_table) == -(-(done + size) // BLOCK), "blocks up to the chunk's end, none beyond"
        done += size
        assert bool(chunk.samples) == (done == sum(sizes)), "only the last chunk of a prompt samples"
        finish(machine, batch)
    assert sequence.num_output_tokens == 1


def test_the_last_partial_chunk_samples_once():
    """Sampled before its end, a prompt is answered without its last words; sampled twice, a token is doubled."""
    machine = instance("chunked-prefill", 64, BLOCK)
    machine.scheduler.token_budget = 4
    (sequence,) = queue(machine, request(0, 10, 3))
    samples = []
    while not sequence.is_ended:
        batch = machine.schedule(0.0)[1]
        samples.append(sum(len(chunk.samples) for chunk in batch.chunks))
        finish(machine, batch)
    assert samples == [0, 0, 1, 1, 1]
    assert sequence.num_output_tokens == 3


def test_a_sequence_computed_again_in_chunks_samples_at_the_end_of_what_it_knows():
    """Sampled at the end of its prompt, it would say its second token twice."""
    machine = instance(Scripted(), 16, BLOCK)
    (sequence,) = queue(machine, request(0, 6))
    for size in (6, 1, 1):
        run(machine, Plan([Chunk(sequence, size)]))
    machine.scheduler.plans.append(Plan(preempt=[Preemption(sequence)]))
    machine.schedule(0.0)
    samples = [len(run(machine, Plan([Chunk(sequence, size)])).chunks[0].samples) for size in (6, 2, 1)]
    assert samples == [0, 0, 1]
    assert sequence.num_output_tokens == 4


@pytest.mark.parametrize("length", range(1, 14))
def test_blocks_at_and_around_a_boundary(length: int):
    """Off by one: a token too many is refused a block, a token too few is written into the next one."""
    machine = instance(Scripted(), 16, BLOCK)
    (sequence,) = queue(machine, request(0, length, 9))
    run(machine, Plan([Chunk(sequence, length)]))
    assert len(sequence.block_table) == -(-length // BLOCK)
    for computed in range(length + 1, length + 6):
        run(machine, Plan([Chunk(sequence, 1)]))
        assert len(sequence.block_table) == -(-computed // BLOCK)
        assert len(set(sequence.block_table)) == len(sequence.block_table)


def test_the_largest_request_that_fits_does_fit():
    """Prompt 8 and answer 9 are 16 tokens in the cache: the last one is never fed back."""
    for name in SCHEDULERS:
        cluster = Cluster([instance(name, 4, BLOCK)])
        served = workload(request(0, 8, 9), request(1, 8, 10))
        first, second = VirtualDriver(cluster, LinearCost()).run(served).records
        assert (first.outcome, first.num_output_tokens) == ("finished", 9)
        assert second.outcome == "refused"


# shared blocks


def fork(prompt_length: int, n: int = 2) -> tuple[Instance, list[Sequence]]:
    machine = instance(Scripted(), 16, BLOCK)
    (parent,) = queue(machine, request(0, prompt_length, 9, n=n))
    run(machine, Plan([Chunk(parent, prompt_length)]))
    return machine, list(machine.running)


def test_copy_on_write_copies_the_last_block_only():
    """Copying all of them is slow, copying none lets one answer write into the other's cache."""
    machine, (first, second, third) = fork(10, n=3)
    batch = run(machine, Plan([Chunk(s, 1) for s in (first, second, third)]))
    assert len(batch.copies) == 2
    assert {copy.source for copy in batch.copies} == {third.block_table[2]}, "the last to write keeps the original"
    tables = [s.block_table for s in (first, second, third)]
    assert len({table[:2] for table in tables}) == 1
    assert len({table[2] for table in tables}) == 3
    assert run(machine, Plan([Chunk(s, 1) for s in (first, second, third)])).copies == []


def test_a_shared_block_is_freed_by_its_last_holder():
    """Freed by the first, it is given away while others still read it."""
    machine, (first, second) = fork(8)
    shared = first.block_table
    machine.scheduler.plans.append(Plan(preempt=[Preemption(first)]))
    machine.schedule(0.0)
    machine.check_integrity()
    assert [machine.memory.pool.references(block) for block in shared] == [1, 1]
    (other,) = queue(machine, request(1, 14 * BLOCK), rank=1)
    batch = run(machine, Plan([Chunk(other, 14 * BLOCK)]))
    assert not set(batch.chunks[0].block_table) & set(second.block_table)
    with pytest.raises(ValueError, match="nobody holds it"):
        BlockPool(2, BLOCK).release([0])


# fairness

STREAM_S = 20.0


def gap_between_tokens(name: str, **parameters: object) -> float:
    """Longest wait between two tokens of an answer while a stream of prompts comes in faster than it is served."""
    cluster = Cluster([instance(make_scheduler(name, **parameters), 2000, BLOCK)])
    stream = [request(k, 40, 2, arrival_s=0.5 + 0.5 * k) for k in range(1, 40)]
    served = workload(request(0, 4, 10), *stream)
    cost = LinearCost(step_s=0.1, token_s=0.02, context_token_s=0.0)  # a prompt takes 0.9 s, one comes every 0.5 s
    record = VirtualDriver(cluster, cost).run(served).record(0)
    return max(b - a for a, b in zip(record.token_times_s, record.token_times_s[1:], strict=False))


@pytest.mark.parametrize("name", ["prefill-first", "vtc"])
def test_a_stream_of_prompts_starves_decodes_under_prefill_first(name: str):
    assert gap_between_tokens(name, token_budget=64) > STREAM_S


@pytest.mark.parametrize(
    ("name", "parameters", "longest_s"),
    [
        ("chunked-prefill", {"token_budget": 8}, 0.1 + 8 * 0.02),
        ("decode-first", {}, 0.1 + 0.02),
        ("static", {}, 0.1 + 0.02),
        ("orca", {"max_num_sequences": 2}, 0.1 + 41 * 0.02),
        ("splitwise", {"token_budget": 40, "max_pauses": 2}, 3 * (0.1 + 42 * 0.02)),  # two pauses and its own step
    ],
)
def test_no_other_policy_lets_prompts_starve_decodes(name: str, parameters: dict, longest_s: float):
    assert gap_between_tokens(name, **parameters) <= longest_s + 1e-9


@pytest.mark.parametrize("name", ["prefill-first", "decode-first", "chunked-prefill"])
def test_the_preempted_are_not_overtaken_for_ever(name: str):
    """Put at the end of the queue, a preempted sequence is passed by every later arrival."""
    cluster = Cluster([instance(make_scheduler(name, watermark=0.0), 6, BLOCK)])
    served = workload(*(request(k, 8, 12, arrival_s=0.01 * k) for k in range(30)))
    records = VirtualDriver(cluster, LinearCost()).run(served).records
    assert sum(r.num_preemptions for r in records) > 0
    ends = [r.end_s for r in records]
    overtaken = max(sum(end < mine for end in ends[index + 1 :]) for index, mine in enumerate(ends))
    assert overtaken <= 3, f"{overtaken} later requests ended before an earlier one"


# admission


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_can_never_fit_is_turned_away_instead_of_blocking_the_queue(name: str):
    cluster = Cluster([instance(name, 8, BLOCK)])
    served = workload(request(0, 40, 4), request(1, 4, 40), request(2, 8, 8))
    records = VirtualDriver(cluster, LinearCost()).run(served).records
    assert [r.outcome for r in records] == ["refused", "refused", "finished"]
    assert all("instance 0 has 8" in r.error for r in records[:2])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_more_answers_than_fit_at_once_still_all_end_or_are_refused_together(name: str):
    cluster = Cluster([instance(name, 6, BLOCK)])
    served = workload(request(0, 8, 9, n=4), request(1, 8, 9))
    driver = VirtualDriver(cluster, LinearCost(), after_event=lambda now_s: cluster.check_integrity())
    records = driver.run(served).records
    outcomes = {r.outcome for r in records if r.request_id == 0}
    assert outcomes == ({"refused"} if name in ("static", "orca") else {"finished"})
    assert records[-1].outcome == "finished"
