"""Transfers in time: nothing is lost, nothing is faster than its link, nobody's look changes anything."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.errors import UserError
from course.simulator.links import Link
from course.simulator.network import Ended, Fabric, Faults, LayerWise, Network, Outcome, Place

FAST = Link(name="fast", bandwidth_bytes_s=100.0, latency_s=0.5)
SLOW = Link(name="slow", bandwidth_bytes_s=10.0, latency_s=2.0)
PLAIN = Link(name="plain", bandwidth_bytes_s=100.0)
TWO_NODES = Fabric(FAST, SLOW, {0: Place(0), 1: Place(0), 2: Place(0), 3: Place(1), 4: Place(1, 2)})


class Sent(NamedTuple):
    start_s: float
    source: int
    target: int
    num_bytes: float
    cancel_s: float | None = None


def serve(network, sent, looks=(), order=None):
    """Start all transfers at their times, cancel some, look in at ``looks``; when each ended and how."""
    calls = [(each.start_s, 1, k, "start") for k, each in enumerate(sent)]
    calls += [(each.cancel_s, 2, k, "cancel") for k, each in enumerate(sent) if each.cancel_s is not None]
    calls += [(time_s, 0, 0, "look") for time_s in looks]
    ended = {}

    def finish(now_s):
        for number, outcome in network.finish(now_s):
            assert number not in ended
            ended[number] = (now_s, outcome)

    def run_to(time_s):
        while network.next_event_s() <= time_s and network.next_event_s() < math.inf:
            finish(network.next_event_s())

    for time_s, _, number, what in sorted(calls, key=lambda call: (call[:2], (order or {}).get(call[2], call[2]))):
        run_to(time_s)
        if what == "start":
            each = sent[number]
            network.start(number, each.source, each.target, each.num_bytes, time_s)
        elif what == "cancel":
            network.cancel(number, time_s)
        else:
            finish(time_s)
            assert all(0 <= network.share_done(k, time_s) <= 1 for k in range(len(sent)))
    run_to(math.inf)
    assert network.num_under_way == 0
    return ended


times = st.sampled_from([0.0, 1.0, 2.5]) | st.floats(0, 20)
ways = st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(lambda way: way[0] != way[1])


@st.composite
def transfers(draw, cancels=False):
    sent = []
    for _ in range(draw(st.integers(1, 10))):
        start_s, (source, target) = draw(times), draw(ways)
        cancel_s = start_s + draw(times) if cancels and draw(st.booleans()) else None
        sent.append(Sent(start_s, source, target, draw(st.sampled_from([0.0, 50.0]) | st.floats(0, 500)), cancel_s))
    return sent


@given(transfers())
@settings(max_examples=200, deadline=None)
def test_every_byte_arrives_and_none_is_faster_than_its_link(sent):
    network = Network(TWO_NODES)
    ended = serve(network, sent)
    assert ended.keys() == set(range(len(sent)))
    for number, (end_s, outcome) in ended.items():
        each, path = sent[number], TWO_NODES.path(sent[number].source, sent[number].target)
        alone_s = path.latency_s + each.num_bytes / path.bandwidth_bytes_s
        assert outcome is Outcome.DONE
        assert end_s - each.start_s >= alone_s * (1 - 1e-12) - 1e-12
    assert network.num_bytes == pytest.approx(sum(each.num_bytes for each in sent))
    for use in network.use():
        assert use.num_bytes <= use.bandwidth_bytes_s * use.busy_s * (1 + 1e-9) + 1e-9
    for direction in ("out", "in"):
        passed = sum(use.num_bytes for use in network.use() if use.name.endswith(direction))
        assert passed == pytest.approx(network.num_bytes)


@given(transfers(cancels=True), st.lists(times, max_size=12))
@settings(max_examples=200, deadline=None)
def test_looking_changes_nothing(sent, looks):
    """To the bit: the times of the driver's events must not depend on how often it looks in."""
    assert serve(Network(TWO_NODES), sent, looks) == serve(Network(TWO_NODES), sent)


@given(transfers(), st.permutations(range(10)))
@settings(max_examples=100, deadline=None)
def test_the_order_of_one_instant_plays_no_role(sent, order):
    straight = serve(Network(TWO_NODES), sent)
    shuffled = serve(Network(TWO_NODES), sent, order=dict(enumerate(order)))
    assert {k: v[0] for k, v in shuffled.items()} == pytest.approx({k: v[0] for k, v in straight.items()})


