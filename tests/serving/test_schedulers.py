"""Who runs what in each step, worked out by hand."""

from __future__ import annotations

import pytest

from course.errors import UserError
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.schedulers import (
    SCHEDULERS,
    ChunkedPrefill,
    DecodeFirst,
    DecodeOnly,
    FixedChunks,
    LongestPrefixFirst,
    Orca,
    PrefillFirst,
    PrefillOnly,
    Splitwise,
    Static,
    make_scheduler,
)
from tests.serving.helpers import (
    Steps,
    assert_all_served,
    checking_driver,
    finish,
    instance,
    queue,
    request,
    with_tokens,
    workload,
)


def move_here(machine: Instance, *ids: int, prompt: int = 1, output: int = 9) -> None:
    """Hand sequences over that have their prompt computed and one token sampled elsewhere."""
    source = instance("prefill-only", role="prefill")
    queue(source, *(request(k, prompt, output) for k in ids), rank=min(ids))
    batch = source.schedule(0.0)[1]
    assert batch
    finish(source, batch)
    for sequence in list(source.held):
        machine.reserve(sequence.request.id, sequence)
        source.hand_over(sequence.request.id, sequence, machine)


# static and orca


def test_static_runs_a_batch_to_its_last_token_before_it_forms_the_next():
    play = Steps(Static(max_num_sequences=2)).arrive(request(0, 5, 1), request(1, 3, 3), request(2, 2, 2))
    assert play.steps(5) == [{0: 5, 1: 3}, {1: 1}, {1: 1}, {2: 2}, {2: 1}]


def test_orca_fills_a_place_as_soon_as_it_is_empty():
    play = Steps(Orca(max_num_sequences=2)).arrive(request(0, 5, 1), request(1, 3, 3), request(2, 2, 2))
    assert play.steps(4) == [{0: 5, 1: 3}, {1: 1, 2: 2}, {1: 1, 2: 1}, {}]


@pytest.mark.parametrize("policy", [Static, Orca])
def test_memory_is_set_aside_for_the_declared_answer(policy: type):
    # 5 prompt tokens and 4 of answer come to 8 in the cache: 2 blocks each, although 1 would do for the other prompt
    play = Steps(policy(), num_blocks=3).arrive(request(0, 5, 4), request(1, 4, 4))
    assert play.step() == {0: 5}
    assert play.machine.memory.pool.num_free_blocks == 1
    assert len(play.machine.waiting) == 1


@pytest.mark.parametrize("policy", [Static, Orca])
def test_what_could_never_be_set_aside_is_refused_and_blocks_nobody(policy: type):
    play = Steps(policy(), num_blocks=4).arrive(request(0, 8, 1, n=3), request(1, 4, 2))
    assert play.step() == {1: 4}
    assert play.refused == [0]


def test_orca_takes_a_prompt_with_all_its_answers_or_not_at_all():
    play = Steps(Orca(max_num_sequences=4)).arrive(request(0, 4, 2), request(1, 4, 2, n=4), request(2, 4, 2))
    assert play.steps(2) == [{0: 4}, {0: 1}], "1 + 4 answers are too many, and nobody overtakes"
    assert play.step() == {1: 4}


@pytest.mark.parametrize("policy", [Static, Orca])
@pytest.mark.parametrize("roles", [("prefill", "decode"), ("prefill", "mixed"), ("mixed", "decode", "prefill")])
def test_reserving_policies_serve_in_every_role(policy: type, roles: tuple[str, ...]):
    served = workload(*(request(k, 6, 10) for k in range(6)))
    cluster = Cluster([instance(policy(), 6, id=k, role=role) for k, role in enumerate(roles)])
    assert_all_served(checking_driver(cluster, transfer_s_per_block=0.01).run(served), served)


@pytest.mark.parametrize("policy", [Static, Orca])
def test_reserving_policies_take_over_what_a_larger_instance_had_begun(policy: type):
    served = workload(request(0, 6, 10, n=3))
    cluster = Cluster([instance(policy(), 20, id=0), instance(policy(), 6, id=1)])
    driver = checking_driver(cluster)
    driver.at(0.001, cluster.on_instance_lost, 0)
    assert_all_served(driver.run(served), served)


# prefill first and decode first


