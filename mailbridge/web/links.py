"""Signed, expiring links to received documents. Whoever has a link can read that one document until the link expires.

A link's token is `PAYLOAD.SIGNATURE`, both base64url: a JSON list of path, file name, content type and expiry (Unix time), and
its HMAC-SHA256. Only the key is stored, not the links.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, NamedTuple

TTL = timedelta(days=7)


class LinkedDocument(NamedTuple):
    """The document that a link leads to."""

    path: str  # relative to the spool
    filename: str
    content_type: str
    expires_at: datetime


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Links:
    """Makes and opens links below `public_url`, signed with `key` and valid for `ttl`."""

    def __init__(self, key: bytes, public_url: str, ttl: timedelta = TTL) -> None:
        self._key, self._base, self._ttl = key, public_url.rstrip("/"), ttl

    def link(self, document: Mapping[str, Any], now: datetime) -> tuple[str, datetime]:
        """Return the URL of a stored document and when it expires."""
        expires = (now + self._ttl).replace(microsecond=0)
        fields = [document["path"], document.get("filename") or "document", document["content_type"], int(expires.timestamp())]
        payload = _encode(json.dumps(fields, separators=(",", ":")).encode())
        return f"{self._base}/documents/{payload}.{self._sign(payload)}", expires

    def open(self, token: str) -> LinkedDocument | None:
        """Return the document of a token, even if the link has expired; None if the signature is not valid.

        Only received documents have links.
        """
        payload, _, signature = token.partition(".")
        if not token.isascii() or not hmac.compare_digest(signature, self._sign(payload)):
            return None
        try:
            path, filename, content_type, expires = json.loads(_decode(payload))
        except (ValueError, binascii.Error):
            return None
        # A sent mail is in the spool too.
        parts = PurePosixPath(path).parts
        if parts[:1] != ("received",) or ".." in parts:
            return None
        return LinkedDocument(path, filename, content_type, datetime.fromtimestamp(expires, UTC))

    def _sign(self, payload: str) -> str:
        return _encode(hmac.digest(self._key, payload.encode(), hashlib.sha256))
