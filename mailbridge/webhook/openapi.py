"""The description of all events as OpenAPI 3.1: what a receiver of webhooks has to accept."""

from __future__ import annotations

from typing import Any, Final

from mailbridge.webhook.schemas import EVENTS, schema

_HEADERS: Final = {
    "webhook-id": "The event's id: the same for every try and every endpoint. Ignore one that you have already processed.",
    "webhook-timestamp": "The time of this try, in seconds since 1970.",
    "webhook-signature": "`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; one for each secret.",
}


def description(version: str) -> dict[str, Any]:
    """Return the document for this version of mailbridge. The schemas are those of `mailbridge events --schema`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mailbridge webhooks",
            "version": version,
            "summary": "Signed POSTs about faxes, as specified by Standard Webhooks 1.0.",
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "webhooks": {type_: {"post": _operation(type_)} for type_ in EVENTS},
        "components": {
            "schemas": {type_: schema(type_) for type_ in EVENTS},
            "parameters": {name: _parameter(name, what) for name, what in _HEADERS.items()},
        },
    }


def _operation(type_: str) -> dict[str, Any]:
    return {
        "operationId": type_,
        "summary": EVENTS[type_][0],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _HEADERS],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{type_}"}}},
        },
        "responses": {
            "2XX": {"description": "Accepted. The body of the answer does not matter."},
            "410": {"description": "The endpoint wants no more events: nothing is sent until a person replays them."},
            "default": {"description": "Not accepted: the event is sent again later. Retry-After of a 429 or 503 is honoured."},
        },
    }


def _parameter(name: str, what: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "description": what, "schema": {"type": "string"}}
