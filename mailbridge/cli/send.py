"""`send`: hand a fax to the daemon."""

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

from mailbridge.cli.options import EXITS, config_option, json_option
from mailbridge.cli.output import print_json
from mailbridge.cli.queue import reason
from mailbridge.cli.store_query import ask, ask_daemon
from mailbridge.errors import ControlError
from mailbridge.lifecycle import FAX_FINAL

_LOOK_EVERY = 0.5
# Seconds without an answer while a daemon that was stopped starts again.
_PATIENCE = 60.0
# Office documents, which Python's own table lacks on some systems.
_TYPES = {".docx": "vnd.openxmlformats-officedocument.wordprocessingml.document", ".odt": "vnd.oasis.opendocument.text"}


@click.command(epilog=EXITS)
@click.argument("number")
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", metavar="URL", help="Let MyFax fetch the document from there; then without files.")
@click.option("--subject", default="", help="What it is called in `queue` and in events.")
@click.option("--account", metavar="NAME", help="The account to send by.  [default: the first]")
@click.option("--wait", is_flag=True, help="Wait until it is final and show each step: exit 0 when it was delivered, else 1.")
@json_option
@config_option
def send(
    number: str,
    files: tuple[Path, ...],
    url: str | None,
    subject: str,
    account: str | None,
    wait: bool,
    as_json: bool,
    config_path: Path,
) -> int:
    """Hand a fax to the running daemon: the files, as one fax, to a number. Its id is printed.

    \b
      mailbridge send 03-9876543 contract.pdf
      mailbridge send +97239876543 letter.docx annex.tiff --subject "Contract" --wait
      mailbridge send clalit-haifa referral.pdf
      mailbridge send 03-9876543 --url https://www.example.co.il/contract.pdf
    """
    if bool(files) == bool(url):
        raise click.UsageError("give files or --url, and not both")
    if url and _one_line(url) != url:
        raise click.UsageError("--url holds blanks or line breaks that no URL has")
    mail = _mail(number, files, url, subject, account)
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


def _sender() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())  # in a container a user may have no name
    return f"{user}@{socket.gethostname()}"


def _one_line(text: str) -> str:
    """Return what a mail's header can hold: in one line, with a mark where the shell gave bytes that are no text."""
    return " ".join(text.encode("utf-8", "replace").decode().split())


def _mail(number: str, files: tuple[Path, ...], url: str | None, subject: str, account: str | None) -> EmailMessage:
    """The fax as a mail, which the daemon takes as if a mail client had sent it."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = _sender(), _one_line(number.replace("@", "")), _one_line(subject)
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="mailbridge.invalid")
    mail["X-Mailbridge-Page"] = "never"
    if account is not None:
        mail["X-Mailbridge-Account"] = _one_line(account)
    if url is not None:
        mail.make_mixed()
        mail.attach(_elsewhere(url))
        return mail
    mail.set_content("")
    for file in files:
        kind = mimetypes.guess_type(file.name)[0] or f"application/{_TYPES.get(file.suffix.lower(), 'octet-stream')}"
        maintype, _, subtype = kind.partition("/")
        mail.add_attachment(file.read_bytes(), maintype=maintype, subtype=subtype, filename=_one_line(file.name))
    return mail


def _elsewhere(url: str) -> EmailMessage:
    """A document that MyFax fetches by itself (RFC 2017)."""
    part = EmailMessage()
    part["Content-Type"] = "message/external-body"
    part.set_param("access-type", "URL")
    part.set_param("URL", url)
    part.set_payload("Content-Type: application/octet-stream\n\n")
    return part


def _follow(fax_id: str, say: Callable[[str], None], config_path: Path) -> dict[str, Any]:
    """Tell each new state, and return the fax when it is final, or when only a person can help it on."""
    told, heard = "", time.monotonic()
    while True:
        try:
            fax: dict[str, Any] = ask(config_path, "show", id=fax_id)
        except ControlError:
            # The fax is in the store, whatever becomes of the daemon.
            if time.monotonic() - heard >= _PATIENCE:
                raise
            time.sleep(_LOOK_EVERY)
            continue
        heard = time.monotonic()
        if fax["state"] != told:
            told = fax["state"]
            say(f"{fax_id} {told}" + (f": {reason(fax)}" if fax["failure"] else ""))
        if told in (*FAX_FINAL, "in_doubt"):
            return fax
        time.sleep(_LOOK_EVERY)
