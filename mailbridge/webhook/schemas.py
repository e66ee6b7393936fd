"""The JSON Schema (2020-12) of each event's body. Names may be added to an event, so the schemas allow others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from mailbridge.errors import ErrorCode
from mailbridge.lifecycle import FaxState

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_BOOLEAN: Final[Schema] = {"type": "boolean"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_TEXTS: Final[Schema] = {"type": "array", "items": _TEXT}


def _or_null(schema: Schema) -> Schema:
    if schema.get("type") in ("string", "integer", "boolean") and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _object(properties: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """Return an object that requires `properties` and allows `optional` ones."""
    return {"type": "object", "required": list(properties), "properties": {**properties, **(optional or {})}}


_PAGES = _described(_or_null(_COUNT), "null if unknown")
_ERROR = _object(
    {
        "code": {"type": "string", "enum": list(get_args(ErrorCode))},
        "provider_code": _described(_or_null({"type": "integer"}), "MyFax's number, if it gave one"),
        "message": _TEXT,
    }
)
_ATTEMPT = _object(
    {
        "n": _described({"type": "integer", "minimum": 1}, "number of the upload, from 1"),
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
        "trusted": _described(_BOOLEAN, "whether the mail passed the mailbox's trust setting"),
        "message_id": _or_null(_TEXT),
        "match": _described(
            _or_null({"type": "string", "enum": ["token", "fax_code", "destination"]}), "how the report was matched to its fax"
        ),
    }
)
_DOCUMENT: Final[Schema] = {
    **_object(
        {
            "sha256": _TEXT,
            "size": _described(_COUNT, "in bytes"),
            "content_type": _TEXT,
            "filename": _or_null(_TEXT),
            "pages": _PAGES,
            "expires_at": _described(_or_null(_TIME), "when the url expires"),
        },
        {
            "url": _described(_or_null({"type": "string", "format": "uri"}), "a signed link; null once the document was deleted"),
            "content": _described(
                _or_null({"type": "string", "contentEncoding": "base64"}), "the document; null once it was deleted"
            ),
        },
    ),
    "oneOf": [{"required": ["url"]}, {"required": ["content"]}],
}
_OUTBOUND = _object(
    {
        "fax_id": _TEXT,
        "seq": _described(
            {"type": "integer", "minimum": 1}, "number of the event of this fax, from 1; events may arrive in another order"
        ),
        "direction": {"const": "outbound"},
        "account": _TEXT,
        "to": _described(_TEXT, "the number, E.164"),
        "from": {"type": "null"},
        "status": {"type": "string", "enum": list(get_args(FaxState))},
        "pages": _or_null(_COUNT),
        "fax_code": _described(_or_null(_TEXT), "MyFax's ID of the fax, once accepted"),
        "error": _or_null(_ERROR),
        "attempts": {"type": "array", "items": _ATTEMPT},
        "delivered_at": _described(_or_null(_TIME), "when it became delivered; null until then"),
        "price": _or_null(_TEXT),
        "currency": _described(_or_null(_TEXT), "of the price, by ISO 4217; null if MyFax does not say"),
        "credit_left": _or_null(_TEXT),
        "source": _described(
            _or_null({"type": "string", "enum": ["poll", "report", "upload", "person", "expiry"]}), "source of the last change"
        ),
        "email": _object(
            {"message_id": _or_null(_TEXT), "envelope_id": _or_null(_TEXT), "sender": _TEXT, "subject": _TEXT},
        ),
        "report": _or_null(_REPORT),
        "tags": {"type": "object", "additionalProperties": _TEXT},
        "user": _described(_or_null(_TEXT), "who sent the mail: the name of a [user.NAME]"),
        "client": _described(_or_null(_TEXT), "IP address that the mail came from; null for mailbridge send"),
        "repeat_of": _described(_or_null(_TEXT), "an earlier fax of the same content to the same number, within fax.same_again"),
        "document_sha256": _described(
            {"type": "array", "items": _TEXT}, "of each document, in the order in which they are faxed"
        ),
        "document": {"type": "null"},
    }
)
_INBOUND = _object(
    {
        "fax_id": _TEXT,
        "seq": {"type": "integer", "minimum": 1},
        "direction": {"const": "inbound"},
        "account": _TEXT,
        "mailbox": _described(_or_null(_TEXT), "null from incoming.do"),
        "to": _described(_or_null(_TEXT), "the called number"),
        "from": _described(_or_null(_TEXT), "the caller, E.164 if possible; null if anonymous"),
        "status": {"const": "received"},
        "received_at": _TIME,
        "pages": _PAGES,
        "source": {"type": "string", "enum": ["mail", "listing"]},
        "trusted": _described(_BOOLEAN, "whether the mail passed the mailbox's trust setting; true from incoming.do"),
        "document": _described(_or_null(_DOCUMENT), "the first of `documents`; null if there is none"),
        "documents": {"type": "array", "items": _DOCUMENT},
    },
    {
        "subject": _TEXT,
        "message_id": _or_null(_TEXT),
        "listing_id": _or_null(_TEXT),
        "defects": _described(_TEXTS, "what is wrong with the mail, or why its document is missing"),
    },
)
_FOREIGN = _object(
    {
        "mailbox": _TEXT,
        "account": _TEXT,
        "matched": _described(_or_null(_TEXT), "the fax that it seems to be about; it was not changed"),
        "match": _described(_or_null(_TEXT), "how it was matched: token, fax_code or destination"),
        "trusted": _BOOLEAN,
        "report": _REPORT,
        "defects": _TEXTS,
    }
)
_CREDIT = _object({"account": _TEXT, "credit_left": _TEXT, "limit": {"type": "number"}})
_ACCOUNT = _described(_or_null(_TEXT), "null if a person holds all accounts")
_PAUSE = _object(
    {
        "account": _ACCOUNT,
        "reason": _TEXT,
        "until": _described(_or_null(_TIME), "when one upload is tried; null if a person has to resume it"),
    }
)
_MAILBOX = _object({"mailbox": _TEXT, "account": _TEXT, "error": _or_null(_TEXT)})

_NOTICE = _object(
    {
        "notice_id": _TEXT,
        "kind": _described(_TEXT, "delivered, failed, in_doubt, delayed, summary, received or admin"),
        "form": {"type": "string", "enum": ["mail", "dsn"]},
        "to": _described(_TEXT, "the mail address, or the folder"),
        "fax_ids": _described(_TEXTS, "the faxes that it is about"),
        "account": _or_null(_TEXT),
        "user": _or_null(_TEXT),
        "attempts": _COUNT,
        "status": _described(_or_null({"type": "integer"}), "the relay's reply code; null without a reply"),
        "error": _or_null(_TEXT),
    }
)

EVENTS: Final[Mapping[str, tuple[str, Schema]]] = {
    "fax.queued": ("A fax was accepted and waits for its upload.", _OUTBOUND),
    "fax.submitted": ("MyFax accepted the fax and is sending it.", _OUTBOUND),
    "fax.delivered": ("The fax arrived. Final.", _OUTBOUND),
    "fax.failed": ("The fax did not arrive and is not tried again. Final.", _OUTBOUND),
    "fax.cancelled": ("A person cancelled the fax before it was uploaded. Final.", _OUTBOUND),
    "fax.in_doubt": ("The answer to the upload was lost: it is unknown whether MyFax has the fax.", _OUTBOUND),
    "fax.resolved": ("The doubt was resolved; `status` says how.", _OUTBOUND),
    "fax.conflict": (
        "A conflicting result arrived after the final state. Nothing was changed; a person should check.",
        _OUTBOUND,
    ),
    "fax.received": ("A fax was received.", _INBOUND),
    "voicemail.received": ("A voicemail was received.", _INBOUND),
    "report.received": ("A report changed no fax: it matches none, or is not trusted.", _FOREIGN),
    "credit.low": ("An account's credit fell to `low_credit`; reported once, until it rises again.", _CREDIT),
    "notice.failed": (
        "A notice by mail, or a document to a folder, was given up; `mailbridge replay` sends it again.",
        _NOTICE,
    ),
    "account.paused": (
        "An account's uploads pause: MyFax answered none of the last ones, or a person holds them. Mail is still accepted.",
        _PAUSE,
    ),
    "account.resumed": ("The account's uploads go on.", _object({"account": _ACCOUNT})),
    "webhook.stopped": (
        "A webhook answered 410 Gone and gets no more events; sent to the other webhooks.",
        _object({"webhook": _TEXT, "error": _TEXT, "stopped_at": _TIME}),
    ),
    "mailbox.down": ("A mailbox cannot be watched.", _MAILBOX),
    "mailbox.up": ("The mailbox is watched again.", _MAILBOX),
    "ping": ("Test event of `mailbridge check --online`; ignore it.", _object({"webhook": _TEXT})),
}


def schema(type_: str) -> Schema:
    """Return the JSON Schema of a body. Raises KeyError for an unknown type."""
    description, data = EVENTS[type_]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": type_,
        "description": description,
        **_object({"type": {"const": type_}, "timestamp": _described(_TIME, "when it was emitted"), "data": data}),
    }
