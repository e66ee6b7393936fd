"""What a notice to administrators says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from mailbridge.error_table import Language
from mailbridge.notice.wording import LABELS, Phrase, Row, Section, local_time

# By cause: what is wrong, what to do, and that it is over. {name} is the account, mailbox or webhook.
CAUSES: Final[dict[str, dict[Language, tuple[str, str, str]]]] = {
    "account_refused": {
        "he": (
            "MyFax דוחה את הפקסים של החשבון {name}",
            "בדקו את הסיסמה ב-[account.{name}] ואת מצב החשבון באתר MyFax; הריצו mailbridge check --online.",
            "MyFax מקבל שוב את הפקסים של החשבון {name}",
        ),
        "en": (
            "MyFax refuses the faxes of account {name}",
            "Check the password in [account.{name}] and the account on MyFax's site; run mailbridge check --online.",
            "MyFax accepts the faxes of account {name} again",
        ),
    },
    "account_paused": {
        "he": (
            "השליחה בחשבון {name} מושהית אחרי כמה ספקות ברצף",
            "בררו את הספקות: mailbridge queue --state in_doubt, ואז mailbridge resolve.",
            "השליחה בחשבון {name} חודשה",
        ),
        "en": (
            "Sending with account {name} is paused after several doubts in a row",
            "Settle the doubts: mailbridge queue --state in_doubt, then mailbridge resolve.",
            "Sending with account {name} has resumed",
        ),
    },
    "credit_low": {
        "he": ("היתרה בחשבון {name} נמוכה", "הטעינו את החשבון באתר MyFax.", "היתרה בחשבון {name} שוב מספיקה"),
        "en": ("The credit of account {name} is low", "Add credit on MyFax's site.", "Account {name} has enough credit again"),
    },
    "mailbox_down": {
        "he": (
            "אין גישה לתיבת הדואר {name}",
            "בדקו את השרת והסיסמה ב-[mailbox.{name}]; הריצו mailbridge check --online.",
            "תיבת הדואר {name} שוב זמינה",
        ),
        "en": (
            "Mailbox {name} cannot be watched",
            "Check its server and password in [mailbox.{name}]; run mailbridge check --online.",
            "Mailbox {name} is watched again",
        ),
    },
    "webhook_stopped": {
        "he": (
            "ה-webhook {name} נעצר: הנמען אינו רוצה עוד אירועים",
            "תקנו את הנמען, ואז: mailbridge replay --endpoint {name}",
            "ה-webhook {name} פועל שוב",
        ),
        "en": (
            "Webhook {name} is stopped: its receiver wants no more events",
            "Repair the receiver, then run mailbridge replay --endpoint {name}",
            "Webhook {name} works again",
        ),
    },
    "delivery_dead": {
        "he": (
            "משלוחים אל {name} נכשלו סופית",
            "ראו mailbridge deliveries --dead, ואחרי התיקון: mailbridge replay --endpoint {name}",
            "משלוחים אל {name} שוב מצליחים",
        ),
        "en": (
            "Deliveries to {name} were given up",
            "See mailbridge deliveries --dead; after the repair run mailbridge replay --endpoint {name}",
            "Deliveries to {name} succeed again",
        ),
    },
    "in_doubt": {
        "he": (
            "יש פקסים שלא ידוע אם נשלחו",
            "בדקו באתר MyFax אם נשלחו: mailbridge queue --state in_doubt, ואז mailbridge resolve.",
            "אין עוד פקסים בספק",
        ),
        "en": (
            "Faxes are in doubt: it is not known whether they were sent",
            "Find out on MyFax's site: mailbridge queue --state in_doubt, then mailbridge resolve.",
            "No fax is in doubt any more",
        ),
    },
    "disk": {
        "he": ("לא ניתן לכתוב לדיסק", "פנו מקום או תקנו את הדיסק של state_dir; עד אז דואר נדחה זמנית.", "הדיסק שוב תקין"),
        "en": (
            "The disk cannot be written",
            "Free space on the disk of state_dir, or repair it; until then mail is refused for a while.",
            "The disk can be written again",
        ),
    },
    "database": {
        "he": (
            "לא ניתן לכתוב למסד הנתונים",
            "בדקו את שרת PostgreSQL שב-store.url: הריצו mailbridge check; עד אז דואר נדחה זמנית.",
            "מסד הנתונים שוב תקין",
        ),
        "en": (
            "The database cannot be written",
            "Check the PostgreSQL server of store.url: run mailbridge check; until then mail is refused for a while.",
            "The database can be written again",
        ),
    },
    "relay": {
        "he": (
            "שרת הדואר סירב או לא היה זמין",
            "בדקו את notice.relay; הריצו mailbridge check --online.",
            "שרת הדואר שוב מקבל הודעות",
        ),
        "en": (
            "The mail relay refused mail or was not reachable",
            "Check notice.relay; run mailbridge check --online.",
            "The mail relay takes mail again",
        ),
    },
}
_MORE: Final[dict[Language, str]] = {"he": "אירועים מאז ההודעה הקודמת", "en": "Times since the last notice"}


def admin_sections(facts: Mapping[str, Any], zone: ZoneInfo, language: Language) -> list[Section]:
    """Return a notice from its facts: `cause`, `name`, `over`, `since` (ISO 8601), `count` and `error`."""
    what, what_to_do, over = (text.format(name=facts.get("name", "")) for text in CAUSES[facts["cause"]][language])
    since = Row(LABELS["since"][language], local_time(datetime.fromisoformat(facts["since"]), zone))
    if facts.get("over"):
        return [Section((Phrase(over + "."),), (since,))]
    rows = [since]
    if facts.get("error"):
        rows.append(Row(LABELS["why"][language], Phrase(str(facts["error"])[:300], "auto")))
    if facts.get("count", 0) > 1:
        rows.append(Row(_MORE[language], Phrase(str(facts["count"]), "ltr")))
    rows.append(Row(LABELS["what_to_do"][language], Phrase(what_to_do)))
    return [Section((Phrase(what + "."),), tuple(rows))]
