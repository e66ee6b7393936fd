"""`show --save`, received faxes in `queue` and `show`, and scheduled faxes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from mailbridge.demo.mailbox import incoming_mail
from tests.e2e.environment import Environment
from tests.e2e.test_commands import MAIL, fax_to, in_environment, refused
from tests.wait_helpers import PATIENCE

DUE = (datetime.now(ZoneInfo("Asia/Jerusalem")) + timedelta(days=100)).replace(hour=9, minute=0, second=0, microsecond=0)


def test_show_saves_what_was_faxed(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        fax = await fax_to(env, "03-9876543")
        await env.becomes(fax, "delivered")
        shown = await env.printed("show", fax[-8:], "--save", str(tmp_path / "out"))
        sizes = [file["size"] for file in env.simulator.uploads[0].files]
        assert [Path(path).stat().st_size for path in shown["files"]] == sizes
        again = await env.printed("show", fax, "--save", str(tmp_path / "out"))
        assert not set(again["files"]) & set(shown["files"])
        assert all(" (2)" in path for path in again["files"])
        (tmp_path / "file").touch()
        status, _, errors = await env.command("show", fax, "--save", str(tmp_path / "file"))
        assert (status, "file" in errors) == (2, True)

    in_environment(tmp_path, scenario)


def test_received_faxes_are_in_queue_and_show(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        assert (await env.command("queue", "--received"))[1] == "no received faxes\n"
        await env.mailbox.deliver(incoming_mail(b"%PDF-1.4 received", "048765432"))
        event = await env.receiver.wait("fax.received", PATIENCE)
        [found] = await env.printed("queue", "--received")
        assert (found["id"], found["direction"]) == (event["data"]["fax_id"], "inbound")
        assert found["from"] == "+97248765432"
        shown = await env.printed("show", found["id"][-8:], "--save", str(tmp_path / "out"))
        assert [one["type"] for one in shown["events"]] == ["fax.received"]
        assert Path(shown["files"][0]).read_bytes() == b"%PDF-1.4 received"
        text = (await env.command("show", found["id"]))[1]
        assert "  from       +97248765432" in text
        assert "already" not in await refused(env, "cancel", found["id"])
        assert (await env.command("queue", "--received", "--user", "x"))[0] == 2

    in_environment(tmp_path, scenario)


def test_a_scheduled_fax_says_when_it_is_sent(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        mail = f"X-Mailbridge-Send-At: {DUE.isoformat()}\n".encode() + MAIL.read_bytes()
        fax = (await env.send("dana@example.co.il", ["03-9876543@fax.local"], mail)).split()[4]
        [queued] = await env.printed("queue")
        assert (queued["id"], queued["send_at"]) == (fax, DUE.astimezone(UTC).isoformat(timespec="milliseconds"))
        assert DUE.strftime("%Y-%m-%d 09:00 %Z") in (await env.command("queue"))[1]
        assert DUE.strftime("send at    %Y-%m-%d 09:00:00 %Z") in (await env.command("show", fax))[1]
        assert (await env.printed("show", fax))["client"] == "127.0.0.1"

    in_environment(tmp_path, scenario)


def test_send_takes_tags_and_a_time_in_the_zone_of_the_configuration(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        (tmp_path / "a.txt").write_text("a letter\n")
        send = ("send", "03-9876543", str(tmp_path / "a.txt"))
        fax = await env.printed(*send, "--tag", "case=1723", "--tag", "branch=חיפה", "--at", DUE.strftime("%Y-%m-%dT09:00"))
        assert (fax["tags"], fax["send_at"]) == (
            {"case": "1723", "branch": "חיפה"},
            DUE.astimezone(UTC).isoformat(timespec="milliseconds"),
        )
        assert (fax["client"], fax["state"]) == (None, "queued")
        for wrong in (("--tag", "case"), ("--tag", "=x"), ("--at", "tomorrow")):
            assert (await env.command(*send, *wrong))[0] == 2

    in_environment(tmp_path, scenario)
