"""`status`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.integration.cli_myfax_fixtures import DONE, REFUSED, STATUS, CliSetup, play
from tests.wait_helpers import PATIENCE


def fax_is(status: int, final: bool) -> str:
    facts = f"<FAX_STATUS>{status}</FAX_STATUS><FINAL_STATUS>{str(final).lower()}</FINAL_STATUS><PRICE>0.40</PRICE>"
    return f"<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE>{facts}<CREDIT_LEFT>118</CREDIT_LEFT></RESPONSE>"


def test_status_once_and_watched(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        setup.answer(STATUS, fax_is(1, False))
        status, output, _ = await setup.run("status", "CODE-1")
        assert (status, output) == (0, "pending: The fax is accepted and not started yet.  price 0.40  credit left 118\n")
        setup.answer(STATUS, fax_is(1, False), 503, fax_is(4, False), fax_is(9, True))
        status, output, errors = await setup.run("status", "CODE-1", "--watch", "--account", "branch")
        assert status == 0
        assert [line.split(":")[0] for line in output.splitlines()] == ["pending", "pending", "delivered"]
        assert errors == "mailbridge: MyFax answered with HTTP status 503; trying again\n"
        assert setup.forms(STATUS)[-1]["email"] == "branch@example.co.il"
        setup.answer(STATUS, fax_is(3, True), fax_is(3, True), REFUSED)
        answer = await setup.json("status", "CODE-1")
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
        assert (await setup.run("status", "CODE-1", "--watch"))[0] == 1
        status, _, errors = await setup.run("status", "CODE-2")
        remedy = "check the request, and the login in [account.office]"
        assert (status, errors) == (1, f"mailbridge: MyFax refused with code -7: No such line; {remedy}\n")
        for answer, remedy in ((302, "check whether myfax.url has changed"), (503, "try again later")):
            setup.answer(STATUS, answer)
            status, _, errors = await setup.run("status", "CODE-2")
            assert errors.startswith(f"mailbridge: MyFax answered with HTTP status {answer}; {remedy}")
        status, _, errors = await setup.run("status", "CODE-2", "--account", "home")
        assert status == 2
        assert "office, branch" in errors

    play(tmp_path, scenario)


def test_unknown_status_is_printed_without_control_characters(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        setup.answer(STATUS, fax_is(9, True).replace(">9<", ">SENT<"), REFUSED.replace("line", "\x9b31mline"), DONE)
        status, output, _ = await setup.run("status", "CODE-1")
        assert (status, output.partition(".")[0]) == (0, "pending: MyFax gave the unknown status SENT")
        _, _, errors = await setup.run("status", "CODE-1")
        assert "No such \ufffd31mline" in errors
        assert "MyFax gave no status" in (await setup.run("status", "CODE-1"))[1]

    play(tmp_path, scenario)


def test_closed_standard_output(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        setup.answer(STATUS, fax_is(9, True))
        shell = f"{sys.executable} -m mailbridge status CODE-1 --config {tmp_path}/config.toml >&-"
        process = await asyncio.create_subprocess_shell(shell, stderr=asyncio.subprocess.PIPE)
        async with asyncio.timeout(PATIENCE):
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")

    play(tmp_path, scenario)
