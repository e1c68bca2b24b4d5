"""Pictures of queues, of tokens and of predictions: what is drawn is what was handed in."""

from __future__ import annotations

import math

import pytest

from course.figures import (
    Way,
    predicted_measured,
    predicted_measured_summary,
    queue_curves,
    queue_curves_summary,
    token_rows,
    token_rows_summary,
)

WAYS = [
    Way("one", [0.1, 0.2, math.inf], [(1.0, 0.21)], [0.1, 0.3, 0.2]),
    Way("two", [0.08, 0.1, 0.3], [(1.5, 0.11)], []),
]


def test_curves_end_where_the_queue_has_no_end() -> None:
    figure = queue_curves([0.0, 1.0, 2.0], WAYS, 1.0, (1.2, 0.15))
    curve, dots, other = figure.data[:3]
    assert list(curve.x) == [0.0, 1.0]
    assert list(curve.y) == [100.0, 200.0]
    assert (dots.x[0], dots.y[0]) == (1.0, 210.0)
    assert list(other.y) == [80.0, 100.0, 300.0]
    one, none = figure.data[4:]
    assert list(one.x) == [100.0, 200.0, 300.0]
    assert one.y[-1] == 1.0
    assert list(none.x) == []
    assert [note.text for note in figure.layout.annotations] == ["1/s", "they cross"]


def test_curves_in_words() -> None:
    assert queue_curves_summary([0.0, 1.0, 2.0], WAYS, 1.0, (1.2, 0.15)) == (
        "At 1 requests per second: one: mean TTFT 200 ms, P90 280 ms; two: a queue without end. "
        "The formulas of two GPUs cross at 1.2 per second."
    )


def test_a_row_for_each_request_and_a_panel_for_each_run() -> None:
    runs = {"yours": [[1.0, 2.0], []], "the other": [[1.0], [3.0]]}
    figure = token_rows(runs, [0.0, 0.5])
    first, later = figure.data[2], figure.data[3]
    assert (list(first.x), list(first.y)) == ([1.0], [0])
    assert (list(later.x), list(later.y)) == ([2.0], [0])
    assert list(figure.data[6].x) == [1.0, 3.0]
    assert [note.text for note in figure.layout.annotations] == ["yours", "the other"]
    assert token_rows_summary(runs, [0.0, 0.5]) == (
        "yours: 2 tokens for 2 requests, the last at 2 s; the other: 2 tokens for 2 requests, the last at 3 s"
    )


def test_a_perfect_prediction_lies_on_the_diagonal() -> None:
    groups = {"TTFT": [(0.1, 0.1), (0.3, 0.2)], "TPOT": [(0.01, 0.02)]}
    figure = predicted_measured(groups)
    points, errors = figure.data[2], figure.data[3]
    assert list(points.x) == [100.0, 200.0]
    assert list(points.y) == [100.0, 300.0]
    assert list(errors.y) == pytest.approx([0.0, 0.5])
    assert predicted_measured_summary(groups) == (
        "TTFT: median 200 ms predicted, 150 ms measured; off by 25% (median), 45% (P90).\n"
        "TPOT: median 10 ms predicted, 20 ms measured; off by 50% (median), 50% (P90)."
    )
