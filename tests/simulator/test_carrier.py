"""Transfers over a network, within a run: times by hand, faults, and runs of many steps against single steps."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from course.metrics.record import Recorder
from course.serving.cluster import Cluster
from course.simulator.linear import LinearCost
from course.simulator.links import Link
from course.simulator.network import Fabric, Faults, LayerWise, Network, Outcome, Place
from course.simulator.virtual import VirtualDriver
from course.workload.request import Workload
from tests.serving.helpers import assert_all_served, assert_empty, instance, request, workload
from tests.serving.strategies import BLOCK, policies, workloads
from tests.simulator.test_macro_steps import COSTS, GRID

COST = LinearCost(step_s=1.0, token_s=0.25, context_token_s=0.0)
LINK = Link(name="test", bandwidth_bytes_s=64.0, latency_s=0.5)  # a block of 4 tokens of 8 bytes takes 0.5 s


def split(num_decode: int = 1) -> list[Any]:
    return [instance(id=0, role="prefill")] + [instance(id=1 + k, role="decode") for k in range(num_decode)]


def serve(instances: list[Any], network: Network, served: Workload, **fields: Any) -> tuple[VirtualDriver, Recorder]:
    cluster = Cluster(instances)
    driver = VirtualDriver(
        cluster,
        COST,
        network=network,
        kv_bytes_per_token=8,
        after_event=lambda now_s: cluster.check_integrity(),
        **fields,
    )
    return driver, driver.run(served)


def second_token_s(recorder: Recorder, request_id: int = 0) -> float:
    """From the first token to the second."""
    first_s, second_s, *_ = recorder.record(request_id).token_times_s
    return second_s - first_s


def test_a_move_takes_its_bytes_over_the_link_and_the_latency():
    network = Network(Fabric(LINK))
    driver, recorder = serve(split(), network, workload(request(0, 9, 3)))
    blocks = 3  # of 4 tokens, for a prompt of 9
    assert second_token_s(recorder) == blocks * 0.5 + 0.5 + 1.25
    assert network.num_bytes == blocks * 4 * 8
    assert_empty(driver.cluster)


def test_two_moves_share_the_port_of_their_source():
    _, recorder = serve(split(2), Network(Fabric(LINK)), workload(request(0, 4, 2), request(1, 4, 2)))
    assert second_token_s(recorder, 0) == second_token_s(recorder, 1) == 2 * 0.5 + 0.5 + 1.25


def test_across_nodes():
    slow = Link(name="slow", bandwidth_bytes_s=16.0)
    network = Network(Fabric(LINK, slow, {0: Place(0), 1: Place(1)}))
    _, recorder = serve(split(), network, workload(request(0, 4, 2)))
    assert second_token_s(recorder) == 2.0 + 1.25


def test_layers_sent_during_the_prefill():
    """A prefill of 3 s, a whole move of 1 s: of 4 layers the last is left, 0.25 s, and telling takes 0.125 s."""
    network = Network(Fabric(LINK), layerwise=LayerWise(num_layers=4, sync_s=0.125))
    _, recorder = serve(split(), network, workload(request(0, 8, 2)))
    assert second_token_s(recorder) == 0.25 + 0.125 + 0.5 + 1.25
    assert network.num_bytes == 8 * 8


def test_layers_of_a_prompt_in_chunks_are_sent_during_all_of_them():
    """3 layers of 8 and 4 chunks of 2 tokens in 1.5 s each; a whole move takes 2 s at half the bandwidth."""
    network = Network(Fabric(Link(name="half", bandwidth_bytes_s=32.0)), layerwise=LayerWise(8, sync_s=0.0))
    cluster = [instance("chunked-prefill", id=0, role="prefill"), instance(id=1, role="decode")]
    cluster[0].scheduler.token_budget = 2
    _, recorder = serve(cluster, network, workload(request(0, 8, 2)))
    assert recorder.record(0).token_times_s[0] == 6.0
    assert second_token_s(recorder) == 2.0 / 8 + 1.25


def test_who_waited_for_a_place_could_send_no_layers_early():
    decode = instance(num_blocks=4, id=1, role="decode")  # room for one answer at a time
    network = Network(Fabric(LINK), layerwise=LayerWise(num_layers=4, sync_s=0.0))
    served = workload(request(0, 8, 3), request(1, 8, 3))
    _, recorder = serve([instance(id=0, role="prefill"), decode], network, served)
    free_s = recorder.record(0).end_s
    assert recorder.record(1).token_times_s[1] == free_s + 1.0 + 0.5 + 1.25


def test_a_cancelled_request_leaves_the_link_and_gives_its_reservation_back():
    network = Network(Fabric(LINK))
    cluster = Cluster(split())
    driver = VirtualDriver(cluster, COST, network=network, kv_bytes_per_token=8)
    driver.at(3.5, cluster.on_cancel, 0)  # prefilled at 3 s, one block of two sent
    seen = []
    driver.after_event = lambda now_s: seen.append((now_s, cluster.instances[1].memory.pool.num_used_blocks))
    driver.run(workload(request(0, 8, 2)))
    assert dict(seen)[3.5] == 0
    assert network.num_bytes == 32
    assert_empty(cluster)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_refused_and_broken_transfers_lose_no_request(data):
    served = data.draw(workloads(max_requests=8))
    faults = Faults(
        refused=data.draw(st.floats(0, 0.4)),
        failed=data.draw(st.sampled_from([0.0, 0.2, 0.4])),
        seed=data.draw(st.integers(0, 9)),
    )
    network = Network(Fabric(LINK), faults=faults)
    driver, recorder = serve(split(2), network, served)
    assert_all_served(recorder, served)
    assert_empty(driver.cluster)
    assert network.num_under_way == 0
    if not faults.failed:  # after three broken copies it is computed anew, and may end right there
        assert network.num_ended[Outcome.DONE] >= sum(r.n for r in served.requests if served.output_lengths[r.id] > 1)


def networks(draw: Any) -> Any:
    """A function that makes the same network again and again."""
    bandwidth, latency_s = draw(st.sampled_from([3e4, 1e6])), draw(st.sampled_from([0.0, 2.0**-12]))
    within = Link(name="within", bandwidth_bytes_s=bandwidth, latency_s=latency_s)
    across = Link(name="across", bandwidth_bytes_s=bandwidth / 4)
    places = {id: Place(draw(st.integers(0, 1))) for id in range(4)}
    layerwise = draw(st.sampled_from([None, LayerWise(8, 2.0**-12)]))
    faults = draw(st.sampled_from([None, Faults(0.2, 0.3)]))
    return lambda: Network(Fabric(within, across, places), layerwise=layerwise, faults=faults)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_runs_of_many_steps_and_of_single_steps_agree_to_the_bit(data):
    served = data.draw(workloads(max_requests=8))
    sizes = [data.draw(st.integers(15, 40)) for _ in range(4)]
    names = ["prefill-first", "chunked-prefill", "chunked-prefill", "decode-first"]
    roles = ["prefill", "prefill", "decode", data.draw(st.sampled_from(["decode", "mixed"]))]
    chosen = [data.draw(policies(name)) for name in names]
    events = [(data.draw(GRID), "on_instance_lost", i) for i in data.draw(st.sets(st.integers(0, 3), max_size=2))]
    events += [(data.draw(GRID), "on_cancel", i) for i in data.draw(st.sets(st.integers(0, 7), max_size=3))]
    cost, make_network = data.draw(COSTS), networks(data.draw)

    def life(single_step: bool) -> list[Any]:
        parts = enumerate(zip(chosen, sizes, roles, strict=True))
        cluster = Cluster([instance(p, n, BLOCK, id=i, role=r) for i, (p, n, r) in parts])
        network = make_network()
        driver = VirtualDriver(cluster, cost, network=network, kv_bytes_per_token=64, single_step=single_step)
        driver.after_event = lambda now_s: cluster.check_integrity()
        for time_s, name, argument in events:
            driver.at(time_s, getattr(cluster, name), argument)
        records = driver.run(served).records
        assert network.num_under_way == 0
        lives = [
            (r.request_id, r.sample, r.outcome, list(r.token_times_s), r.end_s, r.num_preemptions) for r in records
        ]
        return [*lives, network.num_bytes, network.use()]

    assert life(single_step=True) == life(single_step=False)
