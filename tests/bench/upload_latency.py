"""Fax out: the time from the 250 to the arrival of the upload's first byte at MyFax's stand-in, by the real daemon."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from typing import Any

from tests.bench.daemon import Arrivals, daemon, spread
from tests.bench.http_peer import Request, listening
from tests.bench.mails import with_pdf
from tests.bench.smtp_client import Line


async def measure(count: int, size: int) -> dict[str, Any]:
    """Send mails one after the other, each when the fax before is uploaded."""
    uploads = Arrivals()
    seen = 0

    def answer(request: Request) -> bytes:
        nonlocal seen
        told = {"RESPONSE_CODE": "0", "RESPONSE_TEXT": "OK", "FAX_CODE": f"code-{seen}", "PRICE": "0.40", "CREDIT_LEFT": "9"}
        if request.path.endswith("/faxUpload.do"):
            uploads.note(str(seen), request.at)
            seen += 1
        else:
            told |= {"FAX_STATUS": "9", "FINAL_STATUS": "true"}
        return f"<RESPONSE>{''.join(f'<{name}>{value}</{name}>' for name, value in told.items())}</RESPONSE>".encode()

    async with listening(answer) as port, daemon(f'[myfax]\nurl = "http://127.0.0.1:{port}/action/"\n') as smtp:
        line, kind = await asyncio.to_thread(Line, smtp), with_pdf(size)
        taken: list[float] = []
        for number in range(count):
            await asyncio.to_thread(line.send, kind)
            answered = time.perf_counter()
            taken.append(await uploads.of(str(number)) - answered)
            # The daemon is at rest before the next: what is measured is the way of one fax, not a queue.
            await asyncio.sleep(random.uniform(0.02, 0.04))
        await asyncio.to_thread(line.close)
    return spread(taken)


def main() -> None:
    """Measure and print one JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=300, help="of mails (default 300)")
    options.add_argument("--size", type=int, default=200_000, help="of a mail in bytes (default 200000)")
    chosen = options.parse_args()
    print(json.dumps({"bench": "upload_latency", "250_to_upload": asyncio.run(measure(chosen.count, chosen.size))}))


if __name__ == "__main__":
    main()
