"""Aggregates from their streams, with snapshots, so that a long history costs no more than a short.

A snapshot is a state folded so far. It is disposable: one of another definition is not used, and an
emptied table only costs time, as does one that cannot be read.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es.store import arrays
from credit_es.store.database import Database
from credit_es.store.mapper import DECODER, DIGESTION, ENCODER, UndigestedError

log = structlog.get_logger()

EVERY: Final = 50
"""Events beyond its snapshot that make a stream worth a new one."""

# Ordered, the inner query is planned by itself: both its conditions go to the index, whatever the
# server knows of the tables. As a join, planned for an empty table, it read the whole stream.
LOAD: Final = SQL(
    "SELECT i.n, true, s.version, s.state"
    " FROM unnest($1::uuid[], $2::int8[]) WITH ORDINALITY i (id, definition, n)"
    " JOIN {schema}.snapshots s ON s.stream_id = i.id AND s.definition = i.definition"
    " UNION ALL SELECT i.n, false, e.version, e.state"
    " FROM unnest($1::uuid[], $2::int8[]) WITH ORDINALITY i (id, definition, n)"
    " LEFT JOIN {schema}.snapshots s ON s.stream_id = i.id AND s.definition = i.definition"
    " CROSS JOIN LATERAL (SELECT version, state FROM {schema}.events"
    " WHERE stream_id = i.id AND version > coalesce(s.version, 0) ORDER BY version) e"
    " ORDER BY 1, 3"
)
SAVE: Final = SQL(
    "INSERT INTO {schema}.snapshots AS s (stream_id, definition, version, state)"
    " VALUES (%s, %s, %s, %s) ON CONFLICT (stream_id) DO UPDATE"
    " SET definition = excluded.definition, version = excluded.version, state = excluded.state"
    " WHERE s.definition <> excluded.definition OR s.version < excluded.version"
)

FORGET: Final = SQL(
    "DELETE FROM {schema}.snapshots WHERE stream_id = %s AND definition = %s AND version = %s"
)
STORED: Final = SQL(
    "SELECT stream_id, definition, version, state FROM {schema}.snapshots"
    " WHERE stream_id > %s ORDER BY stream_id LIMIT 100"
)


class Stored(Struct, frozen=True):
    """A snapshot as it is kept; one of another definition than the code's is not used."""

    stream_id: UUID
    definition: int
    version: int
    state: bytes


def stored_snapshots(database: Database) -> Iterator[Stored]:
    """All snapshots, by stream."""
    statement, after = database.sql(STORED), UUID(int=0)

    def rows(conn: Connection[TupleRow]) -> list[TupleRow]:
        return conn.execute(statement, (after,)).fetchall()

    while found := database.run(rows):
        yield from (Stored(*row) for row in found)
        after = found[-1][0]


class Versioned(Protocol):
    """The state of an aggregate, which knows the version of the last fact in it."""

    @property
    def version(self) -> int:
        """The last fact's version in its stream."""
        ...


State = TypeVar("State", bound=Versioned)
Other = TypeVar("Other", bound=Versioned)
History = list[tuple[bool, int, bytes]]
"""What a stream's state is made of: its snapshot (true), its version and state, if there is one;
then the events beyond it (false), their versions and entries."""


class Aggregates(Generic[State]):
    """Aggregates of one kind; raise ``definition`` when the state or its fold changes."""

    def __init__(
        self,
        database: Database,
        kind: type[State],
        evolve: Callable[[State | None, Any], State],
        definition: int,
    ) -> None:
        self._database = database
        self._evolve = evolve
        self._definition = definition
        self._decoder = msgspec.json.Decoder(kind)
        self._load = database.call(LOAD)
        self._save = database.sql(SAVE)
        self._forget = database.sql(FORGET)

    def load(self, stream_ids: Sequence[UUID]) -> list[State | None]:
        """The states of these streams, in one round trip; None where there is no event.

        A stream that has grown long since its snapshot gets a new one, in a second; a snapshot that
        cannot be read costs two more. Raises ``UndigestedError``.
        """
        return self.load_with(stream_ids, self, ())[0]

    def load_with(
        self, stream_ids: Sequence[UUID], others: "Aggregates[Other]", of_others: Sequence[UUID]
    ) -> tuple[list[State | None], list[Other | None]]:
        """As ``load``, with streams of another kind in the same round trip and snapshot."""
        ids = [*stream_ids, *of_others]
        own = len(stream_ids)
        definitions = [self._definition] * own + [others._definition] * len(of_others)
        values = (arrays.uuids(ids), arrays.int8s(definitions))
        rows = self._database.run(lambda conn: self._load.rows(conn, values))
        histories: list[History] = [[] for _ in ids]
        for place, *stored in rows:
            histories[place - 1].append(tuple(stored))
        return (
            [*map(self._state, stream_ids, histories)],
            [*map(others._state, of_others, histories[own:])],
        )

    def _state(self, stream_id: UUID, history: History) -> State | None:
        state: State | None = None
        beyond = 0
        for is_snapshot, version, stored in history:
            try:
                if is_snapshot:
                    state = self._decoder.decode(stored)
                else:
                    state = self._evolve(state, DECODER.decode(stored).fact)
                    beyond += 1
            except DIGESTION as e:
                if not is_snapshot:
                    raise UndigestedError(stream_id, version) from e
                log.warning("snapshot unreadable", stream_id=str(stream_id), error=str(e))
                self._drop(stream_id, version)
                return self.load([stream_id])[0]
        if beyond >= EVERY and state is not None:
            self._keep(stream_id, state)
        return state

    def _drop(self, stream_id: UUID, version: int) -> None:
        values = (stream_id, self._definition, version)
        self._database.run(lambda conn: conn.execute(self._forget, values))

    def _keep(self, stream_id: UUID, state: State) -> None:
        values = (stream_id, self._definition, state.version, ENCODER.encode(state))
        self._database.run(lambda conn: conn.execute(self._save, values))
