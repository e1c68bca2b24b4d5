"""`load` as a user meets it: on our server, on one that is killed, on one that is late."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from course import commands
from course.commands.load import read_goodput
from course.engine.client.call import Target
from course.engine.client.load import OpenLoop, Style
from course.engine.client.probe import ServerCard
from course.metrics.record import Outcome
from course.workload.build import build_workload, rows_from
from tests.engine.server.process import Served, running
from tests.metrics.test_result_json import DETAILS, HEADER, TOTALS, TRAFFIC

SERVE = ("-m", "course", "serve", "--port", "0")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running(*SERVE, log=tmp_path_factory.mktemp("serve") / "log") as server:
        yield server


def load(*arguments: object) -> int:
    return commands.main(["load", *map(str, arguments)])


def test_client_and_server_measure_the_same(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "load.json"
    options = ("--requests", 20, "--rate", 20, "--prompt-tokens", 40, "--output-tokens", 12)
    assert load("--url", served.url, *options, "--goodput", "ttft:60000", "tpot:60000", "--json", out) == 0
    printed = capsys.readouterr().out
    assert "20 requests: 20 finished" in printed
    assert "tokens as the server's usage counts them" in printed
    result = json.loads(out.read_text())
    assert set(result) >= {*HEADER, *TRAFFIC, *TOTALS, *DETAILS, "mean_ttft_ms", "p99_tpot_ms", "median_itl_ms"}
    assert (result["completed"], result["failed"], result["attainment"]) == (20, 0, 1.0)
    assert result["total_input_tokens"] == 800
    assert result["output_lens"] == [12] * 20
    assert [len(gaps) for gaps in result["itls"]] == [11] * 20
    # Server side: from the request read to the token computed. Client side: that, and the way there and back.
    count = served.metric("vllm:time_to_first_token_seconds_count")
    server_ttft_ms = 1000 * served.metric("vllm:time_to_first_token_seconds_sum") / count
    assert count == 20
    assert 0 < server_ttft_ms <= result["mean_ttft_ms"]
    server_e2e_ms = 1000 * served.metric("vllm:e2e_request_latency_seconds_sum") / 20
    assert server_e2e_ms <= result["mean_e2el_ms"]
    assert result["mean_ttft_ms"] - server_ttft_ms < result["mean_e2el_ms"]


def test_words_and_chats(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in (("--words",), ("--chat",)):
        assert load("--url", served.url, "--requests", 3, "--prompt-tokens", 50, "--output-tokens", 5, *more) == 0
        assert "3 finished" in capsys.readouterr().out


def test_lengths_and_traces_are_scaled_into_the_servers_context(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrived_s,prompt_tokens,output_tokens\n" + "".join(f"0.{i},{9000 + i},30\n" for i in range(3)))
    assert load("--url", served.url, "--trace", trace, "--speed", 4) == 0
    said = capsys.readouterr().out
    assert "lengths scaled by 0.45" in said
    assert "3 finished" in said
    assert load("--url", served.url, "--lengths", "azure-conv", "--requests", 3, "--context", 300) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--url", "http://127.0.0.1:9"), "nobody answers at http://127.0.0.1:9"),
        (("--model", "gpt-9"), "has no model 'gpt-9'; it has: tiny"),
        (("--goodput", "ttft"), "--goodput ttft is not understood"),
        (("--goodput", "itl:5"), "write NAME:MS"),
        (("--rate", "0"), "rate must be positive"),
        (("--requests", "0"), "--requests must be at least 1"),
        (("--lengths", "nothing"), "unknown length table"),
        (("--lengths", "azure-conv", "--prompt-tokens", "5"), "leave out --prompt-tokens"),
        (("--timeout", "0"), "--timeout must be"),
    ],
)
def test_mistakes_are_named(
    served: Served, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load("--url", served.url, *arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_limits_of_goodput_are_milliseconds() -> None:
    slo = read_goodput(["ttft:200", "e2el:3000"])
    assert (slo.ttft_s, slo.tpot_s, slo.e2e_s) == (0.2, float("inf"), 3.0)


def test_a_server_that_is_killed_fails_what_it_had_and_what_comes_after(tmp_path: Path) -> None:
    with running(*SERVE, log=tmp_path / "log") as server:
        target, card = Target.of(server.url), ServerCard("tiny")
        workload = build_workload(
            rows_from([0.0, 0.0, 0.0, 1.0, 1.2], [20] * 5, [5, 3000, 3000, 3000, 9]), max_new_tokens="exact"
        )
        ended = []

        def on_end(record) -> None:
            ended.append(record)
            server.process.kill()  # as soon as the short answer is there

        report = asyncio.run(OpenLoop(target, card, Style()).run(workload, on_end=on_end))
    assert [record.outcome for record in report.records] == [Outcome.FINISHED, *[Outcome.FAILED] * 4]
    assert all("broke off" in record.error or "reset" in record.error for record in report.records[1:3])
    assert all("no connection" in record.error or "reset" in record.error for record in report.records[3:])
    assert len(ended) == 5


class LateServer(threading.Thread):
    """Takes connections and answers nobody until all have come."""

    def __init__(self, wanted: int) -> None:
        super().__init__(daemon=True)
        self.came_s: list[float] = []
        self._wanted = wanted
        self._ready = threading.Event()
        self.start()
        self._ready.wait()

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        all_came = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            self.came_s.append(time.perf_counter())
            if len(self.came_s) == self._wanted:
                all_came.set()
            await all_came.wait()
            body = b'data: {"choices": [{"text": "a", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + body)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1000)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await server.serve_forever()


def test_requests_go_out_though_no_answer_comes() -> None:
    """The loop is open: a server that answers nobody before the last request has come gets them all."""
    num = 300
    server = LateServer(num)
    workload = build_workload(rows_from([k * 0.002 for k in range(num)], [5] * num, [1] * num), max_new_tokens="exact")
    loop = OpenLoop(Target("127.0.0.1", server.port), ServerCard("any"), Style())
    report = asyncio.run(loop.run(workload))
    assert all(record.finished for record in report.records)
    assert report.counted_by == "chunks"
    assert len(report.late_s) == num
    assert min(report.late_s) >= 0
