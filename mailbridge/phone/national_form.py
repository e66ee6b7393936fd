"""How people write a number that the store has in E.164. Pure."""

from __future__ import annotations


def national_form(number: str) -> str:
    """Return a number in E.164 as people in Israel write it: their own as 03-1234567, others as they are."""
    digits = number.removeprefix("+972")
    area = {8: 1, 9: 2}.get(len(digits)) if digits != number and digits.isdecimal() else None
    return f"0{digits[:area]}-{digits[area:]}" if area else number
