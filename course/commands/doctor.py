"""``python -m course doctor``: what this machine is, what will be slow on it, and why.

Works before anything is installed; what needs torch then says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from course import compiled
from course.commands.environment import ROOT, Environment

SUMMARY = "report this machine, the installed versions, and what will be slow and why"

PACKAGES = ("torch", "transformers", "jupyterlab", "plotly", "ipywidgets")
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def configure(parser: argparse.ArgumentParser) -> None:
    """No options: the doctor looks at everything."""


def run(args: argparse.Namespace) -> int:
    """Print the facts, then the advice; finding something slow is no failure."""
    flags = cpu_flags()
    torch_facts = dict(look_at_torch())
    facts = {
        "machine": f"{platform.system()} {platform.machine()}, {processor()}",
        "cores": describe_cores(),
        "memory": describe_memory(),
        "disk": f"{free_disk() / 1e9:.0f} GB free in {ROOT}",
        "instructions": ", ".join(instructions(flags)) or "no vector instructions seen",
        "Python": f"{platform.python_version()} ({sys.prefix})",
        **{name: installed(name) or "not installed" for name in PACKAGES},
        **torch_facts,
        "simulator": describe_simulator(),
        "Chromium": find_chromium() or "not found",
    }
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        print(f"{name:<{width}}{value}")
    print()
    remarks = list(advice(flags, torch_facts))
    columns = min(shutil.get_terminal_size((100, 24)).columns, 120)
    for remark in remarks:
        print(textwrap.fill(remark, columns, initial_indent="- ", subsequent_indent="  "))
    if not remarks:
        print("Nothing here will be slow.")
    return 0


# --- the machine -----------------------------------------------------------------------------------


def usable_cores() -> int:
    """Cores that this process may use: fewer than the machine's in a container or under taskset."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such limit
        return cores


def describe_cores() -> str:
    """How many there are, how many are ours, how busy they are."""
    total, ours = os.cpu_count() or 1, usable_cores()
    said = f"{ours} of {total}" if ours < total else f"{ours}"
    return f"{said} (load {os.getloadavg()[0]:.1f})" if hasattr(os, "getloadavg") else said


def memory() -> tuple[int, int] | None:
    """Bytes in all and bytes available, where the system tells."""
    try:
        table = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text()))
        total, available = int(table["MemTotal"]) * 1024, int(table["MemAvailable"]) * 1024
    except (OSError, KeyError):
        return None
    try:  # a container may be allowed less
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # "max": no limit
        return total, available
    return min(total, limit), min(available, limit - used)


def describe_memory() -> str:
    """The same in words."""
    found = memory()
    return f"{found[1] / 2**30:.1f} of {found[0] / 2**30:.1f} GiB available" if found else "unknown on this system"


def free_disk() -> int:
    """Bytes free where the course stands."""
    return shutil.disk_usage(ROOT).free


def _cpuinfo(field: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    found = re.search(rf"^{field}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def processor() -> str:
    """The processor's name."""
    return _cpuinfo("model name") or platform.processor() or "processor unknown"


def cpu_flags() -> set[str]:
    """What the processor can do, by the names that Linux gives; empty elsewhere."""
    return set((_cpuinfo("flags") or _cpuinfo("Features")).split())


def instructions(flags: set[str]) -> list[str]:
    """The ones that matter for matrix arithmetic."""
    names = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 bf16", "amx_bf16": "AMX bf16"}
    return [name for flag, name in {**names, "asimd": "NEON", "bf16": "NEON bf16"}.items() if flag in flags]


def find_chromium() -> str | None:
    """The browser that the browser tests drive: $CHROMIUM, or one of the usual names."""
    named = os.environ.get("CHROMIUM")
    if named:
        return shutil.which(named)
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


# --- the packages ----------------------------------------------------------------------------------


def installed(package: str) -> str | None:
    """The version that this Python has, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def tested(package: str) -> str | None:
    """The version that the course was tested with."""
    found = re.search(rf"(?mi)^{re.escape(package)}==(\S+)", (ROOT / "constraints.txt").read_text())
    return found[1] if found else None


def describe_simulator() -> str:
    """Whether its hot modules are compiled (`course.compiled`)."""
    if compiled.is_used():
        return "compiled"
    if not compiled.FOLDER.is_dir():
        return "plain Python (python -m course compile makes it faster)"
    if not compiled.is_wanted():
        return "plain Python, for COURSE_COMPILED=0"
    return "plain Python: it has changed since it was compiled (python -m course compile)"


def look_at_torch() -> Iterator[tuple[str, str]]:
    """Device and threads, as torch sees them."""
    if installed("torch") is None:
        yield "device", "unknown until torch is installed"
        return
    import torch  # takes a second or two, and is all the time that the doctor takes

    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        yield "device", "; ".join(f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus)
    else:
        yield "device", f"CPU ({torch.backends.cpu.get_cpu_capability()} code in torch)"
    yield "threads", f"{torch.get_num_threads()} in torch by default; the course's workers use one each"


# --- what follows ----------------------------------------------------------------------------------


def advice(flags: set[str], torch_facts: dict[str, str]) -> Iterator[str]:
    """What will be slow here or will not work: each with its reason and its remedy."""
    yield from advice_on_packages()
    cores = usable_cores()
    if torch_facts["device"].startswith("CPU"):
        if Path("/proc/driver/nvidia/version").exists():
            yield (
                "There is an NVIDIA driver, but this torch sees no GPU: it is a build for the CPU, or too new for the "
                "driver. Install the CUDA build of the same version (pytorch.org tells the line) to use the GPU."
            )
        yield (
            "There is no GPU. The lessons are made for this: the model they serve is tiny. Checkpoints of a billion "
            "parameters and more will answer a few tokens per second; use a GPU for those."
        )
    if cores < 2:
        yield (
            "One core only: two workers must take turns, so prefill and decode on separate workers will look slower "
            "than they are. Give the course two cores to measure it."
        )
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > max(1.0, 0.5 * (os.cpu_count() or 1)):
        yield "Other programs keep this machine busy: measured times will be too long and will vary. Close them first."
    if flags and not flags & {"avx2", "asimd"}:
        yield "The processor has no AVX2: matrix arithmetic is several times slower. There is no remedy but patience."
    if flags and not flags & {"avx512_bf16", "amx_bf16", "bf16"}:
        yield "The processor has no bf16 arithmetic: bf16 would be slower than fp32 here. Keep fp32, the default."
    found = memory()
    if found and found[1] < 3 * 2**30:
        yield "Less than 3 GiB of memory is available: running several notebooks may swap. Shut down idle kernels."
    if free_disk() < 10**9:
        yield "Less than 1 GB of disk is free: installing or saving notebooks may fail. Make room."
    if find_chromium() is None:
        yield "No Chromium: the browser tests will be skipped. Install chromium, or name one in $CHROMIUM."


def advice_on_packages() -> Iterator[str]:
    """What is missing or differs from what was tested."""
    absent = [name for name in PACKAGES if installed(name) is None]
    if absent:
        where = "" if Environment().python.exists() else " There is no .venv yet."
        yield f"Not installed: {', '.join(absent)}.{where} make lab (or python3 -m course lab) installs everything."
    for name in PACKAGES:
        ours, wanted = installed(name), tested(name)
        if ours and wanted and ours.partition("+")[0] != wanted:
            yield f"{name} is {ours}; the course is tested with {wanted}. make lab puts it right in .venv."
