"""Devices that cannot log in: a client is a user by its address."""

from __future__ import annotations

import smtplib
from pathlib import Path

import pytest

from tests.integration.smtp_fixtures import HASH, MAIL, gateway


def test_client_of_a_users_network_is_that_user_without_login_and_tls(tmp_path: Path) -> None:
    users = {"scanner": {"networks": ["127.0.0.0/8"], "account": "second", "senders": ["anna@example.co.il"]}}
    with gateway(tmp_path, {"auth": "required"}, user=users) as mx:
        assert mx.send()[0] == 250
        [fax] = mx.faxes()
        assert (fax.user, fax.account) == ("scanner", "second")
        with mx.client() as client:
            assert client.mail("other@example.co.il")[0] == 553


def test_client_outside_of_the_networks_must_log_in(tmp_path: Path) -> None:
    users = {"scanner": {"networks": ["192.0.2.0/24", "2001:db8::/32"]}}
    with gateway(tmp_path, {"auth": "required"}, user=users) as mx, mx.client() as client:
        assert client.mail("anna@example.co.il")[0] == 530


def test_client_of_a_network_may_log_in_as_somebody_else(tmp_path: Path) -> None:
    users = {"scanner": {"networks": ["127.0.0.1"]}, "anna": {"password_hash": HASH}}
    with gateway(tmp_path, user=users) as mx, mx.client() as client:
        client.login("anna", "secret")
        client.sendmail("anna@example.co.il", ["03-9876543@fax.local"], MAIL)
        assert [fax.user for fax in mx.faxes()] == ["anna"]


def test_user_without_a_password_cannot_log_in(tmp_path: Path) -> None:
    users = {"scanner": {"networks": ["192.0.2.1"]}}
    with gateway(tmp_path, user=users) as mx, mx.client() as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("scanner", "")


def test_daily_limit_of_a_network_holds_over_a_restart(tmp_path: Path) -> None:
    users = {"scanner": {"networks": ["127.0.0.1"], "daily_limit": 1}}
    with gateway(tmp_path, user=users) as mx:
        assert mx.send()[0] == 250
    with gateway(tmp_path, user=users) as mx, mx.client() as client:
        client.mail("anna@example.co.il")
        assert client.rcpt("03-9876543@fax.local")[0] == 452
