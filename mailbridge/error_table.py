"""What each result means to the sender: action and status of a DSN, and why and what to do, in Hebrew and English. Pure."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Action = Literal["delivered", "failed", "delayed"]
Language = Literal["he", "en"]


class Meaning(NamedTuple):
    """`action` and `status` as in RFC 3464 sections 2.3.3 and 2.3.4; `why` and `what_to_do` by language."""

    action: Action
    status: str
    why: dict[Language, str]
    what_to_do: dict[Language, str]


# By the state of a fax, or by its error code when it failed.
MEANINGS: Final[dict[str, Meaning]] = {
    "delivered": Meaning(
        "delivered",
        "2.0.0",
        {"he": "הפקס התקבל אצל הנמען.", "en": "The recipient's fax machine received it."},
        {"he": "אין צורך לעשות דבר.", "en": "Nothing."},
    ),
    "in_doubt": Meaning(
        "delayed",
        "4.4.2",
        {
            "he": "התשובה של MyFax לא הגיעה, ולכן לא ידוע אם הפקס נשלח.",
            "en": "The answer of MyFax was lost, so it is not known whether the fax was sent.",
        },
        {
            "he": "אין לשלוח את הפקס שוב: הנמען עלול לקבל אותו פעמיים. נודיע כשיתברר.",
            "en": "Do not send it again: the recipient could get it twice. We will tell you when we know.",
        },
    ),
    "delayed": Meaning(
        "delayed",
        "4.4.1",
        {"he": "הפקס עדיין בדרך; אין עדיין תוצאה.", "en": "The fax is still on its way; there is no result yet."},
        {"he": "אין לשלוח אותו שוב. נודיע אם ייכשל.", "en": "Do not send it again. It is tried further."},
    ),
    "no_answer": Meaning(
        "failed",
        "5.4.1",
        {"he": "אין תשובה במספר הזה.", "en": "Nobody answered at this number."},
        {
            "he": "בדקו את המספר ושמכשיר הפקס של הנמען פועל, ושלחו שוב.",
            "en": "Check the number, and that the recipient's fax machine is on; then send it again.",
        },
    ),
    "busy": Meaning(
        "failed",
        "5.4.5",
        {"he": "הקו של הנמען תפוס.", "en": "The recipient's line was busy."},
        {"he": "שלחו שוב מאוחר יותר.", "en": "Send it again later."},
    ),
    "wrong_number": Meaning(
        "failed",
        "5.1.1",
        {"he": "המספר שגוי או אינו מחובר.", "en": "The number is wrong or not in service."},
        {"he": "בדקו את המספר ושלחו למספר הנכון.", "en": "Check the number, and send it to the right one."},
    ),
    "transfer_failed": Meaning(
        "failed",
        "5.4.2",
        {
            "he": "השיחה נענתה, אך השידור נכשל. ייתכן שחלק מהעמודים הגיעו.",
            "en": "The call was answered, but the transmission failed. Some of the pages may have arrived.",
        },
        {
            "he": "ודאו שבמספר הזה יש מכשיר פקס, ושלחו שוב.",
            "en": "Make sure that there is a fax machine at this number, and send it again.",
        },
    ),
    "deleted": Meaning(
        "failed",
        "5.0.0",
        {"he": "הפקס נמחק ב-MyFax לפני שנשלח.", "en": "The fax was deleted at MyFax before it was sent."},
        {"he": "אם יש לשלוח אותו, שלחו שוב.", "en": "If it should be sent, send it again."},
    ),
    "cancelled": Meaning(
        "failed",
        "5.7.1",
        {"he": "הפקס בוטל לפני שנשלח.", "en": "The fax was cancelled before it was sent."},
        {
            "he": "פנו למנהל המערכת, או שלחו שוב אם יש לשלוח אותו.",
            "en": "Ask your administrator, or send it again if it should be sent.",
        },
    ),
    "rejected": Meaning(
        "failed",
        "5.3.0",
        {"he": "MyFax לא קיבל את הפקס.", "en": "MyFax did not accept the fax."},
        {
            "he": "בדקו את המספר ואת המסמך. אם שניהם תקינים, פנו למנהל המערכת.",
            "en": "Check the number and the document. If both are right, ask your administrator.",
        },
    ),
    "expired": Meaning(
        "failed",
        "5.4.7",
        {"he": "לא התקבלה תוצאה בזמן, והשליחה הופסקה.", "en": "There was no result in time, and sending was given up."},
        {
            "he": "שאלו את הנמען אם הפקס הגיע; אם לא, שלחו שוב.",
            "en": "Ask the recipient whether it arrived; if not, send it again.",
        },
    ),
    "abandoned": Meaning(
        "failed",
        "5.3.0",
        {"he": "השליחה הופסקה ולא ידוע שהפקס נשלח.", "en": "Sending was given up, and the fax is not known to have been sent."},
        {
            "he": "שאלו את הנמען אם הפקס הגיע; אם לא, שלחו שוב.",
            "en": "Ask the recipient whether it arrived; if not, send it again.",
        },
    ),
    "unreachable": Meaning(
        "failed",
        "5.3.5",
        {"he": "לא ניתן למסור פקסים ל-MyFax כרגע.", "en": "Faxes cannot be handed to MyFax at present."},
        {
            "he": "פנו למנהל המערכת. שלחו שוב אחרי שהתקלה תתוקן.",
            "en": "Tell your administrator. Send it again after the fault is repaired.",
        },
    ),
    "unknown": Meaning(
        "failed",
        "5.0.0",
        {"he": "הפקס נכשל מסיבה לא ידועה.", "en": "The fax failed for an unknown reason."},
        {"he": "שלחו שוב. אם ייכשל שוב, פנו למנהל המערכת.", "en": "Send it again. If it fails again, ask your administrator."},
    ),
}
