"""Where the control socket is, for the daemon that makes it and for the commands that ask it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mailbridge.errors import ControlError

NAME = "control.sock"
# An address of a unix socket holds 108 bytes on Linux and 104 on macOS, with the closing NUL.
_LONGEST = 100


def socket_path(state_dir: Path, environ: Mapping[str, str]) -> Path:
    """Return where the daemon puts its socket: in systemd's `$RUNTIME_DIRECTORY`, else in the state_dir."""
    runtime = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return (Path(runtime) if runtime else state_dir) / NAME


def candidates(state_dir: Path, environ: Mapping[str, str]) -> list[Path]:
    """Return where a command looks for the daemon of this state_dir, the likeliest place first.

    A person's shell has no `$RUNTIME_DIRECTORY`: systemd makes /run/NAME for the service whose state is in /var/lib/NAME.
    """
    places = [socket_path(state_dir, environ), state_dir / NAME]
    if state_dir.parent == Path("/var/lib"):
        places.append(Path("/run") / state_dir.name / NAME)
    return list(dict.fromkeys(places))


@contextmanager
def addressable(path: Path) -> Iterator[str]:
    """Give a name for `path` that fits a socket's address. Raises ControlError where none does, OSError without the folder."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    if sys.platform != "linux":
        raise ControlError(f"{path} is too long for a socket; use a state_dir of at most {_LONGEST - len(NAME) - 1} bytes")
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
