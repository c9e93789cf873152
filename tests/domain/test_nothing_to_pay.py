"""Installments of 0.00 count as paid: status, what is left, and what is due agree with the rows."""

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from credit_es.domain.installments import InstallmentStatus, loan_schedule
from credit_es.domain.loan import Loan, evolve
from credit_es.domain.repaying import Repay, decide_repayment
from credit_es.domain.schedule import installment, schedule, to_pay
from credit_es.domain.standing import (
    Status,
    due_and_on_time,
    left_to_pay,
    repayments_left,
    status_of,
)
from tests.domain.facts import money, opened
from tests.scenario import PROPERTY

OPENED = date(2020, 1, 31)
cents = st.integers(1, 2_000).map(lambda count: Decimal(count).scaleb(-2))
amounts = st.one_of(cents, st.decimals("0.01", 10**12, places=2))
rates = st.one_of(st.just(Decimal(0)), st.decimals(0, 100, places=2))
tenures = st.integers(1, 600)


def tiny(amount: str, *, tenure: int = 600, rate: str = "0") -> Loan:
    """A loan of so little that some of its installments come to nothing."""
    payment = installment(money(amount), money(rate), tenure)
    terms = {"amount": amount, "rate": rate, "installment": str(payment)}
    return evolve(None, opened(1, tenure=tenure, on=str(OPENED), **terms))


def paying(loan: Loan, amount: str, on: date) -> Loan:
    """The loan once money has come."""
    command = Repay(loan_number=1, amount=money(amount), paid_on=on)
    return evolve(loan, decide_repayment(loan, command, today=on))


@PROPERTY
@given(principal=amounts, annual_rate=rates, tenure_months=tenures)
@example(principal=Decimal("3.33"), annual_rate=Decimal(0), tenure_months=600)
@example(principal=Decimal("1.00"), annual_rate=Decimal(0), tenure_months=600)
@example(principal=Decimal("0.01"), annual_rate=Decimal(0), tenure_months=1)
@example(principal=Decimal(10**12), annual_rate=Decimal(100), tenure_months=600)
@example(principal=Decimal("21000.00"), annual_rate=Decimal(24), tenure_months=600)
def test_there_is_something_to_pay_of_the_rows_that_are_not_nothing(
    principal: Decimal, annual_rate: Decimal, tenure_months: int
) -> None:
    payment = installment(principal, annual_rate, tenure_months)
    rows = schedule(principal, annual_rate, tenure_months)
    numbers = [row.number for row in rows if row.principal + row.interest]
    assert [*to_pay(principal, annual_rate, tenure_months, payment)] == numbers


@PROPERTY
@given(
    amount=cents,
    rate=st.sampled_from(["0", "0.01", "12", "100"]),
    tenure=tenures,
    days=st.lists(st.integers(0, 19_000), max_size=3).map(sorted),
    share=st.integers(1, 100),
    waited=st.integers(0, 19_000),
)
@example(amount=Decimal("3.33"), rate="0", tenure=600, days=[], share=1, waited=18_250)
@example(amount=Decimal("1.00"), rate="0", tenure=600, days=[], share=1, waited=400)
@example(amount=Decimal("1.00"), rate="0", tenure=600, days=[9], share=50, waited=0)
@example(amount=Decimal("3.33"), rate="0", tenure=600, days=[9], share=100, waited=18_250)
def test_how_a_tiny_loan_stands_follows_from_its_rows(
    amount: Decimal, rate: str, tenure: int, days: list[int], share: int, waited: int
) -> None:
    loan = tiny(str(amount), tenure=tenure, rate=rate)
    on = OPENED
    for after in days:
        on = OPENED + timedelta(days=after)
        part = (left_to_pay(loan) * share / 100).quantize(Decimal("0.01"))
        if part:
            loan = paying(loan, str(part), on)
    on += timedelta(days=waited)
    rows = loan_schedule(loan, on).installments
    real = [row for row in rows if row.installment]
    done = {InstallmentStatus.PAID, InstallmentStatus.LATE}
    assert {row.status for row in rows if not row.installment} <= {InstallmentStatus.PAID}
    assert repayments_left(loan) == sum(row.status not in done for row in real)
    if left_to_pay(loan):
        late = any(row.status is InstallmentStatus.OVERDUE for row in real)
        assert status_of(loan, on) is (Status.OVERDUE if late else Status.CURRENT)
        due = [row for row in real if row.due_on <= on]
        on_time = sum(row.status is InstallmentStatus.PAID for row in due)
        assert due_and_on_time(loan, on) == (len(due), on_time)
    else:
        assert status_of(loan, on) is Status.CLOSED


def test_a_loan_whose_installments_round_to_nothing_is_due_once_as_a_whole() -> None:
    loan = tiny("1.00")
    assert status_of(loan, date(2069, 12, 31)) is Status.CURRENT
    assert status_of(loan, date(2070, 1, 31)) is Status.OVERDUE
    half = paying(loan, "0.50", date(2021, 1, 1))
    assert (status_of(half, date(2021, 1, 1)), repayments_left(half)) == (Status.CURRENT, 1)


def test_a_repayment_fills_only_installments_that_there_is_something_to_pay_of() -> None:
    on = date(2021, 1, 1)
    whole = Repay(loan_number=1, amount=money("1.00"), paid_on=on)
    assert decide_repayment(tiny("1.00"), whole, today=on).installments_paid == (600,)
    last = Repay(loan_number=1, amount=money("0.02"), paid_on=on)
    nearly = paying(tiny("3.33"), "3.31", on)
    assert decide_repayment(nearly, last, today=on).installments_paid == (332, 333)
