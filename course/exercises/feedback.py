"""A verdict as a learner sees it: HTML under a notebook's cell, plain text elsewhere.

The HTML takes its colours from JupyterLab's theme, so it reads in light and dark; passed and failed differ by sign and
word, and by blue and orange, which colour-blind eyes tell apart. No script.
"""

from __future__ import annotations

from html import escape
from typing import Any

from course.exercises.verdict import Verdict

SIGNS = {"passed": "✓", "failed": "✗", "not attempted": "○"}
WORDS = {"passed": "Passed", "failed": "Not yet", "not attempted": "Not attempted"}
COLOURS = {"passed": "#0072B2", "failed": "#D55E00", "not attempted": "#8a8a8a"}
MOST_PRINTED = 600

BOX = (
    "border-left:4px solid {colour};padding:.5em .9em;margin:.3em 0;color:var(--jp-content-font-color1,inherit);"
    "font-family:var(--jp-content-font-family,sans-serif);line-height:1.45;max-width:60em"
)
CODE = (
    "background:rgba(128,128,128,.13);color:inherit;border-radius:3px;padding:.35em .6em;margin:.15em 0;"
    "font-family:var(--jp-code-font-family,monospace);font-size:.92em;white-space:pre-wrap;overflow-wrap:anywhere"
)
LABEL = "padding:.2em .8em .2em 0;vertical-align:top;text-align:left;white-space:nowrap;opacity:.8;font-weight:normal"


def rows(verdict: Verdict) -> list[tuple[str, str]]:
    """The particulars that there are, with their labels."""
    printed = verdict.printed
    if len(printed) > MOST_PRINTED:
        printed = printed[:MOST_PRINTED].rstrip() + " …"
    found = [("call", verdict.call)] if verdict.status == "failed" else []
    if verdict.status == "failed":
        found += [("expected", verdict.expected), ("came", verdict.got)]
    return [(label, text) for label, text in [*found, ("printed", printed.rstrip())] if text]


def as_text(verdict: Verdict, note: str = "") -> str:
    """For a terminal."""
    lines = [f"{SIGNS[verdict.status]} {verdict.id}: {verdict.message}"]
    for label, text in rows(verdict):
        first, *more = text.splitlines() or [""]
        lines += [f"    {label:<9} {first}", *(" " * 14 + line for line in more)]
    if verdict.nudge:
        lines.append(f"  → {verdict.nudge}")
    if note:
        lines.append(f"  {note}")
    return "\n".join(lines)


def as_html(verdict: Verdict, note: str = "") -> str:
    """For a notebook, and for the page that a teacher hands back."""
    colour = COLOURS[verdict.status]
    head = (
        f'<div><strong><span style="color:{colour}" aria-hidden="true">{SIGNS[verdict.status]}</span> '
        f"{WORDS[verdict.status]}</strong> · {inline_code(f'`{verdict.id}`')}</div>"
    )
    message = without_head(verdict)
    parts = [head, f"<div>{inline_code(message)}</div>" if message else ""]
    lines = [
        f'<tr style="background:transparent"><th scope="row" style="{LABEL}">{label}</th>'
        f'<td style="text-align:left;width:100%"><div style="{CODE}">{escape(text)}</div></td></tr>'
        for label, text in rows(verdict)
    ]
    if lines:
        table = (
            "border-collapse:collapse;border:none;margin:.3em 0;background:none;font:inherit;color:inherit;width:100%;"
            "table-layout:auto"  # JupyterLab fixes it, and labels would overlap
        )
        parts.append(f'<table style="{table}">{"".join(lines)}</table>')
    if verdict.nudge:
        parts.append(f'<div style="margin-top:.3em"><strong>Think:</strong> {inline_code(verdict.nudge)}</div>')
    if note:
        parts.append(f'<div style="opacity:.8;margin-top:.3em">{inline_code(note)}</div>')
    return f'<div role="status" style="{BOX.format(colour=colour)}">{"".join(parts)}</div>'


def without_head(verdict: Verdict) -> str:
    """The message without the words that the heading says already."""
    for head in ("Passed: ", "Not attempted yet: ", "Not attempted yet."):
        if verdict.message.startswith(head):
            rest = verdict.message.removeprefix(head).strip()
            return rest[:1].upper() + rest[1:]
    return verdict.message


def inline_code(text: str) -> str:
    """Escape, and set what stands between backquotes as code."""
    parts = escape(text).split("`")
    if len(parts) % 2 == 0:
        return "`".join(parts)
    style = "background:rgba(128,128,128,.13);color:inherit;padding:0 .2em;border-radius:3px;white-space:pre-wrap"
    return "".join(f'<code style="{style}">{part}</code>' if i % 2 else part for i, part in enumerate(parts))


class Feedback:
    """A verdict that displays itself."""

    def __init__(self, verdict: Verdict, note: str = "") -> None:
        self.verdict, self.note = verdict, note

    def __repr__(self) -> str:
        return as_text(self.verdict, self.note)

    def _repr_html_(self) -> str:
        return as_html(self.verdict, self.note)


class Drawing:
    """SVG text that displays itself."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return "<a drawing>"


def show_verdict(verdict: Verdict, note: str = "") -> None:
    """Display under the cell, or print."""
    if not in_notebook():
        print(as_text(verdict, note))
        return
    from IPython.display import display

    display(Feedback(verdict, note))
    if verdict.picture is not None:
        display(Drawing(verdict.picture) if isinstance(verdict.picture, str) else verdict.picture)


def shell() -> Any:
    """The running IPython, if there is one."""
    import sys

    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None


def in_notebook() -> bool:
    """Whether output is shown by a notebook (and not by a terminal)."""
    return getattr(shell(), "kernel", None) is not None
