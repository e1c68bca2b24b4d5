"""A hearing: one answer, one exercise, one seed; the calls of its checks made in the child and compared in here."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from course.exercises import sentences
from course.exercises.cases import NOTHING, Case, Cases, WrongError
from course.exercises.compare import WrongKind, difference
from course.exercises.definition import Check, Exercise
from course.exercises.show import call_text, show
from course.exercises.verdict import Finding
from course.exercises.warm import GoneError, TooLateError, Warm, Worker

GRACE_S = 3.0
"""On top of an exercise's processor time, before the process is killed: the machine may be busy."""

MOST_TEXT = 200_000
MOST_CASES = 100_000


@dataclass
class Answer:
    """A text that should answer an exercise: a notebook's cell, a file, a planted mistake."""

    text: str
    name: str
    elsewhere: sentences.Elsewhere = sentences.nowhere
    beneath: tuple[str, ...] = ()
    """The texts of the exercises that this one builds on."""


@dataclass
class Court:
    """One hearing: an answer, an exercise, a seed."""

    exercise: Exercise
    answer: Answer
    seed: int
    warm: Warm
    last: tuple[Any, Any] | None = None
    printed: str = ""
    trail: dict[int, list[str]] = field(default_factory=dict)

    def hear(self, checks: list[Check]) -> tuple[Check | None, Finding | None]:
        """Load the cell in a fresh process and run the checks, up to the first finding and whose it is."""
        if len(self.answer.text) > MOST_TEXT:
            return None, Finding(f"The cell is longer than {MOST_TEXT:,} characters.", ("long",))
        wrong = self.speaker.syntax_error()
        if wrong:
            return None, Finding(wrong, ("syntax",))
        with self.warm.worker(self.exercise.grants) as worker:
            worker.allow(self.exercise.seconds + GRACE_S)
            finding = self.load(worker)
            if finding:
                return None, finding
            for check in checks:
                finding = self.run(check, worker)
                if finding:
                    return check, finding
        return None, None

    @property
    def speaker(self) -> sentences.Speaker:
        """Who finds the words."""
        e = self.exercise
        return sentences.Speaker(
            self.answer.text, self.answer.name, e.is_class, e.seconds, e.memory_mb, self.answer.elsewhere
        )

    def load(self, worker: Worker) -> Finding | None:
        """Run the cell."""
        e = self.exercise
        request: dict[str, Any] = {"do": "load", "grants": list(e.grants)}
        request |= {"through": e.through, "through_name": e.through_name, "not_granted": worker.not_granted}
        request |= {"text": self.answer.text, "name": self.answer.name, "is_class": e.is_class}
        request |= {"beneath": list(self.answer.beneath)}
        request |= {"seconds": e.seconds, "patience": e.seconds + GRACE_S - 1, "memory_mb": e.memory_mb}
        reply, finding = self.ask(worker, request, "")
        return finding or (self.exception(reply, "") if "error" in reply else None)

    def run(self, check: Check, worker: Worker) -> Finding | None:
        """Make a check's calls one after the other, up to the first wrong answer."""
        rng = np.random.default_rng([self.seed, zlib.crc32(check.name.encode())])
        cases = check.cases(rng)
        if isinstance(cases, Case):
            return self.examine(cases, worker)[0]
        got, text = None, ""
        try:
            for number in range(MOST_CASES):
                case = next(cases) if number == 0 else cases.send(got)
                finding, got, text = self.examine(case, worker)
                if finding:
                    return finding
        except StopIteration:
            return None
        except WrongError as wrong:
            return self.finding(_sentence(str(wrong)), ("rule", str(wrong)), text, raw=(None, got))
        except (GoneError, TooLateError):
            raise
        except Exception as error:  # the check went on with an answer that it could not use
            if got is None and not text:
                raise
            said = f"The answer cannot be used: {type(error).__name__}: {error}."
            return self.finding(said, ("unusable", type(error).__name__), text, "", show(got))
        finally:
            _close(cases)
        return None

    def examine(self, case: Case, worker: Worker) -> tuple[Finding | None, Any, str]:
        """One call: what is wrong with its answer, the answer, and the call as text."""
        text = self.text_of(case)
        if case.instance is not None and case.instance.request["id"] not in self.trail:
            made = self.text_of(Case(case.instance.request))
            self.trail[case.instance.request["id"]] = [made]
            reply, finding = self.ask(worker, case.instance.request, made)
            if finding or "error" in reply:
                return finding or self.exception(reply, made), None, made
        reply, finding = self.ask(worker, case.request, text)
        if finding:
            return finding, None, text
        if case.instance is not None:
            lines = self.trail[case.instance.request["id"]]
            came = f"raises {reply['error'].get('type')}" if "error" in reply else show(reply["value"], 70)
            lines.append(f"{text}  → {came}")
            text = "\n".join([*lines[:1], *(["…"] if len(lines) > 9 else []), *lines[1:][-8:]])
        return self.weigh(case, reply, text), reply.get("value"), text

    def weigh(self, case: Case, reply: dict[str, Any], text: str) -> Finding | None:
        """Compare what came with what the case demands."""
        short = last_call(text)
        if case.error is not None:
            return self.weigh_error(case, reply, text)
        if "error" in reply:
            return self.exception(reply, text, short)
        got = reply["value"]
        expected = case.expected if case.expected is not NOTHING else None
        said = message = None
        if case.expected is not NOTHING:
            self.last = (expected, got)
            said = difference(expected, got, case.tolerance)
            message = about(short, said) if said else None
        for test, sentence in case.tests:
            message = message or (None if _holds(test, got) else sentence)
        if message is None and case.is_new and reply.get("same"):
            place = reply["same"][0]
            message = f"The call returns the very list that it got as argument {self.argument(case, place)}: copy it."
            return self.finding(message, ("same", str(place)), text, "a new list", show(got))
        if message is None:
            return self.weigh_changes(case, reply, text)
        wanted = show(expected) if case.expected is not NOTHING else ""
        key = ("kind" if isinstance(said, WrongKind) else "value", text, got)
        return self.finding(_sentence(message), key, text, wanted, show(got), raw=(expected, got))

    def weigh_error(self, case: Case, reply: dict[str, Any], text: str) -> Finding | None:
        """The case demands an exception."""
        assert case.error is not None
        name = case.error.__name__
        if "error" in reply:
            if name in reply["error"].get("kinds", []):
                return None
            return self.exception(reply, text)
        message = f"This must raise {name}; it returns {show(reply['value'], 80)}."
        return self.finding(message, ("no error",), text, name, show(reply["value"]))

    def weigh_changes(self, case: Case, reply: dict[str, Any], text: str) -> Finding | None:
        """Arguments must be as they were, but for those that the case wants changed."""
        changed: dict[Any, Any] = reply.get("changed", {})
        for place, wanted in case.changed.items():
            place_now = changed.get(place, case.request["args"][place] if isinstance(place, int) else None)
            said = difference(wanted, place_now, case.tolerance)
            if said:
                said = f"entry {said}" if said.startswith("[") else f"it {said}"
                message = f"The argument {self.argument(case, place)} must be changed in place; afterwards {said}."
                key = ("change", str(place), text, place_now)
                return self.finding(message, key, text, show(wanted), show(place_now))
        extra = [place for place in changed if place not in case.changed]
        if extra and not case.may_change:
            name = self.argument(case, extra[0])
            message = f"The call changes its argument {name}, which belongs to the caller: copy it first."
            got = show(changed[extra[0]])
            return self.finding(message, ("changed", str(extra[0])), text, "an unchanged argument", got)
        return None

    def ask(self, worker: Worker, request: dict[str, Any], text: str) -> tuple[dict[str, Any], Finding | None]:
        """One exchange with the child."""
        try:
            reply = worker.ask(request)
        except TooLateError:
            return {}, Finding(self.speaker.late(text), ("late",), text)
        except GoneError:
            return {}, Finding(self.speaker.gone(text), ("gone",), text)
        self.printed = (self.printed + reply["printed"])[:4000]
        return reply, None

    def exception(self, reply: dict[str, Any], text: str, short: str = "") -> Finding:
        """What an exception in the child means."""
        error = reply["error"]
        kind = str(error.get("type"))
        if error.get("inside") == "<grants>" and not error.get("line"):
            raise RuntimeError(f"{self.exercise.id} grants what does not run: {kind}: {error.get('text')}")
        if kind == "NotImplementedError":
            return Finding(self.speaker.not_written(error.get("line")), ("not written",), text)
        # The words of a `raise` in the cell are the learner's own, and differ from one to the next.
        said = "" if self.speaker.line(error.get("line")).startswith("raise ") else str(error.get("text"))
        key = ("endless",) if kind == "OutOfTime" else ("error", kind, said)
        return self.finding(self.speaker.error(error, short or text), key, text)

    def text_of(self, case: Case) -> str:
        """The call as a learner would write it."""
        request, name = case.request, self.exercise.name
        parameters = self.exercise.parameters
        if request["do"] == "get":
            return f"x.{request['name']}"
        if request["do"] == "method":
            return call_text(f"x.{request['name']}", request["args"], request["kwargs"])
        shown = request["args"]
        while shown and len(shown) <= len(parameters) and parameters[len(shown) - 1].startswith("_"):
            shown = shown[:-1]  # a word between a check and its `through` function
        made = call_text(name, shown, request["kwargs"], parameters)
        return f"x = {made}" if request["do"] == "new" else made

    def argument(self, case: Case, place: int | str) -> str:
        """The name of an argument."""
        names = self.exercise.parameters
        if isinstance(place, int) and case.instance is None and place < len(names):
            return f"`{names[place]}`"
        return f"number {place + 1}" if isinstance(place, int) else f"`{place}`"

    def finding(
        self,
        message: str,
        key: tuple[Any, ...],
        call: str,
        expected: str = "",
        got: str = "",
        raw: tuple[Any, Any] | None = None,
    ) -> Finding:
        """A finding, with what was printed so far."""
        return Finding(message, key, call, expected, got, self.printed, raw)


def about(call: str, said: str) -> str:
    """What is different, with its subject before it."""
    subject = f"`{call if len(call) < 90 else call.split('(')[0] + '(…)'}`" if "(" in call else "The answer"
    return f"{subject} is wrong: entry {said}" if said.startswith("[") else f"{subject} {said}"


def _close(cases: Cases) -> None:
    try:
        cases.close()
    except (RuntimeError, ValueError):
        return


def _holds(test: Any, got: Any) -> bool:
    """A test that stumbles over an odd answer counts as not passed."""
    try:
        return bool(test(got))
    except Exception:
        return False


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else text + "."


def last_call(text: str) -> str:
    """The last call of a story on one line; of one that is printed over several lines, only its beginning."""
    if not text:
        return ""
    last = text.splitlines()[-1].split("  → ")[0]
    if last[0] not in " )]}":
        return last
    head = next(line for line in reversed(text.splitlines()) if line[0] not in " )]}")
    return f"{head.split('(')[0]}(…)"
