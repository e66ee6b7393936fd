"""The process: signals, reloads, and a second daemon on the same state_dir."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from mailbridge.app import check_fixed
from mailbridge.config import load
from mailbridge.errors import ConfigError
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
        config = env.config.read_text(encoding="utf-8")
        env.config.write_text(config + '\n[numbers]\ndeny = ["+9723"]\n', encoding="utf-8")
        env.signal(signal.SIGHUP)
        await logged(env, '"configuration reloaded"')
        reply = await env.send("dana@example.co.il", ["03-9876543@fax.local"], MAIL.read_bytes())
        assert reply.startswith("550 5.7.1"), reply
        await env.start_myfax()
        await env.retry_now(fax)
        await env.becomes(fax, "delivered")
        assert len(env.simulator.uploads) == 1
        assert await env.stop() == 0

    in_environment(tmp_path, scenario, myfax=False)


def test_reload_reads_the_contacts_file(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        contacts = tmp_path / "contacts.csv"
        contacts.write_text("leumi,03-9876543\n", encoding="utf-8")
        config = env.config.read_text(encoding="utf-8")
        env.config.write_text(f'{config}\n[contacts]\nfile = "{contacts}"\nbanks = ["leumi"]\n', encoding="utf-8")
        env.signal(signal.SIGHUP)
        await logged(env, '"configuration reloaded"')
        assert (await env.send("dana@example.co.il", ["banks@fax.local"], MAIL.read_bytes())).startswith("250 ")
        contacts.write_text("leumi,03-987654\n", encoding="utf-8")
        env.signal(signal.SIGHUP)
        await logged(env, "configuration rejected, keeping the current one")
        contacts.write_text("leumi,03-9876543\nclalit,04-8765432\n", encoding="utf-8")
        env.signal(signal.SIGHUP)
        await logged(env, '"configuration reloaded"', 2)
        assert (await env.send("dana@example.co.il", ["clalit@fax.local"], MAIL.read_bytes())).startswith("250 ")

    in_environment(tmp_path, scenario)


def test_reload_with_a_port_in_use_keeps_the_old_configuration(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        config = env.config.read_text(encoding="utf-8")
        taken = f'listen = ["127.0.0.1:{env.mailbox.port}"]'
        env.config.write_text(config.replace('listen = ["127.0.0.1:0"]', taken) + "\n[numbers]\ndeny = ['+9723']\n")
        env.signal(signal.SIGHUP)
        await logged(env, "configuration rejected, keeping the current one")
        env.config.write_text(config.replace('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{env.mailbox.port}"'))
        status, output, errors = await env.command("reload")
        assert (status, output) == (78, "")
        assert errors.startswith(f"mailbridge: http.listen: cannot listen on 127.0.0.1:{env.mailbox.port} (")
        env.config.write_text(config, encoding="utf-8")
        await env.becomes(await fax_to(env, "03-9876543"), "delivered")

    in_environment(tmp_path, scenario)


def test_reload_keeps_connections_and_listeners_and_changes_only_what_is_new(tmp_path: Path, free_port: int) -> None:
    async def scenario(env: Environment) -> None:
        reader, writer = await asyncio.open_connection(*env.smtp)
        for line in (b"EHLO x", b"MAIL FROM:<dana@example.co.il>", b"RCPT TO:<03-9876543@fax.local>", b"DATA"):
            await reply(reader)
            writer.write(line + b"\r\n")
        assert (await reply(reader)).startswith(b"354")
        idle_reader, idle_writer = await asyncio.open_connection(*env.smtp)
        assert (await reply(idle_reader)).startswith(b"220")
        smtp, mailboxes = env.smtp, env.log.read_text(encoding="utf-8").count("mailbox up")

        config = env.config.read_text(encoding="utf-8")
        both = config.replace('listen = ["127.0.0.1:0"]', f'listen = ["127.0.0.1:0", "127.0.0.1:{free_port}"]')
        env.config.write_text(both + "\n[numbers]\ndeny = ['+9724']\n", encoding="utf-8")
        status, output, errors = await env.command("reload")
        assert (status, output, errors) == (0, "the new configuration is in effect\n", "")
        text = env.log.read_text(encoding="utf-8")
        assert text.count('"daemon started"') == text.count("orphan cleanup done") == 1
        assert text.count("mailbox up") == mailboxes

        # New sessions have the new configuration, at the old address and at the new one; sessions under way go on.
        for address in (smtp, ("127.0.0.1", free_port)):
            env.smtp = address
            assert (await env.send("dana@example.co.il", ["04-8765432@fax.local"], MAIL.read_bytes())).startswith("550 5.7.1")
        writer.write(MAIL.read_bytes().replace(b"\n", b"\r\n") + b"\r\n.\r\n")
        assert (await reply(reader)).startswith(b"250 2.0.0 queued as")
        idle_writer.write(b"EHLO x\r\n")
        assert (await reply(idle_reader)).startswith(b"250")

        env.config.write_text(config, encoding="utf-8")
        assert (await env.command("reload"))[0] == 0
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", free_port)
        writer.write(b"QUIT\r\n")
        assert (await reply(reader)).startswith(b"221")
        for one in (writer, idle_writer):
            one.close()

    in_environment(tmp_path, scenario)


def test_no_connection_is_refused_during_reloads_and_no_upload_is_cut_off(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        config, faxes = env.config.read_text(encoding="utf-8"), list[str]()
        for n in range(4):
            # The account changes each time, so that its uploader is replaced while faxes are under way.
            env.config.write_text(config.replace("uploads = 1", f"uploads = {n + 2}"), encoding="utf-8")
            reloading = asyncio.create_task(env.command("reload"))
            while not reloading.done():
                mail = re.sub(rb"(?i)(message-id: <)", rb"\g<1>%d" % len(faxes), MAIL.read_bytes())
                answer = await env.send("dana@example.co.il", ["03-9876543@fax.local"], mail)
                assert answer.startswith("250 "), answer
                faxes.append(answer.split()[4])
            assert reloading.result()[0] == 0
        for fax in faxes:
            await env.becomes(fax, "delivered")
        assert len(env.simulator.uploads) == len(faxes)
        assert "fax in doubt" not in env.log.read_text(encoding="utf-8")

    in_environment(tmp_path, scenario, more='\n[fax]\nper_number = 0\nfirst_poll = "50ms"\nslowest_poll = "200ms"\n')


def test_reload_replaces_accounts_mailboxes_webhooks_and_http(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        config, http = env.config.read_text(encoding="utf-8"), env.http
        changed = config.replace("[webhook.crm]", "[webhook.other]").replace("[mailbox.office]", "[mailbox.second]")
        changed = changed.replace("[account.office]", "[account.branch]").replace(
            'listen = "127.0.0.1:0"', 'listen = "127.0.0.2:0"'
        )
        env.config.write_text(changed, encoding="utf-8")
        assert (await env.command("reload"))[0] == 0
        reloaded = [json.loads(line) for line in env.log.read_text().splitlines() if '"configuration reloaded"' in line]
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE) as client:

            async def is_ready() -> bool:
                answer = await client.get(f"http://{reloaded[-1]['http']}/readyz")
                return bool(answer.json()["checks"] == {"store": True, "mailbox second": True})

            await until(is_ready)
            with pytest.raises(httpx.ConnectError):
                await client.get("http://{}:{}/readyz".format(*http))
        shown = await env.becomes(await fax_to(env, "03-9876543"), "delivered")
        assert shown["account"] == "branch"
        assert {one["endpoint"] for one in await env.printed("deliveries")} == {"other"}

    in_environment(tmp_path, scenario)


def test_reload_refuses_by_name_what_a_running_daemon_cannot_change(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        config = env.config.read_text(encoding="utf-8")
        env.config.write_text(config.replace(f'"{env.state}"', f'"{tmp_path}/elsewhere"'), encoding="utf-8")
        env.signal(signal.SIGHUP)
        await logged(env, "state_dir: cannot change from")
        assert not (tmp_path / "elsewhere").exists()
        elsewhere = '[store]\nurl = "postgresql://mailbridge:hunter2@db/mailbridge"\n'
        without_store = re.sub(r"(?s)\[store\].*?(?=\n\[)", "", config)
        env.config.write_text(f"{without_store}\n{elsewhere}", encoding="utf-8")
        status, output, errors = await env.command("reload")
        assert (status, output) == (78, "")
        assert "store.url: " in errors
        env.config.write_text(config, encoding="utf-8")
        assert (await env.command("reload"))[0] == 0
        await env.becomes(await fax_to(env, "03-9876543"), "delivered")
        assert "hunter2" not in env.log.read_text(encoding="utf-8") + errors

    in_environment(tmp_path, scenario)


def test_a_running_daemon_cannot_change_its_database(tmp_path: Path) -> None:
    url = "postgresql://mailbridge:hunter2@db/mailbridge"
    (tmp_path / "config.toml").write_text('[account.office]\nemail = "office@example.co.il"\npassword = "demo"\n')
    present = load(tmp_path / "config.toml", {})
    new = present.model_copy(update={"store": present.store.model_copy(update={"url": url})})
    for before, after in ((present, new), (new, present)):
        with pytest.raises(ConfigError, match=r"^store\.url: cannot change while") as refusal:
            check_fixed(before, after)
        assert "hunter2" not in str(refusal.value)
    check_fixed(new, new)


def test_reload_of_a_bad_file_fails_with_its_errors(tmp_path: Path) -> None:
    async def scenario(env: Environment) -> None:
        good = env.config.read_text(encoding="utf-8")
        env.config.write_text(good.replace("[smtp]", "[smtp]\nmax_size = 1\nregoin = 'IL'"), encoding="utf-8")
        status, output, errors = await env.command("reload")
        assert (status, output) == (78, "")
        assert sorted(line.split(":")[1].strip() for line in errors.splitlines()) == ["smtp.max_size", "smtp.regoin"]
        env.config.write_text(good + "\n[", encoding="utf-8")
        assert (await env.command("reload"))[0] == 78
        env.config.write_text(good, encoding="utf-8")
        assert await env.printed("reload") == {"ok": True, "mistakes": []}
        await env.stop()
        assert "no mailbridge listens" in (await env.command("reload"))[2]

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

    in_environment(tmp_path, scenario, constants={"app.GRACE": 0.5})
