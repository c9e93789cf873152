"""Is the log what it must be, and is everything derived from it what it says?

The log is read once, sorted by stream; the read tables are merged with a fresh fold; memory does
not grow with either. What is wrong is told as it is found.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final

import msgspec
from msgspec import Struct

from credit_es.audit.checks import Checks, Fault, Place, in_pairs, without_policy
from credit_es.store.log import Log
from credit_es.store.mapper import DIGESTION, UndigestedError, topic
from credit_es.store.snapshots import Stored, stored_snapshots
from projections.pairs import unpaired
from projections.streams import STREAMS, sorted_places
from projections.tables import PROJECTIONS
from projections.verify import VerifyError
from projections.verify import verify as differences_of

MOST: Final = 1_000
"""Faults that are listed; a log with more is not mended from a list."""
REPORT_EVERY: Final = 2_000

Progress = Callable[[int, int], None]
"""Called with how far it is, and how far it goes."""


class Verified(Struct, frozen=True, kw_only=True):
    """What was found; ``position`` is how far the log was read.

    Where there are more than can be listed, ``complete`` is false.
    """

    position: int
    facts: int
    faults: list[Fault]
    complete: bool


def verify(log: Log, progress: Progress = lambda _reached, _head: None) -> Verified:
    """Check everything. Raises ``VerifyError`` where there are no tables to compare."""
    head = log.head().safe
    checks = Checks()
    faults: list[Fault] = []
    for fault in _all(log, head, checks, progress):
        if len(faults) == MOST:
            return Verified(position=head, facts=checks.facts, faults=faults, complete=False)
        faults.append(fault)
    return Verified(position=head, facts=checks.facts, faults=faults, complete=True)


def _all(log: Log, head: int, checks: Checks, progress: Progress) -> Iterator[Fault]:
    schema, steps = log.database.schema, len(PROJECTIONS) + 1

    def part(step: int) -> Progress:
        return lambda reached, whole: progress(
            step * head + (head * reached // whole if whole else head), steps * head
        )

    with (
        log.database.connection() as conn,
        sorted_places(conn, schema, head=head) as places,
    ):
        streams = groupby(places, key=itemgetter(0))
        for number, (stream_id, rows) in enumerate(streams, 1):
            yield from checks.stream([Place(*row) for row in rows])
            if number % REPORT_EVERY == 0:
                part(0)(stream_id.int, STREAMS)
    yield from without_policy(checks.adopted, checks.used)
    with log.database.connection() as conn:
        for pair in unpaired(conn, schema, head=head, unreadable=checks.unreadable):
            yield in_pairs(pair)
    for step, projection in enumerate(PROJECTIONS, 1):
        with log.database.connection() as conn:
            try:
                for one in differences_of(conn, log, schema, projection, part(step)):
                    yield Fault(
                        check="table",
                        subject=f"{one.projection} {one.number}",
                        position=None,
                        what=one.words(),
                    )
            except VerifyError as error:
                yield Fault(check="table", subject=projection.name, position=None, what=str(error))
    for snapshot in stored_snapshots(log.database):
        yield from _snapshot(log, snapshot)


def _snapshot(log: Log, snapshot: Stored) -> Iterator[Fault]:
    """Compare a snapshot that would be used with the fold of its stream."""
    try:
        history = log.stream(snapshot.stream_id)
    except UndigestedError:
        return  # and is named as unreadable
    kind = topic(history[0].entry.fact) if history else None
    projection = next((one for one in PROJECTIONS if kind in one.topics), None)
    if projection is None or projection.definition != snapshot.definition:
        return
    state = None
    try:
        for one in history[: snapshot.version]:
            state = projection.fold(state, one.entry.fact)
        same = msgspec.json.decode(snapshot.state, type=projection.row) == state
    except DIGESTION:
        same = False
    if not same or snapshot.version > len(history):
        yield Fault(
            check="snapshot",
            subject=f"{projection.name} stream {snapshot.stream_id}",
            position=None,
            what=f"the snapshot of version {snapshot.version} is not the fold of its facts",
        )
