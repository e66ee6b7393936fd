"""Usage: how many faxes were accepted in a time, what became of them, and what they cost, by user, account or tag."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from sqlalchemy import select

from mailbridge.store import schema
from mailbridge.store.sql import Sql

By = Literal["user", "account", "tag"]

_fax = schema.fax.c
_COLUMNS = (_fax.id, _fax.created_at, _fax.user, _fax.account, _fax.tags, _fax.state, _fax.pages, _fax.price)
# Rows in a page: some 10 ms.
_PAGE = 2000
# Ids are in the order of time, except where a clock was set.
_MARGIN = timedelta(days=2)


@dataclass(slots=True)
class Usage:
    """The faxes of one user, account or tag. Pages and price are of the delivered ones."""

    faxes: int = 0
    delivered: int = 0
    failed: int = 0
    other: int = 0  # cancelled, in doubt, or not final yet
    pages: int = 0
    price: Decimal = field(default_factory=Decimal)  # of those whose price MyFax gave

    def add(self, fax: dict[str, Any]) -> None:
        """Count one fax."""
        self.faxes += 1
        state = fax["state"]
        if state == "delivered":
            self.delivered += 1
            self.pages += fax["pages"] or 0
            self.price += _price(fax["price"])
        elif state == "failed":
            self.failed += 1
        else:
            self.other += 1


def usage_page(sql: Sql, since: datetime, until: datetime, below: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of the faxes that were accepted from `since` to before `until`, and where the next page begins."""
    looked_at = select(*_COLUMNS).order_by(_fax.id.desc()).limit(_PAGE)
    found = sql.rows(looked_at if below is None else looked_at.where(_fax.id < below))
    wanted = [fax for fax in found if since <= fax["created_at"] < until]
    ended = len(found) < _PAGE or found[-1]["created_at"] < since - _MARGIN
    return wanted, None if ended else found[-1]["id"]


def group(faxes: Iterable[dict[str, Any]], by: By, groups: defaultdict[str, Usage]) -> None:
    """Count faxes in their groups: `-` is that of the faxes without a user or tag. A fax with two tags is in both of theirs."""
    for fax in faxes:
        for name in _groups(fax, by):
            groups[name].add(fax)


def _groups(fax: dict[str, Any], by: By) -> list[str]:
    if by == "tag":
        # `mailbridge retry` sets retry_of.
        return [f"{key}={value}" for key, value in fax["tags"].items() if key != "retry_of"] or ["-"]
    return [fax[by] or "-"]


def _price(written: str | None) -> Decimal:
    try:
        price = Decimal(written or 0)
    except InvalidOperation:
        return Decimal()
    return price if price.is_finite() else Decimal()
