"""Logs pending deliveries of webhooks that were removed from the configuration: nothing sends them."""

from __future__ import annotations

from collections.abc import Collection

from mailbridge import log
from mailbridge.store.interface import Store


async def log_removed_endpoints(store: Store, webhooks: Collection[str]) -> dict[str, int]:
    """Log how many deliveries are pending for each endpoint that is not in `webhooks`; return the counts by endpoint.

    Raises StoreUnavailable.
    """
    counts = await store.run(lambda tx: tx.deliveries.counts())
    removed = {name: n for (name, state), n in sorted(counts.items()) if state == "pending" and name not in webhooks}
    for name, n in removed.items():
        remedy = f"configure webhook.{name} again, or discard them: mailbridge replay --endpoint {name} --retire"
        log.webhook_removed(name, error=f"{n} deliveries are pending for this webhook, which is not configured; {remedy}")
    return removed
