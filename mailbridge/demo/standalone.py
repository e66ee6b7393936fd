"""The stand-in of MyFax alone, with a mailbox beside it where one is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

from mailbridge.demo.simulator import SimFax, Simulator

Tell = Callable[[str, dict[str, object]], None]


async def run(tell: Tell, *, port: int, imap_port: int | None, email: str, password: str, step: float) -> None:
    """Answer until cancelled. `tell` gets a sentence and its facts, first where it listens and then for each fax.

    `step` is in seconds, see `Simulator`. Raises OSError where a port is taken.
    """
    simulator = Simulator(email=email, password=password, step=step)

    def taken(fax: SimFax) -> None:
        facts: dict[str, object] = {"fax_code": fax.fax_code, "number": fax.number, "outcome": fax.outcome, "files": fax.files}
        with suppress(BrokenPipeError):  # whoever read it has gone, and the faxes go on
            tell(f"takes {fax.subject or 'a URL'} for {fax.number}: {fax.outcome}", facts)

    simulator.on_upload = taken
    async with AsyncExitStack() as stack:
        if imap_port is not None:
            from mailbridge.demo.mailbox import DemoMailbox, report_of

            mailbox = await stack.enter_async_context(DemoMailbox(email, password, imap_port))

            async def report(fax: SimFax) -> None:
                await mailbox.deliver(report_of(fax, email))

            simulator.on_final = report
            tell(f'the mailbox is on 127.0.0.1:{mailbox.port}, tls = "none"', {"imap": f"127.0.0.1:{mailbox.port}"})
        url = await simulator.start(port=port)
        stack.push_async_callback(simulator.stop)
        tell(f'myfax.url = "{url}"', {"url": url})
        await asyncio.Event().wait()
