"""Every fact about a customer, a loan or an application, in order, with its source."""

import re
from collections.abc import Iterator
from datetime import date, datetime
from itertools import chain
from typing import Final, Literal, get_args
from uuid import UUID

from msgspec import Struct

from credit_es.audit.words import in_words
from credit_es.domain.errors import DomainError
from credit_es.store.log import Log, Placed
from credit_es.store.mapper import application_stream, customer_stream, loan_stream, topic

NUMBER: Final = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)
"""Of a customer or a loan, without zeros before it."""


Subject = Literal["customer", "loan", "application"]
"""What a history may be of."""
REQUEST: Final = "request/"
"""Before the id of a request that is part of a larger trace, which then is the correlation."""
SUBJECTS: Final[tuple[Subject, ...]] = get_args(Subject)


class UnknownSubjectError(DomainError):
    """There is no such customer, loan or application."""

    def __init__(self, subject: Subject, name: str) -> None:
        super().__init__(f"no {subject} has the id {name}")
        self.subject = subject


class Source(Struct, frozen=True, kw_only=True, gc=False):
    """Where a fact comes from: a request, and the row of a workbook where one says so.

    A fact that an ingestion recorded about no single row has neither sheet nor row.
    """

    request_id: str
    ingestion_id: str | None
    sheet: str | None
    row: int | None


class ToldFact(Struct, frozen=True, kw_only=True, gc=False):
    """One fact as an auditor reads it: ``kind`` names the fact, ``what`` is a sentence.

    ``occurred_on`` is the day from which it was true, ``recorded_at`` when we learned of it.
    """

    position: int
    version: int
    kind: str
    what: str
    customer_number: int | None
    loan_number: int | None
    occurred_on: date
    recorded_at: datetime
    actor: str
    source: Source


def history(log: Log, subject: Subject, name: str, *, after: int = 0, limit: int) -> list[ToldFact]:
    """A page of the facts of one stream beyond version ``after``, in order.

    ``name`` is the number of a customer or loan, the id of an application. Raises
    ``UnknownSubjectError``.
    """
    stream = _stream(subject, name)
    placed = log.history(stream, after=after, limit=limit)
    if not placed and log.event(stream, 1) is None:
        raise UnknownSubjectError(subject, name)
    return [told(each) for each in placed]


def whole_history(log: Log, subject: Subject, name: str) -> Iterator[ToldFact]:
    """All facts of one stream in order, of which a piece at a time is in memory.

    Raises ``UnknownSubjectError`` at once.
    """
    placed = log.whole_history(_stream(subject, name))
    first = next(placed, None)
    if first is None:
        raise UnknownSubjectError(subject, name)
    return map(told, chain((first,), placed))


def told(placed: Placed) -> ToldFact:
    """One fact at its place, for people."""
    entry = placed.recorded.entry
    fact = entry.fact
    row = getattr(fact, "source", None)
    cause = entry.causation_id or ""
    request_id = cause.removeprefix(REQUEST) if cause.startswith(REQUEST) else entry.correlation_id
    return ToldFact(
        position=placed.position,
        version=placed.recorded.originator_version,
        kind=kind_of(topic(fact)),
        what=in_words(fact),
        customer_number=getattr(fact, "customer_number", None),
        loan_number=getattr(fact, "loan_number", None),
        occurred_on=fact.occurred_on,
        recorded_at=entry.recorded_at,
        actor=entry.actor,
        source=Source(
            request_id=request_id,
            ingestion_id=row.ingestion_id if row else getattr(fact, "ingestion_id", None),
            sheet=row.sheet if row else None,
            row=row.row if row else None,
        ),
    )


def kind_of(stored_topic: str) -> str:
    """What people call the facts of a topic: its last word."""
    return stored_topic.rpartition(".")[2]


def _stream(subject: Subject, name: str) -> UUID:
    number = int(name) if NUMBER.fullmatch(name) else 0
    match subject:
        case "customer":
            return customer_stream(number)
        case "loan":
            return loan_stream(number)
        case "application":
            return application_stream(name)
