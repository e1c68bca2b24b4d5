"""Small workloads and clusters for the tests of the control plane."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from course.metrics.record import Outcome, Recorder
from course.serving.batch import Batch, TokenResult
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.plan import Plan
from course.serving.prefix import block_hashes
from course.serving.schedulers import make_scheduler
from course.serving.sequence import Sequence, State
from course.serving.view import InstanceView
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request, Workload


def request(id: int, prompt: int, output: int = 8, arrival_s: float = 0.0, **fields: Any) -> Request:
    """A request of ``prompt`` tokens that declares ``output`` tokens."""
    return Request(id, arrival_s, prompt, output, **fields)


def with_tokens(request: Request, tokens: list[int], block_size: int) -> Request:
    """The same request with real tokens and their block hashes."""
    hashes = block_hashes(tokens, block_size)
    return replace(request, num_prompt_tokens=len(tokens), prompt=tuple(tokens), prefix_hashes=hashes)


def workload(*requests: Request, lengths: dict[int, int] | None = None) -> Workload:
    """A workload whose answers are as long as declared unless ``lengths`` says otherwise."""
    lengths = lengths or {}
    ordered = sorted(requests, key=lambda r: r.arrival_s)
    return Workload(ordered, {r.id: lengths.get(r.id, r.max_new_tokens) for r in ordered})


def instance(scheduler: Any = "chunked-prefill", num_blocks: int = 64, block_size: int = 4, **fields: Any) -> Instance:
    """An instance with a policy by name or object."""
    policy = make_scheduler(scheduler) if isinstance(scheduler, str) else scheduler
    return Instance(policy, num_blocks, block_size, **fields)


def checking_driver(cluster: Cluster, **fields: Any) -> VirtualDriver:
    """A driver that checks the integrity of everything after every event."""
    return VirtualDriver(cluster, LinearCost(), after_event=lambda now_s: cluster.check_integrity(), **fields)


def assert_all_served(recorder: Recorder, served: Workload) -> None:
    """Every answer is finished and exactly as long as it should be."""
    assert len(recorder.records) == sum(r.n for r in served.requests)
    for record in recorder.records:
        assert record.outcome is Outcome.FINISHED, record
        assert record.num_output_tokens == served.output_lengths[record.request_id], record


def assert_empty(cluster: Cluster) -> None:
    """Nothing is left: no sequence, no block, no reservation."""
    assert cluster.num_unfinished == 0
    assert not cluster._home
    assert not cluster._sequences
    assert not cluster.handovers.transfers
    for each in cluster.instances.values():
        assert each.memory.pool.num_used_blocks == 0
        assert each.memory.host is None or each.memory.host.num_used_blocks == 0
        assert not each.has_work


class Scripted:
    """A scheduler that answers with the plan that was put into its hands; an empty one by default."""

    def __init__(self, *plans: Any) -> None:
        self.plans = list(plans)

    def schedule(self, view: InstanceView) -> Any:
        return self.plans.pop(0) if self.plans else Plan()


def queue(machine: Instance, *requests: Request, rank: int = 0) -> list[Sequence]:
    """Let requests wait on an instance, ranked in the order given."""
    sequences = [Sequence(request, rank + k) for k, request in enumerate(requests)]
    for sequence in sequences:
        machine.enqueue(sequence)
    return sequences


def finish(machine: Instance, batch: Batch, last: tuple[Sequence, ...] = ()) -> list[Sequence]:
    """Complete a batch; the sequences in ``last`` end with their token. Returns those that ended."""
    sampled = [s for chunk in batch.chunks for s in chunk.samples]
    ended, _ = machine.complete(batch, [TokenResult(s, s in last) for s in sampled if not s.is_ended])
    machine.check_integrity()
    return ended


def run(machine: Instance, plan: Plan, now_s: float = 0.0) -> Batch:
    """Carry one plan out on an instance with a `Scripted` scheduler, from decision to result."""
    machine.scheduler.plans.append(plan)
    batch = machine.schedule(now_s)[1]
    assert batch is not None
    machine.check_integrity()
    finish(machine, batch)
    return batch


class Steps:
    """An instance played step by step; each step is told as {request id: tokens}."""

    def __init__(self, scheduler: object, num_blocks: int = 64, **fields: int) -> None:
        self.machine: Instance = instance(scheduler, num_blocks, **fields)
        self.num_arrived = 0
        self.preempted: list[int] = []
        self.refused: list[int] = []

    def arrive(self, *requests: Request) -> Steps:
        queue(self.machine, *requests, rank=self.num_arrived)
        self.num_arrived += len(requests)
        return self

    def step(self) -> dict[int, int]:
        """Decide and run one batch; sequences that preemption or refusal took away are noted."""
        running = list(self.machine.running)
        plan, self.batch = self.machine.schedule(0.0)
        self.preempted += [s.request.id for s in running if s.state is State.PREEMPTED]
        self.refused += [sequence.request.id for sequence, _ in plan.refuse]
        if self.batch is None:
            return {}
        told = {chunk.sequence.request.id: chunk.num_tokens for chunk in self.batch.chunks}
        finish(self.machine, self.batch)
        return told

    def steps(self, count: int) -> list[dict[int, int]]:
        return [self.step() for _ in range(count)]
