"""Installments, schedules and due dates, whatever the terms within the bounds of an application."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from credit_es.domain.schedule import due_by, installment, schedule
from tests.scenario import PROPERTY

amounts = st.decimals("0.01", 10**12, places=2)
rates = st.decimals(0, 100, places=2)
tenures = st.integers(1, 600)
days = st.dates(date(2000, 1, 1), date(2060, 12, 31))

HALF_A_CENT = Fraction(1, 200)


def annuity(principal: Decimal, annual_rate: Decimal, tenure_months: int) -> Fraction:
    """The exact installment, as the sum that its discounted payments must make."""
    discount = 1 / (1 + Fraction(annual_rate) / 1200)
    if discount == 1:
        return Fraction(principal) / tenure_months
    worth_of_one_a_month = discount * (1 - discount**tenure_months) / (1 - discount)
    return Fraction(principal) / worth_of_one_a_month


@PROPERTY
@given(principal=amounts, annual_rate=rates, tenure_months=tenures)
@example(principal=Decimal("0.05"), annual_rate=Decimal(0), tenure_months=2)
@example(principal=Decimal(10**12), annual_rate=Decimal(100), tenure_months=600)
def test_an_installment_is_the_exact_annuity_rounded_half_up(
    principal: Decimal, annual_rate: Decimal, tenure_months: int
) -> None:
    payment = Fraction(installment(principal, annual_rate, tenure_months))
    exact = annuity(principal, annual_rate, tenure_months)
    assert (payment * 100).denominator == 1
    assert -HALF_A_CENT <= exact - payment < HALF_A_CENT


@PROPERTY
@given(principal=amounts, annual_rate=rates, tenure_months=tenures)
def test_all_installments_together_repay_the_loan_but_for_rounding(
    principal: Decimal, annual_rate: Decimal, tenure_months: int
) -> None:
    payment = Fraction(installment(principal, annual_rate, tenure_months))
    assert (payment + HALF_A_CENT) * tenure_months >= Fraction(principal)
    interest_at_most = Fraction(principal) * Fraction(annual_rate) / 1200
    assert payment <= Fraction(principal) / tenure_months + interest_at_most + HALF_A_CENT


@PROPERTY
@given(principal=amounts, annual_rate=rates, more=rates, tenure_months=tenures)
def test_a_higher_rate_never_makes_a_lower_installment(
    principal: Decimal, annual_rate: Decimal, more: Decimal, tenure_months: int
) -> None:
    lower, higher = sorted((annual_rate, more))
    assert installment(principal, lower, tenure_months) <= installment(
        principal, higher, tenure_months
    )


@PROPERTY
@given(principal=amounts, more=amounts, annual_rate=rates, tenure_months=tenures)
def test_a_larger_loan_never_makes_a_lower_installment(
    principal: Decimal, more: Decimal, annual_rate: Decimal, tenure_months: int
) -> None:
    smaller, larger = sorted((principal, more))
    assert installment(smaller, annual_rate, tenure_months) <= installment(
        larger, annual_rate, tenure_months
    )


@PROPERTY
@given(principal=amounts, annual_rate=rates, tenure_months=tenures)
@example(principal=Decimal("3.33"), annual_rate=Decimal(0), tenure_months=600)
@example(principal=Decimal("0.01"), annual_rate=Decimal(100), tenure_months=600)
@example(principal=Decimal(10**12), annual_rate=Decimal(100), tenure_months=600)
def test_the_principal_parts_sum_to_the_loan(
    principal: Decimal, annual_rate: Decimal, tenure_months: int
) -> None:
    rows = list(schedule(principal, annual_rate, tenure_months))
    assert [row.number for row in rows] == list(range(1, tenure_months + 1))
    assert sum(row.principal for row in rows) == principal
    assert rows[-1].balance == 0
    assert all(min(row.principal, row.interest, row.balance) >= 0 for row in rows)


@PROPERTY
@given(principal=amounts, annual_rate=rates, tenure_months=tenures)
@example(principal=Decimal("3.33"), annual_rate=Decimal(0), tenure_months=600)
def test_every_row_pays_the_month_s_interest_and_never_more_than_is_left(
    principal: Decimal, annual_rate: Decimal, tenure_months: int
) -> None:
    payment = installment(principal, annual_rate, tenure_months)
    left = principal
    for row in schedule(principal, annual_rate, tenure_months):
        interest = Fraction(left) * Fraction(annual_rate) / 1200
        assert -HALF_A_CENT <= interest - Fraction(row.interest) < HALF_A_CENT
        assert row.principal <= left
        if row.number < tenure_months:
            assert row.principal + row.interest <= max(payment, row.interest)
        assert row.balance == left - row.principal
        left = row.balance


def due_days(opened_on: date, tenure_months: int) -> list[date]:
    """Every due day, found by looking at the calendar day by day."""
    found: list[date] = []
    day = opened_on
    while len(found) < tenure_months:
        day += timedelta(days=1)
        last_of_month = (day + timedelta(days=1)).month != day.month
        if day.day == opened_on.day or (last_of_month and day.day < opened_on.day):
            found.append(day)
    return found


@PROPERTY
@given(opened_on=days, tenure_months=st.integers(1, 60), offset=st.integers(-40, 2_000))
@example(opened_on=date(2024, 1, 31), tenure_months=2, offset=29)
@example(opened_on=date(2024, 2, 29), tenure_months=12, offset=365)
def test_as_many_installments_are_due_as_due_days_have_come(
    opened_on: date, tenure_months: int, offset: int
) -> None:
    on = opened_on + timedelta(days=offset)
    come = sum(day <= on for day in due_days(opened_on, tenure_months))
    assert due_by(opened_on, tenure_months, on) == come


@PROPERTY
@given(opened_on=days, on=days)
def test_what_is_due_never_grows_by_more_than_one_a_day(opened_on: date, on: date) -> None:
    before = due_by(opened_on, 1_200, on - timedelta(days=1))
    assert before <= due_by(opened_on, 1_200, on) <= before + 1
