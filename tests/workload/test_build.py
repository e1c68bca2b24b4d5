import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.errors import UserError
from course.workload.build import build_workload, declared_tokens, fit_to_context, rows_from, with_arrivals
from course.workload.traces import TraceRow, read_trace

rows_strategy = st.lists(
    st.builds(TraceRow, st.floats(0, 1e4), st.integers(1, 150_000), st.integers(1, 5000)),
    min_size=1,
    max_size=60,
)
contexts = st.integers(2, 8192)


def total(row):
    return row.num_prompt_tokens + row.num_output_tokens


@given(rows_strategy, contexts)
@settings(max_examples=200, deadline=None)
def test_everything_fits_and_only_what_lies_above_p95_is_clipped(rows, context):
    fitted = fit_to_context(rows, context)
    p95 = np.percentile([total(row) for row in rows], 95)
    assert 0 < fitted.factor <= 1
    for index, (before, after) in enumerate(zip(rows, fitted.rows, strict=True)):
        assert after.num_prompt_tokens >= 1
        assert after.num_output_tokens >= 1
        assert total(after) <= context
        assert after.arrival_s == before.arrival_s
        if index in fitted.clipped:
            assert total(before) > p95
            assert total(after) == context
        elif total(before) * fitted.factor >= 2:
            assert total(after) == math.floor(total(before) * fitted.factor + 1e-9)
    assert len(fitted.clipped) <= sum(total(row) > p95 for row in rows)


@given(rows_strategy, contexts)
@settings(max_examples=100, deadline=None)
def test_one_factor_scales_prompts_and_outputs(rows, context):
    fitted = fit_to_context(rows, context)
    for index, (before, after) in enumerate(zip(rows, fitted.rows, strict=True)):
        factor = context / total(before) if index in fitted.clipped else fitted.factor
        for name in ("num_prompt_tokens", "num_output_tokens"):
            wanted = getattr(before, name) * factor
            # Whole tokens, and none may vanish: so one of them, and up to two where it must give way.
            assert abs(getattr(after, name) - wanted) <= 2


@given(rows_strategy)
@settings(max_examples=50, deadline=None)
def test_rows_that_fit_already_stay_as_they_are(rows):
    fitted = fit_to_context(rows, 200_000)
    assert fitted == (rows, 1.0, [])


def test_fit_by_hand():
    # Sums 100, 200, ..., 2000: their p95 is 1900 + 0.05 * 100.
    rows = [TraceRow(0, 60 * i, 40 * i) for i in range(1, 21)]
    fitted = fit_to_context(rows, 190)
    assert fitted.factor == pytest.approx(190 / 1905)
    assert fitted.clipped == [19]
    assert (fitted.rows[19].num_prompt_tokens, fitted.rows[19].num_output_tokens) == (114, 76)
    assert (fitted.rows[9].num_prompt_tokens, fitted.rows[9].num_output_tokens) == (60, 39)


@given(st.integers(1, 100_000))
def test_a_client_declares_the_next_power_of_two_and_at_least_sixteen(output):
    declared = declared_tokens(output)
    assert declared >= output
    assert declared == 16 or declared < 2 * output
    assert declared.bit_count() == 1


def test_declared_examples():
    assert [declared_tokens(n) for n in (1, 16, 17, 64, 141)] == [16, 16, 32, 64, 256]


def test_build_by_hand():
    rows = [TraceRow(4.0, 10, 141, client="b"), TraceRow(1.0, 20, 5, client="a")]
    workload = build_workload(rows, speed=2)
    first, second = workload.requests
    assert (first.id, first.arrival_s, first.num_prompt_tokens, first.client) == (0, 0.5, 20, "a")
    assert (second.id, second.arrival_s, second.num_prompt_tokens, second.client) == (1, 2.0, 10, "b")
    assert [request.max_new_tokens for request in workload.requests] == [16, 256]
    assert workload.output_lengths == {0: 5, 1: 141}
    assert (workload.num_clipped, workload.scale, workload.block_size) == (0, 1.0, 0)


