"""Folding the log again and comparing with what a live table says."""

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.store.log import Log
from projections.projection import PoisonError, Projection
from projections.projector import fold
from projections.rebuild import Progress
from projections.tables import LiveTable, TableOf, live_table

SNAPSHOT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class VerifyError(Exception):
    """The table cannot be compared with the log; the message says why."""


class Difference(Struct, frozen=True, kw_only=True):
    """A row that is not what the log says; None where one side has no row."""

    projection: str
    number: int | str
    stored: dict[str, Any] | None
    folded: dict[str, Any] | None


def verify(
    conn: Connection[TupleRow],
    reader: Log,
    schema: str,
    projection: Projection[Any],
    progress: Progress = lambda _reached, _head: None,
) -> Iterator[Difference]:
    """Yield the rows of the live table that a fresh fold up to its position does not give.

    The log is folded first, in autocommit, however long that takes; then the table is read in one
    snapshot with its position, and only what came meanwhile is folded in it.
    """
    folded: dict[UUID, Any] = {}
    reached = 0

    def fold_up_to(position: int) -> None:
        nonlocal reached
        for batch in reader.tail(reached, upto=position):
            try:
                fold(projection, folded, [e for e in batch if projection.concerns(e.topic)])
            except PoisonError as error:
                raise VerifyError(f"{error}, and its table claims to hold it.") from error
            reached = batch[-1].id
            progress(reached, position)

    fold_up_to(_live(conn, projection, schema).position)
    with conn.transaction():
        conn.execute(SNAPSHOT)
        live = _live(conn, projection, schema)
        if live.position < reached:
            raise VerifyError(f"{projection.name} was rolled back meanwhile: verify it again.")
        fold_up_to(live.position)
        for stream_id, stored in TableOf(projection, schema, live.version).rows(conn):
            fresh = folded.pop(stream_id, None)
            if fresh != stored:
                yield _difference(projection, stored, fresh)
        for fresh in folded.values():
            yield _difference(projection, None, fresh)


def _live(conn: Connection[TupleRow], projection: Projection[Any], schema: str) -> LiveTable:
    live = live_table(conn, projection, schema)
    if live is None:
        raise VerifyError(f"{projection.name} has no table yet: run `credit-es migrate`.")
    return live


def _difference(projection: Projection[Any], stored: Any, folded: Any) -> Difference:
    fields = [
        name
        for name in projection.columns[1:]
        if stored is None or folded is None or getattr(stored, name) != getattr(folded, name)
    ]
    return Difference(
        projection=projection.name,
        number=getattr(stored or folded, projection.key),
        stored={name: getattr(stored, name) for name in fields} if stored else None,
        folded={name: getattr(folded, name) for name in fields} if folded else None,
    )