def test_prefill_first_stalls_answers_for_every_prompt_that_comes():
    play = Steps(PrefillFirst()).arrive(request(0, 5, 4))
    assert play.steps(2) == [{0: 5}, {0: 1}]
    play.arrive(request(1, 3, 4))
    assert play.step() == {1: 3}
    play.arrive(request(2, 7, 4))
    assert play.step() == {2: 7}
    assert play.step() == {0: 1, 1: 1, 2: 1}


def test_prefill_first_batches_whole_prompts_up_to_its_budget_and_a_longer_one_alone():
    play = Steps(PrefillFirst(token_budget=8)).arrive(
        request(0, 5, 2), request(1, 3, 2), request(2, 1, 2), request(3, 9, 2), request(4, 1, 2)
    )
    assert play.steps(4) == [{0: 5, 1: 3}, {2: 1}, {3: 9}, {4: 1}]


def test_decode_first_waits_until_the_device_is_empty():
    play = Steps(DecodeFirst()).arrive(request(0, 5, 3), request(1, 3, 2))
    assert play.step() == {0: 5, 1: 3}
    play.arrive(request(2, 4, 2))
    assert play.steps(3) == [{0: 1, 1: 1}, {0: 1}, {2: 4}]


def test_decode_first_refills_once_fewer_than_so_many_run():
    play = Steps(DecodeFirst(refill_below=2)).arrive(request(0, 5, 3), request(1, 3, 2))
    play.step()
    play.arrive(request(2, 4, 2))
    assert play.steps(2) == [{0: 1, 1: 1}, {0: 1, 2: 4}]


# prefill only and decode only


def test_prefill_only_batches_whole_prompts_up_to_its_budget_and_a_longer_one_alone():
    play = Steps(PrefillOnly(token_budget=8), role="prefill").arrive(
        request(0, 5, 2), request(1, 3, 2), request(2, 7, 2), request(3, 9, 2), request(4, 1, 2), request(5, 7, 2)
    )
    for batch in [{0: 5, 1: 3}, {2: 7}, {3: 9}, {4: 1, 5: 7}]:
        assert play.step() == batch
        held = [sequence.request.id for sequence in play.machine.held]
    assert held == list(range(6))


def test_prefill_only_decodes_where_nobody_takes_the_answers_over_and_no_prompt_waits():
    play = Steps(PrefillOnly(token_budget=8)).arrive(request(0, 5, 3), request(1, 5, 3))
    assert play.steps(4) == [{0: 5}, {1: 5}, {0: 1, 1: 1}, {0: 1, 1: 1}]


def test_decode_only_runs_as_many_as_the_limit_says_and_those_go_to_the_end():
    play = Steps(DecodeOnly(max_num_sequences=2)).arrive(*(request(k, 1, 9) for k in range(2)))
    assert play.step() == {0: 1, 1: 1}
    move_here(play.machine, 2, 3)
    assert play.steps(3) == [{0: 1, 1: 1}, {2: 1, 3: 1}, {0: 1, 1: 1}]
    move_here(play.machine, 4)
    assert play.steps(3) == [{2: 1, 3: 1}, {4: 1, 0: 1}, {1: 1, 2: 1}], "4 came while 0 and 1 ran"


def test_decode_only_keeps_a_step_within_so_many_known_tokens():
    play = Steps(DecodeOnly(max_context_tokens=30))
    move_here(play.machine, 0, 1, 2, prompt=9)  # 10 known tokens each
    assert play.step() == {0: 1, 1: 1, 2: 1}
    assert play.batch.holds == 1, "the next step would come to 33"
    assert play.steps(3) == [{0: 1, 1: 1}, {2: 1, 0: 1}, {1: 1, 2: 1}]
    play = Steps(DecodeOnly(max_context_tokens=36))
    move_here(play.machine, 0, 1, 2, prompt=9)
    assert play.step() == {0: 1, 1: 1, 2: 1}
    assert play.batch.holds == 3, "30, 33 and 36"


def test_a_context_longer_than_the_limit_runs_alone():
    play = Steps(DecodeOnly(max_context_tokens=10))
    move_here(play.machine, 0, 1, prompt=20)
    assert play.steps(3) == [{0: 1}, {1: 1}, {0: 1}]


def test_when_blocks_run_out_the_earliest_moves_on_whosever_turn_it_is():
    play = Steps(DecodeOnly(max_num_sequences=1, watermark=0.0), num_blocks=4)
    move_here(play.machine, 0, 1, prompt=7)
    assert play.steps(2) == [{0: 1}, {1: 1}], "two full blocks each"
    assert play.step() == {0: 1}
    assert play.preempted == [1]
    while play.machine.running:
        play.step()
    assert play.step() == {1: 9}, "computed again, here"


