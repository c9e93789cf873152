"""The projector: one leader a read table follows the log and feeds it, in batches.

A batch and the position it brings the table to are one transaction, and the position is fenced: a
leader who lost its lock unnoticed writes nothing. Polling, no LISTEN; a poisoned projection stops
alone, where anybody can see it. During a roll-out the new code's projector leads where the old code
has no table, and takes over the tables of both when the old one ends.
"""

import signal
import time
from collections.abc import Sequence
from threading import Event as Stop
from typing import Any, Final
from uuid import UUID

import psycopg
import structlog
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es.settings import Settings
from credit_es.store.database import (
    NOT_MIGRATED,
    SESSION,
    BusyError,
    Database,
    StoreUnavailableError,
    connection_info,
    in_schema,
)
from credit_es.store.log import BATCH, Log
from credit_es.store.migrations import refuse_pooler
from credit_es.store.recorder import LogRecorder, Tailed
from projections.facts import FactIndex
from projections.projection import PoisonError, Projection
from projections.tables import PROJECTIONS, LiveTable, TableOf, leader_of, live_table

log = structlog.get_logger()

POLL_S: Final = 0.05
"""How late a list may be at best; decision record 11."""
STAND_BY_S: Final = 1.0
PASSING: Final = (
    psycopg.OperationalError,
    psycopg.errors.ReadOnlySqlTransaction,
    StoreUnavailableError,
    BusyError,
    *NOT_MIGRATED,
)
"""What is over some time: there is no server, or it is a standby still, or a table is locked."""
LULL: Final = 1_000
"""Fewer events at once leave time for the index of facts; an import goes on with more."""
LEAD: Final = "SELECT pg_try_advisory_lock(hashtextextended('credit-es/projector/' || %s, 0))"
MOVE: Final = SQL(
    "UPDATE {schema}.read_tables SET position = %s"
    " WHERE projection = %s AND version = %s AND position = %s AND live"
)
POISON: Final = SQL(
    "UPDATE {schema}.read_tables SET problem = %s"
    " WHERE projection = %s AND version = %s AND position = %s AND live"
)


class FencedError(Exception):
    """Somebody else moved the table's position, or the view: what was read is out of date."""


def apply(
    conn: Connection[TupleRow],
    table: TableOf,
    batch: Sequence[Tailed],
) -> int:
    """Fold a batch of the log into a table; returns the position reached.

    Raises ``PoisonError`` at an event that the fold cannot digest; nothing is written then.
    """
    projection = table.projection
    mine = [event for event in batch if projection.concerns(event.topic)]
    if mine:
        first = {event.originator_id: event for event in reversed(mine)}
        # A stream that begins here has no row; one that has nevertheless fails to be written.
        keys = {
            projection.key_of(stream, event.originator_version, event.state)
            for stream, event in first.items()
            if event.originator_version > 1
        }
        rows = table.load(conn, keys)
        held = [getattr(row, projection.key) for row in rows.values()]
        fold(projection, rows, mine)
        # Behind the fence nobody else writes: a stream without a row still has none.
        table.replace(conn, rows, held)
    return batch[-1].id


def fold(
    projection: Projection[Any], rows: dict[UUID, Any], events: Sequence[Tailed]
) -> dict[UUID, Any]:
    """Fold events into the rows of their streams, in place."""
    for event in events:
        stream = event.originator_id
        rows[stream] = projection.advance(
            rows.get(stream), stream, event.originator_version, event.state
        )
    return rows


