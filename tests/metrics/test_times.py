"""Token times that are worked out when asked for are those that were meant, to the bit."""

from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.metrics.pooled import TokenPool
from course.metrics.record import Outcome, RequestRecord
from course.metrics.steps import StepLog
from course.metrics.times import TokenTimes

seconds = st.floats(1e-4, 10.0)
runs = st.lists(st.tuples(seconds, st.floats(0, 1e-3), st.integers(0, 5), st.floats(0, 1.0)), max_size=8)


class Line(NamedTuple):
    origin_s: float
    first_s: float
    growth_s: float


def played(plan):
    """A log, and the same times one by one."""
    log, times_s, now_s = StepLog(), [], 0.0
    for first_s, growth_s, num_steps, pause_s in plan:
        line = Line(now_s + pause_s, first_s, growth_s)
        for k in range(1, num_steps + 1):
            now_s = line.origin_s + k * first_s + (k * (k - 1) // 2) * growth_s
            times_s.append(now_s)
        half = num_steps // 2
        for start, count in ((1, half), (half + 1, num_steps - half)):
            if count:
                log.add(line, start, count)
    return log, times_s


@given(runs, st.data())
def test_a_log_gives_the_times_of_its_steps(plan, data):
    log, times_s = played(plan)
    assert log.num_steps == len(times_s)
    assert log.all_times_s().tolist() == times_s
    assert [log.time_s(step) for step in range(1, len(times_s) + 1)] == times_s
    start = data.draw(st.integers(0, len(times_s)))
    stop = data.draw(st.integers(start, len(times_s)))
    assert log.times_s(start + 1, stop) == times_s[start:stop]


def test_a_log_without_steps():
    assert StepLog().all_times_s().tolist() == []


def test_an_answer_follows_the_steps_of_its_instance():
    log, times_s = StepLog(), TokenTimes()
    times_s.append(0.5)
    log.add(Line(1.0, 0.25, 0.0), 1, 2)
    times_s.follow(log)
    assert times_s == [0.5], "steps before it joined are not its own"
    line = Line(2.0, 0.5, 0.0)
    log.add(line, 1, 2)
    assert times_s == [0.5, 2.5, 3.0], "what came out can be read while it decodes"
    log.add(line, 3, 5)
    times_s.stop(5)
    assert times_s == [0.5, 2.5, 3.0, 3.5, 4.0]
    assert (times_s[0], times_s[-1], len(times_s)) == (0.5, 4.0, 5)


@st.composite
def answers(draw):
    """Answers on two logs, as token times and as plain lists; a prompt's token now and then."""
    plans = [draw(runs) for _ in range(2)]
    pairs = []
    whole = [played(plan) for plan in plans]
    for _ in range(draw(st.integers(0, 6))):
        lazy, plain = TokenTimes(), []
        for _ in range(draw(st.integers(0, 4))):
            log, times_s = draw(st.sampled_from(whole))
            start = draw(st.integers(0, len(times_s)))
            stop = draw(st.integers(start, len(times_s)))
            lazy._open = (log, start)  # as if it had followed the log from there
            plain += times_s[start:stop]
            lazy.stop(len(plain))
            if draw(st.booleans()):
                plain.append(draw(seconds))
                lazy.append(plain[-1])
        pairs.append((lazy, plain))
    return pairs


@given(answers())
def test_token_times_read_like_a_list(pairs):
    for lazy, plain in pairs:
        assert len(lazy) == len(plain)
        assert lazy == plain
        assert plain == lazy
        assert list(lazy) == plain
        assert [lazy[i] for i in range(len(plain))] == plain
        assert [lazy[-1 - i] for i in range(len(plain))] == plain[::-1]
        assert lazy[-1:] == plain[-1:]
        assert lazy[1:3] == plain[1:3]
        assert np.diff(lazy).tolist() == np.diff(plain).tolist()
        assert repr(lazy) == repr(plain)
        assert lazy != [*plain, 1.0]
        with pytest.raises(IndexError):
            lazy[len(plain)]


@given(answers())
def test_what_is_pooled_is_what_the_lists_hold(pairs):
    lazy = [RequestRecord(0.0, 1, times, Outcome.FINISHED) for times, _ in pairs]
    tokens = TokenPool(lazy)
    gaps, times = tokens.gaps(), tokens.times()
    all_times = sorted(time_s for _, plain in pairs for time_s in plain)
    all_gaps = sorted(b - a for _, plain in pairs for a, b in pairwise(plain))
    assert sorted(np.repeat(times.values, times.counts).tolist()) == all_times
    assert sorted(np.repeat(gaps.values, gaps.counts).tolist()) == all_gaps
    assert len(gaps) == len(all_gaps)
    if all_gaps:
        assert gaps.mean == pytest.approx(np.mean(all_gaps), abs=1e-12)
        assert gaps.std == pytest.approx(np.std(all_gaps), abs=1e-9)
        for percent in (0, 37.5, 50, 90, 99, 100):
            assert gaps.percentile(percent) == pytest.approx(np.percentile(all_gaps, percent), abs=1e-12)


def test_plain_lists_are_pooled_too():
    one = RequestRecord(0.0, 1, [1.0, 2.0, 4.0], Outcome.FINISHED)
    log, other = StepLog(), TokenTimes()
    other.follow(log)
    log.add(Line(0.0, 1.0, 0.0), 1, 3)
    gaps = TokenPool([one, RequestRecord(0.0, 1, other, Outcome.FINISHED)]).gaps()
    assert sorted(np.repeat(gaps.values, gaps.counts).tolist()) == [1.0, 1.0, 1.0, 2.0]
    assert list(accumulate(gaps.counts.tolist()))[-1] == 4
