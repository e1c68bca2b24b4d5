"""``python -m course lab``: from a fresh clone to the contents page in JupyterLab."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

from course.commands import environment
from course.errors import UserError

SUMMARY = "open the course in JupyterLab (installs what it needs the first time)"

REQUIREMENTS = ("requirements.txt",)
START_PAGE = "notebooks/index.ipynb"
USUAL_PORT = 8888


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    parser.add_argument("--port", type=int, help=f"use exactly this port (default: {USUAL_PORT} or the next free)")
    parser.add_argument(
        "--here", action="store_true", help="use the running Python as it is; install nothing, make no .venv"
    )


def run(args: argparse.Namespace) -> int:
    """Install if need be, then become JupyterLab."""
    python = sys.executable
    if not args.here:
        ours = environment.Environment()
        ours.prepare("lab", REQUIREMENTS)
        python = str(ours.python)
    port = choose_port(args.port)
    print("Starting JupyterLab; Ctrl-C in this window stops it.", flush=True)
    environment.become([python, "-m", "jupyterlab", *jupyter_options(port, args.no_browser)], jupyter_settings())


def choose_port(wanted: int | None) -> int:
    """The port that was asked for, or the first free one from the usual port on."""
    if wanted is not None:
        if not 0 < wanted < 65536:
            raise UserError(f"--port {wanted} is not a port: give a number from 1 to 65535")
        if not is_free(wanted):
            raise UserError(f"port {wanted} is taken: leave out --port to have a free one chosen, or name another")
        return wanted
    for port in range(USUAL_PORT, USUAL_PORT + 50):
        if is_free(port):
            if port != USUAL_PORT:
                print(f"Port {USUAL_PORT} is taken; using {port} (--port names another).")
            return port
    raise UserError(f"ports {USUAL_PORT} to {USUAL_PORT + 49} are all taken: free one, or name one with --port")


def is_free(port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        if os.name != "nt":  # as servers do: a port that was just closed counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def jupyter_options(port: int, no_browser: bool) -> list[str]:
    """Only this machine, only the token's holder, and no request to anywhere else."""
    options = [
        f"--ServerApp.root_dir={environment.ROOT}",
        f"--LabApp.default_url=/lab/tree/{START_PAGE}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.answer_yes=True",  # one Ctrl-C is enough
        "--ServerApp.log_level=WARN",
        "--LabApp.log_level=WARN",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",  # the default one asks the package index
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")  # containers run as root; the token still guards the server
    if no_browser:
        options.append("--no-browser")
    return options


def jupyter_settings() -> dict[str, str]:
    """Put our JupyterLab defaults (no news, no update check) before the user's own; moved controls are not echoed.

    An echo tells a second browser where a control stands in the first, and is one more message before each picture.
    """
    ours = str(Path(__file__).with_name("jupyter"))
    found = os.environ.get("JUPYTER_CONFIG_PATH")
    path = os.pathsep.join(filter(None, [ours, found]))
    return environment.settings(JUPYTER_WIDGETS_ECHO="0") | {"JUPYTER_CONFIG_PATH": path}
