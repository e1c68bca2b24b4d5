"""Every mistake in a file gives one sentence with file, line and column, and what to do."""

import json

import pytest

from course.errors import UserError
from course.workload.traces import read_trace
from course.workload.traces.mooncake import spread_ticks

KEPT = "arrived_s,prompt_tokens,output_tokens\n0,5,6\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
GOOD_TIME = "2023-11-16 18:15:46.6805900"


def mooncake(**changed):
    record = {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]} | changed
    return json.dumps({key: value for key, value in record.items() if value is not ...})


def vllm(**changed):
    return json.dumps(
        {"input_lens": [5, 6], "output_lens": [1, 2], "start_times": [0, 1], "errors": ["", ""]} | changed
    )


MISTAKES = {
    "empty file": ("t.csv", " \n", "{f}: is empty; give a trace with at least one request"),
    "header only": (
        "t.csv",
        "arrived_s,prompt_tokens,output_tokens\n",
        "{f}: has a header but no requests; give a trace with at least one",
    ),
    "wrong columns": (
        "t.csv",
        "a,b\n1,2\n",
        "{f}: has the columns a, b; rename them to arrived_s, prompt_tokens, output_tokens; or TIMESTAMP, "
        "ContextTokens, GeneratedTokens; or timestamp, input_length, output_length, hash_ids; or Timestamp, Model, "
        "Request tokens, Response tokens; or input_lens, output_lens, start_times (JSON); or prompt_tokens, "
        "output_tokens",
    ),
    "unknown arrival column": (
        "t.csv",
        "Timestamp,prompt_tokens,output_tokens\n1,2,3\n",
        "{f}: has the columns Timestamp, prompt_tokens, output_tokens; rename them to arrived_s, ",
    ),
    "negative length": (
        "t.csv",
        KEPT + "1,-7,6\n",
        "{f}, line 3, column prompt_tokens: -7 tokens; a length must be at least 1, correct or delete it",
    ),
    "zero length": (
        "t.csv",
        KEPT + "1,7,0\n",
        "{f}, line 3, column output_tokens: 0 tokens; a length must be at least 1, correct or delete it",
    ),
    "length that is no number": (
        "t.csv",
        KEPT + "1,many,6\n",
        "{f}, line 3, column prompt_tokens: 'many' is not a number; correct it or delete the record",
    ),
    "missing cell": (
        "t.csv",
        KEPT + "1,,6\n",
        "{f}, line 3, column prompt_tokens: '' is not a number; correct it or delete the record",
    ),
    "NaN": (
        "t.csv",
        KEPT + "nan,7,6\n",
        "{f}, line 3, column arrived_s: 'nan' is not a number; correct it or delete the record",
    ),
    "half a token": (
        "t.csv",
        KEPT + "1,7.5,6\n",
        "{f}, line 3, column prompt_tokens: 7.5 is not a whole number of tokens; correct it",
    ),
    "absurd length": (
        "t.csv",
        KEPT + "1,7e12,6\n",
        "{f}, line 3, column prompt_tokens: 7e+12 tokens are more than any model takes; correct it",
    ),
    "negative time": (
        "t.csv",
        "arrived_s,prompt_tokens,output_tokens\n-1,5,6\n",
        "{f}, line 2, column arrived_s: -1.0 s is negative; count time from the start of the trace",
    ),
    "unsorted times": (
        "t.csv",
        KEPT + "\n5,7,6\n4,7,6\n",
        "{f}, line 5, column arrived_s: 4.0 s comes before the line above; sort the file by it",
    ),
    "short line": (
        "t.csv",
        KEPT + "1,7\n",
        "{f}, line 3: has 2 columns where the header has 3; correct it",
    ),
    "csv field without end": (
        "t.csv",
        KEPT + '1,7,"' + "x" * 200_000,
        "{f}, line 3: is not valid CSV (field larger than field limit (131072)); correct it",
    ),
    "azure timestamp": (
        "t.csv",
        AZURE + "yesterday,5,6\n",
        "{f}, line 2, column TIMESTAMP: 'yesterday' is not a time such as 2023-11-16 18:17:03.9799600; correct it",
    ),
    "azure date that does not exist": (
        "t.csv",
        AZURE + "2023-13-16 18:15:46.0,5,6\n",
        "{f}, line 2, column TIMESTAMP: '2023-13-16 18:15:46.0' is not a time such as",
    ),
    "azure unsorted": (
        "t.csv",
        AZURE + f"{GOOD_TIME},5,6\n2023-11-16 18:15:46.6805899,5,6\n",
        "{f}, line 3, column TIMESTAMP: is earlier than the line above; sort the file by it",
    ),
    "azure length": (
        "t.csv",
        AZURE + f"{GOOD_TIME},5,x\n",
        "{f}, line 2, column GeneratedTokens: 'x' is not a number; correct it or delete the record",
    ),
    "broken JSON line": (
        "t.jsonl",
        mooncake() + "\n\n" + mooncake()[:-3],
        "{f}, line 3: broken JSON at character 75 (Expecting value); correct or delete it",
    ),
    "broken JSON document": (
        "t.json",
        '[\n{"prompt_tokens": 5,\n "output_tokens" 6}]',
        "{f}, line 3: broken JSON at character 18 (Expecting ':' delimiter); correct or delete it",
    ),
    "JSON that is nested without end": (
        "t.json",
        "[" * 200_000,
        "{f}: is nested too deeply for a list of requests; check the file",
    ),
    "JSON number without end": ("t.json", "[" + "9" * 5000 + "]", "{f}: holds a value that cannot be read ("),
    "JSON line that is no object": (
        "t.jsonl",
        mooncake() + "\n7\n",
        "{f}, line 2: is not a JSON object; write {{...}} with named lengths",
    ),
    "JSON list entry that is no object": (
        "t.json",
        "[[1, 2]]",
        "{f}, entry 1: is not a JSON object; write {{...}} with named lengths",
    ),
    "JSON that is no list": ("t.json", "7", "{f}: holds one JSON int; give a list of requests"),
    "empty JSON list": ("t.json", "[]", "{f}: is an empty list; give a trace with at least one request"),
    "one JSON request": (
        "t.json",
        '{"prompt_tokens": 5, "output_tokens": 6}',
        "{f}: is one JSON object, but format lengths needs a list of requests; give one",
    ),
    "JSON entry without a length": (
        "t.json",
        '[{"prompt_tokens": 5, "output_tokens": 6}, {"prompt_tokens": 5}]',
        "{f}, entry 2, column output_tokens: is missing; add it or delete the record",
    ),
    "JSON length that is true": (
        "t.json",
        '[{"prompt_tokens": true, "output_tokens": 6}]',
        "{f}, entry 1, column prompt_tokens: True is not a number; correct it or delete the record",
    ),
    "JSON length that is a list": (
        "t.json",
        '[{"prompt_tokens": [5], "output_tokens": 6}]',
        "{f}, entry 1, column prompt_tokens: [5] is not a number; correct it or delete the record",
    ),
    "mooncake negative time": (
        "t.jsonl",
        mooncake(timestamp=-5),
        "{f}, line 1, column timestamp: -5 ms is negative; count from the start",
    ),
    "mooncake unsorted": (
        "t.jsonl",
        mooncake(timestamp=5) + "\n" + mooncake(),
        "{f}, line 2, column timestamp: is earlier than the line above; sort the file by it",
    ),
    "mooncake zero length": (
        "t.jsonl",
        mooncake(output_length=0),
        "{f}, line 1, column output_length: 0 tokens; a length must be at least 1, correct or delete it",
    ),
    "mooncake missing key": (
        "t.jsonl",
        mooncake() + "\n" + mooncake(input_length=...),
        "{f}, line 2, column input_length: is missing; add it or delete the record",
    ),
    "mooncake ids that are no numbers": (
        "t.jsonl",
        mooncake(hash_ids=["a", "b"]),
        "{f}, line 1, column hash_ids: is not a list of whole numbers; correct it or leave it out",
    ),
    "mooncake too many ids": (
        "t.jsonl",
        mooncake(hash_ids=[1, 2, 3]),
        "{f}, line 1, column hash_ids: 3 ids for a prompt of 600 tokens, but blocks of 512 make 2; correct it "
        "or say how many tokens a block has",
    ),
    "burstgpt out of order": (
        "t.csv",
        BURST + "9,GPT-4,1,2,3,API log\n5,GPT-4,1,2,3,API log\n",
        "{f}, line 3, column Timestamp: is earlier than the line above; sort the file by it",
    ),
    "burstgpt negative length": (
        "t.csv",
        BURST + "9,GPT-4,1,-2,3,API log\n",
        "{f}, line 2, column Response tokens: -2 tokens; a length must be at least 1, correct or delete it",
    ),
    "burstgpt where all failed": (
        "t.csv",
        BURST + "9,GPT-4,1,0,3,API log\n",
        "{f}: every request of it failed (0 tokens); give another part of the trace",
    ),
    "vllm without details": (
        "t.json",
        vllm(input_lens=[]),
        "{f}: input_lens lists no request; save the run with --save-detailed",
    ),
    "vllm lists of different length": (
        "t.json",
        vllm(output_lens=[1]),
        "{f}: output_lens has 1 entries where input_lens has 2; save the run again",
    ),
    "vllm where all failed": (
        "t.json",
        vllm(errors=["x", "x"]),
        "{f}: no request of that run succeeded; give the result of another run",
    ),
    "vllm zero length": (
        "t.json",
        vllm(output_lens=[1, 0]),
        "{f}, request 2, column output_lens: 0 tokens; a length must be at least 1, correct or delete it",
    ),
    "vllm start that is no number": (
        "t.json",
        vllm(start_times=[0, "x"]),
        "{f}, request 2, column start_times: 'x' is not a number; correct it or delete the record",
    ),
    "vllm several runs": (
        "t.jsonl",
        vllm() + "\n" + vllm(),
        "{f}: holds 2 runs; keep the line of one of them",
    ),
}


@pytest.mark.filterwarnings("ignore:.*requests failed")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_place_and_remedy(name, tmp_path):
    file_name, text, sentence = MISTAKES[name]
    path = tmp_path / file_name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_trace(path)
    message = str(caught.value)
    assert message.startswith(sentence.format(f=path))
    assert "\n" not in message


def test_a_named_format_must_fit(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(KEPT)
    with pytest.raises(UserError) as caught:
        read_trace(path, "azure")
    assert str(caught.value) == (
        f"{path}: has the columns arrived_s, prompt_tokens, output_tokens; "
        "rename them to TIMESTAMP, ContextTokens, GeneratedTokens"
    )
    with pytest.raises(UserError, match="unknown trace format 'burst'; choose from timed, azure, mooncake"):
        read_trace(path, "burst")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.csv: there is no such file; check the path"):
        read_trace(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match="is a folder; name one trace file in it"):
        read_trace(tmp_path)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00\xff\xfe")
    with pytest.raises(UserError, match=r"is not text \(byte 1 is not UTF-8\); unpack or convert it"):
        read_trace(path)


def test_a_tick_must_be_positive():
    with pytest.raises(UserError, match="a tick of 0 s cannot be spread"):
        spread_ticks([], 0)
