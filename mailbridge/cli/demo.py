"""`demo` and `simulator`: the MyFax simulator, with a whole setup around it or alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import click

SMTP_PORT = 2525
# The status that shells report after SIGTERM (128 + 15).
_TERMINATED = 143
_PORT = click.IntRange(0, 65535)


@click.command(epilog="Exit codes: 0 the demo succeeded, 1 it failed, 2 usage error, 130 stopped by Ctrl-C.")
@click.option("--once", is_flag=True, help="Stop after the first fax; exit 0 only if every step succeeded.")
@click.option("--port", metavar="N", type=_PORT, default=SMTP_PORT, show_default=True, help="SMTP port; 0 for any free port.")
@click.option("--verbose", is_flag=True, help="Also show the log of the daemon.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each step.")
def demo(once: bool, port: int, verbose: bool, as_json: bool) -> int:
    """Send a fax through a complete setup on this machine.

    A mail with a PDF is sent by SMTP, a MyFax simulator accepts the fax, its report arrives by IMAP, a signed webhook is
    delivered, and the sender gets a notice with a confirmation. Everything runs on loopback, installs nothing and is removed at
    the end. The demo then keeps running, so that you can connect your own mail client, until Ctrl-C.

    \b
      mailbridge demo --once
      mailbridge demo --port 2600
    """
    try:
        from mailbridge.demo.demo_run import run_demo
    except ModuleNotFoundError as error:
        raise _missing(error) from None

    def print_step(seconds: float | None, step: str) -> None:
        if as_json:
            click.echo(json.dumps({"seconds": seconds, "step": step}))
        else:
            click.echo(step if seconds is None else f"{seconds:6.2f} s  {step}")

    try:
        return asyncio.run(run_demo(once, print_step, "info" if verbose else "error", port))
    except asyncio.CancelledError:
        return _TERMINATED


# click prints a paragraph after \b as it is.
_SIMULATOR_HELP = """Run the MyFax simulator, on loopback.

It implements all five actions of the API. Set `myfax.url` to the URL that it prints. The password is "demo", or the value of
$MAILBRIDGE_SIMULATOR_PASSWORD.

\b
  mailbridge simulator
  mailbridge simulator --port 0 --imap-port 1143 --step 0.2

\b
The last two digits of the number select the outcome; all other faxes are
delivered:
  01 busy             busy
  02 no_answer        no answer
  06 wrong_number     wrong number
  07 fail             transfer fails
  98 never_final      never final

\b
Not accepted:
  99 rejected         RESPONSE_CODE -5
  83 redirect         HTTP 302 to another URL
  81 reset_in_body    connection reset during the request (with 20 MB or more,
                      certainly before its end)

\b
Accepted, but the answer is lost; the fax is never final:
  91 reset            connection reset
  82 close            connection closed
  92 hang             no answer
  93 http_500         HTTP 500 (on request any http_NNN; below 500 the fax is not
                      accepted)
  94 html             HTML page
  95 truncated        incomplete XML
  96 no_code          no FAX_CODE
  97 dtd              document type declaration
  84 endless          endless answer

\b
Accepted, with an unusual answer:
  85 spaced           spaces in the tags
  86 bom              byte order mark
  87 blank_lines      leading blank lines
  88 windows_1255     windows-1255, declared as UTF-8

\b
Control requests, beside the API:
  GET  /_control/uploads     accepted faxes, as JSON
  GET  /_control/lines       registered lines; +97239000000 exists from the start
  POST /_control/script      {"number": "+972…", "outcome": "busy"}
  POST /_control/misbehave   {"fault": "html", "times": 3, "action": "faxStatus.do"}:
                             the next calls of this action; without it, of any
  POST /_control/refuse      {"seconds": 5}: no connections are accepted
  POST /_control/incoming    {"time": "2026-01-04 09:00:00", "did": "+972…",
                             "source": "08-9999999", "type": "incoming"} (or "voice")

\b
Other RESPONSE_CODEs:
  -1 wrong login or blocked user             -3 unknown fax, line or user
  -2 missing or invalid parameter            -4 number not free, or already released
"""


@click.command(help=_SIMULATOR_HELP, epilog="Exit codes: 0 stopped by Ctrl-C, 1 port in use, 2 usage error.")
@click.option("--port", metavar="N", type=_PORT, default=8080, show_default=True, help="HTTP port; 0 for any free port.")
@click.option("--imap-port", metavar="N", type=_PORT, help="Also run an IMAP server with the mailbox for reports.")
@click.option("--email", default="office@example.co.il", show_default=True, help="Login of the account.")
@click.option(
    "--step",
    metavar="SECONDS",
    type=click.FloatRange(0.0, 3600.0),
    default=1.0,
    show_default=True,
    help="Time between status changes; the third is final.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each fax.")
def simulator(port: int, imap_port: int | None, email: str, step: float, as_json: bool) -> None:
    """Run the simulator until Ctrl-C."""
    # The mailbox is started later.
    _check_extra(*(["pymap"] if imap_port is not None else []))
    try:
        from mailbridge.demo.standalone import run
    except ModuleNotFoundError as error:
        raise _missing(error) from None

    def print_event(text: str, facts: dict[str, object]) -> None:
        click.echo(json.dumps(facts) if as_json else text)

    password = os.environ.get("MAILBRIDGE_SIMULATOR_PASSWORD", "demo")
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run(print_event, port=port, imap_port=imap_port, email=email, password=password, step=step))
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise click.ClickException(f"cannot listen ({reason}); choose a free port with --port or --imap-port") from None


def _missing(error: ModuleNotFoundError) -> click.ClickException:
    pip = Path(sys.prefix) / "bin" / "pip"
    return click.ClickException(
        f"{error.name} is not installed: it is part of the extra demo; in a clone of mailbridge, run: {pip} install '.[demo]'"
    )


def _check_extra(*names: str) -> None:
    """Check that the packages of the extra `demo` are there. Raises ClickException."""
    for name in names:
        if find_spec(name) is None:
            raise _missing(ModuleNotFoundError(name=name))
