"""Two locks of the Linux kernel, put on without privileges: no new processes or sockets, and few readable folders.

Both hold for native code too, where Python's audit hooks do not look. Where the kernel lacks them, ``False`` is
returned.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER_MODE = 38, 22, 2
ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
CLONE_THREAD = 0x00010000
LOAD, EQUALS, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06

# What is refused, on both: execve, execveat; kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo, pidfd_open,
# pidfd_send_signal; ptrace, process_vm_readv, process_vm_writev; socket, socketpair, connect, io_uring_setup; setsid,
# setpgid. The older architecture has fork and vfork besides.
X86_REFUSED = (57, 58, 59, 322, 62, 200, 234, 129, 297, 434, 424, 101, 310, 311, 41, 53, 42, 425, 112, 109)
ARM_REFUSED = (221, 281, 129, 130, 131, 138, 240, 434, 424, 117, 270, 271, 198, 199, 203, 425, 157, 154)

SYSTEM_CALLS = {  # machine: its number for audits, clone, clone3, refused
    "x86_64": (0xC000003E, 56, 435, X86_REFUSED),
    "aarch64": (0xC00000B7, 220, 435, ARM_REFUSED),
}


def forbid_processes() -> bool:
    """From here on this process can start threads, but no process, and can signal and reach nobody."""
    known = SYSTEM_CALLS.get(platform.machine())
    if known is None:
        return False
    audit_arch, clone, clone3, refused = known
    program = [
        (LOAD, 0, 0, 4),  # the architecture: another one has other numbers
        (EQUALS, 1, 0, audit_arch),
        (RETURN, 0, 0, EPERM),
        (LOAD, 0, 0, 0),  # the number of the call
    ]
    for number in refused:
        program += [(EQUALS, 0, 1, number), (RETURN, 0, 0, EPERM)]
    program += [
        (EQUALS, 0, 1, clone3),
        (RETURN, 0, 0, ENOSYS),  # the C library then falls back to clone, whose flags can be read
        (EQUALS, 0, 3, clone),
        (LOAD, 0, 0, 16),
        (ANY_BIT, 1, 0, CLONE_THREAD),
        (RETURN, 0, 0, EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return bool(libc.prctl(PR_SET_SECCOMP, FILTER_MODE, header, 0, 0) == 0)


CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, READ_FILE, READ_DIR = 1, 4, 8
ALL_OF_FIRST_VERSION = (1 << 13) - 1  # read, write, make, remove: what Linux 5.13 knew


def allow_reading(folders: Iterable[str]) -> bool:
    """From here on this process can read files below these folders, list folders, and write nowhere."""
    libc = ctypes.CDLL(None, use_errno=True)
    rules = ctypes.create_string_buffer(struct.pack("Q", ALL_OF_FIRST_VERSION))
    ruleset = libc.syscall(CREATE_RULESET, rules, 8, 0)
    if ruleset < 0:
        return False
    readable = ((folder, EXECUTE | READ_FILE | READ_DIR) for folder in folders)
    for folder, access in [("/", READ_DIR), *readable]:
        try:
            handle = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not os.path.isdir(folder):
            access &= ~READ_DIR
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, handle))
        libc.syscall(ADD_RULE, ruleset, 1, rule, 0)
        os.close(handle)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    done = libc.syscall(RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return bool(done)
