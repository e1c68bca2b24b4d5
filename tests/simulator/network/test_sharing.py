"""Max-min rates, held against their definition."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.simulator.network.sharing import max_min_rates

CAPACITY = {"a": 12.0, "b": 3.0, "c": 7.0, "d": 100.0}
paths = st.lists(st.sets(st.sampled_from("abcd"), min_size=1, max_size=3).map(sorted).map(tuple), max_size=12).map(
    lambda drawn: dict(enumerate(drawn))
)


def load(rates, ports_of, port):
    return sum(rate for flow, rate in rates.items() if port in ports_of[flow])


@given(paths)
@settings(max_examples=300, deadline=None)
def test_every_flow_has_a_full_port_where_nobody_has_more(ports_of):
    """The bottleneck condition: it holds for max-min fair rates and for no others."""
    rates = max_min_rates(ports_of, CAPACITY)
    assert rates.keys() == ports_of.keys()
    for port, capacity in CAPACITY.items():
        assert load(rates, ports_of, port) <= capacity * (1 + 1e-12)
    for flow, rate in rates.items():
        assert any(
            load(rates, ports_of, port) >= CAPACITY[port] * (1 - 1e-12)
            and all(rates[other] <= rate * (1 + 1e-12) for other in rates if port in ports_of[other])
            for port in ports_of[flow]
        )


@given(paths, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_flows_plays_no_role(ports_of, random):
    shuffled = list(ports_of.items())
    random.shuffle(shuffled)
    assert max_min_rates(dict(shuffled), CAPACITY) == pytest.approx(max_min_rates(ports_of, CAPACITY))


def test_by_hand():
    """Two share b; what the second of them leaves of a goes to the third."""
    assert max_min_rates({1: ("b",), 2: ("a", "b"), 3: ("a",)}, CAPACITY) == {1: 1.5, 2: 1.5, 3: 10.5}
    assert max_min_rates({}, CAPACITY) == {}
