"""``python -m course bench``: our engine beside Hugging Face transformers, where its time goes, and the explorers."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course.commands.outputs import check_writable

SUMMARY = "measure the engine beside Hugging Face transformers on the same requests"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "what",
        choices=["engine", "step", "prediction", "simulator", "explorers", "gpu", "disaggregation", "soak"],
        help="engine: throughput and latencies beside transformers; step: where a decode step's time goes; "
        "prediction: the virtual clock beside the wall clock, same requests; "
        "simulator: the virtual clock beside a plain loop of the same rules, up to a million requests; "
        "explorers: from a moved slider to its picture, in every lesson (takes no option but --json); "
        "gpu: decode and prefill of a 1B model beside what the GPU reaches (takes no option but --json); "
        "disaggregation: prefill and decode on both of two workers, or each on its own; "
        "soak: a disaggregated server under load while its workers are killed (--minutes)",
    )
    parser.add_argument("--model", choices=["tiny", "small"], default="tiny", help="shape, with random weights")
    parser.add_argument("--repeats", type=int, default=3, help="runs per system; medians are printed (default 3)")
    parser.add_argument("--systems", nargs="+", metavar="SYSTEM", help="some of them only; default all")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--requests", type=int, default=None, help="fewer or more than the benchmark's own number")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="of python -m course profile; default: a new one")
    parser.add_argument("--processor-time", action="store_true", help="prediction on a busy machine: no waiting counts")
    parser.add_argument("--minutes", type=float, default=1.0, help="of soak (default 1)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the rows to FILE")


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write the file."""
    check_writable(args.json)
    kinds = {"engine": bench_engine, "step": bench_step, "prediction": bench_prediction}
    kinds |= {"simulator": bench_simulator, "explorers": bench_explorers, "gpu": bench_gpu, "soak": bench_soak}
    kinds |= {"disaggregation": bench_disaggregation}
    rows = kinds[args.what](args)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def bench_engine(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All systems on the same work."""
    from tqdm import tqdm

    from course.engine.benchmark.bench import SYSTEMS, check_options, run_bench

    systems = args.systems or list(SYSTEMS)
    check_options(systems, args.repeats, args.requests)
    with tqdm(total=len(systems) * args.repeats, unit="run", desc="bench", leave=False) as bar:
        rows = run_bench(
            args.model, systems, args.repeats, args.dtype, args.requests, on_run=lambda system: bar.update()
        )
    print(conditions(args))
    print(table(rows))
    return rows


def bench_explorers(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What a learner waits for who moves a slider."""
    from course.commands import bench_explorers

    return bench_explorers.bench_explorers()


def bench_disaggregation(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Prefill and decode together or apart."""
    from course.commands import bench_disaggregation

    return bench_disaggregation.bench_disaggregation(args)


def bench_gpu(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What the engine makes of a GPU."""
    from course.commands import bench_gpu

    return bench_gpu.bench_gpu()


def bench_soak(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What a server holds after many minutes and many lost workers."""
    from course.commands import bench_soak

    return bench_soak.bench_soak(args)


def bench_simulator(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The virtual clock beside a plain loop."""
    from course.commands import bench_simulator

    return bench_simulator.bench_simulator(args)


def bench_step(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One decode step of several sizes, taken apart."""
    import torch

    from course.engine.benchmark.breakdown import breakdown
    from course.model.loading import DTYPES

    torch.set_num_threads(1)
    rows = []
    print(f"decode steps of {args.model} ({args.dtype}), contexts of 100 to 300 tokens, best of 30, milliseconds")
    print(f"{'weights':<12}{'sequences':>10}{'step':>8}{'matrices':>10}{'attention':>11}{'calls':>8}")
    for packed in (False, True):
        for num_sequences in (1, 4, 16, 64):
            ms = breakdown(args.model, packed, num_sequences, dtype=DTYPES[args.dtype])
            rows.append({"packed": packed, "num_sequences": num_sequences, **ms})
            print(
                f"{'pre-packed' if packed else 'public':<12}{num_sequences:>10}{ms['step']:>8.2f}"
                f"{ms['matrices']:>10.2f}{ms['attention']:>11.2f}{ms['calls']:>8.2f}"
            )
    print("calls: the same step of a model with the same operators but hardly any numbers")
    return rows


def bench_prediction(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The tiny model's TTFT and TPOT as a profile of this machine predicts them, and as they are."""
    import torch
    from tqdm import tqdm

    from course.commands.prediction import Trial, compare, table
    from course.commands.profile import ProfileRecorder, report
    from course.engine.benchmark.bench import check_options
    from course.model.loading import load_model
    from course.simulator.costs.profile import load_profile

    check_options([], args.repeats, args.requests)
    torch.set_num_threads(1)
    model = load_model("tiny")
    recorder = None if args.profile else ProfileRecorder(model, processor_time=args.processor_time)
    if recorder:
        recorder.run_round()
    profile = recorder.profile() if recorder else load_profile(args.profile)
    trial = Trial(model, profile, args.requests or 64)
    for _ in tqdm(range(args.repeats), unit="run", desc="serving", leave=False):
        trial.serve()
        if recorder:  # rounds and runs take turns, so that a slow minute hits both
            recorder.run_round()
            profile = recorder.profile()
    comparisons = compare(trial.predict(profile), trial.runs)
    print(report(profile))
    print(f"\n{trial.describe()}, median of {args.repeats} runs")
    print(table(comparisons))
    return [comparison.row() for comparison in comparisons]


def conditions(args: argparse.Namespace) -> str:
    """What was measured, on what."""
    import torch
    import transformers

    from course.engine.benchmark.work import make_work
    from course.model.config import benchmark_shape

    work = make_work(args.model, benchmark_shape(args.model).vocab_size, args.requests)
    return (
        f"{args.model} ({args.dtype}), {len(work.prompts)} requests at time 0, "
        f"{sum(map(len, work.prompts))} prompt and {sum(work.output_lengths)} answer tokens, greedy; "
        f"median of {args.repeats}\n"
        f"one thread, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"Python {sys.version.split()[0]}"
    )


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text, with ratios to continuous batching where that was run."""
    from course.engine.benchmark.bench import BASELINE, SYSTEMS

    base = next((row["tokens_per_s"] for row in rows if row["system"] == BASELINE), None)
    lines = [f"{'system':<44}{'tokens/s':>10}{'ratio':>8}{'TTFT ms':>10}{'TPOT ms':>10}{'peak MB':>10}"]
    for row in rows:
        ratio = f"{row['tokens_per_s'] / base:.2f}" if base else "-"
        lines.append(
            f"{SYSTEMS[row['system']]:<44}{row['tokens_per_s']:>10.0f}{ratio:>8}{row['mean_ttft_ms']:>10.0f}"
            f"{row['mean_tpot_ms']:>10.1f}{row['peak_rss_mb']:>10.0f}"
        )
    if base:
        lines.append(f"ratio: tokens/s over {SYSTEMS[BASELINE]}; tokens are prompt and answer tokens")
    return "\n".join(lines)
