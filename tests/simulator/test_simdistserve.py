"""The presets against DistServe's simulator: kept answers, and a plain loop of its rules for everything else."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest

from course.metrics.latency import e2e_s, tpot_s, ttft_s
from course.simulator.benchmark.plain import Latency, Worker, play
from course.simulator.experiment import load_experiment
from course.simulator.simulate import simulate

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "simdistserve"
TOLERANCE_S = 1e-6
Rows = list[tuple[float, int, int]]


def simulated(preset: str, trace: Path, rate: float, *changes: str) -> list[Latency]:
    """What the presets answer, through the control plane."""
    experiment = load_experiment(preset, [f"workload.trace={trace}", f"workload.rate={rate}", *changes])
    return [
        Latency(ttft_s(record) or 0.0, tpot_s(record) or 0.0, e2e_s(record) or 0.0)
        for record in simulate(experiment).records
    ]


def plain(rows: Rows, rate: float, prefill: Iterable[Worker], decode: Iterable[Worker] = ()) -> list[Latency]:
    """What the plain loop answers."""
    return play([(arrival_s / rate, *lengths) for arrival_s, *lengths in rows], list(prefill), list(decode))


def assert_equal(got: list[Latency], expected: list[Latency]) -> None:
    assert len(got) == len(expected)
    for number, (ours, theirs) in enumerate(zip(got, expected, strict=True)):
        assert ours == pytest.approx(theirs, abs=TOLERANCE_S, rel=0), f"request {number}"


def workers(engine: str, count: int = 1, tp: int = 1, model: str = "opt-13b") -> list[Worker]:
    return [Worker(engine, model, tp) for _ in range(count)]


# the kept answers

KEPT = {
    "dist_1p1d_rate2": ("simdistserve-disaggregated", 2, []),
    "dist_1p1d_rate4": ("simdistserve-disaggregated", 4, []),
    "vllm_2xtp1_rate4": ("simdistserve-colocated", 4, ["instances.0.count=2"]),
}


@pytest.mark.skipif(not DATA.is_dir(), reason="the kept answers of DistServe's simulator are not here (../shared/data)")
@pytest.mark.parametrize("name", KEPT)
def test_kept_answers(name: str):
    preset, rate, changes = KEPT[name]
    with (DATA / f"per_request_{name}.csv").open() as file:
        kept = [Latency(*(float(row[key]) for key in ("ttft_s", "tpot_s", "e2e_s"))) for row in csv.DictReader(file)]
    assert_equal(simulated(preset, DATA / "requests_1000.csv", rate, *changes), kept)


# the plain loop, on lists of our own


def drawn(tmp_path: Path, num: int, seed: int, prompts: tuple[int, int], answers: tuple[int, int]) -> tuple[Path, Rows]:
    """A list of requests at 1 per second, as a file and as rows."""
    random = Random(seed)
    now_s, rows = 0.0, []
    for _ in range(num):
        rows.append((round(now_s, 6), random.randint(*prompts), random.randint(*answers)))
        now_s += random.expovariate(1.0)
    path = tmp_path / "requests.csv"
    path.write_text("arrival_s,input_len,output_len\n" + "".join(f"{a},{p},{o}\n" for a, p, o in rows))
    return path, rows


CHAT = ((4, 2000), (1, 500))


@pytest.mark.parametrize("rate", [0.5, 3.0, 7.5])
def test_disaggregated(tmp_path: Path, rate: float):
    trace, rows = drawn(tmp_path, 250, 1, *CHAT)
    got = simulated("simdistserve-disaggregated", trace, rate)
    assert_equal(got, plain(rows, rate, workers("distserve-a100"), workers("distserve-a100")))


@pytest.mark.parametrize(("num_prefill", "num_decode"), [(2, 1), (1, 3), (3, 2)])
def test_several_instances(tmp_path: Path, num_prefill: int, num_decode: int):
    trace, rows = drawn(tmp_path, 250, 2, *CHAT)
    changes = [f"instances.0.count={num_prefill}", f"instances.1.count={num_decode}"]
    got = simulated("simdistserve-disaggregated", trace, 9.0, *changes)
    expected = plain(rows, 9.0, workers("distserve-a100", num_prefill), workers("distserve-a100", num_decode))
    assert_equal(got, expected)


@pytest.mark.parametrize(("tp_prefill", "tp_decode"), [(2, 1), (1, 4)])
def test_tensor_parallelism(tmp_path: Path, tp_prefill: int, tp_decode: int):
    trace, rows = drawn(tmp_path, 250, 3, *CHAT)
    changes = [f"instances.0.tp={tp_prefill}", f"instances.1.tp={tp_decode}"]
    got = simulated("simdistserve-disaggregated", trace, 5.0, *changes)
    expected = plain(rows, 5.0, workers("distserve-a100", tp=tp_prefill), workers("distserve-a100", tp=tp_decode))
    assert_equal(got, expected)


@pytest.mark.parametrize(("count", "tp", "rate"), [(1, 1, 1.0), (1, 2, 2.0), (3, 1, 5.0)])
def test_colocated(tmp_path: Path, count: int, tp: int, rate: float):
    trace, rows = drawn(tmp_path, 250, 4, *CHAT)
    changes = [f"instances.0.count={count}", f"instances.0.tp={tp}"]
    got = simulated("simdistserve-colocated", trace, rate, *changes)
    assert_equal(got, plain(rows, rate, workers("vllm-a100", count, tp)))


def test_the_engines_can_be_exchanged(tmp_path: Path):
    trace, rows = drawn(tmp_path, 150, 5, *CHAT)
    got = simulated("simdistserve-disaggregated", trace, 3.0, "cost=vllm-a100")
    assert_equal(got, plain(rows, 3.0, workers("vllm-a100"), workers("vllm-a100")))


def test_another_model(tmp_path: Path):
    trace, rows = drawn(tmp_path, 120, 6, *CHAT)
    got = simulated("simdistserve-disaggregated", trace, 1.0, "model=opt-66b", "instances.0.tp=4", "instances.1.tp=2")
    prefill, decode = workers("distserve-a100", 1, 4, "opt-66b"), workers("distserve-a100", 1, 2, "opt-66b")
    assert_equal(got, plain(rows, 1.0, prefill, decode))


@pytest.mark.parametrize("preset", ["simdistserve-disaggregated", "simdistserve-colocated"])
def test_overload_where_batches_are_cut(tmp_path: Path, preset: str):
    """All at once: prompts exceed the KV capacity of one batch, decodes their 50,000 tokens, batches pass 95."""
    trace, rows = drawn(tmp_path, 160, 7, (300, 1900), (20, 60))
    engine = "distserve-a100" if preset == "simdistserve-disaggregated" else "vllm-a100"
    decode = workers(engine) if engine == "distserve-a100" else []
    assert sum(prompt for _, prompt, _ in rows) > 66144 > 50000
    assert_equal(simulated(preset, trace, 200.0), plain(rows, 200.0, workers(engine), decode))


@pytest.mark.parametrize(("num_prefill", "num_decode"), [(1, 1), (2, 2), (3, 1)])
def test_requests_that_come_together(tmp_path: Path, num_prefill: int, num_decode: int):
    """Seconds hold several arrivals each, as in traces whose clock ticks coarsely."""
    _, rows = drawn(tmp_path, 120, 9, *CHAT)
    rows = [(float(int(arrival_s / 4)), prompt, answer) for arrival_s, prompt, answer in rows]
    trace = tmp_path / "ticks.csv"
    trace.write_text("arrival_s,input_len,output_len\n" + "".join(f"{a},{p},{o}\n" for a, p, o in rows))
    changes = [f"instances.0.count={num_prefill}", f"instances.1.count={num_decode}"]
    got = simulated("simdistserve-disaggregated", trace, 1.0, *changes)
    expected = plain(rows, 1.0, workers("distserve-a100", num_prefill), workers("distserve-a100", num_decode))
    assert_equal(got, expected)


def test_large_decode_batches(tmp_path: Path):
    trace, rows = drawn(tmp_path, 200, 8, (4, 40), (40, 80))
    got = simulated("simdistserve-disaggregated", trace, 100.0)
    assert_equal(got, plain(rows, 100.0, workers("distserve-a100"), workers("distserve-a100")))
