"""A program in a worker's place: enters the sandbox, tries what code that took over a worker would try, and prints what it could.

    python hostile_worker.py PARTS STATE_DIR PORT

PARTS is `all`, `all but threads`, `none`, or the part to enter alone: `paths` or `calls`.
STATE_DIR has the files that are tried, PORT is one of 127.0.0.1.
"""

from __future__ import annotations

import _thread
import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from mailbridge.submission import sandbox

libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
PARENT = os.getppid()
PTRACE_SEIZE = 0x4206  # does not stop the daemon
# x86_64, aarch64; the others have the same number on both.
PTRACE, FORK, CLONE3, SOCKET, READ_MEMORY = (101, 117), (57, -1), (435, 435), (41, 198), (310, 270)
SAME = {"pidfd_open": 434, "io_uring_setup": 425, "openat2": 437, "landlock_create_ruleset": 444}
OTHER = {"bpf": (321, 280), "memfd_create": (319, 279), "unshare": (272, 97), "mount": (165, 40), "setuid": (105, 146)}


def call(number: int, *arguments: object) -> None:
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def number(both: tuple[int, int]) -> int:
    return both[0 if X86 else 1]


def attempts(state: Path, port: int, connection: socket.socket) -> dict[str, Callable[[], object]]:
    """Return each attempt by its name; it raises OSError where it is denied."""

    def connect(family: socket.AddressFamily, address: object) -> None:
        with socket.socket(family) as client:
            client.connect(address)  # type: ignore[arg-type]  # both families

    def run() -> None:
        if os.fork() == 0:
            os._exit(0)

    def signals_by_descriptor() -> None:
        fcntl.fcntl(connection, fcntl.F_SETOWN, PARENT)

    return {
        "signal the daemon": lambda: os.kill(PARENT, 0),
        "signal a group": lambda: os.killpg(os.getpgid(PARENT), 0),
        "signal by a descriptor's owner": signals_by_descriptor,
        "read the configuration": lambda: (state / "config.toml").read_bytes(),
        "read link.key": lambda: (state / "link.key").read_bytes(),
        "read the database": lambda: (state / "mailbridge.db").read_bytes(),
        "read another mail": lambda: (state / "spool" / "mail.eml").read_bytes(),
        "list the spool": lambda: os.listdir(state / "spool"),
        "look at a file": lambda: os.stat(state / "link.key"),
        "write into the spool": lambda: os.open(state / "spool" / "new.eml", os.O_WRONLY | os.O_CREAT),
        "delete a mail": lambda: os.unlink(state / "spool" / "mail.eml"),
        "rename a mail": lambda: os.rename(state / "spool" / "mail.eml", state / "spool" / "x"),
        "change a file's mode": lambda: os.chmod(state / "link.key", 0o644),
        "open the daemon's memory": lambda: os.open(f"/proc/{PARENT}/mem", os.O_RDWR),
        "read the daemon's memory": lambda: call(number(READ_MEMORY), PARENT, None, 0, None, 0, 0),
        "read the daemon's environment": lambda: Path(f"/proc/{PARENT}/environ").read_bytes(),
        "trace the daemon": lambda: call(number(PTRACE), PTRACE_SEIZE, PARENT, 0, 0),
        "use the control socket": lambda: connect(socket.AF_UNIX, str(state / "control.sock")),
        "connect to the network": lambda: connect(socket.AF_INET, ("127.0.0.1", port)),
        "make a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "make a netlink socket": lambda: call(number(SOCKET), 16, 3, 0),
        "send a descriptor": lambda: socket.send_fds(connection, [b"x"], [1]),
        "execute a program": lambda: os.execv("/proc/self/exe/none", ["none"]),
        "start a process": run,
        "start a process by clone3": lambda: call(number(CLONE3), None, 0),
        "start a thread": lambda: _thread.start_new_thread(lambda: None, ()),
        "become another user": lambda: call(number(OTHER["setuid"]), 0),
        **{name: (lambda one=both: call(number(one), None, 0, 0)) for name, both in OTHER.items()},  # type: ignore[misc]
        **{name: (lambda one=one: call(one, None, 0, 0)) for name, one in SAME.items()},  # type: ignore[misc]
    }


def main() -> None:
    which, state, port = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    ours, _theirs = socket.socketpair()
    if which == "all":
        sandbox.enter()
    elif which == "paths":
        sandbox._deny_paths(sandbox._landlock_version())
    elif which == "all but threads":
        sandbox.enter(threads=True)
    elif which == "calls":
        libc.prctl(38, 1, 0, 0, 0)
        sandbox._filter_calls(threads=False)
    outcomes = {}
    for name, attempt in attempts(state, port, ours).items():
        try:
            attempt()
            outcomes[name] = "done"
        except OSError as error:
            outcomes[name] = errno.errorcode.get(error.errno or 0, "?")
        except RuntimeError:
            outcomes[name] = "EAGAIN"  # no thread
    sys.stdout.write(json.dumps(outcomes))
    sys.stdout.flush()
    # The interpreter must not end under a thread that has just been started.
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    main()
