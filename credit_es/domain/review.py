"""The application aggregate: one that a policy left to a reviewer, and what became of it.

It has a stream of its own. The decision itself stands on the customer's stream like any other, and
is recorded together with what is recorded here. That it has expired no fact says: the day does.
"""

from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from typing import Final, assert_never

from msgspec import Struct
from msgspec.structs import replace

from credit_es.domain.customer import Customer
from credit_es.domain.errors import ForbiddenError, FourEyesError
from credit_es.domain.events import (
    ApplicationApproved,
    ApplicationDeclined,
    ApplicationEvent,
    ApplicationReferred,
    Decision,
    LoanApproved,
    LoanDeclined,
    LoanOpened,
    LoanReferred,
)
from credit_es.domain.lending import grant, seen_of
from credit_es.domain.loan import Loan
from credit_es.domain.policy import Policy, judge
from credit_es.domain.values import Reason, Terms, Verdict

DEFINITION: Final = 1
"""Of ``Application`` and ``evolve``: raise it when either changes, as for a customer."""


class Status(StrEnum):
    """How an application stands on a day."""

    PENDING = "pending"
    APPROVED = "approved"
    DECLINED = "declined"
    EXPIRED = "expired"


class Application(Struct, frozen=True, kw_only=True):
    """What waits for a reviewer, or did; ``version`` is that of the last fact folded.

    ``verdict`` is the policy's when it was referred. ``approved`` is None until it is decided, as
    are the fields behind it; ``loan_number`` stays so where it was declined.
    """

    application_id: str
    version: int
    customer_number: int
    terms: Terms
    verdict: Verdict
    asked_by: str
    referred_on: date
    decide_by: date
    approved: bool | None = None
    decision_id: str | None = None
    loan_number: int | None = None
    decided_by: str | None = None
    decided_on: date | None = None
    note: str | None = None


class DeclinedByPolicyError(ForbiddenError):
    """The policy would decline what is to be approved; ``decision`` is what it would say today."""

    def __init__(self, application: Application, decision: LoanDeclined) -> None:
        super().__init__(
            f"by policy {decision.verdict.policy} application {application.application_id} is to be"
            f" declined today ({', '.join(decision.verdict.reasons)}): decline it, or approve it"
            f" once that no longer holds, until {application.decide_by}"
        )
        self.decision = decision


class Review(Struct, frozen=True, kw_only=True):
    """A reviewer's word on an application, and why."""

    application_id: str
    reviewer: str
    note: str


def evolve(application: Application | None, event: ApplicationEvent) -> Application:
    """Fold one event of an application's stream; total, for a recorded fact cannot be refused."""
    match event:
        case ApplicationReferred():
            assert application is None
            return Application(
                application_id=event.application_id,
                version=1,
                customer_number=event.customer_number,
                terms=event.terms,
                verdict=event.verdict,
                asked_by=event.asked_by,
                referred_on=event.occurred_on,
                decide_by=event.decide_by,
            )
        case ApplicationApproved():
            loan_number: int | None = event.loan_number
        case ApplicationDeclined():
            loan_number = None
        case _:
            assert_never(event)
    assert application is not None
    return replace(
        application,
        version=application.version + 1,
        approved=isinstance(event, ApplicationApproved),
        decision_id=event.decision_id,
        loan_number=loan_number,
        decided_by=event.decided_by,
        decided_on=event.occurred_on,
        note=event.note,
    )


def status_of(application: Application, on: date) -> Status:
    """How the application stands: it may be decided on the last of its days, and not after."""
    if application.approved is not None:
        return Status.APPROVED if application.approved else Status.DECLINED
    return Status.PENDING if on <= application.decide_by else Status.EXPIRED


def refer(referral: LoanReferred, *, application_id: str, asked_by: str) -> ApplicationReferred:
    """Hand an application that a policy referred to the reviewers."""
    return ApplicationReferred(
        occurred_on=referral.occurred_on,
        application_id=application_id,
        customer_number=referral.customer_number,
        terms=referral.terms,
        verdict=referral.verdict,
        asked_by=asked_by,
        decide_by=referral.decide_by,
    )


