"""The server of the control socket: JSON lines, only for root and the daemon's own user.

A request is `{"command": …, "args": {…}}`. A request with a body has its size in bytes as `"size"`; the body follows the line,
and the connection takes no further request.

An answer is `{"ok": true, "result": …}` or `{"ok": false, "error": …, "kind": …}`; the kind is the name of the error's class.
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
# A request has a few options, and at most the ids of all dead deliveries.
_MAX_LINE = 1024 * 1024
_CHUNK = 256 * 1024
# Seconds that a client may take to send a request or a piece of its body, and to read an answer.
_READ_TIMEOUT = 30.0
_WRITE_TIMEOUT = 30.0


class ControlService:
    """Answers `commands` by name on the unix socket `path`; a client whose process `is_worker` gets no answer but a refusal."""

    def __init__(self, path: Path, commands: Mapping[str, Command], is_worker: Callable[[int], bool] = lambda pid: False) -> None:
        self._path, self._commands, self._is_worker = path, commands, is_worker
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. A socket that a killed daemon left is replaced: the lock of the state_dir shows that no other daemon runs.

        Raises ControlError if the socket cannot be created.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._remove_stale()
            with addressable(self._path) as name:
                listener.bind(name)
            # Nobody can connect before listen(), so the mode is right from the first moment.
            os.chmod(self._path, 0o600)
            self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=_MAX_LINE)
        except OSError as error:
            listener.close()
            raise ControlError(
                f"cannot create the control socket {self._path} ({error.strerror}); check who owns its directory"
            ) from None
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        """Stop listening, end every connection, and remove the socket."""
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _remove_stale(self) -> None:
        try:
            mode = os.lstat(self._path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ControlError(f"{self._path} exists and is not a socket; move it away")
        self._path.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if self._is_allowed(writer.get_extra_info("socket")):
                await self._serve(reader, writer)
            else:
                await _send(
                    writer, _refusal("only root and the daemon's user may use the control socket; use sudo", "ControlError")
                )
        except (OSError, TimeoutError, asyncio.CancelledError):
            # A client that does not read its answer must not delay the end of the daemon.
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()

    def _is_allowed(self, peer: socket.socket) -> bool:
        """Whether the peer is root or the daemon's user, but no worker, which a hostile mail may have taken over."""
        if not hasattr(socket, "SO_PEERCRED"):
            return True  # the socket's mode alone protects it
        pid, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return uid in (0, os.geteuid()) and not self._is_worker(pid)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), _READ_TIMEOUT)
            except ValueError:
                await _send(writer, _refusal(f"the request is longer than {_MAX_LINE:,} bytes", "ControlError"))
                return
            if not line.endswith(b"\n"):
                return
            answer, more = await self._answer(line, reader)
            await _send(writer, answer)
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
            return _INVALID, True
        return await self._run(name, args), not has_body

    async def _run(self, name: str, args: dict[str, Any]) -> dict[str, object]:
        try:
            command = self._commands.get(name)
            if command is None:
                return _refusal(f"unknown command {name!r}; the daemon may be of another version", "ControlError")
            inspect.signature(command).bind(**args)
        except TypeError:
            return _INVALID
        try:
            return {"ok": True, "result": await command(**args)}
        except MailbridgeError as error:
            return _refusal(str(error), type(error).__name__)
        except Exception as error:
            log.command_crashed("control", command=name, error=repr(error))
            return _refusal("the daemon failed to carry out this command; check its log", "ControlError")


def _refusal(error: str, kind: str) -> dict[str, object]:
    return {"ok": False, "error": error, "kind": kind}


_INVALID = _refusal("invalid request; client and daemon may be of different versions", "ControlError")


async def _body(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    """Yield the `size` bytes after a request. Raises ControlError if fewer come."""
    while size > 0:
        chunk = await asyncio.wait_for(reader.read(min(size, _CHUNK)), _READ_TIMEOUT)
        if not chunk:
            raise ControlError("the request's body is incomplete")
        size -= len(chunk)
        yield chunk


async def _send(writer: asyncio.StreamWriter, answer: dict[str, object]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await asyncio.wait_for(writer.drain(), _WRITE_TIMEOUT)
