"""The rows of the lender's two workbooks, typed, and the rules one row must keep.

A reader hands over the cells of a row by field name; ``read_customer`` and ``read_loan`` turn them
into a row or say every fault at once. Nothing is invented: what may be missing stays None.

A row is rejected only for what cannot be true or cannot be kept: a needed cell that is blank or
unreadable, a number out of range, more places than money has, an end before the approval. All else
is imported as said; what a person should know about it is a finding on the accepted row.
"""

from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final

from msgspec import Struct

from credit_es.domain.cells import (
    CENT,
    HIGHEST,
    Cell,
    Finding,
    RowCells,
    Unreadable,
    WorkbookKind,
    number_of,
    short,
)
from credit_es.domain.schedule import months_later

__all__ = [
    "Cell",
    "CustomerRow",
    "Finding",
    "LoanRow",
    "Unreadable",
    "WorkbookKind",
    "read_customer",
    "read_loan",
]

OLDEST: Final = 150
LONGEST_TENURE: Final = 1_200
HIGHEST_RATE: Final = 10_000
LOAN_ID_LENGTH: Final = 100

_ZERO: Final = Decimal(0)
_GROWTHS_KEPT: Final = 4_096
_PHONE_MARKS: Final = str.maketrans("", "", "+-() \u00a0")
_LONGEST_PHONE: Final = 18

# What registration takes; an import is only told where it goes beyond.
_USUAL_NAME: Final = 100
_USUAL_AGES: Final = range(18, 121)
_USUAL_PHONE_DIGITS: Final = range(7, 16)
_USUAL_RATE: Final = 100


class CustomerRow(Struct, frozen=True, kw_only=True, gc=False):
    """A customer as the workbook says: amounts in the account currency, two places."""

    row: int
    number: int
    first_name: str
    last_name: str
    age: int | None
    phone_number: int | None
    monthly_income: Decimal
    approved_limit: Decimal
    current_debt: Decimal | None


class LoanRow(Struct, frozen=True, kw_only=True, gc=False):
    """A loan as the workbook says: ``annual_rate`` in percent, ``source_loan_id`` as written."""

    row: int
    customer_number: int
    source_loan_id: str
    amount: Decimal
    tenure_months: int
    annual_rate: Decimal
    monthly_payment: Decimal
    emis_on_time: int
    approved_on: date
    ends_on: date


def read_customer(
    row: int, cells: Mapping[str, Cell], columns: Mapping[str, str], sheet: str
) -> tuple[CustomerRow | None, list[Finding]]:
    """Read one row of the customers workbook: the row, or None where a finding rejects it.

    ``columns`` gives each field's heading as the workbook has it; ``row`` is the one Excel shows.
    """
    of = RowCells("customers", row, cells, columns, sheet)
    customer = CustomerRow(
        row=row,
        number=of.whole("number", low=1, high=HIGHEST),
        first_name=_name(of, "first_name"),
        last_name=_name(of, "last_name"),
        age=_age(of),
        phone_number=_phone_number(of),
        monthly_income=of.whole_money("monthly_income"),
        approved_limit=of.whole_money("approved_limit"),
        current_debt=_current_debt(of),
    )
    return (None, of.faults) if of.faults else (customer, of.notes)


def read_loan(
    row: int, cells: Mapping[str, Cell], columns: Mapping[str, str], sheet: str, as_of: date
) -> tuple[LoanRow | None, list[Finding]]:
    """Read one row of the loans workbook: the row, or None where a finding rejects it.

    ``as_of`` is the day of the import, against which installments paid so far are judged; the
    other arguments are those of ``read_customer``.
    """
    of = RowCells("loans", row, cells, columns, sheet)
    loan = LoanRow(
        row=row,
        customer_number=of.whole("customer_number", low=1, high=HIGHEST),
        source_loan_id=_source_loan_id(of),
        amount=of.money("amount", low=CENT),
        tenure_months=of.whole("tenure_months", low=1, high=LONGEST_TENURE),
        annual_rate=of.money("annual_rate", low=_ZERO, high=HIGHEST_RATE),
        monthly_payment=of.money("monthly_payment", low=_ZERO),
        emis_on_time=of.whole("emis_on_time", low=0, high=HIGHEST),
        approved_on=of.day("approved_on"),
        ends_on=of.day("ends_on"),
    )
    if loan.ends_on < loan.approved_on < date.max:
        message = f"the loan ends on {loan.ends_on}, before its approval on {loan.approved_on}"
        of.reject("ends_on", "END_BEFORE_APPROVAL", message)
    if of.faults:
        return None, of.faults
    _note_oddities(of, loan, as_of)
    return loan, of.notes


def _name(of: RowCells, field: str) -> str:
    name = of.text(field)
    if len(name) > _USUAL_NAME or isinstance(of.cell(field), (int, Decimal)):
        of.note(field, "NAME_ODD", f"{short(name)} is an unusual name; imported as it is")
    return name


def _age(of: RowCells) -> int | None:
    if not of.given("age", unknown="AGE_UNKNOWN"):
        if of.has("age") and of.cell("age") is None:
            of.note("age", "AGE_UNKNOWN", "the cell is blank; the age stays unknown")
        return None
    age = of.whole("age", low=0, high=OLDEST)
    if age not in _USUAL_AGES:
        of.note("age", "AGE_ODD", f"{age} is an unusual age for a borrower; imported as it is")
    return age


