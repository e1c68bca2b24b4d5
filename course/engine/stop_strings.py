"""Where an answer must stop: the first of some texts, which may come in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Watches the text of one answer for texts that end it; they are not part of it.

    Text that may be the beginning of a stop string is held back until that is decided. Of several,
    the one that is complete first ends the answer, so nothing depends on how the text was cut.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None

    def add(self, text: str) -> str:
        """The text that may be said now that this piece has come; `found` says which stop string has come."""
        text = self._held + text
        self._held = ""
        ends = [(start + len(stop), start, stop) for stop in self._stops if (start := text.find(stop)) >= 0]
        if ends:
            _, start, self.found = min(ends)
            return text[:start]
        num_held = max((overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - num_held :]
        return text[: len(text) - num_held]

    def finish(self) -> str:
        """What is held back, now that no more will come."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """How many letters at the end of the text begin the stop string, all of it excluded."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
