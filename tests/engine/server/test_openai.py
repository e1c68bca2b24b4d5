"""The official client, on our server."""

from __future__ import annotations

import openai
import pytest
from openai import OpenAI

from tests.engine.server.process import Served

PROMPT = "The default value is"


@pytest.fixture(scope="module")
def client(served: Served) -> OpenAI:
    return OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=120)


def test_the_model_is_named(client: OpenAI) -> None:
    [model] = client.models.list().data
    assert model.id == "tiny"
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="'gpt-9' does not exist"):
        client.models.retrieve("gpt-9")


def test_a_completion_and_its_stream_say_the_same(client: OpenAI) -> None:
    whole = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=20, temperature=0)
    assert whole.choices[0].finish_reason == "length"
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (5, 20)
    options = {"include_usage": True}
    stream = client.completions.create(
        model="tiny", prompt=PROMPT, max_tokens=20, temperature=0, stream=True, stream_options=options
    )
    chunks = list(stream)
    *parts, last = chunks
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
    assert [part.choices[0].finish_reason for part in parts] == [None] * (len(parts) - 1) + ["length"]
    assert last.choices == []
    assert last.usage == whole.usage
    assert {chunk.id for chunk in chunks} == {last.id}


def test_several_prompts_and_several_answers(client: OpenAI) -> None:
    found = client.completions.create(
        model="tiny", prompt=[[1, 312, 925], [1, 312]], max_tokens=6, n=2, temperature=1, seed=3
    )
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    assert found.usage.prompt_tokens == 5
    assert found.usage.completion_tokens == 24
    assert found.choices[0].text != found.choices[1].text


def test_a_seed_repeats_an_answer_and_none_does_not(client: OpenAI) -> None:
    def said(**more: int) -> str:
        create = client.completions.create
        return create(model="tiny", prompt=PROMPT, max_tokens=16, temperature=1.5, **more).choices[0].text

    assert said(seed=11) == said(seed=11)
    assert len({said() for _ in range(4)}) > 1


def test_stop_strings_end_an_answer_wherever_the_tokens_are_cut(client: OpenAI) -> None:
    ask = {"model": "tiny", "prompt": PROMPT, "max_tokens": 40, "temperature": 0, "seed": 0}
    text = client.completions.create(**ask).choices[0].text
    stop = text[10:13]
    wanted = text[: text.index(stop)]
    whole = client.completions.create(**ask, stop=stop)
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == (wanted, "stop")
    assert whole.usage.completion_tokens < 40
    parts = [chunk.choices[0] for chunk in client.completions.create(**ask, stop=["zzz", stop], stream=True)]
    assert "".join(part.text for part in parts) == wanted
    assert parts[-1].finish_reason == "stop"


def test_a_chat(client: OpenAI) -> None:
    ask = {
        "model": "tiny",
        "messages": [{"role": "system", "content": "Return"}, {"role": "user", "content": "a new list that"}],
        "max_completion_tokens": 8,
        "temperature": 0,
    }
    whole = client.chat.completions.create(**ask, n=2)
    assert [choice.message.role for choice in whole.choices] == ["assistant"] * 2
    assert whole.choices[0].message.content == whole.choices[1].message.content
    chunks = list(client.chat.completions.create(**ask, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    # The tiny model's template joins the messages, a line each.
    joined = client.completions.create(model="tiny", prompt="Return\na new list that", max_tokens=8, temperature=0)
    assert joined.choices[0].text == whole.choices[0].message.content


def test_lengths_are_what_a_load_generator_asks_for(client: OpenAI) -> None:
    more = {"ignore_eos": True, "min_tokens": 30}
    found = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=30, extra_body=more)
    assert found.usage.completion_tokens == 30


def test_echo(client: OpenAI) -> None:
    ask = {"model": "tiny", "prompt": PROMPT, "max_tokens": 3, "temperature": 0, "echo": True}
    assert client.completions.create(**ask).choices[0].text.startswith(PROMPT)
    assert "".join(chunk.choices[0].text for chunk in client.completions.create(**ask, stream=True)).startswith(PROMPT)


def test_mistakes_are_the_clients_own_exceptions(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="'gpt-9' does not exist; this server has 'tiny'"):
        client.completions.create(model="gpt-9", prompt=PROMPT)
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="tiny", prompt=PROMPT, max_tokens=10_000)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="logprobs is not offered"):
        client.completions.create(model="tiny", prompt=PROMPT, logprobs=0)
