"""An explorer, static and live; sliders are moved as a hand would, through the widgets' own events."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import product
from typing import Any

import plotly.graph_objects as go
import pytest

from course.curriculum.lesson_00_start_here import explorer as lesson_00
from course.curriculum.lesson_01_attention import explorer as lesson_01
from course.curriculum.lesson_02_kv_cache import explorer as lesson_02
from course.errors import UserError
from course.figures.style import new_figure
from course.widgets import Choice, Explorer, LogSlider, Slider, is_live
from course.widgets.explorer import INVITATION, bundle
from course.widgets.plot import Plot

EXPLORERS = {
    "00 policies": lesson_00.explorer(),
    "01 prompt cost": lesson_01.explorer(),
    "02 memory": lesson_02.explorer(),
    "02 time": lesson_02.time_explorer(),
}


def line(slope: int, name: str = "line") -> go.Figure:
    return new_figure([go.Scatter(x=[0, 1], y=[0, slope], name=name)], f"slope {slope}")


def small(**changes: Any) -> Explorer:
    controls = (Slider("slope", "slope", 0, 5, 1, 2), Choice("name", "name", ("line", "other"), "line"))
    arguments = {"figure": line, "controls": controls, "summary": lambda slope, name: f"{name} of slope {slope}"}
    return Explorer(**{**arguments, **changes})


def positions(control: Any) -> list[Any]:
    """Some places where a control can stand, its ends among them."""
    match control:
        case LogSlider():
            return control.values
        case Choice():
            return list(control.options)
        case _:
            return [control.low, control.value, control.high]


def test_draw_takes_defaults_and_refuses_what_is_not_there() -> None:
    figure, summary = small().draw(slope=3)
    assert (list(figure.data[0].y), summary) == ([0, 3], "line of slope 3")
    with pytest.raises(UserError, match="no control 'slop'; there are slope, name"):
        small().draw(slop=3)
    with pytest.raises(UserError, match="'slope' cannot be set to 9"):
        small().draw(slope=9)


def test_a_default_out_of_range_is_found_at_once() -> None:
    with pytest.raises(UserError, match="cannot be set to 99"):
        small(controls=(Slider("slope", "slope", 0, 5, 1, 99),))
    with pytest.raises(UserError, match="two controls"):
        small(controls=(Slider("slope", "a", 0, 5, 1, 2), Slider("slope", "b", 0, 5, 1, 2)))


def test_outside_of_a_kernel_nothing_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COURSE_WIDGETS", raising=False)
    assert not is_live()


def test_in_a_kernel_it_is_live_unless_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython

    monkeypatch.setattr(IPython, "get_ipython", lambda: type("Shell", (), {"kernel": object()})())
    monkeypatch.setenv("COURSE_WIDGETS", "0")
    assert not is_live()
    monkeypatch.delenv("COURSE_WIDGETS")
    assert is_live()


def test_static_it_shows_the_figures_data_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    small()._ipython_display_()
    assert [part.keys() for part in shown[1:]] == [{"text/html", "text/plain"}]
    assert f">line of slope 2 {INVITATION}<" in shown[1]["text/html"]
    assert shown[0].keys() == {"application/vnd.plotly.v1+json", "text/plain"}
    assert shown[0]["application/vnd.plotly.v1+json"]["data"][0]["y"] == [0, 2]


@pytest.mark.parametrize("name", EXPLORERS)
def test_the_static_picture_is_small_valid_json_and_always_the_same(name: str) -> None:
    texts = {json.dumps(bundle(EXPLORERS[name].draw()[0]), allow_nan=False) for _ in range(2)}
    assert len(texts) == 1
    assert len(texts.pop()) < 60_000


def test_moving_a_slider_redraws_the_same_plot() -> None:
    live = small().live()
    before = live.plot
    live.set(slope=4)
    assert live.plot is before
    assert live.plot in live.box.children
    assert live.plot.figure["data"][0]["y"] == [0, 4]
    assert live.plot.figure["layout"]["title"]["text"] == "slope 4"
    assert live.plot.label == "line of slope 4"
    assert "line of slope 4" in live.status.value


def test_one_move_is_one_message_to_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    live = small().live()
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(live.plot, "_send", lambda message, buffers=None: sent.append(message["state"]))
    live.set(slope=5)
    assert [state.keys() for state in sent] == [{"figure", "label"}]


def test_plotly_travels_once_per_kernel_and_again_when_a_page_asks() -> None:
    first, second = (small().live().plot for _ in range(2))
    carrier = Plot._carrier
    assert carrier is not None
    assert "plotly.js v" in carrier.text[:100]
    assert first._esm == second._esm
    assert len(first._esm) < 5_000
    first._handle_custom_msg("plotly, please", [])
    assert Plot._carrier is not carrier


def test_the_carrier_closes_when_the_page_has_it() -> None:
    small().live()
    carrier = Plot._carrier
    assert carrier is not None
    carrier._handle_custom_msg("received", [])
    assert carrier.comm is None


def test_a_mistake_in_a_learners_function_is_said_and_the_picture_stays() -> None:
    def broken(slope: int, name: str) -> go.Figure:
        return line(slope) if slope < 4 else line(1 // 0)

    live = small(figure=broken).live()
    live.set(slope=5)
    assert 'role="alert"' in live.status.value
    assert "ZeroDivisionError" in live.status.value
    assert live.plot.figure["data"][0]["y"] == [0, 2]
    live.set(slope=1)
    assert 'role="status"' in live.status.value


def test_what_stands_in_a_summary_cannot_become_html() -> None:
    live = small(summary=lambda slope, name: "<script>").live()
    assert "&lt;script&gt;" in live.status.value


@pytest.mark.parametrize("name", EXPLORERS)
def test_every_control_redraws_to_what_the_pure_function_draws(name: str) -> None:
    explorer = EXPLORERS[name]
    live = explorer.live()
    durations_ms = []
    for control in explorer.controls:
        for value in positions(control):
            began = time.perf_counter()
            live.set(**{control.name: value})
            durations_ms.append((time.perf_counter() - began) * 1e3)
            now = {each: live.inputs[each].value for each in live.inputs}
            figure, summary = explorer.draw(**now)
            assert live.plot.figure == bundle(figure)
            assert summary[:20] in live.status.value
    durations_ms.sort()
    print(f"{name}: {len(durations_ms)} redraws, median {durations_ms[len(durations_ms) // 2]:.0f} ms", end=" ")
    print(f"slowest {durations_ms[-1]:.0f} ms")


@pytest.mark.parametrize("name", EXPLORERS)
def test_all_corners_can_be_drawn(name: str) -> None:
    explorer = EXPLORERS[name]
    for corner in product(*(dict.fromkeys((positions(c)[0], positions(c)[-1])) for c in explorer.controls)):
        values = dict(zip((c.name for c in explorer.controls), corner, strict=True))
        figure, summary = explorer.draw(**values)
        assert len(figure.data) == len(explorer.draw()[0].data), "redrawing in place needs the same traces"
        assert summary.count("\n") == 0
        assert not {"nan", "inf"} & set(summary.split())


def test_drawing_a_static_picture_does_not_import_ipywidgets() -> None:
    code = "import sys; from course.curriculum.lesson_02_kv_cache.explorer import explorer; explorer().draw();"
    code += "assert not {'ipywidgets', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
