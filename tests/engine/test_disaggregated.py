"""Two real workers: the same tokens as one engine, nothing left behind, no request lost."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from course.engine.disaggregated import DisaggregatedEngine
from course.engine.sampling import Sampling
from course.engine.workers.handle import kill
from course.errors import UserError
from course.model.config import ModelConfig
from course.model.recipe import Recipe
from course.serving.schedulers import ChunkedPrefill, DecodeOnly
from course.serving.sequence import State
from course.workload.request import Request, Workload
from tests.engine.conftest import ANSWER_LENGTHS, HF_CONFIG, make_engine, make_prompts, reference_answers

RECIPE = Recipe("random", ModelConfig.from_hugging_face(HF_CONFIG), seed=3, dtype="float64")


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be cleared away, with all its threads ended, does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def wait_until_gone(*pids: int) -> None:
    """A process that is killed, or whose pipe is closed, ends when the system comes to it."""
    deadline = time.monotonic() + 60
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, f"some of {pids} are still there"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def pair() -> Iterator[DisaggregatedEngine]:
    with DisaggregatedEngine(RECIPE, num_blocks=64) as engine:
        yield engine


@pytest.fixture(scope="module")
def layerwise() -> Iterator[DisaggregatedEngine]:
    with DisaggregatedEngine(RECIPE, num_blocks=24, prefix_cache=True, layerwise=True, block_size=4) as engine:
        yield engine


@pytest.fixture(scope="module")
def gloo() -> Iterator[DisaggregatedEngine]:
    """Several of each kind, chunked prompts beside whole ones, throttled links."""
    workers = ("prefill", "prefill", "decode", "mixed")
    schedulers = {"prefill": "chunked-prefill"}
    with DisaggregatedEngine(
        RECIPE, workers, carrier="gloo", num_blocks=32, schedulers=schedulers, bandwidth_gb_s=0.002, latency_us=500
    ) as engine:
        yield engine


def run_to_end(engine: DisaggregatedEngine) -> None:
    while engine.num_unfinished:
        engine.cluster.check_integrity()
        engine.advance()
    settle(engine)
    assert not engine.texts
    assert not engine.answers


def settle(engine: DisaggregatedEngine) -> None:
    """Let moves that nobody wants any more come to their end; then every pool is empty."""
    while engine.traffic.is_busy or any(worker.running for worker in engine.workers):
        engine.advance()
    engine.cluster.check_integrity()
    for instance in engine.cluster.instances.values():
        assert instance.memory.pool.num_used_blocks == 0
        assert not instance.reserved


def serve_all(engine: DisaggregatedEngine) -> list[list[int]]:
    answers = [engine.submit(prompt, length)[0] for prompt, length in zip(make_prompts(), ANSWER_LENGTHS, strict=True)]
    run_to_end(engine)
    assert [answer.state for answer in answers] == [State.FINISHED] * len(answers)
    return [answer.tokens for answer in answers]


def assert_identical(found: list[list[int]]) -> None:
    for tokens, length, wanted in zip(found, ANSWER_LENGTHS, reference_answers(), strict=True):
        assert tokens == wanted[:length]


def test_the_same_tokens_as_transformers(pair: DisaggregatedEngine) -> None:
    pair.start_over()
    assert_identical(serve_all(pair))
    assert pair.transfers.num_done == sum(length > 1 for length in ANSWER_LENGTHS)
    assert pair.transfers.num_bytes == sum(record.num_bytes for record in pair.transfers.records)
    assert {record.outcome for record in pair.transfers.records} == {"done"}


def test_layers_follow_as_they_are_computed(layerwise: DisaggregatedEngine) -> None:
    """24 blocks of 4 tokens hold the largest request and little else: the receiver is full again and again."""
    for _ in range(2):  # the second time with every prompt in the prefix cache
        layerwise.start_over()
        assert_identical(serve_all(layerwise))
    early = [record for record in layerwise.transfers.records if len(record.arrived) > 1]
    assert early, "no move was cut into layers"


def test_through_torch_distributed_and_a_slow_link(gloo: DisaggregatedEngine) -> None:
    gloo.start_over()
    assert_identical(serve_all(gloo))
    for record in gloo.transfers.records:
        assert record.end_s is not None
        assert record.end_s - record.start_s >= 500e-6 + record.num_bytes / 0.002e9
    assert gloo.transfers.num_done > 0
    assert gloo.transfers.throttle_s > 0  # the first moves also make their connections, which takes longer
    assert gloo.transfers.copy_s > 0


@pytest.mark.parametrize("seed", range(3))
def test_a_lost_end_of_a_connection_loses_no_request(gloo: DisaggregatedEngine, seed: int) -> None:
    kill_some(gloo, seed)


def test_sampled_answers_and_several_of_them(pair: DisaggregatedEngine) -> None:
    sampling = Sampling(temperature=1.0, top_k=50, seed=7)
    pair.start_over()
    found = [answer.tokens for answer in pair.generate(make_prompts(), 9, sampling, n=2)]
    assert found == [answer.tokens for answer in make_engine().generate(make_prompts(), 9, sampling, n=2)]
    settle(pair)


def test_a_cancelled_request_frees_its_blocks_wherever_they_are(pair: DisaggregatedEngine) -> None:
    dice = random.Random(1)
    for _ in range(12):
        pair.start_over()
        answers = [pair.submit(prompt, 16)[0] for prompt in make_prompts()]
        for _ in range(dice.randrange(12)):
            pair.advance()
        for answer in dice.sample(answers, 4):
            pair.cancel(answer.request_id)
            pair.cluster.check_integrity()
        run_to_end(pair)
        for answer, wanted in zip(answers, reference_answers(), strict=True):
            assert answer.tokens == wanted[:16] or answer.state is State.CANCELLED


@pytest.mark.parametrize("num_advances", [0, 1, 3])
def test_one_of_several_answers_is_cancelled_alone_wherever_it_is(pair: DisaggregatedEngine, num_advances: int) -> None:
    pair.start_over()
    answers = pair.submit(make_prompts()[4], 30, n=3)
    while not answers[0].tokens:
        pair.advance()
    for _ in range(num_advances):  # on its way to the other worker, or there
        pair.advance()
    pair.cancel(answers[1].request_id, 1)
    pair.cluster.check_integrity()
    run_to_end(pair)
    assert [answer.state for answer in answers] == [State.FINISHED, State.CANCELLED, State.FINISHED]
    for answer in answers:
        assert answer.tokens == reference_answers()[4][: 30 if answer.sample != 1 else len(answer.tokens)]


@pytest.mark.parametrize("seed", range(6))
def test_killing_a_worker_at_any_moment_loses_no_request(pair: DisaggregatedEngine, seed: int) -> None:
    kill_some(pair, seed)


@pytest.mark.parametrize("seed", range(6))
def test_nor_while_layers_are_on_their_way(layerwise: DisaggregatedEngine, seed: int) -> None:
    kill_some(layerwise, seed)


def kill_some(engine: DisaggregatedEngine, seed: int) -> None:
    """Kill one to three workers at random moments: all answers come, none is torn."""
    dice = random.Random(seed)
    engine.start_over()
    answers = [engine.submit(prompt, length)[0] for prompt, length in zip(make_prompts(), ANSWER_LENGTHS, strict=True)]
    victims = []
    for _ in range(dice.randint(1, 3)):
        for _ in range(dice.randrange(10)):
            engine.advance()
        before = {answer.request_id: list(answer.tokens) for answer in answers}
        victims.append(dice.choice(engine.workers).pid)  # perhaps the same again, not yet noticed
        kill(victims[-1])
        engine.advance()
        assert all(answer.tokens[: len(before[answer.request_id])] == before[answer.request_id] for answer in answers)
        engine.cluster.check_integrity()
    run_to_end(engine)
    assert [answer.state for answer in answers] == [State.FINISHED] * len(answers)
    assert_identical([answer.tokens for answer in answers])
    wait_until_gone(*victims)  # one that dies later would count with the next test


def test_a_worker_that_died_idle_is_replaced_before_anything_is_counted(pair: DisaggregatedEngine) -> None:
    pair.start_over()
    victims = [worker.pid for worker in pair.workers]
    for pid in victims:
        kill(pid)
    wait_until_gone(*victims)
    pair.start_over()
    assert all(worker.is_ready for worker in pair.workers)
    assert not {worker.pid for worker in pair.workers} & set(victims)
    assert_identical(serve_all(pair))
    assert (pair.statistics.num_lost, len(pair.statistics.events)) == (0, 0)


def test_an_idle_engine_notices_a_death_without_a_request(pair: DisaggregatedEngine) -> None:
    pair.start_over()
    for advance in (pair.advance, lambda: pair.advance(math.inf)):  # with nothing to wait for, and resting
        num_lost, victim = pair.statistics.num_lost, pair.workers[0].pid
        kill(victim)
        wait_until_gone(victim)
        advance()
        assert pair.statistics.num_lost == pair.statistics.num_restarts == num_lost + 1
        while not pair.workers[0].is_ready:
            pair.advance()


def test_a_loss_shows_in_the_statistics(pair: DisaggregatedEngine) -> None:
    pair.start_over()
    [answer] = pair.submit(make_prompts()[4], 30)
    while len(answer.tokens) < 5:
        pair.advance()
    victim = pair.workers[1]
    os.kill(victim.pid, signal.SIGKILL)
    run_to_end(pair)
    assert answer.tokens == reference_answers()[4][:30]
    assert pair.statistics.num_lost == pair.statistics.num_restarts == pair.statistics.num_recomputed == 1
    assert pair.statistics.num_recomputed_tokens >= 64
    assert "worker 1 (decode, cpu) is lost: its process ended" in pair.statistics.events[-1].what
    assert pair.workers[1].pid != victim.pid


def test_a_worker_that_hangs_is_replaced(pair: DisaggregatedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.start_over()
    monkeypatch.setattr(pair, "_patience_s", 2.0)
    os.kill(pair.workers[0].pid, signal.SIGSTOP)
    [answer] = pair.generate(make_prompts()[0], 5)
    assert answer.tokens == reference_answers()[0][:5]
    assert "longer than 2 s" in pair.statistics.events[0].what


def test_nothing_is_left_behind() -> None:
    engine = DisaggregatedEngine(RECIPE, ("mixed", "mixed"), num_blocks=8, restart=False)
    starter = engine.crew._starter._process
    assert starter is not None
    pids = [worker.pid for worker in engine.workers]
    assert all(is_alive(pid) for pid in pids)
    for pid in pids:  # memory that has a name in /dev/shm would outlive them
        assert "/dev/shm" not in Path(f"/proc/{pid}/maps").read_text()
    os.kill(pids[0], signal.SIGKILL)
    assert engine.generate(make_prompts()[0], 5)[0].tokens == reference_answers()[0][:5]
    [answer] = engine.submit(make_prompts()[0], 5)
    os.kill(pids[1], signal.SIGKILL)
    while not answer.is_ended:  # nobody is left: what waits fails, and what comes is turned away
        engine.advance()
    assert answer.state is State.FAILED
    with pytest.raises(
        UserError, match="no worker that prefills is left, start the engine again; what happened last: "
    ):
        engine.submit(make_prompts()[0], 5)
    engine.close()
    engine.close()
    wait_until_gone(*pids, starter.pid)


@pytest.mark.parametrize(("victim", "num_advances"), [(0, 6), (1, 2), (1, 20)])
def test_without_a_role_what_needs_it_fails_and_the_rest_goes_on(victim: int, num_advances: int) -> None:
    with DisaggregatedEngine(RECIPE, num_blocks=64, restart=False) as engine:
        answers = [
            engine.submit(prompt, length)[0] for prompt, length in zip(make_prompts(), ANSWER_LENGTHS, strict=True)
        ]
        for _ in range(num_advances):
            engine.advance()
        kill(engine.workers[victim].pid)
        run_to_end(engine)
        for answer, wanted, length in zip(answers, reference_answers(), ANSWER_LENGTHS, strict=True):
            assert answer.state in (State.FINISHED, State.FAILED)
            assert answer.tokens == wanted[: length if answer.state is State.FINISHED else len(answer.tokens)]
            assert answer.reason or answer.state is State.FINISHED
        while not engine.trouble:  # the death may be noticed after the last answer
            engine.advance()
        task = ("prefills", "decodes")[victim]
        for serve in (engine.generate, engine.stream):
            with pytest.raises(UserError, match=f"no worker that {task} is left"):
                serve(make_prompts()[0], 5)
        with pytest.raises(UserError, match=f"no worker that {task} is left"):
            engine.serve(Workload([Request(0, 0.0, 1, 1, prompt=(1,))], {0: 1}))
        assert "no worker that" in engine.statistics.events[-1].what


def test_when_no_worker_can_be_started_again_that_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with DisaggregatedEngine(RECIPE, num_blocks=64) as engine:
        starter = engine.crew._starter
        assert starter._process is not None

        def refuse() -> None:
            raise OSError("out of processes")

        monkeypatch.setattr(starter, "launch", refuse)
        [answer] = engine.submit(make_prompts()[0], 20)
        kill(starter._process.pid)
        starter._process.wait()
        kill(engine.workers[0].pid)
        kill(engine.workers[1].pid)
        while not answer.is_ended:
            engine.advance()
        assert answer.state is State.FAILED
        with pytest.raises(UserError, match="no worker could be started: out of processes"):
            engine.generate(make_prompts()[0], 5)


def test_a_nursery_that_is_killed_is_started_again(pair: DisaggregatedEngine) -> None:
    pair.start_over()
    nursery, victim = pair.crew._starter._process, pair.workers[0].pid
    assert nursery is not None
    kill(nursery.pid)
    kill(victim)
    nursery.wait()
    wait_until_gone(victim)
    assert_identical(serve_all(pair))
    assert pair.statistics.num_lost >= 1
    assert not pair.trouble


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"workers": "prefill"}, "list of roles"),
        ({"workers": ("prefill",)}, "needs an instance with role 'decode'"),
        ({"workers": ("mixed", "cook")}, "unknown role 'cook'"),
        ({"devices": ("cpu",)}, "devices has 1 values for 2 workers"),
        ({"carrier": "pigeon"}, "unknown carrier 'pigeon'"),
        ({"carrier": "nccl"}, "does not reach workers on cpu; choose one of: shared-memory, gloo"),
        ({"devices": ("cpu", "tpu")}, "device 'tpu' is not available"),
        ({"bandwidth_gb_s": 0}, "bandwidth_gb_s must be above 0"),
        ({"schedulers": {"prefill": "fifo"}}, "unknown scheduler 'fifo'"),
        ({"schedulers": {"cook": "orca"}}, "role 'cook'"),
        ({"schedulers": {"mixed": "orca"}}, "no worker has it; they are prefill, decode"),
        ({"model": "no-such-model"}, "no model"),
    ],
)
def test_an_engine_that_cannot_be(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        DisaggregatedEngine(**{"model": RECIPE, **arguments})  # type: ignore[arg-type]


def test_a_wait_ends_when_another_thread_wakes_the_engine(pair: DisaggregatedEngine) -> None:
    waker = threading.Timer(0.05, pair.wake)
    waker.start()
    assert pair.advance(math.inf) == []
    waker.join()


def test_the_link_can_be_changed(pair: DisaggregatedEngine) -> None:
    pair.start_over()
    pair.set_link(bandwidth_gb_s=0.002, latency_us=500)
    pair.generate(make_prompts()[4], 2)
    pair.set_link()
    pair.generate(make_prompts()[4], 2)
    slow, fast = pair.transfers.records
    assert slow.end_s is not None
    assert slow.end_s - slow.start_s >= 500e-6 + slow.num_bytes / 0.002e9
    assert slow.throttle_s > fast.throttle_s == 0
    with pytest.raises(UserError, match="bandwidth_gb_s must be above 0"):
        pair.set_link(bandwidth_gb_s=-1)


def test_schedulers_can_be_changed_and_stay_so_when_a_worker_is_replaced(pair: DisaggregatedEngine) -> None:
    pair.start_over()
    pair.submit(make_prompts()[0], 5)
    with pytest.raises(UserError, match=r"answers are still being written \(1\)"):
        pair.set_schedulers({"prefill": "chunked-prefill"})
    run_to_end(pair)
    pair.set_schedulers({"prefill": "chunked-prefill"})
    for _ in range(2):
        assert isinstance(pair.workers[0].instance.scheduler, ChunkedPrefill)
        assert isinstance(pair.workers[1].instance.scheduler, DecodeOnly)
        assert_identical(serve_all(pair))
        kill(victim := pair.workers[0].pid)
        wait_until_gone(victim)
        pair.start_over()
    for schedulers, words in ({"mixed": "orca"}, "no worker has it"), ({"prefill": "fifo"}, "unknown scheduler 'fifo'"):
        with pytest.raises(UserError, match=words):
            pair.set_schedulers(schedulers)
    pair.set_schedulers({"prefill": "prefill-only"})


def test_short_prompts_may_stay_where_they_decode() -> None:
    with DisaggregatedEngine(RECIPE, num_blocks=64, short_prompts_stay=16) as engine:
        assert_identical(serve_all(engine))
        moved = {record.request_id for record in engine.transfers.records}
        prompts = make_prompts()
        assert moved == {i for i, prompt in enumerate(prompts) if len(prompt) > 16 and ANSWER_LENGTHS[i] > 1}


def test_a_request_that_ends_every_worker_fails_instead_of_running_for_ever(pair: DisaggregatedEngine) -> None:
    pair.start_over()
    [culprit] = pair.submit(make_prompts()[2], 5)
    pair.texts[culprit.request_id, 0].tokens[3] = 10**6  # no embedding has such a row
    while not culprit.is_ended:
        pair.advance()
    assert culprit.state is State.FAILED
    assert "5 workers were lost" in culprit.reason
    assert "IndexError" in culprit.reason
    assert pair.generate(make_prompts()[0], 5)[0].tokens == reference_answers()[0][:5]


ORPHANS = """
import os, signal, sys
from course.engine.disaggregated import DisaggregatedEngine
from course.model.config import benchmark_shape
from course.model.recipe import Recipe
engine = DisaggregatedEngine(Recipe("random", benchmark_shape("tiny")), num_blocks=64)
[answer] = engine.submit([5] * 64, 400)
while len(answer.tokens) < 3:
    engine.advance()
