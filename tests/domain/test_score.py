"""What a score is made of, component by component, each with its edges."""

from fractions import Fraction

import pytest

from credit_es.domain.events import LoanImported
from credit_es.domain.score import score
from credit_es.domain.values import Basis
from tests.domain.facts import (
    THIN_FILE,
    card,
    closed_loan,
    imported_customer,
    imported_loan,
    opened,
    registered,
)
from tests.scenario import STANDARD, given

RICH = registered(limit="1000000000")
"""So rich that small loans take nothing from the points for volume, in two places."""


def twenty_due(on_time: int, loan: int = 1) -> LoanImported:
    """A current loan of which 20 installments are due today, so many paid on time."""
    return imported_loan(loan, on="2024-05-15", ends="2026-05-15", emis=on_time)


def test_who_never_had_a_loan_has_a_thin_file() -> None:
    assert given(registered()).scorecard() == THIN_FILE
    assert given(imported_customer()).scorecard() == THIN_FILE


def test_loans_approved_after_the_date_do_not_count() -> None:
    tomorrow = opened(1, on="2026-01-16", ends="2028-01-16")
    assert given(registered(), tomorrow).scorecard() == THIN_FILE
    today = given(RICH, opened(1)).scorecard()
    assert today == card("75", activity="10", this_year=1, amount="10000", installments="452.27")
    assert given(RICH, opened(1), tomorrow_of(2)).scorecard() == today


def tomorrow_of(loan: int) -> LoanImported:
    return imported_loan(loan, on="2026-01-16", ends="2028-01-16", emis=3)


@pytest.mark.parametrize(
    ("on_time", "points", "score"),
    [
        (0, "0", "40"),
        (9, "0", "40"),
        (10, "0", "40"),
        (11, "4", "44"),
        (15, "20", "60"),
        (19, "36", "76"),
        (20, "40", "80"),
        (23, "40", "80"),
    ],
)
def test_half_of_the_installments_on_time_earn_nothing_and_all_of_them_40(
    on_time: int, points: str, score: str
) -> None:
    assert given(RICH, twenty_due(on_time)).scorecard() == card(
        score,
        paid=points,
        due=20,
        on_time=min(on_time, 20),
        amount="10000",
        installments="500",
    )


def test_where_nothing_is_due_yet_all_counts_as_paid_on_time() -> None:
    this_month = imported_loan(on="2025-12-16", ends="2027-12-16")
    assert given(RICH, this_month).scorecard() == card("80", amount="10000", installments="500")


def test_installments_are_counted_over_all_loans_and_not_loan_by_loan() -> None:
    ten_due = imported_loan(2, on="2025-03-15", ends="2027-03-15", emis=0)
    assert given(RICH, twenty_due(20), ten_due).scorecard() == card(
        "53.33", paid="13.33", due=30, on_time=20, amount="20000", installments="1000"
    )


def test_emis_beyond_what_was_due_are_capped_loan_by_loan() -> None:
    three_due = imported_loan(1, on="2025-10-15", ends="2027-10-15", emis=10)
    seven_due = imported_loan(2, on="2025-06-15", ends="2027-06-15", emis=3)
    assert given(RICH, three_due, seven_due).scorecard() == card(
        "48", paid="8", due=10, on_time=6, amount="20000", installments="1000"
    )


def test_an_installment_due_today_and_unpaid_is_not_on_time() -> None:
    due_today = opened(1, on="2025-12-15", ends="2027-12-15")
    assert given(RICH, due_today).scorecard() == card(
        "40", paid="0", due=1, amount="10000", installments="452.27"
    )
    due_tomorrow = opened(1, on="2025-12-16", ends="2027-12-16")
    assert given(RICH, due_tomorrow).scorecard() == card(
        "80", amount="10000", installments="452.27"
    )


@pytest.mark.parametrize(
    ("closed", "points", "score"),
    [(1, "5", "85"), (2, "10", "90"), (3, "15", "95"), (4, "20", "100"), (5, "20", "100")],
)
def test_four_closed_loans_earn_all_that_past_loans_can(
    closed: int, points: str, score: str
) -> None:
    loans = [closed_loan(number) for number in range(1, closed + 1)]
    assert given(registered(), *loans).scorecard() == card(
        score, past=points, closed=closed, due=12 * closed, on_time=12 * closed
    )


