"""``goodput`` and ``place`` as a user runs them: tables, JSON, pages, mistakes."""

import json

import pytest

from course import commands
from course.commands.goodput import as_json
from course.commands.place import span
from course.figures.goodput import goodput_curve, goodput_summary
from course.figures.placement import placement_map, placement_summary
from course.simulator.goodput import Goodput, Trial
from course.simulator.placement.layout import lay_out_singles
from course.simulator.placement.machines import Machines, Parallelism

EXPERIMENT = """
model = "opt-13b"
hardware = "a100-80gb"
cost = "distserve-a100"
[workload]
prompt_tokens = 512
output_tokens = 32
rate = 2.0
requests = 40
[slo]
ttft = 0.2
tpot = 0.1
[[instances]]
role = "prefill"
[[instances]]
role = "decode"
"""


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(EXPERIMENT)
    return str(path)


def run(*arguments):
    return commands.main([str(argument) for argument in arguments])


def test_goodput_prints_the_curve_and_the_answer(experiment, capsys):
    assert run("goodput", experiment, "--tolerance", "0.1") == 0
    out = capsys.readouterr().out
    assert "requests/s keep 90% within the limits" in out
    assert "on each of 2 GPUs" in out
    assert "misses" in out


def test_goodput_as_json_and_as_a_page(experiment, tmp_path, capsys):
    page, again = tmp_path / "curve.html", tmp_path / "again.html"
    assert run("goodput", experiment, "--tolerance", "0.1", "--figure", again) == 0
    capsys.readouterr()
    assert run("goodput", experiment, "--tolerance", "0.1", "--json", "-", "--figure", page) == 0
    assert page.read_bytes() == again.read_bytes()
    assert '<meta name="color-scheme" content="light dark">' in page.read_text()
    result = json.loads(capsys.readouterr().out)
    assert result["goodput_per_gpu"] == result["goodput"] / 2
    assert result["goodput"] < result["first_miss"] <= result["goodput"] * 1.1
    good = [trial["rate"] for trial in result["trials"] if trial["attainment"] >= result["attainment_wanted"]]
    assert max(good) == result["goodput"]
    assert "plotly" in page.read_text()


def test_goodput_follows_overrides(experiment, capsys):
    rates = []
    for limit in (0.15, 0.3):
        run("goodput", experiment, "--set", f"slo.ttft={limit}", "--tolerance", "0.1", "--json", "-")
        rates.append(json.loads(capsys.readouterr().out)["goodput"])
    assert rates[0] < rates[1]


def test_place_prints_both_algorithms_and_draws_the_choice(experiment, tmp_path, capsys):
    page, file = tmp_path / "map.html", tmp_path / "place.json"
    assert run("place", experiment, "--gpus", 2, "--tolerance", 0.2, "--jobs", 1, "--figure", page, "--json", file) == 0
    out = capsys.readouterr().out
    assert "Algorithm 1" in out
    assert "Algorithm 2" in out
    assert "node 0  [ P0 | D0 ]" in out
    found = json.loads(file.read_text())["searches"]
    assert [each["algorithm"] for each in found] == [1, 2]
    assert found[1]["chosen"]["nodes"] == [["P0", "D0"]]
    assert found[1]["chosen"]["goodput_together"] > 0
    assert page.read_text().count("Algorithm") >= 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("place", "X", "--gpus", "0"), "at least 1 GPU"),
        (("place", "X", "--gpus", "6", "--gpus-per-node", "4"), "multiple of 4"),
        (("place", "X", "--gpus", "1"), "2 GPUs or more"),
        (("place", "X", "--gpus", "2", "--jobs", "0"), "--jobs"),
        (("place", "X", "--gpus", "2", "--backend", "nowhere"), "nowhere"),
        (("place", "X", "--gpus", "2", "--scheduler", "tcp://head:8786"), "--scheduler goes with --backend dask"),
        (("place", "X", "--gpus", "2", "--tolerance", "0"), "the tolerance is a share above 0"),
        (("place", "X", "--gpus", "2", "--tolerance", "nan", "--exact"), "the tolerance is a share above 0"),
        (("place", "X", "--gpus", "2", "--json", "same", "--figure", "same"), "two outputs would be written to same"),
        (("goodput", "X", "--start", "0"), "positive rate to start from, got 0"),
        (("place", "X", "--gpus", "2", "--rate", "1000", "--jobs", "1", "--tolerance", "0.5"), "1000 requests/s need"),
        (("goodput", "X", "--set", "slo="), "slo.ttft and slo.tpot are missing"),
        (("goodput", "X", "--start", "-1"), "positive rate"),
        (("goodput", "X", "--tolerance", "0"), "tolerance"),
        (("goodput", "X", "--figure", "/nowhere/x.html"), "no folder"),
    ],
)
def test_mistakes_are_one_sentence(experiment, arguments, said, capsys):
    assert run(*(experiment if argument == "X" else argument for argument in arguments)) == 2
    errors = capsys.readouterr().err.strip()
    assert said in errors
    assert "\n" not in errors


FOUND = Goodput(4.0, 8.0, 0.9, (Trial(2.0, 1.0, 1.0, 1.0), Trial(4.0, 1.0, 0.95, 0.95), Trial(8.0, 0.8, 0.5, 0.4)), 2)


def test_the_curve_shows_every_trial_per_gpu():
    figure = goodput_curve(FOUND)
    assert [trace.name for trace in figure.data] == ["all limits", "TTFT alone", "TPOT alone"]
    assert list(figure.data[0].x) == [1.0, 2.0, 4.0]
    assert list(figure.data[0].y) == [1.0, 0.95, 0.4]
    assert goodput_summary(FOUND) == (
        "4 requests/s keep 90% within the limits: 2 per second on each of 2 GPUs; at 8 TTFT and TPOT miss."
    )


def test_summaries_of_searches_without_a_limit_or_without_a_rate():
    assert "no higher rate" in goodput_summary(Goodput(4.0, float("inf"), 0.9, FOUND.trials))
    none = Goodput(0.0, 2.0, 0.99, (Trial(2.0, 0.5, 1.0, 0.5),))
    assert goodput_summary(none) == "No rate tried keeps 99% within the limits; TTFT misses."
    assert as_json(none)["first_miss"] == 2.0
    assert goodput_curve(none).layout.shapes[0].y0 == 0.99


def test_the_map_has_a_square_for_every_gpu():
    layout = lay_out_singles(Machines(8, 4), Parallelism(2, 1), Parallelism(1, 1), 2, 3)
    figure = placement_map(layout)
    squares = {trace.name: sum(x is None for x in trace.x) for trace in figure.data}
    assert squares == {"prefill": 4, "decode": 3, "idle": 1}
    assert [note.text for note in figure.layout.annotations].count("<b>P1</b>") == 2
    assert placement_summary(layout) == "2 prefill instances and 3 decode instances on 8 GPUs in 2 nodes; 1 idle."


def test_a_range_is_said_as_one():
    trial = Trial(1.0, 1.0, 1.0, 1.0)
    assert span(Goodput(4.0, 4.125, 0.9, (trial,))) == "4"
    assert span(Goodput(4.0, 8.0, 0.9, (trial,)), 2) == "2 to 4"
    assert span(Goodput(0.0, 2.0, 0.9, (trial,))) == "under 2"
    assert span(Goodput(8.0, float("inf"), 0.9, (trial,))) == "over 8"
