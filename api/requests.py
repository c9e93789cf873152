"""Pydantic models of everything that is asked: bodies, queries and the ids in paths.

The OpenAPI document is made of these models, so it says what is checked. A request is checked as a
whole: every fault of it is named at once.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic.json_schema import models_json_schema
from pydantic_core import PydanticCustomError

from api.problems import Fault, InvalidError, Location
from credit_es.domain.customer import RegisterCustomer
from credit_es.domain.events import Terms
from credit_es.domain.lending import ApplyForLoan

M = TypeVar("M", bound=BaseModel)

CENT: Final = Decimal("0.01")
PLACES: Final = 2
LARGEST_ID: Final = 2**53 - 1
"""The largest integer that every JSON reader takes exactly."""

# Written so that Python, ECMAScript and Rust read the same: the document must say what is checked.
# White space around is trimmed. In between, whatever prints: no controls, no line separators, no
# marks that turn the direction of text or take no room. Joiners print, but not as first or last.
_SPACE: Final = r"\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_HIDDEN: Final = r"\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e"
_NEVER: Final = _HIDDEN + r"\u2060-\u206f\ufeff\ufff0-\uffff"
_EDGE: Final = rf"[^{_NEVER}\u200c\u200d\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]"
NAME: Final = rf"^[{_SPACE}]*({_EDGE}([^{_NEVER}]{{0,98}}{_EDGE})?)[{_SPACE}]*$"
PHONE: Final = r"^0*[1-9][0-9]{6,14}$"
UUID_TEXT: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
DECISION_ID: Final = r"^[1-9][0-9]{0,12}-[1-9][0-9]{0,12}$"
HEADER_TEXT: Final = r"^[!-~]([ -~]{0,%d}[!-~])?$"

_NAME: Final = re.compile(NAME)
_PHONE: Final = re.compile(PHONE)
_UUID: Final = re.compile(UUID_TEXT)
_DIGITS: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_LONGEST_PHONE: Final = 15


def _trimmed(value: str) -> str:
    found = _NAME.fullmatch(value)
    if found is None:
        raise PydanticCustomError(
            "name", "Input should be 1 to 100 printable characters after trimming"
        )
    return found[1]


def _phone_digits(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if len(value) > _LONGEST_PHONE or not _PHONE.fullmatch(value):
        raise PydanticCustomError(
            "phone_number", "Input should be 7 to 15 digits, leading zeros not counted"
        )
    return int(value)


def _exact(value: Any) -> Any:
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _cents(value: Decimal) -> Decimal:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if -exponent > PLACES:
        raise PydanticCustomError("decimal_max_places", "Input should have at most two decimals")
    return value.quantize(CENT)


def _from_digits(value: Any) -> Any:
    """A query's integer; all other text is left for pydantic to refuse."""
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value


def _from_words(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


PHONE_SCHEMA: Final = {
    "anyOf": [
        {"type": "integer", "minimum": 10**6, "maximum": 10**_LONGEST_PHONE - 1},
        {"type": "string", "pattern": PHONE, "minLength": 7, "maxLength": _LONGEST_PHONE},
    ]
}
ID_SCHEMA: Final = {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}

Name = Annotated[str, AfterValidator(_trimmed), WithJsonSchema({"type": "string", "pattern": NAME})]
PhoneNumber = Annotated[
    int,
    Field(ge=10**6, lt=10**_LONGEST_PHONE),
    BeforeValidator(_phone_digits),
    WithJsonSchema(PHONE_SCHEMA),
]
Amount = Annotated[
    Decimal,
    Field(gt=0, le=10**12),
    BeforeValidator(_exact),
    AfterValidator(_cents),
    WithJsonSchema(
        {"type": "number", "exclusiveMinimum": 0, "maximum": 10**12, "multipleOf": 0.01}
    ),
]
Rate = Annotated[
    Decimal,
    Field(ge=0, le=100),
    BeforeValidator(_exact),
    AfterValidator(_cents),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.01}),
]
Id = Annotated[int, Field(ge=1, le=LARGEST_ID)]
QueryId = Annotated[int, Field(ge=1, le=LARGEST_ID), BeforeValidator(_from_digits)]
PageLength = Annotated[int, Field(ge=1, le=100), BeforeValidator(_from_digits)]

PATH_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "customer_id": ID_SCHEMA,
    "loan_id": ID_SCHEMA,
    "decision_id": {"type": "string", "pattern": DECISION_ID},
    "ingestion_id": {"type": "string", "format": "uuid", "pattern": UUID_TEXT},
}


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


class LoansQuery(Request):
    """Which loans of a customer."""

    status: Literal["current", "closed", "all"] = "current"


class CustomersQuery(Request):
    """Customers by phone; ``after`` is the last id of the page before."""

    phone_number: Annotated[
        PhoneNumber, WithJsonSchema({**PHONE_SCHEMA["anyOf"][1], "type": "string"})
    ]
    after: Annotated[int, Field(ge=0, le=LARGEST_ID), BeforeValidator(_from_digits)] = 0
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

    after: Annotated[int, Field(ge=0, le=LARGEST_ID), BeforeValidator(_from_digits)] = 0
    limit: Annotated[int, Field(ge=1, le=1000), BeforeValidator(_from_digits)] = 100


class CheckQuery(Request):
    """``check`` reports what an ingestion would do, and records nothing."""

    check: Annotated[bool, BeforeValidator(_from_words)] = False


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


def path_number(text: str) -> int | None:
    """The id that a path names, None where it is none that anything could have."""
    number = int(text) if _DIGITS.fullmatch(text) else 0
    return number if 1 <= number <= LARGEST_ID else None


def path_uuid(text: str) -> UUID | None:
    """The id of an ingestion that a path names, None where it is none."""
    return UUID(text) if _UUID.fullmatch(text) else None


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
