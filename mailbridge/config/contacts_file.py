"""Reads `contacts.file`: CSV with a name and a number in each line, as spreadsheets save it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from mailbridge.config.model import Config
from mailbridge.errors import ConfigError

_KEY = "contacts.file"
_HEADING = ["name", "number"]
_RESERVED = "file"
# Excel's "CSV UTF-8" begins with a byte order mark; its plain "CSV" is in the code page of Windows, in Israel 1255.
_ENCODINGS = ("utf-8-sig", "cp1255")


def with_contacts_file(config: Config) -> tuple[Config, list[ConfigError]]:
    """Return the configuration with the contacts of its file added, and the errors of that file."""
    if config.contacts.file is None:
        return config, []
    try:
        contacts, errors = _read(config.contacts.file)
    except ConfigError as error:
        return config, [error]
    for name in contacts.keys() & config.contacts.entries.keys():
        errors.append(ConfigError(f"contacts.{name}", f"is in {config.contacts.file} too", "keep one of them"))
    return config.model_copy(update={"contacts": config.contacts.model_copy(update=contacts)}), errors


def _read(path: Path) -> tuple[dict[str, str], list[ConfigError]]:
    contacts: dict[str, str] = {}
    errors: list[ConfigError] = []
    for line, cells in _lines(path):
        if len(cells) != 2 or not all(cells) or cells[0] == _RESERVED:
            errors.append(_error(f"line {line} of {path} is not a contact", "write it as name,number; file cannot be a name"))
        elif contacts.setdefault(cells[0], cells[1]) != cells[1]:
            errors.append(_error(f"line {line} of {path} has {cells[0]!r} again, with another number", "keep one of them"))
    return contacts, errors


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each line that has any, without the heading and without empty columns at the end."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if cells and [cell.casefold() for cell in cells] != _HEADING:
                yield reader.line_num, cells
    except csv.Error as error:
        raise _error(f"line {reader.line_num} of {path} is not CSV ({error})", "save it as CSV with commas") from None


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        fault = f"{path} cannot be read ({error.strerror})"
        raise _error(fault, "check the path, and that the user mailbridge may read it") from None
    for encoding in _ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise _error(f"{path} is neither UTF-8 nor windows-1255", "save it as CSV UTF-8")


def _error(fault: str, remedy: str) -> ConfigError:
    return ConfigError(_KEY, fault, remedy)
