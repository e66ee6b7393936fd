"""`[route.NAME]`: which received faxes and voicemails are mailed to people or stored in a folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from mailbridge.config.mail_addresses import MailAddresses
from mailbridge.config.section import Section
from mailbridge.config.values import wrong

_NUMBER = re.compile(r"\+?[ ().-]*\d[\d ().-]*", re.ASCII)


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _numbers(value: object) -> object:
    numbers = _one_or_more(value)
    for number in numbers if isinstance(numbers, list | tuple) else ():
        if (
            not isinstance(number, str)
            or not any(sign.isdigit() for sign in number)
            or not set(number) <= set("+0123456789 -().")
        ):
            raise wrong(
                f"{number!r} is neither a number nor the beginning of one", 'write "03-9876543", or a prefix such as "+9723"'
            )
    return numbers


Numbers = Annotated[tuple[str, ...], BeforeValidator(_numbers)]
Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]


class Route(Section):
    """Conditions, all of which must hold, and where a fax that fits goes. Every route that fits is followed."""

    to: Numbers = Field(
        default=(),
        description="Our numbers, or prefixes of them. Default: any.",
        examples=[["03-9876543"]],
    )
    from_: Numbers = Field(
        default=(),
        alias="from",
        description="The caller's number, or a prefix. Default: any, also unknown callers.",
        examples=[["+44"]],
    )
    account: Names = Field(
        default=(),
        description="Accounts that received it. Default: any.",
        examples=[["office"]],
    )
    kind: Literal["fax", "voicemail"] | None = Field(
        default=None,
        description='"fax" or "voicemail". Default: both.',
        examples=["fax"],
    )
    mail: MailAddresses = Field(
        default=(),
        description="Addresses that it is mailed to, each in a mail of its own. Default: none.",
        examples=[["dana@example.co.il"]],
    )
    folder: Path | None = Field(
        default=None,
        description="Directory that its document is stored in; mailbridge must be able to write there. Default: none.",
        examples=["/srv/faxes"],
    )
    untrusted: bool = Field(
        default=False,
        description="Also follow this route for mails that did not pass the mailbox's trust setting.",
    )

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Route:
        if not self.mail and self.folder is None:
            raise wrong("a route needs mail or folder", 'write mail = ["dana@example.co.il"], or folder = "/srv/faxes"')
        if self.folder is not None and not self.folder.is_absolute():
            raise wrong("folder is not an absolute path", 'write it from the root, such as "/srv/faxes"')
        return self
