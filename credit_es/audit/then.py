"""What a customer or a loan was on a day: as known now and as known at an instant, side by side."""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Generic, Literal, TypeVar, get_args

import msgspec
from msgspec import Struct

from credit_es.audit.asof import customer_as_of, loan_as_of
from credit_es.audit.portfolio import Portfolio, Progress, portfolio
from credit_es.domain.customer import Customer
from credit_es.domain.errors import NotAllowedError, UnknownCustomerError, UnknownLoanError
from credit_es.domain.loan import Loan
from credit_es.domain.policy import Policy
from credit_es.domain.score import score
from credit_es.domain.standing import (
    Status,
    closed_on,
    due_and_on_time,
    installments_of,
    outstanding_principal,
    repayments_left,
    status_of,
)
from credit_es.domain.values import Scorecard
from credit_es.store.log import Log
from credit_es.store.mapper import customer_stream, loan_stream

Subject = Literal["customer", "loan"]
SUBJECTS: Final[tuple[Subject, ...]] = get_args(Subject)
T = TypeVar("T")


class LoanThen(Struct, frozen=True, kw_only=True):
    """A loan on a day: its terms, and how it stood.

    ``outstanding_principal`` is None where only a workbook knows it.
    """

    loan_number: int
    customer_number: int
    source_loan_id: str | None
    amount: Decimal
    annual_rate: Decimal
    tenure_months: int
    installment: Decimal
    opened_on: date
    ends_on: date
    closed_on: date | None
    status: Status
    installments_paid: int
    repayments_left: int
    outstanding_principal: Decimal | None
    installments_due: int
    installments_on_time: int


class CustomerThen(Struct, frozen=True, kw_only=True):
    """A customer on a day, with every loan; the score is what ``policy`` makes of that day."""

    customer_number: int
    first_name: str
    last_name: str
    age: int | None
    phone_number: int | None
    monthly_income: Decimal
    approved_limit: Decimal
    imported: bool
    policy: str
    policy_hash: str
    score: Scorecard
    loans: tuple[LoanThen, ...]


class Then(Struct, Generic[T], frozen=True, kw_only=True):
    """Both answers about a day; None where there was nothing to tell of.

    ``as_known_at`` is what was believed at ``known_at``, and None where no instant was given.
    """

    on: date
    known_at: datetime | None
    as_known_now: T | None
    as_known_at: T | None


class Change(Struct, frozen=True, kw_only=True):
    """A field that two days differ in, named by its path: ``loans.7.status``."""

    field: str
    before: Any
    after: Any