@given(rows_strategy, contexts, st.none() | st.integers(1, 400))
@settings(max_examples=100, deadline=None)
def test_a_workload_keeps_its_promises(rows, context, declared):
    workload = build_workload(rows, context_tokens=context, max_new_tokens=declared)
    arrivals = [request.arrival_s for request in workload.requests]
    assert arrivals == sorted(arrivals)
    for request in workload.requests:
        assert 1 <= workload.output_lengths[request.id] <= request.max_new_tokens
        assert request.num_prompt_tokens + request.max_new_tokens <= context
    assert sorted(workload.output_lengths) == [request.id for request in workload.requests]


def test_limit_takes_the_first_rows_and_scales_by_these_alone():
    rows = [TraceRow(i, 50, 50) for i in range(5)] + [TraceRow(9, 5000, 50)]
    workload = build_workload(rows, limit=5, context_tokens=100)
    assert len(workload) == 5
    assert workload.scale == 1.0


def test_answers_cut_by_a_declared_limit_are_counted_once():
    rows = [TraceRow(i, 50, 50) for i in range(20)] + [TraceRow(30, 50, 5000)]
    workload = build_workload(rows, context_tokens=100, max_new_tokens=40)
    assert workload.num_clipped == 21, "20 by the limit, one by context and limit both"
    assert set(workload.output_lengths.values()) == {40}


def test_new_arrivals_and_drawn_rows():
    rows = with_arrivals([TraceRow(0, 5, 6), TraceRow(0, 7, 8)], np.array([0.5, 1.5]))
    assert rows == rows_from([0.5, 1.5], [5, 7], np.array([6, 8]))
    assert type(rows_from(np.zeros(1), np.ones(1, int), np.ones(1, int))[0].num_prompt_tokens) is int


ROW = TraceRow(0, 1, 1)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: build_workload([]), "the trace has no rows, so there is nothing to serve; give one"),
        (lambda: build_workload([ROW], limit=0), "limit must be at least 1 request, got 0; leave it out"),
        (lambda: build_workload([ROW], speed=0), "speed must be a positive number, got 0; 1 is the pace"),
        (lambda: build_workload([ROW], speed=math.inf), "speed must be a positive number, got inf"),
        (lambda: build_workload([ROW], max_new_tokens=0), "max_new_tokens must be at least 1, got 0"),
        (lambda: build_workload([ROW], block_size=0), "block_size must be at least 1 token, got 0"),
        (lambda: build_workload([ROW], context_tokens=1), "a context of 1 tokens cannot hold a prompt and"),
        (lambda: fit_to_context([], 10), "the trace has no rows, so nothing can be scaled"),
        (lambda: with_arrivals([ROW], [1, 2]), "1 rows need as many arrival times, got 2; draw 1 of them"),
        (lambda: rows_from([0], [1, 2], [3]), "1 arrival times, 2 prompts and 1 outputs do not match"),
        (lambda: TraceRow(-1, 1, 1), "a trace row arrives at -1 s; count from 0"),
        (lambda: TraceRow(0, 0, 1), "a trace row has 0 prompt and 1 output tokens; both must be at least 1"),
    ],
)
def test_refuses_with_a_sentence(call, sentence):
    with pytest.raises(UserError) as caught:
        call()
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("name", ["azure2023_conv.csv", "azure2023_code.csv", "mooncake_conversation.jsonl"])
def test_real_traces_fit_the_tiny_model(trace_dir, name):
    workload = build_workload(read_trace(trace_dir / name), context_tokens=4096)
    assert 0 < workload.num_clipped <= 0.05 * len(workload) + 1
    assert max(r.num_prompt_tokens + workload.output_lengths[r.id] for r in workload.requests) == 4096


def test_answers_end_at_the_context_and_may_count_one_token_more():
    rows = rows_from([0.0, 1.0, 2.0], [90, 100, 20], [30, 5, 30])
    workload = build_workload(rows, stop_tokens=100, extra_output_tokens=1)
    assert workload.output_lengths == {0: 10, 1: 1, 2: 31}
    assert [request.max_new_tokens for request in workload.requests] == [10, 1, 32]
    assert workload.num_clipped == 2
    exact = build_workload(rows, stop_tokens=100, max_new_tokens="exact")
    assert [request.max_new_tokens for request in exact.requests] == [10, 1, 30]
    assert exact.output_lengths == {0: 10, 1: 1, 2: 30}
