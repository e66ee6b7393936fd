"""The process: signals, reloads, and a second daemon on the same state_dir."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.e2e.environment import Environment
from tests.e2e.test_commands import MAIL, fax_to, in_environment
from tests.wait_helpers import PATIENCE, until

Until = Callable[[], Awaitable[bool]]


async def logged(env: Environment, text: str, times: int = 1) -> None:
    """Wait until the log contains a text so many times."""
    await until(lambda: env.log.read_text(encoding="utf-8").count(text) >= times, what=text)


def test_reload_of_an_invalid_file_keeps_the_old_configuration(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        good = env.config.read_text(encoding="utf-8")
        env.config.write_text(good.replace("[smtp]", "[smpt]"), encoding="utf-8")
        env.signal(signal.SIGHUP)
        await logged(env, "configuration rejected, keeping the current one")
        assert "did you mean smtp" in env.log.read_text(encoding="utf-8")
        await env.becomes(await fax_to(env, "03-9876543"), "delivered")
        assert "daemon stopped" not in env.log.read_text(encoding="utf-8")
        env.config.write_text(good, encoding="utf-8")

    in_environment(tmp_path, scenario)


def test_reload_applies_the_new_configuration_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        fax = await fax_to(env, "03-9876543")
        config = env.config.read_text(encoding="utf-8").replace(
            'listen = ["127.0.0.1:0"]', f'listen = ["127.0.0.1:{env.smtp[1]}"]'
        )
        env.config.write_text(config + '\n[numbers]\ndeny = ["+9723"]\n', encoding="utf-8")
        env.signal(signal.SIGHUP)
        await logged(env, '"daemon started"', 2)
        reply = await env.send("dana@example.co.il", ["03-9876543@fax.local"], MAIL.read_bytes())
        assert reply.startswith("550 5.7.1"), reply
        await env.start_myfax()
        await env.ask("retry", id=fax)
        await env.becomes(fax, "delivered")
        assert len(env.simulator.uploads) == 1
        assert await env.stop() == 0

    in_environment(tmp_path, scenario, myfax=False)


def test_reload_reads_the_contacts_file(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        contacts = tmp_path / "contacts.csv"
        contacts.write_text("leumi,03-9876543\n", encoding="utf-8")
        config = env.config.read_text(encoding="utf-8").replace(
            'listen = ["127.0.0.1:0"]', f'listen = ["127.0.0.1:{env.smtp[1]}"]'
        )
        env.config.write_text(f'{config}\n[contacts]\nfile = "{contacts}"\nbanks = ["leumi"]\n', encoding="utf-8")
        env.signal(signal.SIGHUP)
        await logged(env, '"daemon started"', 2)
        assert (await env.send("dana@example.co.il", ["banks@fax.local"], MAIL.read_bytes())).startswith("250 ")
        contacts.write_text("leumi,03-987654\n", encoding="utf-8")
        env.signal(signal.SIGHUP)
        await logged(env, "configuration rejected, keeping the current one")
        contacts.write_text("leumi,03-9876543\nclalit,04-8765432\n", encoding="utf-8")
        env.signal(signal.SIGHUP)
        await logged(env, '"daemon started"', 3)
        assert (await env.send("dana@example.co.il", ["clalit@fax.local"], MAIL.read_bytes())).startswith("250 ")

    in_environment(tmp_path, scenario)


def test_reload_with_a_port_in_use_restores_the_old_configuration(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        config = env.config.read_text(encoding="utf-8")
        taken = f'listen = ["127.0.0.1:{env.mailbox.port}"]'
        env.config.write_text(config.replace('listen = ["127.0.0.1:0"]', taken), encoding="utf-8")
        env.signal(signal.SIGHUP)
        await logged(env, "configuration rejected, keeping the current one")
        await logged(env, '"daemon started"', 2)
        env.config.write_text(config, encoding="utf-8")
        assert (await env.command("queue"))[0] == 0

    in_environment(tmp_path, scenario)


def test_second_daemon_exits_78(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        status, _, errors = await env.command("serve")
        assert status == 78
        assert "another mailbridge already works on" in errors
        assert "Traceback" not in errors
        await env.becomes(await fax_to(env, "03-9876543"), "delivered")

    in_environment(tmp_path, scenario)


def test_sigterm_during_data_completes_the_mail(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        reader, writer = await asyncio.open_connection(*env.smtp)
        for line in (b"EHLO x", b"MAIL FROM:<dana@example.co.il>", b"RCPT TO:<03-9876543@fax.local>", b"DATA"):
            await reply(reader)
            writer.write(line + b"\r\n")
        assert (await reply(reader)).startswith(b"354")
        content = MAIL.read_bytes().replace(b"\n", b"\r\n")
        writer.write(content[:200])
        await writer.drain()
        env.signal(signal.SIGTERM)
        await logged(env, "daemon stopping")
        writer.write(content[200:] + b"\r\n.\r\n")
        assert (await reply(reader)).startswith(b"250 2.0.0 queued as")
        writer.close()
        assert await env.stop() == 0
        assert len(await env.printed("queue")) == 1

    in_environment(tmp_path, scenario, myfax=False)


async def reply(reader: asyncio.StreamReader) -> bytes:
    """Return the last line of one SMTP reply."""
    async with asyncio.timeout(PATIENCE):
        while (line := await reader.readline())[3:4] == b"-":
            pass
    return line


def test_sigterm_during_an_upload_leaves_the_fax_in_doubt(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        # The simulator accepts the upload and never answers.
        fax = await fax_to(env, "03-9876592")
        await until(lambda: env.simulator.uploads)
        assert await env.stop() == 0
        await env.start()
        await env.becomes(fax, "in_doubt")
        assert len(env.simulator.uploads) == 1

    in_environment(tmp_path, scenario, grace=0.5)