# fixed chunks (TetriInfer)


def hold_answers(machine: Instance) -> None:
    for sequence in list(machine.decoding):
        machine.hold(sequence)


def test_fixed_chunks_cuts_and_joins_prompts_to_one_size():
    play = Steps(FixedChunks(token_budget=8), role="prefill")
    play.arrive(request(0, 5), request(1, 12), request(2, 3), request(3, 6))
    for chunk in [{0: 5, 1: 3}, {1: 8}, {1: 1, 2: 3, 3: 4}, {3: 2}]:
        assert play.step() == chunk
        hold_answers(play.machine)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("fcfs", [{0: 4}, {0: 2, 1: 2}, {2: 4}, {3: 1, 4: 3}]),
        ("sjf", [{1: 2, 2: 2}, {2: 2, 0: 2}, {0: 4}, {3: 1, 4: 3}]),
        ("ljf", [{0: 4}, {0: 2, 2: 2}, {2: 2, 1: 2}, {4: 3, 3: 1}]),
    ],
)
def test_fixed_chunks_sorts_so_many_prompts_at_a_time(order: str, expected: list[dict[int, int]]):
    play = Steps(FixedChunks(token_budget=4, order=order, num_sorted=3), role="prefill")
    play.arrive(request(0, 6), request(1, 2), request(2, 4), request(3, 1), request(4, 3))
    for chunk in expected:
        assert play.step() == chunk
        hold_answers(play.machine)


def test_shortest_first_starves_no_long_prompt():
    play = Steps(FixedChunks(token_budget=4, order="sjf", num_sorted=2), role="prefill").arrive(request(0, 40))
    for k in range(1, 30):
        play.arrive(request(k, 1))
        play.step()
        hold_answers(play.machine)
    assert any(s.request.id == 0 for s in play.machine.held)


# splitwise


def test_splitwise_computes_prompts_first_and_answers_in_what_is_left():
    play = Steps(Splitwise(token_budget=6)).arrive(*(request(k, 2) for k in range(3)))
    assert play.step() == {0: 2, 1: 2, 2: 2}
    play.arrive(request(3, 4))
    assert play.step() == {3: 4, 0: 1, 1: 1}, "2 of the 6 tokens are left for answers"
    play.arrive(request(4, 9))
    assert play.step() == {4: 9}, "a longer one alone"
    assert play.step() == dict.fromkeys(range(5), 1)


def test_splitwise_pauses_no_answer_more_often_than_allowed():
    play = Steps(Splitwise(token_budget=4, max_pauses=2)).arrive(request(0, 4, 20))
    play.step()
    told = []
    for k in range(1, 8):
        play.arrive(request(k, 4, 1))
        told.append(0 in play.step())
    assert told == [False, False, True, False, False, True, False]


# chunked prefill


def test_chunked_prefill_fills_its_budget_with_decodes_then_prompts_under_way_then_new_ones():
    play = Steps(ChunkedPrefill(token_budget=4)).arrive(request(0, 3, 9), request(1, 6, 9), request(2, 5, 9))
    assert play.steps(6) == [
        {0: 3, 1: 1},
        {0: 1, 1: 3},
        {0: 1, 1: 2, 2: 1},
        {0: 1, 1: 1, 2: 2},
        {0: 1, 1: 1, 2: 2},
        {0: 1, 1: 1, 2: 1},
    ]


def test_a_cut_prompt_samples_only_with_its_last_chunk():
    play = Steps(ChunkedPrefill(token_budget=4)).arrive(request(0, 9, 9))
    sampled = []
    for _ in range(4):
        play.step()
        sampled.append(bool(play.batch.chunks[0].samples))
    assert sampled == [False, False, True, True]


def test_decodes_run_even_when_they_are_more_than_the_budget():
    play = Steps(ChunkedPrefill(token_budget=2)).arrive(*(request(k, 1, 9) for k in range(4)))
    assert play.steps(3) == [{0: 1, 1: 1}, {0: 1, 1: 1}, {0: 1, 1: 1}], "two decodes leave no budget for prompts"


