"""Appending by COPY: groups of events, each whole or not at all, harmless when rerun.

All groups go into the log in one statement. Where one of them has lost a race the statement fails
as a whole, and whoever lost is looked for: a group that stands there byte for byte is our own, from
a commit whose answer was lost; any other that is taken is given back to its caller; and the rest is
copied again. COPY fires the same triggers as any insert: floor and numbering hold.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from uuid import UUID

from eventsourcing.persistence import IntegrityError, StoredEvent
from psycopg.errors import DeadlockDetected
from psycopg.sql import SQL

from credit_es.store.database import RETRY_S, ConnectionLostError, Database, transaction
from credit_es.store.recorder import STORED

COPY: Final = SQL(
    "COPY {schema}.events (stream_id, version, topic, state) FROM STDIN (FORMAT BINARY)"
)
TYPES: Final = ("uuid", "int8", "text", "bytea")

CONTEND_S: Final = 10.0
"""How long groups that deadlock with another's are tried again; the server needs 1 s to see one."""

Group = Sequence[StoredEvent]
"""Events that stand or fall together, such as those of one customer."""


class BulkAppend:
    """Appends many groups to the log of one schema, in one transaction and without a session."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._copy = database.sql(COPY)
        self._stored = database.sql(STORED)

    def append(self, groups: Iterable[Group]) -> list[int]:
        """Record all groups that win their versions; returns the places of those that do not.

        The groups may be made while they are asked for: the server takes the first in meanwhile.
        Raises ``StoreUnavailableError`` where there is no server, ``BusyError`` where somebody
        holds a stream too long; what is recorded by then stays, and a rerun finds it.
        """
        fresh = enumerate(groups)
        left: dict[int, Group] = {}
        lost: list[int] = []
        started = time.monotonic()

        def each() -> Iterator[Group]:
            yield from left.values()
            for place, group in fresh:
                left[place] = group
                yield group

        while True:
            try:
                self._copy_in(each())
            except ConnectionLostError:
                if time.monotonic() - started > RETRY_S:
                    raise
            except IntegrityError as error:
                taken = self._taken(left)
                if taken:
                    lost += [place for place, own in taken.items() if not own]
                    left = {place: group for place, group in left.items() if place not in taken}
                    continue
                deadlock = isinstance(error.__cause__, DeadlockDetected)
                if time.monotonic() - started > (CONTEND_S if deadlock else RETRY_S):
                    raise
                # In one order for everybody, so that nobody waits in a circle again.
                left.update(fresh)
                left = dict(sorted(left.items(), key=_first_stream))
            else:
                return lost

    def _copy_in(self, groups: Iterable[Group]) -> None:
        with (
            self._database.connection() as conn,
            transaction(conn) as cursor,
            cursor.copy(self._copy) as copy,
        ):
            copy.set_types(TYPES)
            for group in groups:
                for e in group:
                    copy.write_row((e.originator_id, e.originator_version, e.topic, e.state))

    def _taken(self, groups: Mapping[int, Group]) -> dict[int, bool]:
        """Which groups meet an event that is stored, and whether it is all their own."""
        flat = [(place, event) for place, group in groups.items() for event in group]
        ids = [e.originator_id for _, e in flat]
        versions = [e.originator_version for _, e in flat]
        states = [e.state for _, e in flat]
        rows = self._database.run(
            lambda conn: conn.execute(self._stored, (ids, versions, states)).fetchall()
        )
        same: dict[int, list[bool | None]] = {place: [] for place in groups}
        for (place, _), (_, is_same, *_) in zip(flat, rows, strict=True):
            same[place].append(is_same)
        return {
            place: all(found)
            for place, found in same.items()
            if any(one is not None for one in found)
        }


def _first_stream(placed: tuple[int, Group]) -> list[UUID | str]:
    return [event.originator_id for event in placed[1][:1]]
