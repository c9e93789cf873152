"""Installments and schedules: known figures, and the edges of rounding."""

from decimal import Decimal

import pytest

from credit_es.domain.money import cents, to_cents
from credit_es.domain.schedule import installment, schedule
from tests.domain.facts import money


@pytest.mark.parametrize(
    ("principal", "rate", "tenure", "payment"),
    [
        ("10000", "12", 24, "470.73"),
        ("100000", "8", 12, "8698.84"),
        ("200000", "6.5", 360, "1264.14"),
        ("1200", "0", 12, "100"),
        ("10000", "0", 24, "416.67"),
        ("100", "12", 1, "101"),
        ("0.05", "0", 2, "0.03"),  # 0.025, half up
        ("0.03", "0", 2, "0.02"),  # 0.015
        ("0.01", "0", 3, "0"),
        ("1000000000000", "100", 600, "83333333333.33"),
        ("1000000000000", "0.01", 1, "1000008333333.33"),
    ],
)
def test_an_installment_is_the_annuity_rounded_half_up(
    principal: str, rate: str, tenure: int, payment: str
) -> None:
    assert installment(Decimal(principal), Decimal(rate), tenure) == money(payment)


@pytest.mark.parametrize(
    ("numerator", "denominator", "amount"),
    [(1, 200, "0.01"), (3, 200, "0.02"), (999, 200_000, "0.00"), (0, 7, "0.00"), (2, 3, "0.67")],
)
def test_a_quotient_is_rounded_half_up_to_cents(
    numerator: int, denominator: int, amount: str
) -> None:
    assert str(cents(numerator, denominator)) == amount


def test_an_amount_of_three_places_is_rounded_half_up() -> None:
    assert str(to_cents(Decimal("24.985"))) == "24.99"
    assert str(to_cents(Decimal("24.9849999999999999999999"))) == "24.98"


def test_a_month_s_interest_is_rounded_half_up_and_the_last_installment_takes_the_rounding() -> (
    None
):
    rows = list(schedule(Decimal("100.00"), Decimal("6.00"), 3))
    assert [(str(r.principal), str(r.interest), str(r.balance)) for r in rows] == [
        ("33.17", "0.50", "66.83"),
        ("33.34", "0.33", "33.49"),  # interest 0.33415
        ("33.49", "0.17", "0.00"),  # interest 0.16745; 33.66 and not 33.67
    ]
    half = next(schedule(Decimal("1.00"), Decimal("6.00"), 12))
    assert str(half.interest) == "0.01"  # 0.005


def test_installments_of_a_cent_too_much_end_before_the_tenure_does() -> None:
    rows = list(schedule(Decimal("3.33"), Decimal("0.00"), 600))
    assert [row.principal for row in rows] == [Decimal("0.01")] * 333 + [Decimal("0.00")] * 267
    assert rows[332].balance == 0
    assert all(row.interest == 0 for row in rows)


def test_an_installment_below_the_interest_repays_nothing_until_the_last() -> None:
    rows = list(schedule(Decimal("1.00"), Decimal("100.00"), 600))
    assert {row.principal for row in rows[:-1]} == {Decimal("0.00")}
    assert (rows[-1].principal, rows[-1].balance) == (Decimal("1.00"), Decimal("0.00"))
