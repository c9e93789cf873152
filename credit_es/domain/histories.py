"""What an import reads: two sheets, and their rows gathered by customer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from credit_es.domain.cells import Finding
from credit_es.domain.rows import CustomerRow, LoanRow

FACTS_A_BATCH: Final = 500

Row_co = TypeVar("Row_co", CustomerRow, LoanRow, covariant=True)


class ReadSheet(Protocol[Row_co]):
    """A sheet that was read to its end; ``columns`` gives each field's heading as written.

    ``findings`` are about single rows: the faults of those rejected, the oddities of the others.
    """

    @property
    def name(self) -> str:
        """The sheet's name."""
        ...

    @property
    def columns(self) -> Mapping[str, str]:
        """Field to heading."""
        ...

    @property
    def rows(self) -> Sequence[Row_co]:
        """The accepted rows, in workbook order."""
        ...

    @property
    def findings(self) -> Sequence[Finding]:
        """What is to be said of single rows."""
        ...

    @property
    def rejected(self) -> int:
        """How many rows could not be read."""
        ...

    @property
    def blank(self) -> int:
        """How many rows have nothing in them."""
        ...


class Ingestion(Struct, frozen=True, kw_only=True):
    """What an import is told: which one it is, its business date, and the sheets it reads.

    With ``restate``, what differs from what the workbooks said last is news, and no conflict.
    """

    ingestion_id: str
    occurred_on: date
    customers: ReadSheet[CustomerRow]
    loans: ReadSheet[LoanRow]
    restate: bool = False


class History(Struct, frozen=True, kw_only=True):
    """The rows of one customer, in workbook order."""

    customer_number: int
    customers: Sequence[CustomerRow]
    loans: Sequence[LoanRow]


def histories(customers: Iterable[CustomerRow], loans: Iterable[LoanRow]) -> list[History]:
    """Gather the rows by customer, in the order in which each customer first appears."""
    rows: dict[int, tuple[list[CustomerRow], list[LoanRow]]] = {}
    for customer in customers:
        rows.setdefault(customer.number, ([], []))[0].append(customer)
    for loan in loans:
        rows.setdefault(loan.customer_number, ([], []))[1].append(loan)
    return [
        History(customer_number=number, customers=of_customer, loans=of_loans)
        for number, (of_customer, of_loans) in rows.items()
    ]


def batches(all_histories: Iterable[History]) -> Iterator[list[History]]:
    """Customers together until their rows make a batch; one customer is never divided."""
    batch: list[History] = []
    rows = 0
    for history in all_histories:
        batch.append(history)
        rows += len(history.customers) + len(history.loans) + 1
        if rows >= FACTS_A_BATCH:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch
