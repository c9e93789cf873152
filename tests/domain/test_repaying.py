"""Money comes, is taken back, is given up: what a loan makes of it, to the cent and to the day."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pytest

from credit_es.domain.errors import ForbiddenError, NotAllowedError, UnknownRepaymentError
from credit_es.domain.events import LoanPrepaid, LoanWrittenOff
from credit_es.domain.loan import Loan, evolve
from credit_es.domain.payoff import payoff
from credit_es.domain.repaying import Repay, decide_repayment, decide_reversal, decide_write_off
from credit_es.domain.standing import (
    Status,
    closed_on,
    due_and_on_time,
    installments_due,
    is_current,
    left_to_pay,
    outstanding_principal,
    repayments_left,
    status_of,
)
from credit_es.domain.values import Keep, Plan
from tests.domain.facts import (
    CUSTOMER,
    burden_raised,
    day,
    imported_loan,
    money,
    opened,
    received,
    reversed_repayment,
)

# 12,000 at 12 % over 12 months, from the last day of January on: 1066.19 a month.
YEAR = opened(
    1,
    amount="12000",
    rate="12",
    tenure=12,
    installment="1066.19",
    on="2026-01-31",
    ends="2027-01-31",
)
PAYMENT = "1066.19"
TODAY = date(2026, 6, 15)


def a_loan(*steps: Callable[[Loan], Loan], of: Loan | None = None) -> Loan:
    """The year's loan after these steps."""
    loan = of or evolve(None, YEAR)
    for step in steps:
        loan = step(loan)
    return loan


def repay(
    amount: str, on: str, *, reference: str | None = None, prepay: bool = False, keep: str = ""
) -> Repay:
    return Repay(
        loan_number=1,
        amount=money(amount),
        paid_on=day(on),
        reference=reference,
        prepay=prepay,
        keep=Keep(keep or "installment"),
    )


def paying(
    amount: str, on: str, *, reference: str | None = None, prepay: bool = False, keep: str = ""
) -> Callable[[Loan], Loan]:
    """Money comes."""
    command = repay(amount, on, reference=reference, prepay=prepay, keep=keep)
    return lambda loan: evolve(loan, decide_repayment(loan, command, today=TODAY))


def reversing(version: int) -> Callable[[Loan], Loan]:
    """A repayment is taken back."""

    def reverse(loan: Loan) -> Loan:
        fact, _ = decide_reversal(loan, f"1-{version}", "typed twice", today=TODAY)
        return evolve(loan, fact)

    return reverse


def payoff_of(loan: Loan, on: str) -> tuple[str, str, str, str]:
    owed = payoff(loan, day(on))
    parts = owed.arrears, owed.principal_to_pay, owed.interest_to_pay, owed.total
    arrears, principal, interest, total = map(str, parts)
    return arrears, principal, interest, total


def test_a_repayment_fills_the_oldest_unpaid_installment() -> None:
    loan = a_loan()
    fact = decide_repayment(loan, repay(PAYMENT, "2026-02-28", reference="A1"), today=TODAY)
    assert fact == received(PAYMENT, on="2026-02-28", reference="A1", paid=(1,))
    assert repayments_left(evolve(loan, fact)) == 11


def test_a_part_payment_waits_for_the_rest() -> None:
    loan = a_loan(paying("1066.18", "2026-02-28"))
    assert repayments_left(loan) == 12
    assert decide_repayment(loan, repay("0.01", "2026-03-01"), today=TODAY) == received(
        "0.01", on="2026-03-01", paid=(1,)
    )


def test_one_payment_may_fill_several_installments_ahead() -> None:
    loan = a_loan(paying("3200.00", "2026-02-01"))
    assert repayments_left(loan) == 9
    assert left_to_pay(loan) == left_to_pay(a_loan()) - Decimal("3200.00")


@pytest.mark.parametrize(
    ("paid", "on_time"), [("2026-02-28", 1), ("2026-03-01", 0), ("2026-02-01", 1)]
)
def test_an_installment_is_on_time_when_it_is_full_by_its_due_date(paid: str, on_time: int) -> None:
    loan = a_loan(paying(PAYMENT, paid))
    assert due_and_on_time(loan, day("2026-03-30")) == (1, on_time)


