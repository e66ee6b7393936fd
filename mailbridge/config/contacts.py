"""`[contacts]`: names that stand for fax numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from mailbridge.config.section import Section
from mailbridge.config.values import wrong


def _entry(value: object) -> object:
    if isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)):
        return value
    raise wrong("is neither a number nor a list of names", 'write "03-9876543", or a list such as ["leumi", "hapoalim"]')


Entry = Annotated[str | tuple[str, ...], BeforeValidator(_entry)]


class Contacts(Section):
    """Every key but `file` is a contact: a name, and its number or a list of other names."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Entry] = Field(init=False)

    file: Path | None = Field(
        default=None,
        description="CSV file of more contacts, with name,number in each line; UTF-8 or windows-1255. Default: none.",
        examples=["/etc/mailbridge/contacts.csv"],
    )

    @property
    def entries(self) -> Mapping[str, str | tuple[str, ...]]:
        """The contacts by name, as they are written."""
        return self.__pydantic_extra__
