"""Experiments from files, presets and --set; and what is said of mistakes."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from course.errors import UserError
from course.simulator.experiment import experiment_from, load_experiment, preset_names
from course.workload.slo import SLO
from tests.simulator.experiment.helpers import TABLE, experiment

TOML = """
model = "opt-13b"
hardware = "a100-80gb"
seed = 7

[workload]
trace = "requests.csv"
rate = 4.0

[slo]
ttft = 0.2
tpot = 0.1

[[instances]]
token_budget = 512
tp = 2

[network]
bandwidth_gb_s = 25
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "exp.toml"
    file.write_text(TOML)
    return file


def test_a_file_becomes_an_experiment(path: Path):
    read = load_experiment(path)
    assert (read.name, read.model, read.seed, read.cost, read.num_gpus) == ("exp", "opt-13b", 7, "roofline", 2)
    assert read.workload.trace == str(path.parent / "requests.csv"), "paths count from the folder of the file"
    assert read.slo == SLO(0.2, 0.1, None, 0.9)
    assert read.network.bandwidth_gb_s == 25.0
    (instance,) = read.instances
    assert (instance.role, instance.tp, instance.scheduler_name) == ("mixed", 2, "chunked-prefill")
    assert instance.parameters == {"token_budget": 512}


def test_files_of_models_and_profiles_count_from_the_folder_too(tmp_path: Path):
    file = tmp_path / "exp.toml"
    text = TOML.replace('"opt-13b"', '"shape/config.json"').replace('"a100-80gb"', '"here.json"')
    file.write_text(text.replace("tp = 2", 'cost = "here.json"'))
    read = load_experiment(file)
    assert (read.model, read.hardware) == (str(tmp_path / "shape/config.json"), str(tmp_path / "here.json"))
    assert read.instances[0].cost == str(tmp_path / "here.json")


def test_keys_can_be_set(path: Path):
    read = load_experiment(
        path,
        [
            *("workload.rate=6", "instances.0.count=3", "model=opt-66b", "slo.e2e = 9.5", "instances.0.watermark=0"),
            *("workload.trace=other.csv", "network.layerwise=true", "instances.0.kv_tokens=inf", "seed="),
        ],
    )
    assert (read.workload.rate, read.model, read.seed) == (6.0, "opt-66b", 0)
    assert read.workload.trace == "other.csv", "paths given on the command line count from the working folder"
    assert (read.instances[0].count, read.instances[0].kv_tokens) == (3, math.inf)
    assert read.instances[0].parameters == {"token_budget": 512, "watermark": 0}
    assert read.slo == SLO(0.2, 0.1, 9.5)
    assert read.network.layerwise


def test_changes_leave_the_original_alone():
    original = experiment()
    changed = original.with_changes({"workload.rate": 9, "instances.1.count": 5, "slo.ttft": 1.0})
    assert (original.workload.rate, original.instances[1].count, original.slo) == (4.0, 2, None)
    assert (changed.workload.rate, changed.instances[1].count, changed.num_gpus) == (9.0, 5, 6)
    assert changed.with_changes({"slo.ttft": None, "workload.rate": 4, "instances.1.count": 2}).slo == SLO(
        math.inf, math.inf
    )
    assert original.with_changes({"instances": [{"role": "mixed", "tp": 2}]}).num_gpus == 2
    assert pickle.loads(pickle.dumps(changed)) == changed


def test_what_is_set_replaces_its_alternatives():
    traced = experiment(**{"workload.trace": "t.csv"})
    assert (traced.workload.prompt_tokens, traced.workload.requests, traced.workload.rate) == (None, None, 4.0)
    table = experiment(**{"workload.lengths": "sharegpt"})
    assert (table.workload.prompt_tokens, table.workload.requests) == (None, 20)
    apart = table.with_changes({"workload.joint": False})
    assert apart.with_changes({"workload.trace": "t.csv"}).workload.joint, "it is said of the table"
    fixed = apart.with_changes({"workload.prompt_tokens": 5, "workload.output_tokens": 6})
    assert fixed.workload.joint
    assert (fixed.workload.lengths, fixed.workload.prompt_tokens, fixed.workload.output_tokens) == (None, 5, 6)


def test_presets_are_there_by_name():
    assert {"simdistserve-colocated", "simdistserve-disaggregated"} <= set(preset_names())
    for name in preset_names():
        assert load_experiment(name).name == name


