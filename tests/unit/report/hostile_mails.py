"""Mails that are made to break a parser, or to keep it busy."""

from __future__ import annotations


def nested(depth: int) -> bytes:
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth))
    return b"X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\n" + head + b"\r\n"


def in_html(body: bytes) -> bytes:
    return b"X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\nContent-Type: text/html\r\n\r\n" + body


HOSTILE_MAILS = {
    "no code": b"X-Fax-Status: Success\r\n\r\n",
    "another status": b"X-Fax-Status: Maybe\r\nX-Fax-Status-Code: 9\r\n\r\n",
    "a code in words": b"X-Fax-Status: Success\r\nX-Fax-Status-Code: nine\r\n\r\n",
    "other digits": "X-Fax-Status: Success\r\nX-Fax-Status-Code: ٩\r\n\r\n".encode(),
    "doubled": b"X-Fax-Status: Success\r\nX-Fax-Status: Fail\r\nX-Fax-Status-Code: 9\r\n\r\n",
    "doubled under long names": b"X-Fax-Status: Fail\r\n"
    + b"X-Fax-%s: 1\r\nX-Fax-%s: 2\r\n" % (b"a" * 9000, b"a" * 9000)
    + b"\r\n",
    "half a surrogate": b"X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\nX-Fax-Subject: =?utf-7?Q?+2AA-?=\r\n\r\n",
    "half a surrogate for a code": b"X-Fax-Status: =?unicode_escape?Q?=5Cud800?=\r\nX-Fax-Status-Code: 9\r\n\r\n",
    "nested without end": nested(400),
    "lines without end in nested parts": nested(20) + b"\r\n" * 32768,
    "parts without end": b"X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 5000,
    "styles without end": in_html(b"<style" * 9000),
    "tags without end": in_html(b"<" * 60_000),
    "parameters without end": b"X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\nContent-Type: text/plain"
    + b";" * 60_000
    + b"\r\n\r\nx",
    "parameters without end on many lines": b"X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\nContent-Disposition: attachment"
    + b";\r\n a=b" * 8000
    + b"\r\n\r\nx",
    "parameters in every part": b"X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\n"
    + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + (b"--b\r\nContent-Type: text/plain" + b";" * 600 + b"\r\n\r\nx\r\n") * 90,
    "a boundary without end": b"X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\nContent-Type: multipart/mixed; boundary="
    + b"a.b" * 20_000
    + b"\r\n\r\nx",
    "header alone": b"X-Fax-Status: Success",
    "NUL": b"X-Fax-Status: Suc\0cess\r\nX-Fax-Status-Code: 9\r\nMessage-ID: \0\r\n\r\n\0",
    "charset of nobody": b'X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\nContent-Type: text/plain; charset="\xff\0"\r\n\r\nx',
    "too large": b"X-Fax-Status: Success\r\nX-Fax-Status-Code: 9\r\n\r\n" + b"x" * 250_000,
}
