"""The console's page of the system lists the nodes that share a PostgreSQL database."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from mailbridge.store.node import NodeRow
from mailbridge.store.transaction import SqlTransaction
from tests.factories import NOW
from tests.integration.console_fixtures import Site, check_page, check_part, later, with_console


def check_text(answer: httpx.Response) -> str:
    check_page(answer)
    return answer.text


def test_the_page_of_the_system_lists_each_node_with_what_it_does_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        NodeRow("nod_1", "fax-a", "0.2.0", NOW, NOW, True, ("mailbox office", "poller")),
        NodeRow("nod_2", "<b>fax-b</b>", "0.1.0", NOW, NOW - timedelta(hours=1), False, ()),
    ]

    async def scenario(site: Site) -> None:
        office = await site.user("office")
        assert 'id="nodes"' not in check_text(await office.get("/console/system"))
        monkeypatch.setattr(SqlTransaction, "nodes", lambda self: rows)
        later(site, seconds=30)
        shown = check_text(await office.get("/console/system"))
        assert 'id="nodes"' in shown
        assert "mailbox office, poller" in shown
        assert "fax-b" in shown
        assert "<b>" not in shown
        check_part(await office.get("/console/system?part=1"))

    with_console(tmp_path, scenario)
