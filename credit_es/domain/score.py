"""The credit score of a customer as of a date, from the loans approved on or before it.

Points are exact rationals, because a slab compares the exact score: with decimals, sums like 2/3
would flip one (design, section 6).
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction

from msgspec import Struct

from credit_es.domain.customer import Customer
from credit_es.domain.loan import Loan
from credit_es.domain.money import fraction, to_cents
from credit_es.domain.standing import installments_due, installments_on_time, is_current
from credit_es.domain.values import Basis, Scorecard


class ScoreRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The figures of a policy's score; weights are points, and sum to 100.

    ``on_time_floor`` is the share of on-time installments that earns nothing, ``loans_for_full``
    the closed loans that earn all points, ``loans_for_none`` the loans of this year that cost all.
    """

    thin_file: Decimal
    weight_paid_on_time: Decimal
    weight_past_loans: Decimal
    weight_activity: Decimal
    weight_volume: Decimal
    on_time_floor: Decimal
    loans_for_full: int
    loans_for_none: int


class Score(Struct, frozen=True, kw_only=True):
    """The exact score, 0-100, and the card that explains it."""

    exact: Fraction
    card: Scorecard


def score(rules: ScoreRules, customer: Customer, loans: Sequence[Loan], on: date) -> Score:
    """Score ``customer`` as of ``on``; ``loans`` are all of theirs; later ones do not count."""
    known = [loan for loan in loans if loan.opened_on <= on]
    current = [loan for loan in known if is_current(loan, on)]
    due = sum(installments_due(loan, on) for loan in known)
    on_time = sum(installments_on_time(loan, on) for loan in known)
    closed = len(known) - len(current)
    this_year = sum(loan.opened_on.year == on.year for loan in known)
    owed = sum((loan.amount for loan in current), Decimal("0.00"))
    limit = customer.approved_limit

    floor, unit = rules.on_time_floor.as_integer_ratio()
    above_floor, room = unit * on_time - floor * due, (unit - floor) * due
    paid_on_time = _points(rules.weight_paid_on_time, above_floor, room, otherwise=1)
    past_loans = _points(rules.weight_past_loans, closed, rules.loans_for_full)
    spared = rules.loans_for_none - this_year
    activity = _points(rules.weight_activity, spared, rules.loans_for_none)
    volume = _points(rules.weight_volume, int(100 * (limit - owed)), int(100 * limit))

    if owed > limit:
        basis, exact = Basis.OVER_LIMIT, Fraction(0)
    elif not known:
        basis, exact = Basis.THIN_FILE, fraction(rules.thin_file)
    else:
        basis, exact = Basis.COMPONENTS, paid_on_time + past_loans + activity + volume
    card = Scorecard(
        score=to_cents(exact),
        basis=basis,
        paid_on_time=to_cents(paid_on_time),
        past_loans=to_cents(past_loans),
        activity=to_cents(activity),
        volume=to_cents(volume),
        installments_due=due,
        installments_on_time=on_time,
        closed_loans=closed,
        loans_this_year=this_year,
        current_amount=owed,
        current_installments=sum((loan.installment for loan in current), Decimal("0.00")),
    )
    return Score(exact=exact, card=card)


def _points(weight: Decimal, part: int, whole: int, *, otherwise: int = 0) -> Fraction:
    """The share of a weight, held between nothing and all; ``otherwise`` where the whole is 0."""
    share = Fraction(min(max(part, 0), whole), whole) if whole else otherwise
    return fraction(weight) * share
