"""One cell of a lender's workbook, read as what its column needs.

A reader of workbooks hands over a row as field name -> ``Cell``: text is trimmed, a blank is None,
a number is an int where it is whole and an exact Decimal otherwise, and what is no value at all (an
Excel error, a formula nobody calculated, TRUE) is ``Unreadable`` and says what it is, so that it is
never taken for a blank. ``RowCells`` turns such cells into values and collects every fault.
"""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Final, Literal

from msgspec import Struct

WorkbookKind = Literal["customers", "loans"]

CENT: Final = Decimal("0.01")

HIGHEST: Final = 10**12
"""The largest id and amount a workbook may give: beyond it a number is a slip, not a loan."""

TEXT_LENGTH: Final = 1_000

_SHORT: Final = 40
_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(?:\.\d{0,30})?", re.ASCII)
_ISO_DATE: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?Z?)?", re.ASCII
)
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class Unreadable(Struct, frozen=True):
    """What a cell holds that is no value, in words: ``the error #DIV/0!``."""

    holds: str


Cell = str | int | Decimal | date | Unreadable | None


class Finding(Struct, frozen=True, kw_only=True, gc=False):
    """Something about one row that a person should know; ``row`` is the one Excel shows.

    ``column`` is the heading as the workbook has it, None where the whole row is meant.
    """

    workbook: WorkbookKind
    sheet: str
    row: int
    column: str | None
    code: str
    message: str


def short(value: object) -> str:
    """Name a cell's value in a message, cut where it is long."""
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 4]}...{text[-1]}"


def printable(text: str) -> str:
    """Show what cannot be printed, and neither Postgres nor Excel would take, as ``?``."""
    return _UNPRINTABLE.sub("?", text)


def number_of(cell: Cell) -> int | Decimal | None:
    """Take the number a cell holds, typed or as text (``50000``, ``8.20``); None if it is none.

    Text with separators or an exponent is none: ``1,500`` and ``9.6E+09`` can be read two ways.
    """
    if isinstance(cell, (int, Decimal)):
        return cell
    return Decimal(cell) if isinstance(cell, str) and _NUMBER.fullmatch(cell) else None


class RowCells:
    """The cells of one row; each method reads one field and says what is wrong with it.

    A method that finds a fault returns a placeholder, so that the next field is looked at as well:
    whoever builds a row must drop it where there are ``faults``. ``notes`` are what a person should
    know about the row if it is accepted.
    """

    def __init__(
        self,
        workbook: WorkbookKind,
        row: int,
        cells: Mapping[str, Cell],
        columns: Mapping[str, str],
        sheet: str,
    ) -> None:
        self._workbook = workbook
        self._row = row
        self._cells = cells
        self._columns = columns
        self._sheet = sheet
        self.faults: list[Finding] = []
        self.notes: list[Finding] = []

    def has(self, field: str) -> bool:
        """Tell whether the workbook has a column for ``field``."""
        return field in self._columns

    def cell(self, field: str) -> Cell:
        """Give the cell as the reader handed it over; None where it or its column is missing."""
        cell = self._cells.get(field)
        return None if cell == "" else cell

    def note(self, field: str, code: str, message: str) -> None:
        """Record what a person should know about a row that is accepted."""
        self.notes.append(self._finding(field, code, message))

    def reject(self, field: str, code: str, message: str) -> None:
        """Record a fault: the row cannot be taken as it is."""
        self.faults.append(self._finding(field, code, message))

    def given(self, field: str, unknown: str) -> bool:
        """Tell whether an optional field has something to read.

        What is there but unreadable leaves the field unknown, with a finding of that code.
        """
        cell = self.cell(field)
        if isinstance(cell, Unreadable):
            self.note(field, unknown, f"the cell holds {cell.holds}; the value stays unknown")
            return False
        return cell is not None

    def whole(self, field: str, *, low: int, high: int) -> int:
        """Read a whole number from ``low`` to ``high``; 36.0 is 36."""
        value = self._number(field, low=low, high=high)
        if isinstance(value, int):
            return value
        if value != (whole := int(value)):
            self.reject(field, "NOT_WHOLE", f"{short(value)} is not a whole number")
        return whole

    def money(self, field: str, *, low: Decimal, high: int = HIGHEST) -> Decimal:
        """Read an amount or a rate from ``low`` to ``high``, exact, written with two places."""
        value = self._number(field, low=low, high=high)
        exact = Decimal(value).quantize(CENT)
        if not isinstance(value, int) and exact != value:
            message = f"{short(value)} has more than two decimal places; nothing is rounded here"
            self.reject(field, "MORE_THAN_TWO_PLACES", message)
        return exact

    def whole_money(self, field: str) -> Decimal:
        """Read an amount of zero or more without cents."""
        return Decimal(self.whole(field, low=0, high=HIGHEST)).quantize(CENT)

    def text(self, field: str, *, longest: int = TEXT_LENGTH) -> str:
        """Read text; a number stands for its digits."""
        cell = self._required(field)
        if isinstance(cell, date):
            self.reject(field, "NOT_TEXT", f"{cell} is a date; text is needed here")
            return ""
        text = "" if cell is None or isinstance(cell, Unreadable) else str(cell)
        if _UNPRINTABLE.search(text):
            message = f"{short(printable(text))} has characters that cannot be printed"
            self.reject(field, "UNPRINTABLE", message)
        if len(text) > longest:
            message = f"{short(text)} has {len(text)} characters; at most {longest} are kept"
            self.reject(field, "TEXT_TOO_LONG", message)
        return text

    def day(self, field: str) -> date:
        """Read a date: a date cell, or ISO text such as 2017-03-09."""
        given = self._cells.get(field)
        if isinstance(given, date):
            return given
        cell = self._required(field)
        if isinstance(cell, str) and (iso := _ISO_DATE.fullmatch(cell)):
            try:
                return date(int(iso[1]), int(iso[2]), int(iso[3]))
            except ValueError:
                self.reject(field, "NOT_A_DATE", f"{short(cell)} is not in the calendar")
                return date.max
        if cell is not None and not isinstance(cell, Unreadable):
            message = f"{short(cell)} is not a date; write a date cell, or text such as 2017-03-09"
            self.reject(field, "NOT_A_DATE", message)
        return date.max

    def _finding(self, field: str, code: str, message: str) -> Finding:
        return Finding(
            workbook=self._workbook,
            sheet=self._sheet,
            row=self._row,
            column=self._columns.get(field),
            code=code,
            message=message,
        )

    def _required(self, field: str) -> Cell:
        cell = self.cell(field)
        if cell is None:
            self.reject(field, "BLANK", "the cell is blank; a value is needed here")
        elif isinstance(cell, Unreadable):
            message = f"the cell holds {cell.holds}; a value is needed here"
            self.reject(field, "UNREADABLE", message)
        return cell

    def _number(self, field: str, *, low: int | Decimal, high: int) -> int | Decimal:
        """Read a number; zero, which passes all later checks, where it is none or out of range."""
        given = self._cells.get(field)
        value = given if isinstance(given, int) else number_of(given)
        if value is None:
            cell = self._required(field)
            if cell is not None and not isinstance(cell, Unreadable):
                message = f"{short(cell)} is not a number; write digits only, such as 50000"
                self.reject(field, "NOT_A_NUMBER", message)
            return 0
        if not low <= value <= high:
            message = f"{short(value)} is out of range; it must be from {low} to {high}"
            self.reject(field, "OUT_OF_RANGE", message)
            return 0
        return value
