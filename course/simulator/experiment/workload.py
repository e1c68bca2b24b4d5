"""From the section [workload] to requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from course.errors import UserError
from course.simulator.experiment.spec import WorkloadSpec
from course.workload.arrivals import FloatArray, all_at_once, constant_arrivals, gamma_arrivals, poisson_arrivals
from course.workload.build import build_workload, rows_from, with_arrivals
from course.workload.length_tables import load_table
from course.workload.lengths import Lengths, Lognormal, lognormal_lengths, resampled_lengths
from course.workload.modulated import on_off_arrivals, sinusoidal_arrivals, stepped_arrivals
from course.workload.request import Workload
from course.workload.traces import TraceRow, read_trace

Stamp = tuple[int, int] | None

# What each arrival process takes besides number, rate and seed.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "gamma": ("burstiness",),
    "on-off": ("on_s", "off_s"),
    "stepped": ("shape", "step_s"),
    "sinusoidal": ("amplitude", "period_s"),
}
_PROCESSES: dict[str, Callable[..., FloatArray]] = {
    "poisson": poisson_arrivals,
    "gamma": gamma_arrivals,
    "on-off": on_off_arrivals,
    "stepped": stepped_arrivals,
    "sinusoidal": sinusoidal_arrivals,
    "constant": lambda num, rate, seed: constant_arrivals(num, rate),
    "all-at-once": lambda num, rate, seed: all_at_once(num),
}


def make_workload(spec: WorkloadSpec, seed: int, context_tokens: int, block_size: int) -> Workload:
    """The requests that the section describes; the last few are kept, so a changed scheduler does not draw them anew.

    Args:
        spec: the section.
        seed: of the whole experiment.
        context_tokens: what the model's context holds, prompt and answer together.
        block_size: tokens per prefix hash.

    Raises:
        UserError: naming the key that is missing, superfluous, or wrong for the requests that it is to make.
    """
    return _made(spec, seed, context_tokens, block_size, _stamp(spec))


@lru_cache(maxsize=4)
def _made(spec: WorkloadSpec, seed: int, context_tokens: int, block_size: int, stamp: Stamp) -> Workload:
    _check(spec)
    speed = 1.0
    if spec.trace:
        rows = list(_trace_rows(spec, seed, stamp)[: spec.limit])
        if spec.arrivals:
            rows = _resampled(spec, rows, seed)
        elif spec.rate is not None:
            speed = spec.rate / (spec.trace_rate or _mean_rate(rows))
    else:
        prompts, outputs = _lengths(spec, seed)
        rows = rows_from(_arrivals(spec, len(prompts), seed), prompts, outputs)
    return build_workload(
        rows,
        speed=speed,
        context_tokens=context_tokens if spec.fit_context else None,
        stop_tokens=context_tokens if spec.stop_at_context else None,
        extra_output_tokens=spec.extra_output_tokens,
        max_new_tokens=None if spec.max_new_tokens == "pow2" else spec.max_new_tokens,  # type: ignore[arg-type]
        block_size=block_size,
    )


def _stamp(spec: WorkloadSpec) -> Stamp:
    """Says whether the file is still the one that was read."""
    path = Path(spec.trace or "")
    if not spec.trace or not path.is_file():
        return None
    state = path.stat()
    return state.st_mtime_ns, state.st_size


def _trace_rows(spec: WorkloadSpec, seed: int, stamp: Stamp) -> tuple[TraceRow, ...]:
    assert spec.trace is not None
    with naming("workload.trace"):
        return _read(Path(spec.trace), spec.format, spec.tick_s, seed if spec.tick_s else 0, stamp)


@lru_cache(maxsize=4)
def _read(path: Path, format: str | None, tick_s: float | None, seed: int, stamp: Stamp) -> tuple[TraceRow, ...]:
    return tuple(read_trace(path, format, tick_s=tick_s, seed=seed))


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Put the key before the sentence of a mistake."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{key}: {error}") from None


# which keys go together


def _check(spec: WorkloadSpec) -> None:
    if spec.trace:
        _check_trace(spec)
    else:
        _check_drawn(spec)
    if not spec.joint and not spec.lengths:
        raise UserError(
            "workload.joint is about a table of lengths, and there is none; give workload.lengths or take it out"
        )
    if spec.arrivals is not None and spec.arrivals != "all-at-once" and spec.rate is None:
        raise UserError(f"workload.rate is missing: {spec.arrivals} arrivals need a rate, in requests per second")
    known = _PARAMETERS.get(spec.arrivals or "", ())
    for process, names in _PARAMETERS.items():
        for name in names:
            if getattr(spec, name) is not None and name not in known:
                raise UserError(f'workload.{name} belongs to arrivals = "{process}"; take it out, or name that process')
    for name in known:
        if getattr(spec, name) is None:
            raise UserError(f"workload.{name} is missing: {spec.arrivals} arrivals need {' and '.join(known)}")


def _given_lengths(spec: WorkloadSpec) -> list[str]:
    """Keys that draw lengths from a distribution, as far as they say anything."""
    names = ("prompt_tokens", "output_tokens", "prompt_sigma", "output_sigma")
    return [name for name in names if getattr(spec, name)]


def _check_trace(spec: WorkloadSpec) -> None:
    if given := [*["lengths"] * bool(spec.lengths), *_given_lengths(spec)]:
        raise UserError(f"workload has a trace and {given[0]}; a trace has lengths of its own, so take one of them out")
    if spec.requests is not None and spec.arrivals is None:
        raise UserError(
            "workload.requests draws requests from a trace, which takes arrivals too; "
            "workload.limit takes its first ones at their own times"
        )
    if spec.arrivals is not None and spec.trace_rate is not None:
        raise UserError("workload.trace_rate is about the trace's own times, which arrivals replace; take one out")


def _check_drawn(spec: WorkloadSpec) -> None:
    for name in ("format", "tick_s", "limit"):
        if getattr(spec, name) is not None:
            raise UserError(f"workload.{name} is about a trace, and there is none; give workload.trace or take it out")
    if spec.lengths and (given := _given_lengths(spec)):
        raise UserError(f"workload has lengths and {given[0]}; take one of them out")
    if not spec.lengths:
        missing = [name for name in ("prompt_tokens", "output_tokens") if getattr(spec, name) is None]
        if len(missing) == 2:
            raise UserError(
                "workload does not say how long requests are: give a trace, or lengths, or prompt_tokens and "
                "output_tokens"
            )
        if missing:
            raise UserError(f"workload.{missing[0]} is missing: both lengths of a request must be given")
    if spec.requests is None:
        raise UserError("workload.requests is missing: say how many requests are drawn")
    if spec.arrivals is None and spec.rate is None:
        raise UserError("workload.rate is missing: say how many requests arrive per second")


# drawing


def _arrivals(spec: WorkloadSpec, num: int, seed: int) -> FloatArray:
    process = spec.arrivals or "poisson"
    parameters = {name: getattr(spec, name) for name in _PARAMETERS.get(process, ())}
    with naming("workload.arrivals"):
        return _PROCESSES[process](num, spec.rate, seed=seed, **parameters)


def _lengths(spec: WorkloadSpec, seed: int) -> Lengths:
    assert spec.requests is not None
    if spec.lengths:
        return load_table(spec.lengths).draw(spec.requests, seed, joint=spec.joint)
    assert spec.prompt_tokens is not None
    assert spec.output_tokens is not None
    return lognormal_lengths(
        spec.requests,
        Lognormal(spec.prompt_tokens, spec.prompt_sigma),
        Lognormal(spec.output_tokens, spec.output_sigma),
        seed,
    )


def _resampled(spec: WorkloadSpec, rows: list[TraceRow], seed: int) -> list[TraceRow]:
    """The rows of a trace at other times; with ``requests``, as many rows as that, drawn with replacement."""
    if spec.requests is None:
        return with_arrivals(rows, _arrivals(spec, len(rows), seed))
    prompts, outputs = resampled_lengths(rows, spec.requests, seed)
    return rows_from(_arrivals(spec, spec.requests, seed), prompts, outputs)


def _mean_rate(rows: list[TraceRow]) -> float:
    times_s = np.array([row.arrival_s for row in rows])
    if len(times_s) < 2 or times_s[-1] == times_s[0]:
        raise UserError(
            "workload.rate cannot change the pace of a trace whose requests all come at once; "
            'give workload.arrivals = "poisson", or workload.trace_rate'
        )
    return float((len(times_s) - 1) / (times_s[-1] - times_s[0]))
