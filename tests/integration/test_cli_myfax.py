"""`line`, `incoming` and `status` as processes against a MyFax simulator, without a daemon."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pty
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from mailbridge.cli.download import _publish
from mailbridge.report.document_download import NotFetched
from tests.integration.listing_fixtures import PDF, WAV, MyFaxStandIn
from tests.wait_helpers import PATIENCE

PASSWORD, DISTRIBUTOR = "hunter2-office", "hunter2-distributor"
CONFIG = """
state_dir = "{folder}/state"
[account.office]
email = "office@example.co.il"
password = "{password}"
[account.branch]
email = "branch@example.co.il"
password = "{password}"
[myfax]
url = "{url}"
timeout = "2s"
[fax]
first_poll = "50ms"
slowest_poll = "100ms"
"""
WITH_DISTRIBUTOR = f"""
[distributor]
email = "dist@example.co.il"
password = "{DISTRIBUTOR}"
"""
AT = datetime(2026, 1, 4, 9, 0, tzinfo=UTC)
REGISTER, RELEASE, STATUS = "/action/myFaxAllocateDistributer.do", "/action/releaseFaxLine.do", "/action/faxStatus.do"
REGISTERED = (
    "<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><RESPONSE_TEXT>OK</RESPONSE_TEXT><USER_ID>4711</USER_ID>"
    "<USER_FAX_NUMBER>+97239876543</USER_FAX_NUMBER><USER_EMAIL>dana@example.co.il</USER_EMAIL>< PRICE>10</ PRICE>"
    "<EXPIRE>2027-01-01 00:00:00.0</EXPIRE></RESPONSE>"
)
DONE = "<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><RESPONSE_TEXT>OK</RESPONSE_TEXT></RESPONSE>"
REFUSED = "<RESPONSE><RESPONSE_CODE>-7</RESPONSE_CODE><RESPONSE_TEXT>No such line</RESPONSE_TEXT></RESPONSE>"


def fax_is(status: int, final: bool) -> str:
    facts = f"<FAX_STATUS>{status}</FAX_STATUS><FINAL_STATUS>{str(final).lower()}</FINAL_STATUS><PRICE>0.40</PRICE>"
    return f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE>{facts}<CREDIT_LEFT>118</CREDIT_LEFT></RESPONSE>"


@dataclass
class World:
    """A folder with a configuration, and the simulator that it names."""

    folder: Path
    myfax: MyFaxStandIn

    def answer(self, path: str, *bodies: str | int) -> None:
        """Set the answers to the next calls: XML, or only an HTTP status."""
        waiting = self.myfax.answers.setdefault(path, [])
        for body in bodies:
            waiting.append((body, {}, b"") if isinstance(body, int) else (200, {}, body.encode()))

    def forms(self, path: str) -> list[dict[str, str]]:
        asked = [parse_qs(request.body.decode()) for request in self.myfax.asked if request.path == path]
        return [{name: values[0] for name, values in form.items()} for form in asked]

    async def run(self, *words: str, stdin: str = "", terminal: bool = False) -> tuple[int, str, str]:
        """Run `mailbridge`; return its exit status, output and errors. With `terminal`, `stdin` is typed there."""
        ours = ("MAILBRIDGE_CONFIG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY")
        env = {**{name: value for name, value in os.environ.items() if name not in ours}, "TERM": "xterm", "COLUMNS": "120"}
        command = (sys.executable, "-m", "mailbridge", *words, "--config", str(self.folder / "config.toml"))
        ours_end, its_end = pty.openpty() if terminal else (-1, asyncio.subprocess.PIPE)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=its_end, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env
        )
        if terminal:
            os.write(ours_end, stdin.encode())
        try:
            async with asyncio.timeout(PATIENCE):
                output, errors = await process.communicate(None if terminal else stdin.encode())
        finally:
            if terminal:
                os.close(ours_end)
                os.close(its_end)
        assert process.returncode is not None
        said = output.decode() + errors.decode()
        assert PASSWORD not in said
        assert DISTRIBUTOR not in said
        assert "Traceback" not in said, said
        return process.returncode, output.decode(), errors.decode()

    async def json(self, *words: str, stdin: str = "") -> Any:
        status, output, errors = await self.run(*words, "--json", stdin=stdin)
        assert status == 0, errors
        return json.loads(output)


def play(folder: Path, scenario: Callable[[World], Awaitable[None]], more: str = WITH_DISTRIBUTOR) -> None:
    async def main() -> None:
        myfax = MyFaxStandIn()
        await myfax.start()
        try:
            config = CONFIG.format(folder=folder, url=myfax.url, password=PASSWORD)
            (folder / "config.toml").write_text(config + more, encoding="utf-8")
            await scenario(World(folder, myfax))
            assert not (folder / "state").exists(), "no daemon, no state"
        finally:
            await myfax.stop()

    asyncio.run(main())


def test_register_sends_every_option(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.answer(REGISTER, REGISTERED, REGISTERED)
        given = ("--number", "03-9876543", "--type", "landline", "--name", "דנה כהן", "--company", "Acme", "--address", "Haifa")
        status, output, errors = await world.run(
            "line", "register", "dana@example.co.il", *given, "--ask-password", stdin="s3cret of dana\n"
        )
        assert (status, errors) == (0, "")
        assert output.splitlines()[0] == "dana@example.co.il has +97239876543"
        assert all(fact in output for fact in ("4711", "price    10", "2027-01-01"))
        [form] = world.forms(REGISTER)
        assert form == {
            "distEmail": "dist@example.co.il",
            "distPassword": DISTRIBUTOR,
            "email": "dana@example.co.il",
            "fullName": "דנה כהן",
            "password": "s3cret of dana",
            "companyName": "Acme",
            "companyAddress": "Haifa",
            "type": "17",
            "requestedNumber": "+97239876543",
            "resultType": "XML",
        }
        answer = await world.json("line", "register", "dana@example.co.il")
        assert (answer["email"], answer["number"], answer["user_id"], answer["price"]) == (
            *("dana@example.co.il", "+97239876543"),
            *("4711", "10"),
        )
        assert "password" not in world.forms(REGISTER)[1]

    play(tmp_path, scenario)


def test_register_with_invalid_arguments_is_one_line_and_sends_nothing(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        for words, status, answer in (
            (("dana",), 1, "email"),
            (("dana@example.co.il", "--number", "12"), 2, "--number"),
            (("dana@example.co.il", "--type", "satellite"), 2, "--type"),
            (("dana@example.co.il", "--company", "x" * 101), 1, "companyName"),
            (("dana@example.co.il", "--ask-password"), 2, "the password is empty"),
        ):
            found = await world.run("line", "register", *words)
            assert found[0] == status, found
            assert answer in found[2]
            assert found[2].count("\n") == 1
        assert world.forms(REGISTER) == []

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "words", [("line", "register", "dana@example.co.il"), ("line", "release", "--user", "a@b.co.il", "--yes")]
)
def test_line_without_a_distributor_names_the_remedy(tmp_path: Path, words: tuple[str, ...]) -> None:
    async def scenario(world: World) -> None:
        status, _, errors = await world.run(*words)
        assert status == 78
        assert errors == "mailbridge: distributor: is missing; add [distributor] with your email and password as a distributor\n"

    play(tmp_path, scenario, more="")


def test_line_refused_or_without_an_answer(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.answer(RELEASE, REFUSED, 500)
        world.answer(REGISTER, "<html>welcome</html>")
        status, _, errors = await world.run("line", "release", "--number", "03-9876543", "--yes")
        remedy = "check the request, and the login in [distributor]"
        assert (status, errors) == (1, f"mailbridge: MyFax refused with code -7: No such line; {remedy}\n")
        status, _, errors = await world.run("line", "release", "--number", "03-9876543", "--yes")
        assert status == 1
        assert errors.startswith("mailbridge: unknown whether MyFax released the line +97239876543: ")
        assert "check with MyFax before you try again" in errors
        status, _, errors = await world.run("line", "register", "dana@example.co.il")
        assert status == 1
        assert "unknown whether MyFax registered dana@example.co.il" in errors
        assert len(world.forms(RELEASE)) == 2

    play(tmp_path, scenario)


def test_release_asks_for_confirmation_on_a_terminal_only(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        words = ("line", "release", "--number", "03-9876543")
        status, _, errors = await world.run(*words, stdin="y\n")
        assert status == 1
        assert "add --yes" in errors
        status, _, errors = await world.run(*words, terminal=True, stdin="n\n")
        assert status == 1
        assert "the line +97239876543, for dist@example.co.il" in errors
        assert "was not released" in errors
        assert world.forms(RELEASE) == []
        world.answer(RELEASE, DONE)
        status, output, _ = await world.run(*words, terminal=True, stdin="y\n")
        assert (status, output) == (0, "the line +97239876543 is released\n")
        assert len(world.forms(RELEASE)) == 1

    play(tmp_path, scenario)


def test_release_by_user_or_number_and_its_options(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.answer(RELEASE, DONE, DONE)
        answer = await world.json("line", "release", "--user", "dana@example.co.il", "--block", "--yes")
        assert answer == {"number": None, "user": "dana@example.co.il", "action": "blockUser", "text": "OK"}
        status, output, _ = await world.run("line", "release", "--number", "+97239876543", "--no-renew", "--yes")
        assert (status, output) == (0, "the line +97239876543 will not be renewed\n")
        login = {"distEmail": "dist@example.co.il", "distPassword": DISTRIBUTOR, "resultType": "XML"}
        assert world.forms(RELEASE) == [
            {**login, "userEmail": "dana@example.co.il", "action": "blockUser"},
            {**login, "faxLineDID": "+97239876543", "action": "noRenew"},
        ]
        for words in ((), ("--user", "a@b.co.il", "--number", "03-9876543"), ("--user", "a@b.co.il", "--block", "--no-renew")):
            assert (await world.run("line", "release", "--yes", *words))[0] == 2
        assert len(world.forms(RELEASE)) == 2

    play(tmp_path, scenario)


def test_status_once_and_watched(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.answer(STATUS, fax_is(1, False))
        status, output, _ = await world.run("status", "CODE-1")
        assert (status, output) == (0, "pending: The fax is accepted and not started yet.  price 0.40  credit left 118\n")
        world.answer(STATUS, fax_is(1, False), 503, fax_is(4, False), fax_is(9, True))
        status, output, errors = await world.run("status", "CODE-1", "--watch", "--account", "branch")
        assert status == 0
        assert [line.split(":")[0] for line in output.splitlines()] == ["pending", "pending", "delivered"]
        assert errors == "mailbridge: MyFax answered with HTTP status 503; trying again\n"
        assert world.forms(STATUS)[-1]["email"] == "branch@example.co.il"
        world.answer(STATUS, fax_is(3, True), fax_is(3, True), REFUSED)
        answer = await world.json("status", "CODE-1")
        assert answer == {
            "fax_code": "CODE-1",
            "status": 3,
            "final": True,
            "outcome": "failed",
            "error": "busy",
            "message": "The number was busy.",
            "price": "0.40",
            "credit_left": "118",
        }
        assert (await world.run("status", "CODE-1", "--watch"))[0] == 1
        status, _, errors = await world.run("status", "CODE-2")
        remedy = "check the request, and the login in [account.office]"
        assert (status, errors) == (1, f"mailbridge: MyFax refused with code -7: No such line; {remedy}\n")
        for answer, remedy in ((302, "check whether myfax.url has changed"), (503, "try again later")):
            world.answer(STATUS, answer)
            status, _, errors = await world.run("status", "CODE-2")
            assert errors.startswith(f"mailbridge: MyFax answered with HTTP status {answer}; {remedy}")
        status, _, errors = await world.run("status", "CODE-2", "--account", "home")
        assert status == 2
        assert "office, branch" in errors

    play(tmp_path, scenario)


def test_unknown_status_is_printed_without_control_characters(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.answer(STATUS, fax_is(9, True).replace(">9<", ">SENT<"), REFUSED.replace("line", "\x9b31mline"), DONE)
        status, output, _ = await world.run("status", "CODE-1")
        assert (status, output.partition(".")[0]) == (0, "pending: MyFax gave the unknown status SENT")
        _, _, errors = await world.run("status", "CODE-1")
        assert "No such \ufffd31mline" in errors
        assert "MyFax gave no status" in (await world.run("status", "CODE-1"))[1]

    play(tmp_path, scenario)


def test_closed_standard_output(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.answer(STATUS, fax_is(9, True))
        shell = f"{sys.executable} -m mailbridge status CODE-1 --config {tmp_path}/config.toml >&-"
        process = await asyncio.create_subprocess_shell(shell, stderr=asyncio.subprocess.PIPE)
        async with asyncio.timeout(PATIENCE):
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")

    play(tmp_path, scenario)


def test_line_without_a_command_is_a_usage_error(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "mailbridge", "line", stderr=asyncio.subprocess.PIPE)
        async with asyncio.timeout(PATIENCE):
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (2, b"mailbridge: Missing command; see mailbridge line --help\n")

    play(tmp_path, scenario)


def test_incoming_lists_every_page_of_a_period(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        for hour in range(5):
            world.myfax.add(AT.replace(hour=hour), f"08-999999{hour}")
        world.myfax.add(AT, "", kind="voice", document=WAV)
        answer = await world.json("incoming")
        assert next((one["time"][:13], one["from"], one["to"]) for one in answer) == (
            *("2026-01-04T04", "+97289999994"),
            "+97239876543",
        )
        assert len(answer) == 5
        await world.json("incoming", "--since", "2026-01-04", "--until", "2026-01-05")
        form = world.forms("/action/incoming.do")[-1]
        assert (form["startDate"], form["endDate"]) == ("2026-01-04 00:00:00", "2026-01-05 23:59:59")
        few = await world.json("incoming", "--since", "2026-01-04T03:00", "--until", "2026-01-04T02:00:00+00:00")
        assert [one["from"] for one in few] == ["+97289999992", "+97289999991"]
        [voice] = await world.json("incoming", "--voice", "--account", "branch")
        assert voice["from"] is None
        status, output, _ = await world.run("incoming")
        assert status == 0
        assert output.splitlines()[0].split() == ["TIME", "FROM", "TO", "ID"]
        assert len(output.splitlines()) == 6
        # In the zone in which they are asked for, whatever this machine's is.
        assert output.splitlines()[1].startswith("2026-01-04 06:00:00  +97289999994")
        for words in (("--since", "yesterday"), ("--since", "2026-01-05", "--until", "2026-01-04")):
            assert (await world.run("incoming", *words))[0] == 2
        world.myfax.down = True
        status, _, errors = await world.run("incoming")
        assert (status, errors.partition(";")[0]) == (1, "mailbridge: MyFax answered with HTTP status 503")

    play(tmp_path, scenario)


def test_save_names_documents_by_time_and_caller_and_never_overwrites(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        folder = tmp_path / "saved"
        first = world.myfax.add(AT, "../../12")
        world.myfax.add(AT, document=WAV)
        world.myfax.add(AT, "", document=b"something else")
        answer = await world.json("incoming", "--save", str(folder))
        names = sorted(Path(one["file"]).name for one in answer)
        assert [re.sub(r"_[0-9a-f]{8}\.", ".", name) for name in names] == [
            "2026-01-04_11-00-00_+97289999999.wav",
            "2026-01-04_11-00-00_12.pdf",
            "2026-01-04_11-00-00_anonymous.bin",
        ]
        assert sorted(path.name for path in folder.iterdir()) == names
        [mine] = [one["file"] for one in answer if one["id"] == first]
        assert Path(mine).read_bytes() == PDF
        assert Path(mine).stat().st_mode & 0o777 == 0o600
        fetched = len(world.myfax.fetched())
        Path(mine).write_bytes(b"mine now")
        again = await world.json("incoming", "--save", str(folder))
        assert [one["file"] for one in again] == [one["file"] for one in answer]
        assert Path(mine).read_bytes() == b"mine now"
        assert len(world.myfax.fetched()) == fetched

    play(tmp_path, scenario)


def test_save_resumes_a_download(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        folder, document = tmp_path / "saved", b"%PDF-" + bytes(range(256)) * 100
        identity = world.myfax.add(AT, document=document)
        other = world.myfax.add(AT, "03-5555555")
        path = f"/documents/{identity}"
        world.myfax.answers[path] = [(206, {"Content-Range": f"bytes 0-9999/{len(document)}"}, document[:10_000])]
        status, output, errors = await world.run("incoming", "--save", str(folder), "--json")
        assert status == 1
        assert re.fullmatch(
            r"mailbridge: 2026\S+: the document broke off after 10000 of 25605 bytes; run the command again .*\n", errors
        ), errors
        answer = {one["id"]: one["file"] for one in json.loads(output)}
        assert answer[identity] is None
        assert Path(answer[other]).read_bytes() == PDF
        [part] = folder.glob("*.part")
        assert part.read_bytes() == document[:10_000]
        answer = {one["id"]: one["file"] for one in await world.json("incoming", "--save", str(folder))}
        assert Path(answer[identity]).read_bytes() == document
        assert [request.headers.get("range") for request in world.myfax.asked if request.path == path] == [None, "bytes=10000-"]
        assert list(folder.glob("*.part")) == []
        # One that was whole but had not got its name, as after a power cut; and one that a server without ranges brings anew.
        for left in (document, document[:5000]):
            Path(answer[identity]).unlink()
            part.write_bytes(left)
            if left != document:
                world.myfax.answers[path] = [(200, {}, document)]
            await world.json("incoming", "--save", str(folder))
            assert Path(answer[identity]).read_bytes() == document

    play(tmp_path, scenario)


def test_save_without_hard_links_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    part, whole = tmp_path / "a.part", tmp_path / "a.pdf"
    part.write_bytes(PDF)
    _publish(part, whole)
    assert (whole.read_bytes(), part.exists()) == (PDF, False)
    part.write_bytes(WAV)
    with pytest.raises(NotFetched, match=r"a\.pdf already exists"):
        _publish(part, whole)
    assert (whole.read_bytes(), part.read_bytes()) == (PDF, WAV)


def test_save_into_an_unusable_folder_names_the_remedy(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.myfax.add(AT)
        (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
        status, _, errors = await world.run("incoming", "--save", str(tmp_path / "dangling"))
        assert (status, errors.count("\n")) == (1, 1)
        assert errors.startswith(f"mailbridge: {tmp_path}/dangling cannot be written (File exists); ")
        assert "--save" in errors

    play(tmp_path, scenario)


def test_save_fetches_from_myfax_only(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.myfax.add(AT, url="https://evil.example/\x1b[31mfax.pdf")
        world.myfax.add(AT, url="https://evil.example/fax.pdf")
        status, output, errors = await world.run("incoming", "--save", str(tmp_path / "saved"))
        assert status == 1
        assert errors.count("the document's address is not MyFax's (https://evil.example)") >= 1
        assert "\x1b" not in errors + output
        assert list((tmp_path / "saved").iterdir()) == []

    play(tmp_path, scenario)


def test_save_shows_progress_on_a_terminal_only(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.myfax.add(AT, document=b"%PDF-" + bytes(200_000))
        _, _, errors = await world.run("incoming", "--save", str(tmp_path / "piped"))
        assert errors == ""
        leader, follower = pty.openpty()
        words = ("incoming", "--save", str(tmp_path / "shown"), "--config", str(tmp_path / "config.toml"))
        env = {**os.environ, "TERM": "xterm"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mailbridge", *words), stdout=asyncio.subprocess.DEVNULL, stderr=follower, env=env
        )
        os.close(follower)
        async with asyncio.timeout(PATIENCE):
            shown = await asyncio.to_thread(_drain, leader)
            assert await process.wait() == 0
        assert b"kB" in shown

    play(tmp_path, scenario)


def _drain(leader: int) -> bytes:
    shown = b""
    try:
        while piece := os.read(leader, 4096):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    return shown
