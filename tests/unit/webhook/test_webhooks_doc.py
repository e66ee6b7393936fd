"""docs/webhooks.md is generated from the code and its events; `python -m tests.unit.webhook.test_webhooks_doc` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mailbridge import retry
from mailbridge.webhook.schemas import EVENTS
from tests.unit.webhook.example_events import bodies

PAGE = Path(__file__).parents[3] / "docs" / "webhooks.md"

PYTHON = """\
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from standardwebhooks import Webhook

hook = Webhook(os.environ["WEBHOOK_SECRET"])

class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        event = hook.verify(body, dict(self.headers))  # raises unless mailbridge signed it; then no 2xx is sent
        print(self.headers["webhook-id"], event["type"], event["data"].get("fax_id"), flush=True)
        self.send_response(204)
        self.end_headers()

ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receiver).serve_forever()
"""
JAVASCRIPT = """\
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const hook = new Webhook(process.env.WEBHOOK_SECRET);

createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request.setEncoding("utf8")) body += chunk;
  try {
    const event = hook.verify(body, request.headers);
    console.log(request.headers["webhook-id"], event.type, event.data.fax_id);
    response.writeHead(204).end();
  } catch { response.writeHead(401).end(); }
}).listen(8000);
"""
PHP = """\
<?php
$body = file_get_contents("php://input");
$key = base64_decode(substr(getenv("WEBHOOK_SECRET"), strlen("whsec_")));
$sent = $_SERVER["HTTP_WEBHOOK_TIMESTAMP"] ?? "0";
$mac = hash_hmac("sha256", ($_SERVER["HTTP_WEBHOOK_ID"] ?? "") . ".$sent.$body", $key, true);
$mine = "v1," . base64_encode($mac);
$good = array_filter(explode(" ", $_SERVER["HTTP_WEBHOOK_SIGNATURE"] ?? ""), fn($one) => hash_equals($mine, $one));
if (!$good || abs(time() - (int) $sent) > 300) { http_response_code(401); exit; }
$event = json_decode($body, true);
error_log($_SERVER["HTTP_WEBHOOK_ID"] . " " . $event["type"]);
http_response_code(204);
"""

_HEAD = """\
# Webhooks

This page is generated from the code, and its examples are events as they are really sent. A test compares the page with both.

