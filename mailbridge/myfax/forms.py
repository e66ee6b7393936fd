"""The form fields of the five actions, by the parameter names of MyFax's document. Pure.

`resultType=XML` is always sent to the three actions that have it: without it they answer HTML.
"""

from __future__ import annotations

from datetime import datetime, tzinfo

from mailbridge.myfax.values import wall_clock


def send_form(email: str, password: str, number: str, url: str | None = None) -> dict[str, str]:
    """Return the fields of `faxUpload.do` except theFile: email, password, faxNumber, fileURL, resultType."""
    form = {"email": email, "password": password, "faxNumber": number, "resultType": "XML"}
    return form | ({"fileURL": url} if url else {})


def status_form(email: str, password: str, fax_code: str) -> dict[str, str]:
    """Return the fields of `faxStatus.do`: email, password, faxCode."""
    return {"email": email, "password": password, "faxCode": fax_code}


def incoming_form(
    email: str, password: str, page: int, list_type: str, start: datetime | None, end: datetime | None, zone: tzinfo
) -> dict[str, str]:
    """Return the fields of `incoming.do`: email, password, p, listType, startDate, endDate.

    `start` and `end` are aware; MyFax gets them as local time in its `zone`.
    """
    form = {"email": email, "password": password, "p": str(page), "listType": list_type}
    if start is not None:
        form["startDate"] = wall_clock(start, zone, end=False)
    if end is not None:
        form["endDate"] = wall_clock(end, zone, end=True)
    return form


def distributor_form(email: str, password: str, fields: dict[str, str | None]) -> dict[str, str]:
    """Return the fields of `myFaxAllocateDistributer.do` or `releaseFaxLine.do`.

    They are distEmail, distPassword, resultType, and those of `fields` that have a value.
    """
    form = {"distEmail": email, "distPassword": password, "resultType": "XML"}
    return form | {name: value for name, value in fields.items() if value is not None}
