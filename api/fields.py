"""The kinds of fields that are asked for: what each accepts, and its JSON Schema.

Each says in its schema exactly what it checks; no value is converted on a guess.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.problems import NotThereError
from credit_es.store.mapper import TOPICS

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
_TEXT: Final = rf"^[{_SPACE}]*({_EDGE}([^{_NEVER}]{{0,%d}}{_EDGE})?)[{_SPACE}]*$"
NAME: Final = _TEXT % 98
REASON: Final = _TEXT % 498
STORABLE: Final = r"^[^\x00]*$"
PHONE: Final = r"^0*[1-9][0-9]{6,14}$"
UUID_TEXT: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
DECISION_ID: Final = r"^[1-9][0-9]{0,12}-[1-9][0-9]{0,12}$"
SUBJECT_ID: Final = r"^[1-9][0-9]{0,15}(-[1-9][0-9]{0,12})?$"
HEADER_TEXT: Final = r"^[!-~]([ -~]{0,%d}[!-~])?$"

DAY: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_CLOCK: Final = r"T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?"
INSTANT: Final = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}{_CLOCK}(Z|[+-][0-9]{{2}}:[0-9]{{2}})$"
_NAME: Final = re.compile(NAME)
_REASON: Final = re.compile(REASON)
_DAY: Final = re.compile(DAY)
AMOUNT: Final = r"^[0-9]{1,13}([.][0-9]{1,2})?$"
KINDS: Final = tuple(sorted(name.removeprefix("credit.") for name in TOPICS))
_AMOUNT: Final = re.compile(AMOUNT)
_INSTANT: Final = re.compile(INSTANT)
_PHONE: Final = re.compile(PHONE)
_UUID: Final = re.compile(UUID_TEXT)
_DECISION_ID: Final = re.compile(DECISION_ID, re.ASCII)
_DIGITS: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_LONGEST_PHONE: Final = 15


def _trimmed(value: str) -> str:
    found = _NAME.fullmatch(value)
    if found is None:
        raise PydanticCustomError(
            "name", "Input should be 1 to 100 printable characters after trimming"
        )
    return found[1]


def _reason(value: str) -> str:
    found = _REASON.fullmatch(value)
    if found is None:
        raise PydanticCustomError(
            "text", "Input should be 1 to 500 printable characters after trimming"
        )
    return found[1]


def _day(value: Any) -> date:
    day = path_day(value) if isinstance(value, str) else None
    if day is None:
        raise PydanticCustomError("date", "Input should be a date, written as 2026-01-31")
    return day


def _instant(value: Any) -> datetime:
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(value).astimezone(UTC)
    raise PydanticCustomError(
        "instant",
        "Input should be an instant with its time zone, written as 2026-01-31T09:30:00Z or, in a"
        " query, 2026-01-31T15:00:00%2B05:30",
    )


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


def _kind(value: str) -> str:
    if value not in KINDS:
        raise PydanticCustomError("kind", "Input should be a kind of fact, such as LoanApproved")
    return value


def _amount(value: Any) -> Decimal:
    if isinstance(value, str) and _AMOUNT.fullmatch(value):
        return Decimal(value)
    raise PydanticCustomError("amount", "Input should be an amount, written as 1000.50")


def from_digits(value: Any) -> Any:
    """A query's integer; all other text is left for pydantic to refuse."""
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value


def from_words(value: Any) -> Any:
    """A query's yes or no; all other text is left for pydantic to refuse."""
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
Reason = Annotated[
    str, AfterValidator(_reason), WithJsonSchema({"type": "string", "pattern": REASON})
]
Day = Annotated[
    date,
    BeforeValidator(_day),
    WithJsonSchema({"type": "string", "format": "date", "pattern": DAY}),
]
Kind = Annotated[
    str, AfterValidator(_kind), WithJsonSchema({"type": "string", "enum": list(KINDS)})
]
QueryAmount = Annotated[
    Decimal,
    BeforeValidator(_amount),
    WithJsonSchema({"type": "string", "pattern": AMOUNT}),
]
Id = Annotated[int, Field(ge=1, le=LARGEST_ID)]
QueryId = Annotated[int, Field(ge=1, le=LARGEST_ID), BeforeValidator(from_digits)]
PageLength = Annotated[int, Field(ge=1, le=100), BeforeValidator(from_digits)]

DAY_SCHEMA: Final = {"type": "string", "format": "date", "pattern": DAY}
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": INSTANT}),
]

PATH_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "customer_id": ID_SCHEMA,
    "loan_id": ID_SCHEMA,
    "decision_id": {"type": "string", "pattern": DECISION_ID},
    "repayment_id": {"type": "string", "pattern": DECISION_ID},
    "subject": {"type": "string", "enum": ["customer", "loan", "application"]},
    "subject_id": {"type": "string", "pattern": SUBJECT_ID},
    "application_id": {"type": "string", "pattern": DECISION_ID},
    "ingestion_id": {"type": "string", "format": "uuid", "pattern": UUID_TEXT},
    "on": DAY_SCHEMA,
    "before": DAY_SCHEMA,
    "after": DAY_SCHEMA,
    "aggregate": {"type": "string", "enum": ["customer", "loan"]},
    "aggregate_id": ID_SCHEMA,
}


def path_day(text: str) -> date | None:
    """The day that a path names, None where it is none."""
    with suppress(ValueError):
        return date.fromisoformat(text) if _DAY.fullmatch(text) else None
    return None


def known_number(text: str, what: str) -> int:
    """The id of a customer, say, that a path names; raises ``NotThereError`` where it is none."""
    number = int(text) if _DIGITS.fullmatch(text) else 0
    if not 1 <= number <= LARGEST_ID:
        raise NotThereError(what)
    return number


def is_application_id(text: str) -> bool:
    """Whether a text could be the id of an application."""
    return _DECISION_ID.fullmatch(text) is not None


def path_uuid(text: str) -> UUID | None:
    """The id of an ingestion that a path names, None where it is none."""
    return UUID(text) if _UUID.fullmatch(text) else None


def whole(units: int | None) -> Decimal | None:
    """Whole units of the account currency as an amount."""
    return None if units is None else Decimal(units).quantize(CENT)
