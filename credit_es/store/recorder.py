"""The log behind the library's ports: append without a table lock, read without missing anything.

A statement trigger puts a floor under the positions that a transaction may get; a tail reader stops
below the lowest live floor. ``migrations/0001_events.sql`` has both, and says more.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
    IntegrityError,
    Notification,
    StoredEvent,
    Subscription,
)
from eventsourcing.postgres import (
    PostgresApplicationRecorder,
    PostgresDatastore,
    PostgresFactory,
)
from eventsourcing.utils import Environment, EnvType
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es.store import arrays
from credit_es.store.database import (
    RETRY_S,
    BusyError,
    ConnectionLostError,
    Database,
    StoreUnavailableError,
    transaction,
)
from credit_es.store.idempotency import APPEND_ONCE, Kept

APPEND: Final = SQL("SELECT {schema}.append($1::uuid[], $2::int8[], $3::text[], $4::bytea[])")
SAFE_POSITION: Final = SQL("SELECT {schema}.safe_position(%b::int8)")
EVENTS: Final = (
    "SELECT stream_id, version, topic, state FROM {schema}.events WHERE stream_id = %s"
    " AND version > %s AND version <= %s ORDER BY version "
)
EVENTS_UP: Final = SQL(EVENTS + "ASC LIMIT %s")
EVENTS_DOWN: Final = SQL(EVENTS + "DESC LIMIT %s")
NOTIFICATIONS: Final = SQL(
    "SELECT stream_id, version, topic, state, position FROM {schema}.events"
    " WHERE position > %s AND position <= %s ORDER BY position LIMIT %s"
)
NOTIFICATIONS_OF: Final = SQL(
    "SELECT stream_id, version, topic, state, position FROM {schema}.events"
    " WHERE position > %s AND position <= %s AND topic = ANY(%s) ORDER BY position LIMIT %s"
)
HEAD: Final = SQL("SELECT max(position) FROM {schema}.events")
# The message makes this statement's commit wait for the synchronous standbys, and so for all that
# it saw: a commit whose own wait was cut off is seen at once, and a fail-over may still lose it.
STORED: Final = SQL(
    "SELECT e.position, e.state = k.state, pg_logical_emit_message(true, 'credit-es', '')"
    " FROM unnest(%b::uuid[], %b::int8[], %b::bytea[])"
    " WITH ORDINALITY AS k (stream_id, version, state, n)"
    " LEFT JOIN {schema}.events e ON e.stream_id = k.stream_id AND e.version = k.version"
    " ORDER BY k.n"
)
LAST: Final = 2**63 - 1

Beside = Callable[[Cursor[TupleRow]], None]
"""Other work for the transaction of an append."""


class Tailed(NamedTuple):
    """The library's ``Notification``, which takes three times as long to make: a row of the log."""

    originator_id: UUID
    originator_version: int
    topic: str
    state: bytes
    id: int


