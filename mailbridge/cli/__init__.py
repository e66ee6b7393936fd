"""The command `mailbridge`. A subcommand is imported when it is called, so that `--help` is fast."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NoReturn

import click

from mailbridge import __version__
from mailbridge.cli.output import printable
from mailbridge.errors import ConfigError, MailbridgeError, RestoreUnfinished, SchemaTooNew, StateLocked, StateMoved

# EX_CONFIG of sysexits.h, and the status that shells report after Ctrl-C (128 + SIGINT).
EXIT_CONFIG, EXIT_INTERRUPTED = 78, 130

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "serve": ("mailbridge.cli.serve:serve", "Run the daemon."),
    "reload": ("mailbridge.cli.serve:reload", "Let the daemon read its configuration again."),
    "demo": ("mailbridge.cli.demo:demo", "Send a fax through a complete setup on this machine."),
    "check": ("mailbridge.cli.check:check", "Validate the configuration; --online tests its logins."),
    "send": ("mailbridge.cli.send:send", "Send a fax through the daemon."),
    "queue": ("mailbridge.cli.queue:queue", "List faxes, newest first."),
    "show": ("mailbridge.cli.show:show", "Show the history of a fax."),
    "cancel": ("mailbridge.cli.actions:cancel", "Cancel a waiting fax."),
    "retry": ("mailbridge.cli.actions:retry", "Send a waiting fax now, or a failed fax again."),
    "resolve": ("mailbridge.cli.actions:resolve", "Settle a fax in doubt: sent, failed, or send again."),
    "hold": ("mailbridge.cli.hold:hold", "Stop sending faxes; mail is still accepted."),
    "resume": ("mailbridge.cli.hold:resume", "Send again what was held."),
    "usage": ("mailbridge.cli.usage:usage", "Count the faxes of a month, and what they cost."),
    "events": ("mailbridge.cli.events:events", "List events, newest first."),
    "deliveries": ("mailbridge.cli.events:deliveries", "List deliveries to webhooks, newest first."),
    "ping": ("mailbridge.cli.ping:ping", "Send a test event to webhooks."),
    "replay": ("mailbridge.cli.actions:replay", "Deliver dead deliveries again."),
    "backup": ("mailbridge.cli.backup:backup", "Copy the state to a directory, also while the daemon works."),
    "verify": ("mailbridge.cli.backup:verify", "Verify a backup."),
    "restore": ("mailbridge.cli.backup:restore", "Restore a backup into an empty state directory."),
    "incoming": ("mailbridge.cli.incoming:incoming", "List or download received faxes and voicemails at MyFax."),
    "status": ("mailbridge.cli.status:status", "Query the status of a fax at MyFax."),
    "line": ("mailbridge.cli.line:line", "Register or release a fax line, as a distributor."),
    "simulator": ("mailbridge.cli.demo:simulator", "Run the MyFax simulator."),
    "nodes": ("mailbridge.cli.nodes:nodes", "List the daemons that share a PostgreSQL database."),
    "migrate": ("mailbridge.cli.serve:migrate", "Create the tables in PostgreSQL, or migrate a database to this version."),
    "import": ("mailbridge.cli.import_state:import_", "Move what a state directory has from SQLite to PostgreSQL."),
    "files": ("mailbridge.cli.files:files", "Write the systemd units, shell completion or the man page."),
    "help": ("mailbridge.cli.help:help_", "Show the help page of a command."),
    "user": ("mailbridge.cli.user:user", "List the users who may send and use the console."),
    "hash-password": ("mailbridge.cli.user:hash_password", "Hash the password of an SMTP user."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is called."""

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
The configuration is --config FILE, otherwise $MAILBRIDGE_CONFIG, otherwise
/etc/mailbridge/config.toml. Most commands have --json.
Exit codes: 0 done, 1 refused or failed, 2 usage error, 78 bad configuration,
130 stopped by Ctrl-C.
"""


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.pass_context
def mailbridge(ctx: click.Context) -> int | None:
    """Email gateway for the fax service MyFax: faxes in by SMTP, reports by IMAP, events by webhook."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return 2
    return None


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 refused or failed, 2 usage error, 78 bad configuration."""
    try:
        status = _run(argv)
        if sys.stdout is not None:  # None if it was closed by `>&-`
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as head, has closed the pipe. Python must not flush the rest of the buffer at exit.
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
        expected = _expected(error)
        if expected is None:
            raise
        to_correct = ConfigError | StateLocked | RestoreUnfinished | SchemaTooNew | StateMoved
        status = EXIT_CONFIG if isinstance(expected, to_correct) else 1
        for one in (expected, *getattr(expected, "others", ())):
            _fail(str(one), status)
        return status


def _expected(error: BaseException) -> Exception | None:
    """Return the error to show, one of mailbridge or of the system, also out of an exception group. None for a bug."""
    if isinstance(error, BaseExceptionGroup):
        found = [expected for expected in map(_expected, error.exceptions) if expected is not None]
        return next(iter(sorted(found, key=lambda expected: not isinstance(expected, MailbridgeError))), None)
    return error if isinstance(error, MailbridgeError | OSError) else None


def _fail(message: str, status: int) -> int:
    # In systemd's journal it has the priority of an error. Not by importing `log`, which takes a tenth of a second.
    priority = "<3>" if _is_journal() else ""
    click.echo(f"{priority}mailbridge: {printable(' '.join(message.split()))}", err=True)
    return status


def _is_journal() -> bool:
    if "JOURNAL_STREAM" not in os.environ:
        return False
    from mailbridge.log import is_journal

    return is_journal(os.environ)
