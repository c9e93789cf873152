"""Money comes, is taken back, or is given up: commands on a loan, and the facts they end in.

A repayment fills the oldest unpaid installments. A prepayment pays arrears, then the interest of
the running month by days, then principal, and what is left is agreed anew. All of it is pure.
"""

from datetime import date
from decimal import Decimal
from fractions import Fraction

from msgspec import Struct
from msgspec.structs import replace

from credit_es.domain.errors import ForbiddenError, NotAllowedError, UnknownRepaymentError
from credit_es.domain.events import (
    LoanBurdenRaised,
    LoanPrepaid,
    LoanWrittenOff,
    RepaymentReceived,
    RepaymentReversed,
)
from credit_es.domain.loan import ZERO, Loan, Repayment, plan_of
from credit_es.domain.payoff import Payoff, month_of, payoff
from credit_es.domain.running import must_not_be_written_off, must_run
from credit_es.domain.schedule import installment as annuity
from credit_es.domain.schedule import month_interest, months_later, schedule
from credit_es.domain.standing import (
    filled,
    left_to_pay,
    outstanding_principal,
    received,
    to_pay,
)
from credit_es.domain.values import Keep, Plan


class Repay(Struct, frozen=True, kw_only=True):
    """Money for a loan; ``reference`` is the payer's, unique within the loan.

    ``prepay`` lowers the principal, and leaves what ``keep`` says as it was.
    """

    loan_number: int
    amount: Decimal
    paid_on: date
    reference: str | None = None
    prepay: bool = False
    keep: Keep = Keep.INSTALLMENT


def decide_repayment(loan: Loan, command: Repay, *, today: date) -> RepaymentReceived | LoanPrepaid:
    """Record money that came.

    Raises ``ForbiddenError`` where the loan takes none or the reference is taken, and
    ``NotAllowedError`` for a day or an amount that cannot be.
    """
    must_run(loan, today)
    _must_be_possible(loan, command, today)
    before = filled(loan)
    if command.prepay:
        return _prepaid(loan, command)
    left = left_to_pay(loan)
    if command.amount > left:
        raise NotAllowedError(
            "amount", f"{left} is all that is left to pay of loan {loan.number}: pay that or less"
        )
    came = Repayment(
        version=loan.version + 1,
        amount=command.amount,
        paid_on=command.paid_on,
        reference=command.reference,
        installments_paid=(),
    )
    after = filled(replace(loan, repayments=(*loan.repayments, came)))
    return RepaymentReceived(
        occurred_on=command.paid_on,
        loan_number=loan.number,
        customer_number=loan.customer_number,
        amount=command.amount,
        reference=command.reference,
        installments_paid=_between(loan, before.paid, after.paid),
    )


def _must_be_possible(loan: Loan, command: Repay, today: date) -> None:
    """Hold a repayment's day and reference against what is recorded."""
    if command.paid_on > today:
        raise NotAllowedError("paid_on", f"today is {today}: give that day or an earlier one")
    if command.paid_on < loan.opened_on:
        raise NotAllowedError(
            "paid_on", f"the loan was opened on {loan.opened_on}: give that day or a later one"
        )
    money = received(loan)
    taken = next(
        (one for one in money if command.reference and one.reference == command.reference), None
    )
    if taken:
        raise ForbiddenError(
            f"reference {command.reference} is that of repayment {loan.number}-{taken.version} of "
            f"{taken.amount} on {taken.paid_on}: if it is another one, give it another reference"
        )
    latest = max((one for one in money if one.is_prepayment), key=_version, default=None)
    if latest and command.paid_on < latest.paid_on:
        raise ForbiddenError(
            f"prepayment {loan.number}-{latest.version} of {latest.paid_on} was computed without "
            f"this money: reverse it first, or give {latest.paid_on} or a later day"
        )


