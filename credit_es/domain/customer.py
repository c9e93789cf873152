"""The customer aggregate: a state folded from the customer's own stream."""

from datetime import date
from decimal import Decimal
from typing import Any, Final, assert_never

from msgspec import Struct
from msgspec.structs import asdict, replace

from credit_es.domain.errors import ForbiddenError, NotAllowedError
from credit_es.domain.events import (
    CustomerCorrected,
    CustomerEvent,
    CustomerImported,
    CustomerRegistered,
    CustomerRestated,
    LoanApproved,
    LoanBurdenRaised,
    LoanDeclined,
    LoanReferred,
    LoansImported,
    LoansRestated,
)
from credit_es.domain.values import CustomerDetails, LoanDetails

LIMIT_STEP: Final = 100_000
KNOWN: Final = (
    "first_name",
    "last_name",
    "age",
    "phone_number",
    "monthly_income",
    "approved_limit",
)
"""What of a customer may turn out to be wrong."""

DEFINITION: Final = 2
"""Of ``Customer`` and ``evolve``: raise it when either changes, so that no state folded before, in
a read table or a snapshot, is taken for one folded now."""


class Corrected(Struct, frozen=True, kw_only=True):
    """What is known to be true since a day."""

    since: date
    details: CustomerDetails


class Customer(Struct, frozen=True, kw_only=True):
    """Who borrows; ``loans`` are the numbers of all loans, ``version`` the last fact's.

    Amounts are in the account currency. What an import left out is None, as is ``registered_on`` of
    whom an import brought. Where anything was corrected, ``first`` is what was said before.
    """

    number: int
    version: int
    first_name: str
    last_name: str
    age: int | None
    phone_number: int | None
    monthly_income: Decimal
    approved_limit: Decimal
    imported: bool
    loans: tuple[int, ...]
    registered_on: date | None = None
    first: CustomerDetails | None = None
    corrections: tuple[Corrected, ...] = ()


class RegisterCustomer(Struct, frozen=True, kw_only=True):
    """Make somebody a customer; ``monthly_income`` in whole units of the account currency."""

    first_name: str
    last_name: str
    age: int
    phone_number: int
    monthly_income: int


class CorrectCustomer(Struct, frozen=True, kw_only=True):
    """What is said to have been wrong of a customer, since ``effective_on``."""

    customer_number: int
    details: CustomerDetails
    effective_on: date
    reason: str


def evolve(customer: Customer | None, event: CustomerEvent) -> Customer:
    """Fold one event of a customer's stream; total, because a recorded fact cannot be refused."""
    match event:
        case CustomerRegistered() | CustomerImported():
            assert customer is None
            return Customer(
                number=event.customer_number,
                version=1,
                first_name=event.first_name,
                last_name=event.last_name,
                age=event.age,
                phone_number=event.phone_number,
                monthly_income=event.monthly_income,
                approved_limit=event.approved_limit,
                imported=isinstance(event, CustomerImported),
                loans=(),
                registered_on=(
                    event.occurred_on if isinstance(event, CustomerRegistered) else None
                ),
            )
        case CustomerCorrected() | CustomerRestated():
            assert customer is not None
            return _corrected(customer, Corrected(since=event.occurred_on, details=event.is_))
        case LoansImported():
            named = tuple(loan.loan_number for loan in event.loans)
        case LoanApproved():
            named = (event.loan_number,)
        case LoanDeclined() | LoanReferred() | LoanBurdenRaised() | LoansRestated():
            named = ()
        case _:
            assert_never(event)
    assert customer is not None
    return replace(customer, version=customer.version + 1, loans=customer.loans + named)


def _corrected(customer: Customer, correction: Corrected) -> Customer:
    """Each field is what was said of it last, by the day since when; of one day the later counts.

    So one recorded later about earlier days overwrites nothing that is known of later ones.
    """
    first = customer.first or details_of(customer)
    corrections = sorted((*customer.corrections, correction), key=lambda one: one.since)
    known = {name: getattr(first, name) for name in KNOWN}
    for one in corrections:
        known |= said(one.details)
    known.pop("current_debt", None)
    return replace(
        customer,
        version=customer.version + 1,
        first=first,
        corrections=tuple(corrections),
        **known,
    )


def details_of(customer: Customer) -> CustomerDetails:
    """All that is known now and may be corrected."""
    return CustomerDetails(**{name: getattr(customer, name) for name in KNOWN})


def said(details: CustomerDetails | LoanDetails) -> dict[str, Any]:
    """The fields that are meant."""
    return {name: value for name, value in asdict(details).items() if value is not None}


def known_on(customer: Customer, day: date) -> CustomerDetails:
    """What is known now to have been true on a day."""
    known = asdict(customer.first or details_of(customer))
    for one in customer.corrections:
        if one.since <= day:
            known |= said(one.details)
    return CustomerDetails(**known)


def decide_correction(
    customer: Customer, command: CorrectCustomer, *, today: date
) -> CustomerCorrected:
    """Say what was wrong of a customer, since when.

    The limit of a registered customer follows the income, unless it is corrected itself. A field
    that is no other than was known is confirmed since that day: a correction that is recorded later
    and is true since an earlier day does not change it. Raises
    ``NotAllowedError`` for a day that cannot be, ``ForbiddenError`` where it says nothing new.
    """
    day = command.effective_on
    if day > today:
        raise NotAllowedError("effective_on", f"today is {today}: give that day or an earlier one")
    if customer.registered_on is not None and day < customer.registered_on:
        raise NotAllowedError(
            "effective_on",
            f"the customer was registered on {customer.registered_on}: give no day before",
        )
    known = asdict(known_on(customer, day))
    given = said(command.details)
    income = given.get("monthly_income")
    if income is not None and "approved_limit" not in given and not customer.imported:
        given["approved_limit"] = approved_limit(int(income))
    if all(known[name] == value for name, value in given.items()):
        raise ForbiddenError(
            f"this is what was known of customer {customer.number} for {day}: nothing is to be "
            "corrected"
        )
    return CustomerCorrected(
        occurred_on=day,
        customer_number=customer.number,
        was=CustomerDetails(**{name: known[name] for name in given}),
        is_=CustomerDetails(**given),
        reason=command.reason,
    )


def approved_limit(monthly_income: int) -> Decimal:
    """36 months' income, rounded half up to the nearest 100,000 (design, section 6)."""
    steps = (36 * monthly_income + LIMIT_STEP // 2) // LIMIT_STEP
    return Decimal(steps * LIMIT_STEP).quantize(Decimal("0.01"))


def decide_registration(
    command: RegisterCustomer, *, customer_number: int, today: date
) -> CustomerRegistered:
    """Register under ``customer_number`` and grant the limit that the income allows."""
    return CustomerRegistered(
        occurred_on=today,
        customer_number=customer_number,
        first_name=command.first_name,
        last_name=command.last_name,
        age=command.age,
        phone_number=command.phone_number,
        monthly_income=Decimal(command.monthly_income).quantize(Decimal("0.01")),
        approved_limit=approved_limit(command.monthly_income),
    )