@given(transfers(cancels=True))
@settings(max_examples=200, deadline=None)
def test_what_is_cancelled_never_ends_and_holds_nobody_up(sent):
    network = Network(TWO_NODES)
    ended = serve(network, sent)
    for number, each in enumerate(sent):
        if each.cancel_s is None:
            assert number in ended
        elif number in ended:
            assert ended[number][0] <= each.cancel_s
    kept = sum(sent[number].num_bytes for number in ended)
    assert kept * (1 - 1e-9) <= network.num_bytes <= sum(each.num_bytes for each in sent) * (1 + 1e-9)


def test_a_cancelled_transfer_leaves_its_share_to_the_other():
    sent = [Sent(0.0, 0, 1, 100.0), Sent(0.0, 0, 2, 100.0, cancel_s=1.0)]
    network = Network(Fabric(PLAIN))
    assert serve(network, sent) == {0: (1.5, Outcome.DONE)}, "half of it at half speed, then alone"
    assert network.num_bytes == 150.0
    assert [use.busy_s for use in network.use()] == [1.5, 1.5, 1.0]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 500)), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_one_port_shared_equally_is_processor_sharing(drawn):
    """Against exact fractions: all flows of a port move at the same speed, so it is an egalitarian queue."""
    sent = [Sent(float(start), 0, 1 + k % 2, float(size)) for k, (start, size) in enumerate(drawn)]
    network = Network(Fabric(PLAIN))
    ended = serve(network, sent)
    left = {k: Fraction(size) for k, (_, size) in enumerate(drawn)}
    starts = sorted((Fraction(start), k) for k, (start, _) in enumerate(drawn))
    now, active, expected = Fraction(0), set(), {}
    while starts or active:
        done = min((now + left[k] * len(active) / 100 for k in active), default=None)
        then = starts[0][0] if starts and (done is None or starts[0][0] < done) else done
        for k in active:
            left[k] -= (then - now) * 100 / len(active)
        now = then
        for k in [k for k in active if left[k] == 0]:
            active.remove(k)
            expected[k] = float(now)
        while starts and starts[0][0] == now:
            active.add(starts.pop(0)[1])
    assert {k: end_s for k, (end_s, _) in ended.items()} == pytest.approx(expected)


def test_the_links_of_a_transfer():
    assert TWO_NODES.path(0, 1).bandwidth_bytes_s == 100
    assert TWO_NODES.path(4, 3).bandwidth_bytes_s == 100, "the one with two accelerators waits for the other"
    assert TWO_NODES.path(0, 4).bandwidth_bytes_s == 10, "one card for the node"
    assert Fabric(FAST, SLOW, {0: Place(0, 4), 1: Place(1, 2)}, card_per_gpu=True).path(0, 1).bandwidth_bytes_s == 20
    names = [port.name for port in TWO_NODES.path(0, 3).ports]
    assert names == ["node 0 out", "node 1 in"]
    assert TWO_NODES.path(0, 3).latency_s == 2.0
    with pytest.raises(UserError, match="instances 0 and 3 stand on nodes 0 and 1, and no link connects nodes; name"):
        Fabric(FAST, None, TWO_NODES.places).path(0, 3)


def test_a_node_shares_its_card_and_the_other_direction_is_free():
    sent = [Sent(0.0, 0, 3, 100.0), Sent(0.0, 1, 4, 100.0), Sent(0.0, 3, 2, 100.0)]
    ended = serve(Network(TWO_NODES), sent)
    assert ended == {0: (22.0, Outcome.DONE), 1: (22.0, Outcome.DONE), 2: (12.0, Outcome.DONE)}


def test_what_a_held_up_transfer_leaves_goes_to_the_other():
    """Max-min, not an equal split of each port: 0 -> 1 is held up by the port of 1, so 0 -> 2 gets the rest."""
    sent = [Sent(0.0, 0, 1, 90.0), Sent(0.0, 3, 1, 90.0), Sent(0.0, 4, 1, 90.0), Sent(0.0, 0, 2, 100.0)]
    ended = serve(Network(Fabric(PLAIN)), sent)
    assert ended[3][0] == pytest.approx(1.5), "100 bytes at 200 / 3 a second"
    assert ended[0][0] == pytest.approx(2.7), "90 bytes at 100 / 3"


