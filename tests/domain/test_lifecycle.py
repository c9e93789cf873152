"""The life of a loan in any order: nothing that happens to it loses or makes a cent.

Beside it runs a ledger that calls nothing of the domain (``ledger.py``), and a list of what was
said of the customer's income.
"""

from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from credit_es.domain import customer
from credit_es.domain.customer import CorrectCustomer, decide_correction
from credit_es.domain.errors import DomainError, ForbiddenError, NotAllowedError
from credit_es.domain.events import LoanEvent, LoanOpened, RepaymentReceived
from credit_es.domain.installments import InstallmentStatus, loan_schedule
from credit_es.domain.loan import ZERO, Loan, evolve
from credit_es.domain.payoff import payoff
from credit_es.domain.repaying import Repay, decide_repayment, decide_reversal, decide_write_off
from credit_es.domain.schedule import installment, months_later
from credit_es.domain.score import score
from credit_es.domain.standing import (
    Status,
    closed_on,
    due_and_on_time,
    filled,
    is_current,
    left_to_pay,
    outstanding_principal,
    paid_days,
    received,
    repayments_left,
    status_of,
)
from credit_es.domain.statement import statement
from credit_es.domain.values import CustomerDetails, Keep
from tests.domain.facts import CUSTOMER, registered
from tests.domain.ledger import Ledger, Money
from tests.scenario import PROPERTY, STANDARD

CENTS = st.one_of(st.integers(1, 100), st.integers(1, 3_000_000)).map(
    lambda cents: Decimal(cents).scaleb(-2)
)
FAR = date(2100, 1, 1)


