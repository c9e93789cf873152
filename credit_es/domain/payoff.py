"""What pays a loan off on a day: arrears, principal, and the running month's interest by days."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

from msgspec import Struct

from credit_es.domain.errors import ForbiddenError, NotAllowedError
from credit_es.domain.loan import ZERO, Loan, plan_of
from credit_es.domain.money import to_cents
from credit_es.domain.running import must_run
from credit_es.domain.schedule import due_by, months_later
from credit_es.domain.standing import amortized, filled, received
from credit_es.domain.values import Plan


class Payoff(Struct, frozen=True, kw_only=True):
    """What is owed on a day if it is all to be paid.

    Arrears are what is due and not paid; interest accrues by the days of the running month, unless
    its installment is paid already. A part payment for an installment not yet due is ``waiting``,
    and goes to the interest first. ``after`` is the last installment that then counts as paid.
    """

    arrears: Decimal
    accrued_interest: Decimal
    principal: Decimal
    waiting: Decimal
    after: int

    @property
    def interest_to_pay(self) -> Decimal:
        """The accrued interest that no part payment has paid."""
        return max(self.accrued_interest - self.waiting, ZERO)

    @property
    def principal_to_pay(self) -> Decimal:
        """The principal that no part payment has paid."""
        return self.principal - max(self.waiting - self.accrued_interest, ZERO)

    @property
    def total(self) -> Decimal:
        """What pays the loan off."""
        return self.arrears + self.interest_to_pay + self.principal_to_pay


def payoff(loan: Loan, on: date) -> Payoff:
    """What pays the loan off on a day.

    Raises ``ForbiddenError`` where it is closed or no balance is known, ``NotAllowedError`` for a
    day before the opening or before the last repayment.
    """
    must_run(loan, on)
    if loan.emis_on_time is not None:
        raise ForbiddenError(
            f"loan {loan.number} came with a workbook that gives no balance: it can be repaid by "
            f"installments of {loan.installment}, and neither prepaid nor paid off"
        )
    last = max((one.paid_on for one in received(loan)), default=loan.opened_on)
    if on < last:
        what = "a repayment came" if last > loan.opened_on else "the loan was opened"
        raise NotAllowedError("on", f"{what} on {last}: give that day or a later one")
    plan, now = plan_of(loan), filled(loan)
    rows = amortized(loan, plan)
    due = max(min(due_by(loan.opened_on, plan.last, on), plan.last), plan.after)
    after = max(now.paid, due)
    arrears = rows.due[due - plan.after] - rows.due[now.paid - plan.after] - now.waiting
    is_behind = now.paid < due
    principal = rows.rows[after - plan.after - 1].balance if after > plan.after else plan.principal
    interest = ZERO
    if due == after < plan.last:
        begins, ends = _period(loan, plan, after + 1)
        share = Fraction(max((on - begins).days, 0), (ends - begins).days)
        interest = to_cents(Fraction(rows.rows[after - plan.after].interest) * share)
    waiting = ZERO if is_behind else min(now.waiting, interest + principal)
    return Payoff(
        arrears=arrears if is_behind else ZERO,
        accrued_interest=interest,
        principal=principal,
        waiting=waiting,
        after=after,
    )


def month_of(loan: Loan, number: int) -> tuple[date, date]:
    """The month at whose end an installment is due."""
    return months_later(loan.opened_on, number - 1), months_later(loan.opened_on, number)


def _period(loan: Loan, plan: Plan, number: int) -> tuple[date, date]:
    """The days whose interest an installment pays: its month, or what a prepayment left of it."""
    begins, ends = month_of(loan, number)
    if plan.begins_on is not None and number == plan.after + 1:
        begins = plan.begins_on
    return begins, ends
