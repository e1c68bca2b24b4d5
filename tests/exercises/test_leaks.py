"""The search for answers in what students get: it finds them wherever they stand, and finds nothing else."""

from __future__ import annotations

import io
import json
import py_compile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.exercises import load
from course.exercises.leaks import SHORTEST, leaks, secrets_of, squeezed

SAMPLE = Path(__file__).parent / "samples" / "lab9_cache"
LINE = "scores = rows @ columns.T  # \"the\" 'answer'"
SECRETS = {LINE: "a reference"}


def sample_secrets(taught: str = "") -> dict[str, str]:
    """The sample lab's, whose answers are made long enough to be told apart."""
    exercises = [replace(one, reference_text=one.reference_text.rstrip() + "  # as in a lab\n") for one in load("lab9")]
    return secrets_of(exercises, SAMPLE, squeezed(taught))


def found(name: str, content: str | bytes) -> list[str]:
    data = content if isinstance(content, bytes) else content.encode()
    return [leak.line for leak in leaks({name: data}, SECRETS)]


def zipped(**members: str | bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def notebook(source: str | list[str]) -> str:
    return json.dumps({"cells": [{"cell_type": "code", "source": source, "metadata": {}}]})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("course/x.py", f"def f():\n        {LINE}\n"),
        ("course/x.py", LINE.replace(" @", "\n    @\t")),
        ("course/x.py", f"text = {json.dumps(LINE)}\n"),
        ("labs/x.ipynb", notebook(f"a = 1\n{LINE}")),
        ("labs/x.ipynb", notebook(["scores = rows @\n", LINE.removeprefix("scores = rows @")])),
        ("labs/x.ipynb", json.dumps({"cells": [], "metadata": {"note": LINE}})),
        ("labs/x.ipynb", f"{{ no notebook: {LINE}"),
        ("labs/data/x.npz", zipped(deep=LINE)),
        ("labs/data/x.zip", zipped(inner=zipped(deep=LINE))),
        ("labs/data/x.bin", b"\xff\xfe" + LINE.encode() + b"\0\\n"),
        ("README.md", f"> {LINE}"),
    ],
)
def test_an_answer_is_found_wherever_it_stands(name: str, content: str | bytes) -> None:
    assert found(name, content) == [LINE]


@given(st.lists(st.sampled_from(LINE.split()), max_size=4), st.text(max_size=40), st.text(max_size=40))
def test_nothing_else_is_found(words: list[str], before: str, after: str) -> None:
    text = before + " ".join(words) + after
    assert bool(found("course/x.py", text)) == (squeezed(LINE) in squeezed(text))


@given(st.text("ab \n\t", min_size=1), st.text(" \n\t\r"))
def test_white_space_does_not_count(text: str, space: str) -> None:
    assert squeezed(space.join(text)) == squeezed(text)


def test_compiled_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("answer = 1\n")
    compiled = py_compile.compile(str(tmp_path / "x.py"), cfile=str(tmp_path / "x.pyc"), doraise=True)
    assert compiled
    assert found("course/x.pyc", Path(compiled).read_bytes()) == ["x.pyc"]


def test_a_labs_secrets_are_its_answers_hidden_checks_and_mistakes() -> None:
    secrets = sample_secrets()
    for line, whose in {
        "return sum(cache)  # as in a lab": "the reference of lab9.total",
        "cache.append(value) if len(cache) < 10 else None": "lab9.append's mistake 'stops at ten'",
        '@append.check(hidden=True, hint="Nothing is too many.")': "lab9.append's hidden check grows_without_limit",
        'nudge="Why would it stop?",': "lab9_cache/solutions.py",
    }.items():
        assert secrets[line] == whose
    files = {"course/exercises.py": (SAMPLE / "exercises.py").read_bytes()}
    assert leaks(files, secrets) == [], "what the student sees anyhow is no secret"
    for file in ("hidden.py", "solutions.py"):
        assert leaks({"course/x.py": (SAMPLE / file).read_bytes()}, secrets)
    assert all(len(squeezed(line)) >= SHORTEST for line in secrets)


def test_what_lessons_teach_is_no_secret() -> None:
    assert 'nudge="Why would it stop?",' not in sample_secrets(taught='nudge = "Why would it stop?",')


def test_an_answer_that_cannot_be_told_apart_is_named() -> None:
    with pytest.raises(UserError, match=r"the reference of lab9\.append cannot be kept secret"):
        secrets_of(load("lab9"), SAMPLE, b"")
