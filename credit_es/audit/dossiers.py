"""All that the log holds of one customer: their own stream, and those of all their loans.

What is asked of every customer is asked dossier by dossier, so that memory is bounded by a batch of
them, however long the log is, and an export's shards, cut by customer, can be asked apart.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final
from uuid import UUID

from msgspec import Struct

from credit_es.domain.events import (
    CustomerEvent,
    CustomerImported,
    CustomerRegistered,
    LoanApproved,
    LoanEvent,
    LoansImported,
)
from credit_es.store.log import Log
from credit_es.store.mapper import DECODER, Recorded, customer_stream, loan_stream, topic

if TYPE_CHECKING:  # pyarrow is 40 MiB, which only who exports or reads an export pays
    from credit_es.audit.export import ExportedFact

BEGINNINGS: Final = (topic(CustomerRegistered), topic(CustomerImported))
CUSTOMERS_A_BATCH: Final = 500

Progress = Callable[[int, int], None]
"""Called with how far it is, and how far it goes."""


class Dossier(Struct, frozen=True, kw_only=True):
    """The history of one customer and of each loan, by number."""

    customer_number: int
    history: list[Recorded]
    loans: dict[int, list[Recorded]]


def dossier(log: Log, customer_number: int) -> Dossier | None:
    """The dossier of one customer, None where there is no such customer."""
    stream = customer_stream(customer_number)
    return next(iter(_with_loans(log, log.streams([stream]))), None)


def dossiers(log: Log, progress: Progress = lambda _reached, _head: None) -> Iterator[Dossier]:
    """Every customer of the log, in the order in which they became one."""
    upto = log.head().safe
    after = 0
    while batch := log.recorder.select_notifications(
        after, CUSTOMERS_A_BATCH, upto, BEGINNINGS, inclusive_of_start=False
    ):
        streams = [event.originator_id for event in batch if isinstance(event.originator_id, UUID)]
        histories = log.streams(streams)
        yield from _with_loans(log, {stream: histories[stream] for stream in streams})
        after = batch[-1].id
        progress(after, upto)
    progress(upto, upto)


def dossiers_of(facts: "Iterable[ExportedFact]") -> Iterator[Dossier]:
    """Every customer of one shard of an export, in the order of their numbers."""
    histories: dict[int, list[Recorded]] = {}
    loans: dict[int, dict[int, list[Recorded]]] = {}
    for fact in sorted(facts, key=attrgetter("position")):
        recorded = Recorded(UUID(fact.stream_id), fact.version, DECODER.decode(fact.state))
        event = recorded.entry.fact
        if isinstance(event, CustomerEvent):
            histories.setdefault(event.customer_number, []).append(recorded)
        elif isinstance(event, LoanEvent):
            of_customer = loans.setdefault(event.customer_number, {})
            of_customer.setdefault(event.loan_number, []).append(recorded)
    for number, history in sorted(histories.items()):
        yield Dossier(customer_number=number, history=history, loans=loans.get(number, {}))


def _with_loans(log: Log, histories: dict[UUID, list[Recorded]]) -> Iterator[Dossier]:
    numbers = {stream: _loans_of(history) for stream, history in histories.items()}
    loans = log.streams(loan_stream(number) for each in numbers.values() for number in each)
    for stream, history in histories.items():
        first = history[0].entry.fact
        assert isinstance(first, CustomerEvent)
        yield Dossier(
            customer_number=first.customer_number,
            history=history,
            loans={number: loans[loan_stream(number)] for number in numbers[stream]},
        )


def _loans_of(history: Sequence[Recorded]) -> list[int]:
    numbers: list[int] = []
    for recorded in history:
        fact = recorded.entry.fact
        if isinstance(fact, LoanApproved):
            numbers.append(fact.loan_number)
        elif isinstance(fact, LoansImported):
            numbers += [loan.loan_number for loan in fact.loans]
    return numbers
