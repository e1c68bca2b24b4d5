"""From an experiment to a placement, on the smallest machines that need one."""

import pytest

from course.errors import UserError
from course.simulator.experiment.load import load_experiment
from course.simulator.placement.machines import Candidate, Machines, Parallelism
from course.simulator.placement.search import best_first, search


def small(*changes):
    lengths = ["workload.lengths=", "workload.prompt_tokens=512", "workload.output_tokens=32", "workload.requests=40"]
    return load_experiment("simdistserve-disaggregated", [*lengths, *changes])


@pytest.mark.parametrize("affinity", ["high", "low"])
def test_two_gpus_hold_one_of_each(affinity):
    found = search(small(), Machines(2, 2), affinity, tolerance=0.1)
    assert found.placement.unit == Candidate(Parallelism(1, 1), Parallelism(1, 1))
    assert str(found.placement.layout) == "node 0  [ P0 | D0 ]"
    assert found.together.num_gpus == 2
    assert found.together.rate == pytest.approx(found.placement.rate, rel=0.15)


def test_algorithm_1_balances_prefill_and_decode():
    found = search(small(), Machines(4, 4), "high", tolerance=0.1, check=False)
    placed = found.placement
    goodputs = {outcome.candidate: outcome.goodput.rate for outcome in found.outcomes}
    each = goodputs[placed.unit._replace(decode=None)], goodputs[placed.unit._replace(prefill=None)]
    assert placed.rate == min(placed.num_prefill * each[0], placed.num_decode * each[1])
    assert found.together is None


def test_the_table_puts_the_best_of_each_phase_first():
    ordered = best_first(search(small(), Machines(4, 4), "high", tolerance=0.1, check=False).outcomes)
    for phase in ("prefill", "decode"):
        per_gpu = [goodput.per_gpu for candidate, goodput in ordered if getattr(candidate, phase)]
        assert per_gpu == sorted(per_gpu, reverse=True)
    assert ordered[0][0].prefill
    assert ordered[-1][0].decode


def test_candidates_that_cannot_run_are_kept_with_their_reason():
    found = search(small("model=opt-66b", "slo.ttft=1"), Machines(4, 4), "low", tolerance=0.2, check=False)
    reasons = [outcome.reason for outcome in found.outcomes if outcome.goodput is None]
    assert reasons
    assert all("tp" in reason for reason in reasons)
    assert found.placement.unit.prefill.tp >= 2


def test_one_gpu_is_too_few():
    for affinity in ("high", "low"):
        with pytest.raises(UserError, match="takes 2 GPUs or more"):
            search(small(), Machines(1, 1), affinity)


def test_a_model_that_fits_nowhere_says_why():
    with pytest.raises(UserError, match=r"none of \d+ candidates can run.*tp="):
        search(small("model=opt-175b", "slo.ttft=4"), Machines(2, 2), "low")


def test_a_traffic_that_is_none_is_refused():
    with pytest.raises(UserError, match="positive rate"):
        search(small(), Machines(2, 2), "low", rate=0.0)
