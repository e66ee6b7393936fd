"""Connections: how many there may be, what counts as one client, and which connection gives way to a new one."""

from __future__ import annotations

import pytest

from mailbridge.client_group import client_group
from mailbridge.submission.connection_limits import ConnectionLimits


class FakeConnection:
    """A connection whose client was active at `active_at`."""

    def __init__(self, active_at: float = 0.0, *, gives_way: bool = True) -> None:
        self.active_at, self.gives_way, self.is_cut = active_at, gives_way, False

    def cut(self) -> None:
        self.is_cut = True


def busy() -> FakeConnection:
    return FakeConnection(gives_way=False)


def test_connections_are_limited_in_all_and_for_each_client() -> None:
    limits = ConnectionLimits(3, 2)
    first, second, third = busy(), busy(), busy()
    assert [limits.acquire("a", each, 0) for each in (first, second, busy())] == [True, True, False]
    assert [limits.acquire("b", third, 0), limits.acquire("b", busy(), 0), limits.acquire("c", busy(), 0)] == [True, False, False]
    limits.release(first)
    limits.release(first)
    assert [limits.acquire("a", busy(), 0), limits.acquire("b", busy(), 0)] == [True, False]


@pytest.mark.parametrize(
    ("client", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("local", "local"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("a:b", "a:b"),
    ],
)
def test_an_ipv6_network_of_64_bits_counts_as_one_client(client: str, group: str) -> None:
    assert client_group(client) == group


def test_a_full_client_gives_its_longest_silent_connection_away_but_only_after_two_seconds() -> None:
    limits = ConnectionLimits(10, 2)
    older, newer = FakeConnection(1.0), FakeConnection(0.5)
    assert limits.acquire("a", older, 0)
    assert limits.acquire("a", newer, 0)
    assert not limits.acquire("a", FakeConnection(), 2.4)
    assert limits.acquire("a", FakeConnection(2.6), 2.6)
    assert (older.is_cut, newer.is_cut) == (False, True)


def test_a_full_service_takes_from_the_client_that_has_most() -> None:
    limits = ConnectionLimits(5, 4)
    many = [FakeConnection(number) for number in range(4)]
    single = FakeConnection(-100.0)
    for connection in many:
        assert limits.acquire("many", connection, 5)
    assert limits.acquire("single", single, 5)
    assert limits.acquire("new", FakeConnection(5), 5)
    assert [connection.is_cut for connection in many] == [True, False, False, False]
    assert not single.is_cut


def test_a_client_that_has_logged_in_often_does_not_shield_those_that_say_nothing() -> None:
    limits = ConnectionLimits(20, 10, login_required=True)
    office = [busy() for _ in range(6)]
    for connection in office:
        assert limits.acquire("office", connection, 0)
        limits.logged_in(connection)
    silent = [FakeConnection() for _ in range(14)]
    assert all(limits.acquire(f"silent {number % 4}", each, 0) for number, each in enumerate(silent))
    assert limits.acquire("new", FakeConnection(100.0), 100)
    assert sum(each.is_cut for each in silent) == 1


def test_clients_that_must_log_in_and_have_not_leave_a_share_to_those_who_have() -> None:
    limits = ConnectionLimits(10, 10, login_required=True)
    first = [busy() for _ in range(8)]
    assert all(limits.acquire(str(number), connection, 0) for number, connection in enumerate(first))
    assert not limits.acquire("late", busy(), 0)
    limits.logged_in(first[0])
    limits.logged_in(first[1])
    assert [limits.acquire(name, busy(), 0) for name in ("late", "later", "latest")] == [True, True, False]
    limits.release(first[0])
    assert not limits.acquire("latest", busy(), 0)  # eight have not logged in
    without_login = ConnectionLimits(10, 10)
    assert [without_login.acquire(str(number), busy(), 0) for number in range(11)] == [True] * 10 + [False]
