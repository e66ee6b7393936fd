"""DotDecoder: one end of data, stuffed dots removed, every line ended by CR LF; the same however the stream is cut."""

from __future__ import annotations

import random
import re

import pytest

from mailbridge.submission.dot_decoder import DotDecoder
from tests.work_counter import calls


def decode(pieces: list[bytes]) -> tuple[bytes, bytes | None]:
    decoder, content = DotDecoder(), b""
    for number, piece in enumerate(pieces):
        more, rest = decoder.feed(piece)
        content += more
        assert decoder.size == len(content)
        if rest is not None:
            return content, rest + b"".join(pieces[number + 1 :])
    return content, None


def reference_decode(stream: bytes) -> tuple[bytes, bytes | None]:
    """The same by RFC 5321 section 4.5.2 word for word, on the whole stream at once."""
    text = b"\r\n" + stream
    end = text.find(b"\r\n.\r\n")
    if end < 0:
        return b"", None
    body = re.sub(rb"\r\n\.", b"\r\n", text[: end + 2])[2:]
    return re.sub(rb"\r\r\n|\r\n|\r|\n", b"\r\n", body), text[end + 5 :]


@pytest.mark.parametrize(
    ("stream", "content"),
    [
        (b".\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..a\r\n.\r\n", b".a\r\n"),
        (b"a\r\n..\r\nb\r\n.\r\n", b"a\r\n.\r\nb\r\n"),
        (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a.b\r\n.\r\n", b"a.b\r\n"),
        (b"a\nb\rc\r\n.\r\n", b"a\r\nb\r\nc\r\n"),
        (b"a\r\r\n\r\r\nb\r\r\n.\r\n", b"a\r\n\r\nb\r\n"),
        (b"a\r\r\n..b\r\r\n.\r\n", b"a\r\n.b\r\n"),
        (b"a\r\r\r\n.\r\n", b"a\r\n\r\n"),
    ],
)
def test_end_of_data_and_stuffed_dots(stream: bytes, content: bytes) -> None:
    for cut in range(len(stream) + 1):
        assert decode([stream[:cut], stream[cut:] + b"QUIT"]) == (content, b"QUIT")


@pytest.mark.parametrize(
    "fake", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n\n.\r\n", b"\r\n\x00.\r\n", b"\r\n.\r\r\n"]
)
def test_smuggling_variants_do_not_end_the_data(fake: bytes) -> None:
    stream = b"a" + fake + b"MAIL FROM:<evil@x>\r\n.\r\n"
    for cut in range(len(stream)):
        content, rest = decode([stream[:cut], stream[cut:]])
        assert rest == b""
        assert b"MAIL FROM" in content
        assert b"\n" not in content.replace(b"\r\n", b"")


def test_random_streams_decode_as_the_rfc_says_however_cut() -> None:
    chance = random.Random(7)
    for _ in range(4000):
        stream = bytes(chance.choice(b"\r\n\r\n..ab") for _ in range(chance.randrange(1, 24))) + b"\r\n.\r\n" + b"rest"
        cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randrange(6)))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert decode(pieces) == reference_decode(stream), (stream, pieces)


def test_content_without_an_end_of_data_is_complete() -> None:
    assert decode([b"abc", b"def\r\n"]) == (b"abcdef", None)
    assert decode([b"abc\r", b"\rd"]) == (b"abc\r\n\r\nd", None)
    assert decode([b"abcdef\r\n", b".\r\n"]) == (b"abcdef\r\n", b"")


def test_lines_of_equal_length_decode_like_any_others() -> None:
    chance = random.Random(11)
    for _ in range(300):
        length = chance.choice((2, 3, 61, 78, 900))
        text = bytearray((b"a" * (length - 2) + b"\r\n") * (chance.randrange(6000, 20_000) // length))
        for _ in range(chance.randrange(4)):
            text[chance.randrange(len(text))] = chance.choice(b"\r\n.a")
        head = bytes(chance.choice(b"\r\n.abc") for _ in range(chance.choice((0, 5, 3000))))
        stream = head + bytes(text) + b"\r\n.\r\nrest"
        cut = chance.randrange(len(stream))
        assert decode([stream[:cut], stream[cut:]]) == reference_decode(stream)


@pytest.mark.parametrize(
    ("stream", "changed"),
    [
        (b"a\r\nb\r\n.\r\n", False),
        (b"..a\r\n..\r\n.\r\n", False),
        (b".\r\n", False),
        (b"a\nb\r\n.\r\n", True),
        (b"a\rb\r\n.\r\n", True),
        (b"a\r\r\n.\r\n", True),
        (b"a\r\r\r\n.\r\n", True),
    ],
)
def test_changed_line_ends_are_noted_however_the_stream_is_cut(stream: bytes, changed: bool) -> None:
    for cut in range(len(stream) + 1):
        decoder = DotDecoder()
        decoder.feed(stream[:cut])
        decoder.feed(stream[cut:])
        assert decoder.line_ends_changed is changed


def test_streams_of_many_dots_decode_as_the_rfc_says_however_cut() -> None:
    chance = random.Random(8)
    for _ in range(300):
        lines = [chance.choice((b"..\r\n", b"..a\r\n", b".\r", b"..\r\r\n", b".b\n", b"c.\r\n")) for _ in range(200)]
        stream = b"\r\n".join(lines) + b"\r\n.\r\n" + b"rest"
        cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randrange(3)))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert decode(pieces) == reference_decode(stream), (stream, pieces)


@pytest.mark.parametrize("line", [b"..\r\n", b".\n", b".\r", b"...a\r\n", b"a.b.\r\n", b"\n", b"\r", b"\r\r\n"])
def test_attack_1_a_chunk_of_dots_and_line_ends_takes_few_steps(line: bytes) -> None:
    """One by one the dots of a read of 256 KB would hold the event loop for 50 ms."""
    decoder = DotDecoder()
    assert calls(lambda: decoder.feed(line * (262_144 // len(line)))) < 2_500
