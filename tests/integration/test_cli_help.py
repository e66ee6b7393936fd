"""Help pages, the version, and usage errors."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from mailbridge import __version__
from mailbridge.cli import COMMANDS, mailbridge
from tests.integration.cli_fixtures import Done, one_line, run, run_cold

PAGES = [[], *([name] for name in COMMANDS), ["line", "register"], ["line", "release"], ["user", "list"]]


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_help_page_is_narrow_and_has_examples_and_exit_codes(page: list[str]) -> None:
    shown = CliRunner().invoke(mailbridge, [*page, "--help"]).output
    assert max(map(len, shown.splitlines())) <= 100
    if page not in (["line"], ["user"]):
        assert "Exit codes: 0" in shown
        assert re.search(rf"^    .*mailbridge {' '.join(page)}", shown, re.MULTILINE) or page == ["migrate"], shown


def test_no_command_is_a_usage_error_with_help() -> None:
    done = run()
    assert (done.status, done.output) == (2, "")
    assert done.errors == run("--help").output == run("-h").output


def test_help_lists_every_command() -> None:
    done = run("--help")
    assert (done.status, done.errors) == (0, "")
    for name, (_, job) in COMMANDS.items():
        assert re.search(rf"^  {name} +\S", done.output, re.MULTILINE), name
        assert job.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    done = run_cold(name, "--help")
    assert (done.status, done.errors) == (0, "")
    assert done.output.startswith(f"Usage: mailbridge {name} ")
    assert "--json" in done.output or name in ("serve", "hash-password", "help", "user")


def test_version_option_prints_the_version() -> None:
    assert run("--version") == Done(0, f"mailbridge {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("quueue",), "No such command 'quueue'"),
        (("queue", "--stat", "failed"), "No such option"),
        (("queue", "--state", "lost"), "Invalid value for '--state': 'lost' is not one of 'queued'"),
        (("queue", "--limit", "0"), "Invalid value for '--limit': 0 is not in the range"),
        (("queue", "--limit", "many"), "Invalid value for '--limit': 'many' is not a valid integer"),
        (("show",), "Missing argument 'ID'"),
        (("show", "one", "two"), "Got unexpected extra argument (two)"),
        (("simulator", "--port", "70000"), "Invalid value for '--port': 70000 is not in the range"),
        (("hash-password", "hunter2"), "Got unexpected extra argument"),
    ],
)
def test_usage_error_is_one_line_and_exit_2(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)
    assert done.status == 2
    answer = one_line(done)
    assert answer.startswith(words)
    assert answer.endswith(" --help")
