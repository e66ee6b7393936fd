"""Loads, before the daemon is ready, what would be loaded when it is first needed.

An import opens files. When it fails later, for lack of descriptors or memory, or because the files were upgraded under the
running daemon, it fails a mail that has nothing to do with it; and a library may be left with a lock that is never released.
"""

from __future__ import annotations

import contextlib
import encodings
import gc
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Final, cast

# Of the garbage collector: Python's 700 objects are those of two mails, of which hardly any is garbage that refers to itself.
_THRESHOLDS: Final = (5_000, 20, 50)
# What functions of a library import. The HTTP clients' backend; dates; mails; host names beyond ASCII; certificates.
_MODULES: Final = (
    *("anyio._backends._asyncio", "anyio.abc", "anyio.streams.tls", "anyio.lowlevel"),
    *("_strptime", "email.generator", "email.headerregistry", "email._header_value_parser", "email.iterators"),
    *("encodings.idna", "stringprep", "unicodedata", "certifi", "array", "html.entities", "traceback"),
    *("dkim.dnsplug", "dns.resolver", "dns.rdtypes.ANY"),
)


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import many modules within this context, in which the garbage collector is off.

    Little that is made meanwhile is garbage, and looking for it takes a sixth of the time. structlog and httpx would load rich
    and pygments, for tracebacks in colours and a command line that mailbridge does not use, which takes a tenth.
    """
    was_on = gc.isenabled()
    gc.disable()
    hidden = {"rich", "pygments"} - set(sys.modules)
    sys.modules.update(dict.fromkeys(hidden, cast(ModuleType, None)))  # importing them fails
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if was_on:
            gc.enable()


def keep_loaded() -> None:
    """Turn the garbage collector on. It never looks at what has been loaded until now, which stays."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    gc.enable()


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
