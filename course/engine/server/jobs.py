"""From what a client asks for to what the engine is given: prompts as tokens, lengths that fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from course.engine.sampling import Sampling
from course.engine.server.ask import Ask, read_prompts
from course.engine.server.chat import chat_prompt, plain_chat, read_messages
from course.engine.server.errors import RequestError
from course.model.loading import Model


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt for the engine, to be answered ``n`` times."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    min_new_tokens: int
    n: int
    sampling: Sampling
    ignore_end: bool


class JobMaker:
    """Makes jobs for one model. ``max_tokens`` is what a prompt and its answer may have together.

    Raises UserError for a model without a tokenizer: answers are texts.
    """

    def __init__(self, model: Model, max_tokens: int) -> None:
        self.model = model
        self.max_tokens = max_tokens
        vocabulary: Iterable[str] = model.tokenizer.get_vocab()
        self._longest_token = max(map(len, vocabulary))  # letters

    def completion(self, values: dict[str, Any], ask: Ask) -> list[Job]:
        """One job for each prompt of a completion. Raises RequestError."""
        prompts = read_prompts(values)
        return [self._job(self._encode(each) if isinstance(each, str) else each, ask, "prompt") for each in prompts]

    def chat(self, values: dict[str, Any], ask: Ask) -> list[Job]:
        """The job of a chat. Raises RequestError."""
        messages = read_messages(values)
        text = chat_prompt(self.model, messages)
        return [self._job(self._encode(text, is_template=text != plain_chat(messages)), ask, "messages")]

    def _job(self, tokens: list[int], ask: Ask, param: str) -> Job:
        vocab_size = self.model.config.vocab_size
        if unknown := next((token for token in tokens if not 0 <= token < vocab_size), None):
            raise RequestError(f"token {unknown} is none of the model's ids 0 to {vocab_size - 1}", param=param)
        room = self.max_tokens - len(tokens)
        most = max(1, room) if ask.max_new_tokens is None else ask.max_new_tokens
        if most > room or ask.min_new_tokens > most:
            raise self._too_long(len(tokens), max(most, ask.min_new_tokens), param)
        return Job(tuple(tokens), most, ask.min_new_tokens, ask.n, ask.sampling, ask.ignore_end)

    def _encode(self, text: str, is_template: bool = False) -> list[int]:
        # A text of so many letters cannot fit, whatever it says; encoding a megabyte would stall everyone else.
        if len(text) > self.max_tokens * self._longest_token:
            raise self._too_long(len(text) // self._longest_token, 1, "prompt")
        # A template writes the special tokens itself.
        tokens: list[int] = self.model.tokenizer(text, add_special_tokens=not is_template)["input_ids"]
        if not tokens:
            raise RequestError("the prompt is empty; give at least one token", param="prompt")
        return tokens

    def _too_long(self, num_prompt_tokens: int, num_new_tokens: int, param: str) -> RequestError:
        return RequestError(
            f"this server takes {self.max_tokens} tokens for a prompt and its answer; the prompt has "
            f"{num_prompt_tokens} and up to {num_new_tokens} were asked for: shorten the prompt or ask for less",
            param=param,
            code="context_length_exceeded",
        )
