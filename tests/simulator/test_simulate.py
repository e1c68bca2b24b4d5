"""A run of an experiment, and what can be asked of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course.metrics.attainment import attainment
from course.metrics.latency import e2e_s, tpot_s, ttft_s
from course.metrics.record import Outcome
from course.serving.cluster import Cluster
from course.simulator.experiment import load_experiment, preset_names
from course.simulator.linear import LinearCost
from course.simulator.report import per_request_lines, report
from course.simulator.shapes import load_shape
from course.simulator.simulate import Simulation, simulate
from course.workload.request import Request, Workload
from course.workload.slo import SLO
from tests.simulator.experiment.helpers import experiment

KV_BYTES = load_shape("opt-13b").kv_bytes_per_token


def run(**changes: Any) -> Simulation:
    return simulate(experiment(**changes))


def test_every_request_is_served():
    simulation = run()
    assert [record.outcome for record in simulation.records] == [Outcome.FINISHED] * 20
    assert {record.num_output_tokens for record in simulation.records} == {64}
    assert simulation.simulated_s == max(r.token_times_s[-1] for r in simulation.records) - min(
        r.arrival_s for r in simulation.records
    )
    assert simulation.num_events > 40
    assert simulation.wall_s > 0


def test_answers_that_were_cut_are_reported():
    assert "20 answers cut short, by the end of the context or by max_new_tokens" in report(
        run(**{"workload.max_new_tokens": 32})
    )
    assert "cut" not in report(run())


def test_the_result_has_the_names_of_vllm_and_ours():
    simulation = run(**{"slo.ttft": 0.2, "slo.tpot": 0.1})
    result = json.loads(json.dumps(simulation.result(), allow_nan=False))
    assert (result["completed"], result["failed"], result["refused"]) == (20, 0, 0)
    assert (result["backend"], result["model_id"], result["request_rate"]) == ("course-simulator", "opt-13b", 4.0)
    ttfts, tpots = ([f(record) for record in simulation.records] for f in (ttft_s, tpot_s))
    assert result["mean_ttft_ms"] == pytest.approx(1e3 * np.mean(ttfts))
    assert result["p99_tpot_ms"] == pytest.approx(1e3 * np.percentile(tpots, 99))
    gaps = np.concatenate([np.diff(record.token_times_s) for record in simulation.records])
    assert result["median_itl_ms"] == pytest.approx(1e3 * np.median(gaps))
    assert result["mean_itl_ms"] == pytest.approx(1e3 * gaps.mean())
    met = attainment(simulation.records, SLO(0.2, 0.1))
    assert (result["attainment_ttft"], result["attainment_tpot"], result["attainment"]) == met[:3]
    assert met == simulation.attainment()
    assert result["request_goodput"] == pytest.approx(met.num_good / simulation.simulated_s)
    assert result["request_goodput_per_gpu"] == pytest.approx(result["request_goodput"] / 3)
    assert result["simulated_s"] == simulation.simulated_s == result["duration"]
    assert {"wall_s", "num_events", "bytes_transferred", "num_preemptions", "num_clipped"} <= result.keys()
    assert simulation.attainment(SLO(1e-9, 1.0)).both == 0.0


def test_the_rate_that_is_reported():
    assert run().request_rate == 4.0
    assert run(**{"workload.arrivals": "all-at-once"}).result()["request_rate"] == "inf"


def test_what_each_instance_did():
    simulation = run()
    prefill, *decodes = simulation.instances
    assert (prefill.role, prefill.scheduler, prefill.tp) == ("prefill", "prefill-only", 1)
    assert [use.id for use in simulation.instances] == [0, 1, 2]
    assert 1 <= prefill.num_steps <= 20
    tokens_after_the_first = 20 * 63
    assert tokens_after_the_first / 20 <= sum(use.num_steps for use in decodes) <= tokens_after_the_first
    for use in simulation.instances:
        assert 0 < use.utilisation <= 1
        assert use.busy_s == pytest.approx(use.utilisation * simulation.simulated_s)
        assert use.kv_peak is not None
        assert 0 < use.kv_peak_tokens < use.kv_tokens
    assert prefill.kv_peak_tokens >= 512
    unlimited = run(**{"instances.0.kv_tokens": float("inf")}).instances[0]
    assert unlimited.kv_peak is None
    assert unlimited.as_json()["kv_tokens"] is None
    assert unlimited.as_json()["kv_peak_tokens"] >= 512


def test_utilisation_of_one_instance_that_never_rests():
    busy = run(**{"instances": [{"role": "mixed"}], "workload.arrivals": "all-at-once"})
    assert busy.instances[0].utilisation == pytest.approx(1.0)


def test_bytes_that_moved():
    blocks_of_16 = 512 * KV_BYTES
    assert run().bytes_transferred == 20 * blocks_of_16, "whole blocks over a network"
    assert run(**{"network.link": "instant"}).bytes_transferred == 20 * 512 * KV_BYTES
    assert run(**{"instances": [{"role": "mixed"}]}).bytes_transferred == 0


def test_a_slow_network_delays_the_second_token():
    fast, slow = (run(**{"network.bandwidth_gb_s": speed, "workload.rate": 0.2}) for speed in (1000, 1))
    expected_s = 512 * KV_BYTES / 1e9
    first_gap_s = [
        record.token_times_s[1] - record.token_times_s[0] for each in (fast, slow) for record in each.records[:1]
    ]
    assert first_gap_s[1] - first_gap_s[0] == pytest.approx(expected_s, rel=0.1)
    assert ttft_s(slow.records[0]) == ttft_s(fast.records[0])


def test_preemptions_are_counted():
    tight = run(
        **{
            "instances": [{"role": "mixed", "kv_tokens": 1600, "token_budget": 1024}],
            "workload.prompt_tokens": 500,
            "workload.output_tokens": 200,
            "workload.rate": 100,
        }
    )
    assert sum(record.num_preemptions for record in tight.records) > 0
    assert tight.result()["num_preemptions"] == sum(record.num_preemptions for record in tight.records)
    assert tight.instances[0].kv_peak == 1.0


@pytest.fixture
def long_ones(tmp_path: Path) -> str:
    """Requests 1 and 2 can never be served: one is longer than the context, one than the memory."""
    path = tmp_path / "long.csv"
    path.write_text("arrival_s,input_len,output_len\n0,100,10\n1,5000,10\n2,1500,10\n3,100,10\n")
    return str(path)


def test_what_can_never_be_served_is_refused_in_the_run_and_counted(long_ones: str):
    simulation = run(
        **{
            "workload.trace": long_ones,
            "workload.too_long": "refuse",
            "instances": [{"role": "mixed", "kv_tokens": 1000}],
            "slo.ttft": 10,
        }
    )
    outcomes = [record.outcome for record in simulation.records]
    assert outcomes == [Outcome.FINISHED, Outcome.REFUSED, Outcome.REFUSED, Outcome.FINISHED]
    assert "a prompt of 5000 tokens" in simulation.refused[0].error
    assert "may need 15" in simulation.refused[1].error
    result = simulation.result()
    assert (result["completed"], result["failed"], result["refused"]) == (2, 2, 2)
    assert result["attainment"] == 0.5, "who was refused has not been served in time"
    assert "2 refused" in report(simulation)


def test_an_answer_that_outgrows_the_memory_is_refused_at_once():
    """The prompt fits, prompt and answer do not: no endless loop."""
    simulation = run(
        **{"instances": [{"role": "mixed", "kv_tokens": 544}], "workload.output_tokens": 300, "workload.requests": 3}
    )
    assert len(simulation.refused) == 3


def test_the_same_seed_gives_the_same_run():
    def times(seed: int) -> list[list[float]]:
        return [list(record.token_times_s) for record in run(seed=seed, **{"workload.prompt_sigma": 0.3}).records]

    assert times(3) == times(3) != times(4)


def test_requests_and_costs_can_be_given():
    workload = Workload([Request(0, 1.0, 10, 5)], {0: 3})
    costs = dict.fromkeys(range(3), LinearCost(step_s=1.0, token_s=0.0, context_token_s=0.0))
    simulation = simulate(experiment(**{"network.link": "instant"}), workload, costs)
    assert list(simulation.records[0].token_times_s) == [2.0, 3.0, 4.0]


def test_a_cluster_of_ones_own_may_watch():
    class Watching(Cluster):
        pass

    assert isinstance(simulate(experiment(), make_cluster=Watching).driver.cluster, Watching)


def test_a_line_for_each_request(long_ones: str):
    simulation = run(**{"workload.trace": long_ones, "workload.too_long": "refuse", "workload.rate": None})
    assert simulation.request_rate == 1.0
    rows = list(csv.DictReader(per_request_lines(simulation)))
    assert [row["request_id"] for row in rows] == ["0", "1", "2", "3"]
    for row, record in zip(rows, simulation.records, strict=True):
        for key, function in (("ttft_s", ttft_s), ("tpot_s", tpot_s), ("e2e_s", e2e_s)):
            value = function(record)
            assert row[key] == ("" if value is None else repr(float(value)))
    assert rows[1]["outcome"] == "refused"
    assert "," not in rows[0]["error"]
    assert rows[1]["error"] == simulation.records[1].error


def test_the_report_says_what_was_run():
    text = report(run(**{"slo.ttft": 0.2}))
    assert text.startswith(
        "experiment: opt-13b on 3 GPUs (a100-80gb), cost model distserve-a100\n20 requests: 20 finished"
    )
    assert "within TTFT 200.00 ms" in text
    assert "0         prefill    1   1  prefill-only" in text
    assert "GB of keys and values moved" in text
    assert "requests/s" in text.splitlines()[-1]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_runs(name: str):
    simulation = simulate(load_experiment(name, ["workload.requests=30"]))
    assert all(record.finished for record in simulation.records)
    assert simulation.result()["completed"] == 30
    for use in simulation.instances:
        assert use.num_steps > 0
