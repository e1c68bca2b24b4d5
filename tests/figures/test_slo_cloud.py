"""The cloud of requests: each has its kind, and what is said adds up."""

from __future__ import annotations

from course.figures import Cloud, Curve, slo_cloud, slo_cloud_summary
from course.workload.slo import SLO

SLO_ = SLO(1.0, 0.05, attainment=0.9)
CLOUD = Cloud(4.0, (0.5, 1.0, 2.0, 0.1, 3.0), (0.04, 0.05, 0.04, 0.06, 0.06), num_failed=0)
CURVE = Curve((1.0, 2.0), (1.0, 0.9), (1.0, 0.8), (1.0, 0.7), goodput=1.25)


def test_each_request_is_one_of_four_kinds_and_the_limit_itself_is_kept() -> None:
    dots = slo_cloud(CLOUD, SLO_, CURVE).data[:4]
    assert [list(trace.x) for trace in dots] == [[500, 1000], [2000], [100], [3000]]
    assert [list(trace.y) for trace in dots] == [[40, 50], [40], [60], [60]]


def test_the_corner_and_the_goodput_are_marked() -> None:
    figure = slo_cloud(CLOUD, SLO_, CURVE)
    corner = figure.layout.shapes[0]
    assert (corner.x1, corner.y1) == (1000, 50)
    assert any(note.text == "goodput 1.25" for note in figure.layout.annotations)
    none = slo_cloud(CLOUD, SLO_, Curve((1.0,), (0.0,), (0.0,), (0.0,), goodput=0.0))
    assert not any("goodput" in note.text for note in none.layout.annotations)


def test_the_summary_says_who_misses_what() -> None:
    said = slo_cloud_summary(CLOUD, SLO_, CURVE)
    assert said == (
        "At 4 requests/s 40% keep both limits (20% miss TTFT, 20% miss TPOT, 20% miss both). "
        "Goodput: 1.25 requests/s with 90% within the limits."
    )
    assert slo_cloud_summary(Cloud(1.0, (0.5,), (0.01,), num_failed=1), SLO_, CURVE).startswith("At 1 requests/s 50%")


def test_of_requests_that_cover_each_other_one_is_drawn_and_each_kind_keeps_its_own() -> None:
    crowd = Cloud(4.0, (0.5, 0.5001, 0.9999, 1.0001), (0.04, 0.04, 0.04, 0.04))
    good, late, *_ = slo_cloud(crowd, SLO_, CURVE).data
    assert (list(good.x), list(late.x)) == ([500, 999.9], [1000.1])
    assert slo_cloud_summary(crowd, SLO_, CURVE).startswith("At 4 requests/s 75% keep both limits")
