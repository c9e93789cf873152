"""Pydantic models of what auditors ask in a query."""

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.fields import (
    LARGEST_ID,
    STORABLE,
    Day,
    Instant,
    Kind,
    PageLength,
    QueryAmount,
    QueryId,
    from_digits,
)
from api.requests import Request
from credit_es.domain.policy import shipped_policies
from projections.facts import Wanted

if TYPE_CHECKING:
    from credit_es.audit.export import Selection

POLICIES: Final = tuple(shipped_policies())


def _shipped(name: str) -> str:
    if name not in POLICIES:
        raise PydanticCustomError(
            "policy", f"Input should be a policy that is shipped: {', '.join(POLICIES)}"
        )
    return name


def _after_from(last: Any, info: ValidationInfo) -> Any:
    """The end of a range, which has its beginning as ``..._from`` before it in the model."""
    assert info.field_name is not None
    begins = f"{info.field_name.removesuffix('_to')}_from"
    first = info.data.get(begins)
    if first is not None and first > last:
        raise PydanticCustomError(
            "range",
            f"Input should not come before {begins}: exchange the two, or leave one of them out",
        )
    return last


def _listed(given: Any) -> Any:
    """A parameter that may be given several times, and was given once."""
    return [given] if isinstance(given, str) else given


PolicyName = Annotated[
    str, AfterValidator(_shipped), WithJsonSchema({"type": "string", "enum": list(POLICIES)})
]
Until: Final = AfterValidator(_after_from)
After = Annotated[int, Field(ge=0, le=LARGEST_ID), BeforeValidator(from_digits)]
Page = Annotated[int, Field(ge=1, le=1000), BeforeValidator(from_digits)]


class KnownQuery(Request):
    """And as known at which instant, beside what is known now."""

    known_at: Instant | None = None


class FactsQuery(Request):
    """What facts are searched for; all that is given must hold. ``before`` is for a next page.

    ``kind`` is such as LoanApproved; days and amounts are inclusive, ``recorded_to`` is not. What
    was recorded goes by instants with a time zone, what was true by days.
    """

    actor: Annotated[str, Field(min_length=1, max_length=100, pattern=STORABLE)] | None = None
    kind: Kind | None = None
    customer_id: QueryId | None = None
    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=STORABLE)] | None = None
    amount_from: QueryAmount | None = None
    amount_to: Annotated[QueryAmount, Until] | None = None
    occurred_from: Day | None = None
    occurred_to: Annotated[Day, Until] | None = None
    recorded_from: Instant | None = None
    recorded_to: Annotated[Instant, Until] | None = None
    before: QueryId | None = None
    limit: PageLength = 20

    def wanted(self) -> Wanted:
        """The search in the index's words."""
        return Wanted(
            actor=self.actor,
            topic=f"credit.{self.kind}" if self.kind else None,
            customer_number=self.customer_id,
            reason=self.reason,
            amount_from=self.amount_from,
            amount_to=self.amount_to,
            occurred_from=self.occurred_from,
            occurred_to=self.occurred_to,
            recorded_from=self.recorded_from,
            recorded_to=self.recorded_to,
        )


class HistoryQuery(Request):
    """A page of a history; ``after`` is the version of the last fact of the page before."""

    after: After = 0
    limit: Page = 100


class ReplaysQuery(Request):
    """A page of customers; ``after`` is where the page before ended."""

    after: After = 0
    limit: Page = 100


class BacktestQuery(Request):
    """Which shipped policy is to judge, and beside which; days of decisions, both included.

    Without ``against`` it is compared with what was decided.
    """

    policy: PolicyName
    against: PolicyName | None = None
    first: Annotated[Day | None, Field(alias="from")] = None
    last: Annotated[Day | None, Field(alias="to")] = None


class ExportQuery(Request):
    """Which facts, as which files; all facts by default. ``kind`` may be given several times.

    ``recorded_to`` is excluded. ``upto`` leaves out what stands behind that position.
    """

    format: Literal["jsonl", "csv", "parquet"] = "jsonl"
    customer_id: QueryId | None = None
    kind: Annotated[list[Kind], BeforeValidator(_listed)] = Field(default=[], max_length=100)
    recorded_from: Instant | None = None
    recorded_to: Annotated[Instant, Until] | None = None
    upto: QueryId | None = None

    def selection(self) -> "Selection":
        """The facts that are meant, in the export's words."""
        from credit_es.audit.export import Selection  # noqa: PLC0415 - pyarrow is 40 MiB

        return Selection(
            customer=self.customer_id,
            kinds=tuple(f"credit.{kind}" for kind in self.kind),
            recorded_from=self.recorded_from,
            recorded_to=self.recorded_to,
        )
