"""Who runs in which step: a grid for each run, so that two schedulers can be compared cell by cell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape

from course.figures.palette import BY_KIND, TEXT, WRONG
from course.simulator.lockstep import LockStep, LockstepRun

CELL, GAP, LEFT, HEAD = 17, 3, 92, 40
MOST_STEPS = 44


def steps_grid(runs: Mapping[str, LockstepRun], starved: Collection[int] = (), budget: int | None = None) -> str:
    """Grids side by side, or below one another where they are wide, as SVG text.

    A row for each request, a column for each step: vermillion where its prompt is computed, blue where its answer gets
    a token, hollow where it waits, and a cross where it loses its place. In the first grid the rows of ``starved``
    requests are framed. With a ``budget`` (tokens a step) cells say how many tokens they compute, and the last row how
    many a step computes in all, in red where that is more.
    """
    parts, x, y, width, height = [_legend()], 0, HEAD - 8, 0, 0
    columns = max((min(len(run.steps), MOST_STEPS) for run in runs.values()), default=0)
    is_wide = columns > 18
    for number, (title, run) in enumerate(runs.items()):
        parts.append(
            f'<g transform="translate({x},{y})">{_grid(title, run, starved if number == 0 else (), budget)}</g>'
        )
        grid_width = LEFT + CELL * max(min(len(run.steps), MOST_STEPS), 4) + 30
        grid_height = HEAD + CELL * (len(run.jobs) + (budget is not None)) + 14
        width, height = max(width, x + grid_width), max(height, y + grid_height)
        x, y = (0, y + grid_height) if is_wide else (x + grid_width, y)
    width = max(width, 480)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" role="img" '
        f'aria-label="{escape(steps_summary(runs))}">{"".join(parts)}</svg>'
    )


def steps_summary(runs: Mapping[str, LockstepRun]) -> str:
    """How long each run took, and how many sequences ran in a step, on average."""
    said = []
    for title, run in runs.items():
        ends = f", then stops ({run.error})" if run.error else ""
        said.append(f"{title}: {len(run.steps)} steps, {tokens_per_step(run):.1f} sequences in a step{ends}")
    return "; ".join(said)


def tokens_per_step(run: LockstepRun) -> float:
    """Sequences that run in a step, on average."""
    return sum(len(step.ran) for step in run.steps) / max(len(run.steps), 1)


def _legend() -> str:
    parts, x = [], 0
    for kind, label in (
        ("prefill", "prompt"),
        ("decode", "next token"),
        ("waiting", "waits"),
        ("lost", "loses its place"),
    ):
        cell = _cross(x, 3, CELL - GAP) if kind == "lost" else _cell(x, 3, kind)
        parts.append(f'{cell}<text x="{x + 20}" y="15" font-size="13" fill="{TEXT}">{label}</text>')
        x += 34 + 7 * len(label)
    return "".join(parts)


def _grid(title: str, run: LockstepRun, starved: Collection[int], budget: int | None) -> str:
    parts = [f'<text x="0" y="22" font-size="15" font-weight="600" fill="{TEXT}">{escape(title)}</text>']
    shown = run.steps[:MOST_STEPS]
    for request in range(len(run.jobs)):
        y = HEAD + CELL * request
        parts.append(f'<text x="0" y="{y + 12}" font-size="13" fill="{TEXT}">request {request}</text>')
        for number, step in enumerate(shown):
            x = LEFT + CELL * number
            if kind := _kind(step, request):
                parts.append(_cell(x, y, kind))
                if budget is not None and request in step.ran:
                    parts.append(_number(x, y, step.ran[request], "white"))
            if request in step.preempted:
                parts.append(_cross(x, y, CELL - GAP))
        if request in starved:
            box = f'x="{LEFT - 4}" y="{y - 3}" width="{CELL * len(shown) + 5}" height="{CELL + 2}"'
            parts.append(f'<rect {box} rx="4" fill="none" stroke="{WRONG}" stroke-width="3"/>')
    if budget is not None:
        parts.append(_totals(HEAD + CELL * len(run.jobs), shown, budget))
    if len(run.steps) > MOST_STEPS:
        parts.append(f'<text x="{LEFT + CELL * MOST_STEPS + 4}" y="{HEAD + 12}" font-size="13" fill="{TEXT}">…</text>')
    if run.error:
        x = LEFT + CELL * len(shown) + 4
        parts.append(f'<text x="{x}" y="{HEAD + 13}" font-size="18" font-weight="700" fill="{WRONG}">×</text>')
    return "".join(parts)


def _totals(y: float, steps: Sequence[LockStep], budget: int) -> str:
    """The last row: tokens of each step."""
    parts = [f'<text x="0" y="{y + 12}" font-size="13" fill="{TEXT}">budget {budget}</text>']
    for number, step in enumerate(steps):
        total = sum(step.ran.values())
        parts.append(_number(LEFT + CELL * number, y, total, WRONG if total > budget else TEXT))
    return "".join(parts)


def _number(x: float, y: float, number: int, colour: str) -> str:
    at = f'x="{x + (CELL - GAP) / 2}" y="{y + 11}"'
    size = 11 if number < 10 else 9
    return f'<text {at} font-size="{size}" font-weight="600" text-anchor="middle" fill="{colour}">{number}</text>'


def _kind(step: LockStep, request: int) -> str:
    if request in step.ran:
        return "prefill" if request in step.prefills else "decode"
    return "waiting" if request in step.waiting or request in step.preempted else ""


def _cell(x: float, y: float, kind: str) -> str:
    size = CELL - GAP
    if kind == "waiting":
        inner = f'x="{x + 1}" y="{y + 1}" width="{size - 2}" height="{size - 2}"'
        return f'<rect {inner} rx="2" fill="none" stroke="{BY_KIND[kind]}" stroke-width="1.2" stroke-dasharray="2 2"/>'
    return f'<rect x="{x}" y="{y}" width="{size}" height="{size}" rx="2" fill="{BY_KIND[kind]}"/>'


def _cross(x: float, y: float, size: float) -> str:
    a, b = 3, size - 3
    path = f"M{x + a} {y + a}L{x + b} {y + b}M{x + b} {y + a}L{x + a} {y + b}"
    return f'<path d="{path}" stroke="{WRONG}" stroke-width="2.4" fill="none"/>'
