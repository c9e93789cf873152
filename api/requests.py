"""Pydantic models of everything that is asked: bodies, queries and the ids in paths.

The OpenAPI document is made of these models, so it says what is checked. A request is checked as a
whole: every fault of it is named at once.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import models_json_schema
from pydantic_core import PydanticCustomError

from api.fields import (
    DECISION_ID,
    LARGEST_ID,
    PHONE_SCHEMA,
    UUID_TEXT,
    Amount,
    Day,
    Id,
    Name,
    PageLength,
    PhoneNumber,
    QueryId,
    Rate,
    Reason,
    from_digits,
    from_words,
    whole,
)
from api.problems import Fault, InvalidError, Location
from credit_es.domain.customer import KNOWN, CorrectCustomer, RegisterCustomer
from credit_es.domain.lending import ApplyForLoan
from credit_es.domain.repaying import Repay
from credit_es.domain.values import CustomerDetails, Keep, Terms

M = TypeVar("M", bound=BaseModel)


class Request(BaseModel):
    """Fields that nobody asked for are ignored; no field is converted on a guess."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class RegisterRequest(Request):
    """Somebody to be known; ``monthly_income`` in whole units of the account currency.

    Names are trimmed, and have 1 to 100 printable characters then. A phone number has 7 to 15
    digits, leading zeros not counted.
    """

    first_name: Name
    last_name: Name
    age: Annotated[int, Field(ge=18, le=120)]
    monthly_income: Annotated[int, Field(ge=0, le=10**9)]
    phone_number: PhoneNumber

    def command(self) -> RegisterCustomer:
        """The registration in the domain's words."""
        return RegisterCustomer(
            first_name=self.first_name,
            last_name=self.last_name,
            age=self.age,
            phone_number=self.phone_number,
            monthly_income=self.monthly_income,
        )


class LoanRequest(Request):
    """A loan asked for; ``interest_rate`` in per cent a year, ``tenure`` in months.

    Amount and rate have at most two decimals.
    """

    customer_id: Id
    loan_amount: Amount
    interest_rate: Rate
    tenure: Annotated[int, Field(ge=1, le=600)]

    def command(self) -> ApplyForLoan:
        """The application in the domain's words."""
        return ApplyForLoan(
            customer_number=self.customer_id,
            terms=Terms(
                amount=self.loan_amount,
                annual_rate=self.interest_rate,
                tenure_months=self.tenure,
            ),
        )


class RepaymentRequest(Request):
    """Money that came for a loan on ``paid_on``; ``reference`` is unique within the loan.

    ``prepay`` lowers the principal, or pays the loan off; what is left of the loan then keeps its
    installment and gets shorter, or keeps its tenure and gets lower installments.
    """

    amount: Amount
    paid_on: Day
    reference: Name | None = None
    prepay: bool = False
    keep: Literal["installment", "tenure"] = "installment"

    def command(self, loan_number: int) -> Repay:
        """The repayment in the domain's words."""
        return Repay(
            loan_number=loan_number,
            amount=self.amount,
            paid_on=self.paid_on,
            reference=self.reference,
            prepay=self.prepay,
            keep=Keep(self.keep),
        )


class CorrectionRequest(Request):
    """What was wrong of a customer, since ``effective_on``; at least one field.

    The limit of a registered customer follows the income, unless it is corrected itself.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
                for name in KNOWN
            ]
        }
    )

    first_name: Name | None = None
    last_name: Name | None = None
    age: Annotated[int, Field(ge=18, le=120)] | None = None
    phone_number: PhoneNumber | None = None
    monthly_income: Annotated[int, Field(ge=0, le=10**9)] | None = None
    approved_limit: Annotated[int, Field(ge=0, le=10**12)] | None = None
    effective_on: Day
    reason: Reason

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if all(getattr(self, name) is None for name in KNOWN):
            raise PydanticCustomError(
                "nothing", f"Input should have a field to be corrected: {', '.join(KNOWN)}"
            )
        return self

    def command(self, customer_number: int) -> CorrectCustomer:
        """The correction in the domain's words."""
        return CorrectCustomer(
            customer_number=customer_number,
            details=CustomerDetails(
                first_name=self.first_name,
                last_name=self.last_name,
                age=self.age,
                phone_number=self.phone_number,
                monthly_income=whole(self.monthly_income),
                approved_limit=whole(self.approved_limit),
            ),
            effective_on=self.effective_on,
            reason=self.reason,
        )


