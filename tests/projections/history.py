"""A history for read tables, and what a plain fold of the log makes of it."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

from msgspec.structs import replace
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es.application import Facts, Lending
from credit_es.domain import customer, loan
from credit_es.domain.customer import Customer
from credit_es.domain.events import (
    CustomerEvent,
    CustomerImported,
    Event,
    LoanEvent,
    LoanImported,
    LoansImported,
)
from credit_es.domain.loan import Loan
from credit_es.domain.values import ImportedLoan, Source
from credit_es.store.database import in_schema
from credit_es.store.log import Log
from credit_es.store.mapper import DECODER, ENCODER, Entry, stream_of, topic
from projections.reading import ReadModel
from tests.domain.facts import approved, opened, registered, saw
from tests.store.given import BY, asks, person

COPY_IN = SQL("COPY {schema}.events (stream_id, version, topic, state) FROM STDIN (FORMAT BINARY)")


def happen(lending: Lending, times: int = 1) -> list[int]:
    """Register, import, approve and decline; returns the customers' numbers."""
    numbers = []
    for _ in range(times):
        registered = lending.register(person(first_name="Asha"), BY).customer_number
        imported = import_one(lending, registered - 9_900_000)
        for number in (registered, imported):
            for amount in ("1000.00", "99000000.00", "2500.50"):
                lending.apply_for_loan(asks(number, amount), BY)
        numbers += [registered, imported]
    return numbers


def lending_of_years(customers: int) -> Iterator[tuple[int, Event]]:
    """Seven facts a customer: registered, and three loans approved, each long after the one before.

    What belongs to one stream lies far apart in the log, as it does after years.
    """
    register, approve, open_it = registered(), approved(seen=saw({1: 1, 2: 1})), opened()
    years = customers // 4
    for today in range(customers + 3 * years):
        if today < customers:
            number = 10_000_001 + today
            yield 1, replace(register, customer_number=number, phone_number=9_000_000_000 + today)
        for nth in (1, 2, 3):
            who = today - nth * years
            if 0 <= who < customers:
                number, loan_number = 10_000_001 + who, 10_000_000 + who * 3 + nth
                both = {"customer_number": number, "loan_number": loan_number}
                yield 1 + nth, replace(approve, **both)
                yield 1, replace(open_it, **both)


def copy_in(conn: Connection[TupleRow], schema: str, facts: Iterable[tuple[int, Event]]) -> int:
    """Append facts by COPY, in one transaction; returns how many."""
    now, count = datetime.now(UTC), 0
    with conn.cursor() as cursor, cursor.copy(in_schema(COPY_IN, schema)) as copy:
        copy.set_types(["uuid", "int8", "text", "bytea"])
        for version, fact in facts:
            entry = Entry(
                fact=fact, recorded_at=now, actor=BY.actor, correlation_id=BY.correlation_id
            )
            copy.write_row((stream_of(fact), version, topic(fact), ENCODER.encode(entry)))
            count += 1
    return count


def import_one(lending: Lending, number: int) -> int:
    facts = imported(number, lending.today())
    lending.record(facts, BY)
    return number


def imported(number: int, today: date) -> Facts:
    source = Source(ingestion_id="i", sheet="Sheet1", row=2)
    opened_on = date(today.year - 2, 5, 31)
    first = CustomerImported(
        occurred_on=today,
        customer_number=number,
        first_name="Aaron",
        last_name="Garcia",
        age=None,
        phone_number=None,
        monthly_income=Decimal("100000.00"),
        approved_limit=Decimal("3600000.00"),
        current_debt=Decimal("12.50"),
        source=source,
    )
    loans = [
        LoanImported(
            loan_number=number * 10 + n,
            customer_number=number,
            source_loan_id=f"LOAN_{n}",
            amount=Decimal("150000.00"),
            annual_rate=Decimal("10.25"),
            tenure_months=120,
            installment=Decimal("2000.00"),
            emis_on_time=20 * n,
            occurred_on=opened_on,
            ends_on=opened_on.replace(year=opened_on.year + 10),
            source=source,
        )
        for n in (2, 1)
    ]
    named = LoansImported(
        occurred_on=today,
        customer_number=number,
        loans=tuple(
            ImportedLoan(loan_number=one.loan_number, source_loan_id=one.source_loan_id)
            for one in loans
        ),
        ingestion_id="i",
    )
    return [(1, first), (2, named), *((1, one) for one in loans)]


def folded(log: Log) -> tuple[dict[int, Customer], dict[int, Loan]]:
    """All customers and loans, by nothing but the log and the domain."""
    customers: dict[int, Customer] = {}
    loans: dict[int, Loan] = {}
    for batch in log.tail(0):
        for event in batch:
            fact = DECODER.decode(event.state).fact
            if isinstance(fact, CustomerEvent):
                number = fact.customer_number
                customers[number] = customer.evolve(customers.get(number), fact)
            elif isinstance(fact, LoanEvent):
                loans[fact.loan_number] = loan.evolve(loans.get(fact.loan_number), fact)
    return customers, loans


def assert_reads_are_right(reads: ReadModel, log: Log) -> None:
    """Every customer and every loan is read as the log says, at this very moment."""
    customers, loans = folded(log)
    assert customers
    for number, who in customers.items():
        theirs = [loans[n] for n in sorted(who.loans)]
        assert reads.customer(number) == (who, theirs)
    for number, one in loans.items():
        assert reads.loan(number) == (one, customers[one.customer_number])


def numbers_of(customers: Sequence[Customer]) -> list[int]:
    return [who.number for who in customers]
