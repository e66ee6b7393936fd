"""Phrases of covering texts in Russian, Arabic, German and French, as parts of the expressions in `covering_phrases`. Pure."""

from __future__ import annotations

from typing import Final

GREETING: Final = (
    r"(?:здравствуйте|добр(?:ый день|ый вечер|ое утро)|привет|уважаем\w{2,4})(?!\w)[^.?]{0,60}",
    r"(?:مرحبا|السلام عليكم|تحية طيبة|صباح الخير|مساء الخير)(?!\w)[^.?]{0,60}",
    r"(?:bonjour|hallo|guten (?:tag|morgen)|sehr geehrte)\b[^.?]{0,60}",
)
CLOSING: Final = (
    *("с уважением", "с наилучшими пожеланиями", "спасибо(?: большое)?", "заранее спасибо", "всего доброго"),
    *("(?:مع )?(?:أطيب |خالص |فائق )?(?:التحيات|تحياتي|التحية|الاحترام|التقدير)", "و?شكرا(?: جزيلا)?"),
    *("mit freundlichen grüßen", "viele grüße", "mfg", "danke", "cordialement", "merci(?: beaucoup)?"),
)
REQUEST: Final = (
    r"(?<!\w)(?:прошу|просим|просьба|пожалуйста|срочно|важно|только|до|не|нет|иначе)(?!\w)",
    r"(?<!\w)(?:подтверд|отмен|измен|достав|верн|оплатит|подпи[шс]ит|замен)\w*",
    r"(?<!\w)و?(?:يرجى|الرجاء|أرجو|نرجو|عاجل|فقط|قبل|حتى|لا|إلغاء|تأكيد|مهم)(?!\w)",
    r"\b(?:bitte|dringend|nur|nicht|bis|vor|merci de|uniquement|avant|ne|pas)\b",
)
POLITE: Final = (
    r"(?:прошу|просим) (?:принять|найти|ознакомиться)",
    r"(?:يرجى|نرجو) (?:الاطلاع على|استلام)",
)
COVERING: Final = (
    r"(?:высыла|отправля|посыла|направля|прилага|прикладыва)(?:ю|ем)(?!\w)",
    r"(?:см\.?(?!\w)|смотрите|во? вложени|в приложени)",
    r"(?:مرفق|المرفق|طيه|تجدون|يرجى الاطلاع|أرسل|نرسل)",
    r"(?:anbei|im anhang|beigefügt|dies ist|ci-joint|veuillez trouver|en pièce jointe|je vous envoie)",
)
ATTACHED: Final = (r"(?:вложени|приложени|прилага|прикреп)", "مرفق", r"\b(?:ci-joint|anbei|im anhang)")
