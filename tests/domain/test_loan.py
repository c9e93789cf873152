"""When a loan is current, and which of its installments are due, on a day."""

from datetime import date

import pytest

from credit_es.domain.loan import Loan, WorkbookCount, evolve
from credit_es.domain.schedule import due_by, installment, months_later
from credit_es.domain.standing import (
    due_and_on_time,
    is_current,
    repayments_left,
)
from tests.domain.facts import CUSTOMER, imported_loan, money, opened
from tests.scenario import TODAY


def test_a_loan_is_what_was_agreed() -> None:
    own = opened(1, tenure=12, on="2026-01-31", ends="2027-01-31")
    assert evolve(None, own) == Loan(
        number=1,
        version=1,
        customer_number=CUSTOMER,
        source_loan_id=None,
        amount=money("10000"),
        annual_rate=money("8"),
        tenure_months=12,
        installment=money("452.27"),
        opened_on=date(2026, 1, 31),
        ends_on=date(2027, 1, 31),
        emis_on_time=None,
    )


def test_an_imported_loan_is_what_the_workbook_says() -> None:
    assert evolve(None, imported_loan(2, emis=0)) == Loan(
        number=2,
        version=1,
        customer_number=CUSTOMER,
        source_loan_id="2",
        amount=money("10000"),
        annual_rate=money("10"),
        tenure_months=24,
        installment=money("500"),
        opened_on=date(2025, 1, 15),
        ends_on=date(2027, 1, 15),
        emis_on_time=0,
        counts=(WorkbookCount(emis=0, repayments=0),),
    )


def test_an_imported_loan_runs_to_its_end_date_and_is_closed_the_day_after() -> None:
    assert is_current(evolve(None, imported_loan(ends="2026-01-15")), TODAY)
    assert not is_current(evolve(None, imported_loan(ends="2026-01-14")), TODAY)


@pytest.mark.parametrize(
    ("emis", "left", "current"), [(0, 24, True), (23, 1, True), (24, 0, False), (25, 0, False)]
)
def test_an_imported_loan_with_no_installment_left_is_closed(
    emis: int, left: int, current: bool
) -> None:
    loan = evolve(None, imported_loan(tenure=24, emis=emis, ends="2027-01-15"))
    assert repayments_left(loan) == left
    assert is_current(loan, TODAY) is current


def test_installments_left_take_the_workbook_at_its_word_not_capped_by_what_was_due() -> None:
    ahead = evolve(None, imported_loan(tenure=24, emis=24, on="2025-12-15", ends="2027-12-15"))
    assert due_and_on_time(ahead, TODAY) == (1, 1)
    assert repayments_left(ahead) == 0
    assert not is_current(ahead, TODAY)


def test_a_loan_granted_here_stays_current_past_its_end_date() -> None:
    overdue = evolve(None, opened(on="2020-01-15", tenure=12, ends="2021-01-15"))
    assert is_current(overdue, TODAY)
    assert repayments_left(overdue) == 12
    assert due_and_on_time(overdue, TODAY) == (12, 0)


@pytest.mark.parametrize(
    ("opened_on", "on", "due"),
    [
        ("2025-12-15", "2025-12-15", 0),
        ("2025-12-15", "2026-01-14", 0),
        ("2025-12-15", "2026-01-15", 1),
        ("2026-01-31", "2026-02-27", 0),
        ("2026-01-31", "2026-02-28", 1),
        ("2026-01-31", "2026-03-30", 1),  # not chained from 28 February
        ("2026-01-31", "2026-03-31", 2),
        ("2026-01-31", "2026-04-30", 3),
        ("2024-01-31", "2024-02-28", 0),
        ("2024-01-31", "2024-02-29", 1),
        ("2024-02-29", "2024-03-28", 0),
        ("2024-02-29", "2024-03-29", 1),
        ("2024-02-29", "2025-02-27", 11),
        ("2024-02-29", "2025-02-28", 12),
        ("2024-02-29", "2028-02-28", 47),
        ("2024-02-29", "2028-02-29", 48),
        ("2025-10-31", "2026-02-28", 4),
        ("2026-01-16", "2026-01-15", 0),
        ("2027-06-01", "2026-01-15", 0),
    ],
)
def test_installment_k_is_due_k_months_after_the_opening_day(
    opened_on: str, on: str, due: int
) -> None:
    assert due_by(date.fromisoformat(opened_on), 600, date.fromisoformat(on)) == due


def test_no_more_installments_are_due_than_there_are() -> None:
    assert due_by(date(2020, 1, 31), 3, date(2020, 4, 29)) == 2
    assert due_by(date(2020, 1, 31), 3, date(2020, 4, 30)) == 3
    assert due_by(date(2020, 1, 31), 3, TODAY) == 3


@pytest.mark.parametrize(
    ("day", "months", "later"),
    [
        ("2026-01-31", 0, "2026-01-31"),
        ("2026-01-31", 1, "2026-02-28"),
        ("2024-01-31", 1, "2024-02-29"),
        ("2026-01-31", 11, "2026-12-31"),
        ("2026-01-31", 12, "2027-01-31"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", 48, "2028-02-29"),
        ("2026-12-15", 1, "2027-01-15"),
        ("2026-01-15", 600, "2076-01-15"),
    ],
)
def test_a_month_later_is_the_same_day_or_the_month_s_last(
    day: str, months: int, later: str
) -> None:
    assert months_later(date.fromisoformat(day), months) == date.fromisoformat(later)


@pytest.mark.parametrize(
    ("amount", "rate", "tenure", "left"),
    [("3.33", "0", 600, 333), ("10000", "12", 24, 24), ("0.01", "0", 1, 1), ("0.01", "0", 2, 1)],
)
def test_an_installment_of_nothing_counts_as_paid(
    amount: str, rate: str, tenure: int, left: int
) -> None:
    payment = installment(money(amount), money(rate), tenure)
    own = opened(amount=amount, rate=rate, tenure=tenure, installment=str(payment))
    assert repayments_left(evolve(None, own)) == left
