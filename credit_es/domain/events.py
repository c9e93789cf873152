"""Every fact the log can hold. A tag is the stored topic: it never changes, nor does its meaning.

A fact says what was true in business time (``occurred_on``); when we learned it, and from whom, is
said by the log entry around it. Money is ``Decimal`` of two places, rates are per cent a year.
A new field gets a default; a changed meaning is a new fact.
"""

from datetime import date
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct


class Reason(StrEnum):
    """Why an application was decided as it was."""

    OVER_LIMIT = "OVER_LIMIT"
    INSTALLMENT_BURDEN = "INSTALLMENT_BURDEN"
    LOW_SCORE = "LOW_SCORE"
    RATE_CORRECTED = "RATE_CORRECTED"


class Basis(StrEnum):
    """Which rule a score comes from."""

    THIN_FILE = "THIN_FILE"
    OVER_LIMIT = "OVER_LIMIT"
    COMPONENTS = "COMPONENTS"


class Terms(Struct, frozen=True, kw_only=True):
    """What was asked for; ``annual_rate`` as requested, before any correction."""

    amount: Decimal
    annual_rate: Decimal
    tenure_months: int


class Scorecard(Struct, frozen=True, kw_only=True):
    """A score of 0-100, its components in points, and the counts and amounts they come from.

    All points are rounded half up to two places; decisions compare the exact score.
    """

    score: Decimal
    basis: Basis
    paid_on_time: Decimal
    past_loans: Decimal
    activity: Decimal
    volume: Decimal
    installments_due: int
    installments_on_time: int
    closed_loans: int
    loans_this_year: int
    current_amount: Decimal
    current_installments: Decimal


class Verdict(Struct, frozen=True, kw_only=True):
    """What a policy said: the corrected rate, the installment at that rate, and why."""

    approved: bool
    annual_rate: Decimal
    installment: Decimal
    reasons: tuple[Reason, ...]
    scorecard: Scorecard
    policy: str
    policy_hash: str


class LoanSeen(Struct, frozen=True, kw_only=True):
    """How far a loan's stream had been folded."""

    loan_number: int
    version: int


class Seen(Struct, frozen=True, kw_only=True):
    """What a decision knew: the version of every stream it folded, and the customer's figures."""

    customer_version: int
    monthly_income: Decimal
    approved_limit: Decimal
    loans: tuple[LoanSeen, ...]


class Source(Struct, frozen=True, kw_only=True):
    """The place in an ingested workbook that says so; ``row`` is the one Excel shows."""

    ingestion_id: str
    sheet: str
    row: int


class ImportedLoan(Struct, frozen=True, kw_only=True):
    """Which loan a workbook's id means; the id and the customer together are its identity."""

    loan_number: int
    source_loan_id: str


class Workbook(Struct, frozen=True, kw_only=True):
    """An uploaded workbook, kept in the store under its hash."""

    name: str
    sha256: str


class Counts(Struct, frozen=True, kw_only=True):
    """What became of the rows of one workbook.

    ``read`` = recorded + unchanged + conflicting + rejected; blank rows are not read.
    """

    read: int = 0
    recorded: int = 0
    unchanged: int = 0
    conflicting: int = 0
    rejected: int = 0
    blank: int = 0


class Fact(Struct, frozen=True, kw_only=True):
    """Something that happened, in business time; never edited, only followed."""

    occurred_on: date


class CustomerRegistered(Fact, frozen=True, kw_only=True, tag="credit.CustomerRegistered"):
    """A customer asked to be known, and was granted a limit."""

    customer_number: int
    first_name: str
    last_name: str
    age: int
    phone_number: int
    monthly_income: Decimal
    approved_limit: Decimal


class CustomerImported(Fact, frozen=True, kw_only=True, tag="credit.CustomerImported"):
    """A customer as the lender's workbook says; what it leaves out is None."""

    customer_number: int
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

    customer_number: int
    loans: tuple[ImportedLoan, ...]
    ingestion_id: str