class LogRecorder(PostgresApplicationRecorder):
    """Appends and reads the log of one schema; ``migrate`` makes the tables."""

    def __init__(self, datastore: PostgresDatastore, *, events_table_name: str = "events") -> None:
        super().__init__(datastore, events_table_name=events_table_name)
        assert isinstance(datastore, Database)
        self.sql_create_statements.clear()
        self.database = datastore
        self._append = datastore.call(APPEND)
        self._append_once = datastore.call(APPEND_ONCE)
        self._safe_position = datastore.sql(SAFE_POSITION)
        self._events = {False: datastore.sql(EVENTS_UP), True: datastore.sql(EVENTS_DOWN)}
        self._notifications = datastore.sql(NOTIFICATIONS)
        self._notifications_of = datastore.sql(NOTIFICATIONS_OF)
        self._head = datastore.sql(HEAD)
        self._stored = datastore.sql(STORED)

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        once: Kept | None = None,
        beside: Beside | None = None,
        **_: Any,
    ) -> Sequence[int]:
        """Append atomically; returns the positions in the order of the events.

        ``once`` keeps the request's answer in the same statement; ``beside`` does other work in the
        same transaction. Raises ``IntegrityError`` where a version is taken or the answer kept
        already, ``StoreUnavailableError`` where there is no server, ``ConnectionLostError`` where
        it went away and nobody can say whether it recorded them. A commit whose answer was lost
        is recognised by its own events.
        """
        give_up = time.monotonic() + RETRY_S
        lost = False
        try:
            while True:
                try:
                    with self.database.connection() as conn:
                        return self._insert(conn, stored_events, once, beside)
                except ConnectionLostError:
                    if time.monotonic() > give_up:
                        raise
                    lost = True
                except IntegrityError:
                    positions = self._own(stored_events) if lost and stored_events else None
                    if positions is None:
                        raise
                    return positions
        except (StoreUnavailableError, BusyError) as error:
            if lost:
                raise ConnectionLostError(str(error)) from error
            raise

    def _insert(
        self,
        conn: Connection[TupleRow],
        events: Sequence[StoredEvent],
        once: Kept | None,
        beside: Beside | None,
    ) -> list[int]:
        columns = (
            arrays.uuids(cast("UUID", e.originator_id) for e in events),
            arrays.int8s(e.originator_version for e in events),
            arrays.texts(e.topic for e in events),
            arrays.byteas(e.state for e in events),
        )
        append, values = (
            (self._append_once, once.columns + columns) if once else (self._append, columns)
        )
        if beside is None:
            rows = append.rows(conn, values)
        else:
            with transaction(conn) as cursor:
                beside(cursor)
                rows = append.rows(conn, values)
        ((positions,),) = rows
        return cast("list[int]", positions)

    def _own(self, events: Sequence[StoredEvent]) -> list[int] | None:
        """The positions of exactly these events, None where a stored one is another."""
        ids = [e.originator_id for e in events]
        versions = [e.originator_version for e in events]
        states = [e.state for e in events]
        rows = self.database.run(
            lambda conn: conn.execute(self._stored, (ids, versions, states)).fetchall()
        )
        return [position for position, *_ in rows] if all(same for _, same, _ in rows) else None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of one stream, by version."""
        values = (originator_id, -1 if gt is None else gt, LAST if lte is None else lte, limit)
        rows = self.database.run(
            lambda conn: conn.execute(self._events[desc], values, prepare=True).fetchall()
        )
        return [StoredEvent(*row) for row in rows]

    def safe_position(self, after: int) -> int:
        """How far the log may be read now: no event at or below can still appear."""
        row = self.database.run(
            lambda conn: conn.execute(self._safe_position, (after,), prepare=True).fetchone()
        )
        assert row is not None
        position: int = row[0]
        return position

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """The log in order of position, without a gap that could be filled later."""
        after = 0 if start is None else start - inclusive_of_start
        return [Notification(*row) for row in self.tail(after, limit, stop, topics)]

    def tail(
        self, after: int, limit: int, stop: int | None = None, topics: Sequence[str] = ()
    ) -> list[Tailed]:
        """The same beyond ``after``, for those who read much of it."""
        safe = self.safe_position(after)
        upto = safe if stop is None else min(stop, safe)
        statement = self._notifications_of if topics else self._notifications
        values = (after, upto, *([list(topics)] if topics else []), limit)
        rows = self.database.run(
            lambda conn: conn.execute(statement, values, prepare=True, binary=True).fetchall()
        )
        return [*map(Tailed._make, rows)]

    def max_notification_id(self) -> int | None:
        """The highest position that is committed, None for an empty log."""
        row = self.database.run(lambda conn: conn.execute(self._head).fetchone())
        assert row is not None
        position: int | None = row[0]
        return position

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """Not offered: the log is polled (``store/log.py``), and nothing notifies."""
        raise NotImplementedError("read the log with credit_es.store.log.Log")


class LogFactory(PostgresFactory):
    """Builds the library's parts on a ``Database`` from ``DATABASE_URL``."""

    def __init__(self, env: Environment | EnvType | None) -> None:
        InfrastructureFactory.__init__(self, env)
        prepared = self.env.get("CREDIT_PREPARED_STATEMENTS", "")
        url = self.env.get("DATABASE_URL")
        assert url
        self.datastore = Database(
            url,
            schema=self.env.get("CREDIT_SCHEMA") or "credit",
            pool_size=int(self.env.get("POSTGRES_POOL_SIZE") or 4),
            prepared={"on": True, "off": False}.get(prepared),
        )

    def env_create_table(self) -> bool:
        """Never: tables come from the migrations."""
        return False
