"""The decision to lend: a customer, their loans, a policy and a day in, facts out."""

from collections.abc import Sequence
from datetime import date, timedelta

from msgspec import Struct

from credit_es.domain.customer import Customer
from credit_es.domain.events import LoanApproved, LoanDeclined, LoanOpened, LoanReferred
from credit_es.domain.loan import Loan
from credit_es.domain.policy import Policy, judge
from credit_es.domain.schedule import months_later
from credit_es.domain.values import LoanSeen, Seen, Terms, Verdict


class ApplyForLoan(Struct, frozen=True, kw_only=True):
    """A request for a loan by a customer."""

    customer_number: int
    terms: Terms


def decide_loan(
    customer: Customer,
    loans: Sequence[Loan],
    command: ApplyForLoan,
    policy: Policy,
    *,
    loan_number: int,
    today: date,
) -> tuple[LoanApproved, LoanOpened] | tuple[LoanDeclined] | tuple[LoanReferred]:
    """Approve, decline, or leave it to a reviewer; a refusal is a fact, not an exception.

    ``loans`` are all of the customer's, current and closed; ``loan_number`` is the one a granted
    loan gets. Pure: who replays the same arguments gets the same facts.
    """
    terms = command.terms
    verdict = judge(policy, customer, loans, terms, today)
    if verdict.approved:
        return grant(customer, loans, terms, verdict, loan_number=loan_number, today=today)
    seen = seen_of(customer, loans)
    if policy.refer and verdict.referred:
        referred = LoanReferred(
            occurred_on=today,
            customer_number=customer.number,
            terms=terms,
            verdict=verdict,
            seen=seen,
            decide_by=today + timedelta(days=policy.refer.expires_after_days),
        )
        return (referred,)
    declined = LoanDeclined(
        occurred_on=today,
        customer_number=customer.number,
        terms=terms,
        verdict=verdict,
        seen=seen,
    )
    return (declined,)


def seen_of(customer: Customer, loans: Sequence[Loan]) -> Seen:
    """What a decision on these streams has seen."""
    return Seen(
        customer_version=customer.version,
        monthly_income=customer.monthly_income,
        approved_limit=customer.approved_limit,
        loans=tuple(LoanSeen(loan_number=loan.number, version=loan.version) for loan in loans),
    )


def grant(
    customer: Customer,
    loans: Sequence[Loan],
    terms: Terms,
    verdict: Verdict,
    *,
    loan_number: int,
    today: date,
    application_id: str | None = None,
    note: str | None = None,
) -> tuple[LoanApproved, LoanOpened]:
    """The facts of a loan that ``verdict`` approves; the last two are those of a review."""
    approved = LoanApproved(
        occurred_on=today,
        customer_number=customer.number,
        loan_number=loan_number,
        terms=terms,
        verdict=verdict,
        seen=seen_of(customer, loans),
        application_id=application_id,
        note=note,
    )
    opened = LoanOpened(
        occurred_on=today,
        loan_number=loan_number,
        customer_number=customer.number,
        amount=terms.amount,
        annual_rate=verdict.annual_rate,
        tenure_months=terms.tenure_months,
        installment=verdict.installment,
        ends_on=months_later(today, terms.tenure_months),
    )
    return approved, opened
