"""The text of a letter: what the mail itself says, and what the mails that are forwarded in it say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from mailbridge.errors import Refused
from mailbridge.page.bidi_controls import CONTROLS
from mailbridge.page.text_page import clean, clean_line
from mailbridge.submission.letter.body import Body
from mailbridge.submission.letter.covering import own_text, says_something
from mailbridge.submission.letter.html_text import text_of_html
from mailbridge.submission.letter.mime import Mail
from mailbridge.submission.letter.mime_headers import Headers
from mailbridge.submission.letter.mime_parameters import decode_words
from mailbridge.submission.letter.rtf import decompress, text_of_rtf
from mailbridge.submission.letter.tnef import Message

# A forwarded mail mostly came with its documents, and was not written for the recipient.
_LEAST_WORDS = 4  # of a forwarded text that becomes a page beside documents


@dataclass(frozen=True)
class LetterText:
    """The text of one mail; `heading` has author, date and subject of a forwarded one, and is empty for the mail itself.

    `written` is the text with the controls of direction, which only a page needs.
    """

    written: str
    heading: str = ""

    def __str__(self) -> str:
        return f"{self.heading}\n\n{self.written}" if self.heading else self.written

    @cached_property
    def text(self) -> str:
        """The text without controls of direction."""
        return CONTROLS.sub("", self.written)

    @cached_property
    def own(self) -> str:
        """The text without what only covers documents."""
        return own_text(self.text)

    def deserves_page(self, *, is_first: bool) -> bool:
        """Return whether the text beside documents says something of its own."""
        return says_something(self.own) and (is_first or len(self.text.split()) >= _LEAST_WORDS)


def read_texts(mail: Mail, body: Body, messages: Iterable[tuple[int, Message]]) -> list[LetterText]:
    """Return the texts that are not blank, in their order.

    `messages` are those in winmail.dat, with the number of the mail that brings it. Their text counts if that mail has no other.
    Raises Refused if it cannot be read.
    """
    return [text for text in _texts(mail, body, list(messages)) if text.text.strip()]


def _texts(mail: Mail, body: Body, messages: list[tuple[int, Message]]) -> Iterator[LetterText]:
    for number, headers in enumerate(mail.all_headers):
        packed = [message for mail_number, message in messages if mail_number == number]
        text = body.texts.get(number, "")
        if not text.strip():
            text = next((text for text in map(_text_of, packed) if text.strip()), "")
        yield LetterText(text, _heading(headers) if number else "")
        for message in packed:
            for inner in _attached_to(message):
                yield LetterText(_text_of(inner), "-" * 20)


def _attached_to(message: Message) -> Iterator[Message]:
    for inner in message.messages:
        yield inner
        yield from _attached_to(inner)


def _text_of(message: Message) -> str:
    text = message.text if message.text.strip() else text_of_html(message.html)
    if not text.strip() and len(message.rtf):
        try:
            text = text_of_rtf(decompress(bytes(message.rtf)))
        except ValueError:
            raise Refused("554 5.6.0 The mail's Rich Text cannot be read; send it as HTML or plain text") from None
    return clean(text, keep_controls=True).strip("\n")


def _heading(headers: Headers) -> str:
    fields = [(name, clean_line(decode_words(headers.text(name))).strip()) for name in ("From", "Date", "Subject")]
    return "\n".join(f"{name}: {value}" for name, value in fields if value) or "-" * 20
