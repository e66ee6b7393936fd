"""The client of the control socket: one request, one answer."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mailbridge.control.socket_path import addressable
from mailbridge.errors import ControlError

_MAX_ANSWER = 256 * 1024 * 1024
# Seconds without a byte of the answer.
_TIMEOUT = 30.0
_UNIT, _UNIT_FOLDERS = "mailbridge.service", ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


class NoDaemon(ControlError):
    """No daemon listens on this path."""


class _NotAllowed(ControlError):
    """A daemon may listen on this path, but this user may not connect."""


def start_hint() -> str:
    """Return how to start the daemon here: not by hand where systemd does it, as that would leave files of the wrong owner."""
    installed = any((Path(folder) / _UNIT).exists() for folder in _UNIT_FOLDERS)
    return "start it with systemctl start mailbridge" if installed else "start it with mailbridge serve"


def call(path: Path, command: str, body: bytes | None = None, /, **args: object) -> Any:
    """Return the daemon's result of a command; `body` is for a command that takes one.

    Raises NoDaemon if none listens, ControlError if it does not answer or refuses the command.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(_TIMEOUT)
        try:
            with addressable(path) as name:
                peer.connect(name)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            raise NoDaemon(f"no mailbridge listens on {path}; {start_hint()}") from None
        except PermissionError:
            raise _NotAllowed(f"only root and the daemon's user may use {path}; use sudo") from None
        except OSError as error:
            raise ControlError(f"cannot connect to {path} ({error.strerror or error}); check the daemon's log") from None
        try:
            # A daemon that gets too long a request answers and closes before it has read all of it.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                size = {} if body is None else {"size": len(body)}
                peer.sendall(json.dumps({"command": command, "args": args, **size}).encode() + b"\n")
                peer.sendall(body or b"")
            answer = json.loads(_read_line(peer))
        except TimeoutError:
            raise ControlError(f"no answer from the daemon within {_TIMEOUT:g} s; check its log") from None
        except (OSError, ValueError, RecursionError):
            raise ControlError("the daemon closed the connection; check its log") from None
    return _result(answer, path)


def _result(answer: Any, path: Path) -> Any:
    match answer:
        case {"ok": True, "result": result}:
            return result
        case {"ok": False, "error": str(error)}:
            raise ControlError(error)
        case _:
            raise ControlError(f"the server on {path} is not mailbridge, or of another version")


def call_first(paths: Sequence[Path], command: str, body: bytes | None = None, /, **args: object) -> Any:
    """Call the daemon on the first of `paths` on which one listens. Raises NoDaemon if none does, ControlError."""
    forbidden: ControlError | None = None
    for path in paths:
        try:
            return call(path, command, body, **args)
        except NoDaemon as error:
            last = error
        except _NotAllowed as error:
            # The state_dir is closed to other users, but the socket may be on a later path.
            forbidden = forbidden or error
    raise forbidden or last


def _read_line(peer: socket.socket) -> bytearray:
    answer = bytearray()
    while not answer.endswith(b"\n"):
        chunk = peer.recv(256 * 1024)
        if not chunk or len(answer) > _MAX_ANSWER:
            raise ValueError("the answer is incomplete")
        answer += chunk
    return answer
