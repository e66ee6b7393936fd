"""docs/webhooks.md is generated from the code and its events; `python -m tests.unit.webhook.test_webhooks_doc` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

from mailbridge import __version__, retry
from mailbridge.webhook.openapi import description
from mailbridge.webhook.schemas import EVENTS, schema
from tests.unit.webhook.example_events import bodies

PAGE = Path(__file__).parents[3] / "docs" / "webhooks.md"
OPENAPI = PAGE.with_suffix(".openapi.json")

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

# The page up to its examples. What stands between @ is put in.
HEAD = Path(__file__).with_name("webhooks_page.md")


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
    head = HEAD.read_text(encoding="utf-8")
    programs = {"PYTHON": PYTHON, "JAVASCRIPT": JAVASCRIPT, "PHP": PHP}
    for name, text in {**programs, "SCHEDULE": schedule, "PLACES": str(CONCURRENCY)}.items():
        head = head.replace(f"@{name}@", text)
    table = "\n".join(f"| `{type_}` | {told} |" for type_, (told, _) in EVENTS.items())
    examples = "\n\n".join(
        f"### {type_}\n\n{told}\n\n```json\n{json.dumps(example(type_), ensure_ascii=False, indent=2)}\n```"
        for type_, (told, _) in EVENTS.items()
    )
    return f"{head}\n| type | when |\n|---|---|\n{table}\n\n{examples}\n"


def openapi() -> str:
    return json.dumps(description(__version__), ensure_ascii=False, indent=2) + "\n"


def test_the_openapi_description_is_that_of_the_code_and_valid() -> None:
    assert OPENAPI.read_text(encoding="utf-8") == openapi()
    validate(json.loads(openapi()))
    with pytest.raises(OpenAPIValidationError):
        validate({**description(__version__), "paths": {"no-slash": {}}, "info": {}})


def test_every_event_is_valid_by_the_openapi_description() -> None:
    components = description(__version__)["components"]["schemas"]
    for body in bodies():
        [operation] = description(__version__)["webhooks"][body["type"]].values()
        name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert components[name] == schema(body["type"])
        OAS31Validator(components[name], format_checker=oas31_format_checker).validate(body)
        assert not OAS31Validator(components[name]).is_valid({**body, "data": None})


def test_the_page_shows_what_the_code_does() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_event_of_the_contract_is_on_the_page() -> None:
    shown = PAGE.read_text(encoding="utf-8")
    assert [line[4:] for line in shown.splitlines() if line.startswith("### ")] == list(EVENTS)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    OPENAPI.write_text(openapi(), encoding="utf-8")