def test_a_broken_transfer_uses_the_link_and_a_refused_one_does_not():
    sent = [Sent(0.0, 0, 1, 100.0)] * 1000
    faults = Faults(refused=0.2, failed=0.3, seed=1)
    network = Network(Fabric(FAST), faults=faults)
    ended = serve(network, sent)
    counts = {outcome: sum(o is outcome for _, o in ended.values()) for outcome in Outcome}
    assert counts == dict(network.num_ended)
    assert counts[Outcome.REFUSED] == pytest.approx(200, abs=60)
    assert counts[Outcome.FAILED] == pytest.approx(300, abs=60)
    assert all(end_s == 1.0 for end_s, outcome in ended.values() if outcome is Outcome.REFUSED), "there and back"
    assert network.num_bytes == pytest.approx(100 * counts[Outcome.DONE] + 50 * counts[Outcome.FAILED], rel=0.03)
    assert [faults.of(k) for k in range(20)] == [Faults(0.2, 0.3, 1).of(k) for k in range(20)]
    assert [faults.of(k) for k in range(20)] != [Faults(0.2, 0.3, 2).of(k) for k in range(20)]


def test_layers_sent_during_the_prefill():
    layerwise = LayerWise(num_layers=10, sync_s=0.25)

    def visible_s(num_bytes, prefill_s):
        network = Network(Fabric(PLAIN), layerwise=layerwise)
        network.start(0, 0, 1, num_bytes, 5.0, prefill_s=prefill_s)
        ended = []
        while not ended:
            now_s = network.next_event_s()
            ended = network.finish(now_s)
        assert ended == [Ended(0, Outcome.DONE)]
        assert network.num_bytes == pytest.approx(num_bytes), "early layers count"
        return now_s - 5.0

    assert visible_s(1000.0, 20.0) == pytest.approx(1.0 + 0.25), "the last of ten layers"
    assert visible_s(1000.0, 6.0) == pytest.approx(10.0 - 5.4 + 0.25), "the link is slower than the prefill"
    assert visible_s(10.0, 20.0) == pytest.approx(0.1), "not worth it: sent in one piece"
    assert visible_s(1000.0, 0.0) == pytest.approx(10.0), "nothing could be sent before"


@given(st.floats(1, 1e9), st.floats(0, 100), st.integers(1, 96), st.floats(0, 0.1))
@settings(max_examples=200, deadline=None)
def test_layer_wise_is_one_layer_after_the_other_and_never_slower(num_bytes, prefill_s, num_layers, sync_s):
    bandwidth = 1e6
    left, extra_s = LayerWise(num_layers, sync_s).visible(num_bytes, bandwidth, prefill_s)
    whole_s = num_bytes / bandwidth
    free_s = 0.0  # when the link has sent what was computed so far
    for layer in range(1, num_layers + 1):
        free_s = max(free_s, layer * prefill_s / num_layers) + whole_s / num_layers
    layered_s = free_s - prefill_s + sync_s
    assert left / bandwidth + extra_s == pytest.approx(min(whole_s, layered_s), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: LayerWise(0),
            "layer-wise transfer needs at least 1 layer and sync_s of at least 0 s, got 0 and 0.005",
        ),
        (lambda: LayerWise(4, -1.0), "layer-wise transfer needs at least 1 layer and sync_s of at least 0 s"),
        (lambda: Faults(refused=0.5, failed=0.5), "refused and failed are shares of the transfers, together below 1"),
        (lambda: Faults(failed=-0.1), "refused and failed are shares of the transfers, together below 1"),
    ],
)
def test_refuses_with_a_sentence(call, sentence):
    with pytest.raises(UserError) as caught:
        call()
    assert str(caught.value).startswith(sentence)


def test_numbers_differ():
    network = Network(Fabric(PLAIN))
    network.start(7, 0, 1, 5.0, 0.0)
    with pytest.raises(UserError, match="transfer 7 is under way already; numbers must differ"):
        network.start(7, 0, 1, 5.0, 0.0)
    assert network.cancel(7, 0.01)
    assert not network.cancel(7, 0.01)
    assert network.next_event_s() == math.inf
