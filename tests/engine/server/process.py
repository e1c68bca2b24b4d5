"""A server in a process of its own, as a user starts it, and a plain way to talk to it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 120  # for anything that must happen, on a machine that is busy with other things


class Served:
    """A running server."""

    def __init__(self, *command: str, log: Path) -> None:
        self.log = log
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
            )
        self.url = wait_for(self._url, self)
        self.port = int(self.url.rsplit(":", 1)[1])

    def _url(self) -> str | None:
        found = re.search(r"at (http://\S+)/v1", self.log.read_text())
        assert found or self.process.poll() is None, self.log.read_text()
        return found[1] if found else None

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Status and JSON; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, data, **headers)

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            text = response.read()
            is_json = "json" in response.headers.get("content-type", "")
            return response.status, json.loads(text) if is_json else text.decode()
        finally:
            connection.close()

    def connect(self, **options: int) -> socket.socket:
        """A bare connection; options of the socket by their names."""
        found = socket.socket()
        for name, value in options.items():
            found.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        found.settimeout(PATIENCE_S)
        found.connect(("127.0.0.1", self.port))
        return found

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        _, page = self.request("GET", "/metrics")
        values = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)
        assert values, f"no {name} in:\n{page}"
        return sum(map(float, values))

    def wait_until_idle(self) -> None:
        """Wait until nothing runs and no block is held."""
        wait_for(lambda: self.metric("vllm:num_requests_running") + self.metric("course:kv_blocks_used") == 0, self)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        try:
            return self.process.wait(timeout=PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()


def wait_for(question: Any, served: Served) -> Any:
    """The first answer that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := question()):
        assert time.monotonic() < deadline, served.log.read_text()
        time.sleep(0.05)
    return answer


@contextmanager
def running(*command: str, log: Path) -> Iterator[Served]:
    served = Served(*command, log=log)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.stop()


def post_bytes(body: bytes, path: str = "/v1/completions", more: str = "") -> bytes:
    """A request as bytes."""
    return f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body
