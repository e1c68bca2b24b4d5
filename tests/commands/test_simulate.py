"""``python -m course simulate`` as a user types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from course.commands import main

TOML = """
model = "llama-3.1-8b"
hardware = "a100-80gb"

[workload]
trace = "requests.csv"

[slo]
ttft = 0.5

[[instances]]
scheduler = "chunked-prefill"
"""


@pytest.fixture
def toml(tmp_path: Path) -> str:
    (tmp_path / "mine.toml").write_text(TOML)
    lines = "".join(f"{0.1 * k:.1f},{100 + k},{5 + k}\n" for k in range(10))
    (tmp_path / "requests.csv").write_text("arrival_s,input_len,output_len\n" + lines)
    return str(tmp_path / "mine.toml")


def test_a_file_of_ones_own(toml: str, capsys: pytest.CaptureFixture[str]):
    assert main(["simulate", toml]) == 0
    out = capsys.readouterr().out
    assert "mine: llama-3.1-8b on 1 GPU (a100-80gb), cost model roofline" in out
    assert "10 requests: 10 finished" in out
    assert "chunked-prefill" in out


def test_files_that_it_writes(toml: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    result, lines, page = tmp_path / "r.json", tmp_path / "r.csv", tmp_path / "t.html"
    files = ["--json", str(result), "--per-request", str(lines), "--timeline", str(page)]
    assert main(["simulate", toml, *files, "--set", "workload.limit=4", "--set", "workload.rate=20"]) == 0
    assert json.loads(result.read_text())["completed"] == 4
    rows = list(csv.DictReader(lines.open()))
    assert [float(row["arrival_s"]) for row in rows] == pytest.approx([0.0, 0.05, 0.1, 0.15])
    assert all(float(row["ttft_s"]) < float(row["e2e_s"]) for row in rows)
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert "4 finished" in capsys.readouterr().out


def test_json_to_the_terminal_is_nothing_but_json(toml: str, capsys: pytest.CaptureFixture[str]):
    assert main(["simulate", toml, "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["completed"], result["label"], result["slo_ttft_ms"]) == (10, "mine", 500.0)


def test_a_preset_by_name(capsys: pytest.CaptureFixture[str]):
    assert main(["simulate", "simdistserve-colocated", "--set", "workload.requests=5"]) == 0
    assert "5 requests: 5 finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.toml"], "course: there is no file nowhere.toml, and no preset of that name"),
        (
            ["TOML", "--set", "workload.rate=0"],
            "course: workload.rate must be a positive number of requests per second",
        ),
        (["TOML", "--set", "model=opt-175b"], "course: instances.0.tp: opt-175b with tp=1 and pp=1 puts"),
        (["TOML", "--json", "no/such/folder/r.json"], "course: there is no folder no/such/folder"),
        (["TOML", "--json", "same", "--per-request", "./same"], "course: two outputs would be written to same; name"),
        (["TOML", "--timeline", "."], "course: . is a folder; name a file"),
        (["TOML", "--sets", "a=b"], "course: unrecognized arguments"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes(arguments: list[str], sentence: str, toml: str, capsys: pytest.CaptureFixture[str]):
    status = main(["simulate", *(toml if each == "TOML" else each for each in arguments)])
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert captured.err.startswith(sentence)
    assert captured.err.count("\n") == 1


def test_refusals_are_counted_on_the_error_stream(toml: str, capsys: pytest.CaptureFixture[str]):
    tight = ["--set", "instances.0.kv_tokens=120", "--set", "instances.0.block_size=1"]
    assert main(["simulate", toml, *tight]) == 0
    error = capsys.readouterr().err
    assert error.startswith("course: ")
    assert "4 of 10 refused; the first: request 6 may need 121 tokens" in error
    assert main(["simulate", toml, *tight, "--set", "workload.max_new_tokens=100"]) == 2, "nothing was served"


def test_a_timeline_of_too_many_steps(toml: str, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("course.commands.simulate.MOST_STEPS_DRAWN", 3)
    assert main(["simulate", toml, "--timeline", str(tmp_path / "t.html")]) == 2
    assert "a page can show 3; simulate fewer requests" in capsys.readouterr().err
