"""Endpoints that left the configuration while deliveries waited for them: nobody sends these, so they are told at the start."""

from __future__ import annotations

from collections.abc import Collection

from mailbridge import log
from mailbridge.store.interface import Store


async def log_removed_endpoints(store: Store, webhooks: Collection[str]) -> dict[str, int]:
    """Log how many deliveries wait for each endpoint that is not among `webhooks`; return the counts by endpoint.

    Raises StoreUnavailable.
    """
    counts = await store.run(lambda tx: tx.deliveries.counts())
    left = {name: n for (name, state), n in sorted(counts.items()) if state == "pending" and name not in webhooks}
    for name, n in left.items():
        remedy = f"configure webhook.{name} again, or give them up: mailbridge replay --endpoint {name} --retire"
        log.webhook_removed(name, error=f"{n} deliveries wait for this webhook, which left the configuration; {remedy}")
    return left
