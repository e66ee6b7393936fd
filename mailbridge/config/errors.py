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
        return ConfigError(key, "unknown key", f"did you mean {near[0]}?" if near else "remove it")
    if kind in ("missing", "too_short"):
        return ConfigError(key, f"is {'missing' if kind == 'missing' else 'empty'}", f"add {_example(path)}")
    if kind == "model_type" and len(path) == 2 and is_named(keys(model)[path[0]]):
        section = path[0]
        return ConfigError(key, f"is in [{section}], but each {section} needs a name", f"write [{section}.office] above it")
    if kind == "literal_error":
        return ConfigError(key, f"{detail['input']!r} is not valid", f"write {context['expected']}".replace("'", '"'))
    fault, remedy = _FAULTS.get(kind, (detail["msg"][0].lower() + detail["msg"][1:], "see config.example.toml"))
    return ConfigError(key, fault.format(**context), remedy)


# pydantic's own messages name types of Python. {ge} and {le} are the limits that it reports.
_FAULTS = {
    "greater_than_equal": ("must be at least {ge}", "write a larger number"),
    "less_than_equal": ("must be at most {le}", "write a smaller number"),
    "int_type": ("is not a whole number", "write digits without quotes"),
    "int_parsing": ("is not a whole number", "write digits without quotes"),
    "int_from_float": ("is not a whole number", "write digits without quotes"),
    "bool_type": ("is not true or false", "write true or false without quotes"),
    "bool_parsing": ("is not true or false", "write true or false without quotes"),
    "tuple_type": ("is not a list", 'write it in brackets, such as ["…"]'),
    "string_type": ("is not a string", "put it in quotes"),
    "model_type": ("is not a table", "write its name in brackets on a separate line, with its keys below"),
    "dict_type": ("is not a table", "write its name in brackets on a separate line, with its keys below"),
}


def _example(path: list[str]) -> str:
    if path == ["account"]:
        return "a table such as [account.office] with email and password"
    return f'{path[-1]} = "…"' + (f" to [{'.'.join(path[:-1])}]" if path[:-1] else "")


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
