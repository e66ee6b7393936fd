"""The MyFax simulator: the five actions as MyFax's document describes them, and every fault."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, TypeVar

import httpx
import pypdfium2
import pytest
from click.testing import CliRunner
from PIL import Image

from mailbridge.cli import demo as cli
from mailbridge.demo import faults, standalone
from mailbridge.demo import simulator as simulator_module
from mailbridge.demo.accounts import FIRST_LINE
from mailbridge.demo.actions import BY_LAST_DIGITS, FINAL_STATUS, PAGE_SIZE
from mailbridge.demo.simulator import Simulator
from mailbridge.errors import InDoubt, MyFaxError, NeedsPerson, NotTaken, Rejected
from mailbridge.myfax import MyFax, UploadAnswer, answers
from tests.integration.scripted_servers import upload
from tests.time_limit import TimeLimit
from tests.wait_helpers import PATIENCE, until

OFFICE = ("office@example.co.il", "demo")
LOGIN = dict(zip(("email", "password"), OFFICE, strict=True))
DISTRIBUTOR = {"distEmail": "office@example.co.il", "distPassword": "demo", "resultType": "XML"}
SEND = {**LOGIN, "resultType": "XML", "faxNumber": "03-9876543", "fileURL": "https://x/y.pdf"}

KINDS: tuple[Literal[1, 17] | None, ...] = (None, 1, 17, 17)

T = TypeVar("T")
Scenario = Callable[[Simulator, httpx.AsyncClient], Awaitable[None]]


def simulate(scenario: Scenario, step: float = 0.0) -> None:
    async def main() -> None:
        simulator = Simulator(step=step)
        url = await simulator.start()
        try:
            async with (
                asyncio.timeout(PATIENCE),
                httpx.AsyncClient(base_url=url, trust_env=False, verify=False, timeout=PATIENCE) as client,
            ):
                await scenario(simulator, client)
        finally:
            await simulator.stop()

    asyncio.run(main())


async def code_and_text(client: httpx.AsyncClient, action: str, form: dict[str, Any]) -> tuple[int, str]:
    """Return RESPONSE_CODE and RESPONSE_TEXT of an action's answer."""
    answer = answers.read_release((await client.post(action, data=form)).content)
    return answer.response_code, answer.text


# as MyFax's document says


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    *((action, {**LOGIN, "resultType": "XML", "password": "wrong"}, -1, "Wrong") for action in ("faxUpload.do", "faxStatus.do")),
    *(("incoming.do", form, -1, "Wrong") for form in ({}, {"email": LOGIN["email"]}, {**LOGIN, "email": "x@example.co.il"})),
    *(
        (action, {**DISTRIBUTOR, "distPassword": "wrong"}, -1, "Wrong")
        for action in ("myFaxAllocateDistributer.do", "releaseFaxLine.do")
    ),
    ("myFaxAllocateDistributer.do", DISTRIBUTOR, -2, "email is missing"),
    ("myFaxAllocateDistributer.do", {**DISTRIBUTOR, "email": "nobody"}, -2, "email is not valid"),
    ("myFaxAllocateDistributer.do", {**DISTRIBUTOR, "email": f"{'a' * 200}@b.co"}, -2, "email is longer than 200"),
    ("myFaxAllocateDistributer.do", {**DISTRIBUTOR, "email": "a@b.co", "fullName": "א" * 201}, -2, "fullName is longer than 200"),
    ("myFaxAllocateDistributer.do", {**DISTRIBUTOR, "email": "a@b.co", "companyName": "x" * 101}, -2, "companyName is longer"),
    ("myFaxAllocateDistributer.do", {**DISTRIBUTOR, "email": "a@b.co", "type": "2"}, -2, "type"),
    ("myFaxAllocateDistributer.do", {**DISTRIBUTOR, "email": "a@b.co", "requestedNumber": "03-9876543"}, -2, "requestedNumber"),
    ("myFaxAllocateDistributer.do", {**DISTRIBUTOR, "email": "a@b.co", "requestedNumber": FIRST_LINE}, -4, "not free"),
    ("faxUpload.do", {**LOGIN, "resultType": "XML", "fileURL": "https://x/y.pdf"}, -2, "faxNumber is missing"),
    ("faxUpload.do", {**SEND, "faxNumber": "nobody"}, -2, "faxNumber is not"),
    ("faxUpload.do", {**SEND, "fileURL": ""}, -2, "theFile or fileURL"),
    ("faxUpload.do", {**SEND, "fileURL": "file:///x"}, -2, "fileURL is not"),
    ("faxUpload.do", {**SEND, "faxNumber": "03-9876599"}, -5, "not accepted"),
    ("faxStatus.do", LOGIN, -2, "faxCode is missing"),
    ("faxStatus.do", {**LOGIN, "faxCode": "nobody's"}, -3, "Unknown fax"),
    ("incoming.do", {**LOGIN, "listType": "sent"}, -2, "listType"),
    ("incoming.do", {**LOGIN, "p": "-1"}, -2, "p is not"),
    ("incoming.do", {**LOGIN, "startDate": "yesterday"}, -2, "startDate is not like"),
    ("incoming.do", {**LOGIN, "endDate": "2026-01-04"}, -2, "endDate is not like"),
    ("releaseFaxLine.do", DISTRIBUTOR, -2, "faxLineDID or userEmail"),
    ("releaseFaxLine.do", {**DISTRIBUTOR, "faxLineDID": FIRST_LINE, "action": "delete"}, -2, "action"),
    ("releaseFaxLine.do", {**DISTRIBUTOR, "faxLineDID": "+97231111111"}, -3, "Unknown line"),
    ("releaseFaxLine.do", {**DISTRIBUTOR, "userEmail": "x@example.co.il"}, -3, "Unknown user"),
    ("releaseFaxLine.do", {**DISTRIBUTOR, "faxLineDID": FIRST_LINE, "userEmail": "x@example.co.il"}, -3, "Unknown line"),
]


