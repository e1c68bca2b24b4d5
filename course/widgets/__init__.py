"""Thin shells around figures: controls that redraw a picture, and a static form of the same.

``controls``   what a control is: a slider, a slider over powers, a list, a switch, a line of text
``explorer``   a pure figure function plus its controls; static or live
``live``       the live form: ipywidgets around a plot
``plot``       a figure that is redrawn in place, without a network
"""

from course.widgets.controls import Choice, Control, LogSlider, Slider, Text, Toggle
from course.widgets.explorer import Explorer, is_live

__all__ = ["Choice", "Control", "Explorer", "LogSlider", "Slider", "Text", "Toggle", "is_live"]
