"""What the first cell of the contents page runs."""

from __future__ import annotations

from importlib.util import find_spec

NEEDED = ("torch", "transformers", "safetensors", "numpy", "ipywidgets", "anywidget", "plotly", "nbval")


def first_request(prompt: str) -> None:
    """Check the installation, let the tiny model go on with ``prompt``, and show the two numbers of the course."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"Missing in this kernel: {', '.join(missing)}.")
        print("Close JupyterLab, run `make lab` (or `python3 -m course lab`) in the course's folder, and come back.")
        return
    print("✓ Everything the course needs is installed.\n")

    from course.engine.local import LocalEngine
    from course.metrics.latency import tpot_s, ttft_s

    engine = LocalEngine("tiny")
    [answer] = engine.generate(prompt, max_new_tokens=20)
    [record] = engine.recorder.records
    ttft, tpot = ttft_s(record), tpot_s(record)
    print(" ".join(f"{prompt}{answer.text}".split()), "…\n")
    if ttft is not None and tpot is not None:
        print(f"TTFT {1000 * ttft:.0f} ms, TPOT {1000 * tpot:.1f} ms on this machine")