@pytest.mark.parametrize(
    ("loans", "points", "score"), [(1, "10", "75"), (2, "5", "70"), (3, "0", "65"), (4, "0", "65")]
)
def test_three_loans_in_a_year_cost_all_that_activity_can_earn(
    loans: int, points: str, score: str
) -> None:
    facts = [opened(n, amount="1", installment="1") for n in range(1, loans + 1)]
    assert given(RICH, *facts).scorecard() == card(
        score, activity=points, this_year=loans, amount=str(loans), installments=str(loans)
    )


def test_the_year_is_the_calendar_s() -> None:
    last_year = opened(1, on="2025-12-31", ends="2027-12-31")
    this_year = opened(2, on="2026-01-01", ends="2028-01-01")
    assert given(RICH, last_year, this_year).scorecard() == card(
        "75", activity="10", this_year=1, amount="20000", installments="904.54"
    )


def test_a_closed_loan_of_this_year_counts_as_activity() -> None:
    short = imported_loan(tenure=1, emis=1, on="2026-01-02", ends="2026-02-02")
    assert given(registered(), short).scorecard() == card(
        "80", past="5", activity="10", closed=1, this_year=1
    )


@pytest.mark.parametrize(
    ("amount", "points", "score"),
    [
        ("400000", "15", "30"),
        ("600.00", "24.99", "39.99"),  # 24.985, half up
        ("600.01", "24.98", "39.98"),
        ("999999.99", "0", "15"),
        ("1000000", "0", "15"),
    ],
)
def test_what_is_left_of_the_limit_earns_up_to_25(amount: str, points: str, score: str) -> None:
    loan = imported_loan(amount=amount)
    assert given(registered(limit="1000000"), loan).scorecard() == card(
        score, paid="0", volume=points, due=12, amount=amount, installments="500"
    )


def test_closed_loans_take_nothing_of_the_limit() -> None:
    closed = imported_loan(amount="999999", tenure=12, emis=12)
    assert given(registered(limit="1000000"), closed).scorecard() == card(
        "85", past="5", due=12, on_time=12, closed=1
    )


def test_current_loans_a_cent_over_the_limit_make_the_score_zero() -> None:
    over = [opened(1, amount="999999.99"), opened(2, amount="0.02", installment="0.00")]
    assert given(registered(limit="1000000"), *over).scorecard() == card(
        "0",
        Basis.OVER_LIMIT,
        activity="5",
        volume="0",
        this_year=2,
        amount="1000000.01",
        installments="452.27",
    )


def test_current_loans_that_use_the_limit_to_the_cent_are_scored() -> None:
    used = [opened(1, amount="999999.99"), opened(2, amount="0.01", installment="0.00")]
    assert given(registered(limit="1000000"), *used).scorecard() == card(
        "45",
        activity="5",
        volume="0",
        this_year=2,
        amount="1000000",
        installments="452.27",
    )


def test_a_limit_of_zero_earns_nothing_for_volume() -> None:
    assert given(registered(limit="0"), closed_loan(1)).scorecard() == card(
        "60", past="5", volume="0", due=12, on_time=12, closed=1
    )
    thin = given(registered(limit="0")).scorecard()
    assert thin == card("50", Basis.THIN_FILE, volume="0")


def test_a_limit_of_zero_with_anything_owed_makes_the_score_zero() -> None:
    owed = opened(1, amount="0.01", installment="0.00")
    assert given(registered(limit="0"), owed).scorecard() == card(
        "0", Basis.OVER_LIMIT, activity="10", volume="0", this_year=1, amount="0.01"
    )


def test_the_score_is_exact_and_its_card_is_rounded() -> None:
    scenario = given(RICH, twenty_due(20), imported_loan(2, on="2025-03-15"))
    scored = score(STANDARD.score, scenario.customer, scenario.loans, scenario.today)
    assert scored.exact == Fraction(40, 3) + 15 + 25 * (1 - Fraction(20_000, 1_000_000_000))
    assert str(scored.card.score) == "53.33"