def _phone_number(of: RowCells) -> int | None:
    """Read a phone number; text may group its digits (``+91 98765-43210``)."""
    if not of.given("phone_number", unknown="PHONE_UNKNOWN"):
        if of.has("phone_number") and of.cell("phone_number") is None:
            of.note("phone_number", "PHONE_UNKNOWN", "the cell is blank; no phone number is known")
        return None
    cell = of.cell("phone_number")
    number = number_of(cell)
    written = str(cell)
    if number is not None and number == int(number):
        digits = str(int(number))
    else:
        digits = "" if isinstance(cell, date) else written.translate(_PHONE_MARKS)
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _LONGEST_PHONE):
        message = f"{short(cell)} is not a phone number; write 7 to 15 digits"
        of.reject("phone_number", "NOT_A_PHONE", message)
        return None
    phone_number = int(digits)
    if str(phone_number) != written or len(digits) not in _USUAL_PHONE_DIGITS:
        message = f"{short(cell)} is kept as the number {phone_number}"
        of.note("phone_number", "PHONE_ODD", message)
    return phone_number


def _current_debt(of: RowCells) -> Decimal | None:
    if not of.given("current_debt", unknown="DEBT_UNKNOWN"):
        return None
    debt = of.money("current_debt", low=Decimal(-HIGHEST))
    if debt < 0:
        of.note("current_debt", "DEBT_NEGATIVE", f"{debt} is a debt below zero; imported as it is")
    return debt


def _source_loan_id(of: RowCells) -> str:
    """Read a loan id: 36, 36.0 and the text ``36`` are one id; other text is kept as written.

    So is ``0036``: whoever wrote the zeros may have meant another loan.
    """
    cell = of.cell("source_loan_id")
    number = number_of(cell)
    if isinstance(cell, str) and (number is None or (cell[0] == "0" and cell.isdecimal())):
        loan_id = of.text("source_loan_id", longest=LOAN_ID_LENGTH)
        if loan_id.strip("0") == "":
            of.reject("source_loan_id", "OUT_OF_RANGE", f"{short(cell)} is not the id of a loan")
        return loan_id
    return str(of.whole("source_loan_id", low=1, high=HIGHEST))


def _note_oddities(of: RowCells, loan: LoanRow, as_of: date) -> None:
    if loan.emis_on_time > loan.tenure_months:
        message = f"{loan.emis_on_time} EMIs paid on time of a tenure of {loan.tenure_months}"
        of.note("emis_on_time", "EMIS_EXCEED_TENURE", message)
    if loan.approved_on > as_of:
        message = f"approved on {loan.approved_on}, after the import on {as_of}"
        of.note("approved_on", "APPROVED_IN_FUTURE", message)
    elapsed = max(0, _months_between(loan.approved_on, as_of))
    if loan.emis_on_time > elapsed:
        message = (
            f"{loan.emis_on_time} EMIs paid on time, but only {elapsed} months from the approval "
            f"on {loan.approved_on} to {as_of}"
        )
        of.note("emis_on_time", "MORE_EMIS_THAN_MONTHS_ELAPSED", message)
    usual = _usual_payment(loan)
    if loan.monthly_payment != usual:
        message = f"{loan.monthly_payment} differs from the {usual} of the lender's own formula"
        of.note("monthly_payment", "PAYMENT_DIFFERS_FROM_FORMULA", message)
    end = _months_after(loan.approved_on, loan.tenure_months)
    if loan.ends_on != end:
        message = (
            f"ends on {loan.ends_on}; {loan.tenure_months} months after {loan.approved_on} "
            f"is {end or 'past the calendar'}"
        )
        of.note("ends_on", "END_DATE_DIFFERS", message)
    if loan.annual_rate > _USUAL_RATE:
        message = f"{loan.annual_rate} per cent a year is unusual; imported as it is"
        of.note("annual_rate", "RATE_ODD", message)


def _usual_payment(loan: LoanRow) -> Decimal:
    """Work out the payment as the lender's workbook does: P*(1+R/100)^(n//12)/n, to a unit.

    That is annual compounding over whole years, not the installment of ``schedule`` (design,
    section 8); all 782 real loans follow it.
    """
    growth = _growth(loan.annual_rate, loan.tenure_months // 12)
    return (loan.amount * growth / loan.tenure_months).to_integral_value(ROUND_HALF_UP)


@lru_cache(_GROWTHS_KEPT)
def _growth(annual_rate: Decimal, years: int) -> Decimal:
    return (1 + annual_rate / 100) ** years


def _months_between(start: date, end: date) -> int:
    """Count the months that are over on ``end``: none on 27 February from 28 January."""
    months = (end.year - start.year) * 12 + end.month - start.month
    return months - (end.day < start.day)


def _months_after(start: date, months: int) -> date | None:
    """Give the same day some months on, or that month's last; None past the year 9999."""
    if start.year * 12 + start.month - 1 + months > date.max.year * 12 + 11:
        return None
    return months_later(start, months)
