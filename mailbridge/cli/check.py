"""`check`: validates the configuration and, with `--online`, tests every login in it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailbridge.cli import EXIT_CONFIG
from mailbridge.cli.options import config_option, environment, json_option
from mailbridge.cli.output import plain, print_json

if TYPE_CHECKING:
    from mailbridge.config import Config
    from mailbridge.errors import ConfigError
    from mailbridge.online_check import Check

# The user of the service (systemd/mailbridge.sysusers.conf).
_SERVICE_USER = "mailbridge"


@click.command(epilog="Exit codes: 0 valid, 1 a login, a ping or the database failed, 2 usage error, 78 bad configuration.")
@click.option("--online", is_flag=True, help="Also log in to MyFax, mailboxes and mail relay, and send ping to the webhooks.")
@click.option("--send-to", metavar="ADDRESS", help="With --online: mail a sample notice to this address.")
@click.option("--user", metavar="NAME", help="As root: the service's user, whose access is checked.  [default: mailbridge]")
@json_option
@config_option
def check(online: bool, send_to: str | None, user: str | None, as_json: bool, config_path: Path) -> int:
    """Validate the configuration, and print each error on a line. With store.url, also check the database.

    Errors are also what would stop the service or shut out every client: files that its user cannot read, a certificate that has
    expired or expires within 14 days, logins without TLS. A warning is about a key without the expected effect; it does not
    change the exit code. Run as root, so that all files can be read:

    \b
      mailbridge check --online
      mailbridge check --online --send-to dana@example.co.il
      mailbridge check --config config.toml
    """
    from mailbridge.config import load
    from mailbridge.config.warnings import config_warnings
    from mailbridge.webhook.schemas import EVENTS

    if send_to is not None and not online:
        raise click.UsageError("--send-to requires --online")
    errors = _errors(config_path, user)
    if errors:
        _print({"ok": False, "mistakes": errors, "warnings": [], "checks": []}, as_json, config_path)
        return EXIT_CONFIG
    config = load(config_path, environment(config_path))
    if send_to is not None and config.notice.relay is None:
        raise click.UsageError("--send-to requires notice.relay")
    database, of_database = _database(config)
    checks: list[Check] = [*database]
    if online:
        from mailbridge.cli.asked_tokens import AskedTokens
        from mailbridge.online_check import check_all

        checks += asyncio.run(check_all(config, send_to, partial(AskedTokens, config_path)))
    ok = all(one.ok for one in checks)
    warnings = [*config_warnings(config, EVENTS), *of_database, *_kernel_warnings()]
    _print({"ok": ok, "mistakes": [], "warnings": warnings, "checks": checks}, as_json, config_path)
    return 0 if ok else 1


def _errors(config_path: Path, user: str | None) -> list[ConfigError]:
    """Return what is wrong with the file, otherwise what would stop the service or shut out every client."""
    from mailbridge.config import load, problems
    from mailbridge.config.warnings import login_errors

    environ = environment(config_path)
    errors = problems(config_path, environ)
    if errors:
        return list(errors)
    config = load(config_path, environ)
    # Clients of these networks need no login.
    trusting = any(one.networks for one in config.users.values())
    return [*_service_errors(config_path, config, user), *(() if trusting else login_errors(config))]


def _service_errors(config_path: Path, config: Config, user: str | None) -> list[ConfigError]:
    from mailbridge.config.loader import parse
    from mailbridge.config.service import access_errors, expiry_errors

    errors = expiry_errors(config, datetime.now(UTC))
    if os.geteuid() != 0:
        return errors
    try:
        return [*access_errors(config_path, parse(config_path), config, user or _SERVICE_USER), *errors]
    except KeyError:
        if user is not None:
            raise click.UsageError(f"there is no user {user}") from None
        return errors  # nothing is installed here


def _database(config: Config) -> tuple[list[Check], list[ConfigError]]:
    """Check the PostgreSQL database, if there is one: the results, and warnings."""
    if config.store.url is None:
        return [], []
    from mailbridge.online_check import Check
    from mailbridge.stores import check_database

    found = check_database(config)
    assert found is not None
    failed = [Check("store", False, fault) for fault in found.faults]
    return failed or [Check("store", True, found.server)], list(found.warnings)


def _kernel_warnings() -> list[ConfigError]:
    """Return a warning for each part of the sandbox that this kernel lacks."""
    from mailbridge.errors import ConfigError
    from mailbridge.submission.sandbox import missing_parts

    remedy = "use Linux 5.13 or later, and a container that allows it; mails are read with less protection until then"
    return [ConfigError("sandbox", f"this machine's kernel lacks {part}", remedy) for part in missing_parts()]


def _print(result: dict[str, Any], as_json: bool, config_path: Path) -> None:
    if as_json:
        errors = {part: [_payload(one) for one in result[part]] for part in ("mistakes", "warnings")}
        print_json({"ok": result["ok"], **errors, "checks": [asdict(one) for one in result["checks"]]})
        return
    for one in result["mistakes"]:
        click.echo(f"mailbridge: {plain(str(one))}", err=True)
    for one in result["warnings"]:
        click.echo(f"mailbridge: warning: {plain(str(one))}", err=True)
    for one in result["checks"]:
        click.echo(f"{'ok    ' if one.ok else 'FAILED'}  {one.part}: {plain(one.words)}")
    if result["ok"] and not result["checks"]:
        click.echo(f"{config_path} is valid")


def _payload(error: ConfigError) -> dict[str, str]:
    return {"key": error.key, "fault": error.fault, "remedy": error.remedy}
