"""The roofline: every dot stands where its work and its time put it, and never above the roof if it is at its best."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.figures import Dot, Roof, phases_under_roof, phases_under_roof_summary, roofline, roofline_summary

A100 = Roof("A100", 312e12, 2039e9)
work = st.floats(1e6, 1e15)


@given(work, work, work, work)
def test_at_best_an_operator_lies_on_the_roof(flops: float, num_bytes: float, flops_s: float, bytes_s: float) -> None:
    roof = Roof("a machine", flops_s, bytes_s)
    seconds = roof.seconds(flops, num_bytes)
    assert flops / seconds == pytest.approx(roof.at(flops / num_bytes))
    assert seconds >= flops / flops_s
    assert seconds >= num_bytes / bytes_s


def test_the_two_sides_meet_at_the_ridge() -> None:
    assert A100.ridge == pytest.approx(153, abs=0.1)
    assert A100.at(A100.ridge) == pytest.approx(A100.flops_s)
    assert A100.at(A100.ridge / 2) == pytest.approx(A100.flops_s / 2)
    assert A100.at(10 * A100.ridge) == A100.flops_s


def test_a_measured_dot_stands_where_its_time_puts_it() -> None:
    dots = [Dot("slow", "decode", 2e12, 1e12, seconds=4.0), Dot("at best", "decode", 2e12, 1e12)]
    figure = roofline(A100, dots)
    line, drawn = figure.data
    assert list(drawn.x) == [2.0, 2.0]
    assert list(drawn.y) == [5e11, pytest.approx(2 * 2039e9, rel=1e-3)]
    assert line.y[-1] == A100.flops_s
    low, high = figure.layout.xaxis.range
    assert 10**low < 2 < 10**high
    assert 10 ** figure.layout.yaxis.range[0] < 5e11
    assert roofline_summary(A100, dots[:1]) == ("The ridge is at 153 FLOPs per byte. Of the peak is used: slow 0%.")


def test_the_bars_of_a_phase_fill_it_and_are_hatched_where_memory_decides() -> None:
    phases = {
        "prefill": [Dot("up", "prefill", 312e12, 2039e9 / 2), Dot("attention", "prefill", 312e12, 2039e9 * 2)],
        "decode": [Dot("up", "decode", 1e9, 1e9), Dot("attention", "decode", 1e9, 3e9)],
    }
    figure = phases_under_roof(A100, phases)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert [(bar.x[0], bar.y[0], bool(bar.marker.pattern.shape)) for bar in bars] == [
        (0, pytest.approx(1 / 3, abs=1e-3), False),
        (0, pytest.approx(2 / 3, abs=1e-3), True),
        (1, 0.25, True),
        (1, 0.75, True),
    ]
    assert [note.text for note in figure.layout.annotations] == ["ridge: 153", "attention", "attention"]
    assert list(figure.layout.xaxis2.ticktext) == ["TTFT<br>3,000 ms", "TPOT<br>2 ms"]
    assert phases_under_roof_summary(A100, phases) == (
        "TTFT 3,000 ms: 67% waits for memory, 66.7% of the peak is used. "
        "TPOT 2 ms: 100% waits for memory, 0.3% of the peak is used. The ridge is at 153 FLOPs per byte."
    )