def _prepaid(loan: Loan, command: Repay) -> LoanPrepaid:
    try:
        owed = payoff(loan, command.paid_on)
    except NotAllowedError as error:
        raise NotAllowedError("paid_on", str(error)) from error
    if command.amount > owed.total:
        raise NotAllowedError(
            "amount", f"{owed.total} pays the loan off on {command.paid_on}: pay that or less"
        )
    closes = command.amount == owed.total
    first = owed.arrears + owed.interest_to_pay
    if not closes and command.amount <= first:
        raise NotAllowedError(
            "amount",
            f"{first} goes to arrears and accrued interest first: prepay more, or send it without "
            "prepay",
        )
    used = min(owed.waiting, owed.accrued_interest)
    to_principal = command.amount - first + owed.waiting - used
    if closes:
        to_principal = owed.principal
    plan = _plan_after(loan, command, owed, owed.principal - to_principal)
    return LoanPrepaid(
        occurred_on=command.paid_on,
        loan_number=loan.number,
        customer_number=loan.customer_number,
        amount=command.amount,
        reference=command.reference,
        installments_paid=_between(loan, filled(loan).paid, owed.after),
        waiting=owed.waiting,
        arrears=owed.arrears,
        accrued_interest=owed.accrued_interest,
        principal=to_principal,
        keep=None if closes else command.keep,
        plan=plan,
        ends_on=command.paid_on if closes else months_later(loan.opened_on, plan.last),
    )


def _between(loan: Loan, before: int, after: int) -> tuple[int, ...]:
    """The installments that money fills from ``before`` to ``after``; of 0.00 there is none."""
    return tuple(number for number in to_pay(loan) if before < number <= after)


def _plan_after(loan: Loan, command: Repay, owed: Payoff, principal: Decimal) -> Plan:
    """What is agreed for the principal that a prepayment leaves.

    The month it falls in bears interest on the new principal for the days that are left of it.
    """
    plan, after = plan_of(loan), owed.after
    if not principal:
        return Plan(after=after, last=after, principal=ZERO, installment=plan.installment)
    begins, ends = month_of(loan, after + 1)
    first_interest = None
    if command.paid_on > begins:
        rest = Fraction((ends - command.paid_on).days, (ends - begins).days)
        first_interest = month_interest(principal, loan.annual_rate, rest)
    count = plan.last - after
    payment = plan.installment
    if command.keep is Keep.TENURE:
        payment = annuity(principal, loan.annual_rate, count)
    else:
        rows = schedule(
            principal, loan.annual_rate, count, payment=payment, first_interest=first_interest
        )
        count = next(row.number for row in rows if not row.balance)
    return Plan(
        after=after,
        last=after + count,
        principal=principal,
        installment=payment,
        begins_on=command.paid_on if first_interest is not None else None,
        first_interest=first_interest,
    )


def decide_reversal(
    loan: Loan, repayment_id: str, reason: str, *, today: date
) -> tuple[RepaymentReversed, LoanBurdenRaised]:
    """Take a mistaken repayment back, on the loan's stream and on the customer's.

    Raises ``UnknownRepaymentError``, and ``ForbiddenError`` where it is taken back already, or a
    prepayment was computed with it.
    """
    ids = {f"{loan.number}-{one.version}": one for one in loan.repayments}
    mistaken = ids.get(repayment_id)
    if mistaken is None:
        raise UnknownRepaymentError(loan.number, repayment_id)
    if mistaken.reversed_on is not None:
        raise ForbiddenError(
            f"repayment {repayment_id} of {mistaken.amount} was reversed on "
            f"{mistaken.reversed_on}: one that came after all is recorded anew"
        )
    must_not_be_written_off(loan)
    later = [one for one in loan.repayments if one.version > mistaken.version]
    above = next((one for one in later if one.is_prepayment and one.reversed_on is None), None)
    if above:
        raise ForbiddenError(
            f"prepayment {loan.number}-{above.version} of {above.paid_on} was computed with it: "
            "reverse that one first"
        )
    taken_back = RepaymentReversed(
        occurred_on=mistaken.paid_on,
        loan_number=loan.number,
        customer_number=loan.customer_number,
        repayment=mistaken.version,
        amount=mistaken.amount,
        reason=reason,
        reversed_on=today,
    )
    raised = LoanBurdenRaised(
        occurred_on=today,
        customer_number=loan.customer_number,
        loan_number=loan.number,
        repayment=mistaken.version,
        amount=mistaken.amount,
    )
    return taken_back, raised


def decide_write_off(loan: Loan, reason: str, *, today: date) -> LoanWrittenOff:
    """Give up what is left. Raises ``ForbiddenError`` where nothing is."""
    must_run(loan, today)
    return LoanWrittenOff(
        occurred_on=today,
        loan_number=loan.number,
        customer_number=loan.customer_number,
        outstanding_principal=outstanding_principal(loan),
        reason=reason,
    )


def _version(repayment: Repayment) -> int:
    return repayment.version
