"""Every stage within one node, every GPU used at most once, segments side by side."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from course.simulator.placement.layout import lay_out_pairs, lay_out_singles, most_pairs
from course.simulator.placement.machines import Candidate, Machines, Parallelism

machines = st.builds(lambda nodes, each: Machines(nodes * each, each), st.integers(1, 4), st.sampled_from([1, 2, 4, 8]))
parallelisms = st.builds(Parallelism, st.sampled_from([1, 2, 3, 4, 8]), st.integers(1, 4))


def check(layout, machines, unit):
    """Each stage of each instance has tp GPUs, all of one node."""
    assert [len(node) for node in layout.nodes] == [machines.gpus_per_node] * machines.num_nodes
    homes = {}
    for number, node in enumerate(layout.nodes):
        for slot, count in Counter(slot for slot in node if slot).items():
            assert slot not in homes, f"{slot} stands in two nodes"
            homes[slot] = number
            assert count == getattr(unit, slot.role).tp
    for slot in homes:
        assert {s.stage for s in homes if s[:2] == slot[:2]} == set(range(getattr(unit, slot.role).pp))
    return homes


@given(machines, parallelisms, parallelisms, st.integers(1, 4), st.integers(1, 4))
def test_singles(machines, prefill, decode, num_prefill, num_decode):
    layout = lay_out_singles(machines, prefill, decode, num_prefill, num_decode)
    if layout is None:
        return
    check(layout, machines, Candidate(prefill, decode))
    assert (layout.count("prefill"), layout.count("decode")) == (num_prefill, num_decode)
    used = num_prefill * prefill.num_gpus + num_decode * decode.num_gpus
    assert layout.num_idle == machines.num_gpus - used


@given(machines, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
def test_pairs(machines, tp_p, tp_d, pp_p, pp_d, segments):
    unit = Candidate(Parallelism(tp_p, pp_p * segments), Parallelism(tp_d, pp_d * segments), segments)
    if tp_p * pp_p + tp_d * pp_d > machines.gpus_per_node or segments > machines.num_nodes:
        return
    most = most_pairs(machines, unit)
    assert most >= 1
    assert lay_out_pairs(machines, unit, most + 1) is None
    layout = lay_out_pairs(machines, unit, most)
    homes = check(layout, machines, unit)
    assert layout.count("prefill") == layout.count("decode") == most
    for slot, node in homes.items():  # equal shares of the layers stand in one node
        share = slot.stage * segments // slot.num_stages
        first = homes[next(s for s in homes if s.instance == slot.instance and s.stage == 0)]
        assert node == first + share


def test_the_drawing():
    layout = lay_out_singles(Machines(8, 4), Parallelism(2, 2), Parallelism(1, 1), 1, 2)
    assert str(layout).splitlines() == [
        "node 0  [ P0.0 | P0.0 | P0.1 | P0.1 ]",
        "node 1  [  D0  |  D1  |  -   |  -   ]",
    ]
