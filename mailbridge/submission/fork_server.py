"""The fork server: a process that has loaded what a worker needs, and forks the workers.

Loading takes half a second of processor time, and a fork a few milliseconds. It is a fresh interpreter with one thread, since a
fork of the daemon could inherit a lock that nobody releases, and would have the daemon's secrets in its memory. It never sees a
mail. It shares no memory that a worker can write, so a mail that has taken over one worker changes nothing for the next ones.

It ends with its standard input, on which the daemon sends it commands, and its workers end with it.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from mailbridge.submission import sandbox
from mailbridge.submission.worker_protocol import WORKER_FILES, receive_command


def check_forkable() -> None:
    """Check that a forked worker can be restricted as a whole. Raises OSError."""
    if len(os.listdir("/proc/self/task")) > 1:
        raise OSError(errno.EBUSY, "a thread may hold a lock that a worker would wait for")
    if shared := writable_shared_memory():
        raise OSError(errno.EBUSY, f"a worker could write the memory of others: {shared[0]}")


def writable_shared_memory() -> list[str]:
    """Return the lines of /proc/self/maps (proc_pid_maps(5)) about memory that would be one for this process and its forks."""
    lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    return [line for line in lines if {"w", "s"} <= set(line.split()[1])]


def fork_workers(commands: socket.socket) -> bool:
    """Fork a worker at each command. Return True in a worker, and False in the fork server when there are no more commands."""
    parent, running, killed = os.getpid(), dict[int, int](), set[int]()
    while (command := receive_command(commands)) is not None:
        killed -= {pid for pid in killed if os.waitpid(pid, os.WNOHANG)[0]}
        if not command.fork:
            if (pid := running.pop(command.number, None)) is not None:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            continue
        pid = _fork(command.files)
        if pid == 0:
            _become_worker(parent, commands, command.files)
            return True
        for file in command.files:
            os.close(file)
        if pid is not None:
            running[command.number] = pid
    return False


def _fork(files: Sequence[int]) -> int | None:
    """Fork, as os.fork; return None where that fails. The daemon notices when the worker's files are closed."""
    if len(files) != WORKER_FILES:  # for lack of descriptors
        return None
    try:
        return os.fork()
    except OSError:
        return None


def _become_worker(parent: int, commands: socket.socket, files: Sequence[int]) -> None:
    """Give up what the fork server has: its commands, its session, and its life without it."""
    sandbox.end_with(parent)
    os.setsid()
    commands.detach()  # descriptor 0, which is replaced
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)


def main() -> None:
    """Load everything, and fork workers."""
    gc.disable()  # hardly anything that is loaded is garbage
    from mailbridge.submission import worker

    worker.ignore_signals()
    worker.load()
    check_forkable()
    # The collector would write to what it looks at, of which all processes have one copy as long as nobody writes.
    gc.freeze()
    gc.enable()
    if fork_workers(socket.socket(fileno=0)):
        worker.run()


if __name__ == "__main__":
    main()
