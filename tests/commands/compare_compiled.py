"""What compiled modules and plain ones must agree on, as JSON. Run by test_compile.py, each time in a new Python.

python compare_compiled.py FOLDER|none [TESTS...]: with tests, pytest runs these instead.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from course import compiled

sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, compiled.Finder)]
if sys.argv[1] != "none":
    compiled.FOLDER = Path(sys.argv[1])
    compiled.use()


def first_imports() -> list[str]:
    """Modules that cannot be the first to be imported."""
    failed: list[str] = []
    for name in compiled.MODULES if hasattr(os, "fork") else ():
        if (child := os.fork()) == 0:
            importlib.import_module(name)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            failed.append(name)
    return failed


def main() -> None:
    """Print what is found."""
    import numpy as np

    failed = first_imports()

    from course.errors import UserError
    from course.serving.allocator import AllocatorPool
    from course.serving.cluster import Cluster
    from course.serving.draft import Draft
    from course.serving.instance import Instance
    from course.serving.plan import Chunk, Plan, Preemption, Refusal
    from course.serving.pool import BlockPool
    from course.serving.schedulers import SCHEDULERS, ChunkedPrefill, make_scheduler
    from course.serving.sequence import Sequence
    from course.serving.view import InstanceView
    from course.simulator.experiment import load_experiment
    from course.simulator.experiment.load import preset_names
    from course.simulator.linear import LinearCost
    from course.simulator.simulate import simulate
    from course.simulator.virtual import VirtualDriver
    from course.workload.request import Request, Workload

    def digest(records: list[Any]) -> str:
        """Of every time of every answer, to the last bit."""
        lives = [
            (r.outcome.value, r.num_preemptions, r.error, [float(time_s) for time_s in (*r.token_times_s, r.end_s)])
            for r in records
        ]
        return hashlib.sha256(repr(lives).encode()).hexdigest()

    def workload(number: type = int, time: type = float) -> Workload:
        """Forty requests, in a hurry."""
        lengths = [(17 * k % 60 + 1, 13 * k % 40 + 1) for k in range(40)]
        requests = [Request(k, time(0.004 * k), number(p), number(n)) for k, (p, n) in enumerate(lengths)]
        return Workload(requests, {k: number(n) for k, (_, n) in enumerate(lengths)})

    def serve(scheduler: Any, work: Workload | None = None, **options: Any) -> str:
        """On one small instance."""
        machine = Instance(scheduler, 20, 8, **options)
        driver = VirtualDriver(Cluster([machine]), LinearCost(), after_event=lambda now_s: None)
        records = driver.run(work or workload()).records
        driver.cluster.check_integrity()
        return digest(records)

    class Mine:
        """A policy as a learner writes one, with a state of its own."""

        def __init__(self) -> None:
            self.asked = 0
            self.seen: set[Sequence] = set()

        def schedule(self, view: InstanceView) -> Plan:
            """Who runs goes on; one more is admitted if its prompt fits."""
            self.asked += 1
            self.seen.update(view.running)
            plan = Plan([Chunk(sequence, 1) for sequence in view.decoding])
            needed = sum(view.blocks_needed(sequence, 1) for sequence in view.decoding)
            for sequence in list(view.waiting)[:1]:
                num_tokens = view.tokens_left(sequence)
                if (
                    needed + view.blocks_for(sequence.num_tokens_at_most) <= view.num_free_blocks
                    and len(view.running) < 2
                ):
                    plan.chunks.append(Chunk(sequence, num_tokens))
            return plan

    class Counting(ChunkedPrefill):
        """A published policy, extended."""

        asked = 0

        def schedule(self, view: InstanceView) -> Plan:
            """The same, counted."""
            self.asked += 1
            return super().schedule(view)

    class Watching(Cluster):
        """A cluster that keeps count, in an attribute of its own."""

        def decide(self, now_s: float) -> list[Any]:
            """The same, counted."""
            self.decisions = getattr(self, "decisions", 0) + 1
            return super().decide(now_s)

    class Driver(VirtualDriver):
        """A driver that notes steps."""

        def _start(self, action: Any, now_s: float) -> None:
            self.started = [*getattr(self, "started", []), now_s]
            super()._start(action, now_s)

    class Stack:
        """An allocator of one's own."""

        def __init__(self, num_blocks: int) -> None:
            self.free_blocks = list(range(num_blocks))
            self.references = [0] * num_blocks

        def allocate(self, count: int) -> list[int]:
            """From the end."""
            asked.append(count)
            taken = [self.free_blocks.pop() for _ in range(count)]
            for block in taken:
                self.references[block] = 1
            return taken

        def fork(self, table: list[int]) -> list[int]:
            """Never asked for here."""
            raise NotImplementedError

        def free(self, table: list[int]) -> None:
            """Back to the end."""
            for block in table:
                self.references[block] = 0
                self.free_blocks.append(block)

    def pool(num_blocks: int, block_size: int, prefix_cache: bool = False) -> BlockPool:
        return AllocatorPool(Stack(num_blocks), num_blocks, block_size)

    class Wrong:
        """Answers whatever it is told to."""

        answer: Any = None

        def schedule(self, view: InstanceView) -> Any:
            """Not always a plan."""
            return self.answer(view) if callable(self.answer) and not isinstance(self.answer, type) else self.answer

    def complaint(answer: Any) -> str:
        """What is said of a plan; nothing else may have happened."""
        policy = Wrong()
        policy.answer = answer
        machine = Instance(policy, 4, 8)
        machine.enqueue(Sequence(Request(7, 0.0, 9, 4), 0))
        try:
            machine.schedule(1.0)
        except UserError as error:
            assert machine.memory.pool.num_free_blocks == 4
            return str(error)
        return "accepted"

    def drafted(do: Any) -> Any:
        """A plan by way of a draft."""

        def answer(view: InstanceView) -> Plan:
            draft: Draft = view.draft()
            do(draft, view.waiting[0])
            return draft.plan

        return answer

    asked: list[int] = []
    watched = simulate(load_experiment("chat-disaggregated", ["workload.requests=60"]), make_cluster=Watching)
    driver = Driver(Cluster([Instance(ChunkedPrefill(), 20, 8)]), LinearCost())
    driver.run(workload())
    mine, counting = Mine(), Counting(token_budget=16)
    wrong: list[Any] = [
        *(
            None,
            [],
            "run",
            Plan,
            Plan(chunks=None),
            Plan([3]),
            Plan(holds=1.5),
            Plan(holds=True),
            Plan(wake_at_s="soon"),
        ),
        *(lambda view, n=n: Plan([Chunk(view.waiting[0], n)]) for n in (0, 1.0, "1", None, True, np.int64(1), 10)),
        lambda view: Plan([(view.waiting[0], 9)], wake_at_s=0.5),
        lambda view: Plan([Chunk("me", 1)]),  # type: ignore[arg-type]
        lambda view: Plan(preempt=[Preemption(view.waiting[0], 1)]),  # type: ignore[arg-type]
        lambda view: Plan(refuse=[Refusal(view.waiting[0], None)]),  # type: ignore[arg-type]
        lambda view: Plan([Chunk(view.waiting[0], 9)]),
        drafted(lambda draft, sequence: draft.add(sequence, 2.0)),
        drafted(lambda draft, sequence: draft.add(None, 2)),
        drafted(lambda draft, sequence: setattr(draft.plan, "wake_at_s", "soon")),
        drafted(lambda draft, sequence: setattr(draft.plan, "chunks", None)),
        drafted(lambda draft, sequence: draft.can_add(sequence, 9, 0.5) and draft.add(sequence, 9)),
    ]
    found = {
        "is_native": type(BlockPool.allocate).__name__ != "function",
        "cannot be imported first": failed,
        "presets": {
            name: digest(simulate(load_experiment(name, ["workload.requests=60"])).records) for name in preset_names()
        },
        "policies": {name: serve(make_scheduler(name)) for name in SCHEDULERS},
        "policies with swap and prefixes": serve(ChunkedPrefill(preempt="swap"), num_host_blocks=8, prefix_cache=True),
        "pipeline": serve(ChunkedPrefill(), num_stages=2),
        "mine": [serve(mine), mine.asked, len(mine.seen)],
        "extended": [serve(counting), counting.asked],
        "cluster": [digest(watched.records), watched.driver.cluster.decisions],  # type: ignore[attr-defined]
        "driver": [digest(driver.recorder.records), len(driver.started)],
        "allocator": [serve(ChunkedPrefill(), make_pool=pool), sum(asked)],
        "numbers of numpy": serve(ChunkedPrefill(), workload(np.int64, np.float64))
        == serve(ChunkedPrefill(), workload()),
        "wrong": [complaint(answer) for answer in wrong],
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    if tests := sys.argv[2:]:
        import pytest

        sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests]))
    main()
