"""The customer aggregate: a state folded from the customer's own stream."""

from datetime import date
from decimal import Decimal
from typing import Final, assert_never

from msgspec import Struct
from msgspec.structs import replace

from credit_es.domain.events import (
    CustomerEvent,
    CustomerImported,
    CustomerRegistered,
    LoanApproved,
    LoanBurdenRaised,
    LoanDeclined,
    LoansImported,
)

LIMIT_STEP: Final = 100_000

DEFINITION: Final = 1
"""Of ``Customer`` and ``evolve``: raise it when either changes, so that no state folded before, in
a read table or a snapshot, is taken for one folded now."""


class Customer(Struct, frozen=True, kw_only=True):
    """Who borrows; ``loans`` are the numbers of all loans, ``version`` the last fact's.

    Amounts are in the account currency. What an import left out is None.
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


class RegisterCustomer(Struct, frozen=True, kw_only=True):
    """Make somebody a customer; ``monthly_income`` in whole units of the account currency."""

    first_name: str
    last_name: str
    age: int
    phone_number: int
    monthly_income: int


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
            )
        case LoansImported():
            named = tuple(loan.loan_number for loan in event.loans)
        case LoanApproved():
            named = (event.loan_number,)
        case LoanDeclined() | LoanBurdenRaised():
            named = ()
        case _:
            assert_never(event)
    assert customer is not None
    return replace(customer, version=customer.version + 1, loans=customer.loans + named)


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