mailbridge reports whatever happens to a fax to every `[webhook.NAME]` of the configuration, by a signed POST of JSON,
`{{"type", "timestamp", "data"}}`, as specified by [Standard Webhooks](https://www.standardwebhooks.com) 1.0. Verify it with any
Standard Webhooks library.

    [webhook.crm]
    url = "https://crm.example.co.il/hooks/fax"
    secret = {{ env = "CRM_WEBHOOK_SECRET" }}   # whsec_ and base64 of 24 to 64 random bytes
    events = ["fax.*", "voicemail.*"]

## What a receiver does

1. Verify `webhook-signature` over the body *as received*, before parsing it, and check that `webhook-timestamp` is recent.
2. Ignore a `webhook-id` that you have already processed: an event is delivered at least once, and twice if an answer is lost.
3. Answer 2xx quickly, within `timeout` (20 s), and do the work afterwards. Only the status counts. The body of the answer is
   read up
   to 64 KiB and for one second. A redirect is a failure.
4. Do not rely on ordering. `seq` counts the events of one fax: ignore a lower `seq` than the last one that you processed.
5. Ignore names that you do not know.

## Compatibility

What you can rely on, in every version with the same first number:

- The type of an event, the names in its `data`, and their meaning and type do not change and are not removed. A value that can
  be null
  can always be null.
- Events, names and values of `error.code`, `source` and `status` can be added. A receiver must ignore what it does not know,
  and must
  treat an unknown `error.code` like `unknown`.
- The signature scheme and the headers stay. The schedule of tries, the texts in `error.message`, and the order of names in the
  JSON can
  change.
- A removed name would be announced in the changelog, with a new first number of the version.

The receivers below verify and answer. Use a unique key in your database to ignore a repeated `webhook-id`. Put TLS in front.

Python, with `pip install standardwebhooks`:

```python
{python}```

JavaScript, with `npm install standardwebhooks`:

```javascript
{javascript}```

PHP, with nothing:

```php
{php}```

## Headers

| header | |
|---|---|
| `webhook-id` | the event's id, the same for every try and every endpoint |
| `webhook-timestamp` | the time of this try, in seconds since 1970 |
| `webhook-signature` | `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; one for each secret, separated by a blank |

**Rotation.** With `secret = [NEW, OLD]` every event has two signatures, and a receiver with either secret accepts it. To
rotate, add the
new secret in front, give it to the receiver, then remove the old one. `systemctl reload mailbridge` reads the configuration.

## If a receiver fails

After anything but 2xx mailbridge tries again: {schedule}, each wait up to a tenth longer. `Retry-After` of a 429 or 503
(seconds or a
date, at most a day) is honoured if it asks for a longer wait. After the last try the delivery is *dead*: it is kept and shown,
and you
can replay it.

    mailbridge deliveries --dead                        # dead deliveries, with the reason
    mailbridge replay evt_01J…                          # one event, or one delivery by its id
    mailbridge replay --endpoint crm                    # all dead deliveries of one webhook
    mailbridge replay --since 2026-01-04T09:00          # all dead deliveries of events since then; also --until, --limit
    mailbridge replay --endpoint old --retire           # discard what waits for a removed webhook

A time without a zone is in the machine's zone. A replayed delivery starts its schedule from the beginning.

**410 Gone stops the endpoint.** The delivery is dead at once, the log says `webhook stopped`, and nothing is sent to this
webhook until `mailbridge replay --endpoint NAME`, over restarts too. Events are kept meanwhile.
`mailbridge_deliveries{{endpoint,state="pending"}}` in `/metrics` counts them.

**A removed webhook** keeps its pending deliveries. `mailbridge deliveries` marks them, and `--retire` discards them.

**A slow receiver does not delay others.** Each endpoint has {places} concurrent deliveries and its own resolver.

**Allowed destinations (SSRF protection).** Unless `allow_private` is set, only https URLs with globally routable addresses are
called.
The address is checked when connecting, and that same address is connected to. Private, link-local and loopback addresses are
refused,
also inside IPv6 addresses.

## Documents

The `document` of a received fax depends on `webhook.NAME.document`. With `link`, `url` is a signed link that expires at
`expires_at`,
after 7 days, or after `retention.documents` if that is less. With `inline`, `content` is the document in base64, or above
`inline_limit` a link. With `none` it is null. `url` or `content` is null after the document was deleted.

Links start with `http.public_url`. Without it they point to `http.listen`, which a receiver on another machine cannot reach.

## Events

`mailbridge events --schema` prints the JSON Schema of every type, `mailbridge events --schema fax.failed` that of one. Every name
below is always present, unless its schema says otherwise. Times are RFC 3339 in UTC.
"""


def spoken(seconds: float) -> str:
    """Return a duration for people, such as `5 m`."""
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def example(type_: str) -> dict[str, Any]:
    """The first event of a type that has a document, where one has."""
    found = [body for body in bodies() if body["type"] == type_]
    best = [body for body in found if (body["data"].get("document") or {}).get("url")]
    return (best or sorted(found, key=lambda body: len(str(body)), reverse=True))[0]


def page() -> str:
    from mailbridge.webhook.dispatcher import CONCURRENCY

    waits = [spoken(seconds) for seconds in retry.WEBHOOK[1:]]
    schedule = f"after {', '.join(waits[:-1])} and {waits[-1]}"
    head = _HEAD.format(python=PYTHON, javascript=JAVASCRIPT, php=PHP, schedule=schedule, places=CONCURRENCY)
    table = "\n".join(f"| `{type_}` | {told} |" for type_, (told, _) in EVENTS.items())
    examples = "\n\n".join(
        f"### {type_}\n\n{told}\n\n```json\n{json.dumps(example(type_), ensure_ascii=False, indent=2)}\n```"
        for type_, (told, _) in EVENTS.items()
    )
    return f"{head}\n| type | when |\n|---|---|\n{table}\n\n{examples}\n"


def test_the_page_shows_what_the_code_does() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_event_of_the_contract_is_on_the_page() -> None:
    shown = PAGE.read_text(encoding="utf-8")
    assert [line[4:] for line in shown.splitlines() if line.startswith("### ")] == list(EVENTS)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
