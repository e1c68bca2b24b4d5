"""Proves that an exercise is sound. Each lesson's tests call ``prove`` on each of its exercises.

The stub loads and counts as not attempted; the reference and every alternative pass; every planted mistake fails in the
check that is meant for it and is answered by its own nudge.
"""

from __future__ import annotations

from collections.abc import Iterator

from course.exercises.definition import Exercise, Mistake
from course.exercises.hearing import Answer, Court
from course.exercises.judge import beneath, judge, load_error, matching, reference_of
from course.exercises.verdict import Finding
from course.exercises.warm import Warm, shared


def prove(exercise: Exercise, seeds: int = 2, warm: Warm | None = None) -> None:
    """Raise an ``AssertionError`` that lists all that is unsound."""
    warm = warm or shared()
    faults = list(faults_of(exercise, seeds, warm))
    assert not faults, f"{exercise.id} is unsound:\n" + "\n".join(f"- {fault}" for fault in faults)


def faults_of(exercise: Exercise, seeds: int, warm: Warm) -> Iterator[str]:
    """What is unsound, one sentence each."""
    if not exercise.checks:
        yield "it has no check"
    yield from _stub_faults(exercise, warm)
    if exercise.reference_text is not None:
        yield from _wrongly_failed("the reference", exercise.solution_cell, exercise, seeds, warm)
    for number, text in enumerate(exercise.alternatives, 1):
        yield from _wrongly_failed(f"alternative {number}", text, exercise, seeds, warm)
    for seed in range(seeds):
        yield from _mistake_faults(exercise, seed, warm)


def _stub_faults(exercise: Exercise, warm: Warm) -> Iterator[str]:
    verdict = judge(exercise, exercise.stub_cell, seed=0, warm=warm)
    if not verdict.not_attempted:
        yield f"the stub counts as {verdict.status}: {verdict.message}"
    error = load_error(exercise, exercise.stub_cell, warm)
    if error:
        yield f"the stub cannot be loaded, so an import is not granted: {error}"
    if not exercise.is_lab and exercise.reference_text and exercise.stub == exercise.reference_text:
        yield "the stub is the whole reference"


def _wrongly_failed(what: str, text: str, exercise: Exercise, seeds: int, warm: Warm) -> Iterator[str]:
    for seed in range(seeds):
        verdict = judge(exercise, text, seed=seed, warm=warm)
        if not verdict.passed:
            yield f"{what} fails {verdict.check or 'at once'} (seed {seed}): {verdict.message}"
            return


def _mistake_faults(exercise: Exercise, seed: int, warm: Warm) -> Iterator[str]:
    """Each mistake is heard once. Inputs depend on seed and check alone, so ``matching`` needs no other hearing.

    One that never ends does so whatever its inputs: the first seed will do.
    """
    earlier = beneath(exercise, reference_of)
    mistakes = [one for one in exercise.mistakes if seed == 0 or not one.is_endless]
    courts = [Court(exercise, Answer(one.text, one.target, beneath=earlier), seed, warm) for one in mistakes]
    heard = {one.name: court.hear(exercise.checks) for one, court in zip(mistakes, courts, strict=True)}

    def found_in(mistake: Mistake) -> Finding | None:
        check, finding = heard.get(mistake.name, (None, None))
        return finding if check is not None and check.name == mistake.caught_by else None

    for mistake, court in zip(mistakes, courts, strict=True):
        check, finding = heard[mistake.name]
        if finding is None:
            yield f"the mistake {mistake.name!r} passes (seed {seed})"
        elif check is None:
            yield f"the mistake {mistake.name!r} cannot be loaded: {finding.message}"
        elif check.name != mistake.caught_by:
            yield f"the mistake {mistake.name!r} is caught by {check.name}, not by {mistake.caught_by} (seed {seed})"
        else:
            match = matching(exercise, court, check, finding, found_in)
            if match is None or match.nudge != mistake.nudge:
                answered = repr(match.name) if match else "no mistake"
                yield f"the mistake {mistake.name!r} is answered as {answered} (seed {seed}): {finding.message}"
