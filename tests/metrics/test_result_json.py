import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.errors import UserError
from course.metrics.peaks import max_concurrent_requests, max_output_tokens_per_s
from course.metrics.result import RunInfo, result_json, save_result
from course.workload.slo import SLO
from course.workload.traces import TraceRow, read_trace
from tests.metrics.helpers import answer, answers

# In the order of vllm/benchmarks/serve.py.
# fmt: off
HEADER = ["date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts"]
TRAFFIC = ["request_rate", "burstiness", "max_concurrency"]
TOTALS = [
    "duration", "completed", "failed", "total_input_tokens", "total_output_tokens",
    "request_throughput", "request_goodput", "output_throughput", "total_token_throughput",
    "max_output_tokens_per_s", "max_concurrent_requests", "rtfx", "latencies", "queue_times",
]
DETAILS = ["input_lens", "output_lens", "start_times", "ttfts", "itls", "generated_texts", "errors"]
# fmt: on
INFO = RunInfo(model_id="tiny", date="20261120-103000", request_rate=2.0)


@pytest.fixture
def records():
    return [
        answer(1.5, 1.75, 2.5, arrival_s=1.0, num_prompt_tokens=100, request_id=0),
        answer(2.25, arrival_s=2.0, num_prompt_tokens=50, request_id=1, num_preemptions=2),
        answer(3.5, arrival_s=3.0, outcome="failed", error="worker lost", request_id=2),
        answer(arrival_s=3.0, outcome="refused", request_id=3),
    ]


def statistics_names(metrics, words):
    return [f"{word}_{metric}_ms" for metric in metrics for word in words]


def test_field_names_are_those_of_vllm_bench(records):
    result = result_json(records, info=INFO, percentiles=(99,), metrics=("ttft", "tpot", "itl"))
    words = ["mean", "median", "std", "p99"]
    expected = [*HEADER, *TRAFFIC, *TOTALS, *statistics_names(("ttft", "tpot", "itl"), words)]
    assert list(result)[: len(expected)] == expected
    assert list(result)[len(expected) :] == ["refused", "cancelled", "unfinished", "num_preemptions"]


def test_details_only_when_asked_for(records):
    assert not set(DETAILS) & set(result_json(records))
    assert set(DETAILS) <= set(result_json(records, detailed=True))


def test_values_by_hand(records):
    result = result_json(records, info=INFO, duration_s=4.0, slo=SLO(0.4, 1.0))
    expected = {
        "num_prompts": 4,
        "request_rate": 2.0,
        "duration": 4.0,
        "completed": 2,
        "failed": 2,
        "total_input_tokens": 150,
        "total_output_tokens": 4,
        "request_throughput": 0.5,
        "request_goodput": 0.25,
        "output_throughput": 1.0,
        "total_token_throughput": 38.5,
        "max_output_tokens_per_s": 2.0,
        "max_concurrent_requests": 2,
        "mean_ttft_ms": 375.0,
        "median_ttft_ms": 375.0,
        "std_ttft_ms": 125.0,
        "p99_ttft_ms": 497.5,
        "mean_tpot_ms": 500.0,
        "mean_itl_ms": 500.0,
        "p90_itl_ms": 700.0,
        "mean_e2el_ms": 875.0,
        "refused": 1,
        "cancelled": 0,
        "unfinished": 0,
        "num_preemptions": 2,
        "slo_ttft_ms": 400.0,
        "slo_tpot_ms": 1000.0,
        "slo_e2el_ms": None,
        "attainment_ttft": 0.25,
        "attainment_tpot": 0.5,
        "attainment": 0.25,
    }
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    assert result["latencies"] == [1.5, 0.25, 0.0, 0.0]
    assert result["queue_times"] == [0.0] * 4


def test_details_by_hand(records):
    result = result_json(records, detailed=True, texts=["a", "b", "", ""])
    assert result["input_lens"] == [100, 50, 10, 10]
    assert result["output_lens"] == [3, 1, 0, 0]
    assert result["start_times"] == [1.0, 2.0, 3.0, 3.0]
    assert result["ttfts"] == [0.5, 0.25, 0.5, 0.0]
    assert result["itls"] == [[0.25, 0.75], [], [], []]
    assert result["generated_texts"] == ["a", "b", "", ""]
    assert result["errors"] == ["", "", "worker lost", "refused"]


