"""The grid of masks: a filled cell for each pair that may be, a frame around each that is wrong."""

from __future__ import annotations

from xml.etree import ElementTree

from course.figures.masks import mask_grid, mask_summary
from course.figures.palette import ACCENT, WRONG

RIGHT = [[True, True, True, False], [True, True, True, True]]
AS_THE_FIRST = [[True, False, False, False], [True, True, False, False]]


def cells(svg: str, **attributes: str) -> int:
    rects = [rect for rect in ElementTree.fromstring(svg).iter() if rect.tag.endswith("rect")]
    return sum(all(rect.get(name) == value for name, value in attributes.items()) for rect in rects)


def test_each_allowed_pair_is_filled_and_nothing_is_framed() -> None:
    svg = mask_grid({"right": RIGHT}, start=2)
    assert cells(svg, fill=ACCENT) == 7
    assert cells(svg, stroke=WRONG) == 0
    assert ">2</text>" in svg  # the first row's position


def test_wrong_cells_are_framed_in_the_first_mask_only() -> None:
    svg = mask_grid({"yours": AS_THE_FIRST, "expected": RIGHT}, start=2)
    assert cells(svg, stroke=WRONG) == 4
    assert (
        mask_summary({"yours": AS_THE_FIRST, "expected": RIGHT}) == "yours: 3 pairs; expected: 7 pairs; 4 cells differ"
    )


def test_a_mask_of_another_shape_is_drawn_too() -> None:
    svg = mask_grid({"yours": [[True]], "expected": RIGHT})
    assert cells(svg, stroke=WRONG) == 0
    assert cells(mask_grid({"yours": RIGHT, "expected": [[True]]}), stroke=WRONG) == 7  # all that should not be there
