"""Generate the two sample workbooks: ``python -m data.generate [--customers N --loans N ...]``.

The same arguments give the same bytes, on every machine: nothing is drawn but from the seed, no
clock is read, and the small workbooks of ``data/`` are stored uncompressed, because zlibs differ.
The workbooks have the quirks of real ones (``data/README.md`` lists them). Ids start at 5,000,001:
above the lender's own, below the numbers that the service gives.
"""

import argparse
import io
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from random import Random
from typing import Final

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from rich.console import Console
from rich.progress import track

CUSTOMERS: Final = 40
LOANS: Final = 100
SEED: Final = 4
FIRST_ID: Final = 5_000_001
MOST: Final = 4_999_999

CUSTOMER_HEADINGS: Final = (
    "Customer ID",
    "First Name",
    "Last Name",
    "Age",
    "Phone Number",
    "Monthly Salary",
    "Approved Limit",
    "current_debt",
)
LOAN_HEADINGS: Final = (
    "Customer ID",
    "Loan ID",
    "Loan Amount",
    "Tenure",
    "Interest Rate",
    "Monthly payment",
    "EMIs paid on Time",
    "Date of Approval",
    "End Date",
)

_FIRST_NAMES: Final = (
    "Aarav Aditi Alice Amara Anil Bruno Carla Chen Dara Devi Elena Emeka Farah Felix Gita Hana "
    "Hugo Imran Ines Jonas Kavya Kofi Lena Lucia Maya Milan Nadia Noah Omar Petra Priya Rahul "
    "Rosa Samir Sofia Tariq Uma Viktor Yara Zoe"
)
_LAST_NAMES: Final = (
    "Acosta Ahmed Bauer Bose Castro Chopra Costa Das Diaz Fischer Fonseca Gupta Haddad Ibrahim "
    "Iyer Jansen Kapoor Keller Khan Kumar Lopez Mehta Mensah Moreno Nair Novak Okafor Ortega "
    "Patel Quispe Rao Reyes Rossi Sato Shah Silva Singh Tanaka Varga Weber"
)

_FIRST_APPROVAL: Final = date(2010, 1, 4)
_APPROVAL_DAYS: Final = 16 * 365
_COUNTED_UNTIL: Final = date(2026, 6, 30)
_SERIAL_ZERO: Final = date(1899, 12, 30)
_ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_LARGEST_STORED: Final = 100_000
_SLOW: Final = 10_000
_TIMESTAMP: Final = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

# Which rows have a quirk: one of so many, counted from that one.
_NO_AGE: Final = (20, 7)
_PHONE_AS_TEXT: Final = (25, 3)
_DEBT: Final = (3, 0)
_ID_OF_TEXT: Final = (40, 17)
_ID_OF_TWO: Final = (35, 20)
_PAID_EARLY: Final = (10, 9)
_DATE_AS_TEXT: Final = (30, 5)
_DATE_AS_SERIAL: Final = (30, 11)