class Past:
    """Questions about days past; ``today`` is the business date.

    One customer or loan is asked of ``log``, the primary's: what a replica lacks would look as if
    it had not happened. What needs the ``whole`` log may be a replica's, and says how far it was
    read.
    """

    def __init__(self, log: Log, policy: Policy, today: Callable[[], date], *, whole: Log) -> None:
        self._log = log
        self._policy = policy
        self.today = today
        self._whole = whole

    def customer(
        self, number: int, *, on: date, known_at: datetime | None = None
    ) -> Then[CustomerThen]:
        """A customer with all loans; raises ``UnknownCustomerError``, ``NotAllowedError``."""
        self.must_be_past("on", on)
        history = self._log.stream(customer_stream(number))
        if not history:
            raise UnknownCustomerError(number)
        now = customer_as_of(history, on=on)
        named = set(now.loans if now else ())
        then = customer_as_of(history, on=on, known_at=known_at) if known_at else None
        named.update(then.loans if then else ())
        streams = self._log.streams(map(loan_stream, sorted(named)))

        def told(who: Customer | None, instant: datetime | None) -> CustomerThen | None:
            if who is None:
                return None
            found = (
                loan_as_of(streams.get(loan_stream(n), []), on=on, known_at=instant)
                for n in who.loans
            )
            return customer_then(who, [one for one in found if one], self._policy, on)

        return Then(
            on=on,
            known_at=known_at,
            as_known_now=told(now, None),
            as_known_at=told(then, known_at),
        )

    def loan(self, number: int, *, on: date, known_at: datetime | None = None) -> Then[LoanThen]:
        """A loan; raises ``UnknownLoanError``, ``NotAllowedError``."""
        self.must_be_past("on", on)
        history = self._log.stream(loan_stream(number))
        if not history:
            raise UnknownLoanError(number)
        now = loan_as_of(history, on=on)
        then = loan_as_of(history, on=on, known_at=known_at) if known_at else None
        return Then(
            on=on,
            known_at=known_at,
            as_known_now=loan_then(now, on) if now else None,
            as_known_at=loan_then(then, on) if then else None,
        )

    def portfolio(
        self,
        *,
        on: date,
        known_at: datetime | None = None,
        progress: Progress = lambda _reached, _head: None,
    ) -> Then[Portfolio]:
        """All loans that there were; raises ``NotAllowedError``, ``UndigestedError``."""
        self.must_be_past("on", on)
        return Then(
            on=on,
            known_at=known_at,
            as_known_now=portfolio(self._whole, on=on, progress=progress),
            as_known_at=portfolio(self._whole, on=on, known_at=known_at, progress=progress)
            if known_at
            else None,
        )

    def changes(self, subject: Subject, number: int, before: date, after: date) -> list[Change]:
        """What differs between two days, field by field, as known now; raises as those above."""
        ask: Callable[..., Then[Any]] = self.customer if subject == "customer" else self.loan
        self.must_be_past("before", before)
        self.must_be_past("after", after)
        states = [ask(number, on=day).as_known_now for day in (before, after)]
        was, became = (fields(state) for state in states)
        return [
            Change(field=field, before=was.get(field), after=became.get(field))
            for field in (was | became)
            if was.get(field) != became.get(field)
        ]

    def must_be_past(self, what: str, on: date) -> None:
        """Raise ``NotAllowedError`` at a day to come, of which nothing can be known."""
        today = self.today()
        if on > today:
            raise NotAllowedError(what, f"today is {today}: give that day or an earlier one")


def loan_then(loan: Loan, on: date) -> LoanThen:
    """How a loan stands on a day."""
    left = repayments_left(loan)
    due, on_time = due_and_on_time(loan, on)
    return LoanThen(
        loan_number=loan.number,
        customer_number=loan.customer_number,
        source_loan_id=loan.source_loan_id,
        amount=loan.amount,
        annual_rate=loan.annual_rate,
        tenure_months=loan.tenure_months,
        installment=loan.installment,
        opened_on=loan.opened_on,
        ends_on=loan.ends_on,
        closed_on=closed_on(loan),
        status=status_of(loan, on),
        installments_paid=installments_of(loan) - left,
        repayments_left=left,
        outstanding_principal=outstanding_principal(loan),
        installments_due=due,
        installments_on_time=on_time,
    )


def customer_then(customer: Customer, loans: list[Loan], policy: Policy, on: date) -> CustomerThen:
    """How a customer stands on a day, judged by a policy."""
    return CustomerThen(
        customer_number=customer.number,
        first_name=customer.first_name,
        last_name=customer.last_name,
        age=customer.age,
        phone_number=customer.phone_number,
        monthly_income=customer.monthly_income,
        approved_limit=customer.approved_limit,
        imported=customer.imported,
        policy=policy.name,
        policy_hash=policy.hash,
        score=score(policy.score, customer, loans, on).card,
        loans=tuple(loan_then(one, on) for one in loans),
    )


def fields(state: CustomerThen | LoanThen | None) -> dict[str, Any]:
    """Every field by its path; a customer's loans go by their numbers."""
    return dict(_flat("", msgspec.structs.asdict(state))) if state else {}


def _flat(path: str, value: Any) -> list[tuple[str, Any]]:
    match value:
        case dict():
            return [pair for name, each in value.items() for pair in _flat(f"{path}{name}.", each)]
        case LoanThen() | Scorecard():
            return _flat(path, msgspec.structs.asdict(value))
        case tuple():
            return [pair for one in value for pair in _flat(f"{path}{one.loan_number}.", one)]
        case _:
            return [(path.removesuffix("."), value)]