def test_every_refusal_has_a_negative_code_and_its_text_and_changes_nothing() -> None:
    async def scenario(simulator: Simulator, client: httpx.AsyncClient) -> None:
        for action, form, code, text in REFUSED:
            got, words = await code_and_text(client, action, form)
            assert (got, text in words) == (code, True), (action, form, words)
        assert (simulator.uploads, simulator.credit, list(simulator.accounts.lines)) == ([], 1000, [FIRST_LINE])
        assert (await client.post("nothing.do")).status_code == 404
        assert (await client.get("faxStatus.do")).status_code == 405

    simulate(scenario)


def test_register_send_and_release_answer_html_unless_result_type_is_xml() -> None:
    async def scenario(_: Simulator, client: httpx.AsyncClient) -> None:
        for action in ("myFaxAllocateDistributer.do", "faxUpload.do", "releaseFaxLine.do"):
            for form in ({}, {"resultType": "HTTP"}):
                answer = await client.post(action, data=form)
                assert "<html>" in answer.text
            assert "<RESPONSE>" in (await client.post(action, data={"resultType": "XML"})).text
        for action in ("faxStatus.do?v=1", "incoming.do"):
            assert "<RESPONSE>" in (await client.post(action, data=LOGIN)).text

    simulate(scenario)


def test_a_line_is_registered_released_and_registered_again() -> None:
    async def scenario(simulator: Simulator, client: httpx.AsyncClient) -> None:
        async with MyFax(*OFFICE, str(client.base_url)) as myfax:
            given = await myfax.register("new@example.co.il", requested_number="+97239876544", password="theirs")
            assert (given.user_id, given.fax_number, given.fax_number_e164) == ("4711", "+97239876544", "+97239876544")
            assert (given.email, given.price) == ("new@example.co.il", Decimal("10.00"))
            assert given.expires_at is not None
            assert given.expires_at > datetime.now(UTC)
            numbers = [(await myfax.register("two@example.co.il", type=kind)).fax_number for kind in KINDS]
            assert numbers == ["+972559000000", "+972559000001", "+972739000000", "+972739000001"]

            await myfax.release(line="+97239876544", action="noRenew")
            with pytest.raises(Rejected, match="already"):
                await myfax.release(line="+97239876544", action="noRenew")
            with pytest.raises(Rejected, match="not free"):
                await myfax.register("three@example.co.il", requested_number="+97239876544")
            await myfax.release(line="+97239876544")
            with pytest.raises(Rejected, match="already"):
                await myfax.release(line="+97239876544")
            assert (await myfax.register("three@example.co.il", requested_number="+97239876544")).user_id == "4713"

            await myfax.release(user_email="two@example.co.il", action="blockUser")
            with pytest.raises(Rejected, match="already"):
                await myfax.release(user_email="two@example.co.il")
            with pytest.raises(Rejected, match="blocked"):
                await myfax.register("two@example.co.il")
        lines = (await client.get(f"{client.base_url}".replace("action/", "_control/lines"))).json()
        assert {line["did"]: line["released"] for line in lines if line["user"] != "two@example.co.il"} == {
            FIRST_LINE: False,
            "+97239876544": False,
        }
        assert [line["released"] for line in lines if line["user"] == "two@example.co.il"] == [True] * 4
        assert len(simulator.accounts.lines) == 6

    simulate(scenario)


