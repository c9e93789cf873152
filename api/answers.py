"""What the API answers. The same structs are encoded and described in the OpenAPI document.

They are msgspec structs, not pydantic models: what we wrote ourselves needs no check on the way out
and encodes ten times as fast. Ids, ages, incomes and limits are integers; amounts, rates and scores
are numbers of two decimals, written from ``Decimal`` and never by way of a float.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

import falcon
import msgspec
from msgspec import UNSET, Struct, UnsetType

from api.problems import Problem
from credit_es.domain.cells import Finding
from credit_es.domain.standing import Status
from credit_es.domain.values import Basis, Counts, Reason, Workbook
from credit_es.store import ingestions
from projections.status import Lag

ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
NUMBER: Final = {"type": "number", "multipleOf": 0.01}


class Answer(Struct, frozen=True, kw_only=True):
    """One JSON object."""


class Registered(Answer, frozen=True, kw_only=True):
    """A new customer, with the limit granted: 36 months' income to the nearest 100,000."""

    customer_id: int
    name: str
    age: int
    monthly_income: int
    approved_limit: int
    phone_number: int


class Eligibility(Answer, frozen=True, kw_only=True):
    """What an application would come to now. ``reasons`` say why not, or why at another rate."""

    customer_id: int
    approval: bool
    interest_rate: Decimal
    corrected_interest_rate: Decimal
    tenure: int
    monthly_installment: Decimal
    score: Decimal
    reasons: tuple[Reason, ...]


class LoanDecided(Answer, frozen=True, kw_only=True):
    """A decision, recorded; ``interest_rate`` is the corrected one, ``loan_id`` null if declined.

    ``GET /decisions/{decision_id}`` explains it.
    """

    loan_id: int | None
    customer_id: int
    loan_approved: bool
    message: str
    monthly_installment: Decimal
    interest_rate: Decimal
    decision_id: str
    reasons: tuple[Reason, ...]


class Borrower(Answer, frozen=True, kw_only=True):
    """Whose loan it is; null is what an import left unknown."""

    id: int
    first_name: str
    last_name: str
    phone_number: int | None
    age: int | None


class LoanItem(Answer, frozen=True, kw_only=True):
    """A loan; overdue where an installment is due, today included, and not paid.

    ``closed_on`` is when it was paid or written off, null also where only a workbook knows.
    ``source_loan_id`` is the id in the workbook that brought it, null for a loan granted here.
    """

    loan_id: int
    loan_amount: Decimal
    interest_rate: Decimal
    monthly_installment: Decimal
    tenure: int
    repayments_left: int
    status: Status
    closed_on: date | None
    approved_on: date
    end_date: date
    source_loan_id: str | None


class LoanView(LoanItem, frozen=True, kw_only=True):
    """A loan with its customer."""

    customer: Borrower


class CustomerItem(Answer, frozen=True, kw_only=True):
    """A customer; null is what an import left unknown."""

    customer_id: int
    first_name: str
    last_name: str
    phone_number: int | None
    age: int | None
    monthly_income: int
    approved_limit: int
    imported: bool


class Components(Answer, frozen=True, kw_only=True):
    """The parts of a score, in points."""

    paid_on_time: Decimal
    past_loans: Decimal
    activity: Decimal
    volume: Decimal


class CurrentLoans(Answer, frozen=True, kw_only=True):
    """What a customer owes now: how many loans, of which amount, with which installments."""

    count: int
    amount: Decimal
    monthly_installments: Decimal


class CustomerView(CustomerItem, frozen=True, kw_only=True):
    """A customer with the score as of a day; ``basis`` is the rule that the score comes from."""

    as_of: date
    score: Decimal
    basis: Basis
    components: Components
    current_loans: CurrentLoans


class CustomerPage(Answer, frozen=True, kw_only=True):
    """Customers by number. The list may lag, and says by how much; ``next`` is null at its end."""

    customers: list[CustomerItem]
    lag: Lag
    next: str | None


class Requested(Answer, frozen=True, kw_only=True):
    """What was applied for."""

    loan_amount: Decimal
    interest_rate: Decimal
    tenure: int


class Inputs(Answer, frozen=True, kw_only=True):
    """The counts and sums that a score and the limits were computed from."""

    monthly_income: int
    approved_limit: int
    installments_due: int
    installments_on_time: int
    closed_loans: int
    loans_this_year: int
    current_amount: Decimal
    current_installments: Decimal


