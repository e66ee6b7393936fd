"""When an X.509 certificate expires (RFC 5280 section 4.1.2.5). The standard library reads that of a peer only."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


def expiry(path: Path) -> datetime | None:
    """Return when the first certificate of a PEM file expires, None if that cannot be read. Raises OSError."""
    text = path.read_text(encoding="ascii", errors="replace")
    start, end = text.find(ssl.PEM_HEADER), text.find(ssl.PEM_FOOTER)
    try:
        return not_after(ssl.PEM_cert_to_DER_cert(text[start : end + len(ssl.PEM_FOOTER)].strip()))
    except (ValueError, IndexError):
        return None


def not_after(der: bytes) -> datetime:
    """Return the end of a certificate's validity. Raises ValueError, IndexError."""
    _, certificate, _ = _element(der)
    _, rest, _ = _element(certificate)  # tbsCertificate
    if rest[0] == _VERSION:
        _, _, rest = _element(rest)
    for _ in ("serialNumber", "signature", "issuer"):
        _, _, rest = _element(rest)
    tag, validity, _ = _element(rest)
    _, _, second = _element(validity)
    kind, written, _ = _element(second)
    if tag != _SEQUENCE or kind not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("not a validity")
    text = written.decode("ascii")
    if kind == _UTC_TIME:  # two digits: 50 to 99 are 1950 to 1999
        text = f"{'19' if int(text[:2]) >= 50 else '20'}{text}"
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Return the tag and content of the first element of DER (X.690 section 8.1), and what follows it."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    if len(data) < start + length:
        raise ValueError("the element is cut off")
    return tag, data[start : start + length], data[start + length :]
