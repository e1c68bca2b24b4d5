"""Whole builds, with a kernel."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from course.commands import main
from course.curriculum import check, sources
from course.curriculum.build import BuildError, build
from course.curriculum.verify import problems
from tests.curriculum.helpers import lesson
from tests.notebooks.nbval import run_strictly

WITH_PICTURE = """\
# %% [markdown]
# ## A picture

# %%
import plotly.graph_objects as go

print("three bars")
go.Figure(go.Bar(y=[1, 2, 3]))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small lesson, built."""
    return build(lesson(WITH_PICTURE), tmp_path_factory.mktemp("notebooks"))


def test_a_lesson_builds_executed_small_and_with_its_pictures(built: Path) -> None:
    notebook = nbformat.read(built, as_version=4)
    assert problems(notebook) == []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = [kind for cell in code for output in cell.outputs for kind in output.get("data", {})]
    assert "application/vnd.plotly.v1+json" in kinds
    assert built.stat().st_size < 30_000


def test_what_was_built_is_fresh(built: Path) -> None:
    assert check.stale([lesson(WITH_PICTURE)], built.parent) == {}


def test_it_runs_again_as_printed(built: Path) -> None:
    """Strict nbval: another kernel gives the same outputs."""
    assert run_strictly(built) > 0


def test_a_failing_cell_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    text = '# %%\nx = 1\n\n# %% id="sum"\ny = x + "1"\n\n# %%\nz = 2\n'
    with pytest.raises(BuildError) as caught:
        build(lesson(text), tmp_path)
    said = str(caught.value)
    assert said.startswith('lesson 00_start_here fails in cell 3 (sum, `y = x + "1"`): TypeError')
    assert "unsupported operand" in caught.value.traceback
    assert not list(tmp_path.glob("*.ipynb"))


def test_what_may_not_be_committed_fails_the_build(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="writes to stderr: 'careful'"):
        build(lesson('# %%\nimport sys\nprint("careful", file=sys.stderr)\n'), tmp_path)


EXERCISES = '''\
from course.exercises import call, define

@define("build_sample.double")
def double(x: int) -> int:
    """Twice x."""
    return 2 * x

@double.check()
def doubles(rng):
    yield call(3).returns(6)
'''

WITH_EXERCISE = """\
# %%
from course.exercises import exercise

# %% exercise="build_sample.double"

# %%
print(double(2))
"""


@pytest.fixture
def sample_exercise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lessons" / "build_sample"
    folder.mkdir(parents=True)
    (folder / "exercises.py").write_text(EXERCISES, encoding="utf-8")
    (folder / "__init__.py").touch()
    monkeypatch.setenv("COURSE_LESSONS", str(folder.parent))


@pytest.mark.parametrize(("solutions", "body"), [(False, "raise NotImplementedError"), (True, "return 2 * x")])
def test_both_editions_of_an_exercise_build_and_the_students_runs_again(
    solutions: bool, body: str, tmp_path: Path, sample_exercise: None
) -> None:
    file = build(lesson(WITH_EXERCISE), tmp_path / "notebooks", solutions=solutions)
    _, _, cell, after, _ = nbformat.read(file, as_version=4).cells
    assert cell.source.startswith('@exercise("build_sample.double")\ndef double(x: int) -> int:')
    assert body in cell.source
    assert after.outputs[0].text == "4\n"  # the lesson goes on, with the reference if need be
    if not solutions:
        assert run_strictly(file) == 3


def test_the_command_says_what_must_be_rebuilt(
    built: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "read_sources", lambda folder=None: [lesson(WITH_PICTURE)])
    assert main(["build", "00", "--check", "--to", str(built.parent)]) == 0
    assert capsys.readouterr().out == "up to date: 00_start_here\n"
    edited = lesson(WITH_PICTURE + "\n# %% [markdown]\n# New.\n")
    monkeypatch.setattr(sources, "read_sources", lambda folder=None: [edited])
    assert main(["build", "00", "--check", "--to", str(built.parent)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("00_start_here: ")
    assert "rebuild it: python -m course build 00_start_here" in said


def test_the_command_refuses_an_unknown_lesson(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "99_magic"]) == 2
    assert "no lesson '99_magic'" in capsys.readouterr().err
