"""How a loan stands on a day: what is paid, what is due, what is left.

Money is not divided when it comes: which installments it has filled follows from the sum of the
repayments in the order of their days, so that one recorded late or taken back moves all others to
where they belong.

An installment of 0.00 counts as paid: it is neither left to pay nor due, and never late.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from enum import StrEnum
from itertools import accumulate, pairwise

from msgspec import Struct
from msgspec.structs import replace

from credit_es.domain.loan import ZERO, Loan, Repayment, plan_of
from credit_es.domain.schedule import (
    Amortization,
    amortization,
    due_by,
    months_later,
)
from credit_es.domain.schedule import to_pay as to_pay_of
from credit_es.domain.values import Plan


class Status(StrEnum):
    """How a loan stands on a day."""

    CURRENT = "current"
    OVERDUE = "overdue"
    CLOSED = "closed"
    WRITTEN_OFF = "written_off"


def amortized(loan: Loan, plan: Plan) -> Amortization:
    """The installments of one plan of a loan granted here."""
    return amortization(
        plan.principal,
        loan.annual_rate,
        plan.last - plan.after,
        plan.installment,
        plan.first_interest,
    )


def plans_until(loan: Loan) -> Iterator[tuple[Plan, int]]:
    """The plans of a loan granted here, each with the last installment that was paid under it."""
    plans = loan.plans or (plan_of(loan),)
    ends = [following.after for _, following in pairwise(plans)]
    return zip(plans, [*ends, plans[-1].last], strict=True)


def received(loan: Loan) -> list[Repayment]:
    """The repayments that count, in the order of their days."""
    return sorted(
        (one for one in loan.repayments if one.reversed_on is None), key=lambda one: one.paid_on
    )


def under_plan(loan: Loan) -> list[Repayment]:
    """The repayments since the last prepayment of a loan granted here."""
    since = max((n for n, one in enumerate(loan.repayments) if _prepaid(one)), default=-1)
    return received(replace(loan, repayments=loan.repayments[since + 1 :]))


def _prepaid(repayment: Repayment) -> bool:
    return repayment.is_prepayment and repayment.reversed_on is None


class Filled(Struct, frozen=True, kw_only=True):
    """What money has come to: installments ``after + 1`` to ``paid`` are full.

    ``filled_on`` are the days on which they became so; ``waiting`` waits for the rest of the next
    one.
    """

    after: int
    paid: int
    filled_on: tuple[date, ...]
    waiting: Decimal


def filled(loan: Loan) -> Filled:
    """Fill the oldest unpaid installments first, under the plan that the loan runs under."""
    if loan.emis_on_time is not None:
        return _filled_beside_workbooks(loan)
    plan = plan_of(loan)
    return fill(plan.after, amortized(loan, plan).due, under_plan(loan))


def _filled_beside_workbooks(loan: Loan) -> Filled:
    """Fill installments after those that workbooks count as paid.

    A workbook that counts more than is paid counts all that came here before it, too; one that
    counts less takes nothing back.
    """
    due = tuple(loan.installment * n for n in range(loan.tenure_months + 1))
    ends = [*(count.repayments for count in loan.counts[1:]), len(loan.repayments)]
    now = Filled(after=0, paid=-1, filled_on=(), waiting=ZERO)
    after = begins = 0
    for count, end in zip(loan.counts, ends, strict=True):
        if count.emis > now.paid:
            after, begins = min(count.emis, loan.tenure_months), count.repayments
        money = received(replace(loan, repayments=loan.repayments[begins:end]))
        now = fill(after, due[: loan.tenure_months - after + 1], money)
    return now


def fill(after: int, due: tuple[Decimal, ...], money: list[Repayment]) -> Filled:
    """Fill installments behind ``after``, of which the first k come to ``due[k]``, with money.

    An installment of 0.00 is full as soon as the one before it is.
    """
    if not money:
        return Filled(after=after, paid=after, filled_on=(), waiting=ZERO)
    sums = [*accumulate((one.amount for one in money), initial=ZERO)]
    full = bisect_right(due, sums[-1]) - 1
    days: list[date] = []
    at = 1
    for number in range(1, full + 1):
        while sums[at] < due[number]:
            at += 1
        days.append(money[at - 1].paid_on)
    return Filled(
        after=after, paid=after + full, filled_on=tuple(days), waiting=sums[-1] - due[full]
    )


def to_pay(loan: Loan) -> list[int]:
    """The numbers of the installments that there is something to pay of, of those agreed."""
    return [number for run in _runs(loan) for number in run]


def installments_of(loan: Loan) -> int:
    """How many installments there are to pay, of those agreed."""
    return sum(map(len, _runs(loan)))


def _runs(loan: Loan) -> list[range]:
    if loan.emis_on_time is not None:
        return [range(1, loan.tenure_months + 1)]
    if not loan.plans:
        return [to_pay_of(loan.amount, loan.annual_rate, loan.tenure_months, loan.installment)]
    return [
        range(plan.after + run.start, min(plan.after + run.stop, end + 1))
        for plan, end in plans_until(loan)
        for run in [_run_of(loan, plan)]
    ]


def _run_of(loan: Loan, plan: Plan) -> range:
    count = plan.last - plan.after
    return to_pay_of(plan.principal, loan.annual_rate, count, plan.installment, plan.first_interest)


def _payable(loan: Loan, number: int) -> int:
    """How many of the installments up to a number there is something to pay of."""
    return sum([max(min(run.stop - 1, number) - run.start + 1, 0) for run in _runs(loan)])


def repayments_left(loan: Loan) -> int:
    """Installments not paid yet; a workbook's total is taken at its word, never below zero."""
    return max(installments_of(loan) - _paid(loan), 0)


