"""Readers of published request traces: a file becomes a list of TraceRow.

``reader``      read_trace: recognises the format
``row``         TraceRow
``columns``     arrived_s, prompt_tokens, output_tokens; or lengths alone
``azure``       Azure's traces as published
``mooncake``    Mooncake's traces with block hashes
``burstgpt``    BurstGPT's traces as published
``vllm_bench``  detailed results of ``vllm bench serve``
``records``     CSV and JSON files as records that know their line
"""

from course.workload.traces.reader import FORMATS, read_trace
from course.workload.traces.row import TraceRow

__all__ = ["FORMATS", "TraceRow", "read_trace"]
