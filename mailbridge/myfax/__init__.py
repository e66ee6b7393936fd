"""A client for the API of MyFax, usable alone: `async with MyFax(email, password) as myfax: await myfax.send(...)`."""

from mailbridge.myfax.client import MyFax, Upload
from mailbridge.myfax.wire import (
    IncomingItem,
    Outcome,
    RegisterAnswer,
    ReleaseAnswer,
    StatusAnswer,
    Unreadable,
    UploadAnswer,
    describe,
    report_outcome,
    status_outcome,
)

__all__ = [
    "IncomingItem",
    "MyFax",
    "Outcome",
    "RegisterAnswer",
    "ReleaseAnswer",
    "StatusAnswer",
    "Unreadable",
    "Upload",
    "UploadAnswer",
    "describe",
    "report_outcome",
    "status_outcome",
]
