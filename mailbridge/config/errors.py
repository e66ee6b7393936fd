"""Turns what pydantic reports into errors for the person who wrote the file: key, fault and remedy."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from pydantic_core import ErrorDetails

from mailbridge.config.section import Section, is_named, keys, subsection
from mailbridge.errors import ConfigError


def config_error(detail: ErrorDetails, model: type[Section]) -> ConfigError:
    """Return the error for one key, which pydantic reported while it validated a file as `model`."""
    path = [str(part) for part in detail["loc"]]
    key, kind, context = ".".join(path) or "the file", detail["type"], detail.get("ctx", {})
    if kind == "mailbridge":
        return ConfigError(key, context["fault"], context["remedy"])
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(path[:-1], model), n=1)
        return ConfigError(key, "is no known key", f"did you mean {near[0]}?" if near else "remove it")
    if kind == "missing":
        return ConfigError(key, "is missing", f"add {_example(path)}")
    if kind == "model_type" and len(path) == 2:
        section = path[0]
        return ConfigError(key, f"stands in [{section}], and each {section} has a name", f"write [{section}.office] above it")
    fault, remedy = _TYPES.get(kind, (detail["msg"][0].lower() + detail["msg"][1:], "see config.example.toml"))
    return ConfigError(key, fault, remedy)


# pydantic's own messages about types name types of Python.
_TYPES = {
    "tuple_type": ("is not a list", 'write it in brackets, such as ["…"]'),
    "string_type": ("is not text", "put it in quotes"),
    "model_type": ("is not a table", "write its name in brackets on a line of its own, and its keys below"),
    "dict_type": ("is not a table", "write its name in brackets on a line of its own, and its keys below"),
}


def _example(path: list[str]) -> str:
    if path == ["account"]:
        return "a table such as [account.office] with email and password"
    return f'{path[-1]} = "…"' + (f" below [{'.'.join(path[:-1])}]" if path[:-1] else "")


def _known_keys(path: Sequence[str], section: type[Section]) -> list[str]:
    """Return the keys of the table at `path`, which starts in `section`."""
    parts = iter(path)
    for part in parts:
        field = keys(section).get(part)
        inner = None if field is None else subsection(field)
        if field is None or inner is None:
            return []
        if is_named(field):
            next(parts, None)
        section = inner
    return list(keys(section))
