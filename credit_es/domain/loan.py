"""The loan aggregate: a state folded from the loan's own stream.

What it means on a day, ``domain/standing.py`` says.
"""

from datetime import date
from decimal import Decimal
from typing import Final, assert_never

from msgspec import Struct
from msgspec.structs import asdict, replace

from credit_es.domain.events import (
    LoanEvent,
    LoanImported,
    LoanOpened,
    LoanPrepaid,
    LoanRestated,
    LoanWrittenOff,
    RepaymentReceived,
    RepaymentReversed,
)
from credit_es.domain.schedule import months_later
from credit_es.domain.values import Plan

DEFINITION: Final = 3
"""Of ``Loan`` and ``evolve``: raise it when either changes, as for a customer."""

ZERO: Final = Decimal("0.00")


class Repayment(Struct, frozen=True, kw_only=True):
    """Money that came; ``version`` is that of its fact. One reversed counts for nothing.

    Of a prepayment, ``accrued_interest`` and ``principal`` say what it and a part payment that was
    waiting paid besides arrears.
    """

    version: int
    amount: Decimal
    paid_on: date
    reference: str | None
    installments_paid: tuple[int, ...]
    is_prepayment: bool = False
    accrued_interest: Decimal = ZERO
    principal: Decimal = ZERO
    reversed_on: date | None = None


class WorkbookCount(Struct, frozen=True, kw_only=True):
    """The EMIs that a workbook counted, when so many repayments had been recorded here."""

    emis: int
    repayments: int


class Loan(Struct, frozen=True, kw_only=True):
    """What is owed, as agreed; ``version`` is that of the last fact folded.

    ``emis_on_time`` is the workbook's total for an imported loan, None for one granted here.
    ``plans`` are the one it was opened with and one for each prepayment, none where there was no
    prepayment; tenure, installment and end are those of the last. ``counts`` are those of the
    workbooks that told of an imported loan, the first one first.
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
    counts: tuple[WorkbookCount, ...] = ()
    repayments: tuple[Repayment, ...] = ()
    plans: tuple[Plan, ...] = ()
    written_off_on: date | None = None


def evolve(loan: Loan | None, event: LoanEvent) -> Loan:
    """Fold one event of a loan's stream; total, because a recorded fact cannot be refused."""
    match event:
        case LoanOpened() | LoanImported():
            assert loan is None
            return _opened(event)
        case _:
            assert loan is not None
            return _changed(replace(loan, version=loan.version + 1), event)


def _opened(event: LoanOpened | LoanImported) -> Loan:
    emis = event.emis_on_time if isinstance(event, LoanImported) else None
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
        emis_on_time=emis,
        counts=() if emis is None else (WorkbookCount(emis=emis, repayments=0),),
    )


def _changed(
    loan: Loan,
    event: RepaymentReceived | LoanPrepaid | RepaymentReversed | LoanWrittenOff | LoanRestated,
) -> Loan:
    match event:
        case RepaymentReceived():
            return replace(loan, repayments=(*loan.repayments, _received(loan, event)))
        case LoanPrepaid():
            prepaid = replace(
                _received(loan, event),
                is_prepayment=True,
                accrued_interest=event.accrued_interest,
                principal=event.principal,
            )
            plans = (*(loan.plans or (plan_of(loan),)), event.plan)
            return _under(replace(loan, repayments=(*loan.repayments, prepaid)), plans)
        case RepaymentReversed():
            kept = tuple(
                replace(one, reversed_on=event.reversed_on)
                if one.version == event.repayment
                else one
                for one in loan.repayments
            )
            was = {one.version: one for one in loan.repayments}[event.repayment]
            plans = loan.plans[:-1] if was.is_prepayment else loan.plans
            return _under(replace(loan, repayments=kept), plans)
        case LoanWrittenOff():
            return replace(loan, written_off_on=event.occurred_on)
        case LoanRestated():
            told = asdict(event.is_)
            changed = {name: value for name, value in told.items() if value is not None}
            counts = loan.counts
            if event.is_.emis_on_time is not None:
                emis, repayments = event.is_.emis_on_time, len(loan.repayments)
                counts = (*counts, WorkbookCount(emis=emis, repayments=repayments))
            return replace(loan, counts=counts, **changed)
        case _:
            assert_never(event)


def _received(loan: Loan, event: RepaymentReceived | LoanPrepaid) -> Repayment:
    return Repayment(
        version=loan.version,
        amount=event.amount,
        paid_on=event.occurred_on,
        reference=event.reference,
        installments_paid=event.installments_paid,
    )


def _under(loan: Loan, plans: tuple[Plan, ...]) -> Loan:
    """The loan under other plans; one that leaves nothing to pay changes no term."""
    loan = replace(loan, plans=plans)
    if not plans or plans[-1].last == plans[-1].after:
        return loan
    return replace(
        loan,
        tenure_months=plans[-1].last,
        installment=plans[-1].installment,
        ends_on=months_later(loan.opened_on, plans[-1].last),
    )


def plan_of(loan: Loan) -> Plan:
    """The plan that a loan granted here runs under."""
    if loan.plans:
        return loan.plans[-1]
    return Plan(
        after=0, last=loan.tenure_months, principal=loan.amount, installment=loan.installment
    )
