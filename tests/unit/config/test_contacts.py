"""Contacts of the configuration and of its CSV file, and what is said where they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailbridge.config import Config, load, problems
from mailbridge.config.warnings import config_warnings
from tests.unit.config.test_loader import MINIMAL


def config_file(folder: Path, contacts: str, csv: bytes | None = None, more: str = "") -> Path:
    path = folder / "config.toml"
    if csv is not None:
        (folder / "contacts.csv").write_bytes(csv)
        contacts = f'file = "{folder}/contacts.csv"\n{contacts}'
    path.write_text(f"{MINIMAL}{more}[contacts]\n{contacts}", encoding="utf-8")
    return path


def numbers(path: Path) -> dict[str, tuple[str, ...]]:
    return dict(load(path, {}).directory.numbers)


def errors(path: Path) -> list[str]:
    return [str(error).replace(f"{path.parent}/", "") for error in problems(path, {})]


def test_names_and_lists_of_the_configuration(tmp_path: Path) -> None:
    contacts = 'leumi = "03-9876543"\n"בנק הפועלים" = "03-9876544"\nbanks = ["Leumi", "בנק הפועלים"]\n'
    assert numbers(config_file(tmp_path, contacts)) == {
        "leumi": ("+97239876543",),
        "בנק-הפועלים": ("+97239876544",),
        "banks": ("+97239876543", "+97239876544"),
    }


CSV = 'Leumi,03-9876543\r\n"Clalit, Haifa",04-8765432\r\n\r\nבנק הפועלים,03-9876544\r\n'
OF_CSV = {"leumi": ("+97239876543",), "clalit,-haifa": ("+97248765432",), "בנק-הפועלים": ("+97239876544",)}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1255"])
@pytest.mark.parametrize("heading", ["", "name,number\r\n", "Name, Number,\r\n"])
def test_the_file_is_read_as_spreadsheets_write_it(tmp_path: Path, encoding: str, heading: str) -> None:
    path = config_file(tmp_path, "", (heading + CSV).encode(encoding))
    assert numbers(path) == OF_CSV


def test_lists_name_contacts_of_the_file(tmp_path: Path) -> None:
    path = config_file(tmp_path, 'banks = ["leumi", "בנק הפועלים"]\n', CSV.encode())
    assert numbers(path) == OF_CSV | {"banks": ("+97239876543", "+97239876544")}


def test_empty_columns_and_a_line_that_is_there_twice_do_no_harm(tmp_path: Path) -> None:
    assert numbers(config_file(tmp_path, "", b"leumi, 03-9876543 ,,\n,,\nleumi,03-9876543\n")) == {"leumi": ("+97239876543",)}


@pytest.mark.parametrize(
    ("csv", "expected"),
    [
        (b"leumi\n", "contacts.file: line 1 of contacts.csv is not a contact; write it as name,number; file cannot be a name"),
        (b"leumi;03-9876543\n", "contacts.file: line 1 of contacts.csv is not a contact; "),
        (b"leumi,03-9876543,x\n", "contacts.file: line 1 of contacts.csv is not a contact; "),
        (b",03-9876543\n", "contacts.file: line 1 of contacts.csv is not a contact; "),
        (b"file,03-9876543\n", "contacts.file: line 1 of contacts.csv is not a contact; "),
        (
            b"leumi,03-9876543\nleumi,03-9876544\n",
            "contacts.file: line 2 of contacts.csv has 'leumi' again, with another number; ",
        ),
        (b"leumi,39876543\n", "contacts.leumi: '39876543': the leading 0 is missing; write it like"),
        (b"leumi,03-9876543\nLEUMI,03-9876544\n", "contacts.LEUMI: the contact 'leumi' has the same name; "),
        (b"banks,03-9876543\n", "contacts.banks: is in contacts.csv too; keep one of them"),
        (b'leumi,"03-9876543\n', "contacts.file: line 1 of contacts.csv is not CSV (unexpected end of data); save it as CSV"),
        (
            "leumi,03-9876543".encode("utf-16"),
            "contacts.file: contacts.csv is neither UTF-8 nor windows-1255; save it as CSV UTF-8",
        ),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, csv: bytes, expected: str) -> None:
    [found] = errors(config_file(tmp_path, 'banks = ["hapoalim"]\nhapoalim = "03-9876545"\n', csv))
    assert found.startswith(expected)


def test_every_line_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = config_file(tmp_path, "", b"leumi\nhapoalim,03-98765\nclalit,9876543\n")
    assert [error.split(";")[0] for error in errors(path)] == [
        "contacts.file: line 1 of contacts.csv is not a contact",
        "contacts.hapoalim: '03-98765': the number is too short: 7 digits must follow 03, and there are 5",
        "contacts.clalit: '9876543': the area code is missing",
    ]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    path = config_file(tmp_path, f'file = "{tmp_path}/none.csv"\n')
    assert [error.split(";")[0] for error in errors(path)] == [
        "contacts.file: none.csv cannot be read (No such file or directory)"
    ]


@pytest.mark.parametrize("value", ["3", '[["leumi"]]', "[3]", '{ number = "03-9876543" }', "true"])
def test_a_value_that_is_neither_number_nor_list(tmp_path: Path, value: str) -> None:
    assert errors(config_file(tmp_path, f"leumi = {value}\n")) == [
        'contacts.leumi: is neither a number nor a list of names; write "03-9876543", or a list such as ["leumi", "hapoalim"]'
    ]


def test_region_and_possible_count_for_contacts_too(tmp_path: Path) -> None:
    contacts = 'office = "212 555 0123"\n'
    assert numbers(config_file(tmp_path, contacts, more='[smtp]\nregion = "US"\n')) == {"office": ("+12125550123",)}
    assert errors(config_file(tmp_path, contacts)) != []
    assert numbers(config_file(tmp_path, 'x = "9876543"\n', more="[numbers]\npossible = true\n")) == {"x": ("+9729876543",)}


def test_the_model_alone_reads_no_file(tmp_path: Path) -> None:
    tree = {
        "account": {"office": {"email": "a@example.co.il", "password": "x"}},
        "contacts": {"file": tmp_path, "a": "03-9876543"},
    }
    config = Config.model_validate(tree)
    assert (config.contacts.file, dict(config.directory.numbers)) == (tmp_path, {"a": ("+97239876543",)})


def test_a_list_longer_than_a_mail_may_have_recipients_is_warned_of(tmp_path: Path) -> None:
    contacts = 'a = "03-9876543"\nb = "03-9876544"\nboth = ["a", "b"]\n'
    assert config_warnings(load(config_file(tmp_path, contacts), {}), []) == []
    [warning] = config_warnings(load(config_file(tmp_path, contacts, more="[smtp]\nmax_recipients = 1\n"), {}), [])
    assert str(warning).startswith("contacts.both: the list has 2 numbers, more than a mail may have recipients")
