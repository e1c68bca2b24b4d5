"""One TOML file is an experiment: which model, on what, serving which requests, within which limits.

``kinds``     what a value of a key may be, and the sentence when it is not
``spec``      the keys of every section, with their defaults: frozen dataclasses
``load``      a file, a preset, ``--set``; unknown keys are named with the nearest known one
``workload``  from the section [workload] to requests
``routing``   from the section [router] to routers
``build``     from the whole to a cluster with its cost models, or to a sentence that says why it cannot run
``presets``   experiments that can be named in place of a file

docs/experiments.md lists all keys.
"""

from course.simulator.experiment.load import experiment_from, load_experiment, preset_names
from course.simulator.experiment.spec import Experiment, InstanceSpec, NetworkSpec, RouterSpec, WorkloadSpec

__all__ = [
    "Experiment",
    "InstanceSpec",
    "NetworkSpec",
    "RouterSpec",
    "WorkloadSpec",
    "experiment_from",
    "load_experiment",
    "preset_names",
]
