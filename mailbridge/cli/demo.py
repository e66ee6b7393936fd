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


@click.command()
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
    """
    try:
        from mailbridge.demo.tour import tour
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


@click.command()
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
    """Run the MyFax stand-in alone, on loopback.

    It answers all five actions of the API. Set `myfax.url` to the address that it prints. Its password is "demo", or what
    $MAILBRIDGE_SIMULATOR_PASSWORD says.

    \b
    The last two digits of a number choose what becomes of its fax:
      01 busy                   91 takes it and resets the connection
      02 no answer              92 takes it and never answers
      06 wrong number           93 takes it and answers HTTP 500
      07 fails in transfer      94 takes it and answers HTML
      98 never final            99 rejected with code -5
      all others are delivered

    \b
    Requests of its own, beside the API:
      GET  /_control/uploads     what it took, as JSON
      POST /_control/script      {"number": "+972…", "outcome": "busy"}
      POST /_control/incoming    {"time": "2026-01-04 09:00:00", "did": "+972…", "source": "08-9999999", "type": "incoming"}
    """
    try:
        from mailbridge.demo.alone import run
    except ModuleNotFoundError as missing:
        raise _needs(missing) from None

    def tell(words: str, facts: dict[str, object]) -> None:
        click.echo(json.dumps(facts) if as_json else words)

    password = os.environ.get("MAILBRIDGE_SIMULATOR_PASSWORD", "demo")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(tell, port=port, imap_port=imap_port, email=email, password=password, step=step))


def _needs(missing: ModuleNotFoundError) -> click.ClickException:
    return click.ClickException(f"this needs {missing.name}; install it with: pip install 'mailbridge[demo]'")
