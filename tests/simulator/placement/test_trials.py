"""Candidates judged by simulation: each phase alone, both together, and the same answers in parallel."""

import joblib
import pytest

from course.errors import UserError
from course.metrics.attainment import attainment
from course.simulator.experiment.build import Setup
from course.simulator.experiment.load import load_experiment
from course.simulator.goodput import goodput
from course.simulator.placement.machines import Candidate, Parallelism
from course.simulator.placement.trials import judge, judge_all, pair_experiment, prepare
from course.simulator.simulate import simulate

ONE, TWO, THREE = Parallelism(1, 1), Parallelism(2, 1), Parallelism(3, 1)


def small(*changes):
    """Two-phase experiments of 40 requests, with limits that leave room."""
    return load_experiment(
        "simdistserve-disaggregated",
        [
            "workload.requests=40",
            "workload.prompt_tokens=512",
            "workload.output_tokens=32",
            "workload.lengths=",
            *changes,
        ],
    )


def test_a_pair_is_the_experiment_with_other_instances():
    experiment = pair_experiment(small(), Candidate(TWO, ONE), (0, 1), (1, 0, 1))
    found = [(i.role, i.count, i.tp, i.node) for i in experiment.instances]
    assert found == [("prefill", 1, 2, 0), ("prefill", 1, 2, 1), ("decode", 1, 1, 0), ("decode", 2, 1, 1)]
    assert experiment.num_gpus == 7
    assert experiment.instances[0].parameters == {"token_budget": "published-kv-capacity"}
    assert experiment.instances[-1].parameters["max_context_tokens"] == 50_000


def test_a_pair_is_judged_like_any_experiment():
    pair = Candidate(ONE, ONE)
    found = judge(small(), pair, 0.1).goodput
    again = goodput(pair_experiment(small(), pair), start=2, tolerance=0.1)
    assert (found.rate, found.miss, found.num_gpus) == (again.rate, again.miss, 2)
    for mine, whole in zip(found.trials, again.trials, strict=True):
        assert mine.both >= whole.both
        if mine.both >= 0.9:
            assert mine == whole


def test_a_phase_alone_is_judged_by_its_own_limit():
    strict_decode = small("slo.tpot=0.001")
    assert judge(strict_decode, Candidate(ONE, ONE), 0.1).goodput.rate == 0
    assert judge(strict_decode, Candidate(ONE, None), 0.1).goodput.rate > 0
    assert judge(strict_decode, Candidate(None, ONE), 0.1).goodput.rate == 0
    strict_prefill = small("slo.ttft=0.001")
    assert judge(strict_prefill, Candidate(ONE, None), 0.1).goodput.rate == 0
    assert judge(strict_prefill, Candidate(None, ONE), 0.1).goodput.rate > 0


@pytest.mark.parametrize("rate", [2.0, 8.0, 32.0])
def test_a_pair_begins_no_answer_sooner_than_its_prefill_instance_alone(rate):
    stand = prepare(small(), Candidate(ONE, ONE))
    setup = Setup(stand.experiment.with_changes({"workload.rate": rate}))
    pair = attainment(simulate(setup.experiment).records, stand.limits)
    assert pair.ttft <= stand.prefill.attempt(rate).ttft
    tried = stand.attempt(rate)
    assert tried.both >= 0.9 if pair.both >= 0.9 else tried.both < 0.9


def test_a_phase_alone_is_at_least_as_good_as_in_a_pair():
    pair = judge(small(), Candidate(ONE, ONE), 0.02).goodput.rate
    for alone in (Candidate(ONE, None), Candidate(None, ONE)):
        assert judge(small(), alone, 0.02).goodput.rate >= pair * 0.98


def test_what_cannot_run_says_why():
    found = judge(small("model=opt-66b"), Candidate(ONE, ONE), 0.1)
    assert found.goodput is None
    assert "tp=1" in found.reason


def test_parallel_and_serial_agree():
    candidates = [Candidate(ONE, ONE), Candidate(ONE, None), Candidate(None, TWO)]
    with joblib.parallel_config(n_jobs=1):
        serial = judge_all(small(), candidates, 0.1)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert judge_all(small(), candidates, 0.1) == serial
    assert [outcome.candidate for outcome in serial] == candidates


@pytest.mark.parametrize("changes", [("slo.ttft=", "slo.tpot="), ("slo=",)])
def test_without_limits_there_is_nothing_to_search(changes):
    experiment = load_experiment("simdistserve-disaggregated", changes)
    with pytest.raises(UserError, match=r"slo.ttft and slo.tpot are missing"):
        judge_all(experiment, [], 0.1)
    with pytest.raises(UserError, match=r"slo.ttft and slo.tpot are missing"):
        goodput(experiment)