def test_a_registered_user_may_send_until_blocked_and_does_not_see_faxes_of_others() -> None:
    async def scenario(simulator: Simulator, client: httpx.AsyncClient) -> None:
        url = str(client.base_url)
        async with MyFax(*OFFICE, url) as office, MyFax("new@example.co.il", "theirs", url) as user:
            await office.register("new@example.co.il", password="theirs")
            code = (await user.send("03-9876543", [upload()])).fax_code or ""
            assert (await user.status(code)).status == 9
            assert simulator.uploads[0].email == "new@example.co.il"
            with pytest.raises(Rejected, match="Unknown fax"):
                await office.status(code)
            await office.release(user_email="new@example.co.il", action="blockUser")
            with pytest.raises(Rejected, match="blocked"):
                await user.status(code)

    simulate(scenario)


def test_incoming_lists_have_pages_kinds_and_time_ranges() -> None:
    async def scenario(simulator: Simulator, client: httpx.AsyncClient) -> None:
        plant = f"{client.base_url}".replace("action/", "_control/incoming")
        item = {"time": "2026-01-04 09:00:00", "did": "+97239000000", "source": "08-9999999"}
        for kind in ("incoming", "voice"):
            planted = (await client.post(plant, json={**item, "type": kind})).json()
            assert planted["TIME"] == "2026-01-04 09:00:00.0"  # as the document prints it
            assert (await client.get(planted["URL"])).content.startswith(b"%PDF")
        for minute in range(1, PAGE_SIZE * 2 + 1):
            simulator.incoming["incoming"].append({"ID": str(minute), "TIME": f"2026-01-04 09:{minute:02}:00.0"})

        async def page(**form: str) -> tuple[int, int | None, int | None]:
            got = answers.read_incoming((await client.post("incoming.do", data={**LOGIN, **form})).content, UTC)
            return len(got.items), got.pages, got.next_page

        assert await page() == (PAGE_SIZE, 3, 1)
        assert await page(p="1") == (PAGE_SIZE, 3, 2)
        assert await page(p="2") == (1, 3, None)
        assert await page(p="3") == (0, 3, None)
        assert await page(listType="voice") == (1, 1, None)
        assert await page(startDate="2026-01-04 09:10:00", endDate="2026-01-04 09:12:00") == (3, 1, None)
        assert await page(startDate="2026-01-05 00:00:00") == (0, 1, None)

    simulate(scenario)


@pytest.mark.parametrize(
    ("digits", "outcome"), [(digits, name) for digits, name in BY_LAST_DIGITS.items() if name in FINAL_STATUS]
)
def test_a_status_advances_to_the_final_one_chosen_by_the_number(digits: str, outcome: str) -> None:
    async def scenario(simulator: Simulator, client: httpx.AsyncClient) -> None:
        now = 0.0
        simulator.clock = lambda: now
        seen = []
        async with MyFax(*OFFICE, str(client.base_url)) as myfax:
            code = (await myfax.send(f"03-98765{digits}", [upload()])).fax_code or ""
            for seconds in (0.0, 59.0, 60.0, 120.0, 179.0, 180.0, 1000.0):
                now = seconds
                answer = await myfax.status(code)
                seen.append((answer.status, answer.final))
        final = (FINAL_STATUS[outcome], True)
        assert seen == [(0, False), (0, False), (1, False), (4, False), (4, False), final, final]
        assert simulator.uploads[0].outcome == outcome

    simulate(scenario, step=60.0)


# faults

# The error that the client raises for each fault, and whether the simulator accepts the fax.
FAULT_RESULTS: dict[str, tuple[type[MyFaxError] | None, bool]] = {
    "rejected": (Rejected, False),
    "redirect": (NeedsPerson, False),
    "reset_in_body": (NotTaken, False),
    **dict.fromkeys(faults.LOST, (InDoubt, True)),
    **dict.fromkeys(faults.READABLE, (None, True)),
}


