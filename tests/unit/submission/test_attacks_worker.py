"""Attack 12: what code that took over a worker can do. Each denial is proved by a program in the worker's place."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mailbridge.model import Document
from mailbridge.page.confirmation_text import ConfirmationText
from mailbridge.store.local_spool import LocalSpool
from mailbridge.submission import sandbox
from mailbridge.submission.letter_reader import LetterReader
from mailbridge.submission.worker_protocol import (
    HEAD_SIZE,
    READY_SIZE,
    ConfirmationRequest,
    LetterRequest,
    PictureRequest,
    Response,
    decode_response,
    response_lengths,
    send_request,
)
from tests.unit.submission.letter import letter_fixtures as files
from tests.unit.submission.letter.letter_fixtures import mail

HOSTILE = Path(__file__).with_name("hostile_worker.py")
MAIL = b"From: a@b.co\nSubject: s\n\nhello\n"
DENIED = {"EPERM", "EACCES", "EAGAIN"}
PATHS = {"read the configuration", "read link.key", "read the database", "read another mail", "list the spool"}
PATHS |= {"write into the spool", "delete a mail", "rename a mail", "open the daemon's memory", "read the daemon's environment"}
needs_all = pytest.mark.skipif(bool(sandbox.missing_parts()), reason=f"the kernel lacks {sandbox.missing_parts()}")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    for name in ("config.toml", "link.key", "mailbridge.db", "spool/mail.eml"):
        (tmp_path / name).write_bytes(b"secret")
    return tmp_path


def outcomes(parts: str, state: Path) -> dict[str, str]:
    """Run the hostile program against these files, a control socket and a port; return what became of each attempt."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as control:
        control.bind(str(state / "control.sock"))
        control.listen()
        command = [sys.executable, str(HOSTILE), parts, str(state), str(server.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    (state / "control.sock").unlink()
    found: dict[str, str] = json.loads(done.stdout)
    return found


@needs_all
def test_attack_12_a_worker_can_reach_nothing(state: Path) -> None:
    found = outcomes("all", state)
    assert {name: outcome for name, outcome in found.items() if outcome not in DENIED} == {}
    assert sorted(path.name for path in state.rglob("*") if path.is_file()) == [
        "config.toml",
        "link.key",
        "mail.eml",
        "mailbridge.db",
    ]


@needs_all
def test_attack_12_a_worker_that_may_start_threads_can_do_nothing_else(state: Path) -> None:
    found = outcomes("all but threads", state)
    assert {name: one for name, one in found.items() if one not in DENIED} == {
        "start a thread": "done",
        "start a process by clone3": "ENOSYS",
    }


@needs_all
def test_attack_12_without_a_sandbox_the_same_program_reaches_them(state: Path) -> None:
    found = outcomes("none", state)
    done = {name for name, outcome in found.items() if outcome == "done"}
    assert done >= {"signal the daemon", "read link.key", "read the database", "write into the spool", "use the control socket"}
    assert done >= {"connect to the network", "send a descriptor", "start a process", "start a thread"}


@needs_all
def test_attack_12_each_part_of_the_sandbox_denies_paths_alone(state: Path) -> None:
    for part in ("paths", "calls"):
        found = outcomes(part, state)
        assert {name: found[name] for name in PATHS if found[name] not in DENIED} == {}, part


@needs_all
def test_attack_12_every_worker_is_in_the_sandbox_before_its_first_mail(tmp_path: Path) -> None:
    async def run() -> None:
        reader = LetterReader(LocalSpool(tmp_path), "auto", workers=1)
        await reader.start()
        try:
            process = Path(f"/proc/{reader._workers[0].pid}")
            status, limits = (process / "status").read_text(), (process / "limits").read_text()
            descriptors = {os.readlink(one) for one in (process / "fd").iterdir()}
        finally:
            await reader.stop()
        assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
        assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
        assert re.search(r"^Threads:\t1$", status, re.MULTILINE)
        assert re.search(r"^Max processes +(0|4096) +(0|4096) ", limits, re.MULTILINE)
        assert re.search(r"^Max open files +16 +16 ", limits, re.MULTILINE)
        # Its socket, its pipe, and what it throws away: no file of the daemon, not even its log.
        assert {re.sub(r":\[\d+\]", "", name) for name in descriptors} <= {"socket", "pipe", "/dev/null"}

    asyncio.run(run())


def test_attack_12_a_worker_is_never_sent_a_path(tmp_path: Path) -> None:
    """The mail's name in the spool is only written into the answer: no file has to have it."""
    (tmp_path / "elsewhere").write_bytes(MAIL)
    (letter,) = Worker().read([("mail/00/no-such-file.eml", (tmp_path / "elsewhere"))])
    assert letter.letter is not None
    assert letter.letter.subject == "s"


class Worker:
    """A worker that says at its end which modules were imported after it entered the sandbox."""

    PROGRAM = """
import json, sys
from mailbridge.submission import worker
serve = worker.serve
worker.load()
def watched(requests, responses):
    before = set(sys.modules)
    serve(requests, responses)
    responses.write(json.dumps(sorted(set(sys.modules) - before)).encode())
    responses.flush()
worker.serve = watched
worker.run()
"""

    def __init__(self) -> None:
        self.imported: list[str] = []

    def read(self, mails: Sequence[tuple[str | ConfirmationRequest | PictureRequest, Path]]) -> list[Response]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-c", self.PROGRAM]
        with ours, subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.PIPE) as process:
            theirs.close()
            assert process.stdout is not None
            process.stdout.read(READY_SIZE)
            responses = []
            for path, file in mails:
                with file.open("rb") as opened:
                    request = LetterRequest(path=path, page_mode="auto") if isinstance(path, str) else path
                    send_request(ours, request, [opened.fileno()])
                lengths = response_lengths(process.stdout.read(HEAD_SIZE))
                responses.append(decode_response(*map(process.stdout.read, lengths)))
            ours.close()
            self.imported = json.loads(process.stdout.read())
        return responses


def test_a_worker_loads_nothing_once_it_is_ready(tmp_path: Path) -> None:
    """All kinds of mail are read in the sandbox as outside of it, and nothing is imported for them."""
    corpus = Path(__file__).parents[2] / "corpus"
    pictures = [
        (f"a.{kind.lower()}", f"image/{kind.lower()}", files.picture(kind)) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP")
    ]
    made = {
        "pictures": mail("see", *pictures, ("t.tiff", "image/tiff", files.black_and_white("TIFF"))),
        "heic": mail("see", ("a.heic", "image/heic", heic())),
        "icon": mail("see", ("a.ico", "image/x-icon", files.picture("ICO"))),
        "office": mail("see", ("a.odt", "application/vnd.oasis.opendocument.text", files.zipped("mimetype", "content.xml"))),
    }
    for name, message in made.items():
        (tmp_path / f"{name}.eml").write_bytes(message.as_bytes())
    for charset in ("iso-2022-jp", "koi8-r", "utf-7", "big5", "euc-kr", "x-unknown", "../../etc/passwd", "hex", "utf-16"):
        name = charset.replace("/", "_")
        (tmp_path / f"{name}.eml").write_bytes(
            b"From: a@b.co\nContent-Type: text/plain; charset=%s\n\nhello \xe9\n" % charset.encode()
        )
    mails = [*sorted(corpus.rglob("*.eml")), *sorted(tmp_path.glob("*.eml"))]
    worker = Worker()
    inside = worker.read([("mail/m.eml", path) for path in mails])
    assert worker.imported == []
    from mailbridge.submission import worker as outside

    for path, response in zip(mails, inside, strict=True):
        with path.open("rb") as file:
            expected = outside.respond(LetterRequest(path="mail/m.eml", page_mode="auto"), [file.fileno()])
        assert without_pages(response) == without_pages(expected), path.name


def test_a_worker_loads_nothing_for_a_confirmation(tmp_path: Path) -> None:
    """The page shows the document as outside of the sandbox: a picture that cannot be made is left out silently."""
    (tmp_path / "a.pdf").write_bytes(files.PDF)
    (tmp_path / "a.tiff").write_bytes(files.black_and_white("TIFF"))
    (tmp_path / "a.jpeg").write_bytes(files.picture("JPEG"))
    text = ConfirmationText(title="אישור", rows=(("To", "+97239876543"),), remarks=(), documents=())
    requests = []
    for path in sorted(tmp_path.iterdir()):
        size = path.stat().st_size
        document = Document(name="a", content_type="x/y", size=size, sha256="", path="mail/a.eml", offset=0, length=size)
        requests.append((ConfirmationRequest(text=text, document=document), path))
    worker = Worker()
    inside = worker.read(requests)
    assert worker.imported == []
    from mailbridge.submission import worker as outside

    plain = outside.respond(ConfirmationRequest(text=text), []).page
    assert plain is not None
    for (request, path), response in zip(requests, inside, strict=True):
        with path.open("rb") as file:
            expected = outside.respond(request, [file.fileno()]).page
        assert expected is not None
        assert response.page is not None
        assert abs(len(response.page) - len(expected)) < 100 < len(expected) - len(plain), path.name


def test_a_worker_loads_nothing_for_a_picture(tmp_path: Path) -> None:
    """Pages of PDF and pictures, also broken ones, are shown in the sandbox as outside of it."""
    (tmp_path / "a.pdf").write_bytes(files.PDF)
    (tmp_path / "broken.pdf").write_bytes(files.PDF[:60])
    (tmp_path / "a.tiff").write_bytes(files.black_and_white("TIFF"))
    (tmp_path / "a.zip").write_bytes(files.zipped("mimetype"))
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        (tmp_path / kind).write_bytes(files.picture(kind))
    requests = []
    for path in sorted(tmp_path.iterdir()):
        size = path.stat().st_size
        document = Document(name="a", content_type="x/y", size=size, sha256="", path="mail/a.eml", offset=0, length=size)
        requests += [(PictureRequest(document=document, number=number, width=300), path) for number in (1, 2)]
    worker = Worker()
    inside = worker.read(requests)
    assert worker.imported == []
    assert sum(bool(response.page) for response in inside) == 7
    from mailbridge.submission import worker as outside

    for (request, path), response in zip(requests, inside, strict=True):
        with path.open("rb") as file:
            assert response == outside.respond(request, [file.fileno()]), path.name


def without_pages(response: Response) -> object:
    """Return what two readings of a mail have in common: a PDF that PDFium wrote has a random ID."""
    if response.letter is None:
        return response
    letter = response.letter
    return [(one.name, one.content_type, one.pages) for one in letter.documents], letter.content_digest, letter.subject


def heic() -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    return files.picture("HEIF")


def test_a_kernel_without_the_parts_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_landlock_version", lambda: -1)
    monkeypatch.setattr(sandbox, "_has_filter", lambda: False)
    assert sandbox.missing_parts() == ["Landlock (no paths)", "seccomp (system calls)"]


def test_the_filter_of_each_machine_is_complete() -> None:
    for machine in ("x86_64", "aarch64"):
        program = sandbox._filter(machine, threads=True)
        assert len(program) % 8 == 0
        assert len(program) // 8 < 256  # jumps have one byte
