"""What holds for every test: none leaves its log's setup behind, and in CI none is skipped without a good reason.

With CI=true, as `.ci/run` sets it, a skipped test is a failure, unless its reason begins with what this machine cannot do.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
import structlog

_EXCUSES = ("this machine", "this kernel")


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if not reason.startswith(_EXCUSES):
            report.outcome = "failed"
            report.longrepr = f"skipped, which `.ci/run` does not let pass: {reason}"
    return report
