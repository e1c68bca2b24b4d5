"""How long steps of this engine take on this machine: the measurements behind the simulator's ``measured`` cost model.

Every step is a real one: a scheduler proposes it, the control plane checks it, the network computes it. Only the way
there is cut short: what a step needs in the cache is declared computed without being computed, which changes no time,
since arithmetic takes as long with any numbers.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from course.engine.executor import Executor
from course.engine.local import LocalEngine
from course.engine.texts import Step
from course.model.loading import Model
from course.serving.plan import Chunk, Plan
from course.serving.view import InstanceView

CACHE_TOKENS = 40_000
GPU_CACHE_TOKENS = 400_000
NUM_WARM_UPS = 40


@dataclass(frozen=True, slots=True)
class StepShape:
    """A step: ``prompts`` as (tokens in the cache, tokens to compute), ``contexts`` as cached tokens of each decode."""

    prompts: tuple[tuple[int, int], ...] = ()
    contexts: tuple[int, ...] = ()


def default_steps(max_context: int, seed: int = 0) -> list[StepShape]:
    """Prompts whole, in chunks and together; decodes from 1 to 64 sequences, short to long; and both in one step.

    Lengths beyond ``max_context`` are left out. Contexts of one step spread from half to one and a half times their
    mean, as those of a real batch do.
    """
    rng = random.Random(seed)

    def spread(num: int, mean: int) -> tuple[int, ...]:
        return tuple(max(1, round(mean * rng.uniform(0.5, 1.5))) for _ in range(num))

    whole = [((0, n),) for n in (4, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)]
    chunks = [((start, n),) for n in (32, 128, 256) for start in (128, 512, 1024, 2048)]
    together = [((0, n),) * num for num, n in ((2, 64), (4, 32), (4, 128), (8, 64), (2, 256), (16, 32), (3, 512))]
    prompts = [StepShape(prompts=each) for each in whole + chunks + together]
    decodes = [
        StepShape(contexts=spread(num, mean))
        for num in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
        for mean in (16, 64, 128, 256, 512, 1024, 2048)
        if num * mean <= CACHE_TOKENS // 3
    ]
    mixed = [
        StepShape(((start, n),), spread(num, mean))
        for num, mean in ((2, 128), (8, 128), (8, 512), (24, 256), (48, 128))
        for start, n in ((0, 16), (0, 64), (0, 192), (256, 192), (0, 448))
    ]
    return [step for step in prompts + decodes + mixed if _longest(step) + 8 <= max_context]


def large_steps(max_context: int, seed: int = 0) -> list[StepShape]:
    """What a GPU is for, beyond the default steps: longer prompts, long contexts, up to 256 sequences."""
    rng = random.Random(seed)

    def spread(num: int, mean: int) -> tuple[int, ...]:
        return tuple(max(1, round(mean * rng.uniform(0.5, 1.5))) for _ in range(num))

    prompts: list[tuple[tuple[int, int], ...]] = [((0, n),) for n in (3072, 4096, 6144, 8192)]
    prompts += [((start, n),) for start, n in ((2048, 512), (6144, 512), (2048, 2048), (6144, 2048))]
    prompts += [((0, 1024),) * 2, ((0, 2048),) * 2, ((0, 1024),) * 4]
    sizes = [(num, mean) for num in (96, 128, 192, 256) for mean in (128, 512, 1024)]
    sizes += [(num, mean) for num in (16, 32, 64) for mean in (1024, 2048)] + [(1, 4096), (8, 4096), (32, 4096)]
    mixed = [
        (chunk, spread(num, mean))
        for num, mean in ((16, 1024), (64, 512), (128, 512))
        for chunk in ((0, 256), (0, 512), (2048, 512), (0, 1024), (0, 2048))
    ]
    steps = [StepShape(prompts=each) for each in prompts]
    steps += [StepShape(contexts=spread(num, mean)) for num, mean in sizes]
    steps += [StepShape((chunk,), contexts) for chunk, contexts in mixed]
    return [step for step in steps if _longest(step) + 8 <= max_context]


def _longest(step: StepShape) -> int:
    return max([start + n for start, n in step.prompts] + list(step.contexts))


class StepTimer:
    """Runs steps of any shape on a model and says how long each took, in seconds."""

    def __init__(self, model: Model, block_size: int = 16, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        num_blocks = (CACHE_TOKENS if model.network.device == "cpu" else GPU_CACHE_TOKENS) // block_size
        self.engine = LocalEngine(model, _Proposal(), num_blocks=num_blocks, block_size=block_size)
        self._proposal: _Proposal = self.engine.instance.scheduler  # type: ignore[assignment]
        del self.engine.executor  # and its cache, before another one is made
        self.executor = _Executor(model.network, num_blocks, block_size)
        self.executor.cache.blocks.normal_(generator=torch.Generator(self.executor.cache.blocks.device).manual_seed(0))
        self.engine.executor = self.executor

    def time_s(self, step: StepShape) -> float:
        """One step of that shape, from asking the scheduler to reporting the tokens."""
        try:
            self._fill(step)
            start_s = self.clock()
            self.engine.step()
            return self.clock() - start_s
        finally:
            self._clear()

    def num_calls(self, step: StepShape) -> int:
        """Operators of torch that one step of that shape calls, each of which takes time however little it computes."""
        try:
            self._fill(step)
            with _Counter() as counter:
                self.engine.step()
            return counter.num_calls
        finally:
            self._clear()

    def _clear(self) -> None:
        for request_id in {request_id for request_id, _ in self.engine.answers}:
            self.engine.cancel(request_id)

    def _fill(self, step: StepShape) -> None:
        """Let the requests in and declare computed what the step finds in the cache."""
        already: dict[int, int] = {}
        for context in step.contexts:
            [answer] = self.engine.submit([0] * context, 4, ignore_end=True)
            already[answer.request_id] = context
        chunks: dict[int, int] = {}
        for start, num_tokens in step.prompts:
            [answer] = self.engine.submit([0] * (start + num_tokens), 1, ignore_end=True)
            chunks[answer.request_id] = num_tokens
            if start:
                already[answer.request_id] = start
        if already:
            self._proposal.chunks, self._proposal.decode_all = already, False
            self.executor.declares = True
            self.engine.step()
            self.executor.declares = False
        self._proposal.chunks, self._proposal.decode_all = chunks, bool(step.contexts)


class _Counter(TorchDispatchMode):
    """Counts the operators that are called while it is entered."""

    num_calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.num_calls += 1
        return func(*args, **(kwargs or {}))


class _Proposal:
    """A scheduler that proposes exactly one step: so many tokens for each of these requests."""

    def __init__(self) -> None:
        self.chunks: dict[int, int] = {}
        self.decode_all = False

    def schedule(self, view: InstanceView) -> Plan:
        sequences = {s.request.id: s for s in (*view.waiting, *view.running)}
        chunks = [Chunk(sequences[i], num_tokens) for i, num_tokens in self.chunks.items() if i in sequences]
        return Plan(chunks, decode_all=self.decode_all)


class _Executor(Executor):
    """An executor that can declare a step computed instead of computing it."""

    declares = False

    def run(self, step: Step) -> list[int]:
        return [0] * len(step.draws) if self.declares else super().run(step)


class Recording:
    """Times of ``steps``: ``seconds[i]`` has one for each round of step i.

    Every round has an order of its own, so that a slow minute hits all steps alike. ``clock`` may be
    ``time.thread_time``: on a busy machine it counts only what this thread computed.
    """

    def __init__(
        self,
        model: Model,
        steps: Sequence[StepShape],
        block_size: int = 16,
        seed: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.steps = list(steps)
        self.seconds: list[list[float]] = [[] for _ in steps]
        self._timer = StepTimer(model, block_size, clock)
        self._rng = random.Random(seed)
        # On a GPU every kind of step compiles kernels or captures a graph when it first runs.
        num_warm_ups = NUM_WARM_UPS if model.network.device == "cpu" else len(self.steps)
        for step in self._rng.sample(self.steps, min(len(self.steps), num_warm_ups)):
            self._timer.time_s(step)

    def run_round(self, on_step: Callable[[], object] = lambda: None) -> None:
        """Time every step once more."""
        for i in self._rng.sample(range(len(self.steps)), len(self.steps)):
            self.seconds[i].append(self._timer.time_s(self.steps[i]))
            on_step()


def peak_rates(device: str = "cpu", seconds: float = 2.0, dtype: torch.dtype = torch.float32) -> tuple[float, float]:
    """FLOPs/s of a large matrix product and bytes/s of reading a large array: the best of many tries."""
    size, num_bytes = (1024, 2**28) if device == "cpu" else (8192, 2**31)  # no cache holds the array
    left, right = torch.randn(2, size, size, device=device, dtype=dtype)
    array = torch.ones(num_bytes // 4, device=device)
    product_s = _best_s(lambda: (left @ right)[0, 0].item(), seconds / 2)  # item() waits for the device
    return 2 * size**3 / product_s, num_bytes / _best_s(lambda: array.sum().item(), seconds / 2)


def product_s(
    nums_tokens: Sequence[int], inputs: int, outputs: int, rounds: int = 5, device: str = "cpu"
) -> dict[int, float]:
    """Seconds to put so many vectors through one float32 matrix of weights, for each number: the best of ``rounds``.

    Numbers take turns, so that a slow moment of the machine hits all alike; a round before the first is not counted.
    """
    weights = torch.randn(inputs, outputs, device=device)
    vectors = {n: torch.randn(n, inputs, device=device) for n in nums_tokens}
    best_s = dict.fromkeys(nums_tokens, float("inf"))
    for counted in [False] + [True] * rounds:
        for n, x in vectors.items():
            start_s = time.perf_counter()
            (x @ weights)[0, 0].item()  # item() waits for the device
            if counted:
                best_s[n] = min(best_s[n], time.perf_counter() - start_s)
    return best_s


def _best_s(function: Callable[[], object], seconds: float) -> float:
    best_s, end_s = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        start_s = time.perf_counter()
        function()
        best_s = min(best_s, time.perf_counter() - start_s)
    return best_s
