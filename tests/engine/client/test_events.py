"""Server-sent events, however the bytes are cut; answers out of them; prompts."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from course.engine.client.answer import Answer, Chunk
from course.engine.client.call import Reply, Target
from course.engine.client.events import EventReader
from course.engine.client.prompts import WORDS, word_prompt
from course.errors import UserError
from course.workload.request import Request

LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
DATA = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=12)


@example(["a"], "\r", [9], False)  # the last line end at the end of a piece, and none in the next
@given(st.lists(DATA, max_size=6), LINE_ENDS, st.lists(st.integers(0, 200), max_size=12), st.booleans())
def test_events_do_not_depend_on_the_cuts(texts: list[str], end: str, cuts: list[int], comments: bool) -> None:
    noise = f": ping{end}id: 7{end}" if comments else ""
    # What follows the last event shows that a carriage return at the end of a piece was no half of a line end.
    stream = ("".join(f"{noise}data: {text}{end}{end}" for text in texts) + ":").encode()
    borders = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    reader, found = EventReader(), []
    for start, stop in zip(borders, borders[1:], strict=False):  # noqa: RUF007
        found += reader.add(stream[start:stop])
    assert [each.decode() for each in found] == texts


def test_an_event_of_several_lines_is_one() -> None:
    assert EventReader().add(b"data: a\ndata:b\n\ndata: c\n") == [b"a\nb"]


def chunk(text: str, **more: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "text": text, **more}]}).encode() + b"\n\n"


def usage(num: int) -> bytes:
    body = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": num}}
    return b"data: " + json.dumps(body).encode() + b"\n\ndata: [DONE]\n\n"


def read(*pieces: bytes, status: int = 200, body: bytes = b"") -> Answer:
    answer = Answer()
    for time_s, piece in enumerate(pieces, 1):
        answer.on_data(piece, float(time_s))
    answer.close(Reply(status, body, is_stream=status == 200))
    return answer


def test_an_answer_has_a_time_for_each_token() -> None:
    answer = read(chunk("a"), chunk("b", finish_reason="length"), usage(2))
    assert (answer.error, answer.text, answer.token_times_s()) == ("", "ab", [1.0, 2.0])


def test_several_tokens_in_a_chunk_came_together() -> None:
    assert read(chunk("ab"), chunk("cd"), usage(4)).token_times_s() == [1.0, 1.0, 2.0, 2.0]


def test_a_chunk_without_a_token_is_left_out() -> None:
    assert read(chunk("a"), chunk(""), chunk("b"), chunk("", finish_reason="stop"), usage(3)).token_times_s() == [
        1,
        2,
        3,
    ]
    chat = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
    said = b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n'
    assert read(chat, said).chunks == [Chunk(2.0, True)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: read(chunk("a")), "ended too early"),
        (
            lambda: read(b'data: {"error": {"message": "no memory"}}\n\ndata: [DONE]\n\n'),
            "error in the stream: no memory",
        ),
        (lambda: read(b"data: [DONE]\n\n"), "empty"),
        (lambda: read(b"data: {\n\n"), "not JSON"),
        (lambda: read(status=429, body=b'{"error": {"message": "busy"}}'), "HTTP 429: busy"),
        (lambda: read(status=500, body=b'{"message": "vllm said so", "code": 500}'), "HTTP 500: vllm said so"),
        (lambda: read(status=502, body=b"<html>Bad gateway"), "HTTP 502: <html>Bad gateway"),
    ],
)
def test_an_answer_that_failed_says_why(answer, words: str) -> None:
    assert words in answer().error


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:8000", Target("127.0.0.1", 8000)),
        ("localhost:30000/v1/", Target("localhost", 30000)),
        ("https://host/a/v1", Target("host", 443, "/a", True)),
    ],
)
def test_a_url_is_read(url: str, target: Target) -> None:
    assert Target.of(url) == target


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "http://a:b"])
def test_what_is_no_url_is_named(url: str) -> None:
    with pytest.raises(UserError, match="is no address"):
        Target.of(url)


def test_prompts_of_words_have_the_length_and_differ() -> None:
    prompts = [word_prompt(Request(k, 0.0, 30, 5), seed=1) for k in range(3)]
    assert len(set(prompts)) == 3
    assert all(len(prompt.split()) == 30 and set(prompt.split()) <= set(WORDS) for prompt in prompts)
    assert word_prompt(Request(0, 0.0, 30, 5), seed=1) == prompts[0]
