"""The one judge: notebook feedback, the command line and grading all ask here."""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Callable
from typing import Any

from course.exercises import sentences, source
from course.exercises.compare import difference
from course.exercises.definition import Check, Exercise, Mistake
from course.exercises.hearing import Answer, Court
from course.exercises.show import many
from course.exercises.verdict import Finding, Verdict
from course.exercises.warm import Warm, packages_of, shared

ANSWERED = ("value", "rule", "no error", "change")
"""Findings that a check's hint can help with: an answer came, and it is wrong."""


Earlier = Callable[[Exercise], str | None]


def judge(
    exercise: Exercise,
    text: str,
    *,
    seed: int | None = None,
    elsewhere: sentences.Elsewhere = sentences.nowhere,
    earlier: Earlier | None = None,
    warm: Warm | None = None,
) -> Verdict:
    """Judge a cell. The inputs are new each time unless a seed is given.

    ``earlier`` gives the text of an exercise that this one builds on; without it, that is the reference's.
    """
    seed = secrets.randbits(32) if seed is None else seed
    answer = Answer(text, exercise.name, elsewhere, beneath(exercise, earlier or reference_of))
    if source.same_code(text, exercise.stub, exercise.name):
        return _not_attempted(exercise, "Not attempted yet.", seed)
    court = Court(exercise, answer, seed, warm or shared())
    import_beside(court)
    check, finding = court.hear(exercise.checks)
    if finding is None:
        return _passed(exercise, court)
    if finding.key == ("not written",):
        return _not_attempted(exercise, finding.message, seed, finding.printed)
    return _failed(exercise, court, check, finding)


def import_beside(court: Court) -> None:
    """Where tensors will come back, import torch in here while the child does so too, not after it."""
    grants = court.exercise.grants
    court.warm.start(grants)
    if "torch" in packages_of(grants):
        importlib.import_module("torch")


def reference_of(exercise: Exercise) -> str | None:
    """The text of its reference, where there is one."""
    return exercise.reference_text


def beneath(exercise: Exercise, earlier: Earlier) -> tuple[str, ...]:
    """The texts of all that an exercise builds on, first things first."""
    texts: dict[str, str] = {}
    for below in exercise.builds_on:
        for text in (*beneath(below, earlier), earlier(below)):
            if text:
                texts[text] = text
    return tuple(texts)


def load_error(exercise: Exercise, text: str, warm: Warm | None = None) -> str:
    """Why a cell cannot even be loaded (an unknown name in its signature, say); empty if it can."""
    answer = Answer(text, exercise.name, beneath=beneath(exercise, reference_of))
    finding = Court(exercise, answer, 0, warm or shared()).hear([])[1]
    return finding.message if finding else ""


def _not_attempted(exercise: Exercise, message: str, seed: int, printed: str = "") -> Verdict:
    return Verdict(
        exercise.id,
        "not attempted",
        0,
        exercise.points,
        message,
        printed=printed,
        num_checks=len(exercise.checks),
        seed=seed,
    )


def _passed(exercise: Exercise, court: Court) -> Verdict:
    picture = next((check.picture for check in reversed(exercise.checks) if check.picture), None)
    number = len(exercise.checks)
    message = f"Passed: {many(number, 'check')} on random inputs."
    left = exercise.hidden_checks - sum(check.hidden for check in exercise.checks)
    if left > 0:
        message = f"Public checks passed ({number}); then {many(left, 'hidden check')} at grading."
    return Verdict(
        exercise.id,
        "passed",
        exercise.points,
        exercise.points,
        message,
        printed=court.printed,
        num_checks=number,
        seed=court.seed,
        picture=_picture(picture, court.last),
    )


def _failed(exercise: Exercise, court: Court, check: Check | None, finding: Finding) -> Verdict:
    mistake = matching(exercise, court, check, finding) if check else None
    hint = check.hint if check and finding.key[0] in ANSWERED else ""
    nudge = mistake.nudge if mistake else hint
    return Verdict(
        exercise.id,
        "failed",
        0,
        exercise.points,
        finding.message,
        nudge=nudge,
        check=check.name if check else "",
        call=finding.call,
        expected=finding.expected,
        got=finding.got,
        printed=finding.printed,
        mistake=mistake.name if mistake else "",
        num_checks=len(exercise.checks),
        seed=court.seed,
        picture=_picture(check.picture if check else None, finding.raw),
    )


Hear = Callable[[Mistake], Finding | None]


def matching(
    exercise: Exercise, court: Court, check: Check, finding: Finding, heard: Hear | None = None
) -> Mistake | None:
    """The planted mistake that answers the same check, on the same inputs, in the same wrong way.

    ``heard`` says what the check that is meant for a mistake finds in it; without it, each is heard in here.
    """

    def hear(mistake: Mistake) -> Finding | None:
        answer = Answer(mistake.text, mistake.target, beneath=court.answer.beneath)
        return Court(exercise, answer, court.seed, court.warm).hear([check])[1]

    endless = finding.key[0] in ("endless", "late")
    for mistake in exercise.mistakes:
        if mistake.caught_by != check.name:
            continue
        if endless:  # running all of them to their limit would take too long; the first that is meant for it will do
            if mistake.is_endless:
                return mistake
            continue
        found = (heard or hear)(mistake)
        if found is not None and _same(finding.key, found.key):
            return mistake
    return None


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    if len(one) != len(other) or one[:1] != other[:1]:
        return False
    return all(difference(a, b) is None for a, b in zip(one[1:], other[1:], strict=True))


def _picture(draw: Any, values: tuple[Any, Any] | None) -> Any:
    """A picture must never stand between a learner and the verdict."""
    if draw is None or values is None:
        return None
    try:
        return draw(*values)
    except Exception:
        return None
