"""What a notebook uses: ``@exercise``, ``check_cell``, ``ready``, ``solution``."""

from __future__ import annotations

import inspect
import linecache
import sys
import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from course.errors import UserError
from course.exercises import progress
from course.exercises.build import build
from course.exercises.definition import Exercise
from course.exercises.feedback import as_text, shell, show_verdict
from course.exercises.judge import judge
from course.exercises.registry import find, load
from course.exercises.source import definition_of
from course.exercises.verdict import Verdict
from course.exercises.warm import shared


class NotPassedError(AssertionError):
    """Raised by a lab's check cell."""

    def _render_traceback_(self) -> list[str]:
        """In a notebook: the sentence, without a page of frames that are not the learner's."""
        return [f"NotPassedError: {self}"]


@dataclass
class HandedIn:
    """The last answer to an exercise in this kernel."""

    text: str
    verdict: Verdict


handed_in: dict[str, HandedIn] = {}


def exercise(exercise_id: str) -> Callable[[Any], Any]:
    """Hand in the cell: judge its text, show what came of it, and go on with the learner's version or the reference."""
    definition = find(exercise_id)
    frame = sys._getframe(1)

    def decorate(learner: Any) -> Any:
        text, names = cell_text(learner, frame), frame.f_globals
        verdict = judge(definition, text, elsewhere=lambda name: known_elsewhere(name, names), earlier=text_beneath)
        handed_in[definition.id] = HandedIn(text, verdict)
        chosen, note = go_on_with(definition, learner, verdict)
        if verdict.passed:
            progress.keep(definition, text)
        show_verdict(verdict, note)
        return chosen

    return decorate


def start(*lessons: str) -> None:
    """Warm up the judge in the background; a lesson's first cell calls this, so that nobody waits for it later."""
    for lesson in lessons:
        shared().start([line for exercise in load(lesson) for line in exercise.grants])


def go_on_with(definition: Exercise, learner: Any, verdict: Verdict) -> tuple[Any, str]:
    """What the notebook continues with, and the words that say so."""
    name = definition.name
    if definition.is_lab:
        return learner, ""
    if verdict.passed:
        return learner, f"The lesson goes on with your `{name}`."
    if verdict.not_attempted and progress.offering():
        kept = kept_solution(definition)
        if kept is not None:
            return kept, f"The lesson goes on with your earlier `{name}`."
    if definition.reference is None:
        return learner, ""
    return definition.reference, f"The lesson goes on with the reference's `{name}` for now."


def solution(exercise_id: str, *, quiet: bool = False) -> Any:
    """The learner's version of an earlier exercise if one is kept and offered, else the reference; it says which."""
    definition = find(exercise_id)
    chosen, whose = None, "yours"
    if definition.id in handed_in and handed_in[definition.id].verdict.passed:
        chosen = build(definition, handed_in[definition.id].text, beneath)
    elif progress.offering():
        chosen = kept_solution(definition)
    if chosen is None:
        chosen, whose = definition.reference, "the reference"
    if chosen is None:
        raise UserError(f"{exercise_id} is not solved yet, and this copy of the course has no reference: solve it")
    if not quiet:
        print(f"{definition.name}: {whose}")
    return chosen


def check_cell(exercise_id: str) -> None:
    """A lab's locked check: judge the last answer anew, and raise if it does not pass."""
    definition = find(exercise_id)
    last = handed_in.get(definition.id)
    if last is None:
        refuse(f'{exercise_id} is not handed in: run the cell that begins with @exercise("{exercise_id}") first.')
    verdict = judge(definition, last.text, earlier=text_beneath)
    if not verdict.passed:
        refuse(as_text(replace(verdict, call="", expected="", got="", printed="")))  # these stand under its own cell
    print(as_text(verdict))


def ready(lesson: str) -> bool:
    """Whether all exercises of a lab pass in this notebook; if not, say which do not. Guards what joins them."""
    passed = {exercise_id for exercise_id, last in handed_in.items() if last.verdict.passed}
    missing = [exercise.id for exercise in load(lesson) if exercise.id not in passed]
    if missing:
        print(f"Not ready: {', '.join(missing)} {'does' if len(missing) == 1 else 'do'} not pass yet.")
    return not missing


def refuse(sentence: str) -> NoReturn:
    """Turn the check cell red."""
    raise NotPassedError(sentence)


def text_beneath(below: Exercise) -> str | None:
    """What an exercise builds on: the learner's passing cell, else the reference; in a lab, the learner's cell."""
    last = handed_in.get(below.id)
    if last and (last.verdict.passed or below.is_lab):
        return last.text
    return None if below.is_lab else below.reference_text


def beneath(below: Exercise) -> Any:
    """The object of an exercise that another builds on."""
    return solution(below.id, quiet=True)


def kept_solution(definition: Exercise) -> Any:
    """The kept answer as an object; judged again if the exercise has changed since."""
    kept = progress.recall(definition.id)
    if kept is None or (kept.fingerprint != definition.fingerprint and not judge(definition, kept.text).passed):
        return None
    return build(definition, kept.text, beneath)


def cell_text(learner: Any, frame: types.FrameType) -> str:
    """The text of the running cell; outside of a notebook, that of the decorated object."""
    running = shell()
    if running is None or frame.f_globals is not running.user_ns:
        return textwrap.dedent(inspect.getsource(learner))
    text = "".join(linecache.getlines(frame.f_code.co_filename))
    name = getattr(learner, "__name__", "")
    if definition_of(text, name) is None:  # below a cell magic such as %%time: take what was typed
        typed = running.history_manager.input_hist_raw[-1]
        text = "\n".join("" if line.startswith("%%") else line for line in typed.splitlines())
    return text + "\n" if not text.endswith("\n") else text


def known_elsewhere(name: str, names: dict[str, Any]) -> str | None:
    """Whether the notebook has the name from another cell, and how."""
    if name not in names or name.startswith("__"):
        return None
    value = names[name]
    if isinstance(value, types.ModuleType):
        return "imported"
    home = getattr(value, "__module__", None)
    is_own = home in (None, "__main__") or not isinstance(value, (type, types.FunctionType))
    return "defined" if is_own else "imported"
