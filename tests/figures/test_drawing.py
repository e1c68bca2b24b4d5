"""A drawing is an image that needs no trust, and says what it shows."""

from __future__ import annotations

import re
from base64 import b64decode

from course.figures.drawing import Drawing

SVG = '<svg xmlns="http://www.w3.org/2000/svg" aria-label="A&#x27;s end &amp; more"></svg>'


def test_it_is_an_image_with_the_picture_in_it() -> None:
    page = Drawing(SVG)._repr_html_()
    found = re.fullmatch(r'<img alt="([^"]*)" src="data:image/svg\+xml;base64,([\w+/=]+)">', page)
    assert found
    assert found[1] == "A&#x27;s end &amp; more"
    assert b64decode(found[2]).decode() == SVG


def test_its_text_is_what_it_shows() -> None:
    assert repr(Drawing(SVG)) == "A's end & more"
    assert repr(Drawing("<svg></svg>")) == "a drawing"
