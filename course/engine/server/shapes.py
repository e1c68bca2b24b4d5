"""The JSON of the answers: completions and chats, whole and in chunks. Fields as in OpenAI's API, and two of vLLM's."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from course.engine.server.writing import Piece

DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Usage:
    """Tokens of one request: its prompts, and all its answers so far."""

    num_prompt_tokens: int
    num_output_tokens: int = 0

    def body(self) -> dict[str, int]:
        """The usage object."""
        return {
            "prompt_tokens": self.num_prompt_tokens,
            "completion_tokens": self.num_output_tokens,
            "total_tokens": self.num_prompt_tokens + self.num_output_tokens,
        }


@dataclass(slots=True)
class Shape:
    """How a completion is written; `ChatShape` says what differs in a chat."""

    model: str
    id: str = field(default_factory=lambda: f"cmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    whole = "text_completion"
    part = "text_completion"

    def head(self, index: int) -> dict[str, Any] | None:
        """The chunk that comes before an answer's first, where there is one."""
        return None

    def chunk(self, index: int, piece: Piece) -> dict[str, Any]:
        """A piece of an answer."""
        return self.part_of([{"index": index, "text": piece.text, "logprobs": None, **_end(piece)}])

    def body(self, texts: Sequence[str], ends: Sequence[Piece], usage: Usage) -> dict[str, Any]:
        """All answers; ``ends`` are their last pieces."""
        choices = [self.choice(index, text, end) for index, (text, end) in enumerate(zip(texts, ends, strict=True))]
        return {**self._frame(self.whole), "choices": choices, "usage": usage.body()}

    def choice(self, index: int, text: str, end: Piece) -> dict[str, Any]:
        """One answer of the whole."""
        return {"index": index, "text": text, "logprobs": None, **_end(end)}

    def part_of(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """A chunk of the stream."""
        return {**self._frame(self.part), "choices": choices}

    def _frame(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


@dataclass(slots=True)
class ChatShape(Shape):
    """How a chat is written."""

    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    whole = "chat.completion"
    part = "chat.completion.chunk"

    def head(self, index: int) -> dict[str, Any] | None:
        """Who is speaking."""
        delta = {"role": "assistant", "content": ""}
        return self.part_of([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])

    def chunk(self, index: int, piece: Piece) -> dict[str, Any]:
        """A piece of an answer."""
        return self.part_of([{"index": index, "delta": {"content": piece.text}, "logprobs": None, **_end(piece)}])

    def choice(self, index: int, text: str, end: Piece) -> dict[str, Any]:
        """One answer of the whole."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": None, **_end(end)}


def _end(piece: Piece) -> dict[str, Any]:
    return {"finish_reason": piece.finish_reason, "stop_reason": piece.stop_reason}


def event(body: dict[str, Any]) -> bytes:
    """A server-sent event with a JSON object."""
    return b"data: " + to_json(body) + b"\n\n"


def to_json(body: dict[str, Any]) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")