class ReasonRequest(Request):
    """Why something is taken back or given up: 1 to 500 printable characters after trimming."""

    reason: Reason


class NoteRequest(Request):
    """Why an application is approved or declined: 1 to 500 printable characters after trimming."""

    note: Reason


class ReviewsQuery(Request):
    """Applications of one status; ``after`` is the last id of the page before."""

    status: Literal["pending", "approved", "declined", "expired", "all"] = "pending"
    after: Annotated[str, Field(pattern=DECISION_ID)] | None = None
    limit: PageLength = 20


class DayQuery(Request):
    """As of which day; today where it is left out."""

    on: Day | None = None


class StatementQuery(Request):
    """The days of a statement, both included: from the first loan on, until today."""

    first: Annotated[Day | None, Field(alias="from")] = None
    last: Annotated[Day | None, Field(alias="to")] = None


class LoansQuery(Request):
    """Which loans of a customer."""

    status: Literal["current", "closed", "all"] = "current"


class CustomersQuery(Request):
    """Customers by phone; ``after`` is the last id of the page before."""

    phone_number: Annotated[
        PhoneNumber, WithJsonSchema({**PHONE_SCHEMA["anyOf"][1], "type": "string"})
    ]
    after: Annotated[int, Field(ge=0, le=LARGEST_ID), BeforeValidator(from_digits)] = 0
    limit: PageLength = 20


class DecisionsQuery(Request):
    """A page of decisions; ``before`` is the version of the last one of the page before."""

    before: QueryId | None = None
    limit: PageLength = 20


class IngestionsQuery(Request):
    """A page of ingestions; ``before`` is the last id of the page before."""

    before: Annotated[str, Field(pattern=UUID_TEXT)] | None = None
    limit: PageLength = 20


class FindingsQuery(Request):
    """A page of findings; ``after`` is how many came on the pages before."""

    after: Annotated[int, Field(ge=0, le=LARGEST_ID), BeforeValidator(from_digits)] = 0
    limit: Annotated[int, Field(ge=1, le=1000), BeforeValidator(from_digits)] = 100


class IngestionQuery(Request):
    """``check`` reports what an ingestion would do, and records nothing.

    ``restate`` records what the workbooks say anew of known customers and loans.
    """

    check: Annotated[bool, BeforeValidator(from_words)] = False
    restate: Annotated[bool, BeforeValidator(from_words)] = False


def valid(
    model: type[M], given: Any, *, location: Location = "body", besides: Sequence[Fault] = ()
) -> M:
    """Check ``given``; raises ``InvalidError`` with all its faults, and those found ``besides``."""
    try:
        checked = model.model_validate(given)
    except ValidationError as error:
        raise InvalidError([*besides, *_faults(error, location)]) from None
    if besides:
        raise InvalidError(besides)
    return checked


def schemas(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """The components of these models, by name."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    components: dict[str, Any] = definitions.get("$defs", {})
    return components


# pydantic names Python's classes here, and a caller knows only JSON.
_FOR_PEOPLE: Final = {
    "is_instance_of": ("number_type", "Input should be a JSON number"),
    "model_type": ("object_type", "Input should be a JSON object"),
}


def _faults(error: ValidationError, location: Location) -> list[Fault]:
    return [
        Fault(
            location=location,
            pointer=_pointer(found["loc"]),
            code=_FOR_PEOPLE.get(found["type"], (found["type"], ""))[0],
            detail=_FOR_PEOPLE.get(found["type"], ("", found["msg"]))[1],
        )
        for found in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _pointer(place: tuple[int | str, ...]) -> str:
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in place)
    return "".join(f"/{step}" for step in steps)