class PolicyUsed(Answer, frozen=True, kw_only=True):
    """The policy that decided: its name, and the SHA-256 of what it says."""

    name: str
    hash: str


class LoanSeen(Answer, frozen=True, kw_only=True):
    """How far a loan's stream had been read."""

    loan_id: int
    version: int


class Seen(Answer, frozen=True, kw_only=True):
    """How far every stream had been read that the decision rests on."""

    customer_version: int
    loans: list[LoanSeen]


class ReasonInWords(Answer, frozen=True, kw_only=True):
    """A reason and a sentence with its figures."""

    code: Reason
    text: str


class DecisionView(Answer, frozen=True, kw_only=True):
    """A decision and everything it rests on; ``decided_on`` is its business date.

    ``application_id`` and ``note`` are null where the policy decided without a review.
    """

    decision_id: str
    customer_id: int
    loan_id: int | None
    approved: bool
    decided_on: date
    recorded_at: datetime
    actor: str
    correlation_id: str
    requested: Requested
    corrected_interest_rate: Decimal
    monthly_installment: Decimal
    score: Decimal
    basis: Basis
    components: Components
    inputs: Inputs
    policy: PolicyUsed
    seen: Seen
    reasons: list[ReasonInWords]
    application_id: str | None
    note: str | None


class DecisionPage(Answer, frozen=True, kw_only=True):
    """Decisions on one customer, the latest first; ``next`` is null at the end."""

    decisions: list[DecisionView]
    next: str | None


class Progress(Answer, frozen=True, kw_only=True):
    """Rows done, of rows there are."""

    done: int
    total: int


class RowCounts(Answer, frozen=True, kw_only=True):
    """What became of the rows of both workbooks; all zero until the ingestion has succeeded."""

    customers: Counts
    loans: Counts


class Workbooks(Answer, frozen=True, kw_only=True):
    """What was handed in."""

    customers: Workbook
    loans: Workbook


class IngestionItem(Answer, frozen=True, kw_only=True):
    """An ingestion; ``check`` ones record nothing, ``restate`` ones also what is said anew.

    ``problem`` says why one failed.
    """

    ingestion_id: str
    status: ingestions.Status
    progress: Progress
    counts: RowCounts
    check: bool
    restate: bool
    workbooks: Workbooks
    requested_at: datetime
    finished_at: datetime | None
    problem: str | UnsetType = UNSET


class IngestionView(IngestionItem, frozen=True, kw_only=True):
    """An ingestion with a page of its findings; ``next`` is null at their end."""

    findings: list[Finding]
    next: str | None


class IngestionPage(Answer, frozen=True, kw_only=True):
    """Ingestions, the latest first; ``next`` is null at the end."""

    ingestions: list[IngestionItem]
    next: str | None


class Accepted(Answer, frozen=True, kw_only=True):
    """An ingestion that is queued; ``Location`` is where it can be followed."""

    ingestion_id: str
    status: Literal["queued"]


class Alive(Answer, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["alive"]


class ProjectionState(Answer, frozen=True, kw_only=True):
    """How far one read table is behind; ``problem`` is what stopped it."""

    projection: str
    version: int
    position: int
    lag: Lag
    problem: str | None


class Ready(Answer, frozen=True, kw_only=True):
    """The service works; ``degraded`` names what does not, and what then only comes later."""

    status: Literal["ready"]
    degraded: list[Literal["redis", "worker", "projector", "poison", "replica"]]
    projections: list[ProjectionState]


def answer(resp: falcon.Response, content: Answer | Iterable[Answer]) -> None:
    """Write one answer as JSON, and end its line: a shell's prompt or the next answer follows."""
    resp.data = ENCODER.encode(content) + b"\n"


def schemas(of: Iterable[Any]) -> tuple[Mapping[Any, Any], dict[str, Any]]:
    """The JSON Schema of each answer type, and the components that these refer to."""
    types = [*of, Problem]
    refs, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    return dict(zip(map(str, types), refs, strict=True)), _numbers(components)


def _numbers(schema: Any) -> Any:
    """Every Decimal as the number that we write, where msgspec says string."""
    if isinstance(schema, dict):
        if schema.get("format") == "decimal":
            return {**{k: v for k, v in schema.items() if k not in {"type", "format"}}, **NUMBER}
        return {key: _numbers(value) for key, value in schema.items()}
    return [_numbers(value) for value in schema] if isinstance(schema, list) else schema
