"""A winmail.dat of any bytes is read or malformed, within its limits."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mailbridge.submission.letter.tnef import MAX_STEPS, Malformed, read
from tests.unit.submission.letter import tnef_writer as writer

WHOLE = writer.stream(
    writer.text("שלום"),
    writer.message(writer.variable(0x1009, writer.BINARY, b"LZFu"), writer.named(0x8001, "x", writer.LONG, 1)),
    writer.attachment("a.pdf", b"%PDF-", writer.long_name("long.pdf"), writer.HIDDEN),
    writer.attachment("m", None, writer.embedded(writer.stream(writer.text("inner"), writer.attachment("b.pdf", b"2")))),
)
CHANGES = st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(max_size=6)), max_size=8)


def check(stream: bytes) -> None:
    try:
        message = read(stream)
    except Malformed:
        return
    assert len(message.attachments) <= MAX_STEPS
    assert sum(len(attachment.content or b"") for attachment in message.attachments) <= len(stream) * 6


@settings(max_examples=500, deadline=None)
@given(CHANGES, st.integers(0, len(WHOLE)))
def test_changed_stream_is_read_or_malformed(changes: list[tuple[int, bytes]], end: int) -> None:
    stream = WHOLE
    for at, piece in changes:
        stream = stream[:at] + piece + stream[at + len(piece) :]
    check(stream)
    check(stream[:end])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_stream_of_any_bytes_is_read_or_malformed(rest: bytes) -> None:
    check(b"\x78\x9f\x3e\x22\x00\x00" + rest)
