"""Folding the log in shards, each a range of streams in a process of its own.

A row is the fold of one stream, so a shard has the server sort its events by stream and holds one
row at a time (``projections/streams.py``).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import psycopg
from msgspec import Struct
from psycopg.rows import TupleRow

from credit_es.store.database import PATIENT, connection_info
from projections.projection import PoisonError, Projection
from projections.spread import LostError, Report, spread
from projections.streams import STREAMS, Events, sorted_events
from projections.tables import TableOf

COPIED: Final = re.compile(r"COPY \w+, line (\d+)")
"""What the server says of the row that it refuses."""
REPORT_EVERY: Final = 5_000


class ShardError(Exception):
    """A shard ended without finishing: the table is not complete, and must not serve."""


class Shard(Struct, frozen=True, kw_only=True):
    """Which streams to fold, up to which position of the log, into which table."""

    url: str
    schema: str
    projection: Projection[Any]
    version: int
    head: int
    first: UUID
    last: UUID


def shards_of(table: TableOf, *, url: str, head: int, count: int) -> list[Shard]:
    """Divide the streams evenly, which their ids, being hashes, allow."""
    edges = [STREAMS * number // count for number in range(count + 1)]
    return [
        Shard(
            url=url,
            schema=table.schema,
            projection=table.projection,
            version=table.version,
            head=head,
            first=UUID(int=low),
            last=UUID(int=high - 1),
        )
        for low, high in pairwise(edges)
    ]


def build(shards: Sequence[Shard], report: Report, look: Callable[[], object]) -> int:
    """Fold all shards into their empty table; returns the number of rows.

    ``look`` is called every second, and ends the shards by raising. Raises ``PoisonError`` at an
    event that the fold cannot digest, ``ShardError`` where a shard ended early.
    """
    if len(shards) == 1:
        return fold_shard(shards[0], report)
    try:
        return sum(spread([partial(_fold_apart, shard) for shard in shards], report, look))
    except LostError:
        raise ShardError("A shard of the rebuild was ended from outside.") from None


def _fold_apart(shard: Shard, report: Report) -> int:
    try:
        return fold_shard(shard, report)
    except psycopg.Error as error:
        raise ShardError(f"A shard of the rebuild failed: {str(error).strip()}") from error


def fold_shard(shard: Shard, report: Report) -> int:
    """Fold the streams of one range and copy their rows out; returns how many."""
    table = TableOf(shard.projection, shard.schema, shard.version)
    info = connection_info(shard.url)
    with (
        psycopg.connect(info, autocommit=True) as reading,
        psycopg.connect(info, autocommit=True) as writing,
    ):
        for conn in (reading, writing):
            conn.execute(PATIENT)
        try:
            with _events(shard, reading) as events:
                return table.fill(writing, _rows(shard, events, report))
        except psycopg.DataError as error:
            line = COPIED.search(error.diag.context or "")
            if line is None:
                raise
            # Only the server knew that it does not take this row: folded again, it is the same one.
            with _events(shard, reading) as events:
                rows = _rows(shard, events, lambda _: None)
                stream_id, row = next(islice(rows, int(line[1]) - 1, None))
            raise PoisonError(shard.projection.name, stream_id, row.version) from error


def _events(shard: Shard, conn: "psycopg.Connection[TupleRow]") -> AbstractContextManager[Events]:
    """The shard's events, by stream and version, undecoded."""
    return sorted_events(
        conn,
        shard.schema,
        topics=shard.projection.topics,
        head=shard.head,
        first=shard.first,
        last=shard.last,
    )


def _rows(shard: Shard, events: Iterable[Any], report: Report) -> Iterator[tuple[UUID, Any]]:
    first, streams = shard.first.int, shard.last.int - shard.first.int
    advance = shard.projection.advance
    folded = 0
    for stream_id, stream in groupby(events, key=itemgetter(0)):
        row = None
        for _, version, state in stream:
            row = advance(row, stream_id, version, state)
            folded += 1
        yield stream_id, row
        if folded >= REPORT_EVERY:
            report((stream_id.int - first) / streams)
            folded = 0
    report(1.0)