async def _sent(myfax: MyFax, number: str, size: int) -> MyFaxError | None:
    try:
        await myfax.send(number, [upload(b"x" * size)])
    except MyFaxError as error:
        return error
    return None


async def until_over(call: Awaitable[T], hangs: Callable[[], object], limit: TimeLimit) -> T:
    """Return the result of a call; if the simulator `hangs` in it, the time of the call is over."""
    calling = asyncio.ensure_future(call)
    await until(lambda: calling.done() or hangs())
    for _ in range(20):
        await asyncio.sleep(0)
    limit.end()
    return await calling


@pytest.mark.parametrize("fault", FAULT_RESULTS)
def test_each_fault_is_chosen_by_number_by_script_and_by_misbehave(fault: str, time_limit: TimeLimit) -> None:
    """The client treats each as documented: a doubt, a refusal, or a readable answer."""
    digits = {name: digits for digits, name in BY_LAST_DIGITS.items()}[fault]
    error, taken = FAULT_RESULTS[fault]

    async def scenario(simulator: Simulator, client: httpx.AsyncClient) -> None:
        simulator.script["03-1234567"] = fault
        size = 20_000_000 if fault == "reset_in_body" else 1000
        async with MyFax(*OFFICE, str(client.base_url), timeout=time_limit.SECONDS) as myfax:
            for number in (f"03-98765{digits}", "03-1234567", "03-9876543"):
                if number == "03-9876543":
                    simulator.misbehave(fault, action="faxUpload.do")
                before = len(simulator.uploads)

                def hangs(before: int = before) -> bool:
                    return fault == "hang" and len(simulator.uploads) > before

                got = await until_over(_sent(myfax, number, size), hangs, time_limit)
                assert (type(got) if got else None, len(simulator.uploads) - before) == (error, int(taken)), (number, got)
            assert await _sent(myfax, "03-9876543", 1000) is None
            assert simulator.uploads[-1].outcome == "delivered"
        assert simulator.redirects_followed == 0

    simulate(scenario)


def test_close_and_reset_end_the_connection_differently() -> None:
    async def end(client: httpx.AsyncClient) -> bytes:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        try:
            body = "&".join(f"{name}={value}" for name, value in LOGIN.items())
            head = "POST /action/incoming.do HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            return await reader.read()
        finally:
            writer.close()

    async def scenario(simulator: Simulator, client: httpx.AsyncClient) -> None:
        simulator.misbehave("close")
        assert await end(client) == b""
        simulator.misbehave("reset")
        with pytest.raises(ConnectionResetError):
            await end(client)

    simulate(scenario)


@pytest.mark.parametrize(("status", "error", "taken"), [(503, InDoubt, 1), (401, NeedsPerson, 0), (429, NotTaken, 0)])
def test_any_http_status_can_be_a_fault(status: int, error: type[MyFaxError], taken: int) -> None:
    async def scenario(simulator: Simulator, client: httpx.AsyncClient) -> None:
        simulator.misbehave(f"http_{status}")
        async with MyFax(*OFFICE, str(client.base_url)) as myfax:
            assert type(await _sent(myfax, "03-9876543", 1000)) is error
        assert len(simulator.uploads) == taken

    simulate(scenario)


@pytest.mark.parametrize("fault", [name for name in FAULT_RESULTS if name not in ("no_code", "reset_in_body")])
def test_every_action_can_have_every_fault(fault: str, time_limit: TimeLimit) -> None:
    error = FAULT_RESULTS[fault][0]

    async def scenario(simulator: Simulator, client: httpx.AsyncClient) -> None:
        async with MyFax(*OFFICE, str(client.base_url), timeout=time_limit.SECONDS) as myfax:
            code = (await myfax.send("03-9876543", [upload()])).fax_code or ""
            calls: dict[str, tuple[Callable[[], Awaitable[Any]], bool]] = {
                "faxStatus.do": (lambda: myfax.status(code), True),
                "incoming.do": (lambda: anext(aiter(myfax.incoming()), None), True),
                "myFaxAllocateDistributer.do": (lambda: myfax.register("new@example.co.il"), False),
                "releaseFaxLine.do": (lambda: myfax.release(line=FIRST_LINE), False),
            }
            for action, (call, asks) in calls.items():
                simulator.misbehave(fault, action=action)
                if error is None:
                    await call()
                    continue
                with pytest.raises(NotTaken if asks and error is InDoubt else error):
                    await until_over(call(), lambda: fault == "hang" and not simulator._pending_faults, time_limit)
                if asks:
                    await call()
            # A call whose answer is lost is carried out all the same.
            assert simulator.accounts.lines[FIRST_LINE].released == faults.carries_out(fault)

    simulate(scenario)


