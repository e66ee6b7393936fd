"""What pydantic found wrong with a configuration, in words for the person who wrote it: key, fault and remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from mailbridge.errors import ConfigError


def mistake(detail: ErrorDetails, model: type[BaseModel]) -> ConfigError:
    """Return what is wrong with one key, which pydantic found when it read a file into `model`."""
    path = [str(part) for part in detail["loc"]]
    key, kind, context = ".".join(path) or "the file", detail["type"], detail.get("ctx", {})
    if kind == "mailbridge":
        return ConfigError(key, context["fault"], context["remedy"])
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _names_beside(path, model), n=1)
        return ConfigError(key, "is no known key", f"did you mean {near[0]}?" if near else "remove it")
    if kind == "missing":
        return ConfigError(key, "is missing", f"add {_example(path)}")
    if kind == "model_type" and len(path) == 2:
        section = path[0]
        return ConfigError(key, f"stands in [{section}], and each {section} has a name", f"write [{section}.office] above it")
    fault, remedy = _TYPES.get(kind, (detail["msg"][0].lower() + detail["msg"][1:], "see config.example.toml"))
    return ConfigError(key, fault, remedy)


# pydantic's words for a wrong type speak of Python.
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


def _names_beside(path: Iterable[str], model: Any) -> list[str]:
    """Return the keys that are known where the last part of `path` stands, from the top of `model`."""
    *above, _ = path
    for part in above:
        fields = (
            {field.alias or name: field.annotation for name, field in model.model_fields.items()} if _is_section(model) else {}
        )
        model = fields.get(part, _value_of(model))
    model = model if _is_section(model) else next((arg for arg in getattr(model, "__args__", ()) if _is_section(arg)), None)
    return [field.alias or name for name, field in model.model_fields.items()] if model is not None else []


def _is_section(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


def _value_of(model: Any) -> Any:
    """Return the section of a `dict[str, Section]`, whatever the entry's name is."""
    arguments: tuple[Any, ...] = getattr(model, "__args__", ())
    return arguments[1] if len(arguments) == 2 else None
