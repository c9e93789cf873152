"""The child process that parses one workbook: ``python -m workers.sheet KIND MEMORY TIME PARENT``.

It reads the workbook from stdin, puts itself under the limits, and writes the messages of
``workers.wire`` to stdout. python-calamine parses ten times as fast as openpyxl, but it aborts on
one far cell, gives an Excel error and a formula nobody calculated as a blank, and integers as
floats: so it runs here, and ``workers.markup`` says which blanks are none.

The sheet taken is the first visible one; if its headings do not fit and those of exactly one other
visible sheet do, that one.
"""

import io
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import IO, Final, cast

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    SheetTypeEnum,
    SheetVisibleEnum,
)
from setproctitle import setproctitle

from credit_es.domain.cells import WorkbookKind, printable
from workers.headings import COLUMNS, Match, match
from workers.markup import Markup, MarkupError, Package
from workers.wire import Day, End, Head, NoValue, Problem, Rows, Value, send

OUT_OF_MEMORY: Final = 70

_BATCH: Final = 500
_MOST_ROWS: Final = 1_048_576
_LONGEST_TEXT: Final = 2_000
_DAY_ZERO: Final = date(1899, 12, 30).toordinal()
_FIRST_OF_1904: Final = date(1904, 1, 1).toordinal()
_LAST_SERIAL: Final = date.max.toordinal() - _FIRST_OF_1904
_LEAP_DAY_THAT_NEVER_WAS: Final = 60
_FIRST_INEXACT: Final = 2**53
_SERIAL: Final = re.compile(r"\d{1,7}(?:\.0*)?", re.ASCII)

Raw = int | float | str | bool | time | date | datetime | timedelta


class UnfitError(Exception):
    """The workbook cannot be read; the message is a predicate about it."""


def main() -> None:
    """Parse the workbook on stdin within the limits given."""
    kind, memory_bytes, time_s, parent = sys.argv[1:]
    setproctitle(f"credit-es workbook {kind}")
    confine(memory_bytes=int(memory_bytes), time_s=int(time_s), parent=int(parent))
    try:
        content = sys.stdin.buffer.read()
        parse(content, cast(WorkbookKind, kind), sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def confine(*, memory_bytes: int, time_s: int, parent: int) -> None:
    """Bound this process's memory and processor time, and let it die with its parent."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (time_s, time_s + 1))
    if sys.platform == "linux":
        # Elsewhere an address space cannot be bounded, and the time limit has to do.
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        die_with_parent()
    # A parent that died before that sends no signal any more.
    if os.getppid() != parent:
        os._exit(1)


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL at the death of the thread that started this process.

    That thread waits for this process, so it is the parent's death, or an abandoned read.
    """
    import ctypes  # noqa: PLC0415 - needed on Linux only
    import signal  # noqa: PLC0415

    set_parent_death_signal = 1
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)


def parse(content: bytes, kind: WorkbookKind, out: IO[bytes]) -> None:
    """Write the messages for one workbook."""
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        package = Package(content)
        names = visible_sheets(book)
        # Calamine parses without the interpreter's lock; the sheet it is to be is nearly always
        # the first.
        with ThreadPoolExecutor(1) as beside:
            first = beside.submit(package.markup, names[0])
            sheet, head_index, found = choose_sheet(book, names, kind)
            markup = first.result() if sheet.name == names[0] else package.markup(sheet.name)
        last_row = last_row_of(sheet, markup)
        send(out, Head(sheet.name, head_index + 1, found.columns))
        dates = Dates(kind, is_1904=package.is_1904)
        sent = send_rows(value_rows(sheet, head_index, found, markup, dates), out)
        send(out, End(last_row - head_index - sent))
    except UnfitError as error:
        send(out, Problem(str(error)))
    except (CalamineError, MarkupError) as error:
        predicate = "is damaged inside; open it in Excel, save it and upload it again"
        send(out, Problem(predicate, repr(error)))


def visible_sheets(book: CalamineWorkbook) -> list[str]:
    """Give the names of the sheets that a person sees, at least one."""
    names = [
        sheet.name
        for sheet in book.sheets_metadata
        if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible
    ]
    if not names:
        raise UnfitError("has no visible sheet; put the rows on one")
    return names


def choose_sheet(
    book: CalamineWorkbook, names: Sequence[str], kind: WorkbookKind
) -> tuple[CalamineSheet, int, Match]:
    """Give the sheet to read, the index of its heading row and its columns.

    The one of these that has the headings; of several none is taken, or rows would be lost.
    """
    problem = ""
    fitting: list[tuple[CalamineSheet, int, Match]] = []
    for position, name in enumerate(names):
        # Calamine parses the whole sheet here, so one that fits is kept.
        sheet = book.get_sheet_by_name(name)
        head_index, headings = heading_row(sheet)
        found = match(kind, headings)
        if found.problem is None:
            fitting.append((sheet, head_index, found))
        elif position == 0:
            problem = found.problem if any(headings) else "is empty; give it headings and rows"
            problem = problem if len(names) == 1 else f"{problem} (sheet '{name}')"
    if len(fitting) > 1:
        several = ", ".join(f"'{sheet.name}'" for sheet, _, _ in fitting)
        raise UnfitError(f"has several sheets that could be meant, {several}; keep one of them")
    if not fitting:
        raise UnfitError(problem)
    return fitting[0]


