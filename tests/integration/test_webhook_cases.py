"""Webhook receivers as other people have met them: cases W1 and W2 (W3 is in test_routing.py), and headers of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.webhook_fixtures import Hooks, in_hooks, receiving


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://app.example/hook/", "HTTP 301 to https://app.example/hook/; write that as the url"),
        ("https://user:pass@app.example/hook/", "HTTP 301 to https://app.example/hook/; write that as the url"),
        ("/hook/", "/hook/; write that as the url"),
        ("//app.example/hook", "HTTP 301 to http://app.example/hook; write that as the url"),
        ("https://app.example/" + "x" * 500, "HTTP 301 to https://app.example/" + "x" * 180 + "…; write that as the url"),
        ("http://[::1", "Invalid URL in location header: Invalid port: ':1'."),
    ],
)
def test_W1_a_redirect_shows_where_it_points(tmp_path: Path, location: str, words: str) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            receiver.answers.append((301, {"location": location}))
            hooks.start("crm", url)
            failed = await hooks.failed(await hooks.emit())
            assert (failed.error or "").endswith(words)
            assert len(receiver.requests) == 1
            assert "pass" not in (failed.error or "")

    in_hooks(tmp_path, scenario)


@pytest.mark.parametrize("status", [300, 304, 308])
def test_W1_a_3xx_without_an_address_is_a_failure(tmp_path: Path, status: int) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            receiver.answers.append((status, {}))
            hooks.start("crm", url)
            assert (await hooks.failed(await hooks.emit())).error == f"HTTP {status}"

    in_hooks(tmp_path, scenario)


def test_headers_of_the_configuration_are_sent_and_replace_none_of_ours(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            hooks.start("crm", url, headers={"Authorization": "Bearer t0ken", "X-Tenant": "7", "User-Agent": "fax of the office"})
            await hooks.settled(await hooks.emit(), "delivered")
        [headers] = receiver.requests
        assert (headers["authorization"], headers["x-tenant"]) == ("Bearer t0ken", "7")
        assert headers["user-agent"] == "fax of the office"
        assert headers["content-type"] == "application/json"
        assert receiver.forged == 0

    in_hooks(tmp_path, scenario)


def test_the_user_agent_has_the_version(tmp_path: Path) -> None:
    async def scenario(hooks: Hooks) -> None:
        async with receiving() as (receiver, url):
            hooks.start("crm", url)
            await hooks.settled(await hooks.emit(), "delivered")
        assert receiver.requests[0]["user-agent"].startswith("mailbridge/0.")

    in_hooks(tmp_path, scenario)
