"""docs/webhooks.md is made from the code and what it raises; `python -m tests.unit.webhook.test_webhooks_doc` writes it anew."""

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
        event = hook.verify(body, dict(self.headers))  # raises where it is not mailbridge's: no 2xx is answered
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

This page is made from the code, and its examples are what the tests' events look like as they leave; a test holds the page
against both.

Whatever happens to a fax is told to every `[webhook.NAME]` of the configuration by a signed POST of JSON:
`{{"type", "timestamp", "data"}}`, as [Standard Webhooks](https://www.standardwebhooks.com) 1.0 says. Any of its libraries
verifies it.

    [webhook.crm]
    url = "https://crm.example.co.il/hooks/fax"
    secret = {{ env = "CRM_WEBHOOK_SECRET" }}   # whsec_ and base64 of 24 to 64 random bytes
    events = ["fax.*", "voicemail.*"]

## What a receiver does

1. It verifies `webhook-signature` over the body *as it came*, before it parses anything, and that `webhook-timestamp` is near.
2. It drops a `webhook-id` that it has seen: an event is delivered at least once, and after a lost answer twice.
3. It answers 2xx quickly, within `timeout` (20 s), and does its work afterwards. Only the status counts; the answer's body is not
   read beyond 64 KiB or a second. A redirect is a failure.
4. It does not count on an order. `seq` counts the events of one fax: what has a lower one than the last seen is older news.
5. It ignores names that it does not know: names are added, never changed.

The receivers below verify and answer; what drops a repeated `webhook-id` is a unique key in your database. Put TLS in front.

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
| `webhook-id` | the event's id, the same at every try and every endpoint |
| `webhook-timestamp` | of this try, in seconds since 1970 |
| `webhook-signature` | `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; one for each secret, with a blank between |

**Rotation.** With `secret = [NEW, OLD]` every event has two signatures, and a receiver with either secret accepts it. So: add the
new secret in front, give it to the receiver, take the old one away. `systemctl reload mailbridge` reads the configuration.

## When a receiver fails

Anything but 2xx is tried again: {schedule}, each wait up to a tenth longer. `Retry-After` of a 429 or 503 (seconds or a date, at
most a day) is honoured where it asks for more. After the last try the delivery is *dead*: kept, shown, and sent again when you
say so.

    mailbridge deliveries --dead                        # what was given up, and why
    mailbridge replay evt_01J…                          # one event, or a delivery by its id
    mailbridge replay --endpoint crm                    # everything that one webhook lost
    mailbridge replay --since 2026-01-04T09:00          # all that was lost of what was raised since; also --until, --limit
    mailbridge replay --endpoint old --retire           # give up what waits for a webhook that is no more

A time without a zone is the machine's. A replayed delivery starts its schedule anew.

**410 Gone stops the endpoint.** The delivery that was answered so is dead at once, the log says `HTTP 410`, and nothing is sent
to this webhook until something dead of it is replayed (`mailbridge replay --endpoint NAME`), or the daemon starts or reads its
configuration again. What is raised meanwhile waits, is counted by `mailbridge_deliveries{{endpoint,state="pending"}}` in
`/metrics`, and goes out then.

**A webhook that left the configuration** keeps what waited for it; `mailbridge deliveries` marks it, and `--retire` gives it up.

**One slow receiver delays no other.** Each has {places} places of its own, and a resolver of its own.

**Where it may lead.** Without `allow_private` only https to globally routable addresses is called, judged when connecting and by
the very address that is connected to: private, link-local and loopback addresses are refused, also inside IPv6 ones.

## Documents

`document` of a received fax is as `webhook.NAME.document` asks: with `link`, `url` is a signed link that ends at `expires_at`,
after 7 days, or `retention.documents` where that is less; with `inline`, `content` is the document in base64, and above
`inline_limit` a link as before; with `none` it is null. `url` or `content` is null once the document was deleted.

Links lead through `http.public_url`. Without it they lead to `http.listen`, where a receiver on another machine cannot follow.

## Events

`mailbridge events --schema` prints the JSON Schema of every type, `mailbridge events --schema fax.failed` that of one. Every name
below is always there, unless its schema says otherwise; times are RFC 3339 in UTC.
"""


def spoken(seconds: float) -> str:
    """A wait as people say it."""
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
