"""docs/experiments.md lists the keys that there are, with their defaults; no more and no fewer."""

from __future__ import annotations

import inspect
import re
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from course.serving.routers import ROUTERS
from course.serving.schedulers import SCHEDULERS
from course.simulator.experiment import experiment_from, preset_names
from course.simulator.experiment.spec import SECTIONS, Experiment
from course.simulator.experiment.workload import make_workload

TEXT = (Path(__file__).parents[3] / "docs" / "experiments.md").read_text(encoding="utf-8")
HEADINGS = {"": "Before the first section", "instances": "[[instances]]"} | {
    name: f"[{name}]" for name in SECTIONS if name != "instances"
}


def rows(heading: str) -> dict[str, str]:
    """First and second cell of the first table below a heading."""
    below = TEXT.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    table = re.search(r"\| key \|.*?(?=\n\n|\Z)", below, re.DOTALL)
    assert table
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", table[0], re.MULTILINE))


def written(default: object) -> str:
    if default is MISSING:
        return "–"
    if default is None or default == ():
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"


@pytest.mark.parametrize("section", HEADINGS)
def test_every_key_is_there_with_its_default(section: str):
    known = fields(SECTIONS.get(section, Experiment))
    expected = {each.name: written(each.default) for each in known if "kind" in each.metadata}
    assert rows(HEADINGS[section]) == expected


def test_every_scheduler_is_there_with_its_parameters():
    table = dict(
        re.findall(r"^\| `([a-z-]+)` \| (`[^|]*) \|$", TEXT.split("| scheduler |")[1].split("\n\n")[0], re.MULTILINE)
    )
    for name, policy in SCHEDULERS.items():
        parameters = list(inspect.signature(policy).parameters)
        assert re.findall(r"`(\w+)`", table.get(name, "")) == parameters, f"docs/experiments.md: scheduler {name}"


def test_every_router_and_preset_is_there():
    for name in [*ROUTERS, *preset_names()]:
        assert f"`{name}`" in TEXT, f"docs/experiments.md does not mention {name}"


def test_the_example_can_be_built():
    example = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert example
    read = experiment_from(tomllib.loads(example[1]))
    assert len(make_workload(read.workload, read.seed, 131072, 16)) == 500
