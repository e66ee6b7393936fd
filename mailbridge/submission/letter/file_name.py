"""File names from mails, made safe: readable, never a path, and without tricks of Unicode. Pure."""

from __future__ import annotations

import unicodedata

MAX_NAME = 100  # characters
# Names that Windows reserves, with any extension.
_DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{number}" for port in ("COM", "LPT") for number in range(10)}


def safe_name(raw: str | None, fallback: str) -> str:
    """Return a readable file name of at most 100 characters that keeps the extension of `raw`, or `fallback` if nothing is left.

    Control characters and marks of direction are removed, so that a name shows the extension that it has. A device name of
    Windows gets a leading `_`.
    """
    name = "".join(
        character for character in raw or "" if unicodedata.category(character)[0] != "C" or character == "\t"
    ).replace("\t", " ")
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    name = " ".join("".join("_" if character in '<>:"|?*' else character for character in name).split()).strip(". ")
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > 10:
        stem, dot, extension = name, "", ""
    if (stem.split(".")[0].strip()).upper() in _DEVICES:
        stem = f"_{stem}"
    name = stem[: MAX_NAME - len(dot + extension)].rstrip() + dot + extension
    return name or fallback
