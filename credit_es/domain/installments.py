"""The whole schedule of a loan, installment by installment, and how each of them stands."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from msgspec import Struct

from credit_es.domain.loan import ZERO, Loan
from credit_es.domain.schedule import months_later
from credit_es.domain.standing import amortized, paid_days, plans_until, received


class InstallmentStatus(StrEnum):
    """Paid by its due date or late; not paid: due still, or overdue from the due date on."""

    DUE = "due"
    PAID = "paid"
    LATE = "late"
    OVERDUE = "overdue"


class ScheduledInstallment(Struct, frozen=True, kw_only=True):
    """One installment; what a workbook does not say is None."""

    number: int
    due_on: date
    opening_balance: Decimal | None
    interest: Decimal | None
    principal: Decimal | None
    installment: Decimal
    closing_balance: Decimal | None
    paid_on: date | None
    status: InstallmentStatus


class LoanSchedule(Struct, frozen=True, kw_only=True):
    """All installments; the totals have what prepayments paid in them.

    ``total_payable`` - ``total_interest`` is the amount of the loan, to the cent.
    """

    source: Literal["computed", "imported"]
    installments: tuple[ScheduledInstallment, ...]
    total_interest: Decimal | None
    total_payable: Decimal


def loan_schedule(loan: Loan, on: date) -> LoanSchedule:
    """The schedule as it stands on a day.

    A loan granted here has the installments of each plan up to the prepayment that ended it; an
    imported one due dates and the workbook's payment.
    """
    if loan.emis_on_time is not None:
        rows = tuple(_of_workbook(loan, on))
        return LoanSchedule(
            source="imported",
            installments=rows,
            total_interest=None,
            total_payable=sum((row.installment for row in rows), ZERO),
        )
    rows = tuple(_computed(loan, on))
    prepaid = [one for one in received(loan) if one.is_prepayment]
    interest = sum((row.interest or ZERO for row in rows), ZERO)
    interest += sum((one.accrued_interest for one in prepaid), ZERO)
    principal = sum((row.principal or ZERO for row in rows), ZERO)
    principal += sum((one.principal for one in prepaid), ZERO)
    return LoanSchedule(
        source="computed",
        installments=rows,
        total_interest=interest,
        total_payable=interest + principal,
    )


def _of_workbook(loan: Loan, on: date) -> Iterator[ScheduledInstallment]:
    days = paid_days(loan)
    by_workbook = loan.emis_on_time or 0
    for number in range(1, loan.tenure_months + 1):
        due_on = months_later(loan.opened_on, number)
        day = days[number - 1] if number <= len(days) else None
        paid = number <= max(by_workbook, len(days))
        yield ScheduledInstallment(
            number=number,
            due_on=due_on,
            opening_balance=None,
            interest=None,
            principal=None,
            installment=loan.installment,
            closing_balance=None,
            paid_on=day,
            status=_status(due_on, on, day if number > by_workbook else None, paid=paid),
        )


def _computed(loan: Loan, on: date) -> Iterator[ScheduledInstallment]:
    days = paid_days(loan)
    for plan, end in plans_until(loan):
        balance = plan.principal
        for row in amortized(loan, plan).rows[: end - plan.after]:
            number = plan.after + row.number
            due_on = months_later(loan.opened_on, number)
            payment = row.principal + row.interest
            day = days[number - 1] if number <= len(days) and payment else None
            yield ScheduledInstallment(
                number=number,
                due_on=due_on,
                opening_balance=balance,
                interest=row.interest,
                principal=row.principal,
                installment=payment,
                closing_balance=row.balance,
                paid_on=day,
                status=_status(due_on, on, day, paid=number <= len(days) or not payment),
            )
            balance = row.balance


def _status(due_on: date, on: date, day: date | None, *, paid: bool) -> InstallmentStatus:
    if paid:
        late = day is not None and day > due_on
        return InstallmentStatus.LATE if late else InstallmentStatus.PAID
    return InstallmentStatus.OVERDUE if due_on <= on else InstallmentStatus.DUE
