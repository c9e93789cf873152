"""The figures of docs/loans.md are those that the code gives."""

from datetime import date
from pathlib import Path

from credit_es.domain.events import LoanPrepaid
from credit_es.domain.installments import loan_schedule
from credit_es.domain.loan import evolve
from credit_es.domain.payoff import payoff
from credit_es.domain.repaying import decide_repayment
from credit_es.domain.schedule import installment
from tests.domain.facts import day, money
from tests.domain.test_repaying import PAYMENT, TODAY, YEAR, repay

TEXT = (Path(__file__).parents[2] / "docs" / "loans.md").read_text("utf-8")
LOAN = evolve(None, YEAR)


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def test_the_schedule_is_the_one_shown() -> None:
    assert money(PAYMENT) == installment(LOAN.amount, LOAN.annual_rate, LOAN.tenure_months)
    rows = loan_schedule(LOAN, date(2026, 1, 31)).installments
    for one in (rows[0], rows[1], rows[-1]):
        shown = row(
            one.number,
            one.due_on,
            one.opening_balance,
            one.interest,
            one.principal,
            one.installment,
            one.closing_balance,
        )
        assert shown in TEXT, shown


def test_the_payoffs_are_those_shown() -> None:
    for on in ("2026-02-14", "2026-02-28", "2026-03-31"):
        owed = payoff(LOAN, day(on))
        shown = row(on, owed.arrears, owed.principal_to_pay, owed.interest_to_pay, owed.total)
        assert shown in TEXT, shown


def test_the_prepayments_are_those_shown() -> None:
    for keep in ("installment", "tenure"):
        command = repay("6060", "2026-02-14", prepay=True, keep=keep)
        fact = decide_repayment(LOAN, command, today=TODAY)
        assert isinstance(fact, LoanPrepaid)
        shown = row(keep, fact.plan.installment, fact.plan.last, fact.ends_on)
        assert shown in TEXT, shown