def heading_row(sheet: CalamineSheet) -> tuple[int, Sequence[str]]:
    """Find the first row that is not blank: its index in the sheet, and its texts."""
    for index, cells in enumerate(rows_of(sheet)):
        texts = [printable(str(cell).strip()[:_LONGEST_TEXT]) for cell in cells]
        if any(texts):
            return index, texts
    return 0, ()


def rows_of(sheet: CalamineSheet) -> Iterator[list[Raw]]:
    """Give the rows from the sheet's first one on, each from its first used column on."""
    return iter(()) if sheet.start is None else sheet.iter_rows()


def last_row_of(sheet: CalamineSheet, markup: Markup) -> int:
    """Give the index of the last row there is, blank or not."""
    last_row = max(sheet.end[0] if sheet.end is not None else 0, markup.last_row)
    if last_row >= _MOST_ROWS:
        message = f"has more than {_MOST_ROWS} rows; split it"
        raise UnfitError(message)
    return last_row


def send_rows(rows: Iterator[tuple[int, list[Value]]], out: IO[bytes]) -> int:
    """Send rows in batches; give their number."""
    sent = 0
    while batch := list(islice(rows, _BATCH)):
        send(out, Rows(batch))
        sent += len(batch)
    return sent


def value_rows(
    sheet: CalamineSheet, head_index: int, found: Match, markup: Markup, dates: "Dates"
) -> Iterator[tuple[int, list[Value]]]:
    """Give the rows below the headings that are not blank, each with the number Excel shows."""
    first_column = sheet.start[1] if sheet.start is not None else 0
    positions = list(found.positions.values())
    date_slots = [slot for slot, field in enumerate(found.positions) if field in dates.fields]
    for index, cells in enumerate(rows_of(sheet)):
        if index <= head_index:
            continue
        values = [_BY_TYPE[type(cell)](cell) for cell in [cells[at] for at in positions]]
        for slot in date_slots:
            if not isinstance(values[slot], Day):
                values[slot] = dates.day(values[slot])
        if index in markup.no_values:
            holds = markup.no_values[index]
            columns = [holds.get(at + first_column) for at in positions]
            values = [
                NoValue(mark) if mark and value is None else value
                for mark, value in zip(columns, values, strict=True)
            ]
        if values.count(None) < len(values):
            yield index + 1, values


class Dates:
    """The date columns of a workbook and its date system: 1900, or 1904 as old Macs had it."""

    def __init__(self, kind: WorkbookKind, *, is_1904: bool) -> None:
        self.fields = {column.field for column in COLUMNS[kind] if column.is_date}
        self._is_1904 = is_1904

    def day(self, value: Value) -> Value:
        """Read a plain number in a date column, as text too: it is a serial if it can be one."""
        if isinstance(value, str) and _SERIAL.fullmatch(value):
            serial = float(value)
        elif isinstance(value, (int, float)):
            serial = value
        else:
            return value
        if not 1 <= serial <= _LAST_SERIAL:
            return value
        days = int(serial)
        if self._is_1904:
            return Day(_FIRST_OF_1904 + days)
        if days == _LEAP_DAY_THAT_NEVER_WAS:
            return value
        # Excel takes 1900 for a leap year: its days before that February are one number lower.
        return Day(_DAY_ZERO + days + (days < _LEAP_DAY_THAT_NEVER_WAS))


def _text(cell: str) -> Value:
    # What is longer is rejected by its length in the parent, which need not see all of it.
    return cell.strip()[:_LONGEST_TEXT] or None


def _number(cell: float) -> Value:
    return int(cell) if cell.is_integer() and abs(cell) < _FIRST_INEXACT else cell


_BY_TYPE: Final[Mapping[type, Callable[[Raw], Value]]] = cast(
    Mapping[type, Callable[[Raw], Value]],
    {
        str: _text,
        float: _number,
        int: lambda cell: _number(float(cell)),
        bool: lambda cell: NoValue(f"the truth value {str(cell).upper()}"),
        date: lambda cell: Day(cell.toordinal()),
        datetime: lambda cell: Day(cell.toordinal()),
        time: lambda cell: NoValue(f"the time of day {cell}"),
        timedelta: lambda cell: NoValue(f"the duration {cell}"),
    },
)

if __name__ == "__main__":
    main()
