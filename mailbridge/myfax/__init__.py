"""A client for the API of MyFax, usable alone: `async with MyFax(email, password) as myfax: await myfax.send(...)`."""

from mailbridge.errors import InDoubt, InvalidArgument, MyFaxError, NeedsPerson, NotTaken, Rejected
from mailbridge.myfax.client import MyFax
from mailbridge.myfax.files import File, Upload
from mailbridge.myfax.xml_codec import (
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
    "File",
    "InDoubt",
    "IncomingItem",
    "InvalidArgument",
    "MyFax",
    "MyFaxError",
    "NeedsPerson",
    "NotTaken",
    "Outcome",
    "RegisterAnswer",
    "Rejected",
    "ReleaseAnswer",
    "StatusAnswer",
    "Unreadable",
    "Upload",
    "UploadAnswer",
    "describe",
    "report_outcome",
    "status_outcome",
]