def _paid(loan: Loan) -> int:
    """How many installments are paid, of those to pay; a workbook may count more than it has."""
    by_workbook = loan.emis_on_time or 0
    if not loan.repayments:
        return by_workbook
    return max(_payable(loan, filled(loan).paid), by_workbook)


def left_to_pay(loan: Loan) -> Decimal:
    """What all installments not paid yet come to, less the part payment that waits."""
    now = filled(loan)
    if loan.emis_on_time is not None:
        return loan.installment * max(loan.tenure_months - now.paid, 0) - now.waiting
    plan = plan_of(loan)
    due = amortized(loan, plan).due
    return due[-1] - due[now.paid - plan.after] - now.waiting


def outstanding_principal(loan: Loan) -> Decimal | None:
    """The balance behind the last installment paid; None where only a workbook knows it."""
    if loan.emis_on_time is not None:
        return None
    if not loan.repayments:
        return loan.amount
    plan, paid = plan_of(loan), filled(loan).paid
    return (
        amortized(loan, plan).rows[paid - plan.after - 1].balance
        if paid > plan.after
        else plan.principal
    )


def is_current(loan: Loan, on: date) -> bool:
    """Whether the loan still runs.

    An imported loan runs while its end date is not past and installments are left; one granted here
    until it is paid or written off, its end date past or not (design, section 6).
    """
    if loan.written_off_on is not None:
        return False
    if loan.emis_on_time is None:
        return not loan.repayments or repayments_left(loan) > 0
    return loan.ends_on >= on and repayments_left(loan) > 0


def closed_on(loan: Loan) -> date | None:
    """The day on which the loan was paid or written off; None where it runs or nobody knows.

    A workbook does not say when its last installment was paid.
    """
    if loan.written_off_on is not None:
        return loan.written_off_on
    if not loan.repayments or repayments_left(loan) > 0:
        return None
    money = received(loan)
    by_workbook = loan.emis_on_time is not None and not filled(loan).filled_on
    return money[-1].paid_on if money and not by_workbook else None


def installments_due(loan: Loan, on: date) -> int:
    """How many installments have been due by ``on``.

    Of a loan paid off early only those due before the closing count, of one written off those due
    until then (design, section 6).
    """
    return _due(loan, _last_due(loan, on))


def due_and_on_time(loan: Loan, on: date) -> tuple[int, int]:
    """``installments_due``, and how many of them were paid on time.

    A workbook gives only a total: of it count those that can have been due. Of those filled here
    each that was full by its due date. A decision asks both of all its loans, hence at once.
    """
    last = _last_due(loan, on)
    return _due(loan, last), _on_time(loan, last)


def _due(loan: Loan, last: int) -> int:
    # Of a workbook's loan each installment is to be paid.
    return last if not last or loan.emis_on_time is not None else _payable(loan, last)


def _last_due(loan: Loan, on: date) -> int:
    """The number of the last installment that counts as due by ``on``; 0 where none does."""
    due = due_by(loan.opened_on, loan.tenure_months, on)
    closed = closed_on(loan)
    if closed is None:
        return due
    if loan.written_off_on is not None:
        return min(due, due_by(loan.opened_on, loan.tenure_months, closed))
    last = max((run[-1] for run in _runs(loan) if run), default=0)
    until = due_by(loan.opened_on, last, closed)
    if closed >= months_later(loan.opened_on, last) and not _is_paid_off(loan):
        return min(due, last)
    return min(due, until - (until > 0 and months_later(loan.opened_on, until) == closed))


def _is_paid_off(loan: Loan) -> bool:
    """Whether a prepayment left nothing."""
    return bool(loan.plans) and loan.plans[-1].last == loan.plans[-1].after


def _on_time(loan: Loan, due: int) -> int:
    by_workbook = min(loan.emis_on_time or 0, due)
    if not loan.repayments:
        return by_workbook
    days = paid_days(loan)
    return by_workbook + sum(
        (day := days[number - 1]) is not None and day <= months_later(loan.opened_on, number)
        for number in to_pay(loan)
        if by_workbook < number <= min(due, len(days))
    )


def paid_days(loan: Loan) -> list[date | None]:
    """When each paid installment, from the first on, was full; None where no workbook says.

    What a prepayment paid in arrears was full on its day.
    """
    now = filled(loan)
    if loan.emis_on_time is not None:
        days: list[date | None] = [None] * now.after
        return [*days, *now.filled_on]
    return [*_days_before(loan), *now.filled_on]


def _days_before(loan: Loan) -> list[date]:
    """When the installments of the plans before the present one were full."""
    days: list[date] = []
    money: list[Repayment] = []
    at = 0
    for one in loan.repayments:
        if one.reversed_on is not None:
            continue
        if not one.is_prepayment:
            money.append(one)
            continue
        plan, following = loan.plans[at], loan.plans[at + 1]
        money.sort(key=lambda each: each.paid_on)
        full = fill(plan.after, amortized(loan, plan).due, money).filled_on
        count = following.after - plan.after
        days += [*full[:count], *[one.paid_on] * (count - len(full))]
        money, at = [], at + 1
    return days


def status_of(loan: Loan, on: date) -> Status:
    """How the loan stands; overdue where an installment is due, today included, and not paid."""
    if loan.written_off_on is not None:
        return Status.WRITTEN_OFF
    if not is_current(loan, on):
        return Status.CLOSED
    return Status.OVERDUE if installments_due(loan, on) > _paid(loan) else Status.CURRENT
