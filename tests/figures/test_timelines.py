"""Several runs below one another on one time axis."""

from __future__ import annotations

from course.figures import WatchedCluster, timeline, timelines, timelines_summary
from course.serving.instance import Instance
from course.serving.schedulers import make_scheduler
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request, Workload


def run(policy: str):
    watched = WatchedCluster([Instance(make_scheduler(policy, max_num_sequences=2), 64)])
    requests = [Request(i, 0.0, 4, 2 + i) for i in range(3)]
    recorder = VirtualDriver(watched, LinearCost()).run(Workload(requests, {i: 2 + i for i in range(3)}))
    return recorder.records, watched.history


def test_every_bar_of_each_run_is_there_below_those_of_the_one_before() -> None:
    runs = {"static": run("static"), "orca": run("orca")}
    both = timelines(runs)
    for kind in range(4):
        first, second = (timeline(*each).data[kind] for each in runs.values())
        drawn = both.data[kind]
        assert list(drawn.base) == [*first.base, *second.base]
        assert list(drawn.x) == [*first.x, *second.x]
        assert list(drawn.y)[: len(first.y)] == list(first.y)
        assert not len(second.y) or min(list(drawn.y)[len(first.y) :]) > 1.9 + 2
    labels = list(both.layout.yaxis.ticktext)
    assert sorted(labels) == sorted(["static", "orca", *[f"request {i}" for i in range(3)] * 2])


def test_the_summary_names_each_run() -> None:
    said = timelines_summary({"static": run("static"), "orca": run("orca")})
    assert said.startswith("static: 3 requests in ")
    assert "\norca: 3 requests in " in said
