"""Log entries: a fact and how we came to know it, as JSON; the fact's tag is the stored topic."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import sha1
from typing import Any, Final, Self, get_args
from uuid import UUID, uuid5

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent
from msgspec import Struct

from credit_es.domain.events import (
    ApplicationEvent,
    CustomerEvent,
    Event,
    IngestionEvent,
    LoanEvent,
    PolicyAdopted,
)

NAMESPACE: Final = UUID("8f5d4a52-6f0e-5c62-9d4b-0a6f1c9a7e10")
"""Of the uuid5 that names a stream; it never changes."""
NAMESPACE_BYTES: Final = NAMESPACE.bytes
STREAMS_KEPT: Final = 4096
"""A command or a batch of an import asks for the same stream several times."""


class Entry(Struct, frozen=True, kw_only=True, gc=False):
    """What one row of the log says: UTC ``recorded_at``, and who and what brought the fact.

    ``correlation_id`` is the same for all that one request set off, ``causation_id`` names the step
    that recorded this.
    """

    fact: Event
    recorded_at: datetime
    actor: str
    correlation_id: str
    causation_id: str | None = None


class Recorded(Struct, frozen=True, gc=False):
    """An entry at its place: the names of the first two fields are the library's protocol."""

    originator_id: UUID
    originator_version: int
    entry: Entry


class UndigestedError(Exception):
    """A fact that this code cannot decode or fold: nothing is decided or told without it."""

    def __init__(self, stream_id: UUID, version: int) -> None:
        super().__init__(f"the fact at version {version} of stream {stream_id} cannot be read")
        self.stream_id = stream_id
        self.version = version

    def __reduce__(self) -> tuple[type[Self], tuple[UUID, int]]:
        """It travels between processes."""
        return type(self), (self.stream_id, self.version)


ENCODER: Final = msgspec.json.Encoder(decimal_format="string")
DECODER: Final = msgspec.json.Decoder(Entry)
DIGESTION: Final = (
    AssertionError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What decoding and folding a fact may end in; msgspec's errors are values' errors, as is text that
is no UTF-8."""


def topic(fact: Event | type[Event]) -> str:
    """The stored name of a fact's kind."""
    tag = fact.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


TOPICS: Final = frozenset(topic(kind) for kind in get_args(Event))


def customer_stream(customer_number: int) -> UUID:
    """The stream of one customer."""
    return _stream("customer", customer_number)


def loan_stream(loan_number: int) -> UUID:
    """The stream of one loan."""
    return _stream("loan", loan_number)


def application_stream(application_id: str) -> UUID:
    """The stream of one application's manual review; its id is that of the decision to refer it."""
    return uuid5(NAMESPACE, f"application/{application_id}")


def ingestion_stream(ingestion_id: str) -> UUID:
    """The stream of one ingestion."""
    return uuid5(NAMESPACE, f"ingestion/{ingestion_id}")


def policy_stream(policy_hash: str) -> UUID:
    """The stream of one policy."""
    return uuid5(NAMESPACE, f"policy/{policy_hash}")


@lru_cache(STREAMS_KEPT)
def _stream(kind: str, number: int) -> UUID:
    # What uuid5 does, at six tenths of its time.
    digest = sha1(NAMESPACE_BYTES + f"{kind}/{number}".encode(), usedforsecurity=False).digest()
    return UUID(bytes=digest[:16], version=5)


STREAM_OF: Final[Mapping[type[Event], Callable[[Any], UUID]]] = {
    kind: stream
    for kinds, stream in (
        (get_args(CustomerEvent), lambda fact: customer_stream(fact.customer_number)),
        (get_args(LoanEvent), lambda fact: loan_stream(fact.loan_number)),
        (get_args(ApplicationEvent), lambda fact: application_stream(fact.application_id)),
        (get_args(IngestionEvent), lambda fact: ingestion_stream(fact.ingestion_id)),
        ((PolicyAdopted,), lambda fact: policy_stream(fact.policy_hash)),
    )
    for kind in kinds
}


def stream_of(fact: Event) -> UUID:
    """The stream that a fact belongs to."""
    return STREAM_OF[type(fact)](fact)


def recorded(stream_id: UUID, version: int, state: bytes) -> Recorded:
    """A row of the log, decoded; raises ``UndigestedError``."""
    try:
        return Recorded(stream_id, version, DECODER.decode(state))
    except DIGESTION as e:
        raise UndigestedError(stream_id, version) from e


class EntryMapper(Mapper[UUID]):
    """Entries to rows of the log and back; no module name is ever stored."""

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        """Encode one recorded entry."""
        assert isinstance(domain_event, Recorded)
        return StoredEvent(
            domain_event.originator_id,
            domain_event.originator_version,
            topic(domain_event.entry.fact),
            ENCODER.encode(domain_event.entry),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Recorded:
        """Decode one row; an unknown tag is an error, never a skip."""
        assert isinstance(stored_event.originator_id, UUID)
        return Recorded(
            stored_event.originator_id,
            stored_event.originator_version,
            DECODER.decode(stored_event.state),
        )
