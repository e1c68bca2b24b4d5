"""What comes back for one request: when each chunk came, how many tokens there were, or what went wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from course.engine.client.call import Reply
from course.engine.client.events import EventReader


class Chunk(NamedTuple):
    """A chunk with a choice in it: when it came, and whether it said anything."""

    time_s: float
    has_text: bool


@dataclass(slots=True)
class Answer:
    """Reads the stream of one answer. ``error`` is set where it did not come to its proper end."""

    chunks: list[Chunk] = field(default_factory=list)
    usage: dict[str, Any] | None = None
    error: str = ""
    text: str = ""
    is_done: bool = False
    _events: EventReader = field(default_factory=EventReader)

    def on_data(self, data: bytes, time_s: float) -> None:
        """A piece of the stream."""
        for event in self._events.add(data):
            if event == b"[DONE]":
                self.is_done = True
                continue
            try:
                body = json.loads(event)
            except ValueError:
                self.error = self.error or "an event of the stream is not JSON"
                continue
            if isinstance(body, dict):
                self._read(body, time_s)

    def _read(self, body: dict[str, Any], time_s: float) -> None:
        if "error" in body:
            self.error = self.error or f"error in the stream: {error_message(body)}"
        if isinstance(body.get("usage"), dict):
            self.usage = body["usage"]
        for choice in body.get("choices") or ():
            delta = choice.get("delta") or {}
            text = choice.get("text") or delta.get("content") or delta.get("reasoning_content") or ""
            self.is_done = self.is_done or choice.get("finish_reason") is not None
            self.text += text
            if text or "role" not in delta:  # a chat begins with a chunk that only says who speaks
                self.chunks.append(Chunk(time_s, bool(text)))

    def close(self, reply: Reply) -> None:
        """The exchange is over."""
        if reply.status != 200:
            try:
                said = error_message(json.loads(reply.body))
            except ValueError:
                said = reply.body[:200].decode(errors="replace")
            self.error = f"HTTP {reply.status}: {said}"
        elif not reply.is_stream:
            self.error = self.error or "the server does not stream"
        elif not self.error and not self.is_done:
            self.error = "the stream ended too early"
        elif not self.error and not self.chunks:
            self.error = "the answer is empty"

    def token_times_s(self) -> list[float]:
        """One time per token.

        The server's own count is right where it gives one. Fewer chunks than that: some carried several tokens, which
        came at the same time. More: those without text that carried none are left out, the last first.
        """
        times_s = [chunk.time_s for chunk in self.chunks]
        wanted = (self.usage or {}).get("completion_tokens")
        if not isinstance(wanted, int) or wanted < 1 or not times_s:
            return times_s
        if len(times_s) < wanted:
            return [times_s[k * len(times_s) // wanted] for k in range(wanted)]
        surplus = len(times_s) - wanted
        empty = [index for index, chunk in enumerate(self.chunks) if not chunk.has_text]
        dropped = set(empty[len(empty) - min(surplus, len(empty)) :])
        return [time_s for index, time_s in enumerate(times_s) if index not in dropped][:wanted]


def error_message(body: Any) -> str:
    """The sentence in an error object, in any of the forms that servers use."""
    if isinstance(body, dict):
        error = body.get("error", body)
        if isinstance(error, dict):
            error = error.get("message", error)
        return str(error)[:300]
    return str(body)[:300]