class Projector:
    """Brings the live tables of one schema up to the log, on one connection."""

    def __init__(self, conn: Connection[TupleRow], reader: Log, schema: str) -> None:
        self._conn = conn
        self._reader = reader
        self._schema = schema

    def step(self, projections: Sequence[Projection[Any]] = PROJECTIONS) -> int:
        """Feed every table its next batch; tables at the same position share the reading of it.

        So one that is far behind holds up no other. Returns the events of the longest batch; 0
        where all tables hold the whole log.
        """
        targets: dict[int, list[tuple[Projection[Any], LiveTable]]] = {}
        for projection in projections:
            live = live_table(self._conn, projection, self._schema)
            if live is not None and live.problem is None:
                targets.setdefault(live.position, []).append((projection, live))
        longest = 0
        for position, tables in targets.items():
            batch = next(self._reader.tail(position, limit=BATCH), [])
            longest = max(longest, len(batch))
            for projection, live in tables if batch else ():
                self._feed(projection, live, batch)
        return longest

    def _feed(self, projection: Projection[Any], live: LiveTable, batch: Sequence[Tailed]) -> None:
        try:
            with self._conn.transaction():
                # The fence first: behind it the rows are as they were at the position read.
                self._move(projection, live, batch[-1].id)
                apply(self._conn, TableOf(projection, self._schema, live.version), batch)
        except FencedError:
            log.info("projection moved by another", projection=projection.name)
        except (PoisonError, psycopg.DataError, psycopg.IntegrityError) as error:
            if len(batch) > 1:
                # What comes before the poisoned event is fed; a later step meets the event alone.
                self._feed(projection, live, batch[: len(batch) // 2])
                return
            position = batch[0].id
            log.exception("projection poisoned", projection=projection.name, position=position)
            problem = f"position {position}: {error}"
            values = (problem, projection.name, live.version, live.position)
            self._conn.execute(in_schema(POISON, self._schema), values)

    def _move(self, projection: Projection[Any], live: LiveTable, reached: int) -> None:
        values = (reached, projection.name, live.version, live.position)
        if self._conn.execute(in_schema(MOVE, self._schema), values).rowcount != 1:
            raise FencedError


def run(settings: Settings) -> None:
    """Lead or stand by, until SIGTERM or SIGINT."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        try:
            _lead(settings, stop)
        except PASSING as error:
            log.warning("projector waits for postgres", error=str(error).strip())
            stop.wait(STAND_BY_S)


def _lead(settings: Settings, stop: Stop) -> None:
    info = connection_info(settings.database_direct_url)
    with psycopg.connect(info, autocommit=True) as conn:
        refuse_pooler(conn)
        conn.execute(SESSION)
        database = Database(settings.database_direct_url, schema=settings.schema, pool_size=1)
        try:
            reader = Log(LogRecorder(database))
            projector = Projector(conn, reader, settings.schema)
            index = FactIndex(conn, reader, settings.schema)
            _follow(projector, index, conn, settings.schema, stop)
        finally:
            database.close()


def _follow(
    projector: Projector,
    index: FactIndex,
    conn: Connection[TupleRow],
    schema: str,
    stop: Stop,
) -> None:
    led: list[Projection[Any]] = []
    look_again = 0.0
    standing_by = False
    while not stop.is_set():
        if len(led) < len(PROJECTIONS) and time.monotonic() >= look_again:
            look_again = time.monotonic() + STAND_BY_S
            gained = [p for p in PROJECTIONS if p not in led and _may_lead(conn, p, schema)]
            led += gained
            if gained:
                log.info("projector leads", tables=[p.shown_as for p in gained])
            if len(led) < len(PROJECTIONS) and not standing_by:
                standing_by = True
                log.info(
                    "projector stands by", tables=[p.shown_as for p in PROJECTIONS if p not in led]
                )
        started = time.monotonic()
        count = projector.step(led)
        if led and count < LULL:
            # The read tables come first: searches may wait until there is nothing else to do.
            count = max(count, index.step())
        if count:
            log.debug("batch", events=count, seconds=time.monotonic() - started)
        if count < LULL:
            stop.wait(POLL_S)


def _may_lead(conn: Connection[TupleRow], projection: Projection[Any], schema: str) -> bool:
    row = conn.execute(LEAD, (leader_of(projection, schema),)).fetchone()
    assert row is not None
    return bool(row[0])
