"""The phrases of covering texts, in Hebrew and English, as regular expressions. Pure.

Each is matched without regard to case. Repetitions are bounded, so that the time is proportional to the text. To add a phrase,
add it here, and a text with it to `tests/corpus/covering.toml`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import mailbridge.submission.letter.covering_languages as other
import mailbridge.submission.letter.covering_scanners as scanners


def _any(*phrases: str) -> str:
    return "|".join(phrases)


def _pattern(phrases: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.IGNORECASE)


_QUOTE = "[\"״”']{1,2}"  # Hebrew abbreviations are written with any of these
_DOCUMENT = _any(
    *(
        "agreement",
        "certificate",
        "confirmation",
        "contract",
        "copy",
        "delivery note",
        "document",
        "fax",
        "file",
        "form",
        "invoice",
    ),
    *("letter", "list", "offer", "order", "pages?", "paperwork", "pdf", "photo", "picture", "policy", "price list", "quotation"),
    *("quote", "receipt", "report", "request", "scan", "statement"),
)
_HEBREW_DOCUMENT = _any(
    *(
        "אישור",
        "הזמנה",
        "הסכם",
        "הצעה",
        "הצעת מחיר",
        "העתק",
        "חוזה",
        "חשבון",
        "חשבונית",
        "טופס",
        "מחירון",
        "מכתב",
        "מסמך",
        "מסמכים",
    ),
    *("סריקה", "פוליסה", "פקס", "צילום", "צילומים", "קבלה", "קובץ", "קבצים", "תעודה", "תעודת משלוח", "תמונה"),
)

# A whole line: what stands below it is quoted.
ORIGINAL: Final = _pattern(
    [
        r"[-_*\s]*(?:original message|forwarded message|begin forwarded message:?)[-_*\s]*",
        r"[-_*\s]*(?:הודעה מקורית|הודעה שהועברה)[-_*\s]*",
        r"_{10,}",
        r"-{20,}",
    ]
)
# One line, or several that a mail program wrapped: it introduces a quotation.
ATTRIBUTION: Final = _pattern(
    [
        r"on\b.{5,250}\bwrote:",
        r"בתאריך\b.{5,250}(?:כתבו?/?ה?|>)\s?:",
        r"(?:ב-?\d|ביום\b|יום\b).{5,250}\bכתבו?/?ה?\s?:",
        r"am\b.{5,250}\bschrieb.{0,80}:",
        r"le\b.{5,250}\ba écrit\s?:",
    ]
)
# Outlook's block above a quotation: From first, and two more of these within five lines.
QUOTED_FROM: Final = _pattern([r"\*?(?:from|מאת)\*?\s?:"])
QUOTED_HEADER: Final = _pattern([r"\*?(?:from|sent|date|to|cc|subject|מאת|נשלח|תאריך|אל|עותק|נושא)\*?\s?:"])

# A whole line or sentence.
GREETING: Final = _pattern(
    [
        r"(?:hi|hello|hey|dear|greetings|good (?:morning|afternoon|evening|day))\b[^.?]{0,60}",
        r"(?:to whom it may concern|ladies and gentlemen)",
        *other.GREETING,
        r"לקוח(?:ה|ות)? (?:יקר|נכבד)(?:ה|ים|ות)?",
        r"(?:א\.? ?ג\.? ?נ|ג\.? ?א\.? ?נ|לכל המעוניין|(?:אדון|גברת|אדוני|גברתי)(?: ה?נכבד(?:ה|ים|ות)?)?)",
        r"(?:שלום|היי?|הי|לכבוד|בוקר טוב|צהריים טובים|ערב טוב|יום טוב|שבוע טוב)(?![\w״\"'])[^.?]{0,60}",
    ]
)
# A whole line, with up to three words behind it.
CLOSING: Final = re.compile(
    "(?:"
    + _any(
        r"(?:with )?(?:best|kind|kindest|warm|many|all the)?\s?(?:regards|wishes|best)",
        r"(?:yours )?(?:sincerely|truly|faithfully)(?: yours)?",
        r"thanks?(?: you)?(?: (?:very|so) much| again| a lot| in advance)?(?: and (?:best |kind )?regards)?",
        *("cheers", "br", "rgds", "respectfully", "thx"),
        *other.CLOSING,
        r"ב?תודה(?: רבה| מראש| ויום טוב| רבה ויום טוב)?",
        *("ב?ברכה(?: רבה)?", "בברכת .{2,30}", "בכבוד רב", "בידידות", "המשך יום (?:טוב|נעים|נפלא)", "יום (?:טוב|נעים|נפלא)"),
        *(f"סופ{_QUOTE}?ש נעים", "שבת שלום", "חג שמח", "שנה טובה"),
    )
    + r")(?:[\s,،.!\-–:]+[^\s]+){0,3}[\s,،.!\-–:]*",
    re.IGNORECASE,
)
POSTSCRIPT: Final = _pattern([r"(?:p\.?\s?s\.?|נ\.?\s?ב\.?)(?=[\s:.,\-–])"])
# What stands in the lines of a signature.
CONTACT: Final = _pattern(
    [
        r"(?:tel|phone|mobile|cell|fax|office|direct|e-?mail|www|http)\b.{0,6}[.:\s|]",
        rf"(?:טל|טלפון|נייד|פקס|משרד|דוא{_QUOTE}?ל|מייל|אתר|כתובת|ת\.?ד)\b.{{0,6}}[.:\s|]",
        r"[\w.+\-]{1,64}@[\w\-]{1,64}\.",
        r"\bwww\.\S+",
        r"https?://\S+",
        r"^[+(]?\d[\d\s()\-–./+]{6,20}$",
    ]
)

# What asks the recipient for something: never a covering phrase, and never part of a signature.
REQUEST: Final = _pattern(
    [
        r"\b(?:please|kindly|must|urgent|immediately|asap|deadline|important|attention)\b",
        r"\b(?:confirm|reply|respond|return|deliver|pay|transfer|sign|fill)\b",
        r"\b(?:approv|cancel|chang|declin|delay|postpon|reject|replac|void|withdr)\w*",
        r"\bcall (?:me|us|back|him|her|\+?\d)",
        r"\b(?:only|before|until|by|not|otherwise|instead)\b",
        r"(?<!\w)(?:נא|אנא|בבקשה|דחוף|בלבד|עד|לפני|לא|חובה|חשוב|יש ל|לבטל|לאשר|לספק|להחזיר|להעביר|לשלם|לחתום)",
        r"\b(?:supersed|obsolet|ignor|disregard|discard)\w*",
        *other.REQUEST,
        r"(?<!\w)(?:מבקש|מבקשת|מבקשים|אבקש|נבקש|מבוטל|בוטל|מאושר|אושר|נדח|שונה|הוחלף)",
    ]
)
# The same words where they ask for nothing.
POLITE: Final = _pattern(
    [
        r"(?:please|kindly) (?:find|see|fax|note|view|review)\b",
        r"(?:please |kindly )?(?:confirm|acknowledge) receipt(?: asap)?(?=\s*(?:[.!]|$))",
        r"(?:נא|אנא) (?:ראו|ראה|ראי|עיינו|לפקסס)",
        r"(?:נא|אנא)? ?(?:לאשר|אשרו|אשר) (?:את )?ה?קבלה?ת?ה?(?: הפקס| המסמך)?(?: בהקדם| בחוזר)?(?=\s*(?:[.!]|$))",
        r"not hesitate",
        *other.POLITE,
        r"if (?:you have )?any questions?",
        r"sent by fax",
        r"by fax\b",
    ]
)
# How a covering sentence begins.
COVERING: Final = _pattern(
    [
        r"(?:please (?:find|see|view|review)|kindly find|(?:please )?see|find|here(?:'s| is| are| you go))",
        r"(?:attached|enclosed|the attached|attachment)",
        r"(?:i(?:'m| am)?|we(?:'re| are)?) (?:attach|send|enclos)\w*",
        r"(?:for your|fyi|as (?:discussed|agreed|requested|promised|per)|per (?:your|our)|further to|following (?:our|your))",
        r"(?:regarding|re:|in reference to|with reference to|in continuation|sent via|sent by fax|please fax)",
        r"this is (?:a|the) (?:fax|document|scan)",
        r"pfa\b",
        *other.COVERING,
        r"(?:please |kindly )?(?:confirm|acknowledge) receipt",
        rf"(?:מצ{_QUOTE}?ב|רצ{_QUOTE}?ב|ה?מצורף|ה?מצורפת|ה?מצורפים|ה?מצורפות|ראה|ראי|ראו|בצרוף|בצירוף|להלן|הנה|הנדון)",
        r"(?:כמבוקש|לבקשתך|לבקשתכם|לידיעתך|לידיעתכם|לטיפולך|לטיפולכם|לעיונך|לעיונכם|בהמשך ל|בהתאם ל|כפי ש|על פי)",
        r"(?:(?:אני |אנו |אנחנו )?(?:שולח|שולחת|שולחים|מצרף|מצרפת|מצרפים))",
        r"(?:נא|אנא)? ?(?:לאשר|אשרו|אשר) (?:את )?ה?קבל",
    ]
)
# Anywhere in a short sentence.
ATTACHED: Final = _pattern(
    [
        r"\battach",
        r"\benclos",
        *other.ATTACHED,
        rf"(?:מצ|רצ){_QUOTE}ב",
        r"מצורפ?",
        r"צרופ",
    ]
)
# The name of a document and nothing else, such as "The invoice" or "Scan below".
NAMES_A_DOCUMENT: Final = re.compile(
    rf"(?:the|our|my|your|an?|signed|new|requested|\s)*\b(?:{_DOCUMENT})s?(?: (?:no\.?|number|#)? ?[\w\-/]*\d[\w\-/]*)?"
    rf"(?: (?:below|above|here|herewith|as requested))?"
    rf"|ה?(?:{_HEBREW_DOCUMENT})(?: (?:חתום|חתומה|חתומים|החתום|החתומה))?(?: (?:מס'?|מספר)? ?[\w\-/]*\d[\w\-/]*)?",
    re.IGNORECASE,
)
# A whole sentence that says something kind.
PLEASANTRY: Final = _pattern(
    [
        r"(?:i |we )?hope (?:you|this|all|everything)\b.{0,80}",
        r"have a (?:nice|great|good|lovely) .{2,30}",
        r"(?:i |we )?look(?:ing)? forward .{0,60}",
        r"(?:please |do )*(?:let (?:me|us) know|feel free|don't hesitate|do not hesitate).{0,90}questions?.{0,30}",
        r"(?:please )?contact (?:me|us).{0,90}questions?.{0,30}",
        r"(?:please )?(?:feel free|do not hesitate|don't hesitate) to (?:contact|call|reach)(?: out to)? (?:me|us)\b.{0,40}",
        r"if you have any questions?.{0,90}",
        r"thank you for .{2,60}",
        r"thanks for .{2,60}",
        *("many thanks", "much appreciated", "happy to help"),
        r"מקווה ש.{0,60}",
        r"(?:לכל שאלה|לשאלות|לבירורים|לפרטים נוספים).{0,80}",
        r"(?:אשמח|נשמח) לעמוד.{0,50}",
        r"(?:אני|אנו|אנחנו) לרשות.{0,40}",
        r"לרשותכם .{0,40}",
        r"במידה ויש שאלות.{0,60}",
        r"תודה על .{2,60}",
        *("תודה מראש", "תודה רבה", "תודה"),
    ]
)
_PHONE = _any(
    *(
        "iphone",
        "ipad",
        "android",
        "samsung",
        "galaxy",
        "huawei",
        "xiaomi",
        "blackberry",
        r"\w*phone",
        "mobile",
        "tablet",
        "handy",
    ),
    *("outlook", "yahoo", "gmail", "windows", "proton ?mail", "aquamail", "k-9", "thunderbird", "airmail", "spark", "spike"),
    *("superhuman", "canary", "edison", "mailtrack", "zoho", "hubspot", r"mail\.ru", "samsung email", "mail", "email app"),
    *("אייפון", "אייפד", "אנדרואיד", "נייד", "טלפון", "סמסונג", "גלקסי", "גלקסיי", "סלולרי"),
)
_DEVICE = [
    r"sent from my .{1,40}",
    rf"sent (?:from|with|via|by|using)\b.{{0,20}}\b(?:{_PHONE})\b.{{0,30}}",
    rf"נשלחה? (?:מ|באמצעות|דרך|על ידי).{{0,20}}(?:{_PHONE}).{{0,30}}",
    r"(?:отправлено|послано|надіслано) (?:с|из|з|со)\b.{2,60}",
    r"(?:أ?رسلت?|تم الإ?رسال) من.{2,60}",
    r"(?:envoyé (?:de|depuis|à partir)|enviado d(?:o|esde)|von mein.{1,40} gesendet|gesendet (?:von|mit)|inviato da)\b.{0,60}",
    r"get outlook for .{2,20}",
    r"הורד.{0,10}outlook.{0,20}",
    r"this e-?mail was sent from .{0,80}",
    r"scan date\s?:.{0,80}",
    r"queries to\s?:.{0,80}",
    r"<?https?://aka\.ms/\S{1,40}",
]
# A whole line that a phone or a scanner adds to every mail.
DEVICE: Final = _pattern(_DEVICE)
SCANNER: Final = _pattern(scanners.SCANNER)
BESIDE_SCANNER: Final = _pattern(scanners.BESIDE_SCANNER)
# A whole line that a phone, a scanner or a mail program wrote.
MACHINE: Final = _pattern(
    [
        *_DEVICE,
        *scanners.SCANNER,
        r"scan(?:ned)? (?:date|by|from|with|at)\b.{0,80}",
        r"queries to\b.{0,80}",
        r"(?:number of images|attachment file type|device (?:name|model|location)|resolution|file format)\s?:.{0,80}",
        r"multifunction (?:printer|device) \w{1,20}\s?:.{0,80}",
        r"for more information on xerox .{0,100}",
        r"image data .{0,40}\battached to (?:this|the) e-?mail\.?",
        r"this (?:e-?mail|message) (?:was|is|has been) (?:generated|sent|created) automatically.{0,60}",
        r"הודעה זו נשלחה (?:באופן )?אוטומטי.{0,60}",
        r"נשלחה? (?:באופן )?אוטומטית? (?:ממערכת|מתוכנת|על ידי) [^.,;]{1,40}\.?",
        r"(?:נא לא|אין) להשיב (?:ל|על ה)(?:מייל|הודעה|דוא.{1,2}ל).{0,20}",
        r"please consider the environment.{0,80}",
        r"(?:think|consider) before (?:you )?print.{0,40}",
        r"חשבו? (?:על הסביבה|לפני).{0,60}",
        r"אנא התחשבו בסביבה.{0,60}",
        r"\[(?:image|cid|תמונה)\s?:[^\]]{0,200}\]",
        r"virus-free.{0,40}",
        r"do not reply to this (?:e-?mail|message).{0,40}",
        r"scanned by .{0,60}",
    ]
)
# Two of these in one paragraph make it a legal notice.
NOTICE: Final = _pattern(
    [
        r"\bconfidential",
        r"\bprivileged\b",
        r"intended (?:recipient|only|solely)",
        r"\b(?:solely|only|exclusively) for the (?:use of the )?(?:addressee|intended|individual|named)",
        r"unauthori[sz]ed",
        r"\bdisclaimer\b",
        r"legal notice",
        r"received this (?:e-?mail|message|communication) in error",
        r"notify the sender",
        r"delete (?:this|the) (?:e-?mail|message)",
        r"liability for",
        r"viruses",
        r"מידע סודי",
        r"חסויי?(?:ם)?",
        r"מיועדת? לנמען",
        r"לנמען בלבד",
        r"לנמענ[יה]",
        r"(?:הגיעה? אליך|קיבלת הודעה זו) בטעות",
        r"בטעות.{0,40}(?:מחק|הודע|השמד)",
        r"כל שימוש.{0,40}אסור",
        r"הודעה זו (?:וכל|מיועדת|מכילה)",
    ]
)
