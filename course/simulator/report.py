"""A simulated run as text: the table of the command line, and a line for each request."""

from __future__ import annotations

from collections.abc import Iterator

from course.metrics.latency import e2e_s, tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.metrics.summary import summary_table
from course.simulator.simulate import InstanceUse, Simulation

_COLUMNS = (
    *("request_id", "client", "arrival_s", "prompt_tokens", "output_tokens", "outcome"),
    *("ttft_s", "tpot_s", "e2e_s", "preemptions", "error"),
)


def report(simulation: Simulation) -> str:
    """What was run, the latencies, what each instance did, and what computing it took."""
    experiment, workload = simulation.experiment, simulation.workload
    gpus = f"{experiment.num_gpus} GPU" + ("s" if experiment.num_gpus != 1 else "")
    head = f"{experiment.name}: {experiment.model} on {gpus} ({experiment.hardware}), cost model {experiment.cost}"
    lines = [head, *_about_lengths(simulation)]
    lines.append(summary_table(simulation.records, experiment.slo, simulation.simulated_s, simulation.answers))
    lines += ["", *_instance_lines(simulation.instances)]
    if simulation.bytes_transferred:
        lines.append(f"{simulation.bytes_transferred / 1e9:,.2f} GB of keys and values moved")
    rate = len(workload) / simulation.wall_s if simulation.wall_s else 0.0
    lines.append(
        f"{simulation.simulated_s:,.1f} s simulated in {simulation.wall_s:.2f} s: "
        f"{simulation.num_events:,} events, {rate:,.0f} requests/s"
    )
    return "\n".join(lines)


def _about_lengths(simulation: Simulation) -> list[str]:
    workload = simulation.workload
    said = []
    if workload.scale < 1:
        said.append(f"lengths scaled by {workload.scale:.3f} so that 95 % of prompt + answer fit the context")
    if workload.num_clipped:
        said.append(f"{workload.num_clipped} answers cut short, by the end of the context or by max_new_tokens")
    return said


def _instance_lines(uses: list[InstanceUse]) -> list[str]:
    lines = [f"{'instance':<10}{'role':<9}{'tp':>3}{'pp':>4}  {'scheduler':<18}{'steps':>9}{'busy':>8}{'KV peak':>9}"]
    for use in uses:
        peak = "-" if use.kv_peak is None else f"{use.kv_peak:.0%}"
        lines.append(
            f"{use.id:<10}{use.role:<9}{use.tp:>3}{use.pp:>4}  {use.scheduler:<18}{use.num_steps:>9,}"
            f"{use.utilisation:>8.0%}{peak:>9}"
        )
    return lines


def per_request_lines(simulation: Simulation) -> Iterator[str]:
    """CSV. Seconds to the last bit; a latency that a request does not have is empty."""
    yield ",".join(_COLUMNS) + "\n"
    for record in simulation.records:
        yield ",".join(map(_cell, _values(record))) + "\n"


def _values(record: RequestRecord) -> tuple[object, ...]:
    return (
        *(record.request_id, record.client, record.arrival_s, record.num_prompt_tokens, record.num_output_tokens),
        *(record.outcome, ttft_s(record), tpot_s(record), e2e_s(record), record.num_preemptions, record.error),
    )


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    text = str(value)
    quoted = text.replace('"', '""')
    return f'"{quoted}"' if any(mark in text for mark in ',"\n') else text
