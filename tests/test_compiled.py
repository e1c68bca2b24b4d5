"""Compiled modules are used where they are exactly the sources, and nowhere else."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

import pytest

from course import compiled


@pytest.fixture
def finders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """What Python asks for modules; a test may add to it. Nothing is compiled yet."""
    asked = [finder for finder in sys.meta_path if not isinstance(finder, compiled.Finder)]
    monkeypatch.setattr(sys, "meta_path", asked)
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    monkeypatch.delenv("COURSE_COMPILED", raising=False)
    return asked


def test_what_was_made_of_these_sources_is_used(finders: list[object], tmp_path: Path) -> None:
    (tmp_path / compiled.digest()).mkdir()
    compiled.use()
    assert compiled.is_used()


def test_what_was_made_of_others_is_not(finders: list[object], tmp_path: Path) -> None:
    (tmp_path / "0123456789abcdef").mkdir()
    compiled.use()
    assert not compiled.is_used()


def test_nothing_is_used_against_somebodys_wish(
    finders: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / compiled.digest()).mkdir()
    monkeypatch.setenv("COURSE_COMPILED", "0")
    compiled.use()
    assert not compiled.is_used()


@pytest.mark.parametrize("changed", ["serving/plan.py", "serving/routers/load.py", "workload/request.py"])
def test_a_change_anywhere_in_the_rooms_counts(changed: str, tmp_path: Path) -> None:
    for room in compiled.ROOMS:
        shutil.copytree(compiled.ROOT / "course" / room, tmp_path / "course" / room)
    shutil.copy(compiled.ROOT / "course" / "errors.py", tmp_path / "course")
    assert compiled.digest(tmp_path) == compiled.digest()
    with (tmp_path / "course" / changed).open("a") as file:
        file.write("\n")
    assert compiled.digest(tmp_path) != compiled.digest()


def test_another_python_counts_as_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiled.digest()
    monkeypatch.setattr(sys, "version", "3.99.0")
    assert compiled.digest() != before


def test_modules_are_found_by_name_and_others_left_alone(tmp_path: Path) -> None:
    file = tmp_path / f"course.serving.pool{compiled.SUFFIX}"
    file.touch()
    finder = compiled.Finder(tmp_path)
    spec = finder.find_spec("course.serving.pool")
    assert spec
    assert spec.origin == str(file)
    assert finder.find_spec("course.serving.plan") is None


@pytest.mark.parametrize("module", compiled.MODULES)
def test_fields_have_types_that_exist_when_the_module_runs(module: str) -> None:
    """mypyc looks up the types of the fields of dataclasses and named tuples, and crashes where they are missing."""
    tree = ast.parse((compiled.ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    for_checkers_only = {
        name.asname or name.name
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in ast.walk(block)
        if isinstance(statement, ast.ImportFrom)
        for name in statement.names
    }
    records = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any("dataclass" in ast.unparse(d) for d in node.decorator_list)
        | any(ast.unparse(base) == "NamedTuple" for base in node.bases)
    ]
    fields = [field for record in records for field in record.body if isinstance(field, ast.AnnAssign)]
    used = {node.id for field in fields for node in ast.walk(field.annotation) if isinstance(node, ast.Name)}
    assert not used & for_checkers_only


@pytest.mark.parametrize("module", compiled.MODULES)
def test_no_class_inherits_from_an_abstract_one_of_pythons(module: str) -> None:
    """A compiled class would share its registry: a list would be an instance of it."""
    tree = ast.parse((compiled.ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    bases = {ast.unparse(base) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases}
    ours = {"Clock", "CostModel"}
    assert bases <= {"Enum", "Exception", "UserError", "NamedTuple", "Protocol", *ours}
