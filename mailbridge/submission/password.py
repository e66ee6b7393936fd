"""Password hashes of SMTP users: `scrypt$n$r$p$salt$hash`, salt and hash in base64 (RFC 7914)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

# 16 MiB and about 50 ms for each try: expensive to guess, acceptable for a login.
_N, _R, _P = 2**14, 8, 1
_MEMORY = 64 * 1024 * 1024


def hash_password(password: str) -> str:
    """Return a salted hash for `user.NAME.password_hash`."""
    salt = os.urandom(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY)
    return _text(salt, digest)


def check_password(hash: str, password: bytes | str) -> bool:
    """Return whether `hash` is of `password`; False for an invalid hash. Blocks for about 50 ms."""
    try:
        name, n, r, p, salt, wanted = hash.split("$")
        secret = password.encode() if isinstance(password, str) else password
        digest = hashlib.scrypt(
            secret, salt=base64.b64decode(salt), n=int(n), r=int(r), p=int(p), maxmem=_MEMORY, dklen=len(base64.b64decode(wanted))
        )
        return name == "scrypt" and hmac.compare_digest(digest, base64.b64decode(wanted))
    except (ValueError, MemoryError):
        return False


def _text(salt: bytes, digest: bytes) -> str:
    return f"scrypt${_N}${_R}${_P}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


# Checked for an unknown user, so that a wrong name takes as long as a wrong password. It is the hash of no known password.
UNKNOWN_USER = _text(os.urandom(16), os.urandom(64))
