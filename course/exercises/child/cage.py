"""What a learner's code may not do: start processes, signal or reach anybody, write files, read the course's files.

Three layers, put on after the fork and before the first line of the cell: resource limits, Python's audit hook (clear
sentences, everywhere), and where Linux has them seccomp and Landlock (native code too).

What this does not protect from: without the kernel's locks (macOS, old Linux) native code in a granted package can be
talked into reading a file; and nothing here hides inputs from the code that must compute on them. It need not: inputs
are random, the expected answer exists only in the parent, and what comes back is plain data. Whoever grades truly
hostile strangers does it in a container or a virtual machine of its own.
"""

from __future__ import annotations

import os
import resource
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from typing import Any

from linux import allow_reading, forbid_processes  # type: ignore[import-not-found]

REFUSED = {
    "start a process": (
        *("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system"),
        *("subprocess.Popen", "pty.spawn"),
    ),
    "send a signal": ("os.kill", "os.killpg"),
    "open a connection": ("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo"),
    "load native code": ("ctypes.dlopen", "ctypes.dlsym", "ctypes.call_function", "ctypes.string_at", "ctypes.cdata"),
    "look into the interpreter": ("gc.get_objects", "gc.get_referrers", "gc.get_referents"),
    "change its limits": ("resource.setrlimit", "resource.prlimit"),
    "change files": (
        *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"),
        *("os.chmod", "os.chown", "sqlite3.connect"),
    ),
}
SECRET = ("course.curriculum", "course.exercises", "course.commands")
SYSTEM_FILES = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime"),
    *("/usr/share/zoneinfo", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"),
    *("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system"),
)


def close(memory_mb: int, cpu_s: int) -> None:
    """Lock this process for the rest of its life."""
    readable = readable_places()
    limit_resources(memory_mb, cpu_s)
    if not forbid_processes():
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    allow_reading(readable)
    sys.addaudithook(audit_hook(tuple(readable)))


def limit_resources(memory_mb: int, cpu_s: int) -> None:
    """So much memory on top of what is mapped already, so many seconds of processor, no file of any size."""
    limits = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    mapped = mapped_bytes()
    if mapped:  # elsewhere than on Linux it is not known, and the limit is not kept either
        limits[resource.RLIMIT_AS] = mapped + (memory_mb << 20)
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def mapped_bytes() -> int:
    """The address space that this process has now."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def readable_places() -> list[str]:
    """The standard library, the packages that were granted (they are loaded by now) and the system's libraries."""
    library = sysconfig.get_path("stdlib")
    places = [*SYSTEM_FILES, *files_of(os.path.join(sys.base_prefix, "lib"))]
    places += [os.path.join(library, name) for name in os.listdir(library) if not name.endswith("-packages")]
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        depth = 1 if name.startswith("course.") else 0
        if file and name.count(".") == depth and not name.startswith(SECRET) and not file.startswith(library + os.sep):
            folder = os.path.dirname(file)
            is_package = os.path.basename(file).startswith("__init__.")
            places += [folder, folder + ".libs"] if is_package else [file]
    return [real for real in dict.fromkeys(map(real_place, places)) if real]


@cache
def real_place(place: str) -> str:
    """Where a file or folder really is; empty where there is none. The nursery asks once, for all its workers."""
    real = os.path.realpath(place)
    return real if os.path.exists(real) else ""


def files_of(folder: str) -> list[str]:
    """The files that lie directly in a folder."""
    try:
        return [entry.path for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return []


def audit_hook(readable: tuple[str, ...]) -> Callable[[str, tuple[Any, ...]], None]:
    """A hook that refuses in words. It keeps what it needs, so that a patched builtin cannot blind it."""
    forbidden = {event: what for what, events in REFUSED.items() for event in events}
    secret = SECRET
    folders = (*(place + os.sep for place in readable), "/proc/self/", "<")
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    realpath, fsdecode, text, integer = os.path.realpath, os.fsdecode, str, int
    bytes_, is_a, whole = bytes, isinstance, frozenset(readable)
    refuse, no_module = PermissionError, ModuleNotFoundError
    separator, modules = os.sep, (".py", ".pyc", ".so")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        what = forbidden.get(event)
        if event == "import" and is_a(arguments[0], text) and text.startswith(arguments[0], secret):
            raise no_module(f"No module named {arguments[0]!r}", name=arguments[0])
        if event == "open":
            path, _, flags = arguments
            if is_a(flags, integer) and flags & writes:
                what = "write files"
            elif is_a(path, (text, bytes_)):
                place = realpath(fsdecode(path))
                if place not in whole and not text.startswith(place, folders):
                    if "-packages" + separator in place and text.endswith(place, modules):
                        name = text.split(text.split(place, "-packages" + separator)[-1], separator)[0]
                        raise no_module(f"No module named {name!r}", name=name)
                    what = f"read {place}"
        if what is not None:
            raise refuse(f"an exercise may not {what}")

    return hook
