"""Enhanced status codes (RFC 2034), which EHLO announces and aiosmtpd's own replies lack. Pure."""

from __future__ import annotations

_WHOLE = {b"250 OK": b"250 2.0.0 OK", b"221 Bye": b"221 2.0.0 Bye"}
_BY_CODE = {b"500": b"5.5.2", b"501": b"5.5.4", b"502": b"5.5.1"}


def with_enhanced_code(line: bytes) -> bytes:
    """Return a reply line with its enhanced code, where it has to have one and has none."""
    if line in _WHOLE:
        return _WHOLE[line]
    code, _, text = line.partition(b" ")
    if code not in _BY_CODE or text[1:2] == b".":
        return line
    return b" ".join((code, _BY_CODE[code], text))
