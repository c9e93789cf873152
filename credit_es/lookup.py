"""What the log holds of the customers and loans in two workbooks."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Final
from uuid import UUID

from credit_es.domain.events import (
    CustomerImported,
    CustomerRegistered,
    CustomerRestated,
    Event,
    LoanImported,
    LoanRestated,
    LoansImported,
)
from credit_es.domain.histories import Ingestion
from credit_es.domain.importing import Known, RestatedRow
from credit_es.domain.restating import last_said
from credit_es.domain.rows import LoanRow
from credit_es.store.log import Log
from credit_es.store.mapper import customer_stream, loan_stream, topic

STREAMS_A_QUERY: Final = 5_000


class Lookup:
    """Asks the log about the rows of one ingestion."""

    def __init__(self, reader: Log, ingestion: Ingestion) -> None:
        self._reader = reader
        self._ingestion = ingestion
        self._given = {row.number for row in ingestion.customers.rows}

    def kinds_of_customers(self) -> dict[int, str]:
        """The first fact's kind of each customer in either workbook whom the log knows."""
        asked = self._given.union(row.customer_number for row in self._ingestion.loans.rows)
        return self._kinds(customer_stream, asked)

    def taken(self, loan_numbers: Iterable[int]) -> Set[int]:
        """Those of these numbers that the log has given away."""
        return self._kinds(loan_stream, loan_numbers).keys()

    def loans_of_somebody(self, kinds: Mapping[int, str]) -> Iterator[LoanRow]:
        """The rows whose customer this workbook or the log knows; others claim no number."""
        imported = topic(CustomerImported)
        for row in self._ingestion.loans.rows:
            number = row.customer_number
            if kinds.get(number, imported if number in self._given else "") == imported:
                yield row

    def known(self, customers: Iterable[int]) -> dict[int, Known]:
        """What the log holds of these customers, with the loans that imports brought them."""
        customer_streams = [*map(customer_stream, customers)]
        if not customer_streams:
            return {}
        streams = self._reader.excerpts(
            customer_streams, [topic(LoansImported), topic(CustomerRestated)]
        )
        named = {
            loan.loan_number
            for excerpt in streams.values()
            for fact in excerpt.facts
            if isinstance(fact, LoansImported)
            for loan in fact.loans
        }
        loans: dict[int, dict[str, LoanImported]] = {}
        versions: dict[int, int] = {}
        recorded: set[RestatedRow] = set()
        streams_of_loans = (
            self._reader.excerpts(map(loan_stream, named), [topic(LoanRestated)]) if named else {}
        )
        for excerpt in streams_of_loans.values():
            loan, *later = excerpt.facts
            assert isinstance(loan, LoanImported)
            said = last_said(loan, self._of_others(later, recorded))
            loans.setdefault(loan.customer_number, {})[loan.source_loan_id] = said
            versions[loan.loan_number] = excerpt.version
        known: dict[int, Known] = {}
        for excerpt in streams.values():
            first, *later = excerpt.facts
            assert isinstance(first, CustomerImported | CustomerRegistered)
            others = list(self._of_others(later, recorded))
            known[first.customer_number] = Known(
                version=excerpt.version,
                imported=(
                    last_said(first, others) if isinstance(first, CustomerImported) else None
                ),
                loans=loans.get(first.customer_number, {}),
                loan_versions=versions,
                restated=frozenset(recorded),
            )
        return known

    def _of_others(
        self, facts: Iterable[Event], recorded: set[RestatedRow]
    ) -> Iterator[CustomerRestated | LoanRestated]:
        """The restatements of other ingestions; the rows of this one's own are ``recorded``."""
        for fact in facts:
            if not isinstance(fact, CustomerRestated | LoanRestated):
                continue
            if fact.source.ingestion_id == self._ingestion.ingestion_id:
                recorded.add((type(fact), fact.source.row))
            else:
                yield fact

    def _kinds(self, stream: Callable[[int], UUID], numbers: Iterable[int]) -> dict[int, str]:
        """The kind of the first fact of each stream that there is, by its number."""
        by_stream = {stream(number): number for number in sorted(numbers)}
        kinds: dict[int, str] = {}
        for some in _slices([*by_stream], STREAMS_A_QUERY):
            found = self._reader.first_topics(some)
            kinds |= {by_stream[stream_id]: kind for stream_id, kind in found.items()}
        return kinds


def _slices(items: Sequence[UUID], size: int) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
