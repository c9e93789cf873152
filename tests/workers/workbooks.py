"""A lender's workbooks in a line: rows as read, rows as written, and whole files of them."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import TypeVar

from msgspec.structs import replace

from credit_es.domain.cells import Finding, WorkbookKind
from credit_es.domain.rows import CustomerRow, LoanRow
from tests.workers import hostile
from workers.workbook import Sheet

Row = TypeVar("Row", CustomerRow, LoanRow)

CUSTOMER_FIELDS = (
    *("number", "first_name", "last_name", "age", "phone_number"),
    *("monthly_income", "approved_limit"),
)
LOAN_FIELDS = (
    *("customer_number", "source_loan_id", "amount", "tenure_months", "annual_rate"),
    *("monthly_payment", "emis_on_time", "approved_on", "ends_on"),
)
OPENED = date(2024, 3, 9)
ENDS = date(2034, 3, 9)


def customer_row(number: int, *, row: int = 2, **changes: object) -> CustomerRow:
    one = CustomerRow(
        row=row,
        number=number,
        first_name="Aaron",
        last_name="Garcia",
        age=63,
        phone_number=9629317944,
        monthly_income=Decimal("50000.00"),
        approved_limit=Decimal("1800000.00"),
        current_debt=None,
    )
    return replace(one, **changes)


def loan_row(customer_number: int, loan_id: str, *, row: int = 2, **changes: object) -> LoanRow:
    one = LoanRow(
        row=row,
        customer_number=customer_number,
        source_loan_id=loan_id,
        amount=Decimal("100000.00"),
        tenure_months=120,
        annual_rate=Decimal("8.20"),
        monthly_payment=Decimal("1200.00"),
        emis_on_time=20,
        approved_on=OPENED,
        ends_on=ENDS,
    )
    return replace(one, **changes)


def sheet(
    workbook: WorkbookKind,
    rows: Sequence[Row],
    *,
    findings: Sequence[Finding] = (),
    rejected: int = 0,
    blank: int = 0,
) -> Sheet[Row]:
    headings = hostile.CUSTOMER_HEADINGS if workbook == "customers" else hostile.LOAN_HEADINGS
    fields = CUSTOMER_FIELDS if workbook == "customers" else LOAN_FIELDS
    return Sheet(
        workbook=workbook,
        name="Sheet1",
        heading_row=1,
        columns=dict(zip(fields, headings, strict=True)),
        rows=rows,
        findings=findings,
        rejected=rejected,
        blank=blank,
    )


def customer(number: int, **changes: object) -> list[object]:
    """A row as written, by heading; ``Customer_ID="x"`` puts what is no id."""
    return _row(
        hostile.CUSTOMER_HEADINGS,
        (number, "Aaron", "Garcia", 63, 9629317944, 50000, 1800000),
        changes,
    )


def loan(customer_number: int, loan_id: object, **changes: object) -> list[object]:
    return _row(
        hostile.LOAN_HEADINGS,
        (customer_number, loan_id, 100000, 120, 8.2, 1833, 20, OPENED, ENDS),
        changes,
    )


def _row(
    headings: Sequence[str], values: Sequence[object], changes: dict[str, object]
) -> list[object]:
    named = dict(zip(headings, values, strict=True))
    for name, value in changes.items():
        heading = name.replace("_", " ")
        assert heading in named
        named[heading] = value
    return list(named.values())


def lender(count: int, *, loans_each: int = 2, first: int = 1) -> tuple[bytes, bytes]:
    """Both workbooks of so many customers; every tenth shares a loan id with the one before."""
    numbers = range(first, first + count)
    ids = [(number, n) for number in numbers for n in range(loans_each)]
    customers = [customer(number, Age=20 + number % 50) for number in numbers]
    loans = [
        loan(number, (number if n or number % 10 else number - 1) * 10 + n) for number, n in ids
    ]
    return hostile.customers(*customers), hostile.loans(*loans)
