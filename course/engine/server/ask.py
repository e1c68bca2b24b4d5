"""What a client asks for, whichever of the two endpoints it used."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from course.engine.sampling import Sampling
from course.engine.server.errors import RequestError
from course.engine.server.fields import Fields, check_text

COMPLETION_TOKENS = 16  # OpenAI's default for completions; a chat goes on to the end of the context
MOST_STOPS = 16
INT64 = 2**63

# Fields whose effect this server does not have, and the values that ask for none. Anything else is refused:
# an answer that silently ignores what was asked is a wrong answer. Fields that nobody knows are ignored, as in vLLM.
WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "prompt_logprobs": (),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "min_p": (0,),
    "use_beam_search": (False,),
    "stop_token_ids": ([],),
    "suffix": ("",),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as it was understood. Its answers are numbered prompt by prompt, ``n`` of each.

    ``max_new_tokens`` None means as many as the context leaves.
    """

    sampling: Sampling
    max_new_tokens: int | None
    min_new_tokens: int = 0
    n: int = 1
    stop: tuple[str, ...] = ()
    ignore_end: bool = False
    stream: bool = False
    include_usage: bool = False
    usage_in_every_chunk: bool = False
    echo: bool = False
    return_token_ids: bool = False


def read_ask(values: dict[str, Any], model: str, most_answers: int, *, is_chat: bool) -> Ask:
    """Read everything but the prompt. Raises RequestError; ``model`` is the name that is served here."""
    fields = Fields(values)
    check_model(fields, model)
    check_offered(values)
    most = _max_new_tokens(fields, is_chat)
    least = fields.integer("min_tokens", 0, 0) or 0
    if most is not None and least > most:
        raise RequestError(f"min_tokens ({least}) is more than max_tokens ({most})", param="min_tokens")
    n = fields.integer("n", 1, 1, most_answers) or 1
    if fields.integer("best_of", n, 1) != n:
        raise RequestError("best_of other than n is not offered; leave it out", param="best_of")
    stream = fields.boolean("stream")
    usage, always = _stream_options(fields, stream)
    return Ask(
        sampling=_sampling(fields),
        max_new_tokens=most,
        min_new_tokens=least,
        n=n,
        stop=fields.texts("stop", MOST_STOPS),
        ignore_end=fields.boolean("ignore_eos"),
        stream=stream,
        include_usage=usage,
        usage_in_every_chunk=always,
        echo=not is_chat and fields.boolean("echo"),
        return_token_ids=fields.boolean("return_token_ids"),
    )


def check_model(fields: Fields, served: str) -> None:
    """A client may leave the model out; one that asks for another must not be given this one."""
    name = fields.get("model")
    if name is None or name == served:
        return
    if not isinstance(name, str):
        raise fields.wrong("model", "a text")
    raise RequestError(
        f"the model {name[:100]!r} does not exist; this server has {served!r}",
        status=404,
        param="model",
        code="model_not_found",
    )


def check_offered(values: dict[str, Any]) -> None:
    """Refuse what would silently be left undone."""
    for name, harmless in WITHOUT_EFFECT.items():
        value = values.get(name)
        is_same = [value == each and isinstance(value, bool) == isinstance(each, bool) for each in harmless]
        if value is not None and not any(is_same):
            raise RequestError(f"{name} is not offered by this server; leave it out", param=name)


def _max_new_tokens(fields: Fields, is_chat: bool) -> int | None:
    most = fields.integer("max_tokens", None, 1)
    if not is_chat:
        return COMPLETION_TOKENS if most is None else most
    return fields.integer("max_completion_tokens", most, 1)


def _sampling(fields: Fields) -> Sampling:
    """The client's seed repeats an answer; without one, no two answers are drawn alike."""
    seed = fields.integer("seed", None, -INT64, INT64 - 1)
    return Sampling(
        temperature=fields.number("temperature", 1.0, 0, 100),
        top_k=max(0, fields.integer("top_k", 0, -1) or 0),
        top_p=fields.number("top_p", 1.0, 0, 1, above=True),
        seed=secrets.randbits(63) if seed is None else seed,
        by_request=seed is None,
    )


def _stream_options(fields: Fields, stream: bool) -> tuple[bool, bool]:
    options = fields.get("stream_options")
    if options is None:
        return False, False
    if not isinstance(options, dict):
        raise fields.wrong("stream_options", "an object")
    if not stream:
        raise RequestError("stream_options are for streams; add stream: true or leave them out", param="stream_options")
    inner = Fields(options, "stream_options.")
    usage, always = inner.boolean("include_usage"), inner.boolean("continuous_usage_stats")
    return usage, usage and always


def read_prompts(values: dict[str, Any]) -> list[str | list[int]]:
    """The prompts of a completion: a text, a list of token ids, or a list of either. Raises RequestError."""
    prompt = values.get("prompt")
    if prompt is None:
        raise RequestError("prompt is missing", param="prompt")
    several = prompt if isinstance(prompt, list) and not is_token_ids(prompt) else [prompt]
    prompts = [check_text(each, "prompt") if isinstance(each, str) else each for each in several]
    if not all(isinstance(each, str) or (isinstance(each, list) and is_token_ids(each)) for each in prompts):
        raise RequestError("prompt must be a text, a list of token ids, or a list of either", param="prompt")
    if not prompts or not all(prompts):
        raise RequestError("the prompt is empty; give at least one token", param="prompt")
    return prompts


def is_token_ids(value: Sequence[Any]) -> bool:
    """Whether a list holds whole numbers, at least one."""
    return bool(value) and all(isinstance(each, int) and not isinstance(each, bool) for each in value)
