"""The acceptance rows N1 to N24 of notices: who gets which mail, and what is in it."""

from __future__ import annotations

import itertools
import re
from datetime import timedelta
from email.header import decode_header, make_header
from pathlib import Path

import pytest

from mailbridge.lifecycle import FaxTrigger
from mailbridge.model import Fax
from mailbridge.notice.wording import RESULTS
from tests.integration.notice_fixtures import DANA, ORIGINAL, Office, a_recipient, in_office, texts
from tests.integration.relay_stand_in import RelayStandIn, Taken

HOUR = timedelta(hours=1)
ANNA = '[user.anna]\npassword_hash = "scrypt$16384$8$1$c2FsdA==$aGFzaA=="\nlanguage = "en"\n'
EVERYTHING = 'on = ["failed", "in_doubt", "delivered"]\n'
# How a fax that was uploaded ends, by the kind of its notice.
ENDS: dict[str, FaxTrigger] = {"delivered": "confirm", "failed": "fail", "in_doubt": "lose"}


def kinds(mails: list[Taken]) -> list[str]:
    """Return what each mail says: a DSN by its Action and Status, another by its result."""
    found = []
    for mail in mails:
        status = re.search(rb"^Action: (\w+)\r\nStatus: ([\d.]+)", mail.content, re.MULTILINE)
        text = texts([mail])[0]
        says = {kind: f"(תוצאה|Result): ({said['he']}|{said['en']})$" for kind, said in RESULTS.items()}
        results = [kind for kind, pattern in says.items() if re.search(pattern, text, re.MULTILINE)]
        found.append(f"dsn {status[1].decode()} {status[2].decode()}" if status else results[0])
    return found


async def ended(office: Office, kind: str, **parameters: str | None) -> Fax:
    """Accept a mail with these parameters of RCPT, and let its fax end."""
    [fax] = await office.accept(a_recipient("03-9876543", **parameters), triggers=("claim",))
    if kind != "in_doubt":
        fax = await office.move(fax, "accept")
    return await office.move(fax, ENDS[kind])


@pytest.mark.parametrize("form", ["auto", "dsn", "mail"])
@pytest.mark.parametrize("kind", ENDS)
def test_N1_never_means_no_mail_of_any_kind(tmp_path: Path, kind: str, form: str) -> None:
    async def scenario(office: Office) -> None:
        await ended(office, kind, notify="NEVER")
        await ended(office, kind, notify="never")
        office.leap(6 * HOUR)
        assert (await office.mails(), await office.deliveries()) == ([], [])

    in_office(tmp_path, scenario, f'{EVERYTHING}form = "{form}"')


@pytest.mark.parametrize("on", [[], ["failed"], ["in_doubt"], ["delivered"], ["failed", "in_doubt", "delivered"]], ids=str)
def test_N2_without_NOTIFY_exactly_what_notice_on_says(tmp_path: Path, on: list[str]) -> None:
    async def scenario(office: Office) -> None:
        for kind in ENDS:
            await ended(office, kind)
            office.leap(HOUR)
        assert sorted(kinds(await office.mails())) == sorted(on)
        assert {mail.message["To"] for mail in office.relay.taken} <= {f"<{DANA}>", DANA}

    in_office(tmp_path, scenario, f"on = {on}".replace("'", '"'))


WORDS = ("SUCCESS", "FAILURE", "DELAY")
COMBINATIONS = [",".join(some) for n in (1, 2, 3) for some in itertools.combinations(WORDS, n)]


@pytest.mark.parametrize("notify", COMBINATIONS)
def test_N3_each_combination_of_NOTIFY(tmp_path: Path, notify: str) -> None:
    """NOTIFY alone decides, whatever `notice.on` says."""
    said = {
        "SUCCESS": ["dsn delivered 2.0.0"],
        "FAILURE": ["dsn failed 5.4.5"],
        "DELAY": ["dsn delayed 4.4.2", "dsn delayed 4.4.1"],
    }

    async def scenario(office: Office) -> None:
        for kind in ENDS:
            await ended(office, kind, notify=notify)
        await office.accept(a_recipient("03-9876543", notify=notify))
        office.leap(5 * HOUR)
        expected = [one for word in notify.split(",") for one in said[word]]
        assert sorted(kinds(await office.mails())) == sorted(expected)

    in_office(tmp_path, scenario, EVERYTHING)


