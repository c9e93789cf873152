"""Every fact the log can hold. A tag is the stored topic: it never changes, nor does its meaning.

A fact says what was true in business time (``occurred_on``); when we learned it, and from whom, is
said by the log entry around it. Money is ``Decimal`` of two places, rates are per cent a year.
A new field gets a default; a changed meaning is a new fact.
"""

from datetime import date
from decimal import Decimal

from msgspec import Struct, field

from credit_es.domain.values import (
    Counts,
    CustomerDetails,
    ImportedLoan,
    Keep,
    LoanDetails,
    Number,
    Plan,
    Seen,
    Source,
    Terms,
    Verdict,
    Workbook,
)


class Fact(Struct, frozen=True, kw_only=True, gc=False):
    """Something that happened, in business time; never edited, only followed."""

    occurred_on: date


class CustomerRegistered(Fact, frozen=True, kw_only=True, tag="credit.CustomerRegistered"):
    """A customer asked to be known, and was granted a limit."""

    customer_number: Number
    first_name: str
    last_name: str
    age: int
    phone_number: int
    monthly_income: Decimal
    approved_limit: Decimal


class CustomerImported(Fact, frozen=True, kw_only=True, tag="credit.CustomerImported"):
    """A customer as the lender's workbook says; what it leaves out is None."""

    customer_number: Number
    first_name: str
    last_name: str
    age: int | None
    phone_number: int | None
    monthly_income: Decimal
    approved_limit: Decimal
    current_debt: Decimal | None
    source: Source


class LoansImported(Fact, frozen=True, kw_only=True, tag="credit.LoansImported"):
    """The customer's stream names the loans that one ingestion brought."""

    customer_number: Number
    loans: tuple[ImportedLoan, ...]
    ingestion_id: str


class LoanApproved(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="credit.LoanApproved"):
    """A decision for: on the customer's stream, beside the loan it opened.

    ``application_id`` and ``note`` are those of a review, None where a policy decided alone.
    """

    customer_number: Number
    loan_number: Number
    terms: Terms
    verdict: Verdict
    seen: Seen
    application_id: str | None = None
    note: str | None = None


class LoanDeclined(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="credit.LoanDeclined"):
    """A decision against: no loan exists, the reasons do. A review's has its note."""

    customer_number: Number
    terms: Terms
    verdict: Verdict
    seen: Seen
    application_id: str | None = None
    note: str | None = None

    @property
    def loan_number(self) -> None:
        """Of the loan a decision opened: here none."""
        return None


class LoanReferred(Fact, frozen=True, kw_only=True, tag="credit.LoanReferred"):
    """The policy leaves the decision to a reviewer, until ``decide_by`` and that day included.

    Its own decision id is the id of the application.
    """

    customer_number: Number
    terms: Terms
    verdict: Verdict
    seen: Seen
    decide_by: date

    @property
    def loan_number(self) -> None:
        """Of the loan a decision opened: here none."""
        return None


class ApplicationReferred(Fact, frozen=True, kw_only=True, tag="credit.ApplicationReferred"):
    """An application waits for a reviewer other than ``asked_by``, until ``decide_by``."""

    application_id: str
    customer_number: Number
    terms: Terms
    verdict: Verdict
    asked_by: str
    decide_by: date


class ApplicationApproved(Fact, frozen=True, kw_only=True, tag="credit.ApplicationApproved"):
    """A reviewer approved, and the loan was opened; ``decision_id`` is that of the approval."""

    application_id: str
    customer_number: Number
    decision_id: str
    loan_number: Number
    decided_by: str
    note: str


class ApplicationDeclined(Fact, frozen=True, kw_only=True, tag="credit.ApplicationDeclined"):
    """A reviewer declined; ``decision_id`` is that of the decline."""

    application_id: str
    customer_number: Number
    decision_id: str
    decided_by: str
    note: str


class LoanOpened(Fact, frozen=True, kw_only=True, tag="credit.LoanOpened"):
    """The first fact of a loan granted here, with everything the contract fixes."""

    loan_number: Number
    customer_number: Number
    amount: Decimal
    annual_rate: Decimal
    tenure_months: int
    installment: Decimal
    ends_on: date


class LoanImported(Fact, frozen=True, kw_only=True, tag="credit.LoanImported"):
    """A loan as the lender's workbook says; ``occurred_on`` is its date of approval."""

    loan_number: Number
    customer_number: Number
    source_loan_id: str
    amount: Decimal
    annual_rate: Decimal
    tenure_months: int
    installment: Decimal
    emis_on_time: int
    ends_on: date
    source: Source