print(engine.crew._starter._process.pid, *[worker.pid for worker in engine.workers], flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "raise KeyboardInterrupt", "sys.exit()"])
def test_workers_end_with_the_process_of_their_engine_however_that_ends(end: str) -> None:
    code = ORPHANS.replace("{end}", end)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 3, done.stderr
    wait_until_gone(*pids)


def test_an_interrupt_loses_nothing(pair: DisaggregatedEngine) -> None:
    pair.start_over()
    answers = [pair.submit(prompt, length)[0] for prompt, length in zip(make_prompts(), ANSWER_LENGTHS, strict=True)]
    num_interrupts = 0
    for delay_s in (0.001, 0.002, 0.004, 0.003, 0.001):
        timer = threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            while timer.is_alive() or pair.num_unfinished:
                if not pair.num_unfinished:
                    time.sleep(0.01)
                pair.advance()
                if not timer.is_alive() and not pair.num_unfinished:
                    break
            timer.join()
            time.sleep(0.01)
        except KeyboardInterrupt:
            num_interrupts += 1
    run_to_end(pair)
    assert num_interrupts == 5
    assert_identical([answer.tokens for answer in answers])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("carrier", ["cuda-ipc", "nccl"])
def test_workers_on_gpus(carrier: str) -> None:
    other = "cuda:1" if torch.cuda.device_count() > 1 else "cuda:0"
    if carrier == "nccl" and other == "cuda:0":
        pytest.skip("NCCL needs two GPUs")
    with DisaggregatedEngine(RECIPE, devices=("cuda:0", other), carrier=carrier, num_blocks=64) as engine:
        assert_identical(serve_all(engine))
        kill_some(engine, 0)