Values = Sequence[str | int | Decimal | date | None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write ``customer_data.xlsx`` and ``loan_data.xlsx``."""
    parser = argparse.ArgumentParser(prog="python -m data.generate", description=__doc__)
    parser.add_argument("--customers", type=_count, default=CUSTOMERS, metavar="N")
    parser.add_argument("--loans", type=_count, default=LOANS, metavar="N")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, metavar="DIR")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args(arguments)
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    customers, loans = generate(given.customers, given.loans, given.seed)
    (out / "customer_data.xlsx").write_bytes(customers)
    (out / "loan_data.xlsx").write_bytes(loans)
    sys.stdout.write(f"{given.customers} customers and {given.loans} loans are in {out}\n")


def generate(
    customers: int = CUSTOMERS, loans: int = LOANS, seed: int = SEED
) -> tuple[bytes, bytes]:
    """Give the bytes of both workbooks."""
    rng = Random(seed)  # noqa: S311 - samples, not secrets
    return (
        _workbook(CUSTOMER_HEADINGS, _customers(rng, customers), customers, trailing=3),
        _workbook(LOAN_HEADINGS, _loans(rng, loans, customers=customers), loans, trailing=2),
    )


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= MOST:
        message = f"must be from 1 to {MOST}: beyond that are the numbers the service gives"
        raise argparse.ArgumentTypeError(message)
    return count


def _has(quirk: tuple[int, int], at: int) -> bool:
    every, first = quirk
    return at % every == first


def _customers(rng: Random, count: int) -> Iterator[Values]:
    first_names, last_names = _FIRST_NAMES.split(), _LAST_NAMES.split()
    for at in range(count):
        age = rng.randrange(20, 71)
        phone = rng.randrange(9_100_000_000, 10_000_000_000)
        debt = rng.randrange(0, 40) * 2_500
        yield (
            FIRST_ID + at,
            rng.choice(first_names),
            rng.choice(last_names),
            None if _has(_NO_AGE, at) else age,
            f" {phone} " if _has(_PHONE_AS_TEXT, at) else phone,
            rng.randrange(20, 251) * 1_000,
            rng.randrange(5, 51) * 100_000,
            debt if _has(_DEBT, at) else None,
        )


def _loans(rng: Random, count: int, *, customers: int) -> Iterator[Values]:
    borrower = 0
    for at in range(count):
        previous, borrower = borrower, rng.randrange(customers)
        amount = rng.randrange(1, 11) * 100_000
        tenure = rng.randrange(3, 181)
        rate = Decimal(rng.randrange(801, 1_801)).scaleb(-2)
        approved = _FIRST_APPROVAL + timedelta(days=rng.randrange(_APPROVAL_DAYS))
        due = min(tenure, _months_between(approved, _COUNTED_UNTIL))
        on_time = due - rng.randrange(0, 1 + due // 3)
        loan_id: int | str = FIRST_ID + at
        if _has(_ID_OF_TEXT, at):
            loan_id = f"LOAN_{at + 1:06}"
        if _has(_ID_OF_TWO, at) and customers > 1:
            # The id of the loan before, which is then another customer's.
            loan_id = FIRST_ID + at - 1
            borrower = (previous + 1) % customers
        if _has(_PAID_EARLY, at):
            approved, tenure = date(2025, 1 + at // 10 % 12, 28), 180
            on_time = 150 + rng.randrange(30)
        yield (
            FIRST_ID + borrower,
            loan_id,
            amount,
            tenure,
            rate,
            _payment(amount, rate, tenure),
            on_time,
            _written(approved, at),
            _written(_months_after(approved, tenure), at),
        )


def _payment(amount: int, rate: Decimal, tenure: int) -> int:
    """Work out the payment as the lender does: P*(1+R/100)^(n//12)/n, to a unit."""
    growth = (1 + rate / 100) ** (tenure // 12)
    return int((amount * growth / tenure).to_integral_value(ROUND_HALF_UP))


def _written(day: date, at: int) -> date | str | int:
    """Write most dates as dates, some as ISO text, some as the serial Excel keeps."""
    if _has(_DATE_AS_TEXT, at):
        return day.isoformat()
    if _has(_DATE_AS_SERIAL, at):
        return (day - _SERIAL_ZERO).days
    return day


def _months_between(start: date, end: date) -> int:
    return (end.year - start.year) * 12 + end.month - start.month - (end.day < start.day)


def _months_after(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    first_of_next = date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1)
    return min(date(year, month + 1, 1) + timedelta(days=day.day - 1), first_of_next - timedelta(1))


def _workbook(
    headings: Sequence[str], rows: Iterable[Values], count: int, *, trailing: int
) -> bytes:
    """Save the rows, and blank ones behind them; the last of those has a cell with a format."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    sheet.append(headings)
    console = Console(stderr=True)
    if count >= _SLOW:
        rows = track(rows, f"{count} rows", total=count, console=console)
    for row in rows:
        sheet.append(row)
    for _ in range(trailing - 1):
        sheet.append(())
    formatted = WriteOnlyCell(sheet)
    formatted.number_format = "0.00"
    sheet.append((None, formatted))
    stream = io.BytesIO()
    book.save(stream)
    return _without_clock(stream.getvalue())


def _without_clock(content: bytes) -> bytes:
    """Pack a workbook again with no time of its own in it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(stream, "w") as out:
        size = sum(member.file_size for member in source.infolist())
        out.compression = zipfile.ZIP_STORED if size < _LARGEST_STORED else zipfile.ZIP_DEFLATED
        for member in source.infolist():
            part = source.read(member)
            if member.filename == "docProps/core.xml":
                part = _TIMESTAMP.sub(b"2026-01-01T00:00:00Z", part)
            out.writestr(zipfile.ZipInfo(member.filename, _ZIP_EPOCH), part, out.compression)
    return stream.getvalue()


if __name__ == "__main__":
    main()