def test_N3_a_fax_that_is_final_in_time_is_not_delayed(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        await ended(office, "delivered", notify="DELAY")
        office.leap(5 * HOUR)
        assert (await office.mails(), await office.deliveries()) == ([], [])

    in_office(tmp_path, scenario)


def test_N4_two_recipients_of_one_number_have_a_block_each(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        [fax] = await office.accept(
            a_recipient("03-9876543", notify="FAILURE", orcpt="rfc822;first+2Bone@example.co.il"),
            a_recipient("+97239876543", notify="SUCCESS,FAILURE", orcpt="utf-8;דנה@example.co.il"),
            a_recipient("(03) 987 6543", notify="SUCCESS"),
        )
        await office.move(fax, "fail")
        [mail] = await office.mails()
        blocks = mail.content.decode().partition("message/delivery-status")[2].split("\r\n\r\n")
        recipients = [re.findall(r"^(?:Original|Final)-Recipient: (.*?)\r?$", block, re.M) for block in blocks]
        assert [one for one in recipients if one] == [
            ["rfc822; first+one@example.co.il", "rfc822; 03-9876543@fax.local"],
            ["utf-8; \\x{5D3}\\x{5E0}\\x{5D4}@example.co.il", "rfc822; +97239876543@fax.local"],
        ]
        [fax] = await office.accept(
            a_recipient("03-9876543", notify="FAILURE"), a_recipient("+97239876543", notify="NEVER"), a_recipient("03 9876543")
        )
        await office.move(fax, "confirm")
        assert len(await office.mails()) == 1

    in_office(tmp_path, scenario)


def test_N4_a_recipient_with_NOTIFY_gets_a_DSN_and_the_other_a_mail(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        [fax] = await office.accept(a_recipient("03-9876543", notify="FAILURE"), a_recipient("+97239876543"))
        await office.move(fax, "fail")
        assert sorted(kinds(await office.mails())) == ["dsn failed 5.4.5", "failed"]

    in_office(tmp_path, scenario)


def test_N5_the_envelope_is_null_and_asks_for_nothing(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        await ended(office, "failed", notify="FAILURE")
        await ended(office, "failed")
        for mail in await office.mails():
            assert (mail.mail_from, mail.rcpt_to) == ("<>", f"<{DANA}> NOTIFY=NEVER")
            assert mail.message["Auto-Submitted"] == "auto-replied"

    in_office(tmp_path, scenario)


def test_N5_a_relay_without_DSN_gets_no_NOTIFY(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        await ended(office, "failed")
        [mail] = await office.mails()
        assert (mail.mail_from, mail.rcpt_to) == ("<>", f"<{DANA}>")

    in_office(tmp_path, scenario, relay=RelayStandIn(offers=()))


@pytest.mark.parametrize("sender", ["", "MAILER-DAEMON@example.co.il", "mailbridge@gw.example.co.il", "back@example.co.il"])
def test_N5_nothing_is_sent_to_a_sender_that_is_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str], sender: str) -> None:
    async def scenario(office: Office) -> None:
        [fax] = await office.accept("03-9876543", sender=sender)
        capsys.readouterr()
        await office.move(fax, "fail")
        assert (await office.mails(), await office.deliveries()) == ([], [])
        assert "".join(capsys.readouterr()).count("notice not sent") == 1

    in_office(tmp_path, scenario, 'envelope = "back@example.co.il"')


@pytest.mark.parametrize("header", [b"Auto-Submitted: auto-replied (vacation)", b"X-Mailbridge-Loop: gw"])
def test_N5_an_automatic_reply_is_not_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str], header: bytes) -> None:
    async def scenario(office: Office) -> None:
        [fax] = await office.accept("03-9876543", content=header + b"\r\n" + ORIGINAL)
        capsys.readouterr()
        await office.move(fax, "fail")
        assert (await office.mails(), await office.deliveries()) == ([], [])
        assert "".join(capsys.readouterr()).count("notice not sent") == 1

    in_office(tmp_path, scenario)


def test_notice_domains_limits_where_notices_go(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        for sender in (DANA, "a@other.example", "b@EXAMPLE.co.il"):
            [fax] = await office.accept("03-9876543", sender=sender)
            await office.move(fax, "fail")
        assert [mail.rcpt_to for mail in await office.mails()] == [f"<{DANA}> NOTIFY=NEVER", "<b@EXAMPLE.co.il> NOTIFY=NEVER"]

    in_office(tmp_path, scenario, 'domains = ["example.co.il"]')


@pytest.mark.parametrize("command", ["MAIL FROM:<>", "RCPT TO"])
def test_N6_the_fallback_is_used_where_the_null_sender_is_refused(tmp_path: Path, command: str) -> None:
    refusal = {"MAIL FROM:<>": "550 5.7.1 null sender refused"}

    async def scenario(office: Office) -> None:
        await ended(office, "failed")
        [mail] = await office.mails()
        assert mail.mail_from == "<back@example.co.il>"
        assert [one.state for one in await office.deliveries()] == ["delivered"]

    in_office(tmp_path, scenario, 'envelope = "back@example.co.il"', relay=RelayStandIn(refuse=refusal))


def test_N6_without_a_fallback_the_notice_is_dead(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        await ended(office, "failed")
        await office.settled()
        [one] = await office.deliveries()
        assert (one.state, one.status, one.error) == ("dead", 550, "550 no")

    in_office(tmp_path, scenario, relay=RelayStandIn(refuse={"MAIL FROM:<>": "550 no"}))


def test_N12_a_mail_to_100_numbers_is_answered_by_one_mail_for_each_outcome(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        numbers = [f"03-98765{n:02d}" for n in range(100)]
        faxes = await office.accept(*numbers)
        for fax in faxes[:40]:
            await office.move(fax, "fail")
        assert await office.mails() == [], "they are gathered"
        office.leap(timedelta(seconds=61))
        [first] = await office.mails()
        assert texts([first])[0].count("fax_") == 40
        assert re.search(r"סיכום.*⁦100⁩", texts([first])[0])
        for fax in faxes[40:50]:
            await office.move(fax, "fail")
        for fax in faxes[50:]:
            await office.move(fax, "confirm")
        mails = (await office.mails())[1:]
        assert sorted(kinds(mails)) == ["delivered", "failed"], "at once when all are final"
        for text in texts(mails):
            total = text.rpartition("סיכום")[2]
            assert [int(n) for n in re.findall(r"⁦(\d+)⁩", total)] == [100, 50, 50]

    in_office(tmp_path, scenario, EVERYTHING)


def test_notices_beyond_per_hour_are_summed_up_in_one_mail(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        for _ in range(7):
            await ended(office, "failed")
            await office.settled()
        assert len(await office.mails()) == 3
        office.leap(HOUR)
        mails = await office.mails()
        assert len(mails) == 4
        text = texts(mails[3:])[0]
        assert (text.count("fax_"), "⁦4⁩" in text.splitlines()[0]) == (4, True)
        await ended(office, "failed")
        assert len(await office.mails()) == 5

    in_office(tmp_path, scenario, "per_hour = 3")


def test_N14_the_notice_threads_with_the_mail(tmp_path: Path) -> None:
    old = "\r\n ".join(f"<old-{n}@x>" for n in range(40)).encode()

    async def scenario(office: Office) -> None:
        await ended(office, "failed")
        [fax] = await office.accept("03-9876543", content=b"References: " + old + b"\r\n" + ORIGINAL, subject="Re: שלום")
        await office.move(fax, "fail")
        first, second = [mail.message for mail in await office.mails()]
        assert (first["In-Reply-To"], first["References"], first["Subject"]) == ("<1@x>", "<1@x>", "Re: שלום")
        ids = second["References"].split()
        assert (len(ids), ids[-1], ids[-2], second["Subject"]) == (20, "<1@x>", "<old-39@x>", "Re: שלום")

    in_office(tmp_path, scenario)


SUBJECTS = [
    "ש" * 400,
    "\u202eevil\u2066 שלום\r\nBcc: x@y\x00",
    "plain words " * 60,
    "👩\u200d👩\u200d👧" * 40,
    "x" * 998,
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=["long", "hostile", "plain", "joined", "one word"])
def test_N15_the_subject_is_encoded_again(tmp_path: Path, subject: str) -> None:
    async def scenario(office: Office) -> None:
        [fax] = await office.accept("03-9876543", subject=subject)
        await office.move(fax, "fail")
        [mail] = await office.mails()
        head = mail.content.partition(b"\r\n\r\n")[0].decode("ascii")
        for word in re.findall(r"=\?\S+\?=", head):
            assert len(word) <= 75
            # Each word alone is whole letters.
            assert make_header(decode_header(word))
        assert all(len(line) <= 78 for line in head.split("\r\n"))
        assert "Bcc" not in mail.message
        read = re.sub(r"\s+", " ", str(mail.message["Subject"]))
        assert not set(read) & set("\u202e\u2066\x00")
        clean = re.sub(r" {2,}", " ", re.sub("[\u202e\u2066\r\n\x00]+", " ", subject)).strip()
        assert read == f"Re: {clean}"[: len(read)]
        assert len(read) >= min(len(clean), 900)

    in_office(tmp_path, scenario)


def test_N16_the_whole_mail_is_in_7_bits_and_short_lines(tmp_path: Path) -> None:
    odd = b"Subject: \xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d\r\n" + ORIGINAL + b"x" * 3000 + b"\r\n\xff\xfe\r\n"

    async def scenario(office: Office) -> None:
        for notify in (None, "FAILURE"):
            for ret in (None, "FULL", "HDRS"):
                [fax] = await office.accept(a_recipient("03-9876543", notify=notify), content=odd, ret=ret)
                await office.move(fax, "fail")
        mails = await office.mails()
        assert len(mails) == 6
        for mail in mails:
            assert mail.content.isascii()
            assert max(map(len, mail.content.split(b"\r\n"))) <= 998
            assert (b"\n" in mail.content.replace(b"\r\n", b""), mail.mail_from) == (False, "<>")

    in_office(tmp_path, scenario, relay=RelayStandIn(offers=()))


def test_N18_hebrew_is_right_to_left_and_numbers_are_isolated(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        await ended(office, "failed")
        [mail] = await office.mails()
        [text] = texts([mail])
        assert all("א" <= line[0] <= "ת" for line in text.splitlines() if line), "every line begins with a Hebrew letter"
        assert "\u206603-9876543\u2069" in text
        assert re.search(r"מזהה: \u2066fax_\w+\u2069", text)
        html = mail.message.get_body(("html",)).get_content()  # type: ignore[union-attr]
        assert '<html lang="he" dir="rtl">' in html
        assert '<span dir="ltr">03-9876543</span>' in html
        assert len(re.findall(r"[^>]03-9876543", html)) == 0

    in_office(tmp_path, scenario)


def test_the_mail_begins_with_the_answer_in_the_users_language(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        [fax] = await office.accept("03-9876543", user="anna")
        await office.move(fax, "fail")
        [text] = texts(await office.mails())
        lines = text.splitlines()
        assert lines[0] == "The fax to 03-9876543 was not delivered."
        labels = [line.partition(":")[0] for line in lines[1:]]
        assert labels == ["Number", "Result", "When", "Pages", "Tries", "Why", "What to do", "ID"]
        assert "The recipient's line was busy." in text

    in_office(tmp_path, scenario, more=ANNA)


def test_N19_a_doubt_is_told_once_and_its_resolution_has_the_last_word(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        for number, last in (("03-9876541", "confirm"), ("03-9876542", "abandon")):
            [fax] = await office.accept(number, triggers=("claim", "lose"))
            assert kinds(await office.mails())[-1] == "in_doubt"
            assert "אין לשלוח אותו שוב" in texts(office.relay.taken[-1:])[0]
            await office.move(fax, "resend", "claim", "lose")
            count = len(await office.mails())
            await office.move(fax, last)  # type: ignore[arg-type]
            mails = await office.mails()
            assert (len(mails), kinds(mails)[-1]) == (count + 1, "delivered" if last == "confirm" else "failed")
        assert kinds(office.relay.taken) == ["in_doubt", "delivered", "in_doubt", "failed"]

    in_office(tmp_path, scenario)


def test_N19_a_doubt_asked_for_by_DSN_is_delayed_4_4_2(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        fax = await ended(office, "in_doubt", notify="DELAY")
        await office.settled()
        await office.move(fax, "confirm")
        assert kinds(await office.mails()) == ["dsn delayed 4.4.2", "dsn delivered 2.0.0"]

    in_office(tmp_path, scenario)


def test_N19_a_doubt_that_ends_before_it_was_told_is_not_told(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        await office.stop()
        [fax] = await office.accept("03-9876543", triggers=("claim", "lose", "confirm"))
        [other] = await office.accept("03-9876543", triggers=("claim", "lose", "abandon"))
        office.start()
        assert kinds(await office.mails()) == ["failed"]
        assert other.id in texts(office.relay.taken)[0]
        assert fax.id not in texts(office.relay.taken)[0]

    in_office(tmp_path, scenario)


def test_N22_a_notice_names_nothing_internal(tmp_path: Path) -> None:
    more = '[webhook.crm-secret]\nurl = "https://crm.example.co.il/"\nsecret = "whsec_' + "A" * 43 + '="\n'

    async def scenario(office: Office) -> None:
        for notify in (None, "FAILURE"):
            first = await office.accept(a_recipient("03-9876543", notify=notify))
            await office.accept(a_recipient("03-1112222", notify=notify), sender="other@example.co.il")
            await office.move(first[0], "fail")
        for mail in await office.mails():
            whole = mail.content.decode() + "".join(
                str(p.get_content()) for p in mail.message.walk() if p.get_content_maintype() == "text"
            )
            for secret in (
                "/var/lib",
                "internal.example",
                "crm-secret",
                "office-secret",
                "1112222",
                str(office.config.state_dir),
            ):
                assert secret not in whole

    in_office(tmp_path, scenario, more=more)


def test_a_notice_is_a_delivery_like_any_other(tmp_path: Path) -> None:
    """It is shown, counted, and replayed."""
    from mailbridge.control.delivery_actions import replay
    from mailbridge.control.delivery_queries import deliveries
    from mailbridge.control.queries import show

    async def scenario(office: Office) -> None:
        fax = await ended(office, "failed")
        await office.settled()
        shown = await show(office.store, id=fax.id)
        [notice] = shown["notices"]
        assert (notice["to"], notice["kind"], notice["state"]) == (DANA, "failed", "dead")
        assert [(event["type"], [one["kind"] for one in event["notices"]]) for event in shown["events"]] == [
            ("fax.queued", []),
            ("fax.submitted", []),
            ("fax.failed", ["failed"]),
            ("notice.failed", []),
        ]
        [row] = await deliveries(office.store, dead=True)
        assert (row["endpoint"], row["to"], row["type"], row["status"]) == ("notice", DANA, "fax.failed", 550)
        counts = await office.store.run(lambda tx: tx.deliveries.counts())
        assert counts == {("notice", "dead"): 1}
        [event] = [one for one in await office.store.run(lambda tx: tx.events.newest()) if one.type == "notice.failed"]
        assert (event.data["to"], event.data["fax_ids"], event.data["error"]) == (DANA, [fax.id], "550 5.1.1 who?")
        office.relay.refuse.clear()
        await replay(office.store, office.clock, ids=[row["id"]])
        assert len(await office.mails()) == 1

    in_office(tmp_path, scenario, relay=RelayStandIn(refuse={"RCPT": "550 5.1.1 who?"}))


def test_N20_a_copy_after_a_lost_answer_has_the_same_message_id(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        await ended(office, "failed")
        await office.settled()
        [one] = await office.deliveries()
        assert (one.state, one.attempts) == ("pending", 1)
        office.leap(timedelta(minutes=2))
        [mail] = await office.mails()
        assert mail.message["Message-ID"] == f"<{one.id}@gw.example.co.il>"

    in_office(tmp_path, scenario, relay=RelayStandIn(lose=1))


@pytest.mark.parametrize(
    ("refuse", "state"),
    [
        ({"RCPT": "451 later"}, "pending"),
        ({".": "452 full"}, "pending"),
        ({"MAIL": "421 bye"}, "pending"),
        ({"CONNECT": "554 no service"}, "pending"),
        ({"MAIL": "530 log in first"}, "pending"),
        ({"RCPT": "550 unknown"}, "dead"),
        ({".": "554 content refused"}, "dead"),
    ],
    ids=str,
)
def test_N21_what_a_refusal_means(tmp_path: Path, refuse: dict[str, str], state: str) -> None:
    async def scenario(office: Office) -> None:
        await ended(office, "failed")
        await office.settled()
        [one] = await office.deliveries()
        assert (one.state, one.attempts) == (state, 1)
        assert next(iter(refuse.values())) in str(one.error)

    in_office(tmp_path, scenario, relay=RelayStandIn(refuse=refuse))


def test_N21_after_five_days_a_notice_is_dead(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        await ended(office, "failed")
        started = office.clock()
        while True:
            await office.settled()
            [one] = await office.deliveries()
            if one.state == "dead":
                break
            await office.stop()
            office.clock.offset += one.due_at - office.clock()
            office.start()
        assert timedelta(days=4) < office.clock() - started < timedelta(days=6)
        assert one.attempts == 14

    in_office(tmp_path, scenario, relay=RelayStandIn(refuse={"RCPT": "451 later"}))


def test_N21_while_the_relay_is_gone_one_notice_at_a_time_is_tried(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        office.relay.refuse["CONNECT"] = "421 closed"
        for _ in range(30):
            await ended(office, "failed")

        async def tried() -> int:
            return sum(one.attempts for one in await office.deliveries())

        from tests.wait_helpers import until

        await until(tried)
        assert len([one for one in await office.deliveries() if one.state == "pending"]) == 30
        assert await tried() <= 5
        office.relay.refuse.clear()
        await office.stop()
        office.leap(timedelta(minutes=2))
        office.start()
        assert len(await office.mails()) == 30

    in_office(tmp_path, scenario, "per_hour = 1000")
