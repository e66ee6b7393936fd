"""`demo` and `simulator`: the stand-ins, with the daemon between them or alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os

import click

PORT = 2525
# What a shell gives a process that SIGTERM ended.
_TERMINATED = 143


@click.command(epilog="Exit codes: 0 the whole circle came true, 1 it did not, 2 wrong use, 130 ended by Ctrl-C.")
@click.option("--once", is_flag=True, help="End after the first fax; exit 0 only if the whole circle came true.")
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="The SMTP port; 0 takes a free one.",
)
@click.option("--verbose", is_flag=True, help="Show the daemon's log as well.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a step.")
def demo(once: bool, port: int, verbose: bool, as_json: bool) -> int:
    """Watch one fax go round the whole circle on this machine.

    A mail with a PDF goes in by SMTP, a stand-in of MyFax takes it, its report arrives by IMAP, and a signed webhook leaves:
    all on loopback, nothing is installed, and nothing stays behind. Then it waits for your mail client, until Ctrl-C.

    \b
      mailbridge demo --once
      mailbridge demo --port 2600
    """
    try:
        from mailbridge.demo.demo_run import tour
    except ModuleNotFoundError as missing:
        raise _needs(missing) from None

    def say(seconds: float | None, words: str) -> None:
        if as_json:
            click.echo(json.dumps({"seconds": seconds, "step": words}))
        else:
            click.echo(words if seconds is None else f"{seconds:6.2f} s  {words}")

    try:
        return asyncio.run(tour(once, say, "info" if verbose else "error", port))
    except asyncio.CancelledError:
        return _TERMINATED


# click shows what follows \b as it stands.
_STAND_IN = """Run the MyFax stand-in alone, on loopback.

It answers all five actions of the API. Set `myfax.url` to the address that it prints. Its password is "demo", or what
$MAILBRIDGE_SIMULATOR_PASSWORD says.

\b
  mailbridge simulator
  mailbridge simulator --port 0 --imap-port 1143 --step 0.2

\b
The last two digits of a number choose what becomes of its fax; all others are delivered:
  01 busy             busy
  02 no_answer        nobody answers
  06 wrong_number     wrong number
  07 fail             fails in transfer
  98 never_final      stays under way

\b
not taken:
  99 rejected         RESPONSE_CODE -5
  83 redirect         HTTP 302 to another address
  81 reset_in_body    reset while the body is read (surely before its end with 20 MB)

\b
taken, and the answer is lost (then it stays under way):
  91 reset            the connection is reset
  82 close            the connection is closed
  92 hang             no answer, ever
  93 http_500         HTTP 500; by request any http_NNN, of which those below 500 take nothing
  94 html             an HTML page
  95 truncated        XML that is cut off
  96 no_code          no FAX_CODE
  97 dtd              a DTD
  84 endless          an answer without an end

\b
taken, and the answer is ugly:
  85 spaced           blanks in the tags
  86 bom              a BOM
  87 blank_lines      blank lines before it
  88 windows_1255     windows-1255 under a UTF-8 declaration

\b
Requests of its own, beside the API:
  GET  /_control/uploads     the faxes that it took, as JSON
  GET  /_control/lines       the lines that it knows; +97239000000 is there from the start
  POST /_control/script      {"number": "+972…", "outcome": "busy"}
  POST /_control/misbehave   {"fault": "html", "times": 3, "action": "faxStatus.do"}:
                             the next calls of this action, or without one of any
  POST /_control/refuse      {"seconds": 5}: no connection is taken
  POST /_control/incoming    {"time": "2026-01-04 09:00:00", "did": "+972…",
                             "source": "08-9999999", "type": "incoming"} (or "voice")

\b
Errors, beside what a number chooses:
  -1 wrong login or a blocked user         -3 no such fax, line or user
  -2 a parameter is missing or wrong       -4 a number that is not free, or is released already
"""


@click.command(help=_STAND_IN, epilog="Exit codes: 0 ended by Ctrl-C, 1 a port is taken, 2 wrong use.")
@click.option("--port", metavar="N", type=click.IntRange(0, 65535), default=8080, show_default=True, help="The HTTP port.")
@click.option("--imap-port", metavar="N", type=click.IntRange(0, 65535), help="Also be the mailbox that reports are mailed to.")
@click.option("--email", default="office@example.co.il", show_default=True, help="The login it knows.")
@click.option(
    "--step",
    metavar="SECONDS",
    type=click.FloatRange(0.0, 3600.0),
    default=1.0,
    show_default=True,
    help="Time between statuses; three steps end a fax.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each fax.")
def simulator(port: int, imap_port: int | None, email: str, step: float, as_json: bool) -> None:
    """Run the stand-in until Ctrl-C."""
    try:
        from mailbridge.demo.standalone import run
    except ModuleNotFoundError as missing:
        raise _needs(missing) from None

    def tell(words: str, facts: dict[str, object]) -> None:
        click.echo(json.dumps(facts) if as_json else words)

    password = os.environ.get("MAILBRIDGE_SIMULATOR_PASSWORD", "demo")
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run(tell, port=port, imap_port=imap_port, email=email, password=password, step=step))
    except BrokenPipeError:
        raise
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise click.ClickException(f"it cannot listen ({why}); choose a free port with --port or --imap-port") from None


def _needs(missing: ModuleNotFoundError) -> click.ClickException:
    return click.ClickException(f"this needs {missing.name}; in a clone of mailbridge, install it with: pip install '.[demo]'")
