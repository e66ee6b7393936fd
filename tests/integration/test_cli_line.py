"""`line register` and `line release`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.integration.cli_myfax_fixtures import DISTRIBUTOR, DONE, REFUSED, REGISTER, RELEASE, CliSetup, play
from tests.wait_helpers import PATIENCE

REGISTERED = (
    "<RESPONSE><RESPONSE_CODE>0</RESPONSE_CODE><RESPONSE_TEXT>OK</RESPONSE_TEXT><USER_ID>4711</USER_ID>"
    "<USER_FAX_NUMBER>+97239876543</USER_FAX_NUMBER><USER_EMAIL>dana@example.co.il</USER_EMAIL>< PRICE>10</ PRICE>"
    "<EXPIRE>2027-01-01 00:00:00.0</EXPIRE></RESPONSE>"
)


def test_register_sends_every_option(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        setup.answer(REGISTER, REGISTERED, REGISTERED)
        given = ("--number", "03-9876543", "--type", "landline", "--name", "דנה כהן", "--company", "Acme", "--address", "Haifa")
        status, output, errors = await setup.run(
            "line", "register", "dana@example.co.il", *given, "--ask-password", stdin="s3cret of dana\n"
        )
        assert (status, errors) == (0, "")
        assert output.splitlines()[0] == "dana@example.co.il has +97239876543"
        assert all(fact in output for fact in ("4711", "price    10", "2027-01-01"))
        [form] = setup.forms(REGISTER)
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
        answer = await setup.json("line", "register", "dana@example.co.il")
        assert (answer["email"], answer["number"], answer["user_id"], answer["price"]) == (
            *("dana@example.co.il", "+97239876543"),
            *("4711", "10"),
        )
        assert "password" not in setup.forms(REGISTER)[1]

    play(tmp_path, scenario)


def test_register_with_invalid_arguments_is_one_line_and_sends_nothing(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        for words, status, answer in (
            (("dana",), 1, "email"),
            (("dana@example.co.il", "--number", "12"), 2, "--number"),
            (("dana@example.co.il", "--type", "satellite"), 2, "--type"),
            (("dana@example.co.il", "--company", "x" * 101), 1, "companyName"),
            (("dana@example.co.il", "--ask-password"), 2, "the password is empty"),
        ):
            found = await setup.run("line", "register", *words)
            assert found[0] == status, found
            assert answer in found[2]
            assert found[2].count("\n") == 1
        assert setup.forms(REGISTER) == []

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "words", [("line", "register", "dana@example.co.il"), ("line", "release", "--user", "a@b.co.il", "--yes")]
)
def test_line_without_a_distributor_names_the_remedy(tmp_path: Path, words: tuple[str, ...]) -> None:
    async def scenario(setup: CliSetup) -> None:
        status, _, errors = await setup.run(*words)
        assert status == 78
        assert errors == "mailbridge: distributor: is missing; add [distributor] with your email and password as a distributor\n"

    play(tmp_path, scenario, more="")


def test_line_refused_or_without_an_answer(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        setup.answer(RELEASE, REFUSED, 500)
        setup.answer(REGISTER, "<html>welcome</html>")
        status, _, errors = await setup.run("line", "release", "--number", "03-9876543", "--yes")
        remedy = "check the request, and the login in [distributor]"
        assert (status, errors) == (1, f"mailbridge: MyFax refused with code -7: No such line; {remedy}\n")
        status, _, errors = await setup.run("line", "release", "--number", "03-9876543", "--yes")
        assert status == 1
        assert errors.startswith("mailbridge: unknown whether MyFax released the line +97239876543: ")
        assert "check with MyFax before you try again" in errors
        status, _, errors = await setup.run("line", "register", "dana@example.co.il")
        assert status == 1
        assert "unknown whether MyFax registered dana@example.co.il" in errors
        assert len(setup.forms(RELEASE)) == 2

    play(tmp_path, scenario)


def test_release_asks_for_confirmation_on_a_terminal_only(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        words = ("line", "release", "--number", "03-9876543")
        status, _, errors = await setup.run(*words, stdin="y\n")
        assert status == 1
        assert "add --yes" in errors
        status, _, errors = await setup.run(*words, terminal=True, stdin="n\n")
        assert status == 1
        assert "the line +97239876543, for dist@example.co.il" in errors
        assert "was not released" in errors
        assert setup.forms(RELEASE) == []
        setup.answer(RELEASE, DONE)
        status, output, _ = await setup.run(*words, terminal=True, stdin="y\n")
        assert (status, output) == (0, "the line +97239876543 is released\n")
        assert len(setup.forms(RELEASE)) == 1

    play(tmp_path, scenario)


def test_release_by_user_or_number_and_its_options(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        setup.answer(RELEASE, DONE, DONE)
        answer = await setup.json("line", "release", "--user", "dana@example.co.il", "--block", "--yes")
        assert answer == {"number": None, "user": "dana@example.co.il", "action": "blockUser", "text": "OK"}
        status, output, _ = await setup.run("line", "release", "--number", "+97239876543", "--no-renew", "--yes")
        assert (status, output) == (0, "the line +97239876543 will not be renewed\n")
        login = {"distEmail": "dist@example.co.il", "distPassword": DISTRIBUTOR, "resultType": "XML"}
        assert setup.forms(RELEASE) == [
            {**login, "userEmail": "dana@example.co.il", "action": "blockUser"},
            {**login, "faxLineDID": "+97239876543", "action": "noRenew"},
        ]
        for words in ((), ("--user", "a@b.co.il", "--number", "03-9876543"), ("--user", "a@b.co.il", "--block", "--no-renew")):
            assert (await setup.run("line", "release", "--yes", *words))[0] == 2
        assert len(setup.forms(RELEASE)) == 2

    play(tmp_path, scenario)


def test_line_without_a_command_is_a_usage_error(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "mailbridge", "line", stderr=asyncio.subprocess.PIPE)
        async with asyncio.timeout(PATIENCE):
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (2, b"mailbridge: Missing command; see mailbridge line --help\n")

    play(tmp_path, scenario)
