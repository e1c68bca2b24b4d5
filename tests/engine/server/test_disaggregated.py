"""The server in front of separate workers: the same tokens, and no request is lost with a worker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from course.commands import Parser
from course.commands.serve import configure as configure_serve
from course.commands.serve import crew
from course.engine.local import LocalEngine
from course.errors import UserError
from tests.engine.server.conftest import SERVE
from tests.engine.server.process import ROOT, Served, running, wait_for

SPLIT = (*SERVE, "--mode", "disaggregated", "--num-blocks", "256")


def worker(served: Served, role: str) -> int:
    """The process of the worker with this role, as the server's own words say."""
    return int(re.findall(rf"{role} on cpu, process (\d+)> is ready", served.log.read_text())[-1])


def is_there(process: int) -> bool:
    """A process that is dead and not yet cleared away is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_kills_under_load_lose_no_request_and_the_end_leaves_nothing(tmp_path: Path) -> None:
    with running(*SPLIT, log=tmp_path / "log") as served:
        prompt = "If the file does not exist,"
        _, said = served.post("/v1/completions", {"prompt": prompt, "max_tokens": 24, "temperature": 0})
        assert said["choices"][0]["text"] == LocalEngine("tiny").generate(prompt, 24)[0].text

        result = tmp_path / "load.json"
        options = ("--requests", "30", "--rate", "30", "--prompt-tokens", "150", "--output-tokens", "40")
        command = [sys.executable, "-m", "course", "load", "--url", served.url, *options, "--json", str(result)]
        load = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
        )
        before = served.metric("vllm:generation_tokens_total")
        for role, num_tokens in (("decode", 60), ("prefill", 200), ("decode", 400)):
            wait_for(lambda n=num_tokens: served.metric("vllm:generation_tokens_total") > before + n, served)
            gone = worker(served, role)
            os.kill(gone, signal.SIGKILL)
            wait_for(lambda r=role, g=gone: worker(served, r) != g, served)
        assert load.wait(timeout=120) == 0
        found = json.loads(result.read_text())
        assert (found["completed"], found["failed"]) == (30, 0)
        assert found["output_lens"] == [40] * 30
        served.wait_until_idle()
        assert served.metric("course:workers_lost_total") == 3
        assert served.metric("course:worker_restarts_total") == 3
        assert served.metric("course:kv_transfers_total") >= 30
        gone = worker(served, "decode")
        os.kill(gone, signal.SIGKILL)  # nobody asks for anything: it is noticed all the same
        wait_for(lambda: worker(served, "decode") != gone, served)
        workers = [worker(served, role) for role in ("prefill", "decode")]
        assert all(map(is_there, workers))
        assert served.stop(signal.SIGINT) == 0
        wait_for(lambda: not any(map(is_there, workers)), served)


def test_without_workers_whoever_asks_is_told_at_once(tmp_path: Path) -> None:
    with running("-m", "tests.engine.server.small", "{}", "", "alone", log=tmp_path / "log") as served:
        assert served.request("GET", "/health") == (200, "")
        ask = {"prompt": "a", "max_tokens": 2000, "ignore_eos": True}
        with ThreadPoolExecutor(2) as pool:
            whole = pool.submit(served.post, "/v1/completions", ask)
            stream = pool.submit(served.post, "/v1/completions", {**ask, "stream": True})
            wait_for(lambda: served.metric("vllm:num_requests_running") == 2, served)
            os.kill(worker(served, "decode"), signal.SIGKILL)
            status, said = whole.result()
            assert (status, said["error"]["code"]) == (503, "engine_failed")
            events = stream.result()[1].split("\n\n")  # its status was out already
            assert "no decode instance is left" in json.loads(events[-3].removeprefix("data: "))["error"]["message"]
        for answer in (served.post("/v1/completions", {"prompt": "a"}), served.request("GET", "/health")):
            status, said = answer
            assert status == 503
            assert said["error"]["type"] == "server_error"
            assert "no worker that decodes is left, start the engine again" in said["error"]["message"]
        assert served.metric("course:workers") == 1
        assert served.metric("vllm:num_requests_running") == 0
        assert served.stop(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("options", "roles", "devices"),
    [
        ((), ["mixed"], ["cpu"]),
        (("--devices", "cpu,cpu"), ["mixed", "mixed"], ["cpu", "cpu"]),
        (("--mode", "disaggregated"), ["prefill", "decode"], ["cpu", "cpu"]),
        (("--mode", "disaggregated", "--devices", "cuda:0,cuda:1"), ["prefill", "decode"], ["cuda:0", "cuda:1"]),
        (("--mode", "disaggregated", "--workers", "prefill,mixed,decode"), ["prefill", "mixed", "decode"], ["cpu"] * 3),
        (
            ("--mode", "disaggregated", "--short-prompts-stay", "9", "--scheduler", "orca"),
            ["prefill", "decode"],
            ["cpu"] * 2,
        ),
    ],
)
def test_who_works_where(options: tuple[str, ...], roles: list[str], devices: list[str]) -> None:
    assert crew(parsed(*options)) == (roles, devices)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mode", "disaggregated", "--devices", "cpu,cpu,cpu"), "need as many devices"),
        (("--mode", "disaggregated", "--workers", "mixed,mixed"), "some that only prefill or decode"),
        (("--workers", "prefill,decode"), "workers that are mixed"),
        (("--bandwidth-gb-s", "1"), "for --mode disaggregated"),
        (("--latency-us", "50"), "for --mode disaggregated"),
        (("--mode", "disaggregated", "--scheduler", "orca"), "are for workers that do both"),
        (("--mode", "disaggregated", "--token-budget", "64"), "are for workers that do both"),
    ],
)
def test_workers_that_do_not_go_together(options: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        crew(parsed(*options))


def parsed(*options: str):
    parser = Parser(prog="serve")
    configure_serve(parser)
    return parser.parse_args(options)
