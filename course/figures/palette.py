"""One palette for the whole course: a colour means the same thing in every lesson.

The phases have colours of Okabe and Ito's colour-blind-safe set (2008), waiting is grey. Each has a contrast of at
least 3:1 on white and on both dark backgrounds of JupyterLab, so one figure serves every theme; the tests check that
and how far apart the colours stay for colour-blind eyes. Grey comes close to others there: in timelines it is hatched.
"""

from __future__ import annotations

PREFILL = "#D55E00"  # vermillion: the prompt is computed; also TTFT
DECODE = "#0072B2"  # blue: the answer is written; also TPOT
WAITING = "#7A7A7A"  # grey: nothing is done for the request; also what is always there
TRANSFER = "#CC79A7"  # reddish purple: keys and values move
ACCENT = "#009E73"  # bluish green: no fixed meaning
WRONG = "#E23B3B"  # red: lost, leaked, broken; always with a word beside it, for eyes that take it for another

TEXT = "#7A7A7A"  # letters and axes
GRID = "rgba(128, 128, 128, 0.25)"
CLEAR = "rgba(0, 0, 0, 0)"

BY_KIND = {"waiting": WAITING, "prefill": PREFILL, "transfer": TRANSFER, "decode": DECODE}
SERIES = (ACCENT, "#8A63D2", "#9A7B00")
"""Bluish green, violet, ochre: for lines that are compared and are no phase, in this order."""

BACKGROUNDS = {"light": "#FFFFFF", "dark": "#111111", "dark cell": "#212121"}
"""What a figure may stand on: white, and JupyterLab's dark page and code cell."""

_SHADE = "rgba(0, 114, 178, {})"  # DECODE, as much of it as asked for
SHADES = [[at, _SHADE.format(alpha)] for at, alpha in ((0.0, 0.06), (0.1, 0.3), (0.4, 0.7), (1.0, 1.0))]
"""A colour scale for shares: more ink is more, on any background; small ones are lifted so that they can be seen."""


def contrast(one: str, other: str) -> float:
    """Contrast of two colours ("#RRGGBB"), from 1 to 21, as WCAG 2 defines it."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = linear_rgb(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def linear_rgb(colour: str) -> tuple[float, float, float]:
    """Red, green and blue light of "#RRGGBB", 0 to 1 each, without sRGB's gamma."""
    levels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in levels)
    return red, green, blue
