"""The credit score of a customer as of a date, from the loans approved on or before it.

Points are exact rationals, because a slab compares the exact score: with decimals, sums like 2/3
would flip one (design, section 6).
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cached_property

from msgspec import Struct

from credit_es.domain.customer import Customer
from credit_es.domain.loan import ZERO, Loan
from credit_es.domain.money import cents
from credit_es.domain.standing import due_and_on_time, is_current
from credit_es.domain.values import Basis, Scorecard

Share = tuple[int, int]
"""An exact rational that is not reduced, which would cost more than the rest of a score."""


class ScoreRules(Struct, frozen=True, kw_only=True, dict=True, forbid_unknown_fields=True):
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

    @cached_property
    def shares(self) -> tuple[Share, Share, Share, Share, Share, Share]:
        """The figures that may be fractions, exactly, in the order of the fields."""
        return (
            self.thin_file.as_integer_ratio(),
            self.weight_paid_on_time.as_integer_ratio(),
            self.weight_past_loans.as_integer_ratio(),
            self.weight_activity.as_integer_ratio(),
            self.weight_volume.as_integer_ratio(),
            self.on_time_floor.as_integer_ratio(),
        )


class Conduct(Struct, frozen=True, kw_only=True):
    """What a score counts of a customer's loans on a day, whatever the rules."""

    loans: int
    closed: int
    this_year: int
    due: int
    on_time: int
    current_amount: Decimal
    current_installments: Decimal


class Score(Struct, frozen=True, kw_only=True):
    """The exact score, 0-100, and what explains it: the points of each component, and the counts.

    ``card`` has it all, rounded.
    """

    points: Share
    basis: Basis
    paid_on_time: Share
    past_loans: Share
    activity: Share
    volume: Share
    conduct: Conduct

    @property
    def exact(self) -> Fraction:
        """The score itself."""
        return Fraction(*self.points)

    def is_above(self, bound: Decimal) -> bool:
        """Whether the exact score is above a bound of a policy."""
        points, unit = self.points
        above, whole = bound.as_integer_ratio()
        return points * whole > above * unit

    @property
    def card(self) -> Scorecard:
        """What a decision records."""
        conduct = self.conduct
        return Scorecard(
            score=cents(*self.points),
            basis=self.basis,
            paid_on_time=cents(*self.paid_on_time),
            past_loans=cents(*self.past_loans),
            activity=cents(*self.activity),
            volume=cents(*self.volume),
            installments_due=conduct.due,
            installments_on_time=conduct.on_time,
            closed_loans=conduct.closed,
            loans_this_year=conduct.this_year,
            current_amount=conduct.current_amount,
            current_installments=conduct.current_installments,
        )


def score(rules: ScoreRules, customer: Customer, loans: Sequence[Loan], on: date) -> Score:
    """Score ``customer`` as of ``on``; ``loans`` are all of theirs; later ones do not count."""
    return score_of(rules, customer, conduct_of(loans, on))


def conduct_of(loans: Sequence[Loan], on: date) -> Conduct:
    """Count what scores ask of all of a customer's loans; later ones do not count."""
    known = closed = this_year = due = on_time = 0
    amount = installments = ZERO
    for loan in loans:
        if loan.opened_on > on:
            continue
        known += 1
        this_year += loan.opened_on.year == on.year
        due_here, on_time_here = due_and_on_time(loan, on)
        due += due_here
        on_time += on_time_here
        if is_current(loan, on):
            amount += loan.amount
            installments += loan.installment
        else:
            closed += 1
    return Conduct(
        loans=known,
        closed=closed,
        this_year=this_year,
        due=due,
        on_time=on_time,
        current_amount=amount,
        current_installments=installments,
    )


def score_of(rules: ScoreRules, customer: Customer, conduct: Conduct) -> Score:
    """What ``score`` says, once the loans are counted."""
    due, owed, limit = conduct.due, conduct.current_amount, customer.approved_limit
    thin_file, of_paid_on_time, of_past_loans, of_activity, of_volume, on_time_floor = rules.shares
    floor, unit = on_time_floor
    above_floor, room = unit * conduct.on_time - floor * due, (unit - floor) * due
    paid_on_time = _points(of_paid_on_time, above_floor, room, otherwise=1)
    past_loans = _points(of_past_loans, conduct.closed, rules.loans_for_full)
    spared = rules.loans_for_none - conduct.this_year
    activity = _points(of_activity, spared, rules.loans_for_none)
    volume = _points(of_volume, int(100 * (limit - owed)), int(100 * limit))

    if owed > limit:
        basis, points = Basis.OVER_LIMIT, (0, 1)
    elif not conduct.loans:
        basis, points = Basis.THIN_FILE, thin_file
    else:
        basis, points = Basis.COMPONENTS, _sum(paid_on_time, past_loans, activity, volume)
    return Score(
        points=points,
        basis=basis,
        paid_on_time=paid_on_time,
        past_loans=past_loans,
        activity=activity,
        volume=volume,
        conduct=conduct,
    )


def _points(weight: Share, part: int, whole: int, *, otherwise: int = 0) -> Share:
    """The share of a weight, held between nothing and all; ``otherwise`` where the whole is 0."""
    points, unit = weight
    if not whole:
        return points * otherwise, unit
    return points * min(max(part, 0), whole), unit * whole


def _sum(*shares: Share) -> Share:
    points, unit = 0, 1
    for part, whole in shares:
        points, unit = points * whole + part * unit, unit * whole
    return points, unit
