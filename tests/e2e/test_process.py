"""The process: signals, reloads, and a second daemon on the same state_dir."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.e2e.environment import World
from tests.e2e.test_commands import MAIL, fax_to, in_a_world
from tests.wait_helpers import PATIENCE, until

Until = Callable[[], Awaitable[bool]]


async def logged(world: World, text: str, times: int = 1) -> None:
    """Wait until the log contains a text so many times."""
    await until(lambda: world.log.read_text(encoding="utf-8").count(text) >= times, what=text)


def test_reload_of_an_invalid_file_keeps_the_old_configuration(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        good = world.config.read_text(encoding="utf-8")
        world.config.write_text(good.replace("[smtp]", "[smpt]"), encoding="utf-8")
        world.signal(signal.SIGHUP)
        await logged(world, "configuration rejected, keeping the current one")
        assert "did you mean smtp" in world.log.read_text(encoding="utf-8")
        await world.becomes(await fax_to(world, "03-9876543"), "delivered")
        assert "daemon stopped" not in world.log.read_text(encoding="utf-8")
        world.config.write_text(good, encoding="utf-8")

    in_a_world(tmp_path, scenario)


def test_reload_applies_the_new_configuration_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        fax = await fax_to(world, "03-9876543")
        config = world.config.read_text(encoding="utf-8").replace(
            'listen = ["127.0.0.1:0"]', f'listen = ["127.0.0.1:{world.smtp[1]}"]'
        )
        world.config.write_text(config + '\n[numbers]\ndeny = ["+9723"]\n', encoding="utf-8")
        world.signal(signal.SIGHUP)
        await logged(world, '"daemon started"', 2)
        reply = await world.send("dana@example.co.il", ["03-9876543@fax.local"], MAIL.read_bytes())
        assert reply.startswith("550 5.7.1"), reply
        await world.start_myfax()
        await world.ask("retry", id=fax)
        await world.becomes(fax, "delivered")
        assert len(world.simulator.uploads) == 1
        assert await world.stop() == 0

    in_a_world(tmp_path, scenario, myfax=False)


def test_reload_reads_the_contacts_file(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        contacts = tmp_path / "contacts.csv"
        contacts.write_text("leumi,03-9876543\n", encoding="utf-8")
        config = world.config.read_text(encoding="utf-8").replace(
            'listen = ["127.0.0.1:0"]', f'listen = ["127.0.0.1:{world.smtp[1]}"]'
        )
        world.config.write_text(f'{config}\n[contacts]\nfile = "{contacts}"\nbanks = ["leumi"]\n', encoding="utf-8")
        world.signal(signal.SIGHUP)
        await logged(world, '"daemon started"', 2)
        assert (await world.send("dana@example.co.il", ["banks@fax.local"], MAIL.read_bytes())).startswith("250 ")
        contacts.write_text("leumi,03-987654\n", encoding="utf-8")
        world.signal(signal.SIGHUP)
        await logged(world, "configuration rejected, keeping the current one")
        contacts.write_text("leumi,03-9876543\nclalit,04-8765432\n", encoding="utf-8")
        world.signal(signal.SIGHUP)
        await logged(world, '"daemon started"', 3)
        assert (await world.send("dana@example.co.il", ["clalit@fax.local"], MAIL.read_bytes())).startswith("250 ")

    in_a_world(tmp_path, scenario)


def test_reload_with_a_port_in_use_restores_the_old_configuration(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        config = world.config.read_text(encoding="utf-8")
        taken = f'listen = ["127.0.0.1:{world.mailbox.port}"]'
        world.config.write_text(config.replace('listen = ["127.0.0.1:0"]', taken), encoding="utf-8")
        world.signal(signal.SIGHUP)
        await logged(world, "configuration rejected, keeping the current one")
        await logged(world, '"daemon started"', 2)
        world.config.write_text(config, encoding="utf-8")
        assert (await world.command("queue"))[0] == 0

    in_a_world(tmp_path, scenario)


def test_second_daemon_exits_78(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        status, _, errors = await world.command("serve")
        assert status == 78
        assert "another mailbridge already works on" in errors
        assert "Traceback" not in errors
        await world.becomes(await fax_to(world, "03-9876543"), "delivered")

    in_a_world(tmp_path, scenario)


def test_sigterm_during_data_completes_the_mail(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        reader, writer = await asyncio.open_connection(*world.smtp)
        for line in (b"EHLO x", b"MAIL FROM:<dana@example.co.il>", b"RCPT TO:<03-9876543@fax.local>", b"DATA"):
            await reply(reader)
            writer.write(line + b"\r\n")
        assert (await reply(reader)).startswith(b"354")
        content = MAIL.read_bytes().replace(b"\n", b"\r\n")
        writer.write(content[:200])
        await writer.drain()
        world.signal(signal.SIGTERM)
        await logged(world, "daemon stopping")
        writer.write(content[200:] + b"\r\n.\r\n")
        assert (await reply(reader)).startswith(b"250 2.0.0 queued as")
        writer.close()
        assert await world.stop() == 0
        assert len(await world.printed("queue")) == 1

    in_a_world(tmp_path, scenario, myfax=False)


async def reply(reader: asyncio.StreamReader) -> bytes:
    """Return the last line of one SMTP reply."""
    async with asyncio.timeout(PATIENCE):
        while (line := await reader.readline())[3:4] == b"-":
            pass
    return line


def test_sigterm_during_an_upload_leaves_the_fax_in_doubt(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        # The simulator accepts the upload and never answers.
        fax = await fax_to(world, "03-9876592")
        await until(lambda: world.simulator.uploads)
        assert await world.stop() == 0
        await world.start()
        await world.becomes(fax, "in_doubt")
        assert len(world.simulator.uploads) == 1

    in_a_world(tmp_path, scenario, grace=0.5)
