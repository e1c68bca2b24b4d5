"""What the README and the documentation promise is there: commands, options, files, lessons."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from course import commands
from course.curriculum.readme import with_lessons

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}


def course_commands() -> list[str]:
    """Every `python -m course ...` in a code span or block, without the interpreter."""
    shown = []
    for text in TEXT.values():
        for line in re.findall(r"`([^`\n]+)`", text) + re.findall(r"^(?!\|)([^`\n]+)$", text, re.MULTILINE):
            if found := re.search(r"python3? -m course ([a-z][a-z-]*[^#)]*)", line):
                shown.append(found[1].strip())
    return sorted(set(shown))


@pytest.mark.parametrize("line", course_commands())
def test_commands_shown_exist_with_the_options_shown(line: str) -> None:
    name, *arguments = shlex.split(line)
    assert name in commands.available(), f"the documentation shows `python -m course {line}`"
    module = importlib.import_module(commands.module_name(name))
    parser = commands.Parser(prog=name)
    module.configure(parser)
    _, unknown = parser.parse_known_args(arguments)
    assert not unknown or getattr(module, "PASSES_ON", False)


def test_the_readme_shows_every_command() -> None:
    shown = {line.split()[0] for line in course_commands()}
    assert shown >= set(commands.available())


def test_make_targets_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z ]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {name for line in targets for name in line.split()}
    shown = {name for text in TEXT.values() for name in re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)}
    assert {"lab", "test"} <= shown <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", TEXT[page]):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_in_the_index() -> None:
    index = TEXT[ROOT / "docs" / "README.md"]
    for page in PAGES:
        assert page.name == "README.md" or f"]({page.name})" in index, f"docs/README.md does not mention {page.name}"


def test_the_lesson_table_is_made_from_the_table_of_contents() -> None:
    text = TEXT[ROOT / "README.md"]
    assert with_lessons(text) == text, "run: python -m course.curriculum.readme"
    assert "| 15 | " in text
