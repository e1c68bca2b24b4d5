"""docs/policies.md has a paragraph for every policy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from course.serving.routers import ROUTERS
from course.serving.schedulers import SCHEDULERS

TEXT = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
PART = {"scheduler": TEXT.split("## Routers")[0], "router": TEXT.split("## Routers")[1]}


@pytest.mark.parametrize(
    ("kind", "name"), [*(("scheduler", name) for name in SCHEDULERS), *(("router", name) for name in ROUTERS)]
)
def test_every_policy_has_its_paragraph(kind: str, name: str):
    assert re.search(rf"^\*\*`{name}`\*\*|^\*\*.*and \*\*`{name}`\*\*", PART[kind], re.MULTILINE), f"{kind} {name}"


def test_parameters_that_are_named_exist():
    named = set(re.findall(r"`(\w+_\w+)`", TEXT))
    code = "".join(path.read_text() for path in (Path(__file__).parents[2] / "course" / "serving").rglob("*.py"))
    assert {name for name in named if name not in code} == set()
