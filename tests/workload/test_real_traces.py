"""The readers on the kept halves of the published traces, against what SOURCES.md knows of the whole."""

import json

import numpy as np
import pytest

from course.workload.build import build_workload
from course.workload.traces import read_trace


def arrays(rows):
    return (
        np.array([row.arrival_s for row in rows]),
        np.array([row.num_prompt_tokens for row in rows]),
        np.array([row.num_output_tokens for row in rows]),
    )


def variation(arrivals):
    gaps = np.diff(arrivals)
    return gaps.std() / gaps.mean()


def test_azure_conversation(trace_dir):
    rows = read_trace(trace_dir / "azure2023_conv.csv")
    arrivals, prompts, outputs = arrays(rows)
    assert len(rows) == 9683  # half of 19,366
    assert len(rows) / arrivals[-1] == pytest.approx(5.53, rel=0.02)
    assert variation(arrivals) == pytest.approx(1.09, abs=0.03)
    assert np.percentile(prompts, [50, 99]) == pytest.approx([1020, 4142], rel=0.02)
    assert np.percentile(outputs, [50, 90, 99]) == pytest.approx([129, 424, 601], rel=0.1)
    # The rate of a minute moves between 3.2 and 8.5 requests/s; the last minute is incomplete.
    rates = np.bincount((arrivals // 60).astype(int))[:-1] / 60
    assert 3.1 < rates.min() < 4.5
    assert 7 < rates.max() < 8.6
    fifths = np.searchsorted(np.quantile(prompts, (0.2, 0.4, 0.6, 0.8)), prompts)
    medians = [np.median(outputs[fifths == i]) for i in range(5)]
    assert medians == pytest.approx([104, 97, 399, 399, 78], rel=0.2)


def test_azure_code(trace_dir):
    arrivals, prompts, outputs = arrays(read_trace(trace_dir / "azure2023_code.csv"))
    assert len(arrivals) == 4409  # half of 8,819
    assert 2.5 < len(arrivals) / arrivals[-1] < 3.2
    assert variation(arrivals) == pytest.approx(13, rel=0.15)
    assert np.percentile(prompts, [50, 90, 99]) == pytest.approx([1469, 5188, 7436], rel=0.02)
    assert np.percentile(outputs, [50, 90, 99]) == pytest.approx([13, 55, 252], rel=0.03)


def reuse(rows):
    """Share of blocks that an infinite cache would have seen before."""
    seen = set()
    num_hits = num_blocks = 0
    for row in rows:
        num_hits += len(seen.intersection(row.prefix_hashes))
        num_blocks += len(row.prefix_hashes)
        seen.update(row.prefix_hashes)
    return num_hits / num_blocks


def test_mooncake_conversation(trace_dir):
    rows = read_trace(trace_dir / "mooncake_conversation.jsonl")
    arrivals, prompts, outputs = arrays(rows)
    assert len(rows) == 6017  # half of 12,031
    assert len(rows) / arrivals[-1] == pytest.approx(3.4, rel=0.1)
    assert np.median(prompts) == pytest.approx(6909, rel=0.1)
    assert np.percentile(outputs, [50, 90, 99]) == pytest.approx([350, 597, 1119], rel=0.03)
    assert reuse(rows) == pytest.approx(0.346, abs=0.0005), "34.6 % on the kept half, 36.6 % on the whole"


def test_mooncake_conversation_spread_over_its_ticks_is_nearly_poisson(trace_dir):
    path = trace_dir / "mooncake_conversation.jsonl"
    as_published, spread = (arrays(read_trace(path, tick_s=tick))[0] for tick in (None, 3.0))
    assert variation(as_published) > 2.5
    assert variation(spread) == pytest.approx(1, abs=0.1)
    assert len(set(spread)) > 0.99 * len(spread)


def test_mooncake_ids_are_chained_as_published(trace_dir):
    """The same id never follows two parents, so chaining the hashes changes nothing here."""
    path = trace_dir / "mooncake_conversation.jsonl"
    ids = [i for line in path.read_text().splitlines() for i in json.loads(line)["hash_ids"]]
    hashes = [h for row in read_trace(path) for h in row.prefix_hashes]
    assert len(set(zip(ids, hashes, strict=True))) == len(set(ids)) == len(set(hashes))


def test_mooncake_synthetic(trace_dir):
    arrivals = arrays(read_trace(trace_dir / "mooncake_synthetic.jsonl"))[0]
    assert len(arrivals) == 1996  # half of 3,993
    assert len(arrivals) / arrivals[-1] == pytest.approx(3.9, rel=0.05)
    assert variation(arrivals) == pytest.approx(1, abs=0.06), "Poisson"


@pytest.mark.parametrize(
    ("name", "num"),
    [("arxiv4k_lengths.csv", 14_128), ("humaneval_lengths.csv", 164), ("sharegpt_distserve_sample.csv", 220)],
)
def test_lengths(trace_dir, name, num):
    assert len(read_trace(trace_dir / name)) == num


def test_the_request_list_of_distserves_simulator(data_dir):
    rows = read_trace(data_dir / "simdistserve" / "requests_1000.csv")
    assert len(rows) == 1000
    assert len(rows) / rows[-1].arrival_s == pytest.approx(1.0, abs=0.05)


def test_serving_a_hundred_conversations_on_the_tiny_model(trace_dir):
    rows = read_trace(trace_dir / "azure2023_conv.csv")
    workload = build_workload(rows, limit=100, context_tokens=4096, speed=4)
    assert len(workload) == 100
    assert workload.requests[-1].arrival_s == rows[99].arrival_s / 4
