"""The register: what a verdict is, how entries are found, what the page and the command show of them."""

import json
import math
from pathlib import Path

import pytest

from course import commands
from course.errors import UserError
from course.simulator.reproduce.all import REGISTER, as_markdown, as_text, compute, count, entries_named
from course.simulator.reproduce.page import BLOCK, with_tables
from course.simulator.reproduce.register import Entry, Verdict, as_json, claim, find_file, number, skipped

PAGE = Path(__file__).parents[3] / "docs" / "reproduction.md"
QUICK = (
    "distserve-constants",
    "splitwise-second-token",
    "orca-reservation",
    "sarathi-stall-free",
    "taichi-three-limits",
)


def test_a_number_within_its_tolerance_is_reproduced():
    assert number("x", 10, 11, percent=10).verdict is Verdict.REPRODUCED
    assert number("x", 10, 11.1, percent=10).verdict is Verdict.MISSED
    assert number("x", 10, 9.5, within=0.5).verdict is Verdict.REPRODUCED
    assert number("x", -10, -11, percent=10).verdict is Verdict.REPRODUCED
    assert number("x", 10, math.nan, percent=10).verdict is Verdict.MISSED


def test_numbers_are_said_as_printed():
    row = number("x", 1.6, 1.78125, unit="rps", percent=20)
    assert (row.theirs, row.ours, row.tolerance) == ("1.6 rps", "1.78 rps", "±20 %")
    assert number("x", 20.4, 19.61, unit="%", within=4).tolerance == "±4 points"
    assert number("x", 2048, 2048.4, within=1).ours == "2048"


def test_claims_and_what_is_skipped():
    assert claim("a before b", "a < b", "1 < 2", True).verdict is Verdict.REPRODUCED
    assert claim("a before b", "a < b", "2 > 1", False).verdict is Verdict.MISSED
    assert skipped("x", "3", "needs y").verdict is Verdict.SKIPPED


def test_entries_are_found_by_name_and_by_beginning():
    names = [entry.name for entry in REGISTER]
    assert len(set(names)) == len(names)
    assert entries_named(None) == list(REGISTER)
    assert [entry.name for entry in entries_named("orca-reservation")] == ["orca-reservation"]
    assert {entry.name for entry in entries_named("distserve")} == {n for n in names if n.startswith("distserve")}
    with pytest.raises(UserError, match="nearest is 'mooncake-reuse'"):
        entries_named("mooncke")


@pytest.mark.parametrize("name", QUICK)
def test_quick_entries_are_reproduced(name, tmp_path):
    [(_, rows)] = compute(entries_named(name), tmp_path)
    assert rows
    assert {row.verdict for row in rows} == {Verdict.REPRODUCED}


def test_without_the_users_data_an_entry_says_what_it_needs(tmp_path):
    [(_, rows)] = compute(entries_named("mooncake-reuse"), tmp_path)
    assert [row.verdict for row in rows] == [Verdict.SKIPPED]
    assert "conversation_trace.jsonl" in rows[0].note


def test_files_are_found_in_the_folder_and_one_below(tmp_path):
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "b.csv").write_text("x")
    assert find_file(tmp_path, "a.csv", "b.csv") == tmp_path / "traces" / "b.csv"
    assert find_file(tmp_path, "c.csv") is None


def test_the_page_has_every_entry_and_the_rows_of_today():
    text = PAGE.read_text(encoding="utf-8")
    shown = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]
    assert shown == [entry.name for entry in REGISTER], (
        "run: python -m course reproduce --markdown docs/reproduction.md"
    )
    for entry, rows in compute([entry for entry in REGISTER if entry.name in QUICK], Path("nowhere")):
        block = text.partition(f"### {entry.name}\n")[2].partition("\n### ")[0]
        assert [line.split(" | ")[0].removeprefix("| ") for line in block.splitlines() if line.startswith("| ")][
            1:
        ] == [row.what for row in rows]


def test_every_miss_on_the_page_has_a_suspected_reason():
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if "| missed" in line:
            assert "| missed (" in line


MADE_UP = Entry(
    "made-up", "Nobody, 2026", "table 1", "a setting", lambda data: [number("x", 1, 3, percent=5, note="a reason")]
)


def test_the_tables():
    computed = list(compute([MADE_UP], Path()))
    text, page = "\n".join(as_text(computed)), "\n".join(as_markdown(computed))
    assert "missed" in text
    assert "a reason" in text
    assert "| x | 1 | 3 | ±5 % | missed (1) |" in page
    assert "(1) A reason." in page
    assert count(computed) == "1 missed"
    assert (
        as_json(*computed[0])[0] | {"their_value": 1, "our_value": 3, "verdict": "missed"} == as_json(*computed[0])[0]
    )


def test_the_page_is_changed_between_its_marks_only(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- register: how -->\nold\n<!-- end of register -->\nafter\n")
    text = with_tables(page, list(compute([MADE_UP], Path())))
    assert text.startswith("before\n<!-- register: how -->\n")
    assert text.endswith("<!-- end of register -->\nafter\n")
    assert "old" not in text
    assert BLOCK.search(text)
    with pytest.raises(UserError, match="has no lines"):
        with_tables(tmp_path / "none.md", [])


def test_the_command(tmp_path, capsys):
    assert commands.main(["reproduce", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(entry.name in listed for entry in REGISTER)
    assert commands.main(["reproduce", "splitwise", "--json", "-", "--data", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["verdict"] for row in rows} == {"reproduced"}
    assert commands.main(["reproduce", "mooncake", "--data", str(tmp_path)]) == 0
    assert "1 skipped" in capsys.readouterr().out
    assert commands.main(["reproduce", "nothing"]) == 2
    assert "the register has no 'nothing'" in capsys.readouterr().err


def test_a_page_that_cannot_be_filled_is_refused_before_anything_is_computed(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("no marks\n")
    assert commands.main(["reproduce", "--markdown", str(page)]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "has no lines" in said.err
    page.write_text("<!-- register: how -->\nall of it\n<!-- end of register -->\n")
    assert commands.main(["reproduce", "splitwise", "--markdown", str(page)]) == 2
    assert "--markdown writes all entries" in capsys.readouterr().err
    assert "all of it" in page.read_text()
