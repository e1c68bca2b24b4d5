"""What a budget does, and where its stalls are."""

from __future__ import annotations

import pytest

from course.figures import BudgetPoint, History, WatchedCluster, budget_overview, budget_summary
from course.figures.palette import WRONG
from course.metrics.record import RequestRecord
from course.serving.instance import Instance
from course.serving.schedulers import ChunkedPrefill
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request, Workload

POINTS = [BudgetPoint(64, 0.6, 0.2, 0.02, 0.03), BudgetPoint(512, 0.3, 0.1, 0.02, 0.2)]


@pytest.fixture(scope="module")
def run() -> tuple[list[RequestRecord], History]:
    """An answer of ten tokens that a prompt of 400 tokens stalls once: steps take 1 ms and 1 ms per token."""
    cluster = WatchedCluster([Instance(ChunkedPrefill(token_budget=512), 256)])
    requests = [Request(0, 0.0, 4, 10), Request(1, 0.02, 400, 2)]
    records = VirtualDriver(cluster, LinearCost(1e-3, 1e-3)).run(Workload(requests, {0: 10, 1: 2})).records
    return records, cluster.history


def test_the_chosen_budget_is_the_larger_mark_and_the_stall_is_red(run) -> None:
    figure = budget_overview(POINTS, 512, *run, limit_s=0.1, best=64)
    long, *_ = figure.data
    assert list(long.marker.size) == [7, 15]
    stalls = next(trace for trace in figure.data if trace.name == "stall")
    assert stalls.line.color == WRONG
    start_ms, end_ms, gap = stalls.x
    assert end_ms - start_ms == pytest.approx(402, abs=1)
    assert gap is None
    assert any(shape.x0 == 64 for shape in figure.layout.shapes)
    [label] = figure.layout.annotations
    assert label.y == 2  # on a logarithmic axis: 100 ms


def test_without_a_stall_and_without_a_budget_that_keeps_the_limit(run) -> None:
    figure = budget_overview(POINTS, 64, *run, limit_s=0.9)
    assert list(next(trace for trace in figure.data if trace.name == "stall").x) == [None]
    assert "No gap longer than 900 ms; none keeps it." in budget_summary(POINTS, 64, *run, limit_s=0.9)


def test_the_summary_counts_the_stalls(run) -> None:
    said = budget_summary(POINTS, 512, *run, limit_s=0.1, best=64)
    assert said.startswith(
        "Budget 512: TTFT of long prompts 300 ms, of short ones 100 ms; TPOT 20 ms, longest gap 200 ms."
    )
    assert said.endswith("1 gap longer than 100 ms; the largest that keeps it: 64.")
