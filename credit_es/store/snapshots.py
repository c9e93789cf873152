"""Aggregates from their streams, with snapshots, so that a long history costs no more than a short.

A snapshot is a state folded so far. It is disposable: one of another definition is not used, and an
emptied table only costs time.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

import msgspec
from psycopg.sql import SQL

from credit_es.domain.events import Event
from credit_es.store.database import Database
from credit_es.store.mapper import DECODER, ENCODER

EVERY: Final = 50
"""Events beyond its snapshot that make a stream worth a new one."""

LOAD: Final = SQL(
    "SELECT stream_id, true, version, state FROM {schema}.snapshots"
    " WHERE stream_id = ANY(%(ids)b) AND definition = %(definition)b"
    " UNION ALL SELECT i.id, false, e.version, e.state FROM unnest(%(ids)b::uuid[]) AS i (id)"
    " LEFT JOIN {schema}.snapshots s ON s.stream_id = i.id AND s.definition = %(definition)b"
    " CROSS JOIN LATERAL (SELECT version, state FROM {schema}.events"
    " WHERE stream_id = i.id AND version > coalesce(s.version, 0)) e ORDER BY 1, 3"
)
SAVE: Final = SQL(
    "INSERT INTO {schema}.snapshots AS s (stream_id, definition, version, state)"
    " VALUES (%s, %s, %s, %s) ON CONFLICT (stream_id) DO UPDATE"
    " SET definition = excluded.definition, version = excluded.version, state = excluded.state"
    " WHERE s.definition <> excluded.definition OR s.version < excluded.version"
)


class Versioned(Protocol):
    """The state of an aggregate, which knows the version of the last fact in it."""

    @property
    def version(self) -> int:
        """The last fact's version in its stream."""
        ...


State = TypeVar("State", bound=Versioned)


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
        self._load = database.sql(LOAD)
        self._save = database.sql(SAVE)

    def load(self, stream_ids: Iterable[UUID]) -> dict[UUID, State]:
        """The states of these streams, in one round trip; one without an event is not among them.

        A stream that has grown long since its snapshot gets a new one, in a second.
        """
        values = {"ids": list(stream_ids), "definition": self._definition}
        rows = self._database.run(
            lambda conn: conn.execute(self._load, values, prepare=True).fetchall()
        )
        states: dict[UUID, State] = {}
        grown: dict[UUID, int] = {}
        for stream_id, is_snapshot, _, stored in rows:
            if is_snapshot:
                states[stream_id] = self._decoder.decode(stored)
                continue
            fact: Event = DECODER.decode(stored).fact
            states[stream_id] = self._evolve(states.get(stream_id), fact)
            grown[stream_id] = grown.get(stream_id, 0) + 1
        for stream_id, events in grown.items():
            if events >= EVERY:
                self._keep(stream_id, states[stream_id])
        return states

    def _keep(self, stream_id: UUID, state: State) -> None:
        values = (stream_id, self._definition, state.version, ENCODER.encode(state))
        self._database.run(lambda conn: conn.execute(self._save, values))
