"""Mail in: mails per second and memory of mailbridge's submission, compared with a stock aiosmtpd that syncs each mail.

With --postgresql also the submission of one node on PostgreSQL, whose server syncs each commit too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.mails import ORDER, MailKind, with_pdf, with_text
from tests.bench.process import MeasuredProcess, measured, percentile
from tests.bench.smtp_client import Load
from tests.postgres_server import PostgresServer, running_server


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load: `mails` sent over `connections` in each round."""

    name: str
    kind: MailKind
    mails: int
    connections: int


def cases(scale: float) -> list[Case]:
    """Return the loads, with their number of mails scaled."""
    small, middle, large = with_pdf(4_000), with_pdf(200_000), with_pdf(25_000_000)

    def scaled(mails: int, connections: int) -> int:
        return max(connections, round(mails * scale))

    return [
        Case("4KB_1", small, scaled(400, 1), 1),
        Case("4KB_50", small, scaled(1500, 50), 50),
        Case("200KB_1", middle, scaled(200, 1), 1),
        Case("200KB_50", middle, scaled(1000, 50), 50),
        Case("200KB_10", middle, scaled(1000, 10), 10),
        Case("200KB_with_page_10", with_pdf(200_000, ORDER), scaled(1000, 10), 10),
        Case("25MB_1", large, scaled(4, 1), 1),
        Case("25MB_8", large, scaled(16, 8), 8),
        Case("5MB_50_at_once", with_pdf(5_000_000), 50, 50),
        Case("4KB_text_only_50", with_text(4_000), scaled(100, 50), 50),
    ]


def measure(server: MeasuredProcess, case: Case) -> dict[str, Any]:
    """Put one load on one server, and return its figures."""
    server.set_baseline()
    before = server.cpu()
    load = Load(server.facts["port"], case.kind, case.mails, case.connections).run()
    after = server.cpu()
    return {
        "mails_per_s": round(load.rate, 1),
        "p50_ms": round(1000 * percentile(load.latencies, 0.5), 1),
        "p95_ms": round(1000 * percentile(load.latencies, 0.95), 1),
        "grown_mib": server.growth(),
        "cpu_ms_per_mail": {name: round(1000 * (after[name] - before[name]) / case.mails, 2) for name in after},
    }


def compare(case: Case, directory: Path, rounds: int, postgresql: PostgresServer | None) -> dict[str, Any]:
    """Put one load on all servers in turn, each newly started and warmed up; the best round of each counts."""
    found: dict[str, list[dict[str, Any]]] = {"mailbridge": [], "stock": []}
    if postgresql is not None:
        found["postgresql"] = []
    for number in range(rounds):
        for name, results in found.items():
            folder = directory / f"{case.name}-{name}-{number}"
            folder.mkdir()
            more = [] if name != "postgresql" or postgresql is None else [postgresql.url(postgresql.database(str(folder)))]
            with measured(["tests.bench.servers", name, str(folder), *more], folder / "log") as server:
                Load(server.facts["port"], with_pdf(4_000), 2 * case.connections, case.connections).run()
                results.append(measure(server, case))
    best = {name: max(results, key=lambda result: float(result["mails_per_s"])) for name, results in found.items()}
    # Memory is that of the worst round: the lowest peak would be too favourable.
    for name, results in found.items():
        best[name]["grown_mib"] = max((result["grown_mib"] for result in results), key=lambda grown: float(grown["tree"]))
    rates = {name: result["mails_per_s"] for name, result in best.items()}
    ratios = {"ratio": rates["mailbridge"] / rates["stock"]}
    if postgresql is not None:
        ratios["postgresql_ratio"] = rates["postgresql"] / rates["mailbridge"]
    return {**best, **{name: round(ratio, 2) for name, ratio in ratios.items()}}


def main() -> None:
    """Run the cases and print one JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--scale", type=float, default=1.0, help="factor of the number of mails (default 1)")
    options.add_argument("--rounds", type=int, default=2, help="rounds of each case, of which the fastest counts (default 2)")
    options.add_argument("--only", nargs="*", help="names of cases, such as 200KB_50")
    options.add_argument("--directory", type=Path, help="where to spool, on the disk to be measured")
    options.add_argument("--postgresql", action="store_true", help="also measure a node on PostgreSQL")
    chosen = options.parse_args()
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbridge-bench-", dir=chosen.directory))
        disk = Path(chosen.directory or tempfile.gettempdir())
        postgresql = stack.enter_context(running_server(durable_in=disk)) if chosen.postgresql else None
        wanted = [case for case in cases(chosen.scale) if not chosen.only or case.name in chosen.only]
        figures = {case.name: compare(case, Path(directory), chosen.rounds, postgresql) for case in wanted}
    print(json.dumps({"bench": "intake", **figures}))


if __name__ == "__main__":
    main()
