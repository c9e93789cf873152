"""How far each read table holds the log, and what holds the tail of the log itself."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es.store.database import in_schema
from credit_es.store.mapper import DIGESTION
from projections.projection import Projection
from projections.tables import PROJECTIONS, leader_of, live_table

COUNT_TO: Final = 10_000
"""A table that far behind is behind, and whoever asks how far must not wait for a longer count."""
BEHIND: Final = SQL(
    "SELECT count(*) FROM (SELECT FROM {schema}.events WHERE position > %s LIMIT %s) e"
)
OLDEST: Final = SQL(
    "SELECT state FROM {schema}.events WHERE position > %s ORDER BY position LIMIT %s"
)
LOOK_AT: Final = 100
KEPT: Final = SQL(
    "SELECT array_agg(version ORDER BY version) FROM {schema}.read_tables WHERE projection = %s"
)
# A floor's key is the low half of a position: how far it lies below the head orders them.
LOWEST_FLOOR: Final = SQL(
    "SELECT l.pid, extract(epoch FROM now() - a.xact_start)::float8, a.state"
    " FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)"
    " WHERE l.locktype = 'advisory' AND l.objsubid = 2"
    " AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"
    " AND l.classid = (SELECT q.tableoid FROM {schema}.log_position q)"
    " ORDER BY (((SELECT q.last_value - CASE WHEN q.is_called THEN 0 ELSE 1 END"
    " FROM {schema}.log_position q) - l.objid::bigint) & 4294967295)::bit(32)::int DESC LIMIT 1"
)

LED: Final = (
    "SELECT bool_and(EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
    " WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.objsubid = 1"
    " AND l.granted AND (l.classid::bigint << 32 | l.objid::bigint)"
    " = hashtextextended('credit-es/projector/' || leader, 0))) FROM unnest(%s::text[]) leader"
)


class RecordedAt(Struct, frozen=True):
    """All that is asked of an entry here, so that one that no fold can digest still answers."""

    recorded_at: datetime


RECORDED_AT: Final = msgspec.json.Decoder(RecordedAt)


class Lag(Struct, frozen=True, kw_only=True):
    """How far a read table is behind the log, 10,000 events meaning so many or more.

    0 seconds where it holds all of it.
    """

    events: int
    seconds: float


class ProjectionStatus(Struct, frozen=True, kw_only=True):
    """Where one projection stands; ``problem`` is what poisoned it."""

    projection: str
    definition: int
    version: int
    kept_versions: tuple[int, ...]
    position: int
    lag: Lag
    problem: str | None


class Floor(Struct, frozen=True, kw_only=True):
    """The open transaction that holds back the tail of the log.

    A prepared one has no process. Of another role's the server tells the process only, unless the
    one that asks is a member of ``pg_read_all_stats``.
    """

    pid: int | None
    seconds: float | None
    state: str | None


def lag(conn: Connection[TupleRow], schema: str, position: int) -> Lag:
    """How far a table at ``position`` is behind."""
    events, *_ = conn.execute(in_schema(BEHIND, schema), (position, COUNT_TO)).fetchone() or (0,)
    recorded_at = _oldest(conn, schema, position) if events else None
    age = (datetime.now(UTC) - recorded_at).total_seconds() if recorded_at else 0.0
    return Lag(events=events, seconds=round(max(age, 0.0), 3))


def _oldest(conn: Connection[TupleRow], schema: str, position: int) -> datetime | None:
    """When the first entry behind ``position`` was recorded.

    Where a poisoned one does not even say that, the next one does; None where none does.
    """
    for limit in (1, LOOK_AT):
        for (state,) in conn.execute(in_schema(OLDEST, schema), (position, limit)):
            try:
                return RECORDED_AT.decode(state).recorded_at
            except DIGESTION:
                continue
    return None


def status(conn: Connection[TupleRow], schema: str) -> list[ProjectionStatus]:
    """Where every projection of this code stands; one that is not built yet is left out."""
    return [
        found
        for projection in PROJECTIONS
        if (found := projection_status(conn, schema, projection)) is not None
    ]


def projection_status(
    conn: Connection[TupleRow], schema: str, projection: Projection[Any]
) -> ProjectionStatus | None:
    """Where one projection stands, None before ``migrate``."""
    live = live_table(conn, projection, schema)
    if live is None:
        return None
    (kept,) = conn.execute(in_schema(KEPT, schema), (projection.name,)).fetchone() or ([],)
    return ProjectionStatus(
        projection=projection.name,
        definition=projection.table_definition,
        version=live.version,
        kept_versions=tuple(kept),
        position=live.position,
        lag=lag(conn, schema, live.position),
        problem=live.problem,
    )


def lowest_floor(conn: Connection[TupleRow], schema: str) -> Floor | None:
    """Who holds the tail back the longest, None where nobody does."""
    row = conn.execute(in_schema(LOWEST_FLOOR, schema)).fetchone()
    return Floor(pid=row[0], seconds=row[1], state=row[2]) if row else None


def is_led(conn: Connection[TupleRow], schema: str) -> bool:
    """Whether every read table of this code has a leader, on this server."""
    leaders = [leader_of(projection, schema) for projection in PROJECTIONS]
    return bool((conn.execute(LED, (leaders,)).fetchone() or (False,))[0])
