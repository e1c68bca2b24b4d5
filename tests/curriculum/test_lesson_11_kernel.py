"""Lesson 11 in a kernel that is interrupted and restarted: its workers go with it, and so does their memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from course.curriculum.build import ENVIRONMENT

if not Path("/proc/self/stat").exists():
    pytest.skip("reads processes from /proc", allow_module_level=True)

START = """
from course.curriculum.lesson_11_disaggregation import live
from course.engine.disaggregated import DisaggregatedEngine
from course.figures import WatchedCluster
split = DisaggregatedEngine("tiny", ("prefill", "decode"), make_cluster=WatchedCluster)
"""
FOR_EVER = """
while True:
    live.burst(split)
"""
GO_ON = """
while split.num_unfinished:
    split.advance()
assert len(split.generate("A list is", 5, ignore_end=True)[0].tokens) == 5
split.cluster.check_integrity()
"""


@pytest.fixture
def kernel() -> Iterator[KernelManager]:
    """A kernel with two workers in it."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env={**os.environ, **ENVIRONMENT})
    yield manager
    manager.shutdown_kernel(now=True)


def client_of(kernel: KernelManager) -> BlockingKernelClient:
    client = kernel.client()
    client.start_channels()
    client.wait_for_ready(timeout=90)
    return client


def run(client: BlockingKernelClient, code: str) -> str:
    """Run a cell; the name of the exception that it raised, or nothing."""
    reply = client.execute_interactive(code, timeout=120, output_hook=lambda message: None)
    return str(reply["content"].get("ename", ""))


def family(pid: int) -> set[int]:
    """A process's children and theirs, as they are now."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue  # ended meanwhile
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def are_gone(pids: set[int], patience_s: float = 30) -> bool:
    """Whether all of them end in time."""
    until = time.monotonic() + patience_s
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


def shared_memory() -> set[str]:
    """Names of shared memory on this machine."""
    folder = Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_an_interrupt_loses_nothing_and_a_restart_leaves_nothing(kernel: KernelManager) -> None:
    before = shared_memory()
    client = client_of(kernel)
    assert run(client, START) == ""
    pid = kernel.provisioner.process.pid
    workers = family(pid)
    assert len(workers) >= 2

    number = client.execute(FOR_EVER)
    time.sleep(3)  # in the middle of a burst
    kernel.interrupt_kernel()
    while (reply := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != number:
        pass
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert run(client, GO_ON) == ""
    assert all(map(is_alive, workers))

    client.execute(FOR_EVER)
    time.sleep(1)
    kernel.restart_kernel(now=True)
    assert are_gone(workers)
    assert shared_memory() - before == set()
    client.stop_channels()


def test_a_kernel_that_ends_takes_its_workers_with_it(kernel: KernelManager) -> None:
    client = client_of(kernel)
    assert run(client, START) == ""
    workers = family(kernel.provisioner.process.pid)
    client.stop_channels()
    kernel.shutdown_kernel()
    assert are_gone(workers)