def test_no_more_sequences_run_than_allowed():
    play = Steps(ChunkedPrefill(max_num_sequences=2)).arrive(*(request(k, 4, 2) for k in range(3)))
    assert play.steps(3) == [{0: 4, 1: 4}, {0: 1, 1: 1}, {2: 4}]


def test_a_prompt_with_more_answers_than_allowed_runs_alone():
    play = Steps(ChunkedPrefill(max_num_sequences=2)).arrive(request(0, 4, 2, n=3), request(1, 4, 2))
    assert play.step() == {0: 4}
    assert len(play.machine.running) == 3


# memory

ON_DEMAND = [
    pytest.param(lambda **fields: PrefillFirst(**fields), id="prefill-first"),
    pytest.param(lambda **fields: ChunkedPrefill(**fields), id="chunked-prefill"),
]


@pytest.mark.parametrize("policy", ON_DEMAND)
def test_the_watermark_keeps_blocks_for_what_runs_but_never_blocks_an_empty_device(policy):
    play = Steps(policy(watermark=0.5), num_blocks=8).arrive(request(0, 20, 4), request(1, 4, 4))
    assert play.step() == {0: 20}, "5 of 8 blocks go although 4 shall be spare: nothing runs"
    assert play.step() == {0: 1}, "the second needs 1 of 3 free blocks, but 4 shall be spare"
    play = Steps(policy(watermark=0.25), num_blocks=8).arrive(request(0, 20, 4), request(1, 4, 4))
    assert 1 in {**play.step(), **play.step()}


@pytest.mark.parametrize("policy", ON_DEMAND)
def test_the_latest_arrived_yields_and_is_the_first_to_come_back(policy):
    play = Steps(policy(watermark=0.0), num_blocks=4).arrive(request(0, 8, 9), request(1, 8, 9), request(2, 1, 9))
    assert play.step() == {0: 8, 1: 8}
    assert play.step() == {0: 1}, "a third block for the first comes from the second"
    assert play.preempted == [1]
    assert [s.request.id for s in play.machine.waiting] == [1, 2]
    while play.machine.running:
        play.step()
    assert next(iter(play.step())) == 1


def test_a_sequence_computed_again_starts_with_all_it_knows():
    play = Steps(PrefillFirst(watermark=0.0), num_blocks=4).arrive(request(0, 8, 3), request(1, 8, 9))
    assert play.steps(3) == [{0: 8, 1: 8}, {0: 1}, {0: 1}]
    assert play.step() == {1: 9}, "8 of the prompt and 1 of the answer"
    assert play.step() == {1: 1}


def test_a_swapped_sequence_comes_back_with_one_token_to_compute():
    play = Steps(PrefillFirst(watermark=0.0, preempt="swap"), num_blocks=4, num_host_blocks=2)
    play.arrive(request(0, 8, 3), request(1, 8, 9))
    assert play.step() == {0: 8, 1: 8}
    assert play.step() == {0: 1}
    assert [copy.target for copy in play.batch.swap_out] == [0, 1]
    assert play.step() == {0: 1}
    assert play.step() == {1: 1}
    assert [copy.source for copy in play.batch.swap_in] == [0, 1]
    assert play.machine.memory.num_free_host_blocks == 2


def test_what_finds_no_room_in_host_memory_is_computed_again():
    play = Steps(PrefillFirst(watermark=0.0, preempt="swap"), num_blocks=4, num_host_blocks=1)
    play.arrive(request(0, 8, 3), request(1, 8, 9))
    play.steps(3)
    assert play.step() == {1: 9}


def test_nobody_is_admitted_in_a_step_that_preempts():
    play = Steps(ChunkedPrefill(watermark=0.0), num_blocks=5).arrive(
        request(0, 8, 9), request(1, 9, 9), request(2, 1, 2)
    )
    assert play.step() == {0: 8, 1: 9}
    assert play.step() == {0: 1}, "the third would fit into the two blocks that are left now"
    assert play.machine.memory.pool.num_free_blocks == 2
    assert play.preempted == [1]


def test_a_prompt_under_way_and_a_later_answer_do_not_lock_each_other_out():
    """The answer needs a block and has nobody behind it; the prompt needs several: one of them has to yield."""
    served = workload(
        request(0, 4, 3), request(1, 16, 4), request(2, 4, 12), request(3, 1, 9, 0.003), request(4, 15, 1, 0.02)
    )
    cluster = Cluster([instance(ChunkedPrefill(token_budget=11, watermark=0.0), 5)])
    assert_all_served(checking_driver(cluster).run(served), served)


