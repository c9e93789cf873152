"""A customer's statement as a workbook."""

from collections.abc import Iterator
from datetime import date
from io import BytesIO
from typing import Final

from openpyxl import Workbook

from credit_es.domain.customer import Customer
from credit_es.domain.statement import Statement
from workers.report import Row, write_sheet

HEADINGS: Final = ("Date", "Loan", "Movement", "Repayment", "Amount", "Balance")
WIDTHS: Final = (14, 14, 14, 16, 16, 16)


def statement_xlsx(customer: Customer, found: Statement, first: date | None, last: date) -> bytes:
    """The bytes of an .xlsx; an amount is positive where it raises what is owed."""
    book = Workbook(write_only=True)
    rows = _rows(customer, found, first, last)
    write_sheet(book.create_sheet("Statement"), rows, WIDTHS)
    content = BytesIO()
    book.save(content)
    return content.getvalue()


def _rows(customer: Customer, found: Statement, first: date | None, last: date) -> Iterator[Row]:
    yield HEADINGS
    name = f"{customer.first_name} {customer.last_name}"
    yield first, None, f"Customer {customer.number}, {name}", None, None, found.opening_balance
    for line in found.lines:
        yield (
            line.on,
            line.loan_number,
            line.movement,
            line.repayment_id,
            line.amount,
            line.balance,
        )
    yield last, None, "balance", None, None, found.closing_balance
