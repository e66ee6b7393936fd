"""`[store]` and `[node]`: where faxes and events are kept, and what this daemon is called among those that share a database."""

from __future__ import annotations

import re
import socket
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from mailbridge.config.section import Section
from mailbridge.config.values import wrong

# As libpq reads it: `where` may have several hosts, also addresses of IPv6 in brackets.
_URL = re.compile(r"(?P<scheme>[a-z]+)://(?P<where>[^/?]*)(?P<path>[^?]*)(?P<query>.*)")


def _database_url(value: object) -> object:
    """Check what can be said about a URL without its server. No message repeats it: it may contain a password."""
    if value == "":
        raise wrong("is empty", "set it, or check the file or variable that it comes from")
    if not isinstance(value, str):
        return value
    remedy = "write postgresql://USER@HOST/DATABASE"
    parts = _URL.fullmatch(value)
    if parts is None or parts["scheme"] not in ("postgresql", "postgres"):
        raise wrong("is not the URL of a PostgreSQL database", f"{remedy}, or remove it to keep faxes in SQLite in state_dir")
    # Behind such an @, or after a / or ? in a password, libpq would look for a host, and name it in its errors.
    user = parts["where"].rpartition("@")[0]
    if "@" in user + parts["path"] + parts["query"] or "#" in value:
        special = "write @ as %40, : as %3A, / as %2F, ? as %3F and # as %23"
        raise wrong("has a user or password with a special character", special)
    if not parts["path"].strip("/") and not re.search("(^|[?&])(dbname|service)=", parts["query"]):
        raise wrong("names no database", remedy)
    return value


# Not in errors or logs: it may contain a password.
DatabaseUrl = Annotated[SecretStr, BeforeValidator(_database_url)]


class StoreOptions(Section):
    """Options of the database."""

    url: DatabaseUrl | None = Field(
        default=None,
        description=(
            "URL of a PostgreSQL database (14 or newer), which several daemons may share. It needs pip install "
            "'mailbridge[postgres]' and mailbridge migrate. With a password, write { credential = NAME } for the whole URL, or "
            "keep the password in ~/.pgpass. It may name a server and its standby: "
            "postgresql://USER@db1,db2/DATABASE?target_session_attrs=read-write. Default: SQLite in state_dir."
        ),
        examples=["postgresql://mailbridge@db.example.co.il/mailbridge"],
    )
    listen_url: DatabaseUrl | None = Field(
        default=None,
        description=(
            "URL for notifications, if store.url leads to a pool such as PgBouncer, which passes none on: the server itself. "
            "Default: store.url."
        ),
        examples=["postgresql://mailbridge@db.example.co.il:5432/mailbridge"],
    )
    unsafe: bool = Field(
        default=False,
        description=(
            "Accept a PostgreSQL server with fsync, full_page_writes or synchronous_commit off. It loses faxes in a crash, or "
            "sends them twice. For tests only."
        ),
    )

    @model_validator(mode="after")
    def _together(self) -> StoreOptions:
        if self.url is None and self.listen_url is not None:
            raise wrong("listen_url needs url", "set url, or remove listen_url")
        return self


class Node(Section):
    """What this daemon is called where several share a PostgreSQL database."""

    name: str = Field(
        default_factory=socket.gethostname,
        min_length=1,
        max_length=100,
        description="Name of this daemon in mailbridge nodes and in the console. Default: the machine's host name.",
        examples=["fax-a"],
    )
