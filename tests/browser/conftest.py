"""JupyterLab as `make lab` starts it, and a Chromium that reports every request it makes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from course.commands.doctor import find_chromium

ROOT = Path(__file__).resolve().parents[2]

CHROMIUM_FLAGS = [
    "--no-sandbox",  # root in a container has none; only our own server is visited
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # its own look-ups are not ours to test
    "--disable-component-update",
    "--disable-sync",
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Lab:
    """A running JupyterLab."""

    port: int
    token: str

    def url(self, path: str = "/lab/tree/notebooks/index.ipynb") -> str:
        # `reset` starts from an empty workspace, not from what the last test left open.
        return f"http://127.0.0.1:{self.port}{path}?token={self.token}&reset"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """`python -m course lab` on a free port, with nothing of the user's own settings."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    home, port = tmp_path_factory.mktemp("lab"), free_port()
    folders = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    command = [sys.executable, "-m", "course", "lab", "--here", "--no-browser", "--port", str(port)]
    log = home / "log.txt"
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **folders}, stdout=output, stderr=output)
    try:
        yield Lab(port, wait_for_token(server, log))
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for_token(server: subprocess.Popen[bytes], log: Path, limit_s: float = 60) -> str:
    """Read the token from what the server prints once it listens."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if found := re.search(r"token=(\w+)", log.read_text()):
            return found[1]
        if server.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


@dataclass
class Requests:
    """The requests that a page made to anywhere but this machine."""

    outside: list[str] = field(default_factory=list)

    def note(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in ("127.0.0.1", "localhost"):
            self.outside.append(url)


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium for the whole session; skips, with the reason, where there is none."""
    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium found (install chromium or name one in $CHROMIUM)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A fresh page. `page.requests` lists what left the machine; nothing can be saved into the project."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)  # a busy machine takes its time
    page.requests = Requests()
    context.on("request", lambda request: page.requests.note(request.url))
    page.on("websocket", lambda socket: page.requests.note(socket.url))
    context.route("**/api/contents/**", lambda route: route.abort() if saves(route.request) else route.continue_())
    yield page
    context.close()


def saves(request) -> bool:
    return request.method in ("PUT", "PATCH", "DELETE")


@pytest.fixture
def in_both_themes(page, tmp_path: Path):
    """Take a picture in JupyterLab's light and dark themes, which follow the system's."""

    def take(name: str) -> None:
        for theme, is_light in (("dark", "false"), ("light", "true")):
            page.emulate_media(color_scheme=theme)
            page.wait_for_selector(f"body[data-jp-theme-light='{is_light}']", state="attached")
            page.wait_for_load_state("networkidle")  # the theme's style sheet
            page.screenshot(path=tmp_path / f"{name}-{theme}.png")

    return take
