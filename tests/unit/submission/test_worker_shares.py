"""Shares of the workers: clients take turns, none holds all workers, and slow clients wait for each other."""

from __future__ import annotations

from mailbridge.submission.worker_shares import WorkerShares


def shares(workers: int = 3, **waiting: int) -> WorkerShares[str]:
    found: WorkerShares[str] = WorkerShares(workers)
    for client, count in waiting.items():
        for number in range(count):
            found.add(client, f"{client}{number}")
    return found


def test_clients_take_turns() -> None:
    waiting = shares(a=3, b=1, c=2)
    taken = [found[1] for _ in range(6) if (found := waiting.next([], 0)) is not None]
    assert taken == ["a0", "b0", "c0", "a1", "c1", "a2"]
    assert waiting.next([], 0) is None


def test_one_client_leaves_a_worker_to_others() -> None:
    waiting = shares(a=9)
    assert waiting.next(["a"], 0) == ("a", "a0")
    assert waiting.next(["a", "a"], 0) is None
    waiting.add("b", "b0")
    assert waiting.next(["a", "a"], 0) == ("b", "b0")
    assert shares(workers=1, a=1).next([], 0) == ("a", "a0")


def test_clients_whose_mails_take_long_share_one_worker_for_a_while() -> None:
    waiting = shares(slow=2, worse=2, quick=1)
    waiting.ended("slow", 2.0, 100.0, out_of_time=False)
    waiting.ended("worse", 1.0, 100.0, out_of_time=False)
    assert waiting.next([], 101.0) == ("slow", "slow0")
    assert waiting.next(["slow"], 101.0) == ("quick", "quick0")
    assert waiting.next(["slow", "quick"], 101.0) is None
    assert waiting.next(["quick", "quick"], 101.0) == ("worse", "worse0")
    # Ten times as long as the mail took.
    assert waiting.next(["worse"], 109.9) is None
    assert waiting.next(["slow"], 110.0) == ("worse", "worse1")
    assert waiting.next(["slow"], 119.9) is None
    assert waiting.next(["slow"], 120.0) == ("slow", "slow1")


def test_a_client_whose_mail_ran_out_of_time_rests_longer_each_time() -> None:
    waiting = shares(a=3)
    for number, rest in enumerate((5.0, 10.0, 20.0, 40.0, 60.0, 60.0)):
        now = 100.0 * number
        waiting.ended("a", 5.0, now, out_of_time=True)
        assert waiting.seconds_until_rested(now) == rest
        assert waiting.next([], now + rest - 0.1) is None
    assert waiting.next([], now + 60.0) == ("a", "a0")
    assert waiting.seconds_until_rested(now + 60.0) is None
    later = now + 1000.0
    waiting.ended("a", 5.0, later, out_of_time=True)
    assert waiting.seconds_until_rested(later) == 5.0


def test_mails_are_read_behind_others_only_where_one_client_alone_sends_quick_ones() -> None:
    waiting = shares(a=4)
    assert waiting.next_behind("a") is None  # nothing is known of it
    waiting.ended("a", 0.01, 0.0, out_of_time=False)
    assert waiting.next_behind("a") == "a0"
    waiting.add("b", "b0")
    assert waiting.next_behind("a") is None
    assert waiting.next_behind("b") is None
    assert waiting.next([], 1.0) == ("a", "a1")
    assert waiting.next([], 1.0) == ("b", "b0")
    waiting.ended("a", 0.2, 2.0, out_of_time=False)
    assert waiting.next_behind("a") is None


def test_mails_that_were_not_begun_go_before_those_that_wait() -> None:
    waiting = shares(a=1)
    waiting.add_first("a", ["first", "second"])
    waiting.add_first("b", [])
    assert waiting.remove_all() == ["first", "second", "a0"]
    assert waiting.next([], 0) is None


def test_a_bounded_number_of_clients_is_remembered() -> None:
    waiting = shares()
    for number in range(10_001):
        waiting.ended(str(number), 1.0, 0.0, out_of_time=False)
    assert len(waiting._records) == 10_000
