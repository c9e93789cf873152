"""A long history in little time: what the domain records of one customer, copied for many.

Every other customer registered here and was granted three loans, the others came with three loans
in a workbook. Customers are counted from 0; ``customer_of`` gives the number of each.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

import psycopg
from msgspec.structs import replace

from benchmarks.harness import SPAWN
from credit_es.domain import customer, loan
from credit_es.domain.customer import RegisterCustomer, decide_registration
from credit_es.domain.events import (
    CustomerEvent,
    CustomerImported,
    LoanApproved,
    LoanEvent,
    LoanImported,
    LoanOpened,
    LoansImported,
)
from credit_es.domain.lending import ApplyForLoan, decide_loan
from credit_es.domain.loan import Loan
from credit_es.domain.policy import load_policy
from credit_es.domain.values import ImportedLoan, Source, Terms
from credit_es.store.mapper import ENCODER, Entry, stream_of, topic

Fact = CustomerEvent | LoanEvent

FIRST: Final = 10_000_001
LOANS: Final = 3
A_TRANSACTION: Final = 2_000
TODAY: Final = date(2026, 1, 15)
SOURCE: Final = Source(ingestion_id="growth", sheet="Sheet1", row=2)


def customer_of(k: int) -> int:
    """The number of the k-th customer; the even ones registered here."""
    return FIRST + k // 2 if k % 2 == 0 else 1 + k // 2


def loans_of(number: int) -> list[int]:
    """The numbers of a customer's loans."""
    base = FIRST if number >= FIRST else 1
    return [base + LOANS * (number - base) + n for n in range(LOANS)]


def phone_of(number: int) -> int:
    """Each customer's own."""
    return 9_000_000_000 + number


def copy_history(url: str, schema: str, ks: range) -> None:
    """Record the history of some customers, in two processes."""
    middle = ks.start + len(ks) // 4 * 2
    halves = (range(ks.start, middle), range(middle, ks.stop))
    loaders = [SPAWN.Process(target=load, args=(url, schema, half), daemon=True) for half in halves]
    for loader in loaders:
        loader.start()
    for loader in loaders:
        loader.join()
        assert loader.exitcode == 0, f"a loader ended with {loader.exitcode}"


def granted() -> list[Fact]:
    """What is recorded of one customer who registers and is granted every loan."""
    command = RegisterCustomer(
        first_name="Asha", last_name="Rao", age=34, phone_number=9876543210, monthly_income=90_000
    )
    registration = decide_registration(command, customer_number=FIRST, today=TODAY)
    facts: list[Fact] = [registration]
    who, loans = customer.evolve(None, registration), list[Loan]()
    policy = load_policy("standard")
    asked = ApplyForLoan(
        customer_number=FIRST,
        terms=Terms(amount=Decimal("50000.00"), annual_rate=Decimal("14.00"), tenure_months=24),
    )
    for number in loans_of(FIRST):
        approved, opened = _both(
            decide_loan(who, loans, asked, policy, loan_number=number, today=TODAY)
        )
        who = customer.evolve(who, approved)
        loans.append(loan.evolve(None, opened))
        facts += [approved, opened]
    return facts


def imported() -> list[Fact]:
    """What is recorded of one customer who comes with a workbook."""
    loans = [
        LoanImported(
            loan_number=number,
            customer_number=1,
            source_loan_id=str(number),
            amount=Decimal("150000.00"),
            annual_rate=Decimal("10.25"),
            tenure_months=120,
            installment=Decimal("2000.00"),
            emis_on_time=20,
            occurred_on=date(2024, 3, 9),
            ends_on=date(2034, 3, 9),
            source=SOURCE,
        )
        for number in loans_of(1)
    ]
    return [
        CustomerImported(
            occurred_on=TODAY,
            customer_number=1,
            first_name="Aaron",
            last_name="Garcia",
            age=63,
            phone_number=9629317944,
            monthly_income=Decimal("90000.00"),
            approved_limit=Decimal("3200000.00"),
            current_debt=None,
            source=SOURCE,
        ),
        LoansImported(
            occurred_on=TODAY,
            customer_number=1,
            loans=tuple(
                ImportedLoan(loan_number=one.loan_number, source_loan_id=one.source_loan_id)
                for one in loans
            ),
            ingestion_id="growth",
        ),
        *loans,
    ]


def _both(decided: Sequence[object]) -> tuple[LoanApproved, LoanOpened]:
    approved, opened = decided
    assert isinstance(approved, LoanApproved)
    assert isinstance(opened, LoanOpened)
    return approved, opened


def history_of(example: Sequence[Fact], number: int) -> Iterator[tuple[int, Fact]]:
    """The example's facts about another customer, with their versions."""
    version = 0
    for fact in example:
        own = isinstance(fact, CustomerEvent)
        version += own
        yield (version if own else 1), _about(fact, number)


def _about(fact: Fact, number: int) -> Fact:
    loans = dict(zip(loans_of(fact.customer_number), loans_of(number), strict=True))
    match fact:
        case LoanOpened() | LoanImported():
            return replace(fact, customer_number=number, loan_number=loans[fact.loan_number])
        case LoanApproved():
            seen = tuple(replace(s, loan_number=loans[s.loan_number]) for s in fact.seen.loans)
            return replace(
                fact,
                customer_number=number,
                loan_number=loans[fact.loan_number],
                seen=replace(fact.seen, loans=seen),
            )
        case LoansImported():
            named = tuple(replace(n, loan_number=loans[n.loan_number]) for n in fact.loans)
            return replace(fact, customer_number=number, loans=named)
        case _:
            return replace(fact, customer_number=number, phone_number=phone_of(number))


def load(url: str, schema: str, ks: range) -> None:
    """Copy what is recorded of some customers into the log; runs in a process of its own."""
    examples = (granted(), imported())
    statement = f"COPY {schema}.events (stream_id, version, topic, state) FROM STDIN BINARY"
    with psycopg.connect(url) as conn:
        for start in range(ks.start, ks.stop, A_TRANSACTION):
            with conn.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                copy.set_types(["uuid", "int8", "text", "bytea"])
                for k in range(start, min(start + A_TRANSACTION, ks.stop)):
                    for version, fact in history_of(examples[k % 2], customer_of(k)):
                        entry = Entry(
                            fact=fact,
                            recorded_at=datetime.now(UTC),
                            actor="bench",
                            correlation_id="growth",
                        )
                        row = (stream_of(fact), version, topic(fact), ENCODER.encode(entry))
                        copy.write_row(row)
            conn.commit()
