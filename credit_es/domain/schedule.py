"""Installments and amortization schedules of reducing-balance loans."""

from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from math import expm1, log1p
from typing import Final

from msgspec import Struct

from credit_es.domain.money import cents, to_cents

BASIS_POINTS_A_YEAR: Final = 120_000
"""Denominator of a monthly rate whose numerator is the annual rate in hundredths of a per cent."""

SHORTEST_MONTH: Final = 28


class Installment(Struct, frozen=True, kw_only=True):
    """One due payment: ``principal + interest`` is what is paid, ``balance`` what is left."""

    number: int
    principal: Decimal
    interest: Decimal
    balance: Decimal


def installment(principal: Decimal, annual_rate: Decimal, tenure_months: int) -> Decimal:
    """Monthly payment of a reducing-balance loan, in the loan's currency.

    Annuity P*i*(1+i)^n / ((1+i)^n - 1), i the monthly rate (per cent a year / 1200); P/n where the
    rate is zero; rounded half up to cents from the exact quotient (design, section 6).
    ``annual_rate`` has at most two places.
    """
    amount, unit = principal.as_integer_ratio()
    paid, owed = _annuity(int(annual_rate * 100), tenure_months)
    return cents(amount * paid, unit * owed)


@lru_cache(maxsize=1024)
def _annuity(basis_points: int, tenure_months: int) -> tuple[int, int]:
    """What is paid a month of what is owed; a lender has few rates and tenures."""
    if basis_points == 0:
        return 1, tenure_months
    grown = (BASIS_POINTS_A_YEAR + basis_points) ** tenure_months
    flat = BASIS_POINTS_A_YEAR**tenure_months
    return basis_points * grown, BASIS_POINTS_A_YEAR * (grown - flat)


def schedule(
    principal: Decimal,
    annual_rate: Decimal,
    tenure_months: int,
    *,
    payment: Decimal | None = None,
    first_interest: Decimal | None = None,
) -> Iterator[Installment]:
    """Yield ``tenure_months`` installments whose principal parts sum to ``principal``.

    Interest of a month is rounded half up; no installment exceeds what is left, and the last one
    takes the rounding (design, section 6). ``payment`` is the agreed installment where it is not
    the annuity's, ``first_interest`` that of a first month which began before the schedule did.
    """
    if payment is None:
        payment = installment(principal, annual_rate, tenure_months)
    balance = principal
    for number in range(1, tenure_months + 1):
        interest = month_interest(balance, annual_rate)
        if number == 1 and first_interest is not None:
            interest = first_interest
        part = balance if number == tenure_months else min(payment - interest, balance)
        balance -= part
        yield Installment(number=number, principal=part, interest=interest, balance=balance)


def month_interest(
    balance: Decimal, annual_rate: Decimal, share: Fraction = Fraction(1)
) -> Decimal:
    """The interest of a month, or of a ``share`` of it, on a balance; rounded half up to cents."""
    return to_cents(Fraction(balance * annual_rate) / 1200 * share)


class Amortization(Struct, frozen=True, kw_only=True):
    """A whole schedule; ``due[k]`` is what its first k installments come to, ``due[0]`` nothing."""

    rows: tuple[Installment, ...]
    due: tuple[Decimal, ...]


@lru_cache(maxsize=256)
def amortization(
    principal: Decimal,
    annual_rate: Decimal,
    tenure_months: int,
    payment: Decimal,
    first_interest: Decimal | None = None,
) -> Amortization:
    """The schedule of these terms; what is asked of a loan is asked several times."""
    rows = tuple(
        schedule(
            principal, annual_rate, tenure_months, payment=payment, first_interest=first_interest
        )
    )
    parts = [row.principal + row.interest for row in rows]
    return Amortization(
        rows=rows,
        due=(*accumulate(parts, initial=Decimal("0.00")),),
    )


def to_pay(
    principal: Decimal,
    annual_rate: Decimal,
    tenure_months: int,
    payment: Decimal,
    first_interest: Decimal | None = None,
) -> range:
    """The numbers of those installments of a schedule that there is something to pay of.

    An installment rounded up may pay a loan off early: 3.33 over 600 months at 0 % is paid in 333.
    One that rounds to 0.00 leaves all of it to the last (design, section 6).
    """
    if not payment:
        return range(max(tenure_months, 1), tenure_months + 1)
    if first_interest is None and _lasts(principal, annual_rate, tenure_months, payment):
        return range(1, tenure_months + 1)
    whole = amortization(principal, annual_rate, tenure_months, payment, first_interest)
    return range(1, bisect_left(whole.due, whole.due[-1]) + 1)


def _lasts(principal: Decimal, annual_rate: Decimal, tenure_months: int, payment: Decimal) -> bool:
    """Whether something is certainly left for the last installment, without the rows before it.

    A decision asks this of every loan. The cent covers what a month's interest loses by rounding,
    and what a float does.
    """
    rate, months = float(annual_rate) / 1200, tenure_months - 1
    worth = -expm1(-months * log1p(rate)) / rate if rate else months
    return float(principal) > (float(payment) + 0.01) * worth


def months_later(day: date, months: int) -> date:
    """The same day of the month ``months`` later, or that month's last day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if day.day <= SHORTEST_MONTH:
        return date(year, month + 1, day.day)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def due_by(opened_on: date, tenure_months: int, on: date) -> int:
    """How many installments are due on or before ``on``.

    Installment k is due k months after the opening day, never chained from the one before.
    """
    months = (on.year - opened_on.year) * 12 + on.month - opened_on.month
    if opened_on.day > on.day and months > 0 and months_later(opened_on, months) > on:
        months -= 1
    return min(max(months, 0), tenure_months)
