"""`incoming`: the list, and its documents."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pty
import re
import sys
from pathlib import Path

import pytest

from mailbridge.cli.download import _publish
from mailbridge.report.document_download import NotFetched
from tests.integration.cli_myfax_fixtures import AT, CliSetup, play
from tests.integration.listing_fixtures import PDF, WAV
from tests.wait_helpers import PATIENCE


def test_incoming_lists_every_page_of_a_period(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        for hour in range(5):
            setup.myfax.add(AT.replace(hour=hour), f"08-999999{hour}")
        setup.myfax.add(AT, "", kind="voice", document=WAV)
        answer = await setup.json("incoming")
        assert next((one["time"][:13], one["from"], one["to"]) for one in answer) == (
            *("2026-01-04T04", "+97289999994"),
            "+97239876543",
        )
        assert len(answer) == 5
        await setup.json("incoming", "--since", "2026-01-04", "--until", "2026-01-05")
        form = setup.forms("/action/incoming.do")[-1]
        assert (form["startDate"], form["endDate"]) == ("2026-01-04 00:00:00", "2026-01-05 23:59:59")
        few = await setup.json("incoming", "--since", "2026-01-04T03:00", "--until", "2026-01-04T02:00:00+00:00")
        assert [one["from"] for one in few] == ["+97289999992", "+97289999991"]
        [voice] = await setup.json("incoming", "--voice", "--account", "branch")
        assert voice["from"] is None
        status, output, _ = await setup.run("incoming")
        assert status == 0
        assert output.splitlines()[0].split() == ["TIME", "FROM", "TO", "ID"]
        assert len(output.splitlines()) == 6
        # In the zone in which they are asked for, whatever this machine's is.
        assert output.splitlines()[1].startswith("2026-01-04 06:00:00 IST  +97289999994")
        for words in (("--since", "yesterday"), ("--since", "2026-01-05", "--until", "2026-01-04")):
            assert (await setup.run("incoming", *words))[0] == 2
        setup.myfax.down = True
        status, _, errors = await setup.run("incoming")
        assert (status, errors.partition(";")[0]) == (1, "mailbridge: MyFax answered with HTTP status 503")

    play(tmp_path, scenario)


def test_save_names_documents_by_time_and_caller_and_never_overwrites(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        folder = tmp_path / "saved"
        first = setup.myfax.add(AT, "../../12")
        setup.myfax.add(AT, document=WAV)
        setup.myfax.add(AT, "", document=b"something else")
        answer = await setup.json("incoming", "--save", str(folder))
        names = sorted(Path(one["file"]).name for one in answer)
        assert [re.sub(r"_[0-9a-f]{8}\.", ".", name) for name in names] == [
            "2026-01-04_11-00-00_+97289999999.wav",
            "2026-01-04_11-00-00_12.pdf",
            "2026-01-04_11-00-00_anonymous.bin",
        ]
        assert sorted(path.name for path in folder.iterdir()) == names
        [mine] = [one["file"] for one in answer if one["id"] == first]
        assert Path(mine).read_bytes() == PDF
        assert Path(mine).stat().st_mode & 0o777 == 0o600
        fetched = len(setup.myfax.fetched())
        Path(mine).write_bytes(b"mine now")
        again = await setup.json("incoming", "--save", str(folder))
        assert [one["file"] for one in again] == [one["file"] for one in answer]
        assert Path(mine).read_bytes() == b"mine now"
        assert len(setup.myfax.fetched()) == fetched

    play(tmp_path, scenario)


def test_save_resumes_a_download(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        folder, document = tmp_path / "saved", b"%PDF-" + bytes(range(256)) * 100
        identity = setup.myfax.add(AT, document=document)
        other = setup.myfax.add(AT, "03-5555555")
        path = f"/documents/{identity}"
        setup.myfax.answers[path] = [(206, {"Content-Range": f"bytes 0-9999/{len(document)}"}, document[:10_000])]
        status, output, errors = await setup.run("incoming", "--save", str(folder), "--json")
        assert status == 1
        assert re.fullmatch(
            r"mailbridge: 2026\S+: the document broke off after 10000 of 25605 bytes; run the command again .*\n", errors
        ), errors
        answer = {one["id"]: one["file"] for one in json.loads(output)}
        assert answer[identity] is None
        assert Path(answer[other]).read_bytes() == PDF
        [part] = folder.glob("*.part")
        assert part.read_bytes() == document[:10_000]
        answer = {one["id"]: one["file"] for one in await setup.json("incoming", "--save", str(folder))}
        assert Path(answer[identity]).read_bytes() == document
        assert [request.headers.get("range") for request in setup.myfax.asked if request.path == path] == [None, "bytes=10000-"]
        assert list(folder.glob("*.part")) == []
        # One that was whole but had not got its name, as after a power cut; and one that a server without ranges brings anew.
        for left in (document, document[:5000]):
            Path(answer[identity]).unlink()
            part.write_bytes(left)
            if left != document:
                setup.myfax.answers[path] = [(200, {}, document)]
            await setup.json("incoming", "--save", str(folder))
            assert Path(answer[identity]).read_bytes() == document

    play(tmp_path, scenario)


def test_save_without_hard_links_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    part, whole = tmp_path / "a.part", tmp_path / "a.pdf"
    part.write_bytes(PDF)
    _publish(part, whole)
    assert (whole.read_bytes(), part.exists()) == (PDF, False)
    part.write_bytes(WAV)
    with pytest.raises(NotFetched, match=r"a\.pdf already exists"):
        _publish(part, whole)
    assert (whole.read_bytes(), part.read_bytes()) == (PDF, WAV)


def test_save_into_an_unusable_folder_names_the_remedy(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        setup.myfax.add(AT)
        (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
        status, _, errors = await setup.run("incoming", "--save", str(tmp_path / "dangling"))
        assert (status, errors.count("\n")) == (1, 1)
        assert errors.startswith(f"mailbridge: {tmp_path}/dangling cannot be written (File exists); ")
        assert "--save" in errors

    play(tmp_path, scenario)


def test_save_fetches_from_myfax_only(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        setup.myfax.add(AT, url="https://evil.example/\x1b[31mfax.pdf")
        setup.myfax.add(AT, url="https://evil.example/fax.pdf")
        status, output, errors = await setup.run("incoming", "--save", str(tmp_path / "saved"))
        assert status == 1
        assert errors.count("the document's address is not MyFax's (https://evil.example)") >= 1
        assert "\x1b" not in errors + output
        assert list((tmp_path / "saved").iterdir()) == []

    play(tmp_path, scenario)


def test_save_shows_progress_on_a_terminal_only(tmp_path: Path) -> None:
    async def scenario(setup: CliSetup) -> None:
        setup.myfax.add(AT, document=b"%PDF-" + bytes(200_000))
        _, _, errors = await setup.run("incoming", "--save", str(tmp_path / "piped"))
        assert errors == ""
        leader, follower = pty.openpty()
        words = ("incoming", "--save", str(tmp_path / "shown"), "--config", str(tmp_path / "config.toml"))
        env = {**os.environ, "TERM": "xterm"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mailbridge", *words), stdout=asyncio.subprocess.DEVNULL, stderr=follower, env=env
        )
        os.close(follower)
        async with asyncio.timeout(PATIENCE):
            shown = await asyncio.to_thread(_drain, leader)
            assert await process.wait() == 0
        assert b"kB" in shown

    play(tmp_path, scenario)


def _drain(leader: int) -> bytes:
    shown = b""
    try:
        while piece := os.read(leader, 4096):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    return shown
