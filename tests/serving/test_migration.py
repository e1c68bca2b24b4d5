"""Sequences that move while they decode."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as List
from copy import deepcopy
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.errors import UserError
from course.metrics.record import Outcome, Recorder
from course.serving.actions import StartTransfer, Transfer
from course.serving.chance import draw
from course.serving.cluster import Cluster
from course.serving.estimator import LinearEstimator
from course.serving.instance import Instance
from course.serving.mover import Move, Mover
from course.serving.routers import Llumnix, RoundRobin, SplitwisePools, TaiChi
from course.serving.sequence import Sequence
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request, Workload
from tests.serving.helpers import assert_all_served, assert_empty, checking_driver, instance, request, workload
from tests.serving.strategies import BLOCK, policies, workloads

GRID = st.integers(0, 400).map(lambda k: k * 2.0**-12)


class Told(RoundRobin, Mover):
    """Everybody starts on instance 0; moves are told by the test."""

    def __init__(self, *moves: tuple[int, int], live: bool = True, interval_s: float = 0.02) -> None:
        super().__init__()
        self.moves = list(moves)  # (request id, instance id), one at a time
        self.live = live
        self.interval_s = interval_s
        self.asked = 0

    def choose(self, candidates, sequence, now_s):
        return candidates[0]

    def rebalance(self, instances: List[Instance], now_s: float) -> Iterator[Move]:
        self.asked += 1
        for request_id, target in self.moves[:1]:
            for s in [s for i in instances for s in i.decoding if s.request.id == request_id]:
                self.moves.pop(0)
                yield Move(s, instances[target], self.live)


class Aimless(RoundRobin, Mover):
    """Moves anybody anywhere, now and then."""

    def __init__(self, seed: int, interval_s: float) -> None:
        super().__init__()
        self.seed = seed
        self.interval_s = interval_s
        self._asked = 0

    def after_prefill(self, sequence: Sequence, home: Instance, instances: List[Instance], now_s: float):
        return [*instances, None][draw(len(instances) + 1, self.seed, *sequence.id)]

    def rebalance(self, instances: List[Instance], now_s: float) -> Iterator[Move]:
        self._asked += 1
        for home in instances:
            for sequence in list(home.decoding):
                chance = draw(2 * len(instances), self.seed, self._asked, *sequence.id)
                if chance < len(instances):
                    yield Move(sequence, instances[chance], live=bool(draw(2, self.seed, self._asked)))


def two(mover: object, num_blocks: int = 64, **fields: object) -> Cluster:
    cluster = Cluster([instance(num_blocks=num_blocks, id=i, **fields) for i in range(2)], mover)
    cluster.migrations.LAST_STAGE_BLOCKS = 1
    return cluster


def transfers_of(driver: VirtualDriver) -> list[Transfer]:
    """The transfers that will be started, as they come."""
    seen: list[Transfer] = []
    carry = driver._carry[StartTransfer]

    def note(action: StartTransfer, now_s: float) -> None:
        seen.append(action.transfer)
        carry(action, now_s)

    driver._carry[StartTransfer] = note
    return seen


def test_a_live_move_copies_in_stages_and_loses_no_token():
    cluster = two(Told((0, 1)))
    driver = checking_driver(cluster, transfer_s_per_block=2e-3)
    stages = transfers_of(driver)
    served = workload(request(0, 16, 80))
    recorder = driver.run(served)
    assert_all_served(recorder, served)
    assert_empty(cluster)
    assert [t.num_blocks for t in stages] == [5, 2, 1], "5 full blocks; 2 more meanwhile; then the last"
    assert {t.target.id for t in stages} == {1}
    gaps = gaps_of(recorder, 0)
    assert max(gaps) < 2e-3 * 1 + 2 * 2.2e-3, "it stood still for the last block only"


def test_a_move_that_is_not_live_stops_for_the_whole_copy():
    cluster = two(Told((0, 1), live=False))
    driver = checking_driver(cluster, transfer_s_per_block=2e-3)
    stages = transfers_of(driver)
    recorder = driver.run(workload(request(0, 16, 80)))
    assert [t.num_blocks for t in stages] == [6]
    assert max(gaps_of(recorder, 0)) > 6 * 2e-3


def gaps_of(recorder: Recorder, request_id: int) -> list[float]:
    times_s = list(recorder.record(request_id).token_times_s)
    return [b - a for a, b in pairwise(times_s)]


def test_a_link_that_is_slower_than_the_answer_grows_ends_the_move():
    cluster = two(Told((0, 1)), num_blocks=200)
    driver = checking_driver(cluster, transfer_s_per_block=9e-3)  # a block is written every 8.4 ms
    stages = transfers_of(driver)
    served = workload(request(0, 16, 400))
    assert_all_served(driver.run(served), served)
    assert [t.num_blocks for t in stages] == [5, 6], "more is left after each stage than before"
    assert_empty(cluster)


def test_a_target_without_room_leaves_the_sequence_where_it_is():
    cluster = Cluster([instance(num_blocks=64, id=0), instance(num_blocks=30, id=1)], Told((0, 1)))
    cluster.instances[1].reserve_blocks(999, 28)
    driver = VirtualDriver(cluster, LinearCost(), transfer_s_per_block=1e-3)
    stages = transfers_of(driver)
    served = workload(request(0, 16, 60))
    assert_all_served(driver.run(served), served)
    assert not stages


def test_a_target_too_small_for_the_whole_answer_is_no_target():
    cluster = Cluster([instance(num_blocks=64, id=0), instance(num_blocks=18, id=1)], Told((0, 1)))
    driver = checking_driver(cluster, transfer_s_per_block=1e-3)
    stages = transfers_of(driver)
    served = workload(request(0, 16, 60))
    assert_all_served(driver.run(served), served)
    assert not stages


@pytest.mark.parametrize("event", ["on_transfer_refused", "on_transfer_failed"])
@pytest.mark.parametrize("live", [True, False])
def test_a_copy_that_breaks_lets_the_sequence_go_on(event: str, live: bool):
    cluster = two(Told((0, 1), live=live))
    driver = checking_driver(cluster, transfer_s_per_block=1e-2)
    served = workload(request(0, 16, 80))
    driver.at(0.03, getattr(cluster, event), 1)  # 0 is the migration, 1 its first stage
    assert_all_served(driver.run(served), served)
    assert_empty(cluster)


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("live", [True, False])
def test_an_instance_lost_in_the_middle_of_a_move_costs_no_request(lost: int, live: bool):
    cluster = two(Told((0, 1), live=live))
    driver = checking_driver(cluster, transfer_s_per_block=1e-2)
    served = workload(request(0, 16, 80), request(1, 8, 40))
    driver.at(0.05, cluster.on_instance_lost, lost)
    assert_all_served(driver.run(served), served)
    assert_empty(cluster)


@pytest.mark.parametrize("time_s", [0.02, 0.021, 0.03, 0.05, 0.06, 0.07, 0.08, 0.09])
@pytest.mark.parametrize("live", [True, False])
def test_a_cancellation_in_the_middle_of_a_move_leaves_nothing_behind(time_s: float, live: bool):
    cluster = two(Told((0, 1), live=live))
    driver = checking_driver(cluster, transfer_s_per_block=5e-3)
    driver.at(time_s, cluster.on_cancel, 0)
    recorder = driver.run(workload(request(0, 16, 80)))
    assert recorder.record(0).outcome is Outcome.CANCELLED
    assert_empty(cluster)


def test_a_mover_is_asked_only_while_something_runs_and_cuts_no_run_short():
    asked = {}
    for interval_s in (0.02, 1e9):
        mover = Told(interval_s=interval_s)
        driver = VirtualDriver(two(mover), LinearCost())
        driver.run(workload(request(0, 16, 80), request(1, 16, 80, arrival_s=5.0)))
        asked[interval_s] = mover.asked, driver.num_events
    assert 12 < asked[0.02][0] < 25, "0.2 s of work, twice"
    assert asked[0.02][1] - asked[1e9][1] == asked[0.02][0] - asked[1e9][0], "one event each, and no more steps"


@pytest.mark.parametrize("target", ["prefill", "foreign"])
def test_a_move_to_where_answers_cannot_live_is_refused_with_a_reason(target: str):
    class Wrong(RoundRobin, Mover):
        def after_prefill(self, sequence, home, instances, now_s):
            return instance(id=7) if target == "foreign" else cluster.instances[1]

    cluster = Cluster([instance(id=0), instance(id=1, role="prefill")], Wrong())
    with pytest.raises(UserError, match=r"Wrong moves request 0 to <instance .*not an instance .* keeps answers"):
        checking_driver(cluster).run(workload(request(0, 4, 8)))


# any mover


@st.composite
def movers(draw) -> Mover:
    interval_s = draw(st.sampled_from([2.0**-8, 0.011, 0.05]))
    kind = draw(st.sampled_from(["aimless", "llumnix", "splitwise", "taichi"]))
    if kind == "aimless":
        return Aimless(draw(st.integers(0, 1000)), interval_s)
    if kind == "llumnix":
        return Llumnix(interval_s, migrate_below=draw(st.sampled_from([5, 1e9])), headroom_tokens=8)
    if kind == "splitwise":
        return SplitwisePools(draw(st.sampled_from([1, 2])), overflow_tokens=draw(st.sampled_from([1, 20, 10_000])))
    limits = {"ttft_s": draw(st.sampled_from([1e-3, 0.02, 1.0])), "tpot_s": draw(st.sampled_from([1e-3, 4e-3]))}
    watermark = draw(st.sampled_from([0.3, 0.8]))
    return TaiChi(LinearEstimator(2e-3, 1e-4), watermark=watermark, interval_s=interval_s, **limits)


@st.composite
def fleets(draw, served: Workload):
    """How to make a cluster with a mover, so that it can be made twice."""
    chosen = [draw(policies()) for _ in range(3)]
    roles = draw(st.sampled_from([("mixed",) * 3, ("mixed", "mixed", "decode"), ("prefill", "mixed", "mixed")]))
    sizes = [draw(st.integers(15, 40)) for _ in range(3)]
    mover, last, cached = draw(movers()), draw(st.sampled_from([0, 1, 16])), draw(st.booleans())

    def make() -> Cluster:
        parts = enumerate(zip(chosen, sizes, roles, strict=True))
        cluster = Cluster(
            [
                instance(deepcopy(p), n, BLOCK, id=i, role=r, prefix_cache=cached, num_host_blocks=8)
                for i, (p, n, r) in parts
            ],
            deepcopy(mover),
        )
        cluster.migrations.LAST_STAGE_BLOCKS = last
        return cluster

    return make


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_mover_survives_what_can_happen_and_long_runs_equal_single_steps(data: st.DataObject):
    served = data.draw(workloads(max_requests=8))
    make = data.draw(fleets(served))
    events = [(data.draw(GRID), "on_cancel", k) for k in data.draw(st.lists(st.integers(0, 7), max_size=2))]
    events += [(data.draw(GRID), "on_instance_lost", k) for k in data.draw(st.sets(st.integers(1, 2), max_size=1))]
    ends = st.sampled_from(["on_transfer_refused", "on_transfer_failed"])
    events += [(data.draw(GRID), data.draw(ends), k) for k in data.draw(st.lists(st.integers(0, 9), max_size=3))]
    transfer_s = data.draw(st.sampled_from([0.0, 2.0**-12, 3e-3]))
    lives = []
    for single_step in (True, False):
        cluster = make()
        driver = checking_driver(cluster, transfer_s_per_block=transfer_s, single_step=single_step)
        for time_s, name, argument in events:
            driver.at(time_s, getattr(cluster, name), argument)
        records = driver.run(served).records
        assert_empty(cluster)
        for record in records:
            if record.outcome is Outcome.FINISHED:
                assert record.num_output_tokens == served.output_lengths[record.request_id]
        lives.append([(r.request_id, r.sample, r.outcome, list(r.token_times_s), r.num_preemptions) for r in records])
    assert lives[0] == lives[1]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_moves_change_no_request_but_its_times(seed: int):
    requests = [Request(k, 0.004 * k, 3 + k % 11, 5 + k % 17) for k in range(30)]
    served = Workload(requests, {r.id: r.max_new_tokens for r in requests})
    cluster = Cluster([instance(num_blocks=40, id=i) for i in range(3)], Aimless(seed, 0.01))
    cluster.migrations.LAST_STAGE_BLOCKS = 1
    assert_all_served(checking_driver(cluster, transfer_s_per_block=1e-3).run(served), served)
