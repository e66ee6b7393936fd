"""Contacts: names and lists become numbers, and every mistake in them is found before somebody faxes by them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from mailbridge.phone.contacts import DEEPEST, Directory, Entry, build, normal
from tests.work_counter import calls

OFFICE: dict[str, Entry] = {
    "clalit-haifa": "04-8765432",
    "Leumi": "03-9876543",
    "hapoalim": "+972 3 9876544",
    "banks": ["leumi", "Hapoalim"],
    "all": ["banks", "clalit-haifa", "leumi"],
    'בי"ח כרמל': "1-700-123-456",
}
NUMBERS = {
    "clalit-haifa": ("+97248765432",),
    "leumi": ("+97239876543",),
    "hapoalim": ("+97239876544",),
    "banks": ("+97239876543", "+97239876544"),
    "all": ("+97239876543", "+97239876544", "+97248765432"),
    "ביח-כרמל": ("+9721700123456",),
}


def faults(entries: dict[str, Entry]) -> dict[str, str]:
    return {mistake.key: f"{mistake.fault}; {mistake.remedy}" for mistake in build(entries, "IL")[1]}


def test_names_and_lists_become_numbers_each_once() -> None:
    directory, mistakes = build(OFFICE, "IL")
    assert mistakes == []
    assert directory.numbers == NUMBERS


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("Clalit-Haifa", "clalit-haifa"),
        ("clalit haifa", "clalit-haifa"),
        (" Clalit   Haifa ", "clalit-haifa"),
        ("LEUMI", "leumi"),
        ('בי"ח כרמל', "ביח-כרמל"),
        ("בי״ח-כרמל", "ביח-כרמל"),
        ("\u200fביח כרמל\u200e", "ביח-כרמל"),
    ],
)
def test_a_name_is_found_however_it_is_written(asked: str, name: str) -> None:
    assert build(OFFICE, "IL")[0].find(asked) == NUMBERS[name]


def test_attack_1_a_like_name_among_many_is_found_with_little_work() -> None:
    directory = Directory({f"clalit-haifa-{number:05}": ("+97248765432",) for number in range(20_000)})
    assert directory.nearest("clalit-haifa-00017x")[0] == "clalit-haifa-00017"
    assert calls(lambda: directory.nearest("clalit-haifa-x")) < 60_000


def test_an_unknown_name_is_not_found_and_the_nearest_are_named() -> None:
    directory, _ = build(OFFICE, "IL")
    assert directory.find("clalit-hafia") is None
    assert directory.find("") is None
    assert directory.nearest("clalit-hafia") == ["clalit-haifa"]
    assert directory.nearest("bank") == ["banks"]
    assert directory.nearest("xyz") == []


def test_among_very_many_names_only_those_with_the_same_beginning_are_compared() -> None:
    directory, _ = build({f"{first}{n}-branch": "03-9876543" for first in "ab" for n in range(600)}, "IL")
    assert directory.nearest("b12-brunch")[0] == "b12-branch"


@pytest.mark.parametrize(
    ("entries", "key", "fault"),
    [
        (
            {"leumi": "03-987654"},
            "leumi",
            "'03-987654': the number is too short: 7 digits must follow 03, and there are 6; write it",
        ),
        ({"leumi": "39876543"}, "leumi", "the leading 0 is missing"),
        ({"leumi": "office"}, "leumi", "'office': this is not a fax number"),
        ({"leumi": "03-9876543,,1"}, "leumi", "dialling signs"),
        ({"banks": []}, "banks", "the list is empty"),
        ({"banks": ["leumy"], "leumi": "03-9876543"}, "banks", "no contact has the name 'leumy'; did you mean 'leumi'?"),
        ({"banks": ["03-9876543"]}, "banks", "no contact has the name '03-9876543'; add it, or remove it"),
        ({"banks": ["Banks"]}, "banks", "a list holds itself: banks in banks"),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "a", "a list holds itself: a in c in b in a"),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, "b", "a list holds itself: b in c in b"),
        ({"Leumi": "03-9876543", "leumi ": "03-9876543"}, "leumi ", "the contact 'Leumi' has the same name"),
        ({"03-9876543": "03-9876544"}, "03-9876543", "needs a letter"),
        ({"": "03-9876544"}, "", "needs a letter"),
        ({"a@b": "03-9876544"}, "a@b", "cannot stand before an @"),
        ({"a\x01": "03-9876544"}, "a\x01", "cannot stand before an @"),
        ({"x" * 65: "03-9876544"}, "x" * 65, "cannot stand before an @"),
    ],
)
def test_each_mistake_is_told(entries: dict[str, Entry], key: str, fault: str) -> None:
    found = faults(entries)
    assert set(found) == {f"contacts.{key}"}
    assert fault in found[f"contacts.{key}"]


def nested(depth: int) -> dict[str, Entry]:
    return {"leumi": "03-9876543", "list-1": ["leumi"], **{f"list-{n}": [f"list-{n - 1}"] for n in range(2, depth + 1)}}


@pytest.mark.parametrize("outer_first", [False, True])
def test_lists_are_nested_only_so_deep(outer_first: bool) -> None:
    deep = dict(sorted(nested(DEEPEST).items(), reverse=outer_first))
    directory, mistakes = build(deep, "IL")
    assert (directory.find(f"list-{DEEPEST}"), mistakes) == (("+97239876543",), [])
    found = faults(dict(sorted(nested(DEEPEST + 1).items(), reverse=outer_first)))
    assert f"nested more than {DEEPEST} deep" in found[f"contacts.list-{DEEPEST + 1}"]


def test_a_very_long_chain_of_lists_ends_in_a_mistake() -> None:
    assert any("nested" in fault for fault in faults(dict(reversed(nested(5000).items()))).values())


def test_numbers_of_another_region_and_numbers_that_are_only_possible() -> None:
    assert build({"ny": "212 555 0123"}, "US")[0].find("ny") == ("+12125550123",)
    assert build({"leumi": "03-987654"}, "IL", possible=True)[0].find("leumi") == ("+9723987654",)


NAMES = strategies.sampled_from(["a", "b", "c", "d", "e"])
ENTRIES = strategies.dictionaries(NAMES, strategies.one_of(strategies.just("03-9876543"), strategies.lists(NAMES, max_size=4)))


@given(ENTRIES)
def test_whatever_the_lists_hold_the_directory_is_whole_or_the_mistakes_say_why(entries: dict[str, Entry]) -> None:
    directory, mistakes = build(entries, "IL")
    assert mistakes or set(directory.numbers) == set(entries)
    assert all(numbers == ("+97239876543",) for numbers in directory.numbers.values())


@given(strategies.text(max_size=20))
def test_a_normal_form_is_its_own(name: str) -> None:
    assert normal(normal(name)) == normal(name)
