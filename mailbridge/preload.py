"""Loads and starts, before the daemon is ready, what would be loaded or started when it is first needed.

An import opens files. When it fails later, for lack of descriptors or memory, or because the files were upgraded under the
running daemon, it fails a mail that has nothing to do with it; and a library may be left with a lock that is never released.
"""

from __future__ import annotations

import asyncio
import contextlib
import encodings
import importlib
import os
import pkgutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

# What functions of a library import. The HTTP clients' backend; dates; mails; host names beyond ASCII; certificates.
_MODULES: Final = (
    *("anyio._backends._asyncio", "anyio.abc", "anyio.streams.tls", "anyio.lowlevel"),
    *("_strptime", "email.generator", "email.headerregistry", "email._header_value_parser", "email.iterators"),
    *("encodings.idna", "stringprep", "unicodedata", "certifi", "array", "html.entities", "traceback"),
    *("dkim.dnsplug", "dns.resolver", "dns.rdtypes.ANY"),
)


def start_threads(count: int = 0, name: str = "io") -> ThreadPoolExecutor:
    """Return an executor whose threads all run already; 0 are as many as asyncio's own would start. Raises RuntimeError.

    A thread that cannot be started later, for lack of memory, would fail the work that happened to need one more.
    """
    count = count or min(32, (os.cpu_count() or 1) + 4)
    executor, all_run = ThreadPoolExecutor(count, name), threading.Barrier(count + 1)
    try:
        for _ in range(count):
            executor.submit(all_run.wait)
        all_run.wait()
    except BaseException:
        all_run.abort()
        raise
    return executor


def watch_children_without_threads() -> None:
    """Let asyncio wait for worker processes by descriptors (pidfd_open(2), Linux 5.3), as Python does by itself since 3.12."""
    if sys.version_info < (3, 12):
        with contextlib.suppress(OSError, AttributeError):
            os.close(os.pidfd_open(os.getpid()))
            watcher = asyncio.PidfdChildWatcher()
            watcher.attach_loop(asyncio.get_running_loop())
            asyncio.set_child_watcher(watcher)


def load_codecs() -> None:
    """Load every codec of Python: a mail may name any of them as its charset."""
    for codec in pkgutil.iter_modules(encodings.__path__):
        with contextlib.suppress(ImportError):  # those of Windows
            importlib.import_module(f"encodings.{codec.name}")


def load_modules() -> None:
    """Load what the daemon's libraries import late, and every codec. Raises ImportError, OSError."""
    load_codecs()
    for name in _MODULES:
        importlib.import_module(name)
    # The types of DNS records are modules that are imported with the first record of their type.
    importlib.import_module("dns.rdata").load_all_types()
