"""What the API answers about manual review."""

from datetime import date
from decimal import Decimal

from api.answers import Answer, LoanDecided, Requested
from credit_es.domain.review import Status
from credit_es.domain.values import Reason
from projections.status import Lag


class Referred(Answer, frozen=True, kw_only=True):
    """An application that a reviewer decides; ``Location`` is where it can be followed.

    ``GET /decisions/{decision_id}`` explains why it was referred.
    """

    application_id: str
    message: str
    decision_id: str


class Reviewed(LoanDecided, frozen=True, kw_only=True):
    """A reviewer's decision, recorded."""

    application_id: str


class ReviewView(Answer, frozen=True, kw_only=True):
    """An application referred to review; ``decide_by`` is the last day on which it may be decided.

    Rate, installment, score and ``reasons`` are those of the day it was referred; what is null is
    not decided yet, ``loan_id`` also where it was declined.
    """

    application_id: str
    customer_id: int
    status: Status
    requested: Requested
    corrected_interest_rate: Decimal
    monthly_installment: Decimal
    score: Decimal
    reasons: tuple[Reason, ...]
    asked_by: str
    referred_on: date
    decide_by: date
    decision_id: str | None
    loan_id: int | None
    decided_by: str | None
    decided_on: date | None
    note: str | None


class ReviewPage(Answer, frozen=True, kw_only=True):
    """Applications, those to be decided first first. The list may lag, and says by how much.

    ``next`` is null at its end.
    """

    reviews: list[ReviewView]
    lag: Lag
    next: str | None
