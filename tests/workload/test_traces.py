import csv
import json
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course.workload.hashing import chain_all
from course.workload.traces import TraceRow, read_trace
from course.workload.traces.mooncake import spread_ticks

triples = st.lists(
    st.tuples(st.integers(0, 10**10), st.integers(1, 200_000), st.integers(1, 5000)), min_size=1, max_size=30
).map(sorted)
round_trip = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@given(triples)
@round_trip
def test_round_trip_of_the_kept_form(tmp_path, rows):
    """Times in units of 100 ns, seven digits, as the kept traces have them."""
    path = tmp_path / "kept.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arrived_s", "prompt_tokens", "output_tokens"])
        writer.writerows([(f"{time / 1e7:.7f}", prompt, output) for time, prompt, output in rows])
    assert read_trace(path) == [TraceRow(time / 1e7, prompt, output) for time, prompt, output in rows]


@given(triples)
@round_trip
def test_round_trip_of_the_published_azure_form(tmp_path, rows):
    start = datetime(2023, 11, 16, 18, 15, 46)

    def stamp(ticks):
        whole = start + timedelta(seconds=ticks // 10**7)
        return f"{whole:%Y-%m-%d %H:%M:%S}.{ticks % 10**7:07d}"

    lines = [f"{stamp(time)},{prompt},{output}" for time, prompt, output in rows]
    path = write(tmp_path / "azure.csv", "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]))
    first = rows[0][0]
    # Every one of the seven digits counts: a reader of microseconds would lose the last.
    assert read_trace(path) == [TraceRow((t - first) / 1e7, prompt, output) for t, prompt, output in rows]


@given(triples, st.booleans())
@round_trip
def test_round_trip_of_mooncake(tmp_path, rows, with_hashes):
    lines, expected = [], []
    for number, (time, prompt, output) in enumerate(rows):
        ids = [0, *range(1000 * number + 1, 1000 * number - (-prompt // 512))] if with_hashes else []
        record = {"timestamp": time, "input_length": prompt, "output_length": output, "hash_ids": ids}
        lines.append(json.dumps(record))
        expected.append(TraceRow(time / 1000, prompt, output, chain_all(ids)))
    path = write(tmp_path / "mooncake.jsonl", "\n".join(lines) + "\n")
    assert read_trace(path) == expected


BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
BURST_2 = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"


@given(triples, st.booleans())
@round_trip
def test_round_trip_of_the_published_burstgpt_form(tmp_path, rows, second_release):
    def line(second, prompt, output):
        if second_release:  # floats, and two columns more in the middle
            return f"{second}.0,1722ac82-0a46,43,GPT-4,{prompt},{output},{prompt + output},Conversation log"
        return f"{second},ChatGPT,{prompt},{output},{prompt + output},API log"

    header = BURST_2 if second_release else BURST
    path = write(tmp_path / "burst.csv", "\n".join([header, *(line(*row) for row in rows)]))
    first = rows[0][0]  # the files after the first begin months after time 0
    assert read_trace(path) == [TraceRow(t - first, prompt, output) for t, prompt, output in rows]


def test_burstgpt_failures_are_left_out_and_said(tmp_path):
    lines = [BURST, "5,GPT-4,10,0,10,API log", "7,GPT-4,0,0,0,API log", "9,ChatGPT,3,4,7,Conversation log"]
    path = write(tmp_path / "burst.csv", "\n".join(lines))
    with pytest.warns(UserWarning, match=r"2 of 3 requests failed \(0 tokens\) and are left out"):
        rows = read_trace(path)
    assert rows == [TraceRow(4.0, 3, 4)], "time counts from the first request, failed or not"


@given(triples)
@round_trip
def test_round_trip_of_vllm_results(tmp_path, rows):
    result = {
        "duration": 1.0,
        "input_lens": [prompt for _, prompt, _ in rows],
        "output_lens": [output for *_, output in rows],
        "start_times": [5000 + time / 64 for time, *_ in rows],  # exact in binary
        "errors": [""] * len(rows),
    }
    first = rows[0][0]
    path = write(tmp_path / "run.json", json.dumps(result))
    assert read_trace(path) == [TraceRow((t - first) / 64, prompt, output) for t, prompt, output in rows]


@given(triples, st.sampled_from(["json", "pretty", "jsonl"]))
@round_trip
def test_round_trip_of_request_lists(tmp_path, rows, kind):
    objects = [{"arrival_s": t / 64, "prompt_len": p, "output_len": o, "client": "c"} for t, p, o in rows]
    if kind == "jsonl":
        path = write(tmp_path / "list.jsonl", "\n".join(map(json.dumps, objects)))
    else:
        path = write(tmp_path / "list.json", json.dumps(objects, indent=2 if kind == "pretty" else None))
    assert read_trace(path) == [TraceRow(t / 64, p, o, client="c") for t, p, o in rows]


def test_the_columns_of_distserve_s_request_list(tmp_path):
    path = write(tmp_path / "requests.csv", "arrival_s,input_len,output_len\n0.000000,242,326\n0.114799,81,66\n")
    assert read_trace(path) == [TraceRow(0.0, 242, 326), TraceRow(0.114799, 81, 66)]


def test_lengths_alone_arrive_at_zero(tmp_path):
    path = write(tmp_path / "lengths.csv", "prompt_tokens,output_tokens\n5,6\n7,8\n")
    assert read_trace(path) == [TraceRow(0.0, 5, 6), TraceRow(0.0, 7, 8)]


def test_other_spellings_of_a_csv(tmp_path):
    """Byte order mark, CRLF, spaces, blank lines, floats that are whole, further columns."""
    text = "\ufeffarrival_s, input_len ,output_len,note\r\n\r\n0.5, 7.0,8,x\r\n"
    assert read_trace(write(tmp_path / "t.csv", text)) == [TraceRow(0.5, 7, 8)]


def test_json_is_recognised_by_its_content(tmp_path):
    one = '{"arrival_s": 0, "prompt_tokens": 1, "output_tokens": 2}'
    assert len(read_trace(write(tmp_path / "lines.txt", f"{one}\n{one}\n"))) == 2
    assert len(read_trace(write(tmp_path / "list.txt", f"[{one},{one}]"))) == 2


def test_an_unusual_line_separator_inside_a_string_does_not_break_a_line(tmp_path):
    text = '{"prompt": "a\u2028b", "prompt_len": 1, "output_len": 2}\n'
    assert read_trace(write(tmp_path / "custom.jsonl", text)) == [TraceRow(0.0, 1, 2)]


def test_azure_2024_has_a_time_zone(tmp_path):
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01+00:00,2399,6\n"
    )
    assert read_trace(write(tmp_path / "a.csv", text))[1] == TraceRow(0.99007, 2399, 6)


def test_a_named_format_overrides_the_first_that_fits(tmp_path):
    path = write(tmp_path / "t.csv", "arrived_s,prompt_tokens,output_tokens\n3,5,6\n")
    assert read_trace(path, "timed") == [TraceRow(3, 5, 6)]
    assert read_trace(path, "lengths") == [TraceRow(0, 5, 6)]


def test_vllm_failures_are_left_out_and_said(tmp_path):
    result = {
        "input_lens": [5, 6, 7],
        "output_lens": [1, 0, 3],
        "start_times": [10.5, 11.0, 10.0],
        "errors": ["", "timeout", ""],
    }
    path = write(tmp_path / "run.json", json.dumps(result))
    with pytest.warns(UserWarning, match="1 of 3 requests failed in that run and are left out"):
        rows = read_trace(path)
    assert rows == [TraceRow(0.0, 7, 3), TraceRow(0.5, 5, 1)], "in order of start"


def test_vllm_results_of_old_versions_and_appended_ones(tmp_path):
    line = json.dumps({"input_lens": [5], "output_lens": [6], "ttfts": [0.1]})
    assert read_trace(write(tmp_path / "run.json", line)) == [TraceRow(0.0, 5, 6)]
    assert read_trace(write(tmp_path / "run.jsonl", line + "\n")) == [TraceRow(0.0, 5, 6)]


def test_mooncake_blocks_of_another_size_and_a_list_without_the_partial_block(tmp_path):
    record = {"timestamp": 0, "input_length": 40, "output_length": 1, "hash_ids": [4, 5]}
    path = write(tmp_path / "m.jsonl", json.dumps(record))
    assert read_trace(path, block_tokens=16)[0] == TraceRow(0, 40, 1, chain_all([4, 5]), hash_block_tokens=16)


def test_equal_ids_after_different_parents_are_different_blocks(tmp_path):
    records = [
        {"timestamp": 0, "input_length": 1024, "output_length": 1, "hash_ids": ids} for ids in ([1, 2], [3, 2], [1, 4])
    ]
    path = write(tmp_path / "m.jsonl", "\n".join(map(json.dumps, records)))
    one, two, three = (row.prefix_hashes for row in read_trace(path))
    assert one[1] != two[1]
    assert one[0] == three[0]


ticks = st.lists(st.integers(0, 20), min_size=1, max_size=60).map(sorted)


@given(ticks, st.floats(0.1, 9), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_spreading_keeps_order_and_stays_inside_the_tick(times, tick_s, seed):
    rows = [TraceRow(3.0 * time, index + 1, 1) for index, time in enumerate(times)]
    spread = spread_ticks(rows, tick_s, seed)
    arrivals = [row.arrival_s for row in spread]
    assert arrivals == sorted(arrivals)
    assert [row.num_prompt_tokens for row in spread] == [row.num_prompt_tokens for row in rows]
    for before, after in zip(rows, spread, strict=True):
        assert 0 <= after.arrival_s - before.arrival_s <= min(tick_s, 3.0 * 21) + 1e-6
    assert spread == spread_ticks(rows, tick_s, seed)
