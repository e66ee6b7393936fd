"""The MyFax simulator as a program of its own, with or without a mailbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

from mailbridge.demo.simulator import SimFax, Simulator

Report = Callable[[str, dict[str, object]], None]


async def run(report: Report, *, port: int, imap_port: int | None, email: str, password: str, step: float) -> None:
    """Serve until cancelled. `report` gets a line of text and the same as JSON fields: first the addresses, then each fax.

    `step` is in seconds, see `Actions`. Raises OSError if a port is in use.
    """
    simulator = Simulator(email=email, password=password, step=step)

    def report_upload(fax: SimFax) -> None:
        facts: dict[str, object] = {"fax_code": fax.fax_code, "number": fax.number, "outcome": fax.outcome, "files": fax.files}
        with suppress(BrokenPipeError):  # the reader has gone; the simulator continues
            report(f"received {fax.subject or 'a URL'} for {fax.number}: {fax.outcome}", facts)

    simulator.on_upload = report_upload
    async with AsyncExitStack() as stack:
        if imap_port is not None:
            from mailbridge.demo.mailbox import DemoMailbox, report_of

            mailbox = await stack.enter_async_context(DemoMailbox(email, password, imap_port))

            async def mail_report(fax: SimFax) -> None:
                await mailbox.deliver(report_of(fax, email))

            simulator.on_final = mail_report
            report(f'IMAP server on 127.0.0.1:{mailbox.port}, tls = "none"', {"imap": f"127.0.0.1:{mailbox.port}"})
        url = await simulator.start(port=port)
        stack.push_async_callback(simulator.stop)
        report(f'myfax.url = "{url}"', {"url": url})
        await asyncio.Event().wait()
