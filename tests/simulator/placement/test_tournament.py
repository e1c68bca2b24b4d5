"""The tournament finds what judging every candidate finds, with fewer trials."""

import pytest

from course.simulator.experiment.load import load_experiment
from course.simulator.placement import tournament as module
from course.simulator.placement.machines import Candidate, Machines, Parallelism, pair_candidates
from course.simulator.placement.tournament import tournament
from course.simulator.placement.trials import judge_all
from course.simulator.shapes import load_shape

ONE, TWO = Parallelism(1, 1), Parallelism(2, 1)


def small(*changes):
    lengths = ["workload.lengths=", "workload.prompt_tokens=1024", "workload.output_tokens=32"]
    return load_experiment("simdistserve-disaggregated", [*lengths, "workload.requests=60", *changes])


def test_the_winner_and_the_ranges_agree_with_judging_all():
    candidates = [Candidate(p, d) for p in (ONE, TWO) for d in (ONE, TWO)]
    exact = {o.candidate: o.goodput for o in judge_all(small(), candidates, 0.05)}
    played = tournament(small(), candidates, 0.05)
    assert [outcome.candidate for outcome in played] == candidates
    best = max(played, key=lambda o: o.goodput.per_gpu)
    assert best.goodput.per_gpu >= max(g.per_gpu for g in exact.values()) / 1.1
    for outcome in played:
        found = exact[outcome.candidate]
        assert outcome.goodput.rate <= found.miss
        assert outcome.goodput.miss >= found.rate
    assert sum(len(o.goodput.trials) for o in played) < sum(len(g.trials) for g in exact.values())


def test_the_best_is_known_as_closely_as_asked_for():
    played = tournament(small(), [Candidate(ONE, ONE), Candidate(TWO, ONE)], 0.05)
    best = max((o.goodput for o in played), key=lambda g: g.per_gpu)
    assert best.rate < best.miss <= best.rate * 1.05


def test_who_misses_where_another_is_good_enough_is_out():
    for outcome in tournament(small(), list(pair_candidates(load_shape("opt-13b"), Machines(3, 3))), 0.1):
        misses = [trial.rate for trial in outcome.goodput.trials if trial.both < 0.9]
        later = [t for t in outcome.goodput.trials if misses and t.rate > max(misses)]
        assert not later


def test_what_cannot_run_is_no_player():
    played = tournament(small("model=opt-66b", "slo.ttft=2"), [Candidate(ONE, ONE), Candidate(TWO, TWO)], 0.2)
    assert played[0].goodput is None
    assert "tp=1" in played[0].reason
    assert played[1].goodput.rate > 0


def test_nobody_is_good_enough():
    (outcome,) = tournament(small("slo.ttft=0.001"), [Candidate(ONE, ONE)], 0.1)
    assert outcome.goodput.rate == 0
    assert outcome.goodput.limits == ("TTFT",)


def test_a_start_that_is_too_high_is_halved(monkeypatch):
    usual = tournament(small(), [Candidate(ONE, ONE)], 0.05)[0].goodput.rate
    monkeypatch.setattr(module, "START", 8.0)
    assert tournament(small(), [Candidate(ONE, ONE)], 0.05)[0].goodput.rate == pytest.approx(usual, rel=0.06)
