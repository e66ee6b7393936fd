"""winmail.dat: its files under their real names, its text, and bounded work whatever it holds."""

from __future__ import annotations

import struct

import pytest

from mailbridge.submission.letter import tnef
from mailbridge.submission.letter.tnef import Malformed, read
from tests.unit.submission.letter import tnef_writer as writer


def names(stream: bytes) -> list[tuple[str, bytes]]:
    return [(attachment.name, bytes(attachment.content or b"")) for attachment in read(stream).attachments]


def test_files_have_their_long_names_and_content() -> None:
    stream = writer.stream(
        writer.text("ראו מצורף"),
        writer.attachment("CONTRA~1.PDF", b"%PDF-1", writer.long_name("contract 17.pdf")),
        writer.attachment("חוזה.pdf", b"%PDF-2"),
        writer.attachment("a.txt", b""),
    )
    assert names(stream) == [("contract 17.pdf", b"%PDF-1"), ("חוזה.pdf", b"%PDF-2"), ("a.txt", b"")]
    assert read(stream).text == "ראו מצורף"


def test_code_page_decodes_names_and_text() -> None:
    stream = writer.stream(
        writer.message(
            writer.variable(0x1000, writer.STRING8, "טקסט\0".encode("cp862")),
            writer.variable(0x1013, writer.BINARY, "<p>שלום</p>".encode()),
            writer.fixed(0x3FDE, writer.LONG, 65001),
        ),
        writer.attachment("x", b"1", writer.variable(0x3707, writer.STRING8, "דוח.pdf\0".encode("cp862"))),
        code_page=862,
    )
    message = read(stream)
    assert (message.text, message.html, message.attachments[0].name) == ("טקסט", "<p>שלום</p>", "דוח.pdf")


def test_properties_of_every_shape_are_stepped_over() -> None:
    stream = writer.stream(
        writer.attachment(
            "a.pdf",
            None,
            writer.named(0x8001, "Keywords", writer.LONG, 7),
            writer.variable(0x6001, writer.STRING8, b"one\0", b"twelve\0"),
            struct.pack("<HHIQQ", 0x1014, 0x6002, 2, 1, 2),
            struct.pack("<HHIHH", 0x1002, 0x6003, 2, 1, 2),
            struct.pack("<HH", 0x0001, 0x6004),
            writer.variable(0x370E, writer.STRING8, b"Application/PDF\0"),
            writer.variable(0x3712, writer.UNICODE, "<x@y>\0".encode("utf-16-le")),
            writer.HIDDEN,
            writer.variable(0x3701, writer.BINARY, b"%PDF-"),
        )
    )
    (attachment,) = read(stream).attachments
    assert (bytes(attachment.content or b""), attachment.content_type) == (b"%PDF-", "application/pdf")
    assert (attachment.cid, attachment.is_hidden, attachment.is_object) == ("x@y", True, False)


def test_attached_message_is_opened_where_it_stands() -> None:
    inner = writer.stream(writer.text("inner"), writer.attachment("inner.pdf", b"2"))
    attached = [writer.attachment("1.pdf", b"1"), writer.attachment("mail", None, writer.embedded(inner))]
    stream = writer.stream(*attached, writer.attachment("3.pdf", b"3"))
    assert names(stream) == [("1.pdf", b"1"), ("inner.pdf", b"2"), ("3.pdf", b"3")]
    message = read(stream)
    assert (message.text, [one.text for one in message.messages]) == ("", ["inner"])


def test_object_of_another_program_is_marked() -> None:
    by_property = writer.attachment("Picture", None, writer.ole_object(b"\xd0\xcf\x11\xe0"))
    by_type = writer.attachment("Chart", b"x", is_object=True)
    by_method = writer.attachment("Chart", b"x", writer.fixed(0x3705, writer.LONG, 6))
    for written in (by_property, by_type, by_method):
        (attachment,) = read(writer.stream(written)).attachments
        assert attachment.is_object


def test_link_and_attachment_that_was_cut_off_have_no_content() -> None:
    (link,) = read(writer.stream(writer.attachment("on the web.pdf", None, writer.fixed(0x3705, writer.LONG, 7)))).attachments
    (cut,) = read(writer.stream(writer.attachment("a.pdf", b""))[:-8]).attachments
    assert (link.content, cut.content) == (None, None)


def nested(levels: int) -> bytes:
    stream = writer.stream(writer.text("x"))
    for _ in range(levels):
        stream = writer.stream(writer.attachment("mail", None, writer.embedded(stream)))
    return stream


HUGE = 0xFFFF_FFFF


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"PK\x03\x04",
        writer.stream(writer.attachment("a", bytes(20)))[:-5],
        writer.stream(struct.pack("<BII", 1, 0x0006800F, HUGE)),
        writer.stream(writer.message()[:-6] + struct.pack("<I", HUGE)),
        writer.stream(writer.attribute(0x00069003, struct.pack("<IHHI", 1, writer.BINARY, 0x1013, HUGE))),
        writer.stream(writer.attribute(0x00069003, struct.pack("<IHHII", 1, writer.BINARY, 0x1013, 1, HUGE))),
        writer.stream(writer.attribute(0x00069003, struct.pack("<IHHI", 1, 0x1014, 0x1013, HUGE))),
        writer.stream(writer.attribute(0x00069003, struct.pack("<IHH", 1, 0x7777, 0x1013))),
        writer.stream(writer.attribute(0x00069003, struct.pack("<IHH16sII", 1, 3, 0x8001, b"", 1, HUGE))),
        writer.stream(*[writer.attribute(0x00068000, b"")] * tnef.MAX_STEPS),
        writer.stream(writer.message(*[struct.pack("<HH", 1, 0x6000)] * (tnef.MAX_STEPS + 1))),
        nested(tnef.MAX_DEPTH + 1),
    ],
)
def test_stream_that_breaks_the_format_or_a_limit_is_malformed(stream: bytes) -> None:
    with pytest.raises(Malformed):
        read(stream)


def test_stream_just_within_the_limits_is_read() -> None:
    inner = read(nested(tnef.MAX_DEPTH))
    for _ in range(tnef.MAX_DEPTH):
        (inner,) = inner.messages
    assert inner.text == "x"
    read(writer.stream(*[writer.attribute(0x00068000, b"")] * (tnef.MAX_STEPS - 1)))


def test_padding_behind_the_last_attribute_is_ignored() -> None:
    assert names(writer.stream(writer.attachment("a", b"1")) + bytes(20)) == [("a", b"1")]


@pytest.mark.parametrize("size", [100_000, 200_000])
def test_steps_grow_with_the_parts_and_not_with_the_bytes(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    taken: list[int] = []
    monkeypatch.setattr(tnef._Steps, "take", lambda self, count=1: taken.append(count))
    read(nested(2) + writer.attachment("a", bytes(size), writer.variable(0x3701, writer.BINARY, bytes(size))))
    assert sum(taken) < 30
