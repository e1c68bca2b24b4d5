"""From an experiment to a cluster; and what cannot run is refused with the key and what would fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from course.errors import UserError
from course.serving.routers import ROUTERS, LeastRequests, RoundRobin
from course.serving.schedulers import SCHEDULERS
from course.simulator.capacity import kv_capacity, published_kv_capacity
from course.simulator.costs.fitted import FittedCost
from course.simulator.experiment import load_experiment
from course.simulator.experiment.build import Setup
from course.simulator.hardware import load_hardware
from course.simulator.links import load_link
from course.simulator.shapes import load_shape
from course.simulator.simulate import simulate
from tests.simulator.experiment.helpers import experiment


def test_instances_in_the_order_of_the_file():
    setup = Setup(experiment(**{"instances.0.token_budget": 600, "router.prefill": "round-robin"}))
    cluster = setup.cluster()
    assert [(i.id, i.role) for i in cluster.instances.values()] == [(0, "prefill"), (1, "decode"), (2, "decode")]
    assert cluster.instances[0].scheduler.token_budget == 600
    assert cluster.instances[1].scheduler is not cluster.instances[2].scheduler
    assert isinstance(cluster.router, RoundRobin)
    assert isinstance(cluster.handovers.router, LeastRequests)
    assert setup.costs[1] is setup.costs[2]
    assert isinstance(setup.costs[0], FittedCost)
    assert len(setup.workload) == 20


def test_memory_of_an_instance():
    shape, hardware = load_shape("opt-13b"), load_hardware("a100-80gb")

    def blocks(**changes: Any) -> int:
        pool = Setup(experiment(**changes)).cluster().instances[0].memory.pool
        return pool.num_blocks

    assert blocks() == kv_capacity(shape, hardware) // 16
    assert blocks(**{"instances.0.tp": 2}) == kv_capacity(shape, hardware, tp=2) // 16
    assert blocks(**{"instances.0.memory_utilization": 0.5}) == kv_capacity(shape, hardware, utilisation=0.5) // 16
    assert blocks(**{"instances.0.kv_tokens": 1000, "instances.0.block_size": 8}) == 125


def test_parameters_may_name_the_capacity():
    for tp in (1, 2, 4):
        setup = Setup(load_experiment("simdistserve-colocated", [f"instances.0.tp={tp}"]))
        assert setup.kinds[0].parameters["token_budget"] == published_kv_capacity("opt-13b", tp)
    setup = Setup(experiment(**{"instances.0.token_budget": "kv-capacity"}))
    assert setup.kinds[0].parameters["token_budget"] == kv_capacity(setup.shape, load_hardware("a100-80gb"))


def test_routers_get_what_only_the_experiment_knows():
    changes = {"router.prefill": "taichi", "slo.ttft": 1.0, "slo.tpot": 0.1, "instances": [{"count": 2}], "seed": 5}
    setup = Setup(experiment(**changes))
    router: Any = setup.cluster().router
    assert (router.ttft_s, router.tpot_s) == (1.0, 0.1)
    instance = setup.cluster().instances[0]
    assert router.estimator.step_s(instance, 100, 0, 0) > 0.01
    given: Any = Setup(experiment(**changes, **{"router.prefill_parameters": {"ttft_s": 0.3}})).cluster().router
    assert given.ttft_s == 0.3
    predicting = {"router.decode": "tetri-infer", "router.decode_parameters.accuracy": 1.0, "seed": 5}
    setup = Setup(experiment(**predicting))
    decode: Any = setup.cluster().handovers.router
    assert (decode.seed, decode.predictor.predict(setup.workload.requests[0])) == (5, 0), "64 lies in bucket 0..199"


@pytest.mark.parametrize("router", ROUTERS)
def test_every_router_serves(router: str):
    changes: dict[str, Any] = {
        "router.prefill": router,
        "slo.ttft": 1.0,
        "slo.tpot": 0.1,
        "instances": [{"count": 2, "token_budget": 1024}, {"count": 2, "token_budget": 128}],
    }
    records = simulate(experiment(**changes)).records
    assert all(record.finished for record in records)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_serves(scheduler: str):
    records = simulate(experiment(instances=[{"scheduler": scheduler}])).records
    assert all(record.finished for record in records)


def test_the_link_is_the_hardwares_own_unless_it_is_named():
    assert Setup(experiment()).link == load_link("nvlink-a100")
    assert Setup(experiment(**{"network.link": "25gbit"})).link == load_link("25gbit")
    assert Setup(experiment(**{"network.link": "instant"})).link is None
    assert Setup(experiment(**{"network.link": "instant"})).network() is None
    faster = Setup(experiment(**{"network.link": "25gbit", "network.bandwidth_gb_s": 7})).link
    assert faster is not None
    assert (faster.bandwidth_bytes_s, faster.latency_s) == (7e9, load_link("25gbit").latency_s)
    slower = Setup(experiment(**{"network.latency_us": 5})).link
    assert slower is not None
    assert slower.latency_s == pytest.approx(5e-6)
    layerwise = Setup(experiment(**{"network.layerwise": True, "network.across": "25gbit"})).network()
    assert layerwise is not None
    assert layerwise.layerwise is not None


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"model": "opt-66b"}, r"instances.0.tp: opt-66b with tp=1.*131.4 GB of weights.*tp=2 or pp=2 would fit"),
    ({"model": "opt-99b"}, "model: unknown model 'opt-99b': the nearest is 'opt-66b'|'opt-13b'"),
    ({"cost": "distserv"}, "instances.0: unknown cost 'distserv': the nearest is 'distserve-a100'"),
    ({"instances.0.tp": 3}, "instances.0.tp: tp=3 does not divide the 40 heads"),
    ({"instances.0.pp": 41}, "instances.0.pp: pp=41 stages are more than the 40 layers"),
    ({"instances.0.tp": 8}, "instances.0: cost 'distserve-a100' was not fitted for opt-13b with tp=8; it has tp = 1"),
    ({"hardware": "h100"}, "instances.0: cost 'distserve-a100' was fitted on hardware 'a100-80gb'"),
    ({"instances.1.count": 0}, 'role "prefill" hands answers over and nobody takes them; add .* role = "decode"'),
    ({"instances.0.count": 0}, 'role "decode" takes answers over and nobody begins them; add'),
    ({"instances.0.count": 0, "instances.1.count": 0}, "instances: every count is 0; at least one"),
    (
        {"instances.0.kv_tokens": 10**7},
        r"instances.0.kv_tokens: 10000000 tokens do not fit beside the weights.*at most",
    ),
    ({"instances.0.kv_tokens": 8}, "instances.0.block_size: a block of 16 tokens is larger than the KV cache of 8"),
    ({"instances.0.kv_tokens": 400}, "request 0 has a prompt of 512 tokens and instances.0 keeps 400.*of at least 576"),
    ({"workload.prompt_tokens": 2049}, "workload.prompt_tokens: .* prompt of 2049 tokens and opt-13b has a context of"),
    ({"instances.0.token_budget": 0}, "instances.0: token_budget must be a whole number, at least 1, got 0"),
    ({"instances.0.token_budget": "lots"}, "instances.0: token_budget must be a whole number"),
    (
        {"router.prefill_parameters": {"weight": 1}},
        "router.prefill_parameters: .* 'weight' cannot be set",
    ),
    ({"instances.1.node": 1}, "network.across: instances 0 and 1 stand on nodes 0 and 1, and no link connects"),
    ({"router.prefill": "taichi", "slo.ttft": 1.0}, "router.prefill: this router aims at a limit .* give slo.tpot"),
    (
        {"router.decode": "tetri-infer", "router.decode_parameters": {"accuracy": 2}},
        "decode_parameters: accuracy",
    ),
    (
        {"router.decode": "tetri-infer", "router.decode_parameters": {"acuracy": 1}},
        "'tetri-infer' has no parameter 'acuracy'; it has heavy_tokens, seed, accuracy, width",
    ),
    ({"router.decode": "tetri-infer", "router.decode_parameters": {"predictor": 3}}, "no parameter 'predictor'"),
    ({"router.prefill": "taichi", "router.prefill_parameters": {"estimator": 3}}, "no parameter 'estimator'"),
    (
        {"router.decode": "tetri-infer", "router.decode_parameters": {"accuracy": "high"}},
        "router.decode_parameters: accuracy must be a number from 0 to 1, got 'high'",
    ),
    (
        {"router.decode": "tetri-infer", "router.decode_parameters": {"width": 2.5}},
        "router.decode_parameters: width must be a whole number, at least 1, got 2.5",
    ),
    (
        {"router.decode": "tetri-infer", "router.decode_parameters": {"heavy_tokens": "x"}},
        "router.decode_parameters: heavy_tokens must be a whole number, at least 0, got 'x'",
    ),
    (
        {"router.prefill": "power-of-two", "router.prefill_parameters": {"seed": 1.5}},
        "router.prefill_parameters: seed must be a whole number, at least 0, got 1.5",
    ),
    ({"hardware": __file__.replace(".py", ".json")}, "hardware: there is no profile"),
    ({"instances.1.hardware": "no.json"}, "instances.1.hardware: there is no profile no.json"),
    (
        {"router.prefill": "splitwise", "router.prefill_parameters": {"num_prompt": 3}},
        "router.prefill_parameters: num_prompt=3 leaves none of the 3 instances to write answers; give at most 2",
    ),
    ({"network.refused": 1.0}, "network: refused and failed are shares"),
]


@pytest.mark.parametrize(("changes", "sentence"), REFUSALS, ids=[str(each) for each, _ in REFUSALS])
def test_what_cannot_run_is_refused(changes: dict[str, Any], sentence: str):
    def build() -> None:
        setup = Setup(experiment(**changes))
        setup.cluster()
        setup.network()

    with pytest.raises(UserError, match=sentence):
        build()


def test_prompts_of_a_trace_are_looked_at(tmp_path: Path):
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_s,input_len,output_len\n0,10,10\n1,5000,10\n")
    with pytest.raises(UserError, match=r"workload.trace: request 1 has a prompt of 5000 tokens.*fit_context = true"):
        Setup(experiment(**{"workload.trace": str(trace)}))
    fitted = Setup(experiment(**{"workload.trace": str(trace), "workload.fit_context": True}))
    assert max(request.num_prompt_tokens for request in fitted.workload.requests) <= 2048
    Setup(experiment(**{"workload.trace": str(trace), "workload.too_long": "refuse"}))


def test_prefix_caches_need_blocks_of_one_size():
    changes = {"instances.0.prefix_cache": True, "instances.1.prefix_cache": True, "instances.1.block_size": 32}
    with pytest.raises(UserError, match="instances with prefix_cache have blocks of 16 and 32 tokens"):
        Setup(experiment(**changes))


def test_a_whole_number_may_be_written_with_a_point():
    def served(**parameters: float) -> list[Any]:
        changes = {"router.decode": "tetri-infer", "router.decode_parameters": parameters}
        return [record.token_times_s for record in simulate(experiment(**changes)).records]

    whole = {"accuracy": 0, "width": 20, "heavy_tokens": 40, "seed": 3}
    assert served(**{key: float(value) for key, value in whole.items()}) == served(**whole)
