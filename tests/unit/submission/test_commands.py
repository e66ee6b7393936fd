"""MAIL and RCPT: paths of every kind, and the parameters of RFC 1870, 3461 and 6531."""

from __future__ import annotations

import pytest

from mailbridge.errors import Refused
from mailbridge.submission.commands import check_mail, check_rcpt, parse_path


@pytest.mark.parametrize(
    ("arg", "address", "parameters"),
    [
        ("FROM:<a@b>", "a@b", {}),
        ("from: <a@b> size=10 BODY=8BITMIME", "a@b", {"SIZE": "10", "BODY": "8BITMIME"}),
        ("FROM:<>", "", {}),
        ("FROM:a@b", "a@b", {}),
        ("FROM:<@x,@y:a@b>", "a@b", {}),
        ("FROM:< a@b >", "a@b", {}),
        ("FROM:<Scanner 2 <scan@office.example>>", "scan@office.example", {}),
        ('FROM:<"Scanner > 2" <scan@office.example> > SIZE=10', "scan@office.example", {"SIZE": "10"}),
        ('FROM:"Scanner" <scan@office.example>', "scan@office.example", {}),
        ('FROM:"Scanner"<scan@office.example> SIZE=10', "scan@office.example", {"SIZE": "10"}),
        ("FROM:Scanner 2 <scan@office.example>", "scan@office.example", {}),
        ('FROM: Dana "of the \\"office\\"" Levi <dana@office.example>', "dana@office.example", {}),
        ("FROM:dana@office.example <dana@office.example>", "dana@office.example", {}),
        ("FROM:סורק <scan@office.example>", "scan@office.example", {}),
        ("FROM:=?utf-8?B?16HXldeo16c=?= <scan@office.example>", "scan@office.example", {}),
        ("FROM:<<scan@office.example>>", "scan@office.example", {}),
        ('FROM:"nobody" <>', "", {}),
        ("FROM:a@b AUTH=<>", "a@b", {"AUTH": "<>"}),
        ("FROM:<a@b> AUTH=<>", "a@b", {"AUTH": "<>"}),
        ('FROM:<"a > b"@c> RET=hdrs ENVID=QqX+2B', '"a > b"@c', {"RET": "hdrs", "ENVID": "QqX+2B"}),
    ],
)
def test_path_of_mail_or_rcpt_is_parsed(arg: str, address: str, parameters: dict[str, str]) -> None:
    assert parse_path(arg, "FROM:") == (address, parameters)
    check_mail(parameters, 100)


@pytest.mark.parametrize(
    "arg",
    [
        *(None, "", "TO:<a@b>", "FROM:", "FROM:<a@b", "FROM:<a\x01@b>", "FROM:<a\udc80@b>", "FROM:<a@b> X="),
        *(
            'FROM:"Scanner <a@b>',
            "FROM:Scanner <a@b>>",
            "FROM:<Scanner <a@b>",
            "FROM:<a@b> <c@d>",
        ),
        *("FROM:<a@b <c@d> e>", "FROM:<a<b@c>", "FROM:Scanner<a@b>", "FROM:<x <y <a@b>>>"),
    ],
)
def test_path_that_cannot_be_parsed_is_refused(arg: str | None) -> None:
    with pytest.raises(Refused, match=r"^(501 5\.5\.4|553 5\.1\.3) "):
        parse_path(arg, "FROM:")


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"SIZE": "101"}, "552 5.3.4"),
        ({"SIZE": "-1"}, "501 5.5.4"),
        ({"SIZE": "٣"}, "501 5.5.4"),
        ({"BODY": "BINARYMIME"}, "501 5.5.4"),
        ({"RET": "ALL"}, "501 5.5.4"),
        ({"ENVID": "a=b"}, "501 5.5.4"),
        ({"XYZ": "1"}, "555 5.5.4"),
    ],
)
def test_mail_parameters_refused(parameters: dict[str, str], code: str) -> None:
    with pytest.raises(Refused) as caught:
        check_mail(parameters, 100)
    assert caught.value.reply.startswith(code + " ")


def test_rcpt_parameters() -> None:
    check_rcpt({"NOTIFY": "success,Failure", "ORCPT": "rfc822;Anna+2BB@x"})
    check_rcpt({"NOTIFY": "NEVER"})
    check_rcpt({"ORCPT": "UTF-8;דנה@x"})
    for parameters in (
        {"NOTIFY": "NEVER,SUCCESS"},
        {"NOTIFY": "ALWAYS"},
        {"ORCPT": "rfc822"},
        {"ORCPT": "דואר;x"},
        {"ORCPT": "rfc822;דנה@x"},
        {"ORCPT": "utf-8;a\u202eb"},
        {"ORCPT": f"{'x' * 41};x"},
        {"ORCPT": "rfc 822;x"},
        {"ORCPT": "rfc822;a=b"},
        {"SIZE": "1"},
    ):
        with pytest.raises(Refused):
            check_rcpt(parameters)
