"""Appending: atomic over streams, conflicting by version, recognised when its answer was lost."""

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent
from psycopg import Connection, Cursor
from psycopg.errors import NotNullViolation
from psycopg.rows import TupleRow

from credit_es.store.database import ConnectionLostError, Database, StoreUnavailableError
from credit_es.store.idempotency import IdempotencyKeys, Kept, Once
from credit_es.store.migrations import migrate
from credit_es.store.recorder import Beside, LogRecorder
from tests.servers import RunningServer
from tests.store.given import stored

A, B, C = uuid4(), uuid4(), uuid4()
ONCE = Once(actor="tester", path="/x", key="k", digest=hashlib.sha256(b"asked").digest())


def whole_log(recorder: LogRecorder) -> list[tuple[int, UUID | str, int, bytes]]:
    found = recorder.select_notifications(0, 10_000)
    return [(n.id, n.originator_id, n.originator_version, n.state) for n in found]


def test_one_append_over_several_streams_takes_rising_positions(recorder: LogRecorder) -> None:
    first = recorder.insert_events([stored(A), stored(B), stored(A, 2)])
    second = recorder.insert_events([stored(C, state=b"last")])
    assert [*first, *second] == sorted({*first, *second})
    assert whole_log(recorder) == [
        (first[0], A, 1, b"{}"),
        (first[1], B, 1, b"{}"),
        (first[2], A, 2, b"{}"),
        (second[0], C, 1, b"last"),
    ]


def test_a_taken_version_is_a_conflict_and_leaves_nothing(recorder: LogRecorder) -> None:
    recorder.insert_events([stored(A)])
    before = whole_log(recorder)
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(B), stored(C), stored(A, state=b"another")])
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(A)])  # its own twin is a conflict, too
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(B), stored(B)])
    assert whole_log(recorder) == before


def test_a_log_that_numbers_nothing_is_not_taken_for_a_lost_race(
    recorder: LogRecorder, conn: Connection[TupleRow], schema: str
) -> None:
    """Nobody tries again, for seconds, what can never be recorded."""
    conn.execute(f"ALTER TABLE {schema}.events DISABLE TRIGGER events_number".encode())
    with pytest.raises(NotNullViolation, match='"position"'):
        recorder.insert_events([stored(A)])


def test_of_many_that_append_the_same_version_one_wins(recorder: LogRecorder) -> None:
    ready = threading.Barrier(8)

    def append(number: int) -> bool:
        ready.wait()
        try:
            recorder.insert_events([stored(uuid4()), stored(A, state=b"%d" % number)])
        except IntegrityError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(append, range(8)))
    assert sum(won) == 1
    assert [state for *_, state in whole_log(recorder)][1:] == [b"%d" % won.index(True)]


def test_an_append_of_nothing_is_nothing(recorder: LogRecorder) -> None:
    assert recorder.insert_events([]) == []
    assert whole_log(recorder) == []


def test_what_is_done_beside_an_append_shares_its_fate(
    recorder: LogRecorder, conn: Connection[TupleRow], schema: str
) -> None:
    conn.execute(f"CREATE TABLE {schema}.beside (n int)".encode())

    def beside(cursor: Cursor[TupleRow]) -> None:
        cursor.execute(f"INSERT INTO {schema}.beside VALUES (1)".encode())

    def failing(cursor: Cursor[TupleRow]) -> None:
        beside(cursor)
        raise ZeroDivisionError

    recorder.insert_events([stored(A)], beside=beside)
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(B), stored(A)], beside=beside)
    with pytest.raises(ZeroDivisionError):
        recorder.insert_events([stored(B)], beside=failing)
    assert conn.execute(f"SELECT count(*) FROM {schema}.beside".encode()).fetchone() == (1,)
    assert [stream for _, stream, _, _ in whole_log(recorder)] == [A]


class Lossy(LogRecorder):
    """Loses its connection at one append: before the server has it, or after it has committed."""

    before_commit = False
    meanwhile: Sequence[StoredEvent] = ()
    answered: Kept | None = None
    losses = 1

    def _insert(
        self,
        conn: Connection[TupleRow],
        events: Sequence[StoredEvent],
        once: Kept | None,
        beside: Beside | None,
    ) -> list[int]:
        if not self.losses:
            return super()._insert(conn, events, once, beside)
        self.losses -= 1
        if not self.before_commit:
            super()._insert(conn, events, once, beside)
        if self.meanwhile:
            LogRecorder(self.database).insert_events(self.meanwhile, once=self.answered)
        conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        raise AssertionError("the server outlived its end")


@pytest.fixture
def lossy(database: Database) -> Lossy:
    return Lossy(database)


@pytest.mark.parametrize("before_commit", [True, False])
def test_a_commit_whose_answer_was_lost_is_not_doubled_and_no_conflict(
    lossy: Lossy, *, before_commit: bool
) -> None:
    lossy.before_commit = before_commit
    positions = lossy.insert_events([stored(A, state=b"mine"), stored(B, state=b"too")])
    assert lossy.losses == 0
    assert whole_log(lossy) == [
        (positions[0], A, 1, b"mine"),
        (positions[1], B, 1, b"too"),
    ]


