"""Folding the log again and comparing with what a live table says."""

from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.store.log import Log
from projections.projection import PoisonError, Projection
from projections.rebuild import Progress
from projections.streams import STREAMS, Events, sorted_events
from projections.tables import LiveTable, TableOf, live_table

REPORT_EVERY: Final = 2_000
SNAPSHOT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class VerifyError(Exception):
    """The table cannot be compared with the log; the message says why."""


class Difference(Struct, frozen=True, kw_only=True):
    """A row that is not what the log says; None where one side has no row."""

    projection: str
    number: int | str
    stored: dict[str, Any] | None
    folded: dict[str, Any] | None

    def words(self) -> str:
        """What each side says, for people; a row stands as the JSON of its fields."""
        stored, folded = (
            "nothing" if row is None else msgspec.json.encode(row).decode()
            for row in (self.stored, self.folded)
        )
        return f"the table says {stored}, the log says {folded}"


def verify(
    conn: Connection[TupleRow],
    reader: Log,
    schema: str,
    projection: Projection[Any],
    progress: Progress = lambda _reached, _head: None,
) -> Iterator[Difference]:
    """Yield the rows of the live table that a fresh fold up to its position does not give.

    Both sides come sorted by stream and are merged, so that one row of each is in memory. The table
    is read in one snapshot with its position; the log up to there is the same in every later one,
    and is read on another connection, of the reader.
    """
    with conn.transaction():
        conn.execute(SNAPSHOT)
        live = _live(conn, projection, schema)
        with (
            TableOf(projection, schema, live.version).sorted_rows(conn) as rows,
            reader.database.connection() as other,
            sorted_events(other, schema, topics=projection.topics, head=live.position) as events,
        ):
            folded = _folded(projection, events, live.position, progress)
            yield from _differences(projection, rows, folded)
    progress(live.position, live.position)


def _folded(
    projection: Projection[Any], events: Events, position: int, progress: Progress
) -> Iterator[tuple[UUID, Any]]:
    streams = groupby(events, key=itemgetter(0))
    for number, (stream_id, stream) in enumerate(streams, 1):
        row = None
        try:
            for _, version, state in stream:
                row = projection.advance(row, stream_id, version, state)
        except PoisonError as error:
            raise VerifyError(f"{error}, and its table claims to hold it.") from error
        yield stream_id, row
        if number % REPORT_EVERY == 1:
            progress(position * stream_id.int // STREAMS, position)


def _differences(
    projection: Projection[Any],
    rows: Iterator[tuple[UUID, Any]],
    folded: Iterator[tuple[UUID, Any]],
) -> Iterator[Difference]:
    """Merge both sides, and compare what is of one stream."""
    sides = merge(
        ((stream_id, True, row) for stream_id, row in rows),
        ((stream_id, False, row) for stream_id, row in folded),
        key=itemgetter(0),
    )
    for _, group in groupby(sides, key=itemgetter(0)):
        found = {is_stored: row for _, is_stored, row in group}
        stored, fresh = found.get(True), found.get(False)
        if not _same(stored, fresh):
            yield _difference(projection, stored, fresh)


def _same(stored: object, folded: object) -> bool:
    try:
        return stored == folded
    except ArithmeticError:  # one holds a signalling NaN, which equals nothing
        return False


def _live(conn: Connection[TupleRow], projection: Projection[Any], schema: str) -> LiveTable:
    live = live_table(conn, projection, schema)
    if live is None:
        raise VerifyError(f"{projection.name} has no table yet: run `credit-es migrate`.")
    return live


def _difference(projection: Projection[Any], stored: Any, folded: Any) -> Difference:
    fields = [
        name
        for name in projection.columns[1:]
        if stored is None
        or folded is None
        or not _same(getattr(stored, name), getattr(folded, name))
    ]
    return Difference(
        projection=projection.name,
        number=getattr(stored or folded, projection.key),
        stored={name: getattr(stored, name) for name in fields} if stored else None,
        folded={name: getattr(folded, name) for name in fields} if folded else None,
    )
