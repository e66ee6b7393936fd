"""The path of the control socket, for the daemon that creates it and for the commands that connect to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mailbridge.errors import ControlError

NAME = "control.sock"
# The address of a unix socket holds 108 bytes on Linux and 104 on macOS, including the final NUL (unix(7)).
_MAX_BYTES = 100


def socket_path(state_dir: Path, environ: Mapping[str, str]) -> Path:
    """Return the path of the daemon's socket: in systemd's `$RUNTIME_DIRECTORY`, otherwise in the state_dir."""
    runtime = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return (Path(runtime) if runtime else state_dir) / NAME


def candidates(state_dir: Path, environ: Mapping[str, str]) -> list[Path]:
    """Return the paths at which the daemon of this state_dir may listen, the most likely first.

    A person's shell has no `$RUNTIME_DIRECTORY`: systemd makes /run/NAME for the service whose state is in /var/lib/NAME.
    """
    paths = [socket_path(state_dir, environ), state_dir / NAME]
    if state_dir.parent == Path("/var/lib"):
        paths.append(Path("/run") / state_dir.name / NAME)
    return list(dict.fromkeys(paths))


@contextmanager
def addressable(path: Path) -> Iterator[str]:
    """Yield a name of `path` that fits into a socket's address.

    Raises ControlError if there is none, OSError if the directory does not exist.
    """
    if len(os.fsencode(path)) <= _MAX_BYTES:
        yield str(path)
        return
    if sys.platform != "linux":
        raise ControlError(f"{path} is too long for a socket; use a state_dir of at most {_MAX_BYTES - len(NAME) - 1} bytes")
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
