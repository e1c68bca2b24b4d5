"""Every cost model by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from course.errors import UserError
from course.simulator.costs.measured import fit, residuals
from course.simulator.costs.profile import SHIPPED, load_profile
from course.simulator.costs.registry import COSTS, make_cost
from course.simulator.hardware import load_hardware
from course.simulator.shapes import load_shape
from tests.simulator.costs.helpers import TRUTH, batch, profile

A100, OPT = load_hardware("a100-80gb"), load_shape("opt-13b")


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile of the tiny model that "measured" and "this-machine" mean."""
    file = tmp_path / "recorded.json"
    profile().save(file)
    monkeypatch.setenv("COURSE_PROFILE", str(file))
    return file


@pytest.mark.parametrize("name", [name for name in COSTS if name != "measured"])
def test_every_name_makes_a_model_that_answers(name: str):
    cost = make_cost(name, OPT, A100, tp=1)
    assert 0 < cost.batch_s(batch(contexts=[100])) < cost.batch_s(batch([(0, 2000)], [100]))


def test_a_measured_model_by_name_or_file(recorded: Path):
    tiny, step = load_shape("tiny"), batch([(0, 50)], [10, 20])
    for name, machine in (
        ("measured", "this-machine"),
        (str(recorded), str(recorded)),
        (str(recorded), "this-machine"),
    ):
        cost = make_cost(name, tiny, load_hardware(machine))
        assert cost.batch_s(step) == pytest.approx(TRUTH.batch_s(step), rel=1e-3)
    assert load_hardware("this-machine").flops_s == profile().machine.flops_s


def test_a_measured_model_holds_for_what_was_measured(recorded: Path):
    here, tiny = load_hardware("this-machine"), load_shape("tiny")
    with pytest.raises(UserError, match="measured with the model 'tiny', not 'opt-13b'"):
        make_cost("measured", OPT, here)
    with pytest.raises(UserError, match="on another machine than hardware 'a100-80gb'"):
        make_cost("measured", tiny, A100)
    with pytest.raises(UserError, match="measured on one device"):
        make_cost("measured", tiny, here, tp=2)
    with pytest.raises(UserError, match=r"there is no profile absent\.json"):
        make_cost("absent.json", tiny, here)


def test_the_shipped_profile_fits_its_own_steps():
    if not SHIPPED.exists():
        pytest.skip("no profile is shipped yet")
    shipped = load_profile(SHIPPED)
    assert shipped.model == load_shape("tiny")
    rows = {row.kind: row for row in residuals(shipped, fit(shipped))}
    assert rows["all"].p50 < 0.1
    assert rows["all"].p90 < 0.2


def test_mistakes_are_answered_in_a_sentence():
    with pytest.raises(UserError, match="unknown cost 'distserve': the nearest is 'distserve-a100'"):
        make_cost("distserve", OPT, A100)
    with pytest.raises(UserError, match="fitted on hardware 'a100-80gb', not on 'h100'"):
        make_cost("vllm-a100", OPT, load_hardware("h100"))
    with pytest.raises(UserError, match="not fitted for llama-2-7b"):
        make_cost("vllm-a100", load_shape("llama-2-7b"), A100)
