"""Bulk append: a group whole or not at all, a rerun harmless, nothing missed by a tail reader."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent
from psycopg import Connection
from psycopg.errors import DeadlockDetected
from psycopg.rows import TupleRow

from credit_es.store.bulk import BulkAppend, Group
from credit_es.store.database import BusyError, Database
from credit_es.store.log import Log
from credit_es.store.recorder import LogRecorder
from tests.store.given import stored


@pytest.fixture
def bulk(database: Database) -> BulkAppend:
    return BulkAppend(database)


def groups(count: int, *, of: int = 2, state: bytes = b"{}") -> list[list[StoredEvent]]:
    """As an import's: so many customers, each with a stream of its own and loans."""
    return [[stored(uuid4(), state=state) for _ in range(of)] for _ in range(count)]


def log_of(log: Log) -> list[tuple[UUID | str, int, bytes]]:
    tail = [event for batch in log.tail(0) for event in batch]
    return [(e.originator_id, e.originator_version, e.state) for e in tail]


def flat(some: Iterable[Group]) -> list[tuple[UUID | str, int, bytes]]:
    return [(e.originator_id, e.originator_version, e.state) for group in some for e in group]


def test_groups_stand_in_the_log_in_their_order(bulk: BulkAppend, log: Log) -> None:
    some = groups(300, of=3)
    assert bulk.append(some) == []
    assert log_of(log) == flat(some)


def test_nothing_is_appended_of_nothing(bulk: BulkAppend, log: Log) -> None:
    assert bulk.append([]) == bulk.append([[], []]) == []
    assert log_of(log) == []


def test_a_rerun_is_harmless_and_what_is_new_in_it_is_appended(bulk: BulkAppend, log: Log) -> None:
    some = groups(5)
    bulk.append(some)
    more = [*some[:3], *groups(2), *some[3:]]
    assert bulk.append(more) == []
    assert log_of(log) == flat([*some, *more[3:5]])


def test_a_group_that_lost_a_race_is_given_back_whole_and_the_others_stand(
    bulk: BulkAppend, recorder: LogRecorder, log: Log
) -> None:
    some = groups(5, of=3)
    moved, also_moved = some[1][2], some[4][0]
    theirs = [replace(event, state=b"another") for event in (moved, also_moved)]
    recorder.insert_events(theirs)
    assert bulk.append(some) == [1, 4]
    assert log_of(log) == flat([theirs, some[0], some[2], some[3]])


def test_a_group_half_of_which_stands_already_is_not_completed(
    bulk: BulkAppend, recorder: LogRecorder, log: Log
) -> None:
    """Its other half was decided together with it, and may not be what the log goes on with."""
    (group,) = groups(1)
    recorder.insert_events(group[:1])
    assert bulk.append([group]) == [0]
    assert log_of(log) == flat([group[:1]])


