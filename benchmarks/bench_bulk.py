"""How many events a second does an import append, and the stock application's ``save()``?

Both record loans of the same fields in batches of 1,000 events, one transaction a batch, durably.
Measured is the way from what was decided to its commit, encoding included. An import records 200
customers, each with the event that names its four loans. The stock application saves 1,000 new
aggregates by its database function, the fastest way it has: by its default, a pipeline of inserts,
a batch of this size hangs where the server reads slowly (psycopg 3.3.9 leaves its last bytes
unsent). ``python -m benchmarks.bench_bulk 5`` for a quick trial: batches a round.
"""

import sys
import time
from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from itertools import count
from typing import Final, TypeVar
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from psycopg.conninfo import conninfo_to_dict

from benchmarks.harness import asked, in_turns, postgres, table
from credit_es.application import By, Facts, Lending
from credit_es.domain.events import LoanImported, LoansImported
from credit_es.domain.values import ImportedLoan, Source
from tests.store.given import settings

BATCHES: Final = int(sys.argv[1]) if len(sys.argv) > 1 else 30
CUSTOMERS: Final = 200
LOANS_EACH: Final = 4
EVENTS: Final = CUSTOMERS * (1 + LOANS_EACH)
AMOUNT: Final = Decimal("100000.00")
RATE: Final = Decimal("8.20")
INSTALLMENT: Final = Decimal("1833.00")
APPROVED: Final = date(2024, 3, 9)
ENDS: Final = date(2034, 3, 9)
SOURCE: Final = Source(ingestion_id="bench", sheet="Sheet1", row=2)
BY: Final = By(actor="bench", correlation_id="bench", causation_id="ingestion/bench")

T = TypeVar("T")

numbers = count(1)


class StockLoan(Aggregate):
    """A loan as the library's manual writes aggregates."""

    def __init__(
        self,
        *,
        loan_number: int,
        customer_number: int,
        source_loan_id: str,
        amount: Decimal,
        annual_rate: Decimal,
        tenure_months: int,
        installment: Decimal,
        emis_on_time: int,
        approved_on: str,
        ends_on: str,
        ingestion_id: str,
        sheet: str,
        row: int,
    ) -> None:
        self.loan_number = loan_number
        self.customer_number = customer_number
        self.source_loan_id = source_loan_id
        self.amount = amount
        self.annual_rate = annual_rate
        self.tenure_months = tenure_months
        self.installment = installment
        self.emis_on_time = emis_on_time
        self.approved_on = approved_on
        self.ends_on = ends_on
        self.source = (ingestion_id, sheet, row)


class Stock(Application[UUID]):
    """The library as it comes."""

    name = "stock"


def stock_loans() -> list[StockLoan]:
    """A batch of new aggregates with an event each."""
    return [
        StockLoan(
            loan_number=(number := next(numbers)),
            customer_number=number,
            source_loan_id=f"{number}",
            amount=AMOUNT,
            annual_rate=RATE,
            tenure_months=120,
            installment=INSTALLMENT,
            emis_on_time=20,
            approved_on=APPROVED.isoformat(),
            ends_on=ENDS.isoformat(),
            ingestion_id=SOURCE.ingestion_id,
            sheet=SOURCE.sheet,
            row=SOURCE.row,
        )
        for _ in range(EVENTS)
    ]


def imported(customer_number: int) -> Facts:
    """What an import decides on a customer that the log knows, with four new loans."""
    loans = [
        LoanImported(
            occurred_on=APPROVED,
            loan_number=(number := next(numbers)),
            customer_number=customer_number,
            source_loan_id=f"{number}",
            amount=AMOUNT,
            annual_rate=RATE,
            tenure_months=120,
            installment=INSTALLMENT,
            emis_on_time=20,
            ends_on=ENDS,
            source=SOURCE,
        )
        for _ in range(LOANS_EACH)
    ]
    named = LoansImported(
        occurred_on=APPROVED,
        customer_number=customer_number,
        loans=tuple(
            ImportedLoan(loan_number=loan.loan_number, source_loan_id=loan.source_loan_id)
            for loan in loans
        ),
        ingestion_id=SOURCE.ingestion_id,
    )
    return [(1, named), *((1, loan) for loan in loans)]


def rate(batch: Callable[[], T], record: Callable[[T], object]) -> float:
    """Events a second over all batches of a round."""
    seconds = 0.0
    for _ in range(BATCHES):
        made = batch()
        started = time.monotonic()
        record(made)
        seconds += time.monotonic() - started
    return BATCHES * EVENTS / seconds


def main() -> None:
    """Measure in turns."""
    with postgres() as server:
        given = conninfo_to_dict(server.url)
        stock = Stock(
            {
                "PERSISTENCE_MODULE": "eventsourcing.postgres",
                "POSTGRES_DBNAME": str(given["dbname"]),
                "POSTGRES_HOST": str(given["host"]),
                "POSTGRES_PORT": str(given.get("port", 5432)),
                "POSTGRES_USER": str(given["user"]),
                "POSTGRES_PASSWORD": "",
                "POSTGRES_ENABLE_DB_FUNCTIONS": "y",
            }
        )
        lending = Lending(settings(server.url, "credit"))

        def save(loans: Iterable[StockLoan]) -> None:
            stock.save(*loans)

        def record(groups: list[Facts]) -> None:
            assert lending.record_many(groups, BY) == []

        got = in_turns(
            {
                "save()": lambda: rate(stock_loans, save),
                "credit-es": lambda: rate(
                    lambda: [imported(next(numbers)) for _ in range(CUSTOMERS)], record
                ),
            }
        )
        stock.close()
        lending.close()
    headings = ("save(), events/s", "credit-es, events/s", "ratio", "asked")
    ratio = got["credit-es"] / got["save()"]
    row = (got["save()"], got["credit-es"], ratio, asked(ratio, at_least=5))
    table(f"Appending in batches of {EVENTS}", headings, [row])


if __name__ == "__main__":
    main()
