"""Where in a text its pictures stand: between the sentences of the sender, or in a signature, as logos do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mailbridge.submission.letter.covering import ends_in_signature, start_of_quotation
from mailbridge.submission.letter.html_text import MARK

_MOST_BEFORE = 5000  # characters above a picture that are looked at


@dataclass(frozen=True, slots=True)
class Places:
    """The Content-IDs of the pictures between the sender's own sentences, and of those in signatures; others are in neither."""

    in_letter: set[str] = field(default_factory=set)
    in_signature: set[str] = field(default_factory=set)


def places_of_pictures(text: str, cids: Sequence[str]) -> Places:
    """Return where pictures stand. `text` has a mark for each of `cids` (see `html_text`)."""
    places = Places()
    marks = list(MARK.finditer(text))
    quoted = start_of_quotation(text) if marks else 0
    for mark, cid in zip(marks, cids, strict=False):
        above = MARK.sub("", text[max(0, mark.start() - _MOST_BEFORE) : mark.start()])
        if ends_in_signature(above):
            places.in_signature.add(cid)
        elif mark.start() < quoted and above.strip():  # what stands above all text is the banner of an office
            places.in_letter.add(cid)
    return places
