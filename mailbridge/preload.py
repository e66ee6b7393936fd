"""Loads at the start what libraries would import when it is first needed.

An import opens files. When it fails later, for lack of descriptors or memory, or because the files were upgraded under the
running daemon, it fails a mail that has nothing to do with it; and a library may be left with a lock that is never released.
"""

from __future__ import annotations

import contextlib
import encodings
import importlib
import pkgutil
from typing import Final

# What functions of a library import. The HTTP clients' backend; dates; mails; host names beyond ASCII; certificates.
_MODULES: Final = (
    *("anyio._backends._asyncio", "anyio.abc", "anyio.streams.tls", "anyio.lowlevel"),
    *("_strptime", "email.generator", "email.headerregistry", "email._header_value_parser", "email.iterators"),
    *("encodings.idna", "stringprep", "unicodedata", "certifi", "array", "html.entities", "traceback"),
    *("dkim.dnsplug", "dns.resolver", "dns.rdtypes.ANY"),
)


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
