"""Texts in cells that no spreadsheet takes for a formula."""

from typing import Final

FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
"""With what a cell begins that Excel and its like calculate."""
APOSTROPHE: Final = "'"


def harmless(text: str) -> str:
    """A text with an apostrophe before it where it would be calculated, or begins with one."""
    return APOSTROPHE + text if text.startswith((*FORMULAS, APOSTROPHE)) else text


def unescaped(text: str) -> str:
    """What ``harmless`` was given."""
    return text.removeprefix(APOSTROPHE)
