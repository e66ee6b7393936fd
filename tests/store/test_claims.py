"""Row P4: nodes as processes of their own claim what is due at once: no fax twice, none forgotten, and no error.

MAILBRIDGE_DUE is how many faxes are due (default 400, full run 10000). How long a claim takes, `tests/bench/claims.py` measures.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

from tests.bench import claims
from tests.postgres_server import PostgresServer

DUE = int(os.environ.get("MAILBRIDGE_DUE", "400"))
NODES, CLAIMERS = 8, 50


def test_p4_no_fax_is_claimed_twice_or_forgotten(postgres_server: PostgresServer, tmp_path: Path) -> None:
    database = postgres_server.database(str(tmp_path))
    try:
        asyncio.run(claims.fill(postgres_server, database, DUE, 0))
        found = claims.run(postgres_server.url(database), NODES, CLAIMERS)
        claimed = Counter(fax for one in found for fax in one["claimed"])
        assert (len(claimed), set(claimed.values())) == (DUE, {1})
        assert postgres_server.ask(database, "SELECT state, count(*) FROM fax GROUP BY 1") == [("submitted", DUE)]
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert postgres_server.ask(database, deadlocks) == [(0,)]
    finally:
        postgres_server.drop_all()
