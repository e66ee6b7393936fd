"""`ping`: a test event to one webhook or to all."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailbridge.cli.options import EXITS, config_option, environment, json_option
from mailbridge.cli.output import plain, print_json

if TYPE_CHECKING:
    from mailbridge.config import Webhook


@click.command(epilog=EXITS)
@click.argument("name", metavar="[WEBHOOK]", required=False)
@click.option("--type", "type_", metavar="TYPE", default="ping", show_default=True, help="Send a sample of this type of event.")
@json_option
@config_option
def ping(name: str | None, type_: str, as_json: bool, config_path: Path) -> int:
    """Send a test event to a webhook, or to all, and print what each receiver answers.

    It is sent from this command, signed as a real event, whatever the webhook's patterns and filters are. The data of a sample
    has "test": true. Nothing is stored or tried again. The daemon need not run.

    \b
      mailbridge ping
      mailbridge ping crm --type fax.failed
    """
    from mailbridge.config import load
    from mailbridge.webhook.schemas import EVENTS

    webhooks = load(config_path, environment(config_path)).webhooks
    if type_ not in EVENTS:
        raise click.UsageError(f"unknown event type {type_!r}; use one of {', '.join(EVENTS)}")
    if name is not None and name not in webhooks:
        raise click.UsageError(f"unknown webhook {name!r}; use one of {', '.join(webhooks) or 'none: the file has no webhook'}")
    if not webhooks:
        raise click.ClickException("the configuration has no [webhook.NAME]")
    chosen = webhooks if name is None else {name: webhooks[name]}
    answers = asyncio.run(_send(chosen, type_))
    if as_json:
        print_json(answers)
    for one in () if as_json else answers:
        result = f"failed: {plain(one['error'])}" if one["error"] else f"ok, HTTP {one['status']}"
        click.echo(f"{one['webhook']}: {type_} {result}, {one['milliseconds']} ms")
        if one["error"] and one["answer"]:
            click.echo(f"  {plain(one['answer'])}")
    return 1 if any(one["error"] for one in answers) else 0


async def _send(webhooks: dict[str, Webhook], type_: str) -> list[dict[str, Any]]:
    from mailbridge.webhook.ping import ping

    async def one(name: str, webhook: Webhook) -> dict[str, Any]:
        event, result = await ping(name, webhook, lambda: datetime.now(UTC), type_)
        facts = {"status": result.status, "error": result.error, "milliseconds": result.milliseconds, "answer": result.answer}
        return {"webhook": name, "event_id": event.id, "type": type_, "ok": result.error is None, **facts}

    return list(await asyncio.gather(*(one(name, webhook) for name, webhook in webhooks.items())))
