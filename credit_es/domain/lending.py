"""The decision to lend: a customer, their loans, a policy and a day in, facts out."""

from collections.abc import Sequence
from datetime import date

from msgspec import Struct

from credit_es.domain.customer import Customer
from credit_es.domain.events import LoanApproved, LoanDeclined, LoanOpened
from credit_es.domain.loan import Loan
from credit_es.domain.policy import Policy, judge
from credit_es.domain.schedule import months_later
from credit_es.domain.values import LoanSeen, Seen, Terms


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
) -> tuple[LoanApproved, LoanOpened] | tuple[LoanDeclined]:
    """Approve or decline; a refusal is a fact, not an exception.

    ``loans`` are all of the customer's, current and closed; ``loan_number`` is the one a granted
    loan gets. Pure: who replays the same arguments gets the same facts.
    """
    terms = command.terms
    verdict = judge(policy, customer, loans, terms, today)
    seen = Seen(
        customer_version=customer.version,
        monthly_income=customer.monthly_income,
        approved_limit=customer.approved_limit,
        loans=tuple(LoanSeen(loan_number=loan.number, version=loan.version) for loan in loans),
    )
    if not verdict.approved:
        declined = LoanDeclined(
            occurred_on=today,
            customer_number=customer.number,
            terms=terms,
            verdict=verdict,
            seen=seen,
        )
        return (declined,)
    approved = LoanApproved(
        occurred_on=today,
        customer_number=customer.number,
        loan_number=loan_number,
        terms=terms,
        verdict=verdict,
        seen=seen,
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
    return (approved, opened)
