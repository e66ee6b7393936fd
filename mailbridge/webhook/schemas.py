"""JSON Schema (2020-12) of every event's body. Names may be added to an event, so every schema leaves room for others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from mailbridge.lifecycle import FaxState
from mailbridge.model import ErrorCode

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_YES: Final[Schema] = {"type": "boolean"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_TEXTS: Final[Schema] = {"type": "array", "items": _TEXT}


def _or_null(schema: Schema) -> Schema:
    if schema.get("type") in ("string", "integer", "boolean") and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _told(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _object(properties: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """Return an object in which every one of `properties` stands, and `optional` ones may."""
    return {"type": "object", "required": list(properties), "properties": {**properties, **(optional or {})}}


_NOT_COUNTED = _told(_or_null(_COUNT), "null as long as nobody counts them")
_ERROR = _object(
    {
        "code": {"type": "string", "enum": list(get_args(ErrorCode))},
        "provider_code": _told(_or_null({"type": "integer"}), "MyFax's own number, where it gave one"),
        "message": _TEXT,
    }
)
_ATTEMPT = _object(
    {
        "n": _told({"type": "integer", "minimum": 1}, "counts the uploads of this fax"),
        "fax_code": _or_null(_TEXT),
        "started_at": _TIME,
        "ended_at": _or_null(_TIME),
        "error_code": _or_null(_TEXT),
    }
)
_REPORT = _object(
    {
        "status": _or_null(_TEXT),
        "status_code": _or_null({"type": "integer"}),
        "subject": _TEXT,
        "trusted": _told(_YES, "whether the mail passed the mailbox's trust setting"),
        "message_id": _or_null(_TEXT),
        "match": _told(
            _or_null({"type": "string", "enum": ["token", "fax_code", "destination"]}), "how the report was matched with its fax"
        ),
    }
)
_DOCUMENT: Final[Schema] = {
    **_object(
        {
            "sha256": _TEXT,
            "size": _told(_COUNT, "in bytes"),
            "content_type": _TEXT,
            "filename": _or_null(_TEXT),
            "pages": _NOT_COUNTED,
            "expires_at": _told(_or_null(_TIME), "when the url ends"),
        },
        {
            "url": _told(_or_null({"type": "string", "format": "uri"}), "a signed link; null once the document was deleted"),
            "content": _told(_or_null({"type": "string", "contentEncoding": "base64"}), "the document; null once it was deleted"),
        },
    ),
    "oneOf": [{"required": ["url"]}, {"required": ["content"]}],
}
_OUTBOUND = _object(
    {
        "fax_id": _TEXT,
        "seq": _told({"type": "integer", "minimum": 1}, "counts the events of this fax; they may arrive in another order"),
        "direction": {"const": "outbound"},
        "account": _TEXT,
        "to": _told(_TEXT, "the number, E.164"),
        "from": {"type": "null"},
        "status": {"type": "string", "enum": list(get_args(FaxState))},
        "pages": _or_null(_COUNT),
        "fax_code": _told(_or_null(_TEXT), "MyFax's name of the fax, once it took it"),
        "error": _or_null(_ERROR),
        "attempts": {"type": "array", "items": _ATTEMPT},
        "price": _or_null(_TEXT),
        "credit_left": _or_null(_TEXT),
        "source": _told(
            _or_null({"type": "string", "enum": ["poll", "report", "upload", "person", "expiry"]}), "who told of the last change"
        ),
        "email": _object(
            {"message_id": _or_null(_TEXT), "envelope_id": _or_null(_TEXT), "sender": _TEXT, "subject": _TEXT},
        ),
        "report": _or_null(_REPORT),
        "tags": {"type": "object", "additionalProperties": _TEXT},
        "document": {"type": "null"},
    }
)
_INBOUND = _object(
    {
        "fax_id": _TEXT,
        "seq": {"type": "integer", "minimum": 1},
        "direction": {"const": "inbound"},
        "account": _TEXT,
        "mailbox": _told(_or_null(_TEXT), "null from the list"),
        "to": _told(_or_null(_TEXT), "the number that was called"),
        "from": _told(_or_null(_TEXT), "the caller, E.164 where it can be; null when anonymous"),
        "status": {"const": "received"},
        "received_at": _TIME,
        "pages": _NOT_COUNTED,
        "source": {"type": "string", "enum": ["mail", "listing"]},
        "trusted": _told(_YES, "whether the mail passed the mailbox's trust setting; true from the list"),
        "document": _or_null(_DOCUMENT),
    },
    {
        "subject": _TEXT,
        "message_id": _or_null(_TEXT),
        "listing_id": _or_null(_TEXT),
        "defects": _told(_TEXTS, "what is wrong with the mail, or why its document is missing"),
    },
)
_FOREIGN = _object(
    {
        "mailbox": _TEXT,
        "account": _TEXT,
        "matched": _told(_or_null(_TEXT), "the fax that it seems to tell of; it was not moved by it"),
        "match": _told(_or_null(_TEXT), "by what it seems to: token, fax_code or destination"),
        "trusted": _YES,
        "report": _REPORT,
        "defects": _TEXTS,
    }
)
_CREDIT = _object({"account": _TEXT, "credit_left": _TEXT, "limit": {"type": "number"}})
_MAILBOX = _object({"mailbox": _TEXT, "error": _or_null(_TEXT)})

EVENTS: Final[Mapping[str, tuple[str, Schema]]] = {
    "fax.queued": ("A fax was taken in, and waits to be uploaded.", _OUTBOUND),
    "fax.submitted": ("MyFax took the fax, and is sending it.", _OUTBOUND),
    "fax.delivered": ("The fax arrived. Final.", _OUTBOUND),
    "fax.failed": ("The fax did not arrive, and is not tried again. Final.", _OUTBOUND),
    "fax.cancelled": ("A person cancelled the fax before it was uploaded. Final.", _OUTBOUND),
    "fax.in_doubt": ("The answer to the upload was lost: MyFax may have the fax or not.", _OUTBOUND),
    "fax.resolved": ("The doubt ended; `status` says how.", _OUTBOUND),
    "fax.conflict": ("After the end came word that contradicts it. Nothing was changed; a person should look.", _OUTBOUND),
    "fax.received": ("A fax came in.", _INBOUND),
    "voicemail.received": ("A voicemail came in.", _INBOUND),
    "report.received": ("A report came that moved no fax: it matches none of ours, or is not trusted.", _FOREIGN),
    "credit.low": ("An account's credit fell to its `low_credit`; told once on the way down.", _CREDIT),
    "mailbox.down": ("A mailbox cannot be watched.", _MAILBOX),
    "mailbox.up": ("It is watched again.", _MAILBOX),
    "ping": ("Sent by `mailbridge check --online`; it means nothing.", _object({"webhook": _TEXT})),
}


def schema(type_: str) -> Schema:
    """Return the JSON Schema of a body. Raises KeyError for a type that no event has."""
    description, data = EVENTS[type_]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": type_,
        "description": description,
        **_object({"type": {"const": type_}, "timestamp": _told(_TIME, "when it was raised"), "data": data}),
    }
