"""What a confirmation says, without how it is set. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationText:
    """`rows` are labels and values, `documents` name, size and digest of each, `remarks` what a reader must know."""

    title: str
    rows: tuple[tuple[str, str], ...]
    documents: tuple[tuple[str, str, str], ...] = ()
    remarks: tuple[str, ...] = ()
