"""What was true on a day, and what was believed then. Read from the log itself.

A replica may be late, and what it lacks looks as if it had not happened: each answer says how late.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

import falcon
from msgspec.structs import asdict

from api.answers import Answer, Components, LoanItem, PolicyUsed, answer
from api.fields import known_number, path_day
from api.openapi import Method, Operation
from api.problems import NotThereError
from api.questions import KnownQuery
from api.requests import valid
from api.resources.customers import components
from credit_es.audit.logs import Logs
from credit_es.audit.then import SUBJECTS, CustomerThen, LoanThen, Past
from credit_es.domain.errors import NotAllowedError
from credit_es.domain.values import Basis
from credit_es.store.log import Log
from projections.status import Lag

PastOf = Callable[[Log], Past]
"""Whom to ask of the days past in a log."""


class LoanOnDay(LoanItem, frozen=True, kw_only=True):
    """A loan on a day; ``outstanding_principal`` is null where only a workbook knows it."""

    customer_id: int
    installments_paid: int
    installments_due: int
    installments_on_time: int
    outstanding_principal: Decimal | None


class CustomerOnDay(Answer, frozen=True, kw_only=True):
    """A customer on a day with every loan; the score is what ``policy`` makes of that day."""

    customer_id: int
    first_name: str
    last_name: str
    phone_number: int | None
    age: int | None
    monthly_income: int
    approved_limit: int
    imported: bool
    score: Decimal
    basis: Basis
    components: Components
    policy: PolicyUsed
    loans: list[LoanOnDay]


class LoanAsOf(Answer, frozen=True, kw_only=True):
    """Both answers about a day; null where there was no such loan.

    ``as_known_at`` is what was believed at ``known_at``, null too where no instant was given.
    ``lag`` is how far what was read may be behind the log.
    """

    on: date
    known_at: datetime | None
    as_known_now: LoanOnDay | None
    as_known_at: LoanOnDay | None
    lag: Lag


class CustomerAsOf(Answer, frozen=True, kw_only=True):
    """Both answers about a day; null where there was no such customer.

    ``as_known_at`` is what was believed at ``known_at``, null too where no instant was given.
    ``lag`` is how far what was read may be behind the log.
    """

    on: date
    known_at: datetime | None
    as_known_now: CustomerOnDay | None
    as_known_at: CustomerOnDay | None
    lag: Lag


class FieldChange(Answer, frozen=True, kw_only=True):
    """A field that two days differ in, named by its path, such as ``loans.10000001.status``."""

    field: str
    before: Any
    after: Any


class Difference(Answer, frozen=True, kw_only=True):
    """What changed between two days, as known now.

    ``lag`` is how far what was read may be behind the log.
    """

    changes: list[FieldChange]
    lag: Lag


class PastCustomer:
    """``GET /audit/as-of/{on}/customer/{customer_id}``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Show a customer as of a day",
            tag="audit",
            answers={200: CustomerAsOf},
            query=KnownQuery,
        )
    }

    def __init__(self, logs: Logs, past: PastOf) -> None:
        self._logs = logs
        self._past = past

    def on_get(self, req: falcon.Request, resp: falcon.Response, on: str, customer_id: str) -> None:
        """Details, limit, score and every loan: as known now, and as known at an instant."""
        asked = valid(KnownQuery, req.params, location="query")
        number = known_number(customer_id, "customer")
        day = day_of("on", on)
        found, lag = self._logs.ask(
            lambda log: self._past(log).customer(number, on=day, known_at=asked.known_at)
        )
        now, then = found.as_known_now, found.as_known_at
        answer(
            resp,
            CustomerAsOf(
                on=found.on,
                known_at=found.known_at,
                as_known_now=_customer(now) if now else None,
                as_known_at=_customer(then) if then else None,
                lag=lag,
            ),
        )

    on_head = on_get


class PastLoan:
    """``GET /audit/as-of/{on}/loan/{loan_id}``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Show a loan as of a day",
            tag="audit",
            answers={200: LoanAsOf},
            query=KnownQuery,
        )
    }

    def __init__(self, logs: Logs, past: PastOf) -> None:
        self._logs = logs
        self._past = past

    def on_get(self, req: falcon.Request, resp: falcon.Response, on: str, loan_id: str) -> None:
        """Terms, status, installments, what is left: as known now, and as known at an instant."""
        asked = valid(KnownQuery, req.params, location="query")
        number = known_number(loan_id, "loan")
        day = day_of("on", on)
        found, lag = self._logs.ask(
            lambda log: self._past(log).loan(number, on=day, known_at=asked.known_at)
        )
        now, then = found.as_known_now, found.as_known_at
        answer(
            resp,
            LoanAsOf(
                on=found.on,
                known_at=found.known_at,
                as_known_now=_loan(now) if now else None,
                as_known_at=_loan(then) if then else None,
                lag=lag,
            ),
        )

    on_head = on_get


class Changes:
    """``GET /audit/diff/{before}/{after}/{aggregate}/{aggregate_id}``."""

    operations: ClassVar[Mapping[Method, Operation]] = {
        "get": Operation(
            summary="Compare two days of a customer or a loan",
            tag="audit",
            answers={200: Difference},
            problems=(422,),
        )
    }

    def __init__(self, logs: Logs, past: PastOf) -> None:
        self._logs = logs
        self._past = past

    def on_get(
        self, _req: falcon.Request, resp: falcon.Response, before: str, after: str, **path: str
    ) -> None:
        """List field by field what changed, as known now; a customer's loans by their numbers."""
        subject = next((each for each in SUBJECTS if each == path["aggregate"]), None)
        if subject is None:
            raise NotThereError("comparison")
        number = known_number(path["aggregate_id"], subject)
        days = day_of("before", before), day_of("after", after)
        found, lag = self._logs.ask(lambda log: self._past(log).changes(subject, number, *days))
        answer(resp, Difference(changes=[FieldChange(**asdict(each)) for each in found], lag=lag))

    on_head = on_get


def day_of(name: str, text: str) -> date:
    """The day that a path names; raises ``NotAllowedError`` where it is none."""
    day = path_day(text)
    if day is None:
        raise NotAllowedError(name, "write the day as 2026-01-31")
    return day


def _customer(then: CustomerThen) -> CustomerOnDay:
    return CustomerOnDay(
        customer_id=then.customer_number,
        first_name=then.first_name,
        last_name=then.last_name,
        phone_number=then.phone_number,
        age=then.age,
        monthly_income=int(then.monthly_income),
        approved_limit=int(then.approved_limit),
        imported=then.imported,
        score=then.score.score,
        basis=then.score.basis,
        components=components(then.score),
        policy=PolicyUsed(name=then.policy, hash=then.policy_hash),
        loans=[_loan(one) for one in then.loans],
    )


def _loan(then: LoanThen) -> LoanOnDay:
    return LoanOnDay(
        loan_id=then.loan_number,
        customer_id=then.customer_number,
        loan_amount=then.amount,
        interest_rate=then.annual_rate,
        monthly_installment=then.installment,
        tenure=then.tenure_months,
        repayments_left=then.repayments_left,
        status=then.status,
        closed_on=then.closed_on,
        approved_on=then.opened_on,
        end_date=then.ends_on,
        source_loan_id=then.source_loan_id,
        installments_paid=then.installments_paid,
        installments_due=then.installments_due,
        installments_on_time=then.installments_on_time,
        outstanding_principal=then.outstanding_principal,
    )