def test_a_repayment_recorded_late_counts_from_the_day_it_was_paid() -> None:
    late = a_loan(paying(PAYMENT, "2026-03-15"))
    assert due_and_on_time(late, TODAY) == (4, 0)
    both = a_loan(paying(PAYMENT, "2026-03-15"), paying(PAYMENT, "2026-02-28"))
    assert due_and_on_time(both, TODAY) == (4, 2)


def test_more_than_all_that_is_left_is_refused_and_told() -> None:
    loan = a_loan(paying(PAYMENT, "2026-02-28"))
    left = left_to_pay(loan)
    with pytest.raises(NotAllowedError, match=str(left)) as refused:
        decide_repayment(loan, repay(str(left + 1), "2026-03-31"), today=TODAY)
    assert refused.value.field == "amount"
    last = a_loan(paying(str(left), "2026-03-31"), of=loan)
    assert status_of(last, TODAY) is Status.CLOSED
    assert closed_on(last) == day("2026-03-31")


@pytest.mark.parametrize(
    ("on", "right"), [("2026-06-16", "2026-06-15"), ("2026-01-30", "2026-01-31")]
)
def test_the_day_is_neither_in_the_future_nor_before_the_opening(on: str, right: str) -> None:
    with pytest.raises(NotAllowedError, match=right) as refused:
        decide_repayment(a_loan(), repay("1", on), today=TODAY)
    assert refused.value.field == "paid_on"


def test_a_reference_is_unique_within_a_loan_until_its_repayment_is_reversed() -> None:
    loan = a_loan(paying("10", "2026-02-28", reference="A1"))
    with pytest.raises(ForbiddenError, match="reference A1 is that of repayment 1-2"):
        decide_repayment(loan, repay("10", "2026-03-01", reference="A1"), today=TODAY)
    freed = a_loan(reversing(2), paying("10", "2026-03-01", reference="A1"), of=loan)
    assert [one.reference for one in freed.repayments] == ["A1", "A1"]


def test_a_reversal_is_a_new_fact_on_both_streams_and_happens_once() -> None:
    loan = a_loan(paying(PAYMENT, "2026-02-28"))
    facts = decide_reversal(loan, "1-2", "typed twice", today=TODAY)
    assert facts == (
        reversed_repayment(PAYMENT, repayment=2, on="2026-02-28", reversed_on="2026-06-15"),
        burden_raised(PAYMENT, repayment=2, on="2026-06-15"),
    )
    after = evolve(loan, facts[0])
    assert (repayments_left(after), due_and_on_time(after, TODAY)) == (12, (4, 0))
    with pytest.raises(ForbiddenError, match="was reversed on 2026-06-15"):
        decide_reversal(after, "1-2", "again", today=TODAY)


@pytest.mark.parametrize("name", ["1-1", "1-3", "2-2", "x", ""])
def test_an_unknown_repayment_cannot_be_reversed(name: str) -> None:
    loan = a_loan(paying(PAYMENT, "2026-02-28"))
    with pytest.raises(UnknownRepaymentError):
        decide_reversal(loan, name, "typed twice", today=TODAY)


def test_a_reversal_reopens_a_closed_loan() -> None:
    loan = a_loan()
    left = str(left_to_pay(loan))
    closed = a_loan(paying(left, "2026-02-28"))
    assert not is_current(closed, TODAY)
    reopened = a_loan(reversing(2), of=closed)
    assert (status_of(reopened, TODAY), closed_on(reopened)) == (Status.OVERDUE, None)
    assert str(left_to_pay(reopened)) == left


@pytest.mark.parametrize(
    ("on", "owed"),
    [
        ("2026-01-31", ("0.00", "12000.00", "0.00", "12000.00")),
        ("2026-02-14", ("0.00", "12000.00", "60.00", "12060.00")),  # 14 of 28 days of 120.00
        ("2026-02-27", ("0.00", "12000.00", "115.71", "12115.71")),
        ("2026-02-28", ("1066.19", "11053.81", "0.00", "12120.00")),
        ("2026-03-31", ("2132.38", "10098.16", "0.00", "12230.54")),
    ],
)
def test_a_payoff_is_arrears_principal_and_the_interest_of_the_month_by_days(
    on: str, owed: tuple[str, str, str, str]
) -> None:
    assert payoff_of(a_loan(), on) == owed


