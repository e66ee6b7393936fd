"""A client for MyFax's HTTPS XML API (12.2022). It can be used alone; docs/myfax.md shows how:

    async with MyFax(email, password) as myfax:
        sent = await myfax.send("03-9876543", "contract.pdf")

`client` has a method for each action. `arguments` checks what is sent, `forms` and `files` make the request, `transport` sends it
and decides what its outcome means, and `xml_parser`, `answers`, `values` and `status_codes` read the answer.
"""

from mailbridge.errors import InDoubt, InvalidArgument, MyFaxError, NeedsPerson, NotTaken, Rejected
from mailbridge.myfax.answers import IncomingItem, RegisterAnswer, ReleaseAnswer, StatusAnswer, UploadAnswer
from mailbridge.myfax.client import MyFax
from mailbridge.myfax.files import File, Upload
from mailbridge.myfax.status_codes import Outcome, describe, report_outcome, status_outcome
from mailbridge.myfax.xml_parser import Unreadable

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