MISTAKES = [
    ({"workload.rates": 3}, "unknown key workload.rates: the nearest known one is workload.rate;"),
    ({"modle": "x"}, "unknown key modle: the nearest known one is model;"),
    ({"instances.0.rol": "x"}, "unknown key instances.0.rol: the nearest known one is instances.0.role;"),
    ({"instances.0.token_budge": 3}, r"nearest known one is instances.0.token_budget; scheduler 'prefill-only' has"),
    ({"instances.0.watermark": 0.1}, "unknown key instances.0.watermark.*scheduler 'prefill-only' has token_budget"),
    ({"network.bandwidth": 3}, "nearest known one is network.bandwidth_gb_s"),
    ({"workload.rate": 0}, "workload.rate must be a positive number of requests per second, got 0"),
    ({"workload.rate": "fast"}, "workload.rate must be a positive number of requests per second, got 'fast'"),
    ({"workload.rate": True}, "workload.rate must be a positive number"),
    ({"workload.rate": math.nan}, "workload.rate must be a positive number"),
    ({"workload.requests": 0}, "workload.requests must be a whole number, 1 to 100000000, got 0"),
    ({"workload.requests": 1.5}, "workload.requests must be a whole number, 1 to 100000000, got 1.5"),
    ({"workload.max_new_tokens": "pow3"}, "must be a whole number, at least 1, or 'pow2', or 'exact', got 'pow3'"),
    ({"workload.lengths": "azure"}, "workload.lengths: unknown length table 'azure': the nearest is 'azure-conv'"),
    ({"workload.arrivals": "poison"}, "workload.arrivals: unknown arrival process 'poison': the nearest is 'poisson'"),
    ({"workload.shape": []}, "workload.shape must be a list of numbers"),
    ({"workload.prompt_sigma": math.inf}, "workload.prompt_sigma must be a number, at least 0, got inf"),
    ({"network.latency_us": math.inf}, "network.latency_us must be a number, at least 0, got inf"),
    ({"workload.requests": 10**12}, "workload.requests must be a whole number, 1 to 100000000, got 1000000000000"),
    ({"instances.0.count": 10**6}, "instances.0.count must be a whole number, 0 to 4096, got 1000000"),
    ({"hardware": "a100"}, "hardware: unknown hardware 'a100': the nearest is 'a100-80gb'"),
    ({"model": 13}, "model must be text in quotes, got 13"),
    ({"seed": -1}, "seed must be a whole number, at least 0, got -1"),
    ({"slo.ttft": -1}, "slo.ttft must be a positive number of seconds, got -1"),
    ({"slo.attainment": 90}, "slo.attainment must be a share above 0 and up to 1, got 90"),
    ({"instances.0.tp": "two"}, "instances.0.tp must be a whole number, at least 1, got 'two'"),
    ({"instances.0.prefix_cache": 1}, "instances.0.prefix_cache must be true or false, got 1"),
    ({"instances.0.scheduler": "chunked"}, "unknown scheduler 'chunked': the nearest is 'chunked-prefill'"),
    ({"instances.5.tp": 2}, "there is no instances.5; the experiment has instances.0, instances.1"),
    ({"instances.first.tp": 2}, "there is no instances.first"),
    ({"instances.tp": 2}, "there is no instances.tp; the experiment has instances.0, instances.1"),
    ({"instances.0": 3}, "instances.0 cannot be set: name a key of it, such as instances.0.count=2"),
    ({"instances": 3}, r"instances must be a section: write \[\[instances\]\]"),
    ({"instances": []}, "the experiment has no instance"),
    ({"instances": [3]}, "instances.0 must be a section"),
    ({"workload": 3}, r"workload must be a section: write \[workload\]"),
    ({"workload": None}, r"the experiment has no \[workload\]"),
    ({"model.size": 3}, "unknown key model.size: model is no section"),
    ({"model": None}, "the experiment does not say its model; it must be text in quotes"),
    ({"router.prefill": "least"}, "router.prefill: unknown router 'least': the nearest is"),
    ({"router.prefill_parameters": 3}, "router.prefill_parameters must be a table of parameters, got 3"),
]


@pytest.mark.parametrize(("changes", "sentence"), MISTAKES, ids=[str(each) for each, _ in MISTAKES])
def test_mistakes_are_one_sentence(changes: dict[str, Any], sentence: str):
    with pytest.raises(UserError, match=sentence) as caught:
        experiment(**changes)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path):
    broken = tmp_path / "broken.toml"
    broken.write_text("model = opt-13b\n")
    with pytest.raises(UserError, match=r"broken.toml is not TOML: .*line 1"):
        load_experiment(broken)
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"broken.toml is not text \(byte 0 is not UTF-8\); save it as UTF-8"):
        load_experiment(broken)
    with pytest.raises(UserError, match="is a folder; name the TOML file in it"):
        load_experiment(tmp_path)
    with pytest.raises(UserError, match="no preset of that name; the nearest preset is simdistserve-colocated"):
        load_experiment("simdistserv-colocated")
    with pytest.raises(UserError, match=r"--set takes key=value such as workload.rate=6, got 'workload.rate'"):
        load_experiment("simdistserve-colocated", ["workload.rate"])


def test_text_on_the_command_line_needs_no_quotes():
    read = load_experiment("simdistserve-colocated", ["instances.0.scheduler=decode-first", "instances.0.token_budget=",
                           "instances.0.max_context_tokens=", "instances.0.max_num_sequences = 7"])  # fmt: skip
    assert read.instances[0].scheduler == "decode-first"
    assert read.instances[0].parameters["max_num_sequences"] == 7
    quoted = load_experiment("simdistserve-colocated", ['model="opt-66b"'])
    assert quoted.model == "opt-66b"


def test_the_table_is_not_shared():
    table = {**TABLE, "workload": dict(TABLE["workload"])}
    read = experiment_from(table).with_changes({"workload.rate": 1})
    assert read.workload.rate == 1.0
    assert table["workload"]["rate"] == 4.0
