"""What the virtual clock keeps of one instance: its run, its steps so far, and who ends when."""

from __future__ import annotations

from typing import Any

from course.metrics.steps import StepLog
from course.serving.instance import Instance
from course.serving.sequence import Sequence
from course.simulator.run import CostModel, Run

Event = list[Any]  # time in seconds, rank, number, handler (None: not wanted any more), what it is called with


class Lane:
    """What the driver keeps of one instance."""

    def __init__(self, instance: Instance, cost: CostModel) -> None:
        self.instance = instance
        self.decoding = instance.decoding
        self.cost = cost
        self.run: Run | None = None  # a finished run stays, for the next may continue its series
        self.end: Event | None = None  # of that run
        self.log = StepLog()  # of the steps that the instance's decode clock counts
        self.num_steps = 0  # of all kinds
        self.busy_s = 0.0  # while a batch ran (in a pipeline: in its first stage)
        self.started_s = 0.0
        self.ends: list[tuple[int, int, Sequence]] = []  # heap: at which step of the decode clock who ends
        self.beside: dict[Sequence, None] = {}  # who took its last step beside the clock, and does not follow the log
        self.stages_free_s = [0.0] * instance.num_stages  # when each stage of the pipeline will have nothing to do
