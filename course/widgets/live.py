"""An explorer whose controls move: ipywidgets around one plot that is redrawn in place."""

from __future__ import annotations

from typing import Any

import ipywidgets

from course.widgets.controls import Choice, Control, LogSlider, Slider, Text, Toggle
from course.widgets.explorer import Explorer, bundle, line_of_text
from course.widgets.plot import Plot

_STYLE = {"description_width": "13em"}
_LAYOUT = {"width": "34em", "max_width": "100%"}
_WIDE = {"width": "60em", "max_width": "100%"}  # for a line of text


class LiveExplorer:
    """The controls, the figure and the summary of an explorer, and the wire between them.

    Nothing waits: a change of a control is a message that the kernel answers like the running of a cell.
    """

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        figure, summary = explorer.draw()
        self.inputs = {control.name: make_input(control) for control in explorer.controls}
        self.plot = Plot(bundle(figure), summary)
        self.status = ipywidgets.HTML(_status(summary))
        for each in self.inputs.values():
            each.observe(self._on_change, names="value")
        self.box = ipywidgets.VBox([*self.inputs.values(), self.plot, self.status])

    def set(self, **values: Any) -> None:
        """Move controls, as a hand would."""
        for name, value in values.items():
            self.inputs[name].value = value

    def _on_change(self, change: dict[str, Any]) -> None:
        try:
            figure, summary = self.explorer.draw(**{name: each.value for name, each in self.inputs.items()})
        except Exception as error:  # a learner's function may stand behind it: say so, keep the last picture
            self.status.value = _status(f"{type(error).__name__}: {error}", role="alert")
            return
        self.plot.redraw(bundle(figure), summary)
        self.status.value = _status(summary)


def _status(text: str, role: str = "status") -> str:
    """One line below the picture; screen readers speak it when it changes."""
    return line_of_text(text, f'role="{role}" aria-live="polite" ')


def make_input(control: Control) -> ipywidgets.ValueWidget:
    """The widget of a control: focus it with Tab, move it with the arrow keys, the space bar or by typing."""
    shared: dict[str, Any] = {"description": control.label, "tooltip": control.help or control.label}
    shared |= {"style": _STYLE, "layout": _LAYOUT}
    match control:
        case Slider(low=low, high=high, step=step, value=value):
            whole = all(isinstance(number, int) for number in (low, high, step, value))
            kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
            return kind(value=value, min=low, max=high, step=step, **shared)
        case LogSlider(value=value):
            options = [(f"{number:,}", number) for number in control.values]
            return ipywidgets.SelectionSlider(value=value, options=options, **shared)
        case Choice(options=options, value=value):
            return ipywidgets.Dropdown(value=value, options=list(options), **shared)
        case Toggle(value=value):
            return ipywidgets.Checkbox(value=value, indent=True, **shared)
        case Text(value=value):
            return ipywidgets.Text(value=value, continuous_update=False, **{**shared, "layout": _WIDE})
