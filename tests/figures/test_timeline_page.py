"""The page stands alone, and its head does not depend on how many rows there are."""

from __future__ import annotations

import pytest

from course.figures.timeline import timeline
from course.figures.timeline_page import timeline_page, with_head
from course.figures.watch import WatchedCluster
from course.simulator.experiment import load_experiment
from course.simulator.simulate import Simulation, simulate


def run(num: int) -> tuple[Simulation, WatchedCluster]:
    experiment = load_experiment("chat-disaggregated", [f"workload.requests={num}"])
    simulation = simulate(experiment, make_cluster=WatchedCluster)
    cluster = simulation.driver.cluster
    assert isinstance(cluster, WatchedCluster)
    return simulation, cluster


def test_a_page_that_needs_nothing_else():
    simulation, cluster = run(5)
    page = timeline_page(simulation.records, cluster.history, "a < b")
    assert page == timeline_page(simulation.records, cluster.history, "a < b"), "the same run, the same bytes"
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>a &lt; b</title>" in page
    assert "src=" not in page.split("</head>")[0]
    assert "worker 1 (decode) ran" in page


@pytest.mark.parametrize("num", [3, 60])
def test_the_head_has_room(num: int):
    simulation, cluster = run(num)
    figure = with_head(timeline(simulation.records, cluster.history))
    layout = figure.layout
    rows_px = layout.height - layout.margin.t - layout.margin.b
    legend_px = (layout.legend.y - 1) * rows_px
    assert legend_px == pytest.approx(60)
    assert legend_px + 25 < layout.margin.t - (1 - layout.title.y) * layout.height - 25, "below the title"
