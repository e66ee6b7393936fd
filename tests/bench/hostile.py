"""What a quiet client's mail, /healthz and a page of the console take while another address does its worst, attack by attack.

Each may take three times as long at the median as before, and 250 ms longer at the 99th percentile; exit 1 where one takes more.
/healthz waits for nothing but the event loop, so it shows for how long that was held, and how busy the machine was. Measure on a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import http.client
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from mailbridge.submission.password import hash_password
from tests.bench.attackers import ATTACKS, Ports
from tests.bench.daemon import daemon_facts
from tests.bench.mails import MailKind, with_pdf
from tests.bench.process import percentile
from tests.bench.smtp_client import SmtpClient
from tests.loopback_ports import reserved_port

MOST_TIMES, MOST_MORE = 3.0, 0.25  # at the median; seconds at the 99th percentile
_PAUSE = 0.02  # seconds between the quiet client's mails
_PAGES = {"healthz": "/healthz", "console": "/console/sent"}
_HTTP = """
[http]
listen = "127.0.0.1:0"
console = true
proxies = ["127.0.0.0/8"]
proxy_user = "X-Remote-User"
"""
_MORE = """
[smtp.tls]
certificate = "{folder}/cert.pem"
key = "{folder}/key.pem"
listen = ["127.0.0.1:{tls}"]
[user.anna]
password_hash = "{hash}"
role = "operator"
"""


def _certificate(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = (
        builder.not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=9))
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))


def _mail() -> MailKind:
    """Return a mail with a PDF that is sent tomorrow: uploads would be measured too."""
    tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).isoformat()
    return MailKind(f"X-Mailbridge-Send-At: {tomorrow}\r\n".encode() + with_pdf(20_000).rest)


def quiet(port: int, kind: MailKind, mails: int) -> list[float]:
    """Send mails, each in a session of its own; return the seconds from connecting to the 250."""
    taken = []
    for _ in range(mails):
        begun = time.perf_counter()
        client = SmtpClient(port)
        client.send(kind)
        taken.append(time.perf_counter() - begun)
        client.close()
        time.sleep(_PAUSE)
    return taken


class HttpProbe(threading.Thread):
    """Asks for a page again and again, every 5 ms. `taken` are the seconds of each answer."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self._port, self._path, self._done = port, path, threading.Event()
        self.taken: list[float] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._done.wait(0.005):
            begun = time.perf_counter()
            connection.request("GET", self._path, headers={"X-Remote-User": "anna"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, (self._path, answer.status)
            self.taken.append(time.perf_counter() - begun)
        connection.close()

    def stop(self) -> list[float]:
        """Stop; return the seconds of each answer."""
        self._done.set()
        self.join()
        return self.taken


async def _sample(ports: Ports, kind: MailKind, mails: int) -> dict[str, list[float]]:
    """Return the seconds that the quiet client's mails took, and meanwhile its pages."""
    probes = {name: HttpProbe(ports.http, path) for name, path in _PAGES.items()}
    for probe in probes.values():
        probe.start()
    taken = await asyncio.to_thread(quiet, ports.smtp, kind, mails)
    return {"mail": taken, **{name: await asyncio.to_thread(probe.stop) for name, probe in probes.items()}}


async def measure(name: str, ports: Ports, mails: int) -> dict[str, Any]:
    """Measure the quiet client before and during one attack."""
    kind = _mail()
    await asyncio.to_thread(quiet, ports.smtp, kind, 10)
    before = await _sample(ports, kind, mails)
    numbers = [str(port) for port in (ports.smtp, ports.tls, ports.http)]
    attacker = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.bench.attackers", name, *numbers, env=os.environ)
    try:
        await asyncio.sleep(1.5)
        during = await _sample(ports, kind, mails)
        attacked = attacker.returncode is None
    finally:
        if attacker.returncode is None:
            attacker.kill()
        await attacker.wait()
    found = {what: _compared(before[what], during[what]) for what in before}
    return {**found, "ok": attacked and all(facts["ok"] for facts in found.values())}


def _compared(before: Sequence[float], during: Sequence[float]) -> dict[str, Any]:
    p50, p99 = ([percentile(taken, share) for taken in (before, during)] for share in (0.5, 0.99))
    facts = {f"{label}_ms": [round(1000 * value, 1) for value in pair] for label, pair in (("p50", p50), ("p99", p99))}
    return {**facts, "ok": p50[1] <= MOST_TIMES * p50[0] and p99[1] <= p99[0] + MOST_MORE}


async def run(names: list[str], mails: int) -> dict[str, Any]:
    """Measure attacks, each on a daemon of its own."""
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="mailbridge-bench-") as directory, reserved_port() as tls:
            _certificate(Path(directory))
            more = _MORE.format(folder=directory, tls=tls, hash=hash_password("secret"))
            async with daemon_facts(more, http=_HTTP) as started:
                smtp, http = started["smtp"].split(",")[0], started["http"]
                ports = Ports(int(smtp.rpartition(":")[2]), tls, int(http.rpartition(":")[2]))
                found[name] = await measure(name, ports, mails)
        print(f"{name:20} {json.dumps(found[name])}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Run the attacks and print one JSON line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--mails", type=int, default=150, help="mails of the quiet client before and during each attack (default 150)"
    )
    options.add_argument("--only", nargs="*", choices=ATTACKS, help="names of attacks")
    chosen = options.parse_args()
    found = asyncio.run(run(chosen.only or list(ATTACKS), chosen.mails))
    print(json.dumps({"bench": "hostile", **found}))
    sys.exit(0 if all(facts["ok"] for facts in found.values()) else 1)


if __name__ == "__main__":
    main()
