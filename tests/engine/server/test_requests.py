"""What is wrong is said in one sentence and disturbs nobody; what is right has the tokens of the engine."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from course.engine.local import LocalEngine
from course.model.loading import load_model
from tests.engine.server.process import Served, post_bytes

PROMPTS = ["The default value is", "Return a new list that", "If the file does not exist,", "日本 café 👩‍🚀", "x"]
WRONG = [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b"[]", "must be a JSON object, not an empty list"),
    (b'"text"', "must be a JSON object, not a text"),
    (b"\xff\xfe{}", "JSON"),
    (b'{"prompt": "a", "max_tokens": ' + b"9" * 5000 + b"}", "not valid JSON"),
    (b"[" * 100_000, "JSON"),
    ({}, "prompt is missing"),
    ({"prompt": ""}, "the prompt is empty"),
    ({"prompt": []}, "the prompt is empty"),
    ({"prompt": [[]]}, "prompt must be"),
    ({"prompt": {"a": 1}}, "prompt must be a text"),
    ({"prompt": [1, "a"]}, "prompt must be"),
    ({"prompt": [1.5]}, "prompt must be"),
    ({"prompt": [True]}, "prompt must be"),
    ({"prompt": [-1]}, "token -1 is none of the model's ids"),
    ({"prompt": [4096]}, "token 4096 is none of the model's ids 0 to 4095"),
    ({"prompt": [10**30]}, "is none of the model's ids"),
    ({"prompt": "\ud800"}, "half a surrogate pair"),
    ({"prompt": "word " * 50_000}, "4096 tokens"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens must be a whole number from 1 on, got 0"),
    ({"prompt": "a", "max_tokens": "5"}, "got a text"),
    ({"prompt": "a", "max_tokens": 1.5}, "got 1.5"),
    ({"prompt": "a", "max_tokens": 5000}, "takes 4096 tokens"),
    ({"prompt": "a", "max_tokens": 3, "min_tokens": 4}, "min_tokens (4) is more than max_tokens (3)"),
    ({"prompt": "a", "n": 0}, "n must be"),
    ({"prompt": ["a"] * 300}, "300 answers were asked for at once"),
    ({"prompt": "a", "temperature": -1}, "temperature must be a number from 0 to"),
    (b'{"prompt": "a", "temperature": NaN}', "temperature must be"),
    ({"prompt": "a", "top_p": 0}, "top_p must be a number above 0"),
    ({"prompt": "a", "top_k": -2}, "top_k must be"),
    ({"prompt": "a", "seed": 2**63}, "seed must be"),
    ({"prompt": "a", "stop": [""]}, "stop must be"),
    ({"prompt": "a", "stop": ["a"] * 17}, "at most 16"),
    ({"prompt": "a", "stream": "yes"}, "stream must be true or false, got a text"),
    ({"prompt": "a", "stream_options": {}}, "stream_options are for streams"),
    ({"prompt": "a", "stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage must be"),
    ({"prompt": "a", "logprobs": 1}, "logprobs is not offered"),
    ({"prompt": "a", "frequency_penalty": 0.5}, "frequency_penalty is not offered"),
    ({"prompt": "a", "best_of": 2}, "best_of"),
    ({"prompt": "a", "model": 5}, "model must be a text"),
]
WRONG_CHATS = [
    ({}, "messages must be a list of messages, got null"),
    ({"messages": []}, "got an empty list"),
    ({"messages": ["hi"]}, "messages[0] must be an object"),
    ({"messages": [{"role": "king", "content": "hi"}]}, "messages[0].role must be one of system"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content must be a text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "images and sound are not offered"),
    ({"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function"}]}, "tools is not offered"),
]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [("/v1/completions", *case) for case in WRONG] + [("/v1/chat/completions", *case) for case in WRONG_CHATS],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_request_is_told_what_is_wrong(served: Served, path: str, body: object, words: str) -> None:
    status, said = served.post(path, body)
    assert status == 400, said
    assert set(said["error"]) == {"message", "type", "param", "code"}
    assert words in said["error"]["message"]
    assert said["error"]["type"] == "invalid_request_error"
    assert "\n" not in said["error"]["message"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/completions"), ("POST", "/health"), ("GET", "/v2/models")])
def test_a_wrong_path_is_told_which_there_are(served: Served, method: str, path: str) -> None:
    status, said = served.request(method, path)
    assert status in (404, 405)
    assert "/v1/chat/completions" in said["error"]["message"]


def test_fields_that_ask_for_nothing_or_that_nobody_knows_do_no_harm(served: Served) -> None:
    harmless = {
        "logprobs": None,
        "presence_penalty": 0,
        "logit_bias": {},
        "user": "me",
        "a_new_field": [1],
        "stop": None,
    }
    status, said = served.post("/v1/completions", {"prompt": "a", "max_tokens": 1, **harmless})
    assert status == 200, said


def test_what_is_not_http_ends_the_connection_and_nothing_else(served: Served) -> None:
    for junk in (
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ):
        with served.connect() as connection:
            connection.sendall(junk)
            assert connection.recv(100)[:12] in (b"HTTP/1.1 400", b"")
    assert served.request("GET", "/health")[0] == 200


def test_streams_that_run_together_have_the_engines_greedy_tokens(served: Served) -> None:
    model = load_model("tiny")
    engine = LocalEngine(model)
    wanted = {prompt: engine.generate(prompt, 40)[0] for prompt in PROMPTS}

    def stream(prompt: str) -> tuple[str, list[int]]:
        ask = {"prompt": prompt, "max_tokens": 40, "temperature": 0, "stream": True, "return_token_ids": True}
        _, text = served.post("/v1/completions", ask)
        events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
        assert events.pop() == "[DONE]"
        choices = [json.loads(event)["choices"][0] for event in events]
        return "".join(c["text"] for c in choices), [token for c in choices for token in c["token_ids"]]

    asked = PROMPTS * 3
    with ThreadPoolExecutor(len(asked)) as pool:
        mistakes = [pool.submit(served.post, "/v1/completions", body) for body, _ in WRONG[:8]]
        found = list(pool.map(stream, asked))
    assert all(each.result()[0] == 400 for each in mistakes)
    for prompt, (text, tokens) in zip(asked, found, strict=True):
        assert tokens == wanted[prompt].tokens
        assert text == wanted[prompt].text


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_gives_its_blocks_back(served: Served, stream: bool) -> None:
    served.wait_until_idle()
    aborted = served.metric("vllm:request_success_total")
    body = json.dumps({"prompt": "a", "max_tokens": 3000, "ignore_eos": True, "n": 2, "stream": stream}).encode()
    with served.connect() as connection:
        connection.sendall(post_bytes(body))
        if stream:
            assert connection.recv(20).startswith(b"HTTP/1.1 200")
        else:
            while not served.metric("course:kv_blocks_used"):
                pass
    served.wait_until_idle()
    assert served.metric("vllm:request_success_total") == aborted + 2
    assert served.metric("vllm:generation_tokens_total") < 6000


def test_metrics_count_what_was_served(served: Served) -> None:
    served.wait_until_idle()
    names = {
        "vllm:prompt_tokens_total": 3,
        "vllm:generation_tokens_total": 14,
        "vllm:time_to_first_token_seconds_count": 2,
        "vllm:inter_token_latency_seconds_count": 12,
        "vllm:request_time_per_output_token_seconds_count": 2,
        "vllm:e2e_request_latency_seconds_count": 2,
        "vllm:request_generation_tokens_sum": 14,
        "vllm:request_params_max_tokens_sum": 14,
        "vllm:request_queue_time_seconds_count": 2,
        "vllm:request_prefill_time_seconds_count": 2,
        "vllm:request_decode_time_seconds_count": 2,
        "vllm:request_inference_time_seconds_count": 2,
        "vllm:prefix_cache_queries_total": 0,
        "vllm:request_success_total": 2,
        "course:requests_rejected_total": 1,
    }
    served.post("/v1/completions", b"{")
    times = [f"vllm:request_{phase}_time_seconds_sum" for phase in ("queue", "prefill", "decode", "inference")]
    times.append("vllm:e2e_request_latency_seconds_sum")
    before = {name: served.metric(name) for name in [*names, *times]}
    served.post("/v1/completions", {"prompt": [1, 312, 925], "max_tokens": 7, "n": 2, "ignore_eos": True})
    served.post("/v1/completions", b"{")
    found = {name: served.metric(name) - before[name] for name in [*names, *times]}
    assert {name: found[name] for name in names} == names
    queue_s, prefill_s, decode_s, inference_s, e2e_s = (found[name] for name in times)
    assert min(queue_s, prefill_s, decode_s) > 0
    assert prefill_s + decode_s == pytest.approx(inference_s)
    assert queue_s + inference_s < e2e_s
