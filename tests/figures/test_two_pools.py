"""Two pools: what is wrong is red and said, in words too."""

from __future__ import annotations

from xml.etree import ElementTree

from course.figures import PoolState, two_pools, two_pools_summary
from course.figures.palette import ACCENT, WRONG

SOURCE = PoolState("source", ["AB", "C", ""], {0: "A", 1: "A"}, {0: "free"})
TARGET = PoolState("target", ["", "<&", "AB"], {2: "A", 1: "B"}, {0: "lost"})


def test_wrong_blocks_are_red_and_say_why() -> None:
    drawn = two_pools(SOURCE, TARGET, "After reserve")
    root = ElementTree.fromstring(drawn)
    frames = [child for child in root if child.tag.endswith("rect")]
    assert len(frames) == 6
    assert [frame.get("stroke") for frame in frames].count(WRONG) == 2
    said = [child.text for child in root if child.tag.endswith("text")]
    assert {"free", "lost", "<&", "After reserve"} <= set(said)


def test_a_sequence_has_one_colour_at_both_workers() -> None:
    root = ElementTree.fromstring(two_pools(SOURCE, TARGET))
    colours = {child.get("fill") for child in root if child.text == "A" and child.get("font-weight") == "700"}
    assert colours == {ACCENT, WRONG}


def test_the_summary_names_holders_and_faults() -> None:
    assert two_pools_summary(SOURCE, TARGET, "Then") == (
        "Then; source: 0 A, 1 A; wrong there: 0 free; target: 1 B, 2 A; wrong there: 0 lost."
    )


def test_many_blocks_take_several_rows() -> None:
    pool = PoolState("source", [""] * 17)
    ys = {child.get("y") for child in ElementTree.fromstring(two_pools(pool, TARGET)) if child.tag.endswith("rect")}
    assert len(ys) == 4
