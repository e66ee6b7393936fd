"""The daemon's end of the control socket: JSON lines, for root and for the daemon's own user alone.

A request is `{"command": …, "args": {…}}`. One with a body has its `size` in bytes beside them and the body after the line; it is
the last of its connection. An answer is `{"ok": true, "result": …}` or `{"ok": false, "error": …, "kind": …}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from mailbridge import log
from mailbridge.control.socket_path import addressable
from mailbridge.errors import ControlError, MailbridgeError

Command = Callable[..., Awaitable[object]]
# A request is a few options, and at most the ids of all dead deliveries; who sends more is not one of our commands.
_LONGEST_LINE = 1024 * 1024
_CHUNK = 256 * 1024
# Seconds that a request, or a piece of its body, may take to come, and that an answer may take to be read.
_IDLE = 30.0
_PATIENCE = 30.0


class ControlService:
    """Answers `commands` by name on the unix socket `path`."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path, self._commands = path, commands
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. A socket that a killed daemon left is replaced: the lock of the state_dir tells that none is alive.

        Raises ControlError where the socket cannot be made.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._clear()
            with addressable(self._path) as name:
                listener.bind(name)
            # Nobody can connect before listen(), so the mode is right from the first moment.
            os.chmod(self._path, 0o600)
            self._server = await asyncio.start_unix_server(self._meet, sock=listener, limit=_LONGEST_LINE)
        except OSError as error:
            listener.close()
            raise ControlError(
                f"the control socket {self._path} cannot be made ({error.strerror}); check who owns its folder"
            ) from None
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        """Stop listening, end what is under way, and remove the socket."""
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _clear(self) -> None:
        try:
            mode = os.lstat(self._path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ControlError(f"{self._path} is in the way of the control socket; move it away")
        self._path.unlink()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            if _may_ask(writer.get_extra_info("socket")):
                await self._talk(reader, writer)
            else:
                await _say(writer, _no("only root and the daemon's own user may ask it; use sudo", "ControlError"))
        except (OSError, TimeoutError, asyncio.CancelledError):
            # An answer that its asker does not read must not hold up the end of the daemon.
            writer.transport.abort()
        finally:
            self._talks.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), _IDLE)
            except ValueError:
                await _say(writer, _no(f"a request has at most {_LONGEST_LINE:,} bytes", "ControlError"))
                return
            if not line.endswith(b"\n"):
                return
            answer, more = await self._answer(line, reader)
            await _say(writer, answer)
            if not more:
                return

    async def _answer(self, line: bytes, reader: asyncio.StreamReader) -> tuple[dict[str, object], bool]:
        """Return the answer to a request, and whether another may follow it."""
        try:
            request = json.loads(line)
            name, args = request["command"], request.get("args", {})
            has_body = "size" in request
            if has_body:
                args = {**args, "body": _body(reader, int(request["size"]))}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return _UNREADABLE, True
        return await self._do(name, args), not has_body

    async def _do(self, name: str, args: dict[str, Any]) -> dict[str, object]:
        try:
            command = self._commands.get(name)
            if command is None:
                return _no(f"this daemon knows no command {name!r}; it may be of another version", "ControlError")
            inspect.signature(command).bind(**args)
        except TypeError:
            return _UNREADABLE
        try:
            return {"ok": True, "result": await command(**args)}
        except MailbridgeError as error:
            return _no(str(error), type(error).__name__)
        except Exception as error:
            log.command_crashed("control", command=name, error=repr(error))
            return _no("the daemon failed at this command; its log says why", "ControlError")


def _may_ask(peer: socket.socket) -> bool:
    """Whether the peer is root or of the daemon's own user; where the kernel does not tell, the socket's mode has to do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return uid in (0, os.geteuid())


def _no(error: str, kind: str) -> dict[str, object]:
    return {"ok": False, "error": error, "kind": kind}


_UNREADABLE = _no("the request cannot be understood; client and daemon may be of different versions", "ControlError")


async def _body(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    """Yield the `size` bytes after a request. Raises ControlError where they do not come."""
    while size > 0:
        chunk = await asyncio.wait_for(reader.read(min(size, _CHUNK)), _IDLE)
        if not chunk:
            raise ControlError("what was to follow the request did not come whole")
        size -= len(chunk)
        yield chunk


async def _say(writer: asyncio.StreamWriter, answer: dict[str, object]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await asyncio.wait_for(writer.drain(), _PATIENCE)
