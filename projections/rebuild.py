"""Building a read table anew beside the one that serves, and swapping the view over to it.

Readers and writers go on. Shards fold the log up to its head and copy it out, the keys are built,
what came meanwhile is caught up, and one short transaction swaps the view. The old table stays for
``rollback``; a rebuild that is interrupted leaves it serving, and the next one cleans up.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import psycopg
from msgspec import Struct
from msgspec.structs import replace
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composed

from credit_es.store.database import (
    NEVER_IDLE,
    NOT_MIGRATED,
    PATIENT,
    Database,
    connection_info,
    in_schema,
)
from credit_es.store.log import Log
from credit_es.store.migrations import refuse_pooler
from credit_es.store.recorder import LogRecorder
from projections.projection import LAYOUT, PoisonError, Projection
from projections.projector import apply
from projections.shards import ShardError, build, shards_of
from projections.spread import processes_for
from projections.tables import (
    ADD,
    PROJECTIONS,
    VERSIONS,
    TableOf,
    live_table,
    next_version,
    view_of,
)

LOCK: Final = "SELECT pg_advisory_lock(hashtextextended('credit-es/rebuild/' || %s, 0))"
CLEAR_PROBLEM: Final = SQL(
    "UPDATE {schema}.read_tables SET problem = NULL WHERE projection = %s AND problem IS NOT NULL"
)
HIDE: Final = SQL(
    "UPDATE {schema}.read_tables SET live = false WHERE projection = %s AND definition = %s"
)
SHOW: Final = SQL(
    "UPDATE {schema}.read_tables SET live = true WHERE projection = %s AND version = %s"
)
FORGET: Final = SQL("DELETE FROM {schema}.read_tables WHERE projection = %s AND version = %s")
POSITION: Final = SQL("SELECT position FROM {schema}.events WHERE stream_id = %s AND version = %s")
OLDER: Final = SQL(
    "SELECT DISTINCT definition FROM {schema}.read_tables"
    " WHERE projection = %s AND definition < %s ORDER BY definition DESC"
)
SWAP_WAIT: Final = "SET LOCAL lock_timeout = '250ms'"
SWAP_TRIES: Final = 40
SWAP_PAUSE_S: Final = 0.25
CATCH_UPS: Final = 2

Progress = Callable[[int, int], None]
"""Called with the position reached and the position to reach."""


class RebuildError(Exception):
    """What was asked for cannot be done; the message says what can."""


class Rebuilt(Struct, frozen=True, kw_only=True):
    """A table that serves now: its version, what it holds, and how long building took."""

    projection: str
    version: int
    position: int
    rows: int
    seconds: float


class Rebuilder:
    """Builds read tables of one schema, over a direct connection."""

    def __init__(self, conn: Connection[TupleRow], reader: Log, *, url: str, schema: str) -> None:
        self._conn = conn
        self._reader = reader
        self._url = url
        self._schema = schema

    def prepare(self, projections: Sequence[Projection[Any]] = PROJECTIONS) -> list[str]:
        """Give every projection that has no table for this code's definition one, filled.

        The tables of the definition before stay, for the code that still runs and for a way back;
        those of older ones go.
        """
        lacking = [p for p in projections if live_table(self._conn, p, self._schema) is None]
        for projection in lacking:
            self.rebuild(projection)
        for projection in projections:
            self._drop_outdated(projection)
        return [projection.name for projection in lacking]

    def rebuild(
        self,
        projection: Projection[Any],
        progress: Progress = lambda _reached, _head: None,
        *,
        shards: int | None = None,
    ) -> Rebuilt:
        """Build the next version from the log and let the view show it.

        ``shards`` processes fold at once, by default one a core, and none for a small log. Raises
        ``RebuildError`` at a fact that the fold cannot digest, with its position, ``ShardError``
        where a shard was lost; the table that serves goes on serving then.
        """
        started = time.monotonic()
        version = next_version(self._conn, projection, self._schema)
        table = TableOf(projection, self._schema, version)
        head = self._reader.recorder.safe_position(0)
        count = shards or processes_for(head)
        table.create(self._conn)
        with self._or_drop(table):
            ranges = shards_of(table, url=self._url, head=head, count=count) if head else []
            rows = build(ranges, lambda share: progress(int(head * share), head), self._look)
            table.build_keys(self._conn)
            reached = self._catch_up(table, head, progress)
            served = live_table(self._conn, projection, self._schema)
            self._swap(table, reached)
        self._drop_all_but(projection, {version, served.version if served else version})
        return Rebuilt(
            projection=projection.name,
            version=version,
            position=reached,
            rows=rows,
            seconds=time.monotonic() - started,
        )

    def rollback(self, projection: Projection[Any]) -> Rebuilt:
        """Let the view show the table before; the projector then brings it up to the log."""
        kept = self._versions(projection)
        live = next((version for version, _, is_live in kept if is_live), None)
        before = [(version, position) for version, position, is_live in kept if not is_live]
        if live is None or not before:
            raise RebuildError(
                f"{projection.name} has no other table to go back to: rebuild it instead."
            )
        version, position = before[-1]
        self._swap(TableOf(projection, self._schema, version))
        return Rebuilt(
            projection=projection.name, version=version, position=position, rows=0, seconds=0.0
        )

    def retry(self, projection: Projection[Any]) -> bool:
        """Let a poisoned projection go on where it stopped; False where it is not poisoned."""
        values = (projection.name,)
        return self._conn.execute(in_schema(CLEAR_PROBLEM, self._schema), values).rowcount > 0

    @contextmanager
    def _or_drop(self, table: TableOf) -> Iterator[None]:
        """Leave nothing of what cannot be finished: a disk that it filled stays full for all."""
        try:
            yield
        except (PoisonError, ShardError, psycopg.Error) as error:
            if not self._conn.closed:
                table.drop(self._conn)
            if isinstance(error, PoisonError):
                raise RebuildError(self._where(error)) from error
            raise

    def _catch_up(self, table: TableOf, reached: int, progress: Progress) -> int:
        """Fold what came meanwhile, and what came while that was folded; returns the position.

        Then it is near enough: the projector goes on from here, and writers never end it.
        """
        for _ in range(CATCH_UPS):
            head = self._reader.recorder.safe_position(0)
            for batch in self._reader.tail(reached, upto=head):
                with self._conn.transaction():
                    reached = apply(self._conn, table, batch)
                progress(reached, head)
        return reached

    def _look(self) -> None:
        """Raise where the connection is gone, and with it the lock: another may build by now."""
        self._conn.execute("SELECT")

    def _where(self, poison: PoisonError) -> str:
        values = (poison.stream_id, poison.version)
        row = self._conn.execute(in_schema(POSITION, self._schema), values).fetchone()
        assert row is not None
        return f"position {row[0]}: {poison}. The table that serves goes on serving."

    def _versions(self, projection: Projection[Any]) -> list[tuple[int, int, bool]]:
        values = (projection.name, projection.table_definition)
        rows = self._conn.execute(in_schema(VERSIONS, self._schema), values).fetchall()
        return [(version, position, live) for version, position, live in rows]

    def _swap(self, table: TableOf, built_to: int | None = None) -> None:
        """Let the view show ``table``; a new one, built to a position, is known from then on."""
        projection, version = table.projection, table.version
        hidden, shown = (projection.name, projection.table_definition), (projection.name, version)

        def swap() -> None:
            self._conn.execute(in_schema(HIDE, self._schema), hidden)
            if built_to is None:
                self._conn.execute(in_schema(SHOW, self._schema), shown)
            else:
                self._conn.execute(in_schema(ADD, self._schema), (*hidden, version, built_to))
            table.show(self._conn)

        self._give_way(swap)

    def _give_way(self, work: Callable[[], object]) -> None:
        """Do ``work`` in one short transaction; gives way to readers, and tries again."""
        for attempt in range(1, SWAP_TRIES + 1):
            try:
                with self._conn.transaction():
                    self._conn.execute(SWAP_WAIT)
                    work()
            except psycopg.errors.LockNotAvailable:
                if attempt == SWAP_TRIES:
                    raise
                # Whoever waited behind us reads first, or our tries would add up to one long stop.
                time.sleep(SWAP_PAUSE_S)
            else:
                return

    def _drop_all_but(self, projection: Projection[Any], kept: set[int]) -> None:
        """Keep the table that serves and the one that served until now."""
        for version, _, _ in self._versions(projection):
            if version not in kept:
                table = TableOf(projection, self._schema, version)
                self._give_way(partial(self._drop, [table]))

    def _drop_outdated(self, projection: Projection[Any]) -> None:
        values = (projection.name, projection.table_definition)
        older = self._conn.execute(in_schema(OLDER, self._schema), values).fetchall()
        for (definition,) in older[1:]:
            outdated = replace(projection, definition=definition - LAYOUT)
            tables = [TableOf(outdated, self._schema, v) for v, _, _ in self._versions(outdated)]
            self._give_way(partial(self._drop, tables, view=view_of(outdated, self._schema)))

    def _drop(self, tables: Sequence[TableOf], view: Composed | None = None) -> None:
        if view is not None:
            self._conn.execute(SQL("DROP VIEW IF EXISTS {}").format(view))
        for table in tables:
            table.drop(self._conn)
            values = (table.projection.name, table.version)
            self._conn.execute(in_schema(FORGET, self._schema), values)


@contextmanager
def rebuilder(direct_url: str, schema: str) -> Iterator[Rebuilder]:
    """A rebuilder that no other one works beside; a fault of Postgres is a ``RebuildError``."""
    with psycopg.connect(connection_info(direct_url), autocommit=True) as conn:
        refuse_pooler(conn)
        conn.execute(PATIENT)
        conn.execute(LOCK, (schema,))
        conn.execute(NEVER_IDLE)
        database = Database(direct_url, schema=schema, pool_size=1)
        try:
            yield Rebuilder(conn, Log(LogRecorder(database)), url=direct_url, schema=schema)
        except NOT_MIGRATED as error:
            message = f"schema {schema} is not migrated: run `credit-es migrate`"
            raise RebuildError(message) from error
        except (psycopg.Error, ShardError) as error:
            raise RebuildError(" ".join(str(error).split())) from error
        finally:
            database.close()


def named(name: str) -> Projection[Any]:
    """The projection of this name; raises ``RebuildError``."""
    for projection in PROJECTIONS:
        if projection.name == name:
            return projection
    names = ", ".join(p.name for p in PROJECTIONS)
    raise RebuildError(f"There is no projection {name!r}: there are {names}.")