def test_nobody_is_admitted_past_a_prompt_under_way_that_finds_no_room():
    play = Steps(ChunkedPrefill(token_budget=16, watermark=0.0), num_blocks=8)
    play.arrive(*(request(k, 4, 3) for k in range(3)), request(3, 20, 4), request(4, 4, 9))
    assert play.step() == {0: 4, 1: 4, 2: 4, 3: 4}
    assert play.step() == {0: 1, 1: 1, 2: 1}, "13 tokens of the prompt need 4 blocks, one is left: enough for the last"
    assert play.machine.memory.pool.num_free_blocks == 1
    assert play.step() == {0: 1, 1: 1, 2: 1}
    assert play.step() == {3: 16}
    assert play.step() == {3: 1, 4: 4}


# names and parameters


def test_policies_are_found_by_name():
    assert all(type(make_scheduler(name)) is policy for name, policy in SCHEDULERS.items())
    with pytest.raises(UserError, match=r"unknown scheduler 'chunked'.*did you mean 'chunked-prefill'"):
        make_scheduler("chunked")
    with pytest.raises(UserError, match=r"unknown scheduler 'x'.*known are static, orca"):
        make_scheduler("x")
    with pytest.raises(UserError, match=r"'orca' has no parameter 'token_budget'; it has max_num_sequences"):
        make_scheduler("orca", token_budget=3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("static", {"max_num_sequences": 0}),
        ("orca", {"max_num_sequences": -1}),
        ("prefill-first", {"token_budget": 0}),
        ("decode-first", {"refill_below": 0}),
        ("chunked-prefill", {"token_budget": 0}),
        ("chunked-prefill", {"preempt": "kill"}),
        ("prefill-first", {"watermark": -0.1}),
        ("decode-first", {"watermark": 1.0}),
        ("chunked-prefill", {"watermark": 2}),
        ("prefill-first", {"watermark": "much"}),
        ("prefill-first", {"max_context_tokens": 0}),
        ("prefill-only", {"token_budget": 0}),
        ("prefill-only", {"token_budget": None}),
        ("decode-only", {"max_num_sequences": "all"}),
        ("decode-only", {"max_context_tokens": 2.5}),
        ("decode-only", {"preempt": "kill"}),
        ("fixed-chunks", {"order": "random"}),
        ("fixed-chunks", {"num_sorted": 0}),
        ("splitwise", {"max_pauses": 0}),
        ("vtc", {"output_weight": -1}),
    ],
)
def test_a_parameter_out_of_range_is_named(name: str, parameters: dict):
    with pytest.raises(UserError, match=next(iter(parameters))):
        make_scheduler(name, **parameters)


# longest prefix first


def first_tokens_in_order(policy: LongestPrefixFirst) -> list[int]:
    """Requests by their first token: one is served at a time, and the cache has room for one prompt and a bit."""
    prompts = [[1] * 8, [2] * 8, [1] * 8 + [3], [2] * 8 + [3], [1] * 8 + [4]]
    asked = [with_tokens(request(i, 8, 2, 0.001 * i), tokens, 4) for i, tokens in enumerate(prompts)]
    machine = instance(policy, num_blocks=5, prefix_cache=True)
    records = checking_driver(Cluster([machine])).run(workload(*asked)).records
    return [record.request_id for record in sorted(records, key=lambda record: record.token_times_s[0])]


def test_the_longest_cached_prefix_goes_first():
    assert first_tokens_in_order(LongestPrefixFirst(max_num_sequences=1)) == [0, 2, 4, 1, 3]


def test_who_has_waited_too_long_goes_before_all():
    assert first_tokens_in_order(LongestPrefixFirst(max_num_sequences=1, patience_s=0.0)) == [0, 1, 2, 3, 4]


def test_the_order_may_be_somebodys_own():
    asked = []

    def backwards(waiting, now_s, patience_s):
        asked.append((waiting, patience_s))
        return list(range(len(waiting)))[::-1]

    policy = LongestPrefixFirst.ordered_by(backwards, max_num_sequences=1, patience_s=5.0)
    assert first_tokens_in_order(policy)[1] == 4
    assert ([(0.0, 0)], 5.0) in asked
    assert any((0.002, 8) in waiting for waiting, _ in asked)
