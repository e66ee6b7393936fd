"""Console: how long each page takes at the server with many faxes, and what open pages cost the intake of mails.

Takes some minutes, of which the 100,000 faxes need the first; `--state` keeps them for the next time. Says on standard error how
far it is, and prints one JSON line: for each page the milliseconds (median and 95th percentile, and the median of processor time)
and its bytes, how much the memory grew over all of them (MiB), and the mails per second that the daemon takes with and without
open pages, which ask for their changing part every five seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from mailbridge import log
from mailbridge.config import Config
from mailbridge.console.app import build_console
from mailbridge.console.console import Console, Services
from mailbridge.model import Document, Fax
from mailbridge.page.shown_page import ShownPage
from mailbridge.runtime import Runtime
from mailbridge.store.local_spool import LocalSpool
from mailbridge.store.sqlite import SqliteStore
from mailbridge.submission.password import hash_password
from mailbridge.web.app import build
from mailbridge.web.links import Links
from tests.bench.daemon import daemon_facts
from tests.bench.mails import with_pdf
from tests.bench.smtp_client import Load
from tests.bench.store import NOW, fill, open_store

_HEADERS = {"x-remote-user": "office", "accept-language": "he"}
_PASSWORD = "bench"
_DAEMON = f"""
[myfax]
url = "http://127.0.0.1:9/action/"
[user.office]
password_hash = "{hash_password(_PASSWORD)}"
role = "operator"
"""
_EVERY = 5.0  # seconds between two questions of an open page


def console_of(store: SqliteStore, state_dir: Path) -> Any:
    """Return the app with a console that believes the header of a proxy."""
    config = Config.model_validate(
        {
            "state_dir": state_dir,
            "account": {"office": {"email": "office@example.co.il", "password": "x"}},
            "user": {"office": {"networks": ["127.0.0.9"], "role": "operator"}},
            "http": {"console": True, "proxies": ["127.0.0.1"], "proxy_user": "X-Remote-User"},
        }
    )
    runtime = Runtime(store, LocalSpool(state_dir / "spool"), lambda: NOW, lambda: 0.5)
    # Pictures are made by the workers, once for all who look; here they cost nothing. No page that is measured asks the others.
    unused = dict.fromkeys(field.name for field in fields(Services))
    services: Any = Services(**{**unused, "pictures": _no_picture, "mailboxes": dict})  # type: ignore[arg-type]  # None is not asked
    return build(
        store, runtime.spool, Links(bytes(32), ""), {}, lambda: NOW, console=build_console(Console(config, runtime, services))
    )


async def _no_picture(document: Document, number: int, width: int, viewer: str) -> ShownPage:
    return ShownPage(not_shown="kind")


def pages(fax: Fax, middle: str) -> dict[str, str]:
    """Return the pages by name."""
    return {
        "to do": "/",
        "sent": "/sent",
        "sent, in the middle": f"/sent?before={middle}",
        "waiting": "/waiting",
        "failed": "/failed",
        "all": "/faxes",
        "received": "/received",
        "one fax": f"/faxes/{fax.id}",
        "send": "/send",
        "webhooks": "/webhooks",
        "one webhook": "/webhooks/crm",
        "dead of a webhook": "/webhooks/crm?state=dead",
        "system": "/system",
        "by number": f"/faxes?q={fax.number.replace('+', '%2B')}",
        "by the end of a number": "/faxes?q=4321",
        "by text, not found": "/faxes?q=nowhere",
        "of a day": "/faxes?since=2025-06-01&until=2025-06-01",
        "part of waiting": "/waiting?part=1",
        "part of sent": "/sent?part=1",
    }


async def measure_pages(state_dir: Path, repeats: int) -> dict[str, Any]:
    """Return the figures of each page."""
    found: dict[str, Any] = {}
    async with open_store(state_dir) as store:
        newest = await store.run(lambda tx: tx.faxes.newest("delivered", 1000))
        app = console_of(store, state_dir)
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://console", headers=_HEADERS) as browser:
            before = _memory()
            for name, path in pages(newest[0], newest[-1].id).items():
                times, cpu = [], []
                for _ in range(repeats):
                    began, worked = time.perf_counter(), time.process_time()
                    answer = await browser.get(f"/console{path}")
                    times.append(1000 * (time.perf_counter() - began))
                    cpu.append(1000 * (time.process_time() - worked))
                    assert answer.status_code == 200, (name, answer.status_code, answer.text[:500])
                found[name] = _figures(times, cpu, len(answer.content))
                say(f"{name}: {found[name]}")
            grown = _memory() - before
    return {"pages": found, "grown_mib": round(grown, 1)}


def _figures(times: Sequence[float], cpu: Sequence[float], size: int) -> dict[str, Any]:
    ordered = sorted(times)
    p95 = ordered[int(0.95 * (len(ordered) - 1))]
    return {"p50_ms": round(median(ordered), 1), "p95_ms": round(p95, 1), "cpu_ms": round(median(cpu), 1), "bytes": size}


def _memory() -> float:
    kilobytes = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(kilobytes) * 4096 / 2**20


async def measure_intake(open_pages: int, rounds: int, mails: int) -> dict[str, Any]:
    """Return the mails per second without and with open pages, in turns, and the median of the ratios of neighbours.

    What else the machine does changes slowly, and so meets both of a pair. And the share of a processor that open pages take of a
    daemon that takes no mails.
    """
    rates: dict[str, list[float]] = {"without": [], "with": []}
    http = '\n[http]\nlisten = "127.0.0.1:0"\nconsole = true\nproxies = ["127.0.0.1"]\nproxy_user = "X-Remote-User"\n'
    async with daemon_facts(_DAEMON, http=http) as started:
        port, url = int(started["smtp"].rpartition(":")[2]), f"http://{started['http']}"
        await _hold(url)
        await asyncio.to_thread(Load(port, with_pdf(4_000), mails, 50).run)  # the first mails are quicker
        for number in range(2 * rounds):
            # The order changes, so that neither profits from being first.
            name = ("without", "with")[(number + number // 2) % 2]
            with _open_pages(url, open_pages if name == "with" else 0):
                load = await asyncio.to_thread(Load(port, with_pdf(4_000), mails, 50).run)
            rates[name].append(load.rate)
            say(f"{name} open pages: {load.rate:.1f} mails/s")
        idle = await _busy(url)
        with _open_pages(url, open_pages):
            busy = await _busy(url) - idle
        say(f"open pages take {100 * busy:.2f} % of a processor, beside {100 * idle:.2f} %")
    middle = {name: round(median(found), 1) for name, found in rates.items()}
    ratio = round(median(with_ / without for with_, without in zip(rates["with"], rates["without"], strict=True)), 3)
    return {"mails_per_s": middle, "ratio": ratio, "open_pages": open_pages, "cpu_share": round(busy, 3)}


async def _hold(url: str) -> None:
    """Hold sending: attempts to upload what comes in would blur what is measured."""
    async with httpx.AsyncClient(trust_env=False, timeout=60, headers=_HEADERS) as client:
        answer = await client.post(f"{url}/console/system/hold", headers={"sec-fetch-site": "same-origin"})
        assert answer.status_code == 303, answer.text


async def _busy(url: str) -> float:
    """Return the share of a processor that the daemon takes in the next seconds."""
    before, began = await _cpu(url), time.perf_counter()
    await asyncio.sleep(4 * _EVERY)
    return (await _cpu(url) - before) / (time.perf_counter() - began)


async def _cpu(url: str) -> float:
    """Return the seconds of processor time that the daemon has used."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        page = (await client.get(f"{url}/metrics")).text
    return float(next(line for line in page.splitlines() if line.startswith("process_cpu_seconds_total")).split()[1])


