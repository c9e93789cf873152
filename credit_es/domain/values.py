"""What facts are made of: terms, verdicts, plans, the places in a workbook. Stored, so fields stay.

Money is ``Decimal`` of two places, rates are per cent a year. A new field gets a default.
"""

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct

Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]
"""A customer's or a loan's; a fact with one that no table holds is damaged, and is not decoded."""


class Basis(StrEnum):
    """Which rule a score comes from."""

    THIN_FILE = "THIN_FILE"
    OVER_LIMIT = "OVER_LIMIT"
    COMPONENTS = "COMPONENTS"


class Counts(Struct, frozen=True, kw_only=True, gc=False):
    """What became of the rows of one workbook.

    ``read`` = recorded + unchanged + conflicting + rejected; blank rows are not read.
    """

    read: int = 0
    recorded: int = 0
    unchanged: int = 0
    conflicting: int = 0
    rejected: int = 0
    blank: int = 0


class ImportedLoan(Struct, frozen=True, kw_only=True, gc=False):
    """Which loan a workbook's id means; the id and the customer together are its identity."""

    loan_number: Number
    source_loan_id: str


class LoanSeen(Struct, frozen=True, kw_only=True, gc=False):
    """How far a loan's stream had been folded."""

    loan_number: Number
    version: int


class Reason(StrEnum):
    """Why an application was decided as it was."""

    OVER_LIMIT = "OVER_LIMIT"
    INSTALLMENT_BURDEN = "INSTALLMENT_BURDEN"
    LOW_SCORE = "LOW_SCORE"
    RATE_CORRECTED = "RATE_CORRECTED"
    AMOUNT_REFERRED = "AMOUNT_REFERRED"
    SCORE_REFERRED = "SCORE_REFERRED"
    THIN_FILE_REFERRED = "THIN_FILE_REFERRED"
    DECLINED_IN_REVIEW = "DECLINED_IN_REVIEW"


REFERRALS: Final = frozenset(
    {Reason.AMOUNT_REFERRED, Reason.SCORE_REFERRED, Reason.THIN_FILE_REFERRED}
)
"""Why a policy leaves an application to a reviewer that it would approve otherwise."""


class Scorecard(Struct, frozen=True, kw_only=True, gc=False):
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


class Seen(Struct, frozen=True, kw_only=True, gc=False):
    """What a decision knew: the version of every stream it folded, and the customer's figures."""

    customer_version: int
    monthly_income: Decimal
    approved_limit: Decimal
    loans: tuple[LoanSeen, ...]


class Source(Struct, frozen=True, kw_only=True, gc=False):
    """The place in an ingested workbook that says so; ``row`` is the one Excel shows."""

    ingestion_id: str
    sheet: str
    row: int


class Terms(Struct, frozen=True, kw_only=True, gc=False):
    """What was asked for; ``annual_rate`` as requested, before any correction."""

    amount: Decimal
    annual_rate: Decimal
    tenure_months: int


class Verdict(Struct, frozen=True, kw_only=True, gc=False):
    """What a policy said: the corrected rate, the installment at that rate, and why."""

    approved: bool
    annual_rate: Decimal
    installment: Decimal
    reasons: tuple[Reason, ...]
    scorecard: Scorecard
    policy: str
    policy_hash: str

    @property
    def referred(self) -> bool:
        """Whether it is neither approved nor declined, but for a reviewer to decide."""
        return not REFERRALS.isdisjoint(self.reasons)


class Workbook(Struct, frozen=True, kw_only=True, gc=False):
    """An uploaded workbook, kept in the store under its hash."""

    name: str
    sha256: str


class CustomerDetails(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some of what is known of a customer; None is what is not meant."""

    first_name: str | None = None
    last_name: str | None = None
    age: int | None = None
    phone_number: int | None = None
    monthly_income: Decimal | None = None
    approved_limit: Decimal | None = None
    current_debt: Decimal | None = None


class LoanDetails(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some of what a workbook says of a loan, besides whose, how much and since when."""

    annual_rate: Decimal | None = None
    tenure_months: int | None = None
    installment: Decimal | None = None
    emis_on_time: int | None = None
    ends_on: date | None = None


class Keep(StrEnum):
    """What a prepayment leaves as it was, while it lowers the other."""

    INSTALLMENT = "installment"
    TENURE = "tenure"


class Plan(Struct, frozen=True, kw_only=True, gc=False):
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
