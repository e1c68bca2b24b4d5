"""Virtual token counters: what clients are given (Sheng et al., OSDI'24)."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from course.serving.cluster import Cluster
from course.serving.schedulers import PrefillFirst, VirtualTokenCounter
from course.serving.sequence import Sequence
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request, Workload
from tests.serving.helpers import Steps, assert_all_served, instance, workload

NUM_BLOCKS, BLOCK = 16, 4


def asked(id: int, client: str, prompt: int, output: int, arrival_s: float = 0.0) -> Request:
    return Request(id, arrival_s, prompt, output, client=client)


def test_the_client_that_was_given_least_goes_next():
    play = Steps(VirtualTokenCounter(max_num_sequences=1)).arrive(
        asked(0, "flood", 6, 1), asked(1, "flood", 6, 1), asked(2, "flood", 6, 1), asked(3, "calm", 9, 1)
    )
    # flood: 6 + 2 = 8 after its first; calm: 9 + 2 = 11 after its only one
    assert play.steps(4) == [{3: 9}, {0: 6}, {1: 6}, {2: 6}]


def test_counters_weigh_prompts_and_answers():
    policy = VirtualTokenCounter(input_weight=1.0, output_weight=3.0)
    play = Steps(policy).arrive(asked(0, "a", 5, 4), asked(1, "b", 2, 1))
    play.steps(5)
    assert (policy.counter("a"), policy.counter("b"), policy.counter("nobody")) == (5 + 3 * 4, 2 + 3 * 1, 0)


def test_all_n_answers_are_charged():
    policy = VirtualTokenCounter()
    Steps(policy).arrive(Request(0, 0.0, 5, 4, n=3, client="a")).steps(5)
    assert policy.counter("a") == 5 + 2 * 3 * 4


def test_who_comes_back_has_saved_nothing_up():
    policy = VirtualTokenCounter(max_num_sequences=1)
    play = Steps(policy).arrive(*(asked(k, "busy", 10, 1) for k in range(6)))
    play.steps(3)
    play.arrive(asked(6, "late", 10, 1), asked(7, "late", 10, 1))
    assert play.steps(5) == [{3: 10}, {6: 10}, {4: 10}, {7: 10}, {5: 10}], "they take turns from now on"


def test_alone_in_the_queue_after_a_pause_one_starts_where_the_last_one_left():
    policy = VirtualTokenCounter(max_num_sequences=1)
    play = Steps(policy).arrive(asked(0, "first", 20, 1))
    play.steps(2)
    play.arrive(asked(1, "second", 5, 1))
    play.steps(2)
    assert policy.counter("first") == 22
    assert policy.counter("second") == 22 + 5 + 2, "lifted to the last client that waited"


def test_room_that_one_client_leaves_is_used_by_others():
    served = workload(*(asked(k, "only", 5, 5) for k in range(8)))
    ends = []
    for policy in (VirtualTokenCounter(), PrefillFirst()):
        cluster = Cluster([instance(policy, NUM_BLOCKS, BLOCK)])
        recorder = VirtualDriver(cluster, LinearCost()).run(served)
        assert_all_served(recorder, served)
        ends.append([r.end_s for r in recorder.records])
    assert ends[0] == ends[1]


def test_a_flood_does_not_drown_the_others():
    """One client asks for 20 times what the other does; the other hardly notices."""
    calm = [asked(k, "calm", 8, 8, 0.1 * k) for k in range(20)]
    flood = [asked(100 + k, "flood", 8, 8, 0.005 * k) for k in range(400)]

    def mean_ttft(policy: object, requests: list[Request]) -> float:
        cluster = Cluster([instance(policy, 64, BLOCK)])
        recorder = VirtualDriver(cluster, LinearCost(step_s=0.02)).run(workload(*requests))
        ttft = [recorder.record(r.id).token_times_s[0] - r.arrival_s for r in calm]
        return sum(ttft) / len(ttft)

    alone = mean_ttft(PrefillFirst(max_num_sequences=8), calm)
    fair = mean_ttft(VirtualTokenCounter(max_num_sequences=8), [*calm, *flood])
    unfair = mean_ttft(PrefillFirst(max_num_sequences=8), [*calm, *flood])
    assert alone < fair < unfair / 5


@given(
    seed=st.integers(0, 10**6),
    share=st.sampled_from([2, 3, 5]),
    most=st.sampled_from([1, 2, 8]),
    input_weight=st.sampled_from([1.0, 2.0]),
)
@settings(max_examples=60, deadline=None)
def test_clients_that_always_wait_are_served_alike(seed: int, share: int, most: int, input_weight: float):
    """The paper's bound on the difference of service, at every step while both clients have requests waiting."""
    policy = VirtualTokenCounter(max_num_sequences=most, input_weight=input_weight, output_weight=2.0)
    difference, bound = unfairness(policy, most, seed, share, input_weight)
    assert difference <= bound


def test_first_come_first_served_breaks_that_bound():
    difference, bound = unfairness(PrefillFirst(max_num_sequences=1), 1, seed=0, share=5, input_weight=1.0)
    assert difference > 5 * bound


def unfairness(policy: object, most: int, seed: int, share: int, input_weight: float) -> tuple[float, float]:
    """Largest difference of service between two clients while both wait, and what it should stay below.

    Every ``share``-th request is client b's; memory is enough for ``most`` requests, so nobody is preempted.
    """
    draw = Random(seed)
    requests = [asked(k, "ab"[k % share == 0], draw.randint(1, 12), draw.randint(1, 20)) for k in range(100)]
    served = Workload(requests, {r.id: r.max_new_tokens for r in requests})
    machine = instance(policy, 8 * most, BLOCK)
    driver = VirtualDriver(Cluster([machine]), LinearCost(), single_step=True)
    differences = []

    def given_to(client: str) -> float:
        begun = [s for s in seen if s.request.client == client and s.num_output_tokens]
        prompts = sum(s.num_prompt_tokens for s in begun)
        return input_weight * prompts + 2.0 * sum(s.num_output_tokens for s in begun)

    def measure(now_s: float) -> None:
        seen.update(machine.running)
        if {s.request.client for s in machine.waiting} == {"a", "b"}:
            differences.append(abs(given_to("a") - given_to("b")))

    seen: set[Sequence] = set()
    driver.after_event = measure
    assert_all_served(driver.run(served), served)
    return max(differences), 2 * max(input_weight * 12, 2.0 * 8 * most * BLOCK)
