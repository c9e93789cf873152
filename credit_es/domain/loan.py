"""The loan aggregate: a state folded from the loan's own stream, and what it means on a day."""

from datetime import date
from decimal import Decimal
from typing import Final

from msgspec import Struct

from credit_es.domain.events import LoanEvent, LoanImported
from credit_es.domain.schedule import due_by, payments

DEFINITION: Final = 1
"""Of ``Loan`` and ``evolve``: raise it when either changes, as for a customer."""


class Loan(Struct, frozen=True, kw_only=True):
    """What is owed, as agreed; ``version`` is that of the last fact folded.

    ``emis_on_time`` is the workbook's total for an imported loan, None for one granted here.
    """

    number: int
    version: int
    customer_number: int
    source_loan_id: str | None
    amount: Decimal
    annual_rate: Decimal
    tenure_months: int
    installment: Decimal
    opened_on: date
    ends_on: date
    emis_on_time: int | None


def evolve(loan: Loan | None, event: LoanEvent) -> Loan:
    """Fold one event of a loan's stream; total, because a recorded fact cannot be refused."""
    assert loan is None
    return Loan(
        number=event.loan_number,
        version=1,
        customer_number=event.customer_number,
        source_loan_id=event.source_loan_id if isinstance(event, LoanImported) else None,
        amount=event.amount,
        annual_rate=event.annual_rate,
        tenure_months=event.tenure_months,
        installment=event.installment,
        opened_on=event.occurred_on,
        ends_on=event.ends_on,
        emis_on_time=event.emis_on_time if isinstance(event, LoanImported) else None,
    )


def repayments_left(loan: Loan) -> int:
    """Installments not paid yet; a workbook's total is taken at its word, never below zero."""
    if loan.emis_on_time is None:
        return payments(loan.amount, loan.annual_rate, loan.tenure_months)
    return max(loan.tenure_months - loan.emis_on_time, 0)


def is_current(loan: Loan, on: date) -> bool:
    """Whether the loan still runs.

    An imported loan runs while its end date is not past and installments are left; one granted here
    until it is paid, its end date past or not (design, section 6).
    """
    if loan.emis_on_time is None:
        return True
    return loan.ends_on >= on and repayments_left(loan) > 0


def installments_due(loan: Loan, on: date) -> int:
    """How many installments have been due by ``on``."""
    return due_by(loan.opened_on, loan.tenure_months, on)


def installments_on_time(loan: Loan, on: date) -> int:
    """How many of the installments due by ``on`` were paid on time.

    A workbook gives only a total: of it count those that can have been due.
    """
    return min(loan.emis_on_time or 0, installments_due(loan, on))
