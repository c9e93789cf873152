"""A customer's account: all that raised or lowered what is owed, in the order of its days."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from credit_es.domain.installments import loan_schedule
from credit_es.domain.loan import ZERO, Loan, Repayment


class Movement(StrEnum):
    """What moved the account."""

    OPENED = "opened"
    IMPORTED = "imported"
    INTEREST = "interest"
    REPAYMENT = "repayment"
    PREPAYMENT = "prepayment"
    REVERSAL = "reversal"
    WRITE_OFF = "write_off"


class Line(Struct, frozen=True, kw_only=True):
    """One movement of one loan; ``amount`` is positive where it raises what is owed.

    ``balance`` is what all loans granted here owe after it. An imported loan is shown and not in
    it, for its workbook gives no balance: its ``amount`` is None, of a repayment what came.
    """

    on: date
    loan_number: int
    movement: Movement
    amount: Decimal | None
    repayment_id: str | None
    balance: Decimal


class Statement(Struct, frozen=True, kw_only=True):
    """The lines of some days, with the balances before and after them."""

    opening_balance: Decimal
    lines: tuple[Line, ...]
    closing_balance: Decimal


class _Moved(Struct, frozen=True, kw_only=True):
    on: date
    order: int
    loan: Loan
    movement: Movement
    amount: Decimal | None
    repayment: Repayment | None = None


def statement(loans: Iterable[Loan], *, first: date, last: date) -> Statement:
    """The account from ``first`` to ``last``, both included, as is known now.

    Interest is charged on the day its installment is due, or paid if that is earlier, and on that
    of a prepayment for the days before it. A reversed repayment stands on its day, and its reversal
    on the day it was recorded.
    """
    moved = sorted(
        (one for loan in loans for one in _movements(loan, last) if one.on <= last),
        key=lambda one: (one.on, one.order, one.loan.number),
    )
    balance = opening = ZERO
    lines: list[Line] = []
    for one in moved:
        if one.amount is not None and one.loan.emis_on_time is None:
            balance += one.amount
        if one.on < first:
            opening = balance
            continue
        number = one.loan.number
        lines.append(
            Line(
                on=one.on,
                loan_number=number,
                movement=one.movement,
                amount=one.amount,
                repayment_id=f"{number}-{one.repayment.version}" if one.repayment else None,
                balance=balance,
            )
        )
    return Statement(opening_balance=opening, lines=tuple(lines), closing_balance=balance)


def _movements(loan: Loan, last: date) -> Iterator[_Moved]:
    own = loan.emis_on_time is None
    opened = Movement.OPENED if own else Movement.IMPORTED
    amount = loan.amount if own else None
    yield _Moved(on=loan.opened_on, order=0, loan=loan, movement=opened, amount=amount)
    charged = list(_interest(loan, last)) if own else []
    yield from charged
    money = list(_money(loan))
    yield from money
    if loan.written_off_on is not None:
        owed = loan.amount + _sum(charged, loan.written_off_on) + _sum(money, loan.written_off_on)
        yield _Moved(
            on=loan.written_off_on,
            order=9,
            loan=loan,
            movement=Movement.WRITE_OFF,
            amount=-owed if own else None,
        )


def _interest(loan: Loan, last: date) -> Iterator[_Moved]:
    until = min(last, loan.written_off_on or last)
    for row in loan_schedule(loan, last).installments:
        on = min(row.due_on, row.paid_on or row.due_on)
        if on <= until and row.interest:
            yield _Moved(on=on, order=1, loan=loan, movement=Movement.INTEREST, amount=row.interest)


def _money(loan: Loan) -> Iterator[_Moved]:
    for one in loan.repayments:
        kind = Movement.PREPAYMENT if one.is_prepayment else Movement.REPAYMENT
        if one.accrued_interest and one.reversed_on is None:
            yield _Moved(
                on=one.paid_on,
                order=2,
                loan=loan,
                movement=Movement.INTEREST,
                amount=one.accrued_interest,
            )
        yield _Moved(
            on=one.paid_on, order=3, loan=loan, movement=kind, amount=-one.amount, repayment=one
        )
        if one.reversed_on is not None:
            yield _Moved(
                on=one.reversed_on,
                order=4,
                loan=loan,
                movement=Movement.REVERSAL,
                amount=one.amount,
                repayment=one,
            )


def _sum(moved: Sequence[_Moved], until: date) -> Decimal:
    return sum((one.amount or ZERO for one in moved if one.on <= until), ZERO)
