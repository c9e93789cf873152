"""All that the log holds of one customer: their own stream, and those of all their loans.

What is asked of every customer is asked dossier by dossier, so that memory is bounded by a batch of
them, however long the log is, and an export's shards, cut by customer, can be asked apart.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar
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
from credit_es.store.mapper import DECODER, DIGESTION, Recorded, customer_stream, loan_stream, topic

if TYPE_CHECKING:  # pyarrow is 40 MiB, which only who exports or reads an export pays
    from credit_es.audit.export import ExportedFact

BEGINNINGS: Final = (topic(CustomerRegistered), topic(CustomerImported))
CUSTOMERS_A_BATCH: Final = 500

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Called with how far it is, and how far it goes."""


class BrokenDossierError(Exception):
    """A history that does not fold, as of a log that was altered: nothing is told of it."""

    def __init__(self, customer_number: int) -> None:
        super().__init__(
            f"the history of customer {customer_number} or of a loan of theirs has a hole, or does "
            "not follow from itself: verify the log, which names the place"
        )


class Dossier(Struct, frozen=True, kw_only=True):
    """The history of one customer and of each loan, by number."""

    customer_number: int
    history: list[Recorded]
    loans: dict[int, list[Recorded]]


def dossier(log: Log, customer_number: int) -> Dossier | None:
    """The dossier of one customer, None where there is no such customer."""
    return next(dossiers_in(log, [customer_stream(customer_number)]), None)


def dossiers(log: Log, progress: Progress = lambda _reached, _head: None) -> Iterator[Dossier]:
    """Every customer of the log, in the order in which they became one."""
    upto = log.head().safe
    after = 0
    while batch := beginnings(log, after=after, upto=upto, limit=CUSTOMERS_A_BATCH):
        yield from dossiers_in(log, batch.values())
        after = max(batch)
        progress(after, upto)
    progress(upto, upto)


def beginnings(log: Log, *, after: int, upto: int, limit: int) -> dict[int, UUID]:
    """The streams of some customers, by the positions where they begin, beyond ``after``."""
    batch = log.recorder.select_notifications(
        after, limit, upto, BEGINNINGS, inclusive_of_start=False
    )
    return {
        event.id: event.originator_id for event in batch if isinstance(event.originator_id, UUID)
    }


def dossiers_in(log: Log, streams: Iterable[UUID]) -> Iterator[Dossier]:
    """The dossiers of some customers; raises ``UndigestedError`` before the first, if at all."""
    ordered = list(streams)
    histories = log.streams(ordered)
    yield from _with_loans(
        log, {stream: histories[stream] for stream in ordered if stream in histories}
    )


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


def folded(evolve: Callable[[T | None, Any], T], history: Sequence[Recorded]) -> Iterator[T]:
    """The state at each version, as far as none is missing and each follows from those before."""
    state: T | None = None
    for version, recorded in enumerate(history, 1):
        if recorded.originator_version != version:
            return
        try:
            state = evolve(state, recorded.entry.fact)
        except DIGESTION:
            return
        yield state


def _with_loans(log: Log, histories: dict[UUID, list[Recorded]]) -> Iterator[Dossier]:
    """Their dossiers; a stream without any fact about a customer is none, and left to ``verify``.

    A loan of which the log holds nothing is not in its customer's dossier either.
    """
    customers = {number: history for history in histories.values() if (number := _whose(history))}
    numbers = {customer: _loans_of(history) for customer, history in customers.items()}
    loans = log.streams(loan_stream(number) for each in numbers.values() for number in each)
    for customer, history in customers.items():
        yield Dossier(
            customer_number=customer,
            history=history,
            loans={
                number: loans[stream]
                for number in numbers[customer]
                if (stream := loan_stream(number)) in loans
            },
        )


def _whose(history: Sequence[Recorded]) -> int | None:
    facts = (recorded.entry.fact for recorded in history)
    return next((fact.customer_number for fact in facts if isinstance(fact, CustomerEvent)), None)


def _loans_of(history: Sequence[Recorded]) -> list[int]:
    numbers: list[int] = []
    for recorded in history:
        fact = recorded.entry.fact
        if isinstance(fact, LoanApproved):
            numbers.append(fact.loan_number)
        elif isinstance(fact, LoansImported):
            numbers += [loan.loan_number for loan in fact.loans]
    return numbers
