"""`send`: sends a fax through the daemon."""

from __future__ import annotations

import getpass
import mimetypes
import os
import socket
import time
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

import click

from mailbridge.cli.options import EXITS, account_option, config_option, json_option, moment
from mailbridge.cli.output import print_json
from mailbridge.cli.show import reason
from mailbridge.cli.store_query import ask, ask_daemon, find_zone
from mailbridge.errors import ControlError
from mailbridge.lifecycle import FAX_FINAL

# Seconds between queries with --wait, and how long the daemon may be away, as during a restart.
_QUERY_INTERVAL, _RESTART_TIMEOUT = 0.5, 60.0
# Office documents, missing from the MIME types of some systems.
_TYPES = {".docx": "vnd.openxmlformats-officedocument.wordprocessingml.document", ".odt": "vnd.oasis.opendocument.text"}


@click.command(epilog=EXITS)
@click.argument("number")
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", metavar="URL", help="Instead of files: let MyFax fetch the document from this URL.")
@click.option("--subject", default="", help="Subject, shown in `mailbridge queue` and in events.")
@account_option
@click.option("--tag", "tags", metavar="KEY=VALUE", multiple=True, help="Tag for events and usage; may be repeated.")
@click.option("--at", metavar="TIME", help="Send at this time, such as 2026-12-01T09:00.")
@click.option("--wait", is_flag=True, help="Wait for the final state and print each state; exit 0 if delivered, otherwise 1.")
@json_option
@config_option
def send(
    number: str,
    files: tuple[Path, ...],
    url: str | None,
    subject: str,
    account: str | None,
    tags: tuple[str, ...],
    at: str | None,
    wait: bool,
    as_json: bool,
    config_path: Path,
) -> int:
    """Send files as one fax through the daemon, and print its ID.

    \b
      mailbridge send 03-9876543 contract.pdf
      mailbridge send +97239876543 letter.docx annex.tiff --subject "Contract" --wait
      mailbridge send clalit-haifa referral.pdf --tag case=1723 --at 2026-12-01T09:00
      mailbridge send 03-9876543 --url https://www.example.co.il/contract.pdf
    """
    _check(files, url, tags)
    due = moment(at, "--at", find_zone(config_path))
    mail = _mail(number, files, url, subject, account)
    for tag in tags:
        mail["X-Mailbridge-Tag"] = _one_line(tag)
    if due is not None:
        mail["X-Mailbridge-Send-At"] = due.isoformat()
    answer = ask_daemon(config_path, "send", mail.as_bytes(), numbers=[number], sender=_sender())
    fax_id = answer["reply"].split()[4]
    if wait:
        fax = _follow(fax_id, (lambda _: None) if as_json else click.echo, config_path)
    else:
        fax = ask(config_path, "show", id=fax_id)
    if as_json:
        print_json(fax)
    elif not wait:
        click.echo(fax_id)
    return 0 if not wait or fax["state"] == "delivered" else 1


def _check(files: tuple[Path, ...], url: str | None, tags: tuple[str, ...]) -> None:
    if bool(files) == bool(url):
        raise click.UsageError("give either files or --url")
    if url and _one_line(url) != url:
        raise click.UsageError("--url contains spaces or line breaks")
    if any("=" not in tag or not tag.partition("=")[0].strip() for tag in tags):
        raise click.UsageError("write a tag as --tag KEY=VALUE")


def _sender() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())  # a container may have no name for its user
    return f"{user}@{socket.gethostname()}"


def _one_line(text: str) -> str:
    """Return a text for a mail header: in one line, and with `?` for bytes that are not text."""
    return " ".join(text.encode("utf-8", "replace").decode().split())


def _mail(number: str, files: tuple[Path, ...], url: str | None, subject: str, account: str | None) -> EmailMessage:
    """Return the fax as a mail, which the daemon accepts like one from a mail client."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = _sender(), _one_line(number.replace("@", "")), _one_line(subject)
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="mailbridge.invalid")
    mail["X-Mailbridge-Page"] = "never"
    if account is not None:
        mail["X-Mailbridge-Account"] = _one_line(account)
    if url is not None:
        mail.make_mixed()
        mail.attach(_external(url))
        return mail
    mail.set_content("")
    for file in files:
        kind = mimetypes.guess_type(file.name)[0] or f"application/{_TYPES.get(file.suffix.lower(), 'octet-stream')}"
        maintype, _, subtype = kind.partition("/")
        mail.add_attachment(file.read_bytes(), maintype=maintype, subtype=subtype, filename=_one_line(file.name))
    return mail


def _external(url: str) -> EmailMessage:
    """Return a part that refers to a document at a URL (RFC 2017)."""
    part = EmailMessage()
    part["Content-Type"] = "message/external-body"
    part.set_param("access-type", "URL")
    part.set_param("URL", url)
    part.set_payload("Content-Type: application/octet-stream\n\n")
    return part


def _follow(fax_id: str, print_line: Callable[[str], None], config_path: Path) -> dict[str, Any]:
    """Print each new state, and return the fax once it is final or in doubt."""
    state, last_answer = "", time.monotonic()
    while True:
        try:
            fax: dict[str, Any] = ask(config_path, "show", id=fax_id)
        except ControlError:
            # The fax is in the store, so a restart of the daemon does not affect it.
            if time.monotonic() - last_answer >= _RESTART_TIMEOUT:
                raise
            time.sleep(_QUERY_INTERVAL)
            continue
        last_answer = time.monotonic()
        if fax["state"] != state:
            state = fax["state"]
            print_line(f"{fax_id} {state}" + (f": {reason(fax)}" if fax["failure"] else ""))
        if state in (*FAX_FINAL, "in_doubt"):
            return fax
        time.sleep(_QUERY_INTERVAL)
