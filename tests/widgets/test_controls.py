"""Where a control can stand, and what its widget is."""

from __future__ import annotations

import ipywidgets
import pytest

from course.errors import UserError
from course.widgets import Choice, LogSlider, Slider, Text, Toggle
from course.widgets.controls import Control, check
from course.widgets.live import make_input

CONTROLS: list[tuple[Control, type, object, object]] = [
    (Slider("n", "n", 0, 10, 2, 4), ipywidgets.IntSlider, 6, 5),
    (Slider("x", "x", 0.0, 1.0, 0.1, 0.5), ipywidgets.FloatSlider, 0.3, 1.1),
    (LogSlider("n", "n", 16, 1024, 64), ipywidgets.SelectionSlider, 512, 100),
    (Choice("c", "c", ("a", "b"), "a"), ipywidgets.Dropdown, "b", "z"),
    (Toggle("t", "t", False), ipywidgets.Checkbox, True, 1),
    (Text("s", "s", "to be"), ipywidgets.Text, "", None),
]


@pytest.mark.parametrize(("control", "kind", "good", "bad"), CONTROLS, ids=[c[1].__name__ for c in CONTROLS])
def test_a_control_knows_where_it_can_stand(control: Control, kind: type, good: object, bad: object) -> None:
    assert check(control, control.value) == control.value
    assert check(control, good) == good
    with pytest.raises(UserError, match="cannot be set to"):
        check(control, bad)


@pytest.mark.parametrize(("control", "kind", "good", "bad"), CONTROLS, ids=[c[1].__name__ for c in CONTROLS])
def test_its_widget_is_labelled_and_stands_where_it_should(
    control: Control, kind: type, good: object, bad: object
) -> None:
    widget = make_input(control)
    assert type(widget) is kind
    assert widget.description == control.label
    assert widget.tooltip
    assert widget.value == control.value
    widget.value = good
    assert widget.value == good


def test_a_log_slider_takes_equal_factors() -> None:
    assert LogSlider("n", "n", 16, 200, 32).values == [16, 32, 64, 128]
    assert LogSlider("n", "n", 1, 1000, 10, factor=10).values == [1, 10, 100, 1000]
