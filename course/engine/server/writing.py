"""One answer as its client sees it: tokens become text, and stop strings end it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from course.engine.detokenize import Detokenizer
from course.engine.server.ask import Ask
from course.engine.server.jobs import Job
from course.engine.stop_strings import StopStrings
from course.model.loading import Model
from course.serving.sequence import State


class Piece(NamedTuple):
    """What is new of an answer. ``finish_reason`` as in OpenAI's API; ``stop_reason`` is the stop string (vLLM)."""

    text: str
    tokens: Sequence[int]
    finish_reason: str | None = None
    stop_reason: str | None = None


class Writing:
    """The text of one answer while it comes."""

    def __init__(self, model: Model, job: Job, ask: Ask) -> None:
        self._model = model
        self._end_tokens = frozenset(() if ask.ignore_end else model.config.end_tokens)
        self._min_new_tokens = job.min_new_tokens
        self._detokenizer = Detokenizer(model, job.prompt)
        self._stops = StopStrings(ask.stop)
        self._last_token = -1
        self.num_tokens = 0
        self.is_ended = False

    def add(self, tokens: Sequence[int], state: State) -> Piece:
        """What may be said now that these tokens have come; nothing comes after the end."""
        text = ""
        for number, token in enumerate(tokens, 1):
            self.num_tokens += 1
            self._last_token = token
            text += self._say(self._detokenizer.add(token))
            if self._stops.found:
                self.is_ended = True
                return Piece(text, tokens[:number], "stop", self._stops.found)
        if state is State.WAITING:
            return Piece(text, tokens)
        self.is_ended = True
        text += self._say(self._detokenizer.finish())
        if self._stops.found:
            return Piece(text, tokens, "stop", self._stops.found)
        return Piece(text + self._stops.finish(), tokens, self._reason(state))

    def _say(self, text: str) -> str:
        # As in vLLM, what comes among the first min_tokens is not searched for stop strings.
        return text if self.num_tokens <= self._min_new_tokens else self._stops.add(text)

    def _reason(self, state: State) -> str:
        if state is not State.FINISHED:
            return "error"
        return "stop" if self._last_token in self._end_tokens else "length"
