"""The data of `fax.received` and `voicemail.received`, the same whether a mail or the list of `incoming.do` reports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mailbridge.model import ReceivedItem, rfc3339


def received_data(
    item: ReceivedItem,
    documents: Sequence[dict[str, Any]],
    defects: Sequence[str] = (),
    *,
    mailbox: str | None = None,
    **source_fields: Any,
) -> dict[str, Any]:
    """Return the event's data. `mailbox` is None for an item of the list; `source_fields` are those of one source alone."""
    data = {
        "fax_id": item.id,
        "seq": 1,
        "direction": "inbound",
        "account": item.account,
        "mailbox": mailbox,
        "to": item.called,
        "from": item.caller,
        "status": "received",
        "received_at": rfc3339(item.at),
        "pages": _pages(documents),
        "source": "listing" if mailbox is None else "mail",
        # The list comes over a connection that only MyFax can answer on.
        "trusted": mailbox is None or item.trusted,
        **source_fields,
        "document": documents[0] if documents else None,
        "documents": list(documents),
    }
    return {**data, "defects": list(defects)} if defects else data


def _pages(documents: Sequence[dict[str, Any]]) -> int | None:
    """Return the pages of all documents, None if one is unknown or there are none."""
    counts = [document["pages"] for document in documents]
    return None if not counts or None in counts else sum(counts)
