"""What protects the console in a browser: headers of every answer, and the check that a form comes from the console itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Nothing is loaded unless it comes from the console, and nothing is inline: text of a mail that got into a page runs nothing.
_SOURCES: Final = ("script-src", "style-src", "img-src", "connect-src", "form-action", "manifest-src")


def content_security_policy(*, sandbox: bool = False) -> str:
    """Return the Content-Security-Policy of a page; with `sandbox` that of a download, which may not even be a page."""
    if sandbox:
        return "default-src 'none'; sandbox; frame-ancestors 'none'"
    sources = "; ".join(f"{source} 'self'" for source in _SOURCES)
    return f"default-src 'none'; {sources}; base-uri 'none'; frame-ancestors 'none'"


def security_headers(*, sandbox: bool = False) -> dict[str, str]:
    """Return the headers that every answer of the console has; `sandbox` as in `content_security_policy`."""
    return {
        "content-security-policy": content_security_policy(sandbox=sandbox),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "x-frame-options": "DENY",
    }


def is_same_origin(method: str, headers: Mapping[str, str], public_url: str | None) -> bool:
    """Whether a request may change something: it comes from a page of the console, not from another site.

    Browsers say so in Sec-Fetch-Site (Fetch Metadata). One that does not must name the console in Origin (RFC 6454 section 7): as
    Host does, or as `http.public_url` does where a proxy changes Host.
    """
    if method in SAFE_METHODS:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    try:
        origin = urlsplit(headers.get("origin", ""))
    except ValueError:
        return False
    if origin.scheme not in ("http", "https") or not origin.netloc:
        return False
    public = urlsplit(public_url or "")
    return origin.netloc == headers.get("host") or (origin.scheme, origin.netloc) == (public.scheme, public.netloc)


def is_local_path(path: str) -> bool:
    """Whether a login may lead to this address: one of the console, which no browser reads as another host."""
    return path.startswith("/console/") and "\\" not in path and "//" not in path and path.isprintable() and path.isascii()
