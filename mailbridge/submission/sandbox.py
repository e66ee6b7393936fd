"""The sandbox of a worker: from then on the process can only compute, read what it is sent, and answer.

Three parts of Linux, none of which needs a privilege, and none of which can be undone:

- `PR_SET_NO_NEW_PRIVS` (prctl(2)): no program that is executed has more rights.
- Landlock (landlock(7), Linux 5.13): no path can be opened; since 6.7 also no TCP port, since 6.12 no signal to others.
- A seccomp filter (seccomp(2)): a list of the system calls that reading a mail needs. Every other call fails with EPERM.

The filter is written here, since the library for it (libseccomp) is not on every machine. Its list has no call that takes a path,
makes a socket, sends a descriptor, reaches another process, or starts one. Threads are allowed only where the reader of HEIC
needs them; they are in the sandbox too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import struct
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_GET_SECCOMP: Final = 21
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2

_LANDLOCK_CREATE_RULESET: Final = 444  # the same number on every machine
_LANDLOCK_RESTRICT_SELF: Final = 446
_LANDLOCK_VERSION: Final = 1  # flag: return the version only
# What each version can deny: access to files, to the network, and to processes outside (linux/landlock.h).
_LANDLOCK_FILES: Final = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}
_LANDLOCK_NETWORK: Final = {4: 0x3}
_LANDLOCK_SCOPE: Final = {6: 0x3}

# System calls on x86_64 and aarch64; -1 where a machine lacks it. fcntl is allowed for two commands, see `_filter`.
_CALLS: Final = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup2": (33, 24),  # dup3 on aarch64
    "alarm": (37, -1),
    "setitimer": (38, 103),
    "getpid": (39, 172),
    "recvmsg": (47, 212),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "set_robust_list": (273, 99),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "rseq": (334, 293),
}
# The column above, AUDIT_ARCH, and the numbers of fcntl and clone.
_MACHINES: Final = {"x86_64": (0, 0xC000003E, 72, 56), "aarch64": (1, 0xC00000B7, 25, 220)}
_FCNTL_COMMANDS: Final = (3, 1030)  # F_GETFL, F_DUPFD_CLOEXEC; F_SETOWN could send signals

_CLONE3: Final = 435  # the C library uses clone where it does not exist
_CLONE_THREAD: Final = 0x10000

_LOAD, _EQUAL, _HAS_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # instructions of BPF (linux/bpf_common.h)
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24  # offsets in struct seccomp_data, little-endian
_ALLOW, _KILL, _DENY, _UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS

_MAX_FILES: Final = 16  # open in a worker, of which it has about six
_MAX_TASKS: Final = 4096  # processes and threads of the user altogether, where threads are allowed
_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def missing_parts() -> list[str]:
    """Return the parts that this machine's kernel lacks or denies, for an administrator to read."""
    missing = []
    if _landlock_version() < 1:
        missing.append("Landlock (no paths)")
    if not _has_filter():
        missing.append("seccomp (system calls)")
    return missing


def enter(*, threads: bool = False) -> None:
    """Enter the sandbox, as far as the kernel has its parts; `threads` allows to start threads.

    Raises OSError where a part that exists cannot be entered.
    """
    if len(os.listdir("/proc/self/task")) > 1:
        raise OSError(errno.EBUSY, "a thread would stay outside of the sandbox")
    limit(resource.RLIMIT_NPROC, _MAX_TASKS if threads else 0)
    limit(resource.RLIMIT_NOFILE, _MAX_FILES)
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if (version := _landlock_version()) >= 1:
        _deny_paths(version)
    if _has_filter():
        _filter_calls(threads)


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent, the process `parent`, ends. Raises OSError."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != parent:  # it has ended already
        os._exit(0)


def limit(kind: int, maximum: int) -> None:
    """Lower a limit of this process, `resource.RLIMIT_…`, for good."""
    # Only root may raise a limit, and a tighter one of the service stays.
    _, hard = resource.getrlimit(kind)
    limit = maximum if hard == resource.RLIM_INFINITY else min(maximum, hard)
    resource.setrlimit(kind, (limit, limit))


def _landlock_version() -> int:
    version: int = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    return version


def _deny_paths(version: int) -> None:
    """Restrict this process to a ruleset without rules, which allows nothing of what it handles."""
    handled = [
        max((mask for since, mask in masks.items() if since <= version), default=0)
        for masks in (_LANDLOCK_FILES, _LANDLOCK_NETWORK, _LANDLOCK_SCOPE)
    ]
    # An older kernel knows a shorter structure, and takes a longer one whose end is zero.
    attributes = struct.pack("=QQQ", *handled)
    ruleset = _check(_libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        _check(_libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _has_filter() -> bool:
    known = os.uname().machine in _MACHINES and struct.calcsize("P") == 8
    return known and _libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


def _filter_calls(threads: bool) -> None:
    instructions = _filter(os.uname().machine, threads)
    program = _Program(len(instructions) // 8, instructions)
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0))


def _filter(machine: str, threads: bool) -> bytes:
    """Return the filter's program. It sees a call's number and arguments, not the memory that they point to."""
    column, architecture, fcntl, clone = _MACHINES[machine]
    program = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    for numbers in _CALLS.values():
        if numbers[column] >= 0:
            program += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ALLOW)]
    if threads:
        program += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _UNKNOWN)]
        program += [(_EQUAL, 0, 4, clone), (_LOAD, 0, 0, _FIRST_ARGUMENT), (_HAS_BIT, 0, 1, _CLONE_THREAD)]
        program += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _DENY)]
    program += [(_EQUAL, 1, 0, fcntl), (_RETURN, 0, 0, _DENY), (_LOAD, 0, 0, _SECOND_ARGUMENT)]
    for command in _FCNTL_COMMANDS:
        program += [(_EQUAL, 0, 1, command), (_RETURN, 0, 0, _ALLOW)]
    program.append((_RETURN, 0, 0, _DENY))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
