"""What scanners write into their mails, as parts of the expressions in `covering_phrases`. Pure."""

from __future__ import annotations

from typing import Final

# A whole line that only a scanner writes: HP, Xerox, Kyocera, Brother, Ricoh, Epson, Sharp, Samsung and Lexmark.
SCANNER: Final = (
    r"(?:please )?open the attached (?:document|file)s?\. (?:it|this document) was (?:digitally )?(?:scanned|sent)\b.{0,120}",
    r"(?:נא|אנא) (?:לפתוח|פתח|פתחו|פתחי) את (?:המסמך|הקובץ) המצורף\. .{0,20}(?:נסרק|נשלח).{0,120}",
    r"this (?:e-?mail|message) was sent from \W?(?:brother|canon|epson|hp|km_|kyocera|lexmark|ricoh|rnp|sharp|xerox)\w*.{0,60}",
    r"\[(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}\]",
    r"model name\s?: ?(?:mfc|dcp|ads|hl|fax)-.{0,60}",
    r"attached file is scanned image in .{0,40}",
    r"(?:the )?attached (?:document|file) was scanned (?:on|from|with|using) an? [^.,;]{1,40}\.?",
    r"(?:ה?מסמך ה?)?(?:סרוק|נסרק|סריקה)(?: ונשלח)? (?:ממכשיר|מהמכשיר|באמצעות) [^.,;]{1,40}\.?",
    r"scan date\s?:.{0,80}",
)
# A whole line that a scanner writes beside one of those; a person may write it too.
BESIDE_SCANNER: Final = (
    r"(?:from|location|contact|machine|reply to|queries to|subject)\s?:.{0,80}",
    r"(?:kyocera )?(?:taskalfa|ecosys) [\w-]{2,12}(?: \w{1,4})?",
    r"serial (?:number|no\.?)\s?:.{0,40}",
    r"(?:device|machine|printer|workcentre|versalink|altalink|colorqube|phaser|mfp) (?:name|model|location|address)\s?:.{0,80}",
    r"(?:use|to view|adobe|acrobat|for (?:a )?free cop)\b.{0,300}(?:acrobat|adobe|reader|trademarks?|url)\b.{0,200}",
    r"(?:\w+ )?in the united states and(?:/or)? other countries\.?",
    r"<?https?://(?:www\.)?(?:adobe|xerox|hp|brother|ricoh|canon|kyocera\w{0,20}|epson|sharp\w{0,10}|lexmark)\.\S{1,60}",
)