def test_a_part_payment_that_waits_pays_interest_and_principal_of_a_payoff() -> None:
    loan = a_loan(paying("100", "2026-02-10"))
    assert payoff_of(loan, "2026-02-14") == ("0.00", "11960.00", "0.00", "11960.00")
    assert payoff_of(loan, "2026-02-28") == ("966.19", "11053.81", "0.00", "12020.00")


def test_the_interest_of_an_installment_paid_ahead_does_not_accrue_again() -> None:
    loan = a_loan(paying(PAYMENT, "2026-02-01"))
    assert payoff_of(loan, "2026-02-14") == ("0.00", "11053.81", "0.00", "11053.81")


def test_the_payoff_closes_the_loan() -> None:
    loan = a_loan()
    fact = decide_repayment(loan, repay("12060", "2026-02-14", prepay=True), today=TODAY)
    closed = evolve(loan, fact)
    assert fact == LoanPrepaid(
        occurred_on=day("2026-02-14"),
        loan_number=1,
        customer_number=CUSTOMER,
        amount=money("12060"),
        reference=None,
        installments_paid=(),
        waiting=money("0"),
        arrears=money("0"),
        accrued_interest=money("60"),
        principal=money("12000"),
        keep=None,
        plan=Plan(after=0, last=0, principal=money("0"), installment=money(PAYMENT)),
        ends_on=day("2026-02-14"),
    )
    assert (status_of(closed, TODAY), closed_on(closed)) == (Status.CLOSED, day("2026-02-14"))
    assert (repayments_left(closed), outstanding_principal(closed)) == (0, money("0"))
    assert installments_due(closed, TODAY) == 0
    assert (closed.tenure_months, closed.installment) == (12, money(PAYMENT))


def test_of_a_loan_paid_off_early_only_what_was_due_before_the_closing_counts() -> None:
    loan = a_loan(paying(PAYMENT, "2026-02-28"), paying("11053.81", "2026-02-28", prepay=True))
    assert closed_on(loan) == day("2026-02-28")
    assert due_and_on_time(loan, TODAY) == (0, 0)
    late = a_loan(paying("12120.00", "2026-02-28", prepay=True))
    assert installments_due(late, TODAY) == 0
    later = a_loan(paying("12230.54", "2026-03-31", prepay=True))
    assert due_and_on_time(later, TODAY) == (1, 0)


def test_a_prepayment_lowers_the_tenure_or_the_installment() -> None:
    shorter = a_loan(paying("6060", "2026-02-14", prepay=True))
    assert (shorter.installment, shorter.tenure_months) == (money(PAYMENT), 6)
    assert shorter.ends_on == day("2026-07-31")
    lower = a_loan(paying("6060", "2026-02-14", prepay=True, keep="tenure"))
    assert (lower.installment, lower.tenure_months) == (money("533.09"), 12)
    for loan in (shorter, lower):
        assert outstanding_principal(loan) == money("6000")
        assert loan.plans[-1].first_interest == money("30")  # 14 of 28 days of 60.00
    assert payoff_of(shorter, "2026-02-21") == ("0.00", "6000.00", "15.00", "6015.00")


def test_a_part_payment_that_waits_pays_interest_before_the_principal_of_a_prepayment() -> None:
    loan = a_loan(paying("100", "2026-02-10"), paying("3000", "2026-02-14", prepay=True))
    assert outstanding_principal(loan) == money("8960")  # 60.00 of the 100.00 were interest
    assert loan.plans[-1].first_interest == money("44.80")  # 14 of 28 days of 89.60


def test_a_prepayment_pays_arrears_first_and_more_than_them() -> None:
    loan = a_loan()
    with pytest.raises(NotAllowedError, match=r"2162\.\d\d goes to arrears") as refused:
        decide_repayment(loan, repay("2132.38", "2026-04-09", prepay=True), today=TODAY)
    assert refused.value.field == "amount"
    fact = decide_repayment(loan, repay("5000", "2026-03-31", prepay=True), today=TODAY)
    assert isinstance(fact, LoanPrepaid)
    assert (fact.arrears, fact.principal) == (money("2132.38"), money("2867.62"))
    assert fact.installments_paid == (1, 2)
    with pytest.raises(NotAllowedError, match=r"12230\.54 pays the loan off"):
        decide_repayment(loan, repay("12230.55", "2026-03-31", prepay=True), today=TODAY)


