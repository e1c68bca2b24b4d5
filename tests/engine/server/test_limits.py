"""What one client may cost the others, who gets in, and how the server ends."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from course import commands
from course.engine.server.host import check_address, is_loopback
from course.errors import UserError
from tests.engine.server.conftest import SERVE
from tests.engine.server.process import Served, post_bytes, running, wait_for

LIMITS = {
    "max_answers": 4,
    "max_body_bytes": 20_000,
    "head_timeout_s": 0.5,
    "body_timeout_s": 0.5,
    "write_timeout_s": 0.5,
    "send_buffer_bytes": 4096,
}
LONG = {"prompt": "a", "max_tokens": 3000, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("small") / "log"
    with running("-m", "tests.engine.server.small", json.dumps(LIMITS), log=log) as server:
        yield server


def test_one_too_many_is_told_to_come_back(small: Served) -> None:
    with small.connect() as busy:
        busy.sendall(post_bytes(json.dumps({**LONG, "n": 4}).encode()))
        assert busy.recv(20).startswith(b"HTTP/1.1 200")
        with small.connect() as late:
            late.sendall(post_bytes(b'{"prompt": "a"}', more="Connection: close\r\n"))
            answer = b"".join(iter(lambda: late.recv(4000), b""))
    assert answer.startswith(b"HTTP/1.1 429")
    assert b"retry-after: 1" in answer
    assert b"the server is busy with 4 of at most 4 answers" in answer
    small.wait_until_idle()
    assert small.post("/v1/completions", {"prompt": "a", "max_tokens": 1})[0] == 200


def test_a_body_that_is_too_long_is_refused_and_read(small: Served) -> None:
    status, said = small.post("/v1/completions", {"prompt": "a" * 30_000})
    assert (status, said["error"]["message"]) == (413, "the body is longer than 20000 bytes")


@pytest.mark.parametrize("start", [b"", b"POST /v1/comp", b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(small: Served, start: bytes) -> None:
    with small.connect() as slow:
        slow.sendall(start)
        assert closed(slow)


def test_a_body_that_does_not_come_is_not_waited_for(small: Served) -> None:
    with small.connect() as slow:
        slow.sendall(post_bytes(b"x" * 100)[:-50])
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_a_client_that_does_not_read_is_let_go(small: Served) -> None:
    with small.connect(SO_RCVBUF=2048) as lazy:
        lazy.sendall(post_bytes(json.dumps({**LONG, "n": 4}).encode()))
        wait_for(lambda: small.metric("course:kv_blocks_used"), small)
        small.wait_until_idle()  # though nobody has read 12,000 tokens
        assert small.metric("vllm:generation_tokens_total") < 12_000
        assert small.post("/v1/completions", {"prompt": "a", "max_tokens": 1})[0] == 200


def closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("guarded") / "log"
    with running("-m", "tests.engine.server.small", "{}", "sesame", log=log) as server:
        yield server


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/v1/nothing"])
def test_without_the_key_nobody_gets_further_than_health(guarded: Served, path: str) -> None:
    for shown in ({}, {"authorization": "Bearer sesam"}, {"authorization": "sesame"}):
        status, said = guarded.request("GET", path, **shown)
        assert (status, said["error"]["code"]) == (401, "invalid_api_key")
    assert guarded.request("GET", path, authorization="Bearer sesame")[0] != 401
    assert guarded.request("GET", "/health")[0] == 200


def test_a_shutdown_ends_streams_with_a_word_and_leaves_no_port(guarded: Served) -> None:
    with guarded.connect() as busy:
        busy.sendall(post_bytes(json.dumps(LONG).encode(), more="Authorization: Bearer sesame\r\n"))
        assert busy.recv(20).startswith(b"HTTP/1.1 200")
        guarded.process.send_signal(signal.SIGTERM)
        heard = b""
        while piece := busy.recv(65536):
            heard += piece
    assert b"the server is shutting down" in heard
    assert b"data: [DONE]" in heard
    assert guarded.process.wait(timeout=60) == 0, guarded.log.read_text()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", guarded.port)) != 0


def test_ctrl_c_ends_it_and_a_taken_port_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(*SERVE, log=tmp_path / "log") as server:
        assert commands.main(["serve", "--port", str(server.port)]) == 2
        assert f"port {server.port} is taken: stop what listens there" in capsys.readouterr().err
        assert server.stop(signal.SIGINT) == 0
        assert "Stopped." in server.log.read_text()
        assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_other_addresses_need_a_key(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(UserError, match="--api-key"):
        check_address(host, None)
    with pytest.raises(UserError, match="empty"):
        check_address(host, " ")
    check_address(host, "sesame")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_this_machine_needs_none(host: str) -> None:
    check_address(host, None)
