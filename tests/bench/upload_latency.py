"""Fax out: the time from the 250 of a mail to the arrival of the first byte of its upload, with the real daemon."""

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
from tests.bench.smtp_client import SmtpClient


async def measure(count: int, size: int) -> dict[str, Any]:
    """Send `count` mails of `size` bytes, each after the upload of the one before."""
    uploads = Arrivals()
    seen = 0

    def answer(request: Request) -> bytes:
        nonlocal seen
        fields = {"RESPONSE_CODE": "0", "RESPONSE_TEXT": "OK", "FAX_CODE": f"code-{seen}", "PRICE": "0.40", "CREDIT_LEFT": "9"}
        if request.path.endswith("/faxUpload.do"):
            uploads.note(str(seen), request.at)
            seen += 1
        else:
            fields |= {"FAX_STATUS": "9", "FINAL_STATUS": "true"}
        return f"<RESPONSE>{''.join(f'<{name}>{value}</{name}>' for name, value in fields.items())}</RESPONSE>".encode()

    async with listening(answer) as port, daemon(f'[myfax]\nurl = "http://127.0.0.1:{port}/action/"\n') as smtp:
        client, kind = await asyncio.to_thread(SmtpClient, smtp), with_pdf(size)
        latencies: list[float] = []
        for number in range(count):
            await asyncio.to_thread(client.send, kind)
            answered = time.perf_counter()
            latencies.append(await uploads.of(str(number)) - answered)
            # The daemon is idle before the next mail, so that one fax is measured, not a queue.
            await asyncio.sleep(random.uniform(0.02, 0.04))
        await asyncio.to_thread(client.close)
    return spread(latencies)


def main() -> None:
    """Measure and print one JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=300, help="number of mails (default 300)")
    options.add_argument("--size", type=int, default=200_000, help="bytes of a mail (default 200000)")
    chosen = options.parse_args()
    print(json.dumps({"bench": "upload_latency", "250_to_upload": asyncio.run(measure(chosen.count, chosen.size))}))


if __name__ == "__main__":
    main()