def test_two_groups_that_want_the_same_place_are_an_error_and_leave_nothing(
    bulk: BulkAppend, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_es.store.bulk.RETRY_S", 0.1)
    one = stored(uuid4())
    with pytest.raises(IntegrityError):
        bulk.append([[one], [replace(one, state=b"another")]])
    assert log_of(log) == []


class Lossy(BulkAppend):
    """Loses its connection once: before the server has committed, or after."""

    before_commit = False
    losses = 1

    def _copy_in(self, groups: Iterable[Group]) -> None:
        if not self.losses:
            super()._copy_in(groups)
            return
        self.losses -= 1
        if not self.before_commit:
            super()._copy_in(groups)
        with self._database.connection() as conn:
            conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.mark.parametrize("before_commit", [True, False])
def test_a_commit_whose_answer_was_lost_is_recognised(
    database: Database, log: Log, *, before_commit: bool
) -> None:
    lossy = Lossy(database)
    lossy.before_commit = before_commit
    some = groups(3)
    assert lossy.append(some) == []
    assert lossy.losses == 0
    assert log_of(log) == flat(some)


def test_many_that_append_the_same_groups_at_once_record_each_once(
    bulk: BulkAppend, database_url: str, schema: str, log: Log
) -> None:
    """In opposite orders, so that they wait for each other, too."""
    streams = [[uuid4() for _ in range(3)] for _ in range(200)]
    ready = threading.Barrier(4)

    def append(number: int) -> set[int]:
        database = Database(database_url, schema=schema, pool_size=1)
        state = b"%d" % number
        mine = [[stored(stream, state=state) for stream in group] for group in streams]
        order = list(range(200)) if number % 2 else list(reversed(range(200)))
        ready.wait(10)
        won = set(order)
        for start in range(0, 200, 50):
            part = order[start : start + 50]
            lost = BulkAppend(database).append([mine[at] for at in part])
            won -= {part[at] for at in lost}
        database.close()
        return won

    with ThreadPoolExecutor(4) as pool:
        winners = list(pool.map(append, range(4)))
    assert sorted(at for won in winners for at in won) == list(range(200))
    by_stream = {stream: state for stream, _, state in log_of(log)}
    assert len(by_stream) == len(log_of(log)) == 600
    for number, won in enumerate(winners):
        assert {by_stream[stream] for at in won for stream in streams[at]} <= {b"%d" % number}


class Entangled(BulkAppend):
    """Has waited in a circle with somebody, who went first."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.tried: list[list[Group]] = []

    def _copy_in(self, groups: Iterable[Group]) -> None:
        given = iter(groups)
        if not self.tried:
            self.tried.append([next(given)])
            raise IntegrityError from DeadlockDetected()
        self.tried.append(list(given))
        super()._copy_in(self.tried[-1])


def test_after_a_deadlock_everybody_copies_in_one_order(database: Database, log: Log) -> None:
    some = sorted(groups(9), key=lambda group: group[0].originator_id, reverse=True)
    entangled = Entangled(database)
    assert entangled.append(some) == []
    assert entangled.tried == [some[:1], some[::-1]]
    assert log_of(log) == flat(some[::-1])


def test_who_waits_too_long_for_anothers_stream_is_told(
    bulk: BulkAppend, database_url: str, schema: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_es.store.database.TRANSACTION", "SET LOCAL lock_timeout = '100ms'")
    some = groups(2)
    with psycopg.connect(database_url) as other:
        insert = f"INSERT INTO {schema}.events VALUES (NULL, %s, 1, 't', '')"
        other.execute(insert.encode(), (some[1][0].originator_id,))
        with pytest.raises(BusyError):
            bulk.append(some)
        other.rollback()
    assert log_of(log) == []
    assert bulk.append(some) == []


class Pausing(list[StoredEvent]):
    """A group in the midst of whose copying somebody else appends."""

    def __init__(self, events: Iterable[StoredEvent], meanwhile: Callable[[], None]) -> None:
        super().__init__(events)
        self._meanwhile = meanwhile

    def __iter__(self) -> Iterator[StoredEvent]:
        yield from super().__iter__()
        self._meanwhile()


def test_a_tail_reader_stays_below_a_copy_that_is_under_way(
    bulk: BulkAppend, recorder: LogRecorder, log: Log, conn: Connection[TupleRow], schema: str
) -> None:
    early, late = stored(uuid4()), stored(uuid4())
    recorder.insert_events([early])
    naively: list[int] = []

    def meanwhile() -> None:
        numbered = f"SELECT last_value > 1 FROM {schema}.log_position".encode()
        while conn.execute(numbered).fetchone() == (False,):  # its first rows have positions
            time.sleep(0.01)
        recorder.insert_events([late])
        assert log_of(log) == flat([[early]])
        seen = conn.execute(f"SELECT position FROM {schema}.events ORDER BY 1".encode())
        naively.extend(position for (position,) in seen)

    some = groups(1, of=200, state=b"x" * 1000)
    bulk.append([Pausing(some[0], meanwhile)])
    written = flat([[early], some[0], [late]])
    assert sorted(log_of(log), key=str) == sorted(written, key=str)
    # The control: who goes on behind the last position seen has passed some of the copy.
    positions = {event.id for batch in log.tail(0) for event in batch}
    assert {at for at in positions if at < naively[-1]} - set(naively)