@pytest.mark.parametrize("before_commit", [True, False])
@pytest.mark.parametrize("with_answer", [True, False])
@pytest.mark.parametrize("with_work", [True, False])
def test_a_lost_commit_has_its_answer_and_its_work_beside_once(
    lossy: Lossy,
    conn: Connection[TupleRow],
    schema: str,
    *,
    before_commit: bool,
    with_answer: bool,
    with_work: bool,
) -> None:
    conn.execute(f"CREATE TABLE {schema}.beside (n int UNIQUE)".encode())
    lossy.before_commit = before_commit

    def beside(cursor: Cursor[TupleRow]) -> None:
        cursor.execute(f"INSERT INTO {schema}.beside VALUES (1)".encode())

    kept = Kept(request=ONCE, outcome=b"{}")
    (position,) = lossy.insert_events(
        [stored(A)], once=kept if with_answer else None, beside=beside if with_work else None
    )
    assert lossy.losses == 0
    assert whole_log(lossy) == [(position, A, 1, b"{}")]
    assert IdempotencyKeys(lossy.database).outcome(ONCE) == (b"{}" if with_answer else None)
    count = conn.execute(f"SELECT count(*) FROM {schema}.beside".encode()).fetchone()
    assert count == (1 if with_work else 0,)


@pytest.mark.slow
def test_a_commit_that_nobody_can_be_asked_about_is_not_said_to_be_nothing(
    private_postgres: RunningServer,
) -> None:
    migrate(private_postgres.url, "credit")
    database = Database(private_postgres.url, schema="credit", pool_size=1)
    never_connected = Database(private_postgres.url, schema="credit", pool_size=1)

    class Dying(LogRecorder):
        def _insert(self, conn: Connection[TupleRow], *what: Any) -> list[int]:
            super()._insert(conn, *what)
            private_postgres.stop("immediate")
            return super()._insert(conn, *what)

    try:
        with pytest.raises(ConnectionLostError):
            Dying(database).insert_events([stored(A)])
        with pytest.raises(StoreUnavailableError) as nothing_recorded:
            LogRecorder(never_connected).insert_events([stored(B)])
        assert nothing_recorded.type is StoreUnavailableError
        private_postgres.start()
        assert [stream for _, stream, _, _ in whole_log(LogRecorder(database))] == [A]
    finally:
        database.close()
        never_connected.close()


@pytest.mark.parametrize("meanwhile", [[B], [A, B]])
def test_after_a_loss_another_ones_event_is_still_a_conflict(
    lossy: Lossy, meanwhile: list[UUID]
) -> None:
    lossy.before_commit = True
    lossy.meanwhile = [stored(stream, state=b"of another") for stream in meanwhile]
    with pytest.raises(IntegrityError):
        lossy.insert_events([stored(A, state=b"mine"), stored(B, state=b"mine")])
    assert {state for *_, state in whole_log(lossy)} == {b"of another"}


@pytest.mark.parametrize("events", [[], [stored(B)]], ids=["nothing recorded", "one event"])
def test_after_a_loss_another_ones_answer_is_still_a_conflict(
    lossy: Lossy, events: list[StoredEvent]
) -> None:
    lossy.before_commit = True
    lossy.meanwhile = [stored(A)]
    lossy.answered = Kept(request=ONCE, outcome=b"of another")
    with pytest.raises(IntegrityError):
        lossy.insert_events(events, once=Kept(request=ONCE, outcome=b"mine"))
    assert IdempotencyKeys(lossy.database).outcome(ONCE) == b"of another"
    assert [stream for _, stream, *_ in whole_log(lossy)] == [A]


def test_an_append_through_killed_connections_is_recorded_once(
    recorder: LogRecorder, conn: Connection[TupleRow]
) -> None:
    for version in range(1, 6):
        recorder.insert_events([stored(A, version)])
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'credit-es' AND query LIKE %s",
            (f"%{recorder.database.schema}%",),
        )
    assert [version for _, _, version, _ in whole_log(recorder)] == [1, 2, 3, 4, 5]


def test_events_of_a_stream_are_selected_by_version(recorder: LogRecorder) -> None:
    recorder.insert_events([stored(A, version) for version in (1, 2, 3, 4)] + [stored(B)])

    def versions(**how: Any) -> list[int]:
        return [e.originator_version for e in recorder.select_events(A, **how)]

    assert versions() == [1, 2, 3, 4]
    assert versions(gt=1, lte=3) == [2, 3]
    assert versions(desc=True, limit=2) == [4, 3]
    assert versions(lte=0) == []


def test_positions_are_given_by_the_server_whatever_the_insert_says(
    recorder: LogRecorder, conn: Connection[TupleRow], schema: str
) -> None:
    (first,) = recorder.insert_events([stored(A)])
    insert = f"INSERT INTO {schema}.events VALUES (1, %s, 1, 't', '') RETURNING position"
    assert conn.execute(insert.encode(), (B,)).fetchone() == (first + 1,)