class Life(RuleBasedStateMachine):
    """One loan granted here, with clerks who do what they like, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: list[LoanEvent] = []
        self.loan: Any = None
        self.ledger: Any = None
        self.customer: Any = None
        self.incomes: list[tuple[date, int]] = []
        self.today = date(2024, 1, 31)

    @initialize(
        amount=st.one_of(
            st.integers(100_000, 5_000_000), st.integers(1, 5_000_000), st.integers(1, 100)
        ).map(lambda cents: Decimal(cents).scaleb(-2)),
        rate=st.sampled_from(["0.00", "0.01", "8.50", "12.00", "100.00"]).map(Decimal),
        tenure=st.integers(1, 30),
        opened_on=st.sampled_from([date(2024, 1, 31), date(2024, 2, 29), date(2023, 12, 15)]),
    )
    def open(self, amount: Decimal, rate: Decimal, tenure: int, opened_on: date) -> None:
        self.today = opened_on
        income = 50_000
        first = registered(income=str(income), limit="1800000", on=opened_on.isoformat())
        self.customer = customer.evolve(None, first)
        self.incomes.append((opened_on, income))
        self.ledger = Ledger(
            amount=int(amount * 100),
            rate=Fraction(rate) / 1200,
            count=tenure,
            opened_on=opened_on,
        )
        self.happen(
            LoanOpened(
                occurred_on=opened_on,
                loan_number=1,
                customer_number=CUSTOMER,
                amount=amount,
                annual_rate=rate,
                tenure_months=tenure,
                installment=installment(amount, rate, tenure),
                ends_on=months_later(opened_on, tenure),
            )
        )

    def happen(self, fact: LoanEvent) -> None:
        self.facts.append(fact)
        self.loan = evolve(self.loan, fact)

    @rule(days=st.integers(0, 75))
    def wait(self, days: int) -> None:
        self.today += timedelta(days=days)

    @rule(amount=CENTS, ago=st.integers(0, 40))
    def pay_anything(self, amount: Decimal, ago: int) -> None:
        self.pay(amount, ago)

    def pay(self, amount: Decimal, ago: int) -> None:
        self.try_to(Repay(loan_number=1, amount=amount, paid_on=self.today - timedelta(days=ago)))

    @rule(percent=st.integers(1, 40), ago=st.integers(0, 40))
    def pay_a_part_of_what_is_left(self, percent: int, ago: int) -> None:
        cents = self.ledger.now().left * percent // 100
        self.pay(Decimal(cents).scaleb(-2), ago)

    @precondition(lambda self: is_current(self.loan, self.today))
    @rule()
    def pay_the_next_installment(self) -> None:
        rows = loan_schedule(self.loan, self.today).installments
        amount = rows[filled(self.loan).paid].installment
        self.try_to(Repay(loan_number=1, amount=amount, paid_on=self.today))

    @rule(amount=CENTS, keep=st.sampled_from(Keep))
    def prepay_anything(self, amount: Decimal, keep: Keep) -> None:
        self.prepay(amount, keep)

    def prepay(self, amount: Decimal, keep: Keep) -> None:
        self.try_to(Repay(loan_number=1, amount=amount, paid_on=self.today, prepay=True, keep=keep))

    @rule(percent=st.integers(1, 99), keep=st.sampled_from(Keep))
    def prepay_a_part_of_the_principal(self, percent: int, keep: Keep) -> None:
        owed = self.ledger.owed(self.ledger.now(), self.today)
        cents = owed.arrears + owed.interest + owed.principal * percent // 100
        self.prepay(Decimal(cents).scaleb(-2), keep)

    @rule()
    def pay_off(self) -> None:
        with suppress(ForbiddenError, NotAllowedError):
            owed = payoff(self.loan, self.today)
            assert owed.total >= 0
            assert owed.interest_to_pay >= 0 <= owed.principal_to_pay
            self.try_to(Repay(loan_number=1, amount=owed.total, paid_on=self.today, prepay=True))
            assert owed.total == 0 or repayments_left(self.loan) == 0

    @rule()
    def pay_all_that_is_left(self) -> None:
        left = left_to_pay(self.loan)
        self.try_to(Repay(loan_number=1, amount=left, paid_on=self.today))

    def try_to(self, command: Repay) -> None:
        if command.amount <= 0:
            return
        cents = int(command.amount * 100)
        terms = self.ledger.now()
        owed = self.ledger.owed(terms, command.paid_on)
        possible = cents <= terms.left
        if command.prepay:
            first = owed.arrears + owed.interest
            possible = cents == owed.total or first < cents < owed.total
        try:
            fact = decide_repayment(self.loan, command, today=self.today)
        except NotAllowedError as error:
            if error.field == "amount" and possible:
                raise
        except ForbiddenError:
            pass
        else:
            assert possible
            self.happen(fact)
            self.ledger.money.append(
                Money(
                    cents=cents,
                    on=command.paid_on,
                    prepays=command.prepay,
                    keeps_tenure=command.keep is Keep.TENURE,
                )
            )

    @rule(income=st.sampled_from([0, 12_499, 12_500, 50_000, 90_000]), ago=st.integers(0, 40))
    def correct(self, income: int, ago: int) -> None:
        since = self.today - timedelta(days=ago)
        command = CorrectCustomer(
            customer_number=CUSTOMER,
            details=CustomerDetails(monthly_income=Decimal(income)),
            effective_on=since,
            reason="a typo",
        )
        with suppress(ForbiddenError, NotAllowedError):
            fact = decide_correction(self.customer, command, today=self.today)
            self.customer = customer.evolve(self.customer, fact)
            self.incomes.append((since, income))

    @precondition(lambda self: self.loan.repayments)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.loan.repayments))
        before = self.loan
        try:
            fact, raised = decide_reversal(
                self.loan, f"1-{one.version}", "typed twice", today=self.today
            )
        except DomainError:
            return
        assert (fact.amount, raised.amount) == (one.amount, one.amount)
        self.happen(fact)
        self.ledger.take_back(before.repayments.index(one))
        self.customer = customer.evolve(self.customer, raised)
        assert left_to_pay(self.loan) >= left_to_pay(before)

    @precondition(lambda self: len(self.facts) > 6)
    @rule()
    def give_up(self) -> None:
        with suppress(ForbiddenError):
            self.happen(decide_write_off(self.loan, "moved abroad", today=self.today))

    @invariant()
    def the_loan_stands_as_in_the_ledger(self) -> None:
        if self.loan is None:
            return
        terms = self.ledger.now()
        assert left_to_pay(self.loan) * 100 == terms.left
        principal = outstanding_principal(self.loan)
        assert principal is not None
        assert principal * 100 == terms.balance(terms.full)
        rows = loan_schedule(self.loan, self.today).installments[terms.after :]
        assert [
            (row.interest, row.principal, row.closing_balance) for row in rows if row.installment
        ] == [
            tuple(Decimal(cents).scaleb(-2) for cents in (row.interest, row.principal, row.balance))
            for row in terms.rows
            if row.payment
        ]
        with suppress(ForbiddenError, NotAllowedError):
            owed = payoff(self.loan, self.today)
            by_hand = self.ledger.owed(terms, self.today)
            assert owed.arrears * 100 == by_hand.arrears
            assert owed.interest_to_pay * 100 == by_hand.interest
            assert owed.principal_to_pay * 100 == by_hand.principal

    @invariant()
    def limit_and_score_follow_at_once(self) -> None:
        if self.loan is None:
            return
        *_, (_, income) = sorted(self.incomes, key=lambda said: said[0])  # of one day the later
        assert self.customer.monthly_income == income
        assert self.customer.approved_limit == (36 * income + 50_000) // 100_000 * 100_000
        card = score(STANDARD.score, self.customer, [self.loan], self.today).card
        runs = self.loan.written_off_on is None and self.ledger.now().left > 0
        assert card.current_amount == (self.loan.amount if runs else 0)

    @invariant()
    def every_cent_is_somewhere(self) -> None:
        if self.loan is None:
            return
        loan: Loan = self.loan
        whole = loan_schedule(loan, self.today)
        assert whole.total_interest is not None
        assert whole.total_payable - whole.total_interest == loan.amount
        paid = sum((one.amount for one in received(loan)), ZERO)
        assert paid + left_to_pay(loan) == whole.total_payable

    @invariant()
    def every_row_follows_from_the_one_before(self) -> None:
        if self.loan is None:
            return
        rows = loan_schedule(self.loan, self.today).installments
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        for row in rows:
            assert row.interest is not None
            assert row.principal is not None
            assert row.opening_balance is not None
            assert row.interest >= 0 <= row.principal
            assert row.installment == row.interest + row.principal
            assert row.closing_balance == row.opening_balance - row.principal
        borders = {plan.after for plan in self.loan.plans}
        for row, following in pairwise(rows):
            if row.number not in borders:
                assert following.opening_balance == row.closing_balance

    @invariant()
    def the_oldest_installments_are_paid_first(self) -> None:
        if self.loan is None:
            return
        rows = loan_schedule(self.loan, self.today).installments
        statuses = [row.status for row in rows if row.installment]  # nothing counts as paid
        done = {InstallmentStatus.PAID, InstallmentStatus.LATE}
        paid = [status in done for status in statuses]
        assert paid == sorted(paid, reverse=True)
        left = sum(not one for one in paid)
        assert left == repayments_left(self.loan)
        late = InstallmentStatus.OVERDUE in statuses
        if is_current(self.loan, self.today):
            assert (status_of(self.loan, self.today) is Status.OVERDUE) == late
        due, on_time = due_and_on_time(self.loan, self.today)
        assert 0 <= on_time <= due

    @invariant()
    def the_statement_ends_where_the_schedule_does(self) -> None:
        if self.loan is None:
            return
        closing = statement([self.loan], first=date.min, last=FAR).closing_balance
        assert closing == (ZERO if self.loan.written_off_on else left_to_pay(self.loan))
        if closed_on(self.loan) is not None:
            now = statement([self.loan], first=date.min, last=self.today)
            assert now.closing_balance == 0

    @invariant()
    def the_order_of_recording_does_not_matter(self) -> None:
        if self.loan is None or self.loan.plans:
            return
        others = [fact for fact in self.facts if not isinstance(fact, RepaymentReceived)]
        if len(others) > 1:
            return
        again = evolve(None, self.facts[0])
        for fact in reversed(self.facts[1:]):
            again = evolve(again, fact)
        assert paid_days(again) == paid_days(self.loan)
        assert filled(again) == filled(self.loan)


TestLife = Life.TestCase
TestLife.settings = settings(PROPERTY, max_examples=120, stateful_step_count=30)