def test_control_requests_set_faults_and_scripts() -> None:
    async def scenario(simulator: Simulator, client: httpx.AsyncClient) -> None:
        control = str(client.base_url).replace("action/", "_control/")
        wanted = [{"fault": "http_503", "times": 2}, {"fault": "html", "action": "incoming.do"}]
        for one in wanted:
            assert (await client.post(f"{control}misbehave", json=one)).status_code == 204
        assert (await client.post("incoming.do", data=LOGIN)).status_code == 503
        assert (await client.post("faxStatus.do", data=LOGIN)).status_code == 503
        assert "<RESPONSE>" in (await client.post("faxStatus.do", data=LOGIN)).text
        assert "<html>" in (await client.post("incoming.do", data=LOGIN)).text
        assert "<RESPONSE>" in (await client.post("incoming.do", data=LOGIN)).text
        assert (await client.post(f"{control}script", json={"number": "03-1111111", "outcome": "busy"})).status_code == 204
        assert simulator.script == {"03-1111111": "busy"}

    simulate(scenario)


@pytest.mark.parametrize(
    ("control", "wanted"),
    [
        ("misbehave", {"fault": "nothing"}),
        ("misbehave", {"fault": "html", "action": "nothing.do"}),
        ("misbehave", {"fault": "html", "times": 0}),
        ("misbehave", {}),
        ("misbehave", []),
        ("script", {"number": "03-1", "outcome": "nothing"}),
        ("script", {"outcome": "busy"}),
        ("refuse", {"seconds": "long"}),
        ("refuse", {"seconds": float("nan")}),
        ("incoming", {"time": "yesterday", "did": "+97239", "source": ""}),
        ("incoming", {"time": "2026-01-04T09:00:00+02:00", "did": "+97239", "source": ""}),
        ("incoming", {"time": "2026-01-04 09:00:00", "did": "+97239", "source": "", "type": "sent"}),
    ],
)
def test_an_invalid_control_request_is_answered_with_400_and_the_reason(control: str, wanted: object) -> None:
    async def scenario(simulator: Simulator, client: httpx.AsyncClient) -> None:
        answer = await client.post(str(client.base_url).replace("action/", f"_control/{control}"), content=json.dumps(wanted))
        assert (answer.status_code, answer.text.startswith("invalid request: ")) == (400, True)
        assert (simulator.script, simulator.incoming) == ({}, {"incoming": [], "voice": []})

    simulate(scenario)


def test_refuse_closes_connections_and_rejects_new_ones_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = asyncio.sleep
    over: list[asyncio.Event] = []

    async def sleep_until_over(seconds: float) -> None:
        await (over[0].wait() if seconds == 3600 else sleep(seconds))

    monkeypatch.setattr(asyncio, "sleep", sleep_until_over)

    async def scenario(_: Simulator, client: httpx.AsyncClient) -> None:
        over.append(asyncio.Event())
        async with MyFax(*OFFICE, str(client.base_url)) as myfax:
            code = (await myfax.send("03-9876543", [upload()])).fax_code or ""
            await myfax.status(code)
            answer = await client.post(str(client.base_url).replace("action/", "_control/refuse"), json={"seconds": 3600})
            assert answer.status_code == 204

            async def is_refused() -> bool:
                return await _sent(myfax, "03-9876543", 1000) is not None

            await until(is_refused)
            with pytest.raises(NotTaken):
                await myfax.status(code)
            over[0].set()

            async def is_final() -> bool:
                with contextlib.suppress(NotTaken):
                    return (await myfax.status(code)).final
                return False

            await until(is_final)

    simulate(scenario)


def test_a_hanging_call_does_not_prolong_a_refusal() -> None:
    async def scenario(simulator: Simulator, client: httpx.AsyncClient) -> None:
        async with MyFax(*OFFICE, str(client.base_url), timeout=10 * PATIENCE) as myfax:
            hung = asyncio.create_task(_sent(myfax, "03-9876592", 1000))
            await until(lambda: simulator.uploads)
            await simulator.refuse(0.0)
            assert type(await hung) is InDoubt
            assert await _sent(myfax, "03-9876543", 1000) is None

    simulate(scenario)


