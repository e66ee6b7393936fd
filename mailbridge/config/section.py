"""The base class of every section, and how to walk a model from section to section."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A table of the configuration: immutable, and unknown keys are errors.

    The description of a field is the help of its key in `config.example.toml`. A field without a literal default has an example.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def keys(section: type[Section]) -> dict[str, FieldInfo]:
    """Return the fields of a section by their keys in the file."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def subsection(field: FieldInfo) -> type[Section] | None:
    """Return the section that a field of type `S`, `S | None` or `dict[str, S]` holds; None for a plain value."""
    options = (field.annotation, *get_args(field.annotation))
    return next((one for one in options if isinstance(one, type) and issubclass(one, Section)), None)


def is_named(field: FieldInfo) -> bool:
    """Whether a field holds several tables by name, as `[account.NAME]` does."""
    return get_origin(field.annotation) is dict and subsection(field) is not None


def default_of(field: FieldInfo) -> Any:
    """Return the literal default of a field, None where it is computed or missing."""
    return None if field.is_required() or field.default_factory is not None else field.default