class CustomerCorrected(Fact, frozen=True, kw_only=True, tag="credit.CustomerCorrected"):
    """What was known of a customer was wrong, since ``occurred_on``."""

    customer_number: Number
    was: CustomerDetails
    is_: CustomerDetails = field(name="is")
    reason: str


class CustomerRestated(Fact, frozen=True, kw_only=True, tag="credit.CustomerRestated"):
    """A later workbook says something else of a customer than the one before."""

    customer_number: Number
    was: CustomerDetails
    is_: CustomerDetails = field(name="is")
    source: Source


class LoanRestated(Fact, frozen=True, kw_only=True, tag="credit.LoanRestated"):
    """A later workbook says something else of a loan than the one before."""

    loan_number: Number
    customer_number: Number
    was: LoanDetails
    is_: LoanDetails = field(name="is")
    source: Source


class LoansRestated(Fact, frozen=True, kw_only=True, tag="credit.LoansRestated"):
    """On the customer's stream: what is owed may have changed, which an approval must not miss."""

    customer_number: Number
    loan_numbers: tuple[Number, ...]
    ingestion_id: str


class RepaymentReceived(Fact, frozen=True, kw_only=True, tag="credit.RepaymentReceived"):
    """Money came on ``occurred_on``; ``installments_paid`` are those that it made full."""

    loan_number: Number
    customer_number: Number
    amount: Decimal
    reference: str | None
    installments_paid: tuple[int, ...]


class LoanPrepaid(Fact, frozen=True, kw_only=True, tag="credit.LoanPrepaid"):
    """Money came that lowered the principal, and what is left was agreed anew.

    ``amount`` and the part payment that was ``waiting`` are ``arrears``, ``accrued_interest`` and
    ``principal`` together. ``keep`` is None where it paid the loan off.
    """

    loan_number: Number
    customer_number: Number
    amount: Decimal
    reference: str | None
    installments_paid: tuple[int, ...]
    waiting: Decimal
    arrears: Decimal
    accrued_interest: Decimal
    principal: Decimal
    keep: Keep | None
    plan: Plan
    ends_on: date


class RepaymentReversed(Fact, frozen=True, kw_only=True, tag="credit.RepaymentReversed"):
    """A mistaken repayment is taken back: as is known since ``reversed_on``, it never came.

    ``repayment`` is the version of its fact in the loan's stream, ``occurred_on`` the day on which
    it was thought to have come.
    """

    loan_number: Number
    customer_number: Number
    repayment: int
    amount: Decimal
    reason: str
    reversed_on: date


class LoanWrittenOff(Fact, frozen=True, kw_only=True, tag="credit.LoanWrittenOff"):
    """The lender gave up on what is left; of an imported loan its principal is not known."""

    loan_number: Number
    customer_number: Number
    outstanding_principal: Decimal | None
    reason: str


class LoanBurdenRaised(Fact, frozen=True, kw_only=True, tag="credit.LoanBurdenRaised"):
    """On the customer's stream: a reversal raised what is owed, which an approval must not miss."""

    customer_number: Number
    loan_number: Number
    repayment: int
    amount: Decimal


class PolicyAdopted(Fact, frozen=True, kw_only=True, tag="credit.PolicyAdopted"):
    """The first decision under a policy was made; ``policy_hash`` is the SHA-256 of ``content``."""

    policy_hash: str
    name: str
    content: str


class IngestionRequested(Fact, frozen=True, kw_only=True, tag="credit.IngestionRequested"):
    """Two workbooks were handed in."""

    ingestion_id: str
    customers: Workbook
    loans: Workbook


class IngestionFinished(Fact, frozen=True, kw_only=True, tag="credit.IngestionFinished"):
    """Everything the two workbooks say is in the log, or reported."""

    ingestion_id: str
    customers: Counts
    loans: Counts


class IngestionFailed(Fact, frozen=True, kw_only=True, tag="credit.IngestionFailed"):
    """A workbook could not be read; nothing of it was recorded."""

    ingestion_id: str
    problem: str


CustomerEvent = (
    CustomerRegistered
    | CustomerImported
    | LoansImported
    | LoanApproved
    | LoanDeclined
    | LoanReferred
    | LoanBurdenRaised
    | CustomerCorrected
    | CustomerRestated
    | LoansRestated
)
LoanEvent = (
    LoanOpened
    | LoanImported
    | RepaymentReceived
    | LoanPrepaid
    | RepaymentReversed
    | LoanWrittenOff
    | LoanRestated
)
IngestionEvent = IngestionRequested | IngestionFinished | IngestionFailed
ApplicationEvent = ApplicationReferred | ApplicationApproved | ApplicationDeclined
Decision = LoanApproved | LoanDeclined | LoanReferred
Event = CustomerEvent | LoanEvent | ApplicationEvent | PolicyAdopted | IngestionEvent
