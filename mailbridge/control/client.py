"""A command's end of the control socket: one question, one answer."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mailbridge.control.socket_path import addressable
from mailbridge.errors import ControlError

_LONGEST_ANSWER = 256 * 1024 * 1024
# Seconds between two pieces of an answer.
_PATIENCE = 30.0


class NoDaemon(ControlError):
    """No daemon listens there."""


class _NotAllowed(ControlError):
    """A daemon may listen there, but not to this user."""


def ask(path: Path, command: str, body: bytes | None = None, /, **args: object) -> Any:
    """Return the daemon's result of a command, with a body where the command takes one.

    Raises NoDaemon where none listens, ControlError where it does not answer or says no.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(_PATIENCE)
        try:
            with addressable(path) as name:
                peer.connect(name)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            raise NoDaemon(f"no mailbridge listens on {path}; start it with mailbridge serve") from None
        except PermissionError:
            raise _NotAllowed(f"{path} is for root and the daemon's own user; use sudo") from None
        except OSError as error:
            raise ControlError(f"{path} cannot be asked ({error.strerror or error}); is the daemon well?") from None
        try:
            # A daemon that finds a request too long says so and hangs up before it has read all of it.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                size = {} if body is None else {"size": len(body)}
                peer.sendall(json.dumps({"command": command, "args": args, **size}).encode() + b"\n")
                peer.sendall(body or b"")
            answer = json.loads(_line(peer))
        except TimeoutError:
            raise ControlError(f"the daemon gave no answer in {_PATIENCE:g} s; look at its log") from None
        except (OSError, ValueError, RecursionError):
            raise ControlError("the daemon hung up; look at its log") from None
    return _result(answer, path)


def _result(answer: Any, path: Path) -> Any:
    match answer:
        case {"ok": True, "result": result}:
            return result
        case {"ok": False, "error": str(error)}:
            raise ControlError(error)
        case _:
            raise ControlError(f"what listens on {path} is no mailbridge, or one of another version")


def ask_first(paths: Sequence[Path], command: str, body: bytes | None = None, /, **args: object) -> Any:
    """Ask the first of `paths` on which a daemon listens. Raises NoDaemon where none does, ControlError."""
    forbidden: ControlError | None = None
    for path in paths:
        try:
            return ask(path, command, body, **args)
        except NoDaemon as error:
            last = error
        except _NotAllowed as error:
            # The daemon's state_dir is closed to others, but its socket may be elsewhere.
            forbidden = forbidden or error
    raise forbidden or last


def _line(peer: socket.socket) -> bytearray:
    answer = bytearray()
    while not answer.endswith(b"\n"):
        chunk = peer.recv(256 * 1024)
        if not chunk or len(answer) > _LONGEST_ANSWER:
            raise ValueError("the answer is cut")
        answer += chunk
    return answer