class LoanApproved(Fact, frozen=True, kw_only=True, tag="credit.LoanApproved"):
    """A decision for: on the customer's stream, beside the loan it opened."""

    customer_number: int
    loan_number: int
    terms: Terms
    verdict: Verdict
    seen: Seen


class LoanDeclined(Fact, frozen=True, kw_only=True, tag="credit.LoanDeclined"):
    """A decision against: no loan exists, the reasons do."""

    customer_number: int
    terms: Terms
    verdict: Verdict
    seen: Seen

    @property
    def loan_number(self) -> None:
        """Of the loan a decision opened: here none."""
        return None


class LoanOpened(Fact, frozen=True, kw_only=True, tag="credit.LoanOpened"):
    """The first fact of a loan granted here, with everything the contract fixes."""

    loan_number: int
    customer_number: int
    amount: Decimal
    annual_rate: Decimal
    tenure_months: int
    installment: Decimal
    ends_on: date


class LoanImported(Fact, frozen=True, kw_only=True, tag="credit.LoanImported"):
    """A loan as the lender's workbook says; ``occurred_on`` is its date of approval."""

    loan_number: int
    customer_number: int
    source_loan_id: str
    amount: Decimal
    annual_rate: Decimal
    tenure_months: int
    installment: Decimal
    emis_on_time: int
    ends_on: date
    source: Source


class Plan(Struct, frozen=True, kw_only=True):
    """The rest of a loan's schedule, as agreed: installments ``after + 1`` to ``last``.

    ``principal`` is owed when it begins. A plan that begins within a month (``begins_on``) has
    ``first_interest`` for the rest of that month. Where ``last`` is ``after`` nothing is left.
    """

    after: int
    last: int
    principal: Decimal
    installment: Decimal
    begins_on: date | None = None
    first_interest: Decimal | None = None


class Keep(StrEnum):
    """What a prepayment leaves as it was, while it lowers the other."""

    INSTALLMENT = "installment"
    TENURE = "tenure"


class RepaymentReceived(Fact, frozen=True, kw_only=True, tag="credit.RepaymentReceived"):
    """Money came on ``occurred_on``; ``installments_paid`` are those that it made full."""

    loan_number: int
    customer_number: int
    amount: Decimal
    reference: str | None
    installments_paid: tuple[int, ...]


class LoanPrepaid(Fact, frozen=True, kw_only=True, tag="credit.LoanPrepaid"):
    """Money came that lowered the principal, and what is left was agreed anew.

    ``amount`` and the part payment that was ``waiting`` are ``arrears``, ``accrued_interest`` and
    ``principal`` together. ``keep`` is None where it paid the loan off.
    """

    loan_number: int
    customer_number: int
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

    loan_number: int
    customer_number: int
    repayment: int
    amount: Decimal
    reason: str
    reversed_on: date


class LoanWrittenOff(Fact, frozen=True, kw_only=True, tag="credit.LoanWrittenOff"):
    """The lender gave up on what is left; of an imported loan its principal is not known."""

    loan_number: int
    customer_number: int
    outstanding_principal: Decimal | None
    reason: str


class LoanBurdenRaised(Fact, frozen=True, kw_only=True, tag="credit.LoanBurdenRaised"):
    """On the customer's stream: a reversal raised what is owed, which an approval must not miss."""

    customer_number: int
    loan_number: int
    repayment: int
    amount: Decimal


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
    | LoanBurdenRaised
)
LoanEvent = (
    LoanOpened | LoanImported | RepaymentReceived | LoanPrepaid | RepaymentReversed | LoanWrittenOff
)
IngestionEvent = IngestionRequested | IngestionFinished | IngestionFailed
Decision = LoanApproved | LoanDeclined
Event = CustomerEvent | LoanEvent | IngestionEvent