def test_a_scripted_number_matches_in_any_notation() -> None:
    simulator = Simulator(script={"03-987 6543": "busy", "nobody": "fail"})
    assert {simulator.outcome(number) for number in ("+97239876543", "0398765 43", "972-3-9876543")} == {"busy"}
    assert [simulator.outcome(number) for number in ("nobody", "03-98765-0 1", "+97239876500")] == ["fail", "busy", "delivered"]


def test_the_standalone_simulator_continues_after_a_broken_pipe() -> None:
    async def main() -> UploadAnswer:
        url: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def report(_: str, facts: dict[str, object]) -> None:
            if url.done():
                raise BrokenPipeError
            url.set_result(str(facts["url"]))

        running = asyncio.create_task(
            standalone.run(report, port=0, imap_port=None, email=OFFICE[0], password=OFFICE[1], step=0.1)
        )
        try:
            async with asyncio.timeout(PATIENCE), MyFax(*OFFICE, await url) as myfax:
                return await myfax.send("03-9876543", [upload()])
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    assert asyncio.run(main()).response_code == 0


def test_the_simulator_stops_at_once_while_it_refuses_or_hangs() -> None:
    async def main() -> None:
        simulator = Simulator()
        url = await simulator.start()
        async with MyFax(*OFFICE, url, timeout=10 * PATIENCE) as myfax, asyncio.timeout(PATIENCE):
            hung = asyncio.create_task(_sent(myfax, "03-9876592", 1000))
            await until(lambda: simulator.uploads)
            simulator._set_refusal({"seconds": 3600})
            await asyncio.sleep(0)
            await simulator.stop()
            assert type(await hung) is InDoubt

    asyncio.run(main())


def test_a_port_in_use_is_reported_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = CliRunner().invoke(cli.simulator, ["--port", str(taken.getsockname()[1])])
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "choose a free port with --port" in done.stderr


# the help


def test_every_outcome_and_fault_is_in_the_help_and_in_the_docstring() -> None:
    shown = CliRunner().invoke(cli.simulator, ["--help"], terminal_width=140).output
    for page in (shown, simulator_module.__doc__ or ""):
        listed = dict(re.findall(r"(?:^|  )(\d\d) (\w+)", page, re.MULTILINE))
        assert {digits: listed.get(digits) for digits in BY_LAST_DIGITS} == BY_LAST_DIGITS
        assert set(listed) == set(BY_LAST_DIGITS)
    assert set(BY_LAST_DIGITS.values()) == {*FINAL_STATUS, "never_final", *FAULT_RESULTS} - {"delivered"}
    for control in ("uploads", "lines", "script", "misbehave", "refuse", "incoming"):
        assert f"/_control/{control}" in shown
    assert FIRST_LINE in shown


def a_pdf(pages: int) -> bytes:
    document = pypdfium2.PdfDocument.new()
    for _ in range(pages):
        document.new_page(595, 842)
    content = io.BytesIO()
    document.save(content)
    document.close()
    return content.getvalue()


def a_tiff(pages: int) -> bytes:
    content = io.BytesIO()
    first, *others = [Image.new("1", (8, 8)) for _ in range(pages)]
    first.save(content, "TIFF", save_all=True, append_images=others)
    return content.getvalue()


@pytest.mark.parametrize(
    ("contents", "pages"),
    [
        ([a_pdf(1)], 1),
        ([a_pdf(3)], 3),
        ([a_tiff(4)], 4),
        ([a_pdf(2), a_tiff(2), b"\x89PNG\r\n"], 5),
        ([b"%PDF-1.4 broken"], 1),
        ([b"II*\0broken"], 1),
        ([b"hello"], 1),
    ],
)
def test_pages_are_counted_as_the_documents_have_them(contents: list[bytes], pages: int) -> None:
    async def main() -> UploadAnswer:
        simulator = Simulator(step=0.01)
        url = await simulator.start()
        try:
            async with MyFax(*OFFICE, url) as client:
                return await client.send("03-9876543", [upload(content, f"{n}.pdf") for n, content in enumerate(contents)])
        finally:
            await simulator.stop()

    assert asyncio.run(main()).pages == pages
