"""The course's own JupyterLab in a headless Chromium: for the browser tests, and to measure what a learner sees.

Needs playwright (a development requirement) and a Chromium. Nothing is saved into the notebooks, and nothing of the
user's own settings or solutions is read.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from course.commands.doctor import find_chromium
from course.commands.environment import ROOT
from course.errors import UserError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = [
    "--no-sandbox",  # root in a container has none; only our own server is visited
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # the browser's own look-ups are not the course's
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 60_000  # a busy machine takes its time
NOT_LIVE = ("COURSE_WIDGETS", "COURSE_SOLUTIONS", "OMP_NUM_THREADS")
"""What tests and builds set, and a learner does not."""


@dataclass
class Lab:
    """A running JupyterLab."""

    port: int
    token: str

    def url(self, path: str = "notebooks/index.ipynb") -> str:
        """The address that opens a file in an empty workspace, not beside what was open last."""
        return f"http://127.0.0.1:{self.port}/lab/tree/{path}?token={self.token}&reset"

    def end_kernel(self, path: str) -> None:
        """End what runs behind a notebook, so that whoever opens it next begins anew."""
        for session in json.loads(self._ask("GET", "sessions")):
            if session["path"] == path:
                self._ask("DELETE", f"sessions/{session['id']}")

    def _ask(self, method: str, what: str) -> bytes:
        headers = {"Authorization": f"token {self.token}"}
        request = Request(f"http://127.0.0.1:{self.port}/api/{what}", headers=headers, method=method)
        with urlopen(request, timeout=PATIENCE_MS / 1000) as answer:
            content: bytes = answer.read()
        return content


@contextmanager
def running_lab() -> Iterator[Lab]:
    """`python -m course lab` on a free port, with nothing of the user's own; UserError if it does not start."""
    with tempfile.TemporaryDirectory(prefix="course-lab-") as folder:
        home = Path(folder)
        env = {name: value for name, value in os.environ.items() if name not in NOT_LIVE}
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "COURSE_HOME"):
            env[name] = str(home / name)
            (home / name).mkdir()
        # For `notebook_page.Notebook`, which asks the running program where it stands.
        (home / "JUPYTER_CONFIG_DIR" / "jupyter_lab_config.py").write_text("c.LabApp.expose_app_in_browser = True\n")
        port, log = free_port(), home / "log.txt"
        command = [sys.executable, "-m", "course", "lab", "--here", "--no-browser", "--port", str(port)]
        with log.open("wb") as output:
            server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)
        try:
            yield Lab(port, token_of(server, log))
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(timeout=15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def token_of(server: subprocess.Popen[bytes], log: Path, limit_s: float = 60) -> str:
    """Read the token from what the server prints once it listens."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if found := re.search(r"token=(\w+)", log.read_text()):
            return found[1]
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise UserError(f"JupyterLab did not start; it says:\n{log.read_text()[-2000:]}")


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """A headless Chromium; UserError, with the remedy, where there is none or no playwright."""
    found = find_chromium()
    if found is None:
        raise UserError("no Chromium found: install chromium, or name one in $CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("playwright is not installed: pip install -r requirements-dev.txt") from None
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Requests:
    """What a page asked of anybody."""

    inside: int = 0
    outside: list[str] = field(default_factory=list)

    def note(self, url: str) -> None:
        """Count it, or keep the address if it is not of this machine."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "ws", "wss"):
            return
        if parts.hostname in ("127.0.0.1", "localhost"):
            self.inside += 1
        else:
            self.outside.append(url)


@contextmanager
def new_page(browser: Browser) -> Iterator[tuple[Page, Requests]]:
    """A fresh page that cannot save, and the requests that it makes."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page, requests = context.new_page(), Requests()
    page.set_default_timeout(PATIENCE_MS)
    context.on("request", lambda request: requests.note(request.url))
    page.on("websocket", lambda socket: requests.note(socket.url))
    context.route("**/api/contents/**", lambda route: route.abort() if _saves(route.request) else route.continue_())
    try:
        yield page, requests
    finally:
        context.close()


def _saves(request: Any) -> bool:
    return request.method in ("PUT", "PATCH", "DELETE")
