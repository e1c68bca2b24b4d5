"""Between the engine's thread and the event loop, where the engine does not do what it should."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from course.engine.local import LocalEngine
from course.engine.sampling import GREEDY, Sampling
from course.engine.server.app import Service
from course.engine.server.ask import Ask
from course.engine.server.bridge import Bridge, Update
from course.engine.server.errors import RequestError
from course.engine.server.exchange import Exchange
from course.engine.server.jobs import Job, JobMaker
from course.engine.server.limits import Message
from course.engine.server.shapes import Shape
from course.serving.sequence import State
from tests.engine.conftest import make_engine, make_prompts, reference_answers, run_to_end

JOB = Job(tuple(make_prompts()[0]), 8, 0, 1, GREEDY, True)


class Ear:
    """Hears everything, and says when all answers have ended."""

    def __init__(self, num_answers: int) -> None:
        self.updates: list[Update] = []
        self.ended = asyncio.Event()
        self._num_open = num_answers

    def hear(self, update: Update) -> None:
        self.updates.append(update)
        self._num_open -= update.state is not State.WAITING
        if not self._num_open:
            self.ended.set()

    def tokens(self, number: int) -> list[int]:
        return [token for update in self.updates if update.number == number for token in update.tokens]


def on_loop(engine: LocalEngine, work: Callable) -> Bridge:
    """Run a coroutine function of the bridge with the engine in its thread."""
    bridge = Bridge(engine)

    async def main() -> None:
        bridge.start()
        try:
            async with asyncio.timeout(60):
                await work(bridge)
        finally:
            await bridge.stop()

    asyncio.run(main())
    return bridge


def test_updates_hold_every_token_once() -> None:
    engine = make_engine()

    async def work(bridge: Bridge) -> None:
        jobs = [Job(tuple(prompt), 9, 0, 2, GREEDY, True) for prompt in make_prompts()]
        ear = Ear(2 * len(jobs))
        await bridge.submit(jobs, ear)
        await ear.ended.wait()
        for number in range(2 * len(jobs)):
            assert ear.tokens(number) == reference_answers()[number // 2][:9]

    on_loop(engine, work)
    assert engine.recorder.records == [], "a server must not keep what has ended"
    run_to_end(engine)


def test_who_waits_in_the_queue_has_not_started() -> None:
    """Orca reserves all four blocks for the first one: the second starts when that has ended."""
    engine = make_engine("orca", num_blocks=4)

    async def work(bridge: Bridge) -> None:
        first, second = Ear(1), Ear(1)
        tickets = [await bridge.submit([Job(JOB.prompt, 60, 0, 1, GREEDY, True)], ear) for ear in (first, second)]
        await second.ended.wait()
        for ear, ticket in zip((first, second), tickets, strict=True):
            [started_s] = {update.started_s for update in ear.updates}
            assert ticket.queued_s < started_s < ear.updates[0].time_s
        assert second.updates[0].started_s > first.updates[-1].time_s

    on_loop(engine, work)


def test_jobs_come_in_all_or_none() -> None:
    engine = make_engine(num_blocks=4)

    async def work(bridge: Bridge) -> None:
        too_long = Job((1,) * 40, 60, 0, 1, GREEDY, True)
        with pytest.raises(RequestError, match="blocks"):
            await bridge.submit([JOB, too_long], Ear(2))
        assert await bridge.ask(lambda: engine.num_unfinished) == 0

    on_loop(engine, work)


def test_a_ticket_that_is_cancelled_is_heard_of_no_more() -> None:
    engine = make_engine()

    async def work(bridge: Bridge) -> None:
        ear = Ear(1)
        ticket = await bridge.submit([Job(JOB.prompt, 400, 0, 1, GREEDY, True)], ear)
        bridge.cancel(ticket)
        assert await bridge.ask(lambda: engine.num_unfinished) == 0
        num_heard = len(ear.updates)
        await asyncio.sleep(0.05)
        assert len(ear.updates) == num_heard

    on_loop(engine, work)


def test_one_answer_of_several_is_cancelled_alone() -> None:
    engine = make_engine()

    async def work(bridge: Bridge) -> None:
        ear = Ear(3)
        ticket = await bridge.submit([Job(JOB.prompt, 300, 0, 3, GREEDY, True)], ear)
        while not (ear.tokens(0) and ear.tokens(1)):
            await asyncio.sleep(0.001)
        for _ in range(2):
            bridge.cancel_answer(ticket, 1)
        assert await bridge.ask(lambda: [answer.is_ended for answer in ticket.answers]) == [False, True, False]
        num_heard = len(ear.tokens(1))
        bridge.cancel_answer(ticket, 0)
        while len(ear.tokens(2)) < 300:
            await asyncio.sleep(0.001)
        assert len(ear.tokens(1)) == num_heard < 300
        assert await bridge.ask(lambda: engine.num_unfinished) == 0

    on_loop(engine, work)
    run_to_end(engine)


def test_at_its_stop_string_an_answer_is_computed_no_further() -> None:
    """Three answers, of which two come to the stop string soon; the third is written to its end."""
    engine = LocalEngine("tiny", num_blocks=64)
    sampling = Sampling(temperature=1.0, seed=5, by_request=False)
    texts = [answer.text for answer in engine.generate("A list is", 150, sampling, n=3, ignore_end=True)]
    by_first = {letter: [text.find(letter) for text in texts] for letter in set("".join(texts))}
    stop, where = max(by_first.items(), key=lambda item: (item[1].count(-1) == 1, -max(item[1])))
    assert where.count(-1) == 1, "a letter that two of the answers have"

    async def work(bridge: Bridge) -> None:
        service = Service("tiny", engine.model, bridge, JobMaker(engine.model, 1024))
        ask = Ask(sampling, 150, n=3, stop=(stop,), ignore_end=True)
        jobs = service.jobs.completion({"prompt": "A list is"}, ask)
        exchange = Exchange(service, ask, jobs, Shape("tiny"), 0.0)
        bodies: list[bytes] = []

        async def send(message: Message) -> None:
            bodies.append(message.get("body", b""))

        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        await exchange.run(receive, send, lambda: None)
        choices = json.loads(b"".join(bodies))["choices"]
        assert [choice["text"] for choice in choices] == [text.partition(stop)[0] for text in texts]
        assert [choice["finish_reason"] for choice in choices] == ["length" if at < 0 else "stop" for at in where]
        assert await bridge.ask(lambda: engine.num_unfinished) == 0

    lengths: list[int] = []
    tell, engine._end = engine._end, lambda s, reason: (lengths.append(s.num_output_tokens), tell(s, reason))[1]
    on_loop(engine, work)
    assert sorted(lengths)[2] == 150
    assert sorted(lengths)[1] < 150, "computed on behind its stop string"


def test_an_engine_that_breaks_fails_what_it_had_and_what_comes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = make_engine()
    died = []

    def break_down(until_s: float | None = None) -> None:
        raise RuntimeError("a wire is loose")

    async def work(bridge: Bridge) -> None:
        bridge.on_death = lambda: died.append(True)
        ear = Ear(1)
        await bridge.submit([Job(JOB.prompt, 400, 0, 1, GREEDY, True)], ear)
        monkeypatch.setattr(engine, "advance", break_down)
        await ear.ended.wait()
        assert ear.updates[-1].state is State.FAILED
        assert ear.updates[-1].reason == "the engine has stopped"
        while bridge.is_alive:
            await asyncio.sleep(0.01)
        with pytest.raises(RequestError) as caught:
            await bridge.submit([JOB], Ear(1))
        assert caught.value.status == 503

    bridge = on_loop(engine, work)
    assert isinstance(bridge.error, RuntimeError)
    assert died == [True]
    assert "a wire is loose" in capsys.readouterr().err


def test_a_scheduler_that_plans_nothing_fails_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    from course.serving.plan import Plan

    engine = make_engine()
    monkeypatch.setattr(engine.instance.scheduler, "schedule", lambda view: Plan())

    async def work(bridge: Bridge) -> None:
        ear = Ear(1)
        await bridge.submit([JOB], ear)
        await ear.ended.wait()
        assert ear.updates[-1].state is State.FAILED
        monkeypatch.undo()
        ear = Ear(1)
        await bridge.submit([JOB], ear)
        await ear.ended.wait()
        assert ear.updates[-1].state is State.FINISHED

    on_loop(engine, work)
