"""What the worst mails of 40 MB cost a worker: seconds of processor time, and MiB of address space, of which it may have 1024.

    python -m tests.bench.letters [--only WORD]

Each mail is read by a fresh worker process under its own limits.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import io
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from mailbridge.submission.worker_protocol import (
    HEAD_SIZE,
    READY_SIZE,
    LetterRequest,
    decode_response,
    response_lengths,
    send_request,
)
from tests.unit.submission.letter import tnef_writer
from tests.unit.submission.letter.letter_fixtures import PDF
from tests.unit.submission.letter.mail_writer import HEAD, attached, html, mixed, text

SIZE = 40_000_000
RAW = SIZE // 137 * 100  # bytes that are 40 MB in base64


def pdf(size: int) -> bytes:
    return PDF + b"%" * (size - len(PDF))


def picture(kind: str, width: int, height: int, mode: str) -> bytes:
    written = io.BytesIO()
    Image.effect_noise((width // 8, height // 8), 90).resize((width, height)).convert(mode).save(written, kind)
    return written.getvalue()


def uuencoded(content: bytes) -> str:
    lines = b"".join(binascii.b2a_uu(content[at : at + 45]) for at in range(0, len(content), 45))
    return f"begin 644 a.pdf\n{lines.decode()}`\nend\n"


def nested_messages(size: int) -> bytes:
    stream = tnef_writer.stream(tnef_writer.attachment("a.pdf", pdf(size)))
    for _ in range(4):
        stream = tnef_writer.stream(tnef_writer.attachment("m", None, tnef_writer.embedded(stream)))
    return stream


def rich_text(source: str) -> bytes:
    return tnef_writer.stream(tnef_writer.message(tnef_writer.variable(0x1009, tnef_writer.BINARY, tnef_writer.rtf(source))))


def winmail(stream: bytes) -> bytes:
    return mixed(attached("winmail.dat", stream, "application/ms-tnef"))


MAILS: dict[str, Callable[[], bytes]] = {
    "PDF": lambda: mixed(text("x"), attached("a.pdf", pdf(RAW))),
    "winmail.dat with a PDF": lambda: winmail(tnef_writer.stream(tnef_writer.attachment("a.pdf", pdf(RAW - 1000)))),
    "winmail.dat, messages in messages": lambda: winmail(nested_messages(RAW - 2000)),
    "winmail.dat, small attributes": lambda: winmail(tnef_writer.stream(tnef_writer.attribute(0x00068000, b"") * (RAW // 11))),
    "winmail.dat, small attachments": lambda: winmail(tnef_writer.stream(tnef_writer.attachment("a.txt", b"x") * 15_000)),
    "winmail.dat, long Rich Text": lambda: winmail(rich_text("{\\u1?" * 390_000)),
    "uuencode": lambda: HEAD + text(uuencoded(pdf(SIZE // 62 * 45 - 1000))),
    "uuencode, beginnings": lambda: HEAD + text("begin 644 a\n" * (SIZE // 12)),
    "uuencode, short lines": lambda: HEAD + text("begin 644 a\n" + "#AAAA\n" * (SIZE // 6)),
    "flowed": lambda: HEAD + text("a \n" * 600_000, "; format=flowed"),
    "flowed, one paragraph": lambda: HEAD + text(">" + "a" * 1_900_000, "; format=flowed"),
    "text of one line": lambda: HEAD + text("a" * SIZE),
    "text, wrong bytes": lambda: HEAD + text("") + b"\xd7\n\xd7\xa9\xff" * 390_000,
    "text, marks of pictures": lambda: HEAD + text("[image:" * 280_000),
    "text of base64": lambda: HEAD + text(base64.encodebytes(bytes(RAW)).decode()),
    "HTML, tags": lambda: HEAD + html("<p>" * 650_000),
    "HTML, tags without an end": lambda: HEAD + html("<a " * 650_000),
    "HTML, tables": lambda: HEAD + html("<table><tr><td>x" * 120_000),
    "HTML, one picture": lambda: HEAD + html(f'<img src="data:image/png;base64,{base64.b64encode(bytes(RAW)).decode()}">'),
    "HTML, small pictures": lambda: HEAD + html("<img src=data:image/png;base64,aaaa>" * (SIZE // 36)),
    "BMP of 13 megapixels": lambda: mixed(text("x"), attached("a.bmp", picture("BMP", 4160, 3120, "L"))),
    "GIF of 50 megapixels": lambda: mixed(text("x"), attached("a.gif", picture("GIF", 7072, 7070, "P")[: RAW - 1000])),
    "WebP of 25 megapixels": lambda: mixed(text("x"), attached("a.webp", picture("WEBP", 5000, 5000, "RGBA"))),
    "HEIC of 50 megapixels": lambda: mixed(text("x"), attached("a.heic", heic(7072, 7070))),
    "HEIC, 16 photographs": lambda: mixed(*[attached("a.heic", heic(4032, 3024))] * 16),
    "BMP, 95 pictures": lambda: mixed(*[attached("a.bmp", picture("BMP", 640, 480, "L"))] * 95),
}


def heic(width: int, height: int) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    return picture("HEIF", width, height, "RGB")


def read(process: subprocess.Popen[bytes], connection: socket.socket, mail: Path) -> str:
    """Send one mail to the worker; return what became of it."""
    with mail.open("rb") as file:
        send_request(connection, LetterRequest(path="mail/a.eml", page_mode="auto"), [file.fileno()])
    assert process.stdout is not None
    if len(head := process.stdout.read(HEAD_SIZE)) < HEAD_SIZE:
        return "the worker died"
    response = decode_response(*map(process.stdout.read, response_lengths(head)))
    if response.letter is None:
        return response.refused or response.unavailable or ""
    return f"{len(response.letter.documents)} documents, {len(response.letter.derived) / 1e6:.1f} MB derived"


def usage(pid: int) -> tuple[float, float]:
    """Return the processor time in seconds and the peak of the address space in MiB."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"), int(status["VmPeak"].split()[0]) / 1024


def measure(mail: bytes) -> tuple[str, float, float]:
    with tempfile.TemporaryDirectory() as directory:
        small, path = HEAD + text("x"), Path(directory) / "a.eml"
        command = [sys.executable, "-m", "mailbridge.submission.worker"]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.PIPE) as process:
            theirs.close()
            assert process.stdout is not None
            process.stdout.read(READY_SIZE)
            path.write_bytes(small)
            read(process, ours, path)
            before, _ = usage(process.pid)
            path.write_bytes(mail)
            outcome = read(process, ours, path)
            if outcome == "the worker died":
                return outcome, 0, 0
            seconds, peak = usage(process.pid)
            ours.close()
            return outcome, seconds - before, peak


def results(only: str) -> Iterator[str]:
    for name, make in MAILS.items():
        if only in name:
            mail = make()
            outcome, seconds, peak = measure(mail)
            yield f"{name:34} {len(mail) / 1e6:6.1f} MB {seconds:6.2f} s {peak:6.0f} MiB  {outcome}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    for line in results(parser.parse_args().only):
        print(line, flush=True)