def decide_approval(
    application: Application,
    customer: Customer,
    loans: Sequence[Loan],
    review: Review,
    policy: Policy,
    *,
    loan_number: int,
    today: date,
) -> tuple[LoanApproved, LoanOpened, ApplicationApproved]:
    """Approve, at the rate that the policy asks for today.

    Everything is judged again but whether to refer. What the policy would decline today is refused,
    and the application waits on. Raises ``ForbiddenError``, ``FourEyesError``.
    """
    _refuse_unless_open(application, review, today)
    verdict = judge(policy, customer, loans, application.terms, today, reviewed=True)
    if not verdict.approved:
        declined = LoanDeclined(
            occurred_on=today,
            customer_number=customer.number,
            terms=application.terms,
            verdict=verdict,
            seen=seen_of(customer, loans),
        )
        raise DeclinedByPolicyError(application, declined)
    approved, opened = grant(
        customer,
        loans,
        application.terms,
        verdict,
        loan_number=loan_number,
        today=today,
        application_id=application.application_id,
        note=review.note,
    )
    closed = ApplicationApproved(
        occurred_on=today,
        application_id=application.application_id,
        customer_number=customer.number,
        decision_id=_decision_id(customer),
        loan_number=loan_number,
        decided_by=review.reviewer,
        note=review.note,
    )
    return approved, opened, closed


def decide_decline(
    application: Application,
    customer: Customer,
    loans: Sequence[Loan],
    review: Review,
    policy: Policy,
    *,
    today: date,
) -> tuple[LoanDeclined, ApplicationDeclined]:
    """Decline, whatever the policy says. Raises ``ForbiddenError``, ``FourEyesError``."""
    _refuse_unless_open(application, review, today)
    verdict = judge(policy, customer, loans, application.terms, today, reviewed=True)
    declined = LoanDeclined(
        occurred_on=today,
        customer_number=customer.number,
        terms=application.terms,
        verdict=_declined(verdict),
        seen=seen_of(customer, loans),
        application_id=application.application_id,
        note=review.note,
    )
    closed = ApplicationDeclined(
        occurred_on=today,
        application_id=application.application_id,
        customer_number=customer.number,
        decision_id=_decision_id(customer),
        decided_by=review.reviewer,
        note=review.note,
    )
    return declined, closed


def judge_again(
    policy: Policy, customer: Customer, loans: Sequence[Loan], decision: Decision
) -> Verdict:
    """What ``policy`` says of a recorded decision; what a reviewer said is taken as given."""
    terms, day = decision.terms, decision.occurred_on
    if isinstance(decision, LoanReferred) or decision.application_id is None:
        return judge(policy, customer, loans, terms, day)
    verdict = judge(policy, customer, loans, terms, day, reviewed=True)
    return _declined(verdict) if isinstance(decision, LoanDeclined) else verdict


def _declined(verdict: Verdict) -> Verdict:
    """The reviewer's decline, beside what the policy has against it."""
    against = () if verdict.approved else verdict.reasons
    return replace(verdict, approved=False, reasons=(*against, Reason.DECLINED_IN_REVIEW))


def _decision_id(customer: Customer) -> str:
    return f"{customer.number}-{customer.version + 1}"


def _refuse_unless_open(application: Application, review: Review, today: date) -> None:
    known = f"application {application.application_id}"
    match status_of(application, today):
        case Status.APPROVED | Status.DECLINED as decided:
            raise ForbiddenError(
                f"{known} was {decided} by {application.decided_by} on {application.decided_on}:"
                f" decision {application.decision_id} says why"
            )
        case Status.EXPIRED:
            raise ForbiddenError(
                f"{known} was to be decided by {application.decide_by} and has expired: whoever"
                " still wants the loan applies again"
            )
        case Status.PENDING:
            if review.reviewer == application.asked_by:
                raise FourEyesError(application.application_id, application.asked_by)
