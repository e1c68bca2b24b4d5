"""Server-sent events out of a stream of bytes, however it is cut (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations


class EventReader:
    """Collects bytes and gives the data of each event that is complete. Comments and other fields are skipped."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def add(self, piece: bytes) -> list[bytes]:
        """The data of the events that end in this piece."""
        if b"\n" not in piece and b"\r" not in piece and not self._rest.endswith(b"\r"):
            self._rest += piece
            return []
        text = self._rest + piece
        # A carriage return at the very end may be half of a line end: it waits.
        held = b"\r" if text.endswith(b"\r") else b""
        *lines, rest = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = rest + held
        found = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                found.append(b"\n".join(self._data))
                self._data = []
        return found
