"""The benchmark compares what it says: all answers, of both."""

from __future__ import annotations

from course.simulator.benchmark import bench as module
from course.simulator.benchmark.bench import SAME_S, bench, lines


def test_both_give_the_same_answers():
    row = bench(150, repeats=2)
    assert (row.num_requests, row.num_events > 300) == (150, True)
    assert row.largest_difference_s < 1e-9
    assert row.num_different == 0
    header, line = lines(iter([row]))
    assert "plain loop s" in header
    assert line.endswith("equal")


def test_a_difference_is_seen(monkeypatch):
    play = module.play
    monkeypatch.setattr(module, "play", lambda *args: [play(*args)[0]._replace(tpot_s=1.0), *play(*args)[1:]])
    row = bench(20)
    assert row.largest_difference_s > SAME_S
    assert f"{row.num_different:,} differ, by up to" in list(lines(iter([row])))[1]
