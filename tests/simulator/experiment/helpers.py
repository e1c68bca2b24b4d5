"""A small experiment to change."""

from __future__ import annotations

from typing import Any

from course.simulator.experiment import Experiment, experiment_from

TABLE: dict[str, Any] = {
    "model": "opt-13b",
    "hardware": "a100-80gb",
    "cost": "distserve-a100",
    "workload": {"prompt_tokens": 512, "output_tokens": 64, "rate": 4.0, "requests": 20},
    "instances": [{"role": "prefill"}, {"role": "decode", "count": 2}],
}


def experiment(**changes: Any) -> Experiment:
    """``experiment(**{"workload.rate": 6})``."""
    return experiment_from(TABLE).with_changes(changes)
