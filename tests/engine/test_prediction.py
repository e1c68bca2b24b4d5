"""profile and bench prediction as a user meets them, and the comparison behind them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from course import commands
from course.commands.prediction import Comparison, compare
from course.metrics.record import Recorder
from course.simulator.costs.measured import fit
from course.simulator.costs.profile import load_profile
from course.workload.request import Request
from tests.simulator.costs.helpers import profile as made_up_profile


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small random model that reads 256 tokens."""
    folder = tmp_path_factory.mktemp("checkpoint")
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(**shape, vocab_size=64, max_position_embeddings=256, eos_token_id=None, bos_token_id=None)
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def course(*arguments: object) -> int:
    return commands.main([str(argument) for argument in arguments])


def test_a_profile_is_recorded_stamped_fitted_and_shown(checkpoint: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "profile.json"
    assert course("profile", "--model", checkpoint, "--rounds", 2, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "fit beside measurement" in printed
    assert f'cost = "{out}"' in printed
    profile = load_profile(out)
    assert {len(step.seconds) for step in profile.steps} == {2}
    assert {"processor", "system", "python", "torch", "code", "threads", "block_size", "cpu_share"} <= set(
        profile.conditions or {}
    )
    assert profile.model.num_layers == 2
    assert profile.model.bytes_per_value == 4  # computed in float32
    assert profile.machine.flops_s > 0
    assert fit(profile).constant_s > 0
    assert course("profile", "--show", out) == 0
    assert "fit beside measurement" in capsys.readouterr().out


def test_predicted_and_measured_side_by_side(tmp_path: Path, capsys) -> None:
    recorded, out = tmp_path / "profile.json", tmp_path / "rows.json"
    made_up_profile(noise=0.02).save(recorded)
    options = ("--profile", recorded, "--repeats", 1, "--requests", 3, "--json", out)
    assert course("bench", "prediction", *options) == 0
    printed = capsys.readouterr().out
    assert "TTFT predicted" in printed
    assert "TPOT measured" in printed
    rows = json.loads(out.read_text())
    assert [row["metric"] for row in rows] == ["TTFT", "TPOT"]
    for row in rows:
        assert row["num_requests"] == 3
        assert row["predicted_median_ms"] > 0
        assert row["measured_median_ms"] > 0


def test_a_busy_machine_counts_its_own_computing(checkpoint: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "profile.json"
    assert course("profile", "--model", checkpoint, "--rounds", 1, "--processor-time", "--out", out) == 0
    assert "this thread's own computing" in capsys.readouterr().out
    assert (load_profile(out).conditions or {})["clock"] == "processor"


def test_requests_come_at_once_where_a_clock_would_stand_still(tmp_path: Path, capsys) -> None:
    recorded = tmp_path / "profile.json"
    made_up = made_up_profile()
    replace(made_up, conditions={"clock": "processor"}).save(recorded)
    assert course("bench", "prediction", "--profile", recorded, "--repeats", 1, "--requests", 2) == 0
    assert "2 requests at once, in processor time" in capsys.readouterr().out


def test_a_trace_on_the_virtual_clock_with_a_profile(tmp_path: Path, capsys) -> None:
    recorded, trace = tmp_path / "profile.json", tmp_path / "trace.csv"
    made_up_profile().save(recorded)
    trace.write_text("arrived_s,prompt_tokens,output_tokens\n0,100,3\n")
    out = tmp_path / "result.json"
    options = ("--trace", trace, "--profile", recorded, "--json", out)
    assert course("run", *options, "--clock", "virtual", "--scheduler", "prefill-first") == 0
    assert f"a step takes what {recorded} says" in capsys.readouterr().out
    step_s = 4e-3 + 2e-4 + 100 * 1e-4 + 5050 * 1e-7 + 100 * 2e-6  # the made-up machine
    assert json.loads(out.read_text())["mean_ttft_ms"] == pytest.approx(1e3 * step_s, rel=1e-3)
    assert course("run", *options) == 2
    assert "--profile is for the virtual clock" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("profile", "--rounds", 0), "--rounds must be at least 1"),
        (("profile", "--block-size", 0), "--block-size must be from 1 to 256 tokens, got 0"),
        (("profile", "--out", "absent/profile.json"), "there is no folder absent"),
        (("profile", "--show", "absent.json"), "there is no profile absent.json"),
        (("bench", "prediction", "--profile", "absent.json"), "there is no profile absent.json"),
        (("bench", "prediction", "--repeats", 0), "repeats must be at least 1"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(arguments, sentence: str, capsys) -> None:
    assert course(*arguments) == 2
    assert sentence in capsys.readouterr().err


def test_a_profile_of_another_model_predicts_nothing(checkpoint: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "profile.json"
    assert course("profile", "--model", checkpoint, "--rounds", 1, "--out", out) == 0
    assert course("bench", "prediction", "--profile", out) == 2
    assert "not of 'tiny'" in capsys.readouterr().err


def records(times_s: dict[int, list[float]]):
    recorder = Recorder()
    for i, times in times_s.items():
        recorder.on_arrival(Request(i, 1.0, 4, 9))
        for time_s in times:
            recorder.on_token(i, time_s)
    return recorder.records


def test_errors_are_per_request_against_the_median_of_the_runs() -> None:
    predicted = records({0: [1.2, 1.3], 1: [2.0, 2.5, 3.0]})
    runs = [
        records({0: [1.1, 1.2], 1: [3.0, 3.5, 4.0]}),
        records({0: [1.1, 1.3], 1: [3.0, 4.0, 5.0]}),
        records({0: [9.0, 9.9], 1: [3.0, 3.6, 5.0]}),
    ]
    ttft, tpot = compare(predicted, runs)
    assert ttft.measured_s == pytest.approx([0.1, 2.0])
    assert ttft.error(1.0) == pytest.approx(1.0)  # 0.2 s for 0.1 s
    assert ttft.error(0.0) == pytest.approx(0.5)
    assert tpot.predicted_s == pytest.approx([0.1, 0.5])
    assert tpot.measured_s == pytest.approx([0.2, 1.0])
    assert tpot.row()["error_p50"] == pytest.approx(0.5)


def test_a_perfect_prediction_has_no_error() -> None:
    assert Comparison("TTFT", [1.0, 2.0], [1.0, 2.0]).error(0.9) == 0
