"""The engine on many workers: prefill and decode in processes of their own, keys and values moving between them.

The same control plane as everywhere decides in this process; it is told what the workers report and says what they do
next. `DisaggregatedEngine.advance` is the whole loop: decide, wait for messages, report them.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from math import inf
from multiprocessing.connection import wait

from course.engine.front import Engine
from course.engine.texts import Texts, Token
from course.engine.transfer.choice import CARRIERS, choose_carrier
from course.engine.transfer.link import Throttle
from course.engine.transfer.record import TransferTotals
from course.engine.transfer.traffic import Traffic
from course.engine.workers.arguments import SCHEDULERS, MakeScheduler, make_stations, read_policies, read_roles
from course.engine.workers.crew import Crew, Station
from course.engine.workers.handle import Worker
from course.engine.workers.interrupts import uninterrupted
from course.engine.workers.messages import Broken, Done, LayerDone, Moved, NotMoved, Ready
from course.engine.workers.statistics import Statistics
from course.engine.workers.waker import Waker
from course.errors import UserError
from course.model.recipe import Recipe
from course.serving.actions import Action, RunBatch, StartTransfer, StopTransfer
from course.serving.cluster import Cluster
from course.serving.instance import Instance, Role
from course.serving.routers import Router
from course.serving.routers.short_prompts_stay import ShortPromptsStay
from course.serving.sequence import Sequence as ServedSequence

MAX_LOSSES = 5
"""So many workers may be lost while they compute a sequence; then it is taken for the cause and fails."""


class DisaggregatedEngine(Engine):
    """Serves one model on several workers, each a process with a device, a model and a cache of its own.

    Args:
        model: a name for `load_model` ("tiny", a folder, a hub name) or a `Recipe`.
        workers: the role of each: "prefill", "decode" or "mixed".
        devices: of each, or one for all: "cpu" (one core and one thread each), "cuda:0", ...
        schedulers: by role, a policy's name or a function that makes one; see ``SCHEDULERS`` for the rest, and
            `set_schedulers`.
        num_blocks: blocks of KV cache, of each worker or one number for all; block_size: tokens per block.
        prefix_cache: whether prompts and answers that begin alike share their blocks.
        carrier: how keys and values move, see `course.engine.transfer`; by default the fastest for the devices.
        bandwidth_gb_s, latency_us: of a slower link to stand in for the real one (10^9 bytes per second); see
            `set_link`.
        layerwise: send each layer while the next is computed, where the receiver has room.
        short_prompts_stay: prompts of at most so many tokens are computed by the workers that decode.
        restart: whether a lost worker is started again.
        patience_s: a worker that needs longer for a step is taken for lost.
        router: which worker computes a prompt.
        on_start: is told in a sentence what is being waited for.
        make_cluster: a class of cluster that watches what happens.

    A worker that is killed, raises or hangs loses no request: what it had is computed again, on another or on the one
    that takes its place, and answers go on where they were. ``statistics`` counts it. When the last of a role is lost
    and none can take its place, what needs it fails, ``trouble`` says why, and `submit` raises UserError with it.

    Use it in a ``with`` block, or `close` it: then its processes end. They also end when this process does, however.
    Raises UserError for arguments that make no engine.
    """

    def __init__(
        self,
        model: str | Recipe = "tiny",
        workers: Sequence[Role] = ("prefill", "decode"),
        devices: str | Sequence[str] = "cpu",
        *,
        schedulers: Mapping[str, str | MakeScheduler] | None = None,
        num_blocks: int | Sequence[int] = 1024,
        block_size: int = 16,
        prefix_cache: bool = False,
        carrier: str | None = None,
        bandwidth_gb_s: float | None = None,
        latency_us: float = 0.0,
        layerwise: bool = False,
        short_prompts_stay: int = 0,
        restart: bool = True,
        patience_s: float = 120.0,
        router: Router | None = None,
        clock: Callable[[], float] = time.perf_counter,
        on_start: Callable[[str], object] = lambda sentence: None,
        make_cluster: Callable[..., Cluster] = Cluster,
    ) -> None:
        recipe = Recipe(model) if isinstance(model, str) else model
        outline = recipe.outline()
        roles = read_roles(workers, short_prompts_stay)
        self._policies = read_policies(SCHEDULERS) | read_policies(schedulers or {}, roles)
        self._prefix_cache = prefix_cache
        self._block_size = block_size
        self._restart = restart
        self._patience_s = patience_s
        self._layerwise = layerwise
        self._losses: dict[ServedSequence, int] = {}
        stations = make_stations(roles, devices, num_blocks)
        carrier = choose_carrier(carrier, [station.device for station in stations])
        instances = [self._new_instance(station) for station in stations]
        if short_prompts_stay and router is None:
            router = ShortPromptsStay(short_prompts_stay)
        cluster = make_cluster(instances, router, early_transfers=layerwise)
        token_bytes = outline.config.kv_bytes_per_token(recipe.dtype_bytes)
        num_layers = outline.config.num_layers
        self.traffic = Traffic(
            cluster,
            Throttle(bandwidth_gb_s, latency_us),
            num_layers,
            token_bytes * block_size // num_layers,
            CARRIERS[carrier].needs_both_ends,
            lambda: self.now_s,
        )
        self.crew = Crew(recipe, stations, block_size, token_bytes, carrier, on_start)
        super().__init__(outline, cluster, Texts(block_size, prefix_cache), clock)
        self._waker = Waker()
        self._close = weakref.finalize(self, _close, self.crew, self._waker)
        try:
            self.crew.start(instances, self._clock())
            self._await_crew(on_start)
        except BaseException:
            self._close()
            raise

    # the loop

    def advance(self, until_s: float | None = None) -> list[Token]:
        """Wait for what the workers report, and let them go on; see `Engine.advance`."""
        self._decide()
        is_idle = until_s is None and self._is_idle
        tokens = self._listen(0.0 if is_idle else self._timeout_s(until_s))  # who has died idle is noticed, too
        self._decide()
        if is_idle and self._is_idle:
            self.cluster.check_not_stalled()
        return tokens

    def wake(self) -> None:
        """Make an `advance` that waits return soon. Any thread may call this."""
        self._waker.wake()

    def set_link(self, bandwidth_gb_s: float | None = None, latency_us: float = 0.0) -> None:
        """From now on let keys and values move as over this link; without arguments as fast as they really do.

        Raises UserError for a bandwidth that is not positive or a negative latency.
        """
        self.traffic.throttle = Throttle(bandwidth_gb_s, latency_us)

    def set_schedulers(self, schedulers: Mapping[str, str | MakeScheduler]) -> None:
        """From now on let the workers of these roles follow other policies, also those that are started again.

        Raises UserError as the constructor does, and while answers are being written.
        """
        if num := self.num_unfinished:
            raise UserError(f"answers are still being written ({num}); change schedulers before or after")
        self._policies |= read_policies(schedulers, [station.role for station in self.crew.stations])
        for worker in self.crew.workers:
            if worker.instance.role in schedulers:
                worker.instance.scheduler = self._policies[worker.instance.role]()

    def close(self) -> None:
        """End what is unfinished and all workers. Closing again is no error."""
        super().close()
        self._close()

    @property
    def workers(self) -> list[Worker]:
        """The workers that are there."""
        return self.crew.workers

    def _decide(self) -> None:
        while actions := self.cluster.decide(self.now_s):  # a move that ends at once lets more follow
            with uninterrupted():
                self._carry_out(actions)

    def _act(self, action: Action) -> None:
        match action:
            case RunBatch(batch):
                worker = self.crew.at(batch.instance_id)
                tells_layers = self._layerwise and worker.instance.role == "prefill"
                worker.run(batch, self._plan(batch), self._clock(), tells_layers)
            case StartTransfer(transfer):
                source, target = self.crew.at(transfer.source.id), self.crew.at(transfer.target.id)
                self._carry_out(self.traffic.start(transfer, source, target))
            case StopTransfer(transfer):
                self._carry_out(self.traffic.stop(transfer))

    def _listen(self, timeout_s: float | None) -> list[Token]:
        """Wait for messages and report them; what was due by now is reported, too."""
        by_pipe = {worker.pipe.fileno(): worker for worker in self.crew.workers}
        ready = wait([*by_pipe, self._waker.fileno()], timeout_s)
        tokens: list[Token] = []
        with uninterrupted():
            self._waker.drain()
            for worker in [by_pipe[descriptor] for descriptor in ready if descriptor in by_pipe]:
                tokens += self._hear(worker)
            self._carry_out(self.traffic.look())
            self._check_timer()
            for worker in [w for w in self.crew.workers if self._ends_s(w) <= self.now_s]:
                doing = "a step" if worker.is_ready else "its start"
                self._lose(worker, f"{doing} took longer than {self._patience_s:g} s")
        return tokens

    def _hear(self, worker: Worker) -> list[Token]:
        """Report what a worker says; that it is gone, if it is."""
        tokens: list[Token] = []
        try:
            for report in worker.receive():
                match report:
                    case Done(_, sampled, seconds):
                        tokens += self._on_done(worker, sampled, seconds)
                    case LayerDone(_, num_layers):
                        # The last layer counts with the step: not before its end is a sequence held.
                        if num_layers < self.model.config.num_layers:
                            self._carry_out(self.traffic.on_layers(worker, num_layers))
                    case Moved(transfer, seconds):
                        self._carry_out(self.traffic.on_moved(transfer, seconds))
                    case NotMoved(transfer, reason):
                        self.statistics.note(self.now_s, worker, f"a move failed: {reason}")
                        self._carry_out(self.traffic.on_not_moved(transfer))
                    case Ready(offer, _):
                        self.crew.on_ready(worker, offer)
                    case Broken(reason):
                        self._lose(worker, f"it failed: {reason}")
                        return tokens
        except EOFError:
            self._lose(worker, "its process ended")
        return tokens

    def _on_done(self, worker: Worker, sampled: list[int], seconds: float) -> list[Token]:
        assert worker.running
        batch, planned, _ = worker.running
        worker.running = None
        self.statistics.add_step(batch, seconds)
        tokens = self._finish(batch, planned, sampled)
        self._carry_out(self.traffic.on_layers(worker, self.model.config.num_layers))
        return tokens

    # losses

    def _lose(self, worker: Worker, reason: str) -> None:
        """A worker is gone, or as good as gone: whatever it had is computed again."""
        now_s, instance = self.now_s, worker.instance
        suspects = worker.running[0].sequences if worker.running else []
        self.statistics.add_loss(now_s, worker, reason, instance.sequences)
        self.crew.dismiss(worker)
        born = self.crew.replace(worker, self._new_instance, now_s, self._clock()) if self._restart else None
        if born is None and not self.trouble and (task := self._task_left_undone()):
            last = self.statistics.events[-1].what
            self.trouble = f"no worker that {task} is left, start the engine again; what happened last: {last}"
            self.statistics.note(now_s, worker, self.trouble)
        self._carry_out(self.cluster.on_instance_lost(instance.id, now_s, born.instance if born else None))
        for sequence in suspects:
            self._losses[sequence] = self._losses.get(sequence, 0) + 1
            if self._losses[sequence] >= MAX_LOSSES:
                why = f"request {sequence.request.id} was being computed each time when {MAX_LOSSES} workers were lost"
                self._carry_out(self.cluster.on_failure(sequence.request.id, f"{why}; the last one: {reason}", now_s))

    def _end(self, sequence: ServedSequence, reason: str) -> None:
        self._losses.pop(sequence, None)
        super()._end(sequence, reason)

    def _task_left_undone(self) -> str:
        """What none of the workers that are there can do."""
        roles = {worker.instance.role for worker in self.crew.workers}
        for task, role in (("prefills", "prefill"), ("decodes", "decode")):
            if not roles & {role, "mixed"}:
                return task
        return ""

    # inside

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is under way: no step, no move, no start, no time that a scheduler asked for."""
        at_work = any(worker.running or not worker.is_ready for worker in self.crew.workers)
        return not at_work and not self.traffic.is_busy and self.wake_at_s is None

    def _timeout_s(self, until_s: float | None) -> float | None:
        """How long to wait for messages: until something is due. None if nothing is."""
        times_s = [until_s, self.wake_at_s, self._patience_ends_s(), self.traffic.next_s]
        until = min((time_s for time_s in times_s if time_s is not None), default=inf)
        return None if until == inf else max(0.0, until - self.now_s)

    def _ends_s(self, worker: Worker) -> float:
        """When patience with a worker ends."""
        if worker.is_ready and not worker.running:
            return inf
        since_s = worker.running[2] if worker.running else worker.started_s
        return since_s - self.start_s + self._patience_s

    def _patience_ends_s(self) -> float:
        return min(map(self._ends_s, self.crew.workers), default=inf)

    def _await_crew(self, on_start: Callable[[str], object]) -> None:
        """Until all workers are ready. Raises UserError if one cannot be started."""
        while not self._is_complete:
            self._listen(self._patience_s)
            if self.statistics.num_lost:
                raise UserError(f"a worker could not be started: {self.statistics.events[-1].what}")
        for worker in self.crew.workers:
            on_start(f"{worker!r} is ready")

    @property
    def _is_complete(self) -> bool:
        """Whether everyone who is there is ready."""
        return all(worker.is_ready for worker in self.crew.workers)

    def _new_instance(self, station: Station) -> Instance:
        return Instance(
            self._policies[station.role](),
            station.num_blocks,
            self._block_size,
            id=station.id,
            role=station.role,
            prefix_cache=self._prefix_cache,
        )

    def start_over(self, first_id: int = 0) -> None:
        """See Engine. Whoever died unnoticed is replaced first; then what was counted so far is forgotten."""
        if self.crew.workers:
            self._listen(0.0)
        while not self._is_complete:
            self._listen(self._patience_s)
        super().start_over(first_id)
        self.crew.statistics = Statistics()
        self.traffic.start_over()

    @property
    def statistics(self) -> Statistics:
        """What has happened since the clock was started."""
        return self.crew.statistics

    @property
    def transfers(self) -> TransferTotals:
        """The moves of keys and values since the clock was started."""
        return self.traffic.totals


def _close(crew: Crew, waker: Waker) -> None:
    crew.close()
    waker.close()
