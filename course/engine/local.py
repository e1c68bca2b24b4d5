"""The engine in one process: the loop that joins control plane and executor.

`LocalEngine.step` is the whole of it: decide, execute, report.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from course.engine.executor import Executor
from course.engine.front import Engine
from course.engine.memory import keep_freed_memory
from course.engine.texts import Planned, Texts, Token
from course.errors import UserError
from course.model.loading import Model, load_model
from course.serving.actions import Action, RunBatch
from course.serving.batch import Batch
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.plan import Scheduler
from course.serving.pool import BlockPool
from course.serving.schedulers import make_scheduler


class LocalEngine(Engine):
    """Serves one model on one device, with the scheduler of your choice.

    Args:
        model: a `Model`, or a name for `load_model` ("tiny", a folder, a hub name).
        scheduler: a policy, or the name of one ("chunked-prefill", "orca", ...).
        num_blocks: blocks of KV cache; block_size: tokens per block.
        num_host_blocks: blocks of host memory to swap to.
        prefix_cache: whether prompts and answers that begin alike share their blocks.
        clock: seconds, monotonic.
        make_pool: the pool of blocks, of (num_blocks, block_size, prefix_cache); see `course.serving.allocator`.
        make_cluster: a class of cluster that watches what happens.

    Raises UserError for an unknown model or scheduler and for sizes that make no cache. A call
    that raises leaves what is being served as it was.
    """

    def __init__(
        self,
        model: str | Model = "tiny",
        scheduler: str | Scheduler = "chunked-prefill",
        *,
        num_blocks: int = 1024,
        block_size: int = 16,
        num_host_blocks: int = 0,
        prefix_cache: bool = False,
        clock: Callable[[], float] = time.perf_counter,
        make_pool: Callable[[int, int, bool], BlockPool] = BlockPool,
        make_cluster: Callable[[list[Instance]], Cluster] = Cluster,
    ) -> None:
        policy = make_scheduler(scheduler) if isinstance(scheduler, str) else scheduler
        if num_host_blocks < 0:
            raise UserError(f"num_host_blocks must be 0 (no swapping) or more, got {num_host_blocks}")
        self.instance = Instance(
            policy,
            num_blocks,
            block_size,
            prefix_cache=prefix_cache,
            num_host_blocks=num_host_blocks,
            make_pool=make_pool,
        )
        model = load_model(model) if isinstance(model, str) else model
        self.executor = Executor(model.network, num_blocks, block_size, num_host_blocks)
        self._batch: Batch | None = None
        self._planned: Planned | None = None  # that batch as a step; kept if it is interrupted
        self._awake = threading.Event()
        super().__init__(model, make_cluster([self.instance]), Texts(block_size, prefix_cache), clock)
        keep_freed_memory()

    def step(self) -> list[Token] | None:
        """Run the next batch; the tokens it sampled (perhaps none), or None if there was nothing to run.

        A batch that was interrupted is run again by the next call.
        """
        if self._batch is None:
            self._carry_out(self.cluster.decide(self.now_s))
        if (batch := self._batch) is None:
            return None
        self._planned = self._planned or self._plan(batch)
        tokens = self.executor.run(self._planned.step)
        planned, self._batch, self._planned = self._planned, None, None
        return self._finish(batch, planned, tokens)

    def _act(self, action: Action) -> None:
        if isinstance(action, RunBatch):
            self._batch = action.batch

    def advance(self, until_s: float | None = None) -> list[Token]:
        """A step, or if nothing can run before some later time, a rest until then; see `Engine.advance`."""
        tokens = self.step()
        if tokens is None:
            self._rest(until_s)
        return tokens or []

    def wake(self) -> None:
        """Make an `advance` that waits return soon. Any thread may call this."""
        self._awake.set()

    def _rest(self, until_s: float | None) -> None:
        """Sleep until ``until_s`` or the time that a scheduler asked for, whichever is earlier."""
        times_s = [t for t in (until_s, self.wake_at_s) if t is not None]
        if not times_s:
            self.cluster.check_not_stalled()
            return
        self._awake.wait(min(max(0.0, min(times_s) - self.now_s), threading.TIMEOUT_MAX))
        self._awake.clear()
        self._check_timer()