def test_what_comes_before_a_prepayment_stays_until_that_is_reversed() -> None:
    loan = a_loan(paying(PAYMENT, "2026-02-28"), paying("5000", "2026-03-10", prepay=True))
    with pytest.raises(ForbiddenError, match="prepayment 1-3 of 2026-03-10"):
        decide_reversal(loan, "1-2", "typed twice", today=TODAY)
    with pytest.raises(ForbiddenError, match="prepayment 1-3 of 2026-03-10"):
        decide_repayment(loan, repay("1", "2026-03-09"), today=TODAY)
    before = a_loan(reversing(3), of=loan)
    assert (before.installment, before.tenure_months, before.ends_on) == (
        money(PAYMENT),
        12,
        day("2027-01-31"),
    )
    assert repayments_left(a_loan(reversing(2), of=before)) == 12


def test_a_prepayment_is_not_dated_before_money_that_came() -> None:
    loan = a_loan(paying(PAYMENT, "2026-03-10"))
    with pytest.raises(NotAllowedError, match="came on 2026-03-10") as refused:
        decide_repayment(loan, repay("5000", "2026-03-09", prepay=True), today=TODAY)
    assert refused.value.field == "paid_on"


def test_a_loan_written_off_takes_no_money_and_owes_nothing_any_more() -> None:
    loan = a_loan(paying(PAYMENT, "2026-02-28"))
    fact = decide_write_off(loan, "moved abroad", today=TODAY)
    assert fact == LoanWrittenOff(
        occurred_on=TODAY,
        loan_number=1,
        customer_number=CUSTOMER,
        outstanding_principal=money("11053.81"),
        reason="moved abroad",
    )
    gone = evolve(loan, fact)
    assert (status_of(gone, TODAY), closed_on(gone)) == (Status.WRITTEN_OFF, TODAY)
    assert not is_current(gone, TODAY)
    assert installments_due(gone, date(2027, 1, 1)) == 4
    for refuse in (
        lambda: decide_repayment(gone, repay("1", "2026-06-15"), today=TODAY),
        lambda: decide_write_off(gone, "again", today=TODAY),
        lambda: decide_reversal(gone, "1-2", "typed twice", today=TODAY),
        lambda: payoff(gone, TODAY),
    ):
        with pytest.raises(ForbiddenError, match="written off on 2026-06-15"):
            refuse()


def test_money_for_an_imported_loan_fills_installments_after_those_of_the_workbook() -> None:
    loan = evolve(None, imported_loan(1, tenure=24, emis=10, installment="500"))
    assert status_of(loan, TODAY) is Status.OVERDUE
    fact = decide_repayment(loan, repay("1200", "2026-06-01"), today=TODAY)
    assert fact == received("1200", on="2026-06-01", paid=(11, 12))
    paid = evolve(loan, fact)
    assert (repayments_left(paid), left_to_pay(paid)) == (12, money("5800"))
    assert due_and_on_time(paid, TODAY) == (17, 10)
    assert outstanding_principal(paid) is None


def test_an_imported_loan_has_no_balance_to_prepay() -> None:
    loan = evolve(None, imported_loan(1, emis=10))
    for refuse in (
        lambda: payoff(loan, TODAY),
        lambda: decide_repayment(loan, repay("600", "2026-06-01", prepay=True), today=TODAY),
    ):
        with pytest.raises(ForbiddenError, match="gives no balance"):
            refuse()


def test_an_imported_loan_is_closed_by_its_last_installment() -> None:
    loan = evolve(None, imported_loan(1, tenure=24, emis=23, installment="500"))
    closed = evolve(loan, decide_repayment(loan, repay("500", "2026-06-01"), today=TODAY))
    assert (status_of(closed, TODAY), closed_on(closed)) == (Status.CLOSED, day("2026-06-01"))
    with pytest.raises(ForbiddenError, match="was paid on 2026-06-01"):
        decide_repayment(closed, repay("1", "2026-06-02"), today=TODAY)
