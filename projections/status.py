"""How far each read table holds the log, and what holds the tail of the log itself."""

from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from credit_es.store.mapper import DECODER
from projections.projection import Projection
from projections.tables import PROJECTIONS, in_schema, live_table

BEHIND: Final = SQL("SELECT count(*) FROM {schema}.events WHERE position > %s")
OLDEST: Final = SQL(
    "SELECT state FROM {schema}.events WHERE position > %s ORDER BY position LIMIT 1"
)
KEPT: Final = SQL(
    "SELECT array_agg(version ORDER BY version) FROM {schema}.read_tables WHERE projection = %s"
)
LOWEST_FLOOR: Final = SQL(
    "SELECT l.pid, extract(epoch FROM now() - a.xact_start)::float8, a.state"
    " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE l.locktype = 'advisory' AND l.objsubid = 2"
    " AND l.classid = (SELECT q.tableoid FROM {schema}.log_position q)"
    " ORDER BY a.xact_start LIMIT 1"
)

LED: Final = (
    "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
    " WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.objsubid = 1"
    " AND l.granted AND (l.classid::bigint << 32 | l.objid::bigint)"
    " = hashtextextended('credit-es/projector/' || %s, 0))"
)


class Lag(Struct, frozen=True, kw_only=True):
    """How far a read table is behind the log; 0 seconds where it holds all of it."""

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
    """The open transaction that holds back the tail of the log."""

    pid: int
    seconds: float
    state: str


def lag(conn: Connection[TupleRow], schema: str, position: int) -> Lag:
    """How far a table at ``position`` is behind."""
    events, *_ = conn.execute(in_schema(BEHIND, schema), (position,)).fetchone() or (0,)
    oldest = conn.execute(in_schema(OLDEST, schema), (position,)).fetchone()
    if not oldest:
        return Lag(events=0, seconds=0.0)
    age = datetime.now(UTC) - DECODER.decode(oldest[0]).recorded_at
    return Lag(events=events, seconds=round(max(age.total_seconds(), 0.0), 3))


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
        definition=projection.definition,
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
    """Whether a projector leads, on this server."""
    return bool((conn.execute(LED, (schema,)).fetchone() or (False,))[0])
