"""VerifiedDocument ends only if its content is the one that was accepted."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO, cast

import pytest

from mailbridge.errors import NeedsPerson
from mailbridge.fax.verified_document import Damaged, VerifiedDocument
from mailbridge.model import Document

CONTENT = bytes(range(256)) * 40


def opened(content: bytes, recorded: bytes = CONTENT) -> VerifiedDocument:
    digest = hashlib.sha256(recorded).hexdigest()
    document = Document(name="a.pdf", content_type="", size=len(recorded), sha256=digest, path="", offset=0, length=0)
    return VerifiedDocument(cast(BinaryIO, io.BytesIO(content)), document)


def read(file: VerifiedDocument) -> bytes:
    return b"".join(iter(lambda: file.read(1000), b""))


def test_the_accepted_content_is_read_completely_and_repeatedly() -> None:
    file = opened(CONTENT)
    assert (file.seek(0, io.SEEK_END), file.tell()) == (len(CONTENT), len(CONTENT))
    for _ in range(2):
        assert file.seek(0) == 0
        assert read(file) == CONTENT
    assert read(opened(b"", b"")) == b""
    file.close()
    assert file.closed


@pytest.mark.parametrize("content", [CONTENT[:-1], b"", CONTENT + b"x", b"x" + CONTENT[1:], CONTENT[:-1] + b"x"])
def test_a_changed_content_raises_instead_of_ending(content: bytes) -> None:
    with pytest.raises(Damaged, match=r"a\.pdf was damaged"):
        read(opened(content))


def test_a_longer_content_is_detected_before_its_end() -> None:
    file = opened(CONTENT + b"x" * 1_000_000)
    with pytest.raises(Damaged):
        read(file)
    assert file.tell() <= len(CONTENT) + 1000


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("Incorrect padding")])
def test_a_content_that_cannot_be_read_or_decoded_needs_a_person(error: Exception) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise error

    digest = hashlib.sha256(b"").hexdigest()
    document = Document(name="a.pdf", content_type="", size=0, sha256=digest, path="", offset=0, length=0)
    with pytest.raises(NeedsPerson, match=r"a\.pdf cannot be read"):
        VerifiedDocument(cast(BinaryIO, Broken()), document).read(10)
