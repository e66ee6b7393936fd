"""docs/myfax.md: its program is run against the MyFax simulator, and its tables are compared with the code."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from mailbridge import errors, myfax
from mailbridge.demo.simulator import Simulator
from mailbridge.myfax import MyFax, Outcome, describe, report_outcome, status_outcome
from tests.wait_helpers import PATIENCE

PAGE = (Path(__file__).parents[2] / "docs" / "myfax.md").read_text(encoding="utf-8")
PROGRAM, ERRORS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
# The packages that the page says are needed, and what they need themselves.
[NEEDED] = re.findall(r"pip install (httpx .*)", PAGE)
BELOW = {"anyio", "certifi", "h11", "httpcore", "idna", "dns", "typing_extensions", "email_validator", "phonenumbers"}


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without the header row."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")][2:]


def test_the_program_is_ten_lines_and_does_what_the_page_says(tmp_path: Path) -> None:
    assert len([line for line in PROGRAM.splitlines() if line]) <= 10
    for name in ("contract.pdf", "appendix.tif"):
        (tmp_path / name).write_bytes(b"x" * 5000)

    async def main() -> tuple[Simulator, str]:
        simulator = Simulator(step=0.01)
        simulator.incoming["incoming"].append({"ID": "1", "TIME": "2026-01-04 09:00:00.0", "SOURCE": "08-9999999"})
        url = await simulator.start()
        program = PROGRAM.replace("http://127.0.0.1:8080/action/", url)
        assert program != PROGRAM
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", program),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE):
            output, faults = await process.communicate()
        await simulator.stop()
        assert (process.returncode, faults.decode()) == (0, "")
        return simulator, output.decode()

    simulator, output = asyncio.run(main())
    [fax] = simulator.uploads
    assert [file["name"] for file in fax.files] == ["contract.pdf", "appendix.tif"]
    assert output == f"{fax.fax_code} 9 0.40 ['+97289999999']\n"


def test_the_client_alone_loads_nothing_of_the_daemon_and_needs_only_the_packages_of_the_page(tmp_path: Path) -> None:
    allowed = {name.replace("-", "_").removesuffix("lite") for name in NEEDED.split()} | BELOW
    program = f"""
import sys, sysconfig
from importlib.abc import MetaPathFinder

class Only(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in {allowed!r} or top in ("mailbridge", "sniffio") or top.startswith("_"):
            return None
        raise ModuleNotFoundError(f"{{name}} is not installed", name=name)

sys.meta_path.insert(0, Only())
import mailbridge.myfax
client = mailbridge.myfax.MyFax("office@example.co.il", "s3cret", "http://127.0.0.1:1/")
assert "s3cret" not in repr(vars(client))
print(sorted(name for name in sys.modules if name.startswith("mailbridge") and not name.startswith("mailbridge.myfax")))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False)
    modules = ["mailbridge", *(f"mailbridge.{name}" for name in ("errors", "happy_eyeballs", "http_connections", "http_stream"))]
    assert (ran.stdout, ran.stderr) == (f"{modules}\n", "")


@pytest.mark.parametrize(
    ("fault", "times", "result"),
    [(None, 0, ""), ("hang", 1, "in doubt: "), ("http_500", 1, "in doubt: "), ("rejected", 1, "not sent: MyFax refused")],
)
def test_the_example_of_errors_sends_a_fax_in_doubt_once(tmp_path: Path, fault: str | None, times: int, result: str) -> None:
    path = tmp_path / "contract.pdf"
    path.write_bytes(b"%PDF-1.4")
    example: dict[str, Any] = {}
    exec(ERRORS, example)

    async def main() -> tuple[int, str]:
        simulator = Simulator(step=0.01)
        url = await simulator.start()
        if fault is not None:
            simulator.misbehave(fault, times, "faxUpload.do")
        async with MyFax("office@example.co.il", "demo", url, 1.0 if fault == "hang" else PATIENCE) as client:
            answer = await example["send"](client, "03-9876543", str(path))
        uploads = len(simulator.uploads)
        await simulator.stop()
        return uploads, answer

    uploads, answer = asyncio.run(main())
    assert uploads <= 1
    assert answer.startswith(result)


def test_every_action_and_every_error_is_on_the_page() -> None:
    actions = [name for name, _ in inspect.getmembers(MyFax, inspect.isfunction) if not name.startswith("_")]
    listed = {cells[0].strip("`"): cells[1] for cells in rows("A method for each action")}
    assert sorted(listed) == actions
    assert all(listed[name] in (inspect.getdoc(getattr(MyFax, name)) or "") for name in actions)
    classes = {name for name in myfax.__all__ if name in vars(errors)} - {"MyFaxError"}
    assert {cells[0].strip("`") for cells in rows("Errors")} == classes


def as_printed(outcome: Outcome | Literal["ask"]) -> str:
    if isinstance(outcome, str):
        return outcome
    return f"`{outcome.error}`" if outcome.error else outcome.kind


def by_report(code: int) -> str:
    """Return the outcome by a report; where it depends on Success or Fail, the one that is a result."""
    success, fail = (as_printed(report_outcome(word, code)) for word in ("Success", "Fail"))
    if success == fail:
        return success
    return f"Success: {success}" if fail == "ask" else f"Fail: {fail}"


def test_the_table_of_codes_matches_the_code() -> None:
    known = [code for code in range(-1, 100) if "unknown" not in describe(code)]
    expected = [
        [str(code) if code in known else "other", describe(code), as_printed(status_outcome(code, True)), by_report(code)]
        for code in (*known, 42)
    ]
    assert rows("The codes of a fax") == expected
