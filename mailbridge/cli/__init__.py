"""The command `mailbridge`. Each subcommand is imported when it is called, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NoReturn

import click

from mailbridge import __version__
from mailbridge.cli.output import harmless
from mailbridge.errors import ConfigError, MailbridgeError, SchemaTooNew, StateLocked

# sysexits.h: EX_CONFIG; and what a shell gives a process that Ctrl-C ended.
EXIT_CONFIG, EXIT_INTERRUPTED = 78, 130

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "serve": ("mailbridge.cli.serve:serve", "Run the daemon."),
    "demo": ("mailbridge.cli.demo:demo", "Watch one fax go all the way round on this machine."),
    "check": ("mailbridge.cli.check:check", "Validate a configuration; --online also tries every login in it."),
    "send": ("mailbridge.cli.send:send", "Hand a fax to the daemon."),
    "queue": ("mailbridge.cli.queue:queue", "List faxes, the newest first."),
    "show": ("mailbridge.cli.queue:show", "Tell what happened to one fax."),
    "cancel": ("mailbridge.cli.actions:cancel", "Cancel a fax that waits."),
    "retry": ("mailbridge.cli.actions:retry", "Send a waiting fax now, or a failed one again."),
    "resolve": ("mailbridge.cli.actions:resolve", "Settle a fax whose upload got no answer: sent, failed or send again."),
    "events": ("mailbridge.cli.events:events", "List events, the newest first."),
    "deliveries": ("mailbridge.cli.events:deliveries", "List deliveries to webhooks, the newest first."),
    "replay": ("mailbridge.cli.actions:replay", "Deliver again the events that were given up."),
    "incoming": ("mailbridge.cli.incoming:incoming", "List received faxes or voicemails at MyFax, and save them."),
    "status": ("mailbridge.cli.status:status", "Ask MyFax about a fax by its FAX_CODE."),
    "line": ("mailbridge.cli.line:line", "Register and release fax lines, as a distributor."),
    "simulator": ("mailbridge.cli.demo:simulator", "Run the MyFax stand-in alone."),
    "migrate": ("mailbridge.cli.serve:migrate", "Migrate the database to this version's schema."),
    "hash-password": ("mailbridge.cli.user:hash_password", "Make the password_hash of an SMTP user."),
}


class LazyGroup(click.Group):
    """Knows its commands by a literal table, and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


_EPILOG = """\b
Examples:
  mailbridge demo --once
  mailbridge check --online
  mailbridge send 03-9876543 contract.pdf --wait
  mailbridge queue --state failed

\b
The configuration is --config FILE, else $MAILBRIDGE_CONFIG, else
/etc/mailbridge/config.toml. Most commands take --json.
Exit codes: 0 done, 1 refused or failed, 2 wrong use, 78 bad configuration,
130 ended by Ctrl-C.
"""


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def mailbridge(ctx: click.Context) -> int | None:
    """Faxes by mail through MyFax: SMTP in, MyFax out, reports by IMAP, webhooks out."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return 2
    return None


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 refused or failed, 2 usage, 78 bad configuration."""
    try:
        status = _run(argv)
        if sys.stdout is not None:  # closed, as by `>&-`
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, say) has had enough; what is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


def _run(argv: Sequence[str] | None) -> int:
    try:
        result = mailbridge.main(list(argv) if argv is not None else None, prog_name="mailbridge", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "mailbridge"
        return _fail(f"{error.format_message().rstrip('.')}; see {where} --help", error.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        known = _known(error)
        if known is None:
            raise
        bad = isinstance(known, ConfigError | StateLocked | SchemaTooNew)
        for one in (known, *getattr(known, "others", ())):
            status = _fail(str(one), EXIT_CONFIG if bad else 1)
        return status


def _known(error: BaseException) -> Exception | None:
    """Return the error that has words for a person: one of ours or of the system, also out of a TaskGroup. None for a bug."""
    if isinstance(error, BaseExceptionGroup):
        found = [known for known in map(_known, error.exceptions) if known is not None]
        return next(iter(sorted(found, key=lambda known: not isinstance(known, MailbridgeError))), None)
    return error if isinstance(error, MailbridgeError | OSError) else None


def _fail(words: str, status: int) -> int:
    click.echo(f"mailbridge: {harmless(' '.join(words.split()))}", err=True)
    return status