def test_without_slo_goodput_is_null_and_infinite_rates_are_words(records):
    result = result_json(records, info=RunInfo(burstiness=math.inf, metadata={"gpu": "none"}))
    assert result["request_goodput"] is None
    assert (result["request_rate"], result["burstiness"], result["gpu"]) == ("inf", "inf", "none")
    assert "attainment" not in result


def test_percentile_words_and_unknown_metrics(records):
    assert {"p50_ttft_ms", "p99.9_ttft_ms"} <= set(result_json(records, percentiles=(50, 99.9)))
    with pytest.raises(UserError, match="unknown metric 'tbt'; choose from ttft, tpot, itl, e2el"):
        result_json(records, metrics=("tbt",))


def test_an_empty_run_is_all_zeros_and_valid_json():
    result = result_json([], slo=SLO(math.inf, 1.0))
    assert (result["completed"], result["mean_ttft_ms"], result["request_throughput"]) == (0, 0, 0)
    json.dumps(result, allow_nan=False)


def test_a_prompt_counts_once_for_all_its_samples():
    records = [answer(1.0, request_id=0, sample=0), answer(2.0, request_id=0, sample=1)]
    result = result_json(records)
    assert (result["completed"], result["total_input_tokens"], result["total_output_tokens"]) == (2, 10, 2)


def test_a_saved_result_is_read_back_as_a_trace(records, tmp_path):
    path = tmp_path / "result.json"
    save_result(path, result_json(records, detailed=True))
    with pytest.warns(UserWarning, match="2 of 4 requests failed"):
        assert read_trace(path) == [TraceRow(0.0, 100, 3), TraceRow(1.0, 50, 1)]
    with pytest.raises(UserError, match=r"cannot write .*: No such file or directory; choose another file"):
        save_result(tmp_path / "nowhere" / "result.json", {})


def vllm_tpots(result):
    """TPOT recomputed from a detailed result as vLLM computes it: (latency - ttft) / (n - 1)."""
    rows = zip(result["latencies"], result["ttfts"], result["output_lens"], strict=True)
    return [(latency - ttft) / (n - 1) for latency, ttft, n in rows if n > 1]


@given(st.lists(answers(), min_size=1, max_size=8))
@settings(deadline=None)
def test_statistics_can_be_recomputed_from_the_details(records):
    result = result_json(records, detailed=True)
    finished = [not error for error in result["errors"]]
    ttfts = [t for t, ok, n in zip(result["ttfts"], finished, result["output_lens"], strict=True) if ok and n]
    itls = [gap for gaps, ok in zip(result["itls"], finished, strict=True) if ok for gap in gaps]
    assert result["mean_ttft_ms"] == pytest.approx(1000 * np.mean(ttfts or [0]))
    assert result["p99_itl_ms"] == pytest.approx(1000 * np.percentile(itls or [0], 99))
    assert result["median_tpot_ms"] == pytest.approx(1000 * np.median(vllm_tpots(result) or [0]))
    assert result["completed"] + result["failed"] == result["num_prompts"] == len(records)
    json.dumps(result, allow_nan=False)


@given(st.lists(answers(min_tokens=1, outcomes=["finished"]), min_size=1, max_size=8))
@settings(deadline=None)
def test_peaks_against_vllms_buckets(records):
    start = min(record.arrival_s for record in records)
    num_seconds = math.ceil(max(record.token_times_s[-1] for record in records) - start) + 1
    tokens, requests = np.zeros(num_seconds), np.zeros(num_seconds)
    for record in records:
        for time in record.token_times_s:
            tokens[int(time - start)] += 1
        requests[int(record.arrival_s - start) : int(record.token_times_s[-1] - start) + 1] += 1
    assert max_output_tokens_per_s(records) == tokens.max()
    assert max_concurrent_requests(records) == requests.max()
