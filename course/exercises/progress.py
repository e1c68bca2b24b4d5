"""What a learner has solved, kept between notebooks: one small file per exercise in the user's data folder.

``COURSE_HOME`` names another folder. ``COURSE_SOLUTIONS=reference`` (set by builds and tests) turns keeping and
offering off; ``COURSE_SOLUTIONS=mine``, or ``use_my_solutions()`` in a notebook, offers them to later lessons.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from course.exercises.definition import Exercise

_switched_on = False


@dataclass(frozen=True)
class Solved:
    """A passing answer: its text, and what the exercise was then."""

    id: str
    text: str
    fingerprint: str
    points: int


def use_my_solutions(on: bool = True) -> None:
    """Let this notebook go on with your own solutions of earlier lessons, where they pass."""
    global _switched_on
    _switched_on = on
    if not keeping():
        print("Your solutions are not used here: COURSE_SOLUTIONS=reference is set.")
    elif on:
        number = len(all_solved())
        print(f"Your own solutions are used where they pass; {number} {'is' if number == 1 else 'are'} kept.")


def keeping() -> bool:
    """Whether solutions are kept at all."""
    return os.environ.get("COURSE_SOLUTIONS", "") != "reference"


def offering() -> bool:
    """Whether kept solutions are offered."""
    return keeping() and (_switched_on or os.environ.get("COURSE_SOLUTIONS") == "mine")


def home() -> Path:
    """The folder of solutions."""
    given = os.environ.get("COURSE_HOME")
    if given:
        return Path(given) / "solutions"
    import platformdirs

    return Path(platformdirs.user_data_dir("llm-serving-course", appauthor=False)) / "solutions"


def keep(exercise: Exercise, text: str) -> None:
    """Remember a passing answer. A full or read-only disk is no reason to disturb the learner."""
    if not keeping():
        return
    solved = Solved(exercise.id, text, exercise.fingerprint, exercise.points)
    try:
        folder = home()
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(solved), file, indent=1)
        os.replace(name, folder / f"{exercise.id}.json")
    except OSError:
        return


def recall(exercise_id: str) -> Solved | None:
    """The remembered answer."""
    try:
        fields = json.loads((home() / f"{exercise_id}.json").read_text(encoding="utf-8"))
        return Solved(**fields)
    except (OSError, ValueError, TypeError):
        return None


def all_solved() -> dict[str, Solved]:
    """Every remembered answer; none where solutions are not kept."""
    if not keeping() or not home().is_dir():
        return {}
    found = (recall(file.stem) for file in sorted(home().glob("*.json")))
    return {solved.id: solved for solved in found if solved}
