"""What the tests of every room begin with: settings, people, applications, stored events."""

from decimal import Decimal
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from msgspec.structs import replace

from credit_es.application import By
from credit_es.domain.customer import RegisterCustomer
from credit_es.domain.lending import ApplyForLoan
from credit_es.domain.values import Terms
from credit_es.settings import Settings

BY = By(actor="tester", correlation_id="a-test")
ASHA = RegisterCustomer(
    first_name="Asha", last_name="Rao", age=34, phone_number=9876543210, monthly_income=50_000
)


def settings(database_url: str, schema: str, *, redis_url: str = "", **more: object) -> Settings:
    given = Settings(
        database_url=database_url,
        database_direct_url=database_url,
        redis_url=redis_url,
        schema=schema,
    )
    return replace(given, **more)


def person(**changes: object) -> RegisterCustomer:
    return replace(ASHA, **changes)


def asks(
    customer_number: int, amount: str = "10000.00", *, rate: str = "12.00", tenure: int = 24
) -> ApplyForLoan:
    terms = Terms(amount=Decimal(amount), annual_rate=Decimal(rate), tenure_months=tenure)
    return ApplyForLoan(customer_number=customer_number, terms=terms)


def stored(
    stream: UUID, version: int = 1, *, state: bytes = b"{}", topic: str = "test.Happened"
) -> StoredEvent:
    return StoredEvent(stream, version, topic, state)
