"""What the first cell of the contents page runs."""

from __future__ import annotations

from importlib.util import find_spec

NEEDED = ("torch", "transformers", "safetensors", "numpy", "ipywidgets", "anywidget", "plotly", "nbval")


def check_installation() -> None:
    """Say whether everything that the lessons import can be imported here."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"Missing in this kernel: {', '.join(missing)}.")
        print("Close JupyterLab, run `make lab` (or `python3 -m course lab`) in the course's folder, and come back.")
    else:
        print("✓ Everything the course needs is installed. You are ready.")
