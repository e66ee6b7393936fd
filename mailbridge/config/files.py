"""The files that a configuration names: can the daemon read and use them? The model itself touches no disk."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from mailbridge.config.model import Config
from mailbridge.errors import ConfigError


def file_errors(config: Config) -> list[ConfigError]:
    """Return an error for each file that cannot be read or used."""
    return [
        *_certificate("smtp.tls", config.smtp.tls.certificate, config.smtp.tls.key),
        *_certificate("http.tls", config.http.tls.certificate, config.http.tls.key),
    ]


def _certificate(section: str, certificate: Path | None, key: Path | None) -> Iterator[ConfigError]:
    if certificate is None or key is None:
        return
    for path in (certificate, key):
        if not os.access(path, os.R_OK):
            yield ConfigError(section, f"{path} cannot be read", "check the path, and that the user mailbridge may read it")
            return
    try:
        # With no password callback, OpenSSL would ask for the passphrase of an encrypted key on the terminal, and wait.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        yield ConfigError(
            section,
            f"certificate and key cannot be used ({error})",
            "use a PEM certificate and its private key, without a passphrase",
        )
