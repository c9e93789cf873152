"""The rows of the lender's two workbooks, typed, and the rules one row must keep.

A reader hands over the cells of a row by field name; ``read_customer`` and ``read_loan`` turn them
into a row or say every fault at once. Nothing is invented: what may be missing stays None.
"""

from datetime import date
from decimal import Decimal
from typing import Literal

from msgspec import Struct

Cell = str | int | Decimal | date | None


class Finding(Struct, frozen=True, kw_only=True):
    """Something about one row that a person should know; ``row`` is the one Excel shows.

    ``column`` is the heading as the workbook has it, None where the whole row is meant.
    """

    workbook: Literal["customers", "loans"]
    sheet: str
    row: int
    column: str | None
    code: str
    message: str


class CustomerRow(Struct, frozen=True, kw_only=True):
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


class LoanRow(Struct, frozen=True, kw_only=True):
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
