"""Downloads for `incoming --save`: files named by time and caller, never over another file, continued where one broke off."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from mailbridge.cli.output import plain
from mailbridge.report.document_download import Documents, NotFetched, content_type, file_stem

Progress = Callable[[int, int | None], None]


def save_all(items: Sequence[dict[str, Any]], directory: Path, service: str, timeout: float, zone: ZoneInfo) -> int:
    """Save the document of each item, and add its path to the item as `file`; return how many downloads failed.

    Raises ClickException if no file can be written into the directory.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_save_all(items, directory, service, timeout, zone))
    except BrokenPipeError:
        raise
    except OSError as error:
        place, why = error.filename or directory, os.strerror(error.errno or 0)
        raise click.ClickException(
            f"{place} cannot be written ({why}); fix that, or name another directory with --save"
        ) from None


async def _save_all(items: Sequence[dict[str, Any]], directory: Path, service: str, timeout: float, zone: ZoneInfo) -> int:
    failed = 0
    async with Documents(service, timeout) as documents:
        for item in items:
            item["file"] = None
            name = _name(item, zone)
            try:
                with _bar(name) as progress:
                    item["file"] = str(await _save(documents, item["url"], directory, name, progress))
            except NotFetched as error:
                failed += 1
                remedy = "; run the command again to continue the download" if error.retryable else ""
                click.echo(f"mailbridge: {name}: {plain(error)}{remedy}", err=True)
    return failed


def _name(item: dict[str, Any], zone: ZoneInfo) -> str:
    """Return a name that is the same at the next call, and differs between two items of the same second and caller."""
    at = datetime.fromisoformat(item["time"]) if item["time"] else None
    return f"{file_stem(at, item['from'], zone)}_{hashlib.sha256(item['id'].encode()).hexdigest()[:8]}"


async def _save(documents: Documents, url: str | None, directory: Path, name: str, progress: Progress) -> Path:
    saved = [path for path in directory.glob(f"{name}.*") if path.suffix != ".part"]
    if saved:
        return saved[0]
    if url is None:
        raise NotFetched("the list names no address of the document", retryable=False)
    part = directory / f"{name}.part"
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotFetched("another mailbridge is downloading it right now") from None
        try:
            await documents.fetch(url, file, progress)
        finally:
            if file.seek(0, os.SEEK_END) == 0:
                part.unlink()
        file.flush()
        os.fsync(descriptor)
        file.seek(0)
        whole = directory / f"{name}{content_type(file.read(64))[1]}"
        _publish(part, whole)
    return whole


def _publish(part: Path, whole: Path) -> None:
    """Give a complete download its final name, unless another file has it."""
    try:
        os.link(part, whole)  # as rename does, but never over another file
    except FileExistsError:
        raise NotFetched(f"{whole.name} already exists", retryable=False) from None
    except OSError:
        # FAT and some network shares have no hard links. Create an empty file, which the rename then replaces.
        try:
            os.close(os.open(whole, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            raise NotFetched(f"{whole.name} already exists", retryable=False) from None
        part.rename(whole)
    else:
        part.unlink()


@contextmanager
def _bar(name: str) -> Iterator[Progress]:
    """Show the progress of a download, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
