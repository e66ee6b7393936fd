"""One transaction on the SQL database: each kind of record has a class of its own, and all share one connection."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, text

from mailbridge.store.alerts import Alerts
from mailbridge.store.audit import Audit
from mailbridge.store.conditions import Conditions
from mailbridge.store.console_sessions import ConsoleSessions
from mailbridge.store.deadlines import pull_in_new_work, shift_deadlines
from mailbridge.store.deliveries import Deliveries
from mailbridge.store.draft_records import DraftRecords
from mailbridge.store.events import Describe, Events, Route
from mailbridge.store.faxes import Faxes
from mailbridge.store.hand_over import HandOver
from mailbridge.store.mailboxes import Mailboxes
from mailbridge.store.node import Node, NodeRow
from mailbridge.store.node_list import read_nodes
from mailbridge.store.notices import NoticePlan, Notices
from mailbridge.store.oauth_tokens import OAuthTokens
from mailbridge.store.poll_requests import PollRequests
from mailbridge.store.received import Received
from mailbridge.store.retention_queries import RetentionQueries
from mailbridge.store.search import Search
from mailbridge.store.sending_state import Sending
from mailbridge.store.sql import Sql
from mailbridge.store.stopped_webhooks import StoppedWebhooks
from mailbridge.store.stored_secrets import Secrets
from mailbridge.store.submissions import Submissions

_SIZE: Final = text("SELECT pg_database_size(current_database())")


class SqlTransaction:
    """A Transaction (see `store.interface`). `topics`, `after_commit` and `shared` are those of `Sql`."""

    def __init__(
        self,
        connection: Connection,
        describe: Describe,
        route: Route,
        hand_over: HandOver,
        plan: NoticePlan | None = None,
        node: Node | None = None,
    ) -> None:
        self._sql = sql = Sql(connection, hand_over, node)
        self.note_undecided = sql.note_undecided
        self.topics, self.after_commit, self.shared = sql.topics, sql.after_commit, sql.shared
        self.search = Search(sql)
        self.deliveries = Deliveries(sql)
        self.notices = Notices(sql, self.deliveries, plan)
        self.alerts = Alerts(sql, self.notices)
        self.events = Events(sql, describe, route, self.notices)
        self.faxes = Faxes(sql, self.events, self.notices)
        self.submissions = Submissions(sql, self.faxes, self.notices)
        self.stopped_webhooks = StoppedWebhooks(sql)
        self.sending = Sending(sql)
        self.poll_requests = PollRequests(sql, self.faxes)
        self.drafts = DraftRecords(sql)
        self.secrets = Secrets(sql)
        self.oauth_tokens = OAuthTokens(sql)
        self.conditions = Conditions(sql)
        self.mailboxes = Mailboxes(sql)
        self.received = Received(sql)
        self.audit = Audit(sql)
        self.retention = RetentionQueries(sql, self.audit)
        self.console_sessions = ConsoleSessions(sql)

    def begin(self) -> None:
        """Forget an earlier transaction: there is one object for all of them."""
        self.topics.clear()
        self.faxes.begin()

    def nodes(self) -> list[NodeRow]:
        return read_nodes(self._sql)

    def database_size(self) -> int | None:
        size = self._sql.connection.execute(_SIZE).scalar() if self.shared else None
        return None if size is None else int(size)

    def shift_deadlines(self, by: timedelta, now: datetime) -> int:
        return shift_deadlines(self._sql, by, now)

    def pull_in_new_work(self, now: datetime) -> int:
        return pull_in_new_work(self._sql, now)
