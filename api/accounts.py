"""What the API answers about the life of a loan: schedule, repayments, payoff, statement."""

from datetime import date
from decimal import Decimal
from typing import Literal

from msgspec import field

from api.answers import Answer, CustomerItem
from credit_es.domain.installments import ScheduledInstallment
from credit_es.domain.standing import Status
from credit_es.domain.statement import Movement


class Schedule(Answer, frozen=True, kw_only=True):
    """All installments of a loan; null is what a workbook does not say.

    ``total_payable`` - ``total_interest`` is the loan's amount; prepayments are in both.
    """

    loan_id: int
    source: Literal["computed", "imported"]
    installments: tuple[ScheduledInstallment, ...]
    total_interest: Decimal | None
    total_payable: Decimal


class Standing(Answer, frozen=True, kw_only=True):
    """How a loan stands now; the principal is null where only a workbook knows it."""

    loan_id: int
    repayments_left: int
    outstanding_principal: Decimal | None
    status: Status


class RepaymentRecorded(Standing, frozen=True, kw_only=True):
    """A repayment, recorded; ``installments_paid`` are those it made full."""

    repayment_id: str
    amount: Decimal
    paid_on: date
    reference: str | None
    installments_paid: tuple[int, ...]


class RepaymentItem(Answer, frozen=True, kw_only=True):
    """A repayment as it was recorded; one reversed counts for nothing."""

    repayment_id: str
    amount: Decimal
    paid_on: date
    reference: str | None
    prepayment: bool
    installments_paid: tuple[int, ...]
    reversed_on: date | None


class RepaymentReversed(Standing, frozen=True, kw_only=True):
    """A repayment, taken back."""

    repayment_id: str
    amount: Decimal
    reversed_on: date


class WrittenOff(Standing, frozen=True, kw_only=True):
    """A loan, given up."""

    written_off_on: date


class PayoffView(Answer, frozen=True, kw_only=True):
    """What pays a loan off on a day: ``total`` is the sum of the other three."""

    loan_id: int
    on: date
    arrears: Decimal
    principal: Decimal
    accrued_interest: Decimal
    total: Decimal


class Details(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """The fields of a customer that were corrected; of a value not known before there is none."""

    first_name: str | None = None
    last_name: str | None = None
    age: int | None = None
    phone_number: int | None = None
    monthly_income: int | None = None
    approved_limit: int | None = None


class Corrected(Answer, frozen=True, kw_only=True):
    """A correction, recorded, and the customer as known now."""

    correction_id: str
    customer_id: int
    effective_on: date
    was: Details
    is_: Details = field(name="is")
    customer: CustomerItem


class StatementLine(Answer, frozen=True, kw_only=True):
    """One movement; ``amount`` is positive where it raises what is owed.

    ``balance`` is what all loans granted here owe after it. Imported loans are shown and not in it:
    their workbook gives no balance.
    """

    date: date
    loan_id: int
    movement: Movement
    amount: Decimal | None
    repayment_id: str | None
    balance: Decimal


class StatementView(Answer, frozen=True, kw_only=True, rename={"first": "from", "last": "to"}):
    """A customer's account in the order of its days, as is known now."""

    customer_id: int
    first: date | None
    last: date
    opening_balance: Decimal
    entries: list[StatementLine]
    closing_balance: Decimal
