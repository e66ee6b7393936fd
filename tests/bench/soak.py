"""Soak: the whole daemon under load, from mails at the highest rate to the MyFax simulator, reports by IMAP and webhooks.

Prints faxes per second from the first mail to the last webhook, the milliseconds of processor time that the daemon and its
children take for a fax, the daemon's peak memory, and whether every number is exactly once in the 250s, the uploads, the store
and the webhooks. Exits with 1 if one was lost or doubled. The simulator, the mailbox and the receiver run on the same machine and
take their share of its time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.bench.mails import MailKind, with_pdf
from tests.bench.process import cpu_seconds
from tests.bench.smtp_client import SmtpClient
from tests.e2e.environment import Environment

_PATIENCE = 1800.0
_MOST = 10_000
_EVENTS = ("fax.queued", "fax.submitted", "fax.delivered")


def numbers(count: int) -> list[str]:
    """Return distinct numbers whose faxes the simulator delivers."""
    return [f"03-9{index:04d}43" for index in range(count)]


class Client(threading.Thread):
    """Sends one mail for each number over one connection."""

    def __init__(self, port: int, kind: MailKind, mine: list[str]) -> None:
        super().__init__()
        self._port, self._kind, self._mine = port, kind, mine
        self.accepted = 0

    def run(self) -> None:
        client = SmtpClient(self._port)
        for number in self._mine:
            client.send(self._kind, f"{number}@fax.local".encode())
            self.accepted += 1
        client.close()


async def soak(count: int, connections: int, size: int, uploads: int, reports: bool) -> dict[str, Any]:
    wanted, kind = numbers(count), with_pdf(size)
    more = f'\n[fax]\nfirst_poll = "{"60s" if reports else "1s"}"\n'
    with tempfile.TemporaryDirectory() as folder:
        env = Environment(Path(folder), under=("env",), more=more, step=0.3, uploads=uploads, reports=reports)
        async with env:
            await env.start_myfax()
            await env.start()
            clients = [Client(env.smtp[1], kind, wanted[start::connections]) for start in range(connections)]
            begun, before = time.monotonic(), cpu_seconds(env.pid)
            for client in clients:
                client.start()
            await asyncio.gather(*(asyncio.to_thread(client.join) for client in clients))
            accepted = time.monotonic() - begun
            async with asyncio.timeout(_PATIENCE):
                while sum(event["type"] == "fax.delivered" for event in env.receiver.events) < count:
                    await asyncio.sleep(0.2)
            seconds, after = time.monotonic() - begun, cpu_seconds(env.pid)
            return {
                "faxes": count,
                "connections": connections,
                "mail_bytes": size,
                "mails_per_second_in": round(count / accepted, 1),
                "faxes_per_second_end_to_end": round(count / seconds, 1),
                "cpu_ms_per_fax": {name: round(1000 * (after[name] - before[name]) / count, 1) for name in after},
                "peak_mib": round(peak_kib(env.pid) / 1024, 1),
                "once_everywhere": await once_everywhere(env, wanted, sum(client.accepted for client in clients)),
            }


async def once_everywhere(env: Environment, wanted: list[str], accepted: int) -> dict[str, bool]:
    """Return, for each stage, whether it has each number exactly once."""
    once = Counter({"+972" + number.lstrip("0").replace("-", ""): 1 for number in wanted})
    webhooks = {type_: Counter(e["data"]["to"] for e in env.receiver.events if e["type"] == type_) for type_ in _EVENTS}
    faxes = await env.ask("queue", state="delivered", limit=_MOST)
    return {
        "250": accepted == len(wanted),
        "uploads": Counter(fax.number for fax in env.simulator.uploads) == once,
        "store": Counter(fax["number"] for fax in faxes) == once,
        **{f"webhook {type_}": counted == once for type_, counted in webhooks.items()},
    }


def peak_kib(pid: int) -> int:
    """Return the peak resident memory of a process in KiB (proc(5), VmHWM)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faxes", type=int, default=_MOST, help=f"number of faxes, at most {_MOST}")
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--size", type=int, default=4096, help="bytes of a mail")
    parser.add_argument("--uploads", type=int, default=4, help="account.uploads")
    parser.add_argument("--polls", action="store_true", help="no reports: every fax is polled to its end")
    args = parser.parse_args()
    figures = asyncio.run(soak(args.faxes, args.connections, args.size, args.uploads, not args.polls))
    print(json.dumps({"benchmark": "soak", "cores": os.cpu_count(), **figures}))
    return 0 if all(figures["once_everywhere"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
