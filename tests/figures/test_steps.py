"""The grid of steps: a cell for whoever is there, a frame around who is starved."""

from __future__ import annotations

from xml.etree import ElementTree

from course.figures.palette import DECODE, PREFILL, WRONG
from course.figures.steps import steps_grid, steps_summary
from course.serving.schedulers import make_scheduler
from course.simulator.lockstep import LockstepRun, serve_in_steps

JOBS = [(0, 2, 2, 2), (0, 1, 4, 4), (1, 3, 2, 2)]


def runs(num_blocks: int = 64) -> dict[str, LockstepRun]:
    return {
        name: serve_in_steps(make_scheduler(name, max_num_sequences=2), JOBS, num_blocks) for name in ("static", "orca")
    }


def test_each_computed_chunk_is_a_cell() -> None:
    both = runs()
    cells = [rect.get("fill") for rect in ElementTree.fromstring(steps_grid(both)).iter() if rect.tag.endswith("rect")]
    ran = [(number in step.prefills) for run in both.values() for step in run.steps for number in step.ran]
    assert cells.count(PREFILL) == sum(ran) + 1  # one more in the legend
    assert cells.count(DECODE) == len(ran) - sum(ran) + 1


def test_the_starved_request_is_framed_in_the_first_grid_only() -> None:
    assert WRONG not in steps_grid(runs()).split("loses its place")[1]
    framed = steps_grid(runs(), starved=(2,)).split("loses its place")[1]
    assert framed.count(f'stroke="{WRONG}"') == 1


def test_the_summary_says_how_full_the_steps_were() -> None:
    assert steps_summary(runs()) == "static: 6 steps, 1.3 sequences in a step; orca: 4 steps, 2.0 sequences in a step"


def test_long_runs_are_cut_and_stand_below_one_another() -> None:
    long = serve_in_steps(make_scheduler("orca"), [(0, 1, 99, 99)], 99)
    root = ElementTree.fromstring(steps_grid({"one": long, "two": long}))
    assert int(root.get("width", "0")) < 1000
    assert "…" in steps_grid({"one": long})


def test_a_run_that_stops_says_why_to_who_cannot_see_it() -> None:
    run = LockstepRun((), (), "step 0: nothing runs")
    assert "stops (step 0: nothing runs)" in steps_summary({"yours": run})
    assert "stops (step 0: nothing runs)" in steps_grid({"yours": run})


def test_with_a_budget_cells_and_a_last_row_say_how_many_tokens() -> None:
    run = serve_in_steps(make_scheduler("orca"), [(0, 5, 2, 2), (0, 2, 1, 1)], 99)
    svg = steps_grid({"orca": run}, budget=6)
    numbers = [
        (text.text, text.get("fill")) for text in ElementTree.fromstring(svg).iter() if text.tag.endswith("text")
    ]
    assert "budget 6" in dict(numbers)
    assert ("7", WRONG) in numbers  # 5 + 2 tokens in the first step
    assert [text for text, colour in numbers if colour == "white"] == ["5", "1", "2"]
    assert "budget" not in steps_grid({"orca": run})