@contextmanager
def _open_pages(url: str, count: int) -> Iterator[None]:
    """Have so many pages open, in a process of their own."""
    if not count:
        yield
        return
    command = [sys.executable, "-m", "tests.bench.console", "--poll", url, "--open", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as pages_:
        assert pages_.stdout is not None
        pages_.stdout.readline()
        try:
            yield
        finally:
            pages_.kill()


async def poll(url: str, count: int) -> None:
    """Be so many open pages until the process is killed, each with a connection that it keeps, as browsers do.

    Plain sockets: a library's work would be taken from the daemon.
    """
    host, _, port = url.removeprefix("http://").rpartition(":")
    fields_ = f"cookie: {await _log_in(url)}\r\naccept-language: he\r\n"

    async def one(number: int) -> None:
        path, tag = ("/console/?part=1", "/console/waiting?part=1", "/console/sent?part=1")[number % 3], ""
        await asyncio.sleep(_EVERY * number / count)
        reader, writer = await asyncio.open_connection(host, int(port))
        while True:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\n{fields_}if-none-match: {tag}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert head[9:12] in ("200", "304"), head
            facts = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            await reader.readexactly(int(facts.get("content-length", 0)))
            tag = facts["etag"]
            await asyncio.sleep(_EVERY)

    print("open", flush=True)
    await asyncio.gather(*(one(number) for number in range(count)))


def say(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr, flush=True)


async def _log_in(url: str) -> str:
    """Return the cookie of a session."""
    async with httpx.AsyncClient(trust_env=False, timeout=60, headers={"sec-fetch-site": "same-origin"}) as client:
        answer = await client.post(f"{url}/console/login", data={"name": "office", "password": _PASSWORD})
        assert answer.status_code == 303, answer.text
    return answer.headers["set-cookie"].partition(";")[0]


async def run(faxes: int, repeats: int, open_pages: int, rounds: int, mails: int, kept: Path | None) -> dict[str, Any]:
    """Measure everything; the pages with the faxes that are in `kept`, or are put there."""
    with tempfile.TemporaryDirectory(prefix="mailbridge-bench-") as directory:
        state_dir = kept or Path(directory)
        if not (state_dir / "mailbridge.sqlite3").exists():
            await fill(state_dir, faxes, 200, lambda done: say(f"{done:,} faxes are stored"))
        found = await measure_pages(state_dir, repeats)
    return {"faxes": faxes, **found, "intake": await measure_intake(open_pages, rounds, mails) if rounds else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faxes", type=int, default=100_000)
    parser.add_argument("--state", type=Path, help="directory that keeps the faxes for the next time")
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--open", type=int, default=50, help="pages open at once")
    parser.add_argument("--rounds", type=int, default=5, help="of the intake, without and with open pages")
    parser.add_argument("--mails", type=int, default=1500, help="in each round")
    parser.add_argument("--poll", help=argparse.SUPPRESS)
    given = parser.parse_args()
    log.setup("error")
    if given.poll:
        asyncio.run(poll(given.poll, given.open))
    else:
        print(json.dumps(asyncio.run(run(given.faxes, given.repeats, given.open, given.rounds, given.mails, given.state))))


if __name__ == "__main__":
    main()
