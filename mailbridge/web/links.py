"""Signed, expiring links to received documents: whoever holds one may read that document until it expires, and nothing else."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from mailbridge.store.fsync import sync_directory

TTL = timedelta(days=7)


class Linked(NamedTuple):
    """What a link points at."""

    path: str
    filename: str
    content_type: str
    expires_at: datetime


def _pack(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _unpack(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Links:
    """Makes and opens links below `public_url`, signed with HMAC-SHA256 by `key`."""

    def __init__(self, key: bytes, public_url: str, ttl: timedelta = TTL) -> None:
        self._key, self._base, self._ttl = key, public_url.rstrip("/"), ttl

    def link(self, document: Mapping[str, Any], now: datetime) -> tuple[str, datetime]:
        """Return the URL of a stored document and when it expires."""
        expires = (now + self._ttl).replace(microsecond=0)
        about = [document["path"], document.get("filename") or "document", document["content_type"], int(expires.timestamp())]
        packed = _pack(json.dumps(about, separators=(",", ":")).encode())
        return f"{self._base}/documents/{packed}.{self._sign(packed)}", expires

    def open(self, token: str) -> Linked | None:
        """Return what a link's last part points at, expired or not; None where the signature is not ours."""
        packed, _, signature = token.partition(".")
        if not token.isascii() or not hmac.compare_digest(signature, self._sign(packed)):
            return None
        try:
            path, filename, content_type, expires = json.loads(_unpack(packed))
        except (ValueError, binascii.Error):
            return None
        return Linked(path, filename, content_type, datetime.fromtimestamp(expires, UTC))

    def _sign(self, packed: str) -> str:
        return _pack(hmac.digest(self._key, packed.encode(), hashlib.sha256))


def load_or_create_key(path: Path) -> bytes:
    """Return the 32 random bytes in `path`, made at the first call and durable from then on. Raises OSError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        key = os.urandom(32)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
    sync_directory(path.parent)  # else a power cut could take the key, and every link that was sent with it
    return key
