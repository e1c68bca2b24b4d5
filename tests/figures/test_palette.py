"""The colours: legible in every theme, apart for every eye."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from course.figures.palette import (
    ACCENT,
    BACKGROUNDS,
    DECODE,
    PREFILL,
    SERIES,
    TEXT,
    TRANSFER,
    WAITING,
    WRONG,
    contrast,
    linear_rgb,
)

PHASES = {"prefill": PREFILL, "decode": DECODE, "transfer": TRANSFER, "accent": ACCENT}

# Machado, Oliveira and Fernandes 2009, severity 1.0.
EYES = {
    "usual": np.eye(3),
    "protan": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "deutan": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
    "tritan": np.array([[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: str, eye: str) -> np.ndarray:
    seen = np.clip(EYES[eye] @ np.array(linear_rgb(colour)), 0, 1)
    t = TO_XYZ @ seen / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: str, other: str) -> float:
    """CIE76, for the eye to which the two are most alike; 2.3 is just noticeable."""
    return min(float(np.linalg.norm(lab(one, eye) - lab(other, eye))) for eye in EYES)


@pytest.mark.parametrize("background", BACKGROUNDS.values(), ids=BACKGROUNDS.keys())
@pytest.mark.parametrize("colour", sorted({*PHASES.values(), *SERIES, WAITING, WRONG, TEXT}))
def test_every_colour_has_contrast_on_every_background(colour: str, background: str) -> None:
    assert contrast(colour, background) >= 3


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(("one", "other"), list(combinations(PHASES, 2)))
def test_phases_stay_apart_for_colour_blind_eyes(one: str, other: str) -> None:
    assert distance(PHASES[one], PHASES[other]) > 15


def test_grey_is_never_the_same_as_a_phase() -> None:
    assert all(distance(WAITING, colour) > 9 for colour in PHASES.values())


def test_series_stay_apart() -> None:
    assert all(distance(one, other) > 25 for one, other in combinations(SERIES, 2))
