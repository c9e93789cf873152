"""Reading the log: whole streams for decisions, the tail in order for projections.

What decodes raises ``UndigestedError`` at a fact that this code does not know.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from uuid import UUID

from eventsourcing.persistence import ApplicationRecorder
from msgspec import Struct
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es.domain.events import Event
from credit_es.settings import Settings
from credit_es.store.database import Database
from credit_es.store.mapper import Recorded, recorded
from credit_es.store.recorder import LogRecorder, Tailed

BATCH: Final = 3_000
"""Events a read, and a transaction of the projector: a commit's flush and the statements around it
cost the same for any number."""
STREAMS: Final = SQL(
    "SELECT stream_id, version, state FROM {schema}.events WHERE stream_id = ANY(%b)"
    " ORDER BY stream_id, version"
)
FIRST_TOPICS: Final = SQL(
    "SELECT stream_id, topic FROM {schema}.events WHERE stream_id = ANY(%b) AND version = 1"
)
EXCERPTS: Final = SQL(
    "SELECT e.stream_id, h.version, e.version, e.state FROM unnest(%b::uuid[]) AS i (id)"
    " CROSS JOIN LATERAL (SELECT max(version) AS version FROM {schema}.events"
    " WHERE stream_id = i.id) h JOIN {schema}.events e ON e.stream_id = i.id"
    " AND (e.version = 1 OR e.topic = ANY(%b::text[])) ORDER BY e.stream_id, e.version"
)
ONE: Final = SQL(
    "SELECT stream_id, version, state FROM {schema}.events WHERE stream_id = %s AND version = %s"
)
HISTORY: Final = SQL(
    "SELECT position, version, state FROM {schema}.events"
    " WHERE stream_id = %s AND version > %s ORDER BY version LIMIT %s"
)
PIECE: Final = 100
"""Rows that are decoded while the server sends the next ones."""
SOME: Final = SQL(
    "SELECT stream_id, version, state FROM {schema}.events"
    " WHERE stream_id = %s AND topic = ANY(%s) AND version < %s ORDER BY version DESC LIMIT %s"
)


class Head(Struct, frozen=True, kw_only=True):
    """Where the log stands: the last committed position, and the last that may be read."""

    last: int
    safe: int


class Excerpt(Struct, frozen=True, kw_only=True):
    """A stream's version, its first fact and those of some kinds."""

    version: int
    facts: list[Event]


class Placed(Struct, frozen=True, gc=False):
    """An entry with its position in the log as a whole."""

    position: int
    recorded: Recorded


class Log:
    """The log of one schema, read only."""

    def __init__(self, recorder: ApplicationRecorder) -> None:
        assert isinstance(recorder, LogRecorder)
        self.recorder = recorder
        self.database = recorder.database
        self._streams = self.database.sql(STREAMS)
        self._first_topics = self.database.sql(FIRST_TOPICS)
        self._excerpts = self.database.sql(EXCERPTS)
        self._one = self.database.sql(ONE)
        self._history = self.database.sql(HISTORY)
        self._some = self.database.sql(SOME)

    def streams(self, stream_ids: Iterable[UUID]) -> dict[UUID, list[Recorded]]:
        """Whole streams in one round trip; one without an event is not in the answer."""
        ids = list(stream_ids)
        rows = self.database.run(
            lambda conn: conn.execute(self._streams, (ids,), prepare=True, binary=True).fetchall()
        )
        found: dict[UUID, list[Recorded]] = {}
        for stream_id, version, state in rows:
            found.setdefault(stream_id, []).append(recorded(stream_id, version, state))
        return found

    def stream(self, stream_id: UUID) -> list[Recorded]:
        """One whole stream, empty where nothing was recorded."""
        return self.streams([stream_id]).get(stream_id, [])

    def history(self, stream_id: UUID, *, after: int = 0, limit: int) -> list[Placed]:
        """One stream beyond version ``after``, with positions."""
        values = (stream_id, after, limit)
        rows = self.database.run(
            lambda conn: conn.execute(self._history, values, prepare=True, binary=True).fetchall()
        )
        return [_placed(stream_id, row) for row in rows]

    def whole_history(self, stream_id: UUID) -> Iterator[Placed]:
        """One whole stream with positions, of which a piece at a time is in memory.

        The server reads on while a piece is looked at; the connection is taken until the end.
        """
        with self.database.connection() as conn, conn.cursor() as cursor:
            values = (stream_id, 0, None)
            for row in cursor.stream(self._history, values, binary=True, size=PIECE):
                yield _placed(stream_id, row)

    def first_topics(self, stream_ids: Iterable[UUID]) -> dict[UUID, str]:
        """What the first event of each stream is; one that does not exist is not in the answer."""
        ids = list(stream_ids)
        rows = self.database.run(
            lambda conn: conn.execute(
                self._first_topics, (ids,), prepare=True, binary=True
            ).fetchall()
        )
        return dict(rows)

    def excerpts(self, stream_ids: Iterable[UUID], topics: Sequence[str]) -> dict[UUID, Excerpt]:
        """The first fact of each stream and those of some kinds, in one round trip."""
        values = (list(stream_ids), topics)
        rows = self.database.run(
            lambda conn: conn.execute(self._excerpts, values, prepare=True, binary=True).fetchall()
        )
        found: dict[UUID, Excerpt] = {}
        for stream_id, head, version, state in rows:
            excerpt = found.setdefault(stream_id, Excerpt(version=head, facts=[]))
            excerpt.facts.append(recorded(stream_id, version, state).entry.fact)
        return found

    def event(self, stream_id: UUID, version: int) -> Recorded | None:
        """One event, by its place."""
        row = self.database.run(
            lambda conn: conn.execute(
                self._one, (stream_id, version), prepare=True, binary=True
            ).fetchone()
        )
        return recorded(*row) if row else None

    def latest(
        self, stream_id: UUID, topics: Iterable[str], *, before: int, limit: int
    ) -> list[Recorded]:
        """Events of some kinds in one stream, the latest first, below version ``before``."""
        values = (stream_id, list(topics), before, limit)
        rows = self.database.run(
            lambda conn: conn.execute(self._some, values, prepare=True, binary=True).fetchall()
        )
        return [recorded(*row) for row in rows]

    def head(self) -> Head:
        """Where the log stands now."""
        safe = self.recorder.safe_position(0)
        return Head(last=max(self.recorder.max_notification_id() or 0, safe), safe=safe)

    def tail(
        self, after: int, *, upto: int | None = None, limit: int = BATCH
    ) -> Iterator[list[Tailed]]:
        """Batches in order of position, undecoded, until there is no more to read for now."""
        while batch := self.recorder.tail(after, limit, upto):
            yield batch
            after = batch[-1].id


def primary_log(settings: Settings, *, pool_size: int) -> Log:
    """The log where it is written; connects when it is first asked."""
    return Log(LogRecorder(Database.at(settings.database_url, settings, pool_size=pool_size)))


def _placed(stream_id: UUID, row: TupleRow) -> Placed:
    position, version, state = row
    return Placed(position, recorded(stream_id, version, state))
