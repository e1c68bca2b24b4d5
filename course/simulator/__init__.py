"""The virtual clock: the control plane of `course.serving`, driven by a cost model instead of a real model."""
