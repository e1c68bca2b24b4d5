"""``python -m course bench gpu``: decode steps and prefills of a 1B model, beside what the GPU reaches."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

NOTE = "random weights in bfloat16, hidden 2048, 16 layers, 32 heads, 8 key-value heads, vocabulary 128256"


def bench_gpu() -> list[dict[str, Any]]:
    """Measure and print, part by part; the rows of all parts."""
    rows: list[dict[str, Any]] = []
    for row in measure():
        rows.append(row)
        print(describe(row), flush=True)
    return rows


def measure() -> Iterator[dict[str, Any]]:
    """One row after the other, each with its ``kind``."""
    import torch

    from course.engine.benchmark import gpu

    gpu.check_gpu()
    with torch.inference_mode():
        rates = gpu.peak_rates()
        yield {"kind": "rates", **conditions(), **rates}
        subject = gpu.Subject()
        for context in gpu.CONTEXTS:
            for batch in gpu.BATCHES:
                yield {"kind": "decode", **gpu.decode_row(subject, batch, context, rates["copy_bytes_s"])}
        for num_tokens in gpu.PROMPTS:
            yield {"kind": "prefill", **gpu.prefill_row(subject, num_tokens, rates["gemm_flops_s"])}
        yield {"kind": "prefill", **gpu.prefill_row(subject, 512, rates["gemm_flops_s"], start=8192)}
        for row in gpu.interference(subject):
            yield {"kind": "interference", **row}


def conditions() -> dict[str, str]:
    """The card, the versions, the code."""
    import torch
    import triton

    from course.commands.profile import code_version

    return {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "code": code_version(),
    }


def describe(row: dict[str, Any]) -> str:
    """A row as a line."""
    match row["kind"]:
        case "rates":
            return (
                f"{row['gpu']}, torch {row['torch']}, Triton {row['triton']}, code {row['code']}\n{NOTE}\n"
                f"a copy moves {row['copy_bytes_s'] / 1e9:.0f} GB/s (read + written), a sum reads "
                f"{row['read_bytes_s'] / 1e9:.0f} GB/s, a product of 8192 x 8192 computes "
                f"{row['gemm_flops_s'] / 1e12:.0f} TFLOP/s"
            )
        case "decode":
            return (
                f"decode   batch {row['batch']:>4}, context {row['context']:>5}: {1e3 * row['device_s']:7.3f} ms, "
                f"{100 * row['share_of_copy']:4.0f} % of the copy; with its processor {1e3 * row['graph_s']:7.3f} ms, "
                f"without a graph {1e3 * row['eager_s']:7.3f} ms"
            )
        case "prefill":
            return (
                f"prefill  {row['tokens']:>5} tokens behind {row['start']:>5}: {1e3 * row['step_s']:7.2f} ms, "
                f"{row['flops'] / row['step_s'] / 1e12:4.0f} TFLOP/s, {100 * row['share_of_gemm']:4.0f} % of it"
            )
        case _:
            return (
                f"streams  {row['way']:<21}: {row['num_steps']:>3} steps, gap p50 {1e3 * row['gap_p50_s']:6.2f} ms, "
                f"max {1e3 * row['gap_max_s']:6.2f} ms, prompt of 8192 done after {1e3 * row['prefill_s']:6.1f} ms"
            )
