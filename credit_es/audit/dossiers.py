"""All that the log holds of one customer: their own stream, and those of all their loans.

What is asked of every customer is asked dossier by dossier: the server sorts the log by customer,
so that memory is bounded by the largest one, however long the log is; and parts of the log and
shards of an export, both cut by customer, can be asked apart.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, get_args
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
from credit_es.store.mapper import (
    DECODER,
    DIGESTION,
    Recorded,
    UndigestedError,
    customer_stream,
    loan_stream,
    recorded,
    topic,
)
from projections.spread import Report
from projections.streams import Fact, sorted_by_customer

if TYPE_CHECKING:  # pyarrow is 40 MiB, which only who exports or reads an export pays
    from credit_es.audit.export import ExportedFact

BEGINNINGS: Final = (topic(CustomerRegistered), topic(CustomerImported))
LOAN_FACTS: Final = get_args(LoanEvent)
ABOUT_CUSTOMERS: Final = (*get_args(CustomerEvent), *LOAN_FACTS)
OF_CUSTOMERS: Final = frozenset(map(topic, ABOUT_CUSTOMERS))
REPORT_EVERY: Final = 500

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
        self.customer_number = customer_number

    def __reduce__(self) -> tuple[type[Self], tuple[int]]:
        """It travels between processes."""
        return type(self), (self.customer_number,)


class Dossier(Struct, frozen=True, kw_only=True):
    """The history of one customer and of each loan, by number."""

    customer_number: int
    history: list[Recorded]
    loans: dict[int, list[Recorded]]


def dossier(log: Log, customer_number: int) -> Dossier | None:
    """The dossier of one customer, None where there is no such customer."""
    return next(dossiers_in(log, [customer_stream(customer_number)]), None)


def dossiers(
    log: Log,
    report: Report = lambda _share: None,
    *,
    part: int = 0,
    parts: int = 1,
) -> Generator[Dossier]:
    """Every customer of the log, or of one of its equal parts; one dossier is held at a time.

    They come in no order that means anything; a loan that names no customer of the log is left to
    ``verify``. Reads in a transaction until it is at its end, or closed. Raises ``UndigestedError``
    where it comes to a fact that it cannot read.
    """
    head = log.head().safe
    with (
        log.database.connection() as conn,
        sorted_by_customer(
            conn, log.database.schema, topics=OF_CUSTOMERS, head=head, part=part, parts=parts
        ) as facts,
    ):
        read = 0
        for number, (customer, rows) in enumerate(groupby(facts, itemgetter(0)), 1):
            streams = groupby(rows, itemgetter(1))
            histories = [[_decoded(fact) for fact in stream] for _, stream in streams]
            read += sum(map(len, histories))
            if found := _dossier(int(customer), histories):
                yield found
            if number % REPORT_EVERY == 0:
                report(min(read * parts / head, 1.0))
    report(1.0)


def _decoded(fact: Fact) -> Recorded:
    customer, stream_id, version, state = fact
    found = recorded(stream_id, version, state)
    if customer != str(getattr(found.entry.fact, "customer_number", None)):
        raise UndigestedError(stream_id, version)
    return found


def _dossier(customer_number: int, histories: Iterable[list[Recorded]]) -> Dossier | None:
    """What some streams hold of a customer, None where none of them is the customer's own."""
    own: list[Recorded] = []
    loans: dict[int, list[Recorded]] = {}
    for history in histories:
        first = history[0].entry.fact
        if isinstance(first, LOAN_FACTS):
            loans.setdefault(first.loan_number, []).extend(history)
        else:
            own += history
    return Dossier(customer_number=customer_number, history=own, loans=loans) if own else None


def beginnings(log: Log, *, after: int, upto: int, limit: int) -> dict[int, UUID]:
    """The streams of some customers, by the positions where they begin, beyond ``after``."""
    batch = log.recorder.tail(after, limit, upto, BEGINNINGS)
    return {event.id: event.originator_id for event in batch}


def dossiers_in(log: Log, streams: Iterable[UUID]) -> Iterator[Dossier]:
    """The dossiers of some customers; raises ``UndigestedError`` before the first, if at all."""
    ordered = list(streams)
    histories = log.streams(ordered)
    yield from _with_loans(
        log, {stream: histories[stream] for stream in ordered if stream in histories}
    )


def dossiers_of(facts: "Iterable[ExportedFact]") -> Iterator[Dossier]:
    """Every customer of one shard of an export, in the order of their numbers."""
    customers: dict[int, dict[str, list[Recorded]]] = {}
    for fact in sorted(facts, key=attrgetter("position")):
        one = Recorded(UUID(fact.stream_id), fact.version, DECODER.decode(fact.state))
        event = one.entry.fact
        if isinstance(event, ABOUT_CUSTOMERS):
            histories = customers.setdefault(event.customer_number, {})
            histories.setdefault(fact.stream_id, []).append(one)
    for number, histories in sorted(customers.items()):
        if found := _dossier(number, histories.values()):
            yield found


def folded(evolve: Callable[[T | None, Any], T], history: Sequence[Recorded]) -> Iterator[T]:
    """The state at each version, as far as none is missing and each follows from those before."""
    state: T | None = None
    for version, one in enumerate(history, 1):
        if one.originator_version != version:
            return
        try:
            state = evolve(state, one.entry.fact)
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
    facts = (one.entry.fact for one in history)
    return next((fact.customer_number for fact in facts if isinstance(fact, CustomerEvent)), None)


def _loans_of(history: Sequence[Recorded]) -> list[int]:
    numbers: list[int] = []
    for one in history:
        fact = one.entry.fact
        if isinstance(fact, LoanApproved):
            numbers.append(fact.loan_number)
        elif isinstance(fact, LoansImported):
            numbers += [loan.loan_number for loan in fact.loans]
    return numbers
