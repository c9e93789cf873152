"""Versioned read tables behind views.

A table ``loans_v7`` holds the log up to its position; a view ``loans_d4``, named after the
definition that the code was written for, shows one of them. Old and new code run side by side, and
a rebuild swaps the view. Who gives tables another form here, such as other keys, raises ``LAYOUT``.
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from psycopg import Connection, DataError
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composed, Identifier

from credit_es.store.database import in_schema
from credit_es.store.mapper import DIGESTION
from projections.applications import APPLICATIONS
from projections.customers import CUSTOMERS
from projections.loans import LOANS
from projections.projection import PoisonError, Projection
from projections.streams import streamed

PROJECTIONS: Final[tuple[Projection[Any], ...]] = (CUSTOMERS, LOANS, APPLICATIONS)

ENCODING: Final = (*DIGESTION, DataError, struct.error)
"""What psycopg raises at a value that its column cannot hold, in C or in Python."""
LIVE: Final = SQL(
    "SELECT version, position, problem FROM {schema}.read_tables"
    " WHERE projection = %s AND definition = %s AND live"
)
VERSIONS: Final = SQL(
    "SELECT version, position, live FROM {schema}.read_tables"
    " WHERE projection = %s AND definition = %s ORDER BY version"
)
HIGHEST: Final = SQL(
    "SELECT coalesce(max(version), 0) FROM {schema}.read_tables WHERE projection = %s"
)
ADD: Final = SQL(
    "INSERT INTO {schema}.read_tables"
    " (projection, definition, version, position, live, built_at)"
    " VALUES (%s, %s, %s, %s, true, now())"
)


class LiveTable(Struct, frozen=True, kw_only=True):
    """The table that a view shows, and the log position that it holds."""

    version: int
    position: int
    problem: str | None


class TableOf:
    """The statements of one versioned table of one projection in one schema."""

    def __init__(self, projection: Projection[Any], schema: str, version: int) -> None:
        self.projection = projection
        self.schema = schema
        self.version = version
        name = Identifier(f"{projection.name}_v{version}")
        self.name = Composed([Identifier(schema), SQL("."), name])
        self.view = view_of(projection, schema)
        names = [Identifier(column) for column in projection.columns]
        self._columns = SQL(", ").join(names)
        self._key = Identifier(projection.key)
        (kind,) = (SQL(kind) for name, kind, _ in projection.column_types if name == projection.key)
        held = SQL(" FROM {} WHERE {} = ANY(%s::{}[])").format(self.name, self._key, kind)
        self._load = SQL("SELECT {}").format(self._columns) + held
        self._delete = SQL("DELETE") + held

    def create(self, conn: Connection[TupleRow]) -> None:
        """Make the table anew, without its keys; what an interrupted rebuild left goes."""
        columns = SQL(", ").join(
            SQL("{} {} {}").format(Identifier(name), SQL(kind), SQL("" if null else "NOT NULL"))
            for name, kind, null in self.projection.column_types
        )
        conn.execute(SQL("DROP TABLE IF EXISTS {}").format(self.name))
        conn.execute(SQL("CREATE TABLE {} ({})").format(self.name, columns))

    def build_keys(self, conn: Connection[TupleRow]) -> None:
        """Add the primary key and the indexes, and gather statistics.

        The key is that of people, which grows as rows come: one of streams, being hashes, would
        have new rows touch pages all over it. No statistics of an empty table: knowing that it is
        empty, the server would plan to read all of it.
        """
        conn.execute(SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(self.name, self._key))
        for columns in self.projection.indexes:
            searched = SQL(", ").join(map(Identifier, columns))
            conn.execute(SQL("CREATE INDEX ON {} ({})").format(self.name, searched))
        if conn.execute(SQL("SELECT FROM {} LIMIT 1").format(self.name)).fetchone() is not None:
            conn.execute(SQL("ANALYZE {}").format(self.name))

    def drop(self, conn: Connection[TupleRow]) -> None:
        """Remove the table and forget it."""
        conn.execute(SQL("DROP TABLE IF EXISTS {}").format(self.name))

    def load(self, conn: Connection[TupleRow], keys: Collection[int | str]) -> dict[UUID, Any]:
        """The rows of these keys, by stream."""
        rows = conn.execute(self._load, (list(keys),)) if keys else ()
        return {row[0]: self.projection.of(row[1:]) for row in rows}

    def replace(
        self, conn: Connection[TupleRow], rows: Mapping[UUID, Any], held: Collection[int | str]
    ) -> None:
        """Write rows over those of the same keys; ``held`` are the keys of those that there are.

        Not by ``executemany``: psycopg sends that as a pipeline, whose last bytes stay unsent
        where the server reads slowly (3.3.9): both sides wait for ever.
        """
        if held:
            conn.execute(self._delete, (list(held),))
        self.fill(conn, rows.items())

    def fill(self, conn: Connection[TupleRow], rows: Iterable[tuple[UUID, Any]]) -> int:
        """Copy rows into the table, where none of their keys are; returns how many.

        Raises ``PoisonError`` at a row that cannot be written as its columns' types.
        """
        statement = SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(self.name, self._columns)
        count = 0
        with conn.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types([kind for _, kind, _ in self.projection.column_types])
            for stream_id, row in rows:
                try:
                    copy.write_row((stream_id, *self.projection.values(row)))
                except ENCODING as e:
                    raise PoisonError(self.projection.name, stream_id, row.version) from e
                count += 1
        return count

    @contextmanager
    def sorted_rows(self, conn: Connection[TupleRow]) -> Iterator[Iterator[tuple[UUID, Any]]]:
        """All rows by stream, streamed: until they are closed the connection does nothing else."""
        statement = SQL("SELECT {} FROM {} ORDER BY stream_id").format(self._columns, self.name)
        with streamed(conn, statement) as found:
            yield ((row[0], self.projection.of(row[1:])) for row in found)

    def show(self, conn: Connection[TupleRow]) -> None:
        """Point the view here. DROP and CREATE, because REPLACE cannot drop or retype a column."""
        conn.execute(SQL("DROP VIEW IF EXISTS {}").format(self.view))
        conn.execute(SQL("CREATE VIEW {} AS SELECT * FROM {}").format(self.view, self.name))


def view_of(projection: Projection[Any], schema: str) -> Composed:
    """The qualified name of the view that this code reads."""
    return Composed([Identifier(schema), SQL("."), Identifier(projection.shown_as)])


def leader_of(projection: Projection[Any], schema: str) -> str:
    """The name of the lock that whoever feeds the table of this definition holds."""
    return f"{schema}/{projection.shown_as}"


def live_table(
    conn: Connection[TupleRow], projection: Projection[Any], schema: str
) -> LiveTable | None:
    """The table that the view of this definition shows, None before ``migrate``."""
    values = (projection.name, projection.table_definition)
    row = conn.execute(in_schema(LIVE, schema), values).fetchone()
    return LiveTable(version=row[0], position=row[1], problem=row[2]) if row else None


def next_version(conn: Connection[TupleRow], projection: Projection[Any], schema: str) -> int:
    """A version that no kept table has."""
    row = conn.execute(in_schema(HIGHEST, schema), (projection.name,)).fetchone()
    assert row is not None
    version: int = row[0] + 1
    return version
