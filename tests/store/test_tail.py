"""The tail reader never passes a live floor: no event at or below what it read appears later.

Beside it stands the naive reader, which goes on after the highest position it saw. Where the one
must wait, the other misses an event: it is the control.
"""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from random import Random
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from credit_es.store.database import Database
from credit_es.store.log import Head, Log
from credit_es.store.migrations import migrate
from credit_es.store.recorder import LogRecorder
from tests.servers import RunningServer
from tests.store.given import stored


class Writer:
    """An open transaction of somebody who appends and takes their time."""

    def __init__(self, conn: Connection[TupleRow], schema: str) -> None:
        self.conn = conn
        self.schema = schema

    def do(self, statement: str, *values: object) -> list[TupleRow]:
        cursor = self.conn.execute(statement.format(s=self.schema).encode(), values)
        return cursor.fetchall() if cursor.description else []

    def append(self, *streams: UUID) -> None:
        for stream in streams:
            self.do("INSERT INTO {s}.events VALUES (NULL, %s, 1, 't', '')", stream)

    def copy(self, *streams: UUID) -> None:
        statement = f"COPY {self.schema}.events (stream_id, version, topic, state) FROM STDIN"
        with self.conn.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for stream in streams:
                copy.write_row((stream, 1, "t", b""))


class Reader:
    """Follows the log as a projector does, and as nobody should."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._after = self._naive_after = 0
        self.read: list[UUID | str] = []
        self.naively: list[UUID | str] = []

    def go_on(self) -> "Reader":
        for batch in self._log.tail(self._after, limit=7):
            self.read += [event.originator_id for event in batch]
            assert [e.id for e in batch] == sorted({e.id for e in batch})
            assert batch[0].id > self._after
            self._after = batch[-1].id
        statement = (
            f"SELECT stream_id, position FROM {self._log.database.schema}.events"
            " WHERE position > %s ORDER BY position"
        )
        with self._log.database.connection() as conn:
            rows = conn.execute(statement.encode(), (self._naive_after,)).fetchall()
        if rows:
            self.naively += [stream for stream, _ in rows]
            self._naive_after = rows[-1][1]
        return self


@pytest.fixture
def writer(database_url: str, schema: str) -> Iterator[Writer]:
    with closing(psycopg.connect(database_url)) as conn:
        yield Writer(conn, schema)


@pytest.fixture
def reader(log: Log) -> Reader:
    return Reader(log)


@pytest.mark.parametrize("how", [Writer.append, Writer.copy])
def test_an_open_transaction_holds_the_tail_until_it_commits(
    recorder: LogRecorder,
    writer: Writer,
    reader: Reader,
    how: Callable[..., None],
) -> None:
    early, slow, slower, late = (uuid4() for _ in range(4))
    recorder.insert_events([stored(early)])
    how(writer, slow, slower)
    recorder.insert_events([stored(late)])
    assert reader.go_on().read == [early]
    (held,) = recorder.select_notifications(1, 10, stop=4)  # whatever a reader is asked to read
    assert held.originator_id == early
    writer.conn.commit()
    assert reader.go_on().read == [early, slow, slower, late]
    assert reader.naively == [early, late]  # the control: it never sees what committed late


def test_a_rolled_back_transaction_lets_the_tail_go_on_over_its_gap(
    recorder: LogRecorder, writer: Writer, reader: Reader, log: Log
) -> None:
    early, never, late = (uuid4() for _ in range(3))
    recorder.insert_events([stored(early)])
    writer.append(never)
    recorder.insert_events([stored(late)])
    assert reader.go_on().read == [early]
    writer.conn.rollback()
    assert reader.go_on().read == [early, late]
    assert log.head() == Head(last=3, safe=3)


def test_a_transaction_that_has_not_appended_holds_nobody(
    recorder: LogRecorder, writer: Writer, reader: Reader
) -> None:
    writer.do("SELECT count(*) FROM {s}.events")
    stream = uuid4()
    recorder.insert_events([stored(stream)])
    assert reader.go_on().read == [stream]


def test_a_savepoint_that_is_rolled_back_takes_its_floor_away_and_the_next_insert_sets_another(
    recorder: LogRecorder, writer: Writer, reader: Reader
) -> None:
    never, between, slow, late = (uuid4() for _ in range(4))
    writer.do("SAVEPOINT here")
    writer.append(never)
    writer.do("ROLLBACK TO here")
    recorder.insert_events([stored(between)])
    assert reader.go_on().read == [between]
    writer.append(slow)
    recorder.insert_events([stored(late)])
    assert reader.go_on().read == [between]
    writer.conn.commit()
    assert reader.go_on().read == [between, slow, late]
    assert reader.naively == [between, late]


def test_a_floor_from_before_a_savepoint_outlives_it(
    recorder: LogRecorder, writer: Writer, reader: Reader
) -> None:
    slow, never, slower, late = (uuid4() for _ in range(4))
    writer.append(slow)
    writer.do("SAVEPOINT here")
    writer.append(never)
    writer.do("ROLLBACK TO here")
    recorder.insert_events([stored(late)])
    writer.append(slower)
    assert reader.go_on().read == []
    writer.conn.commit()
    assert reader.go_on().read == [slow, late, slower]


def test_a_transaction_takes_one_floor_however_many_statements_it_has(
    writer: Writer, conn: Connection[TupleRow]
) -> None:
    writer.append(*(uuid4() for _ in range(200)))
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = %s"
    assert conn.execute(locks.encode(), (writer.conn.info.backend_pid,)).fetchone() == (1,)


def test_the_head_says_what_is_committed_and_what_may_be_read(
    recorder: LogRecorder, writer: Writer, log: Log
) -> None:
    assert log.head() == Head(last=0, safe=0)
    recorder.insert_events([stored(uuid4()), stored(uuid4())])
    assert log.head() == Head(last=2, safe=2)
    writer.append(uuid4())
    recorder.insert_events([stored(uuid4())])
    assert log.head() == Head(last=4, safe=2)


def test_a_reader_that_is_ahead_of_the_floor_is_not_sent_back(
    recorder: LogRecorder, writer: Writer
) -> None:
    writer.append(uuid4())
    recorder.insert_events([stored(uuid4())])
    assert recorder.safe_position(0) == 0
    assert recorder.safe_position(1) == 1


@contextmanager
def another_log(database_url: str) -> Iterator[Log]:
    name = f"test_{secrets.token_hex(6)}"
    migrate(database_url, name)
    database = Database(database_url, schema=name)
    try:
        yield Log(LogRecorder(database))
    finally:
        database.close()
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("SET lock_timeout = '5s'")  # a failed test has left the writer's open
            conn.execute(f"DROP SCHEMA {name} CASCADE".encode())


def test_a_stalled_writer_of_one_schema_does_not_hold_another(
    database_url: str, recorder: LogRecorder, writer: Writer, reader: Reader
) -> None:
    with another_log(database_url) as other:
        stream, theirs = uuid4(), uuid4()
        writer.append(uuid4())
        recorder.insert_events([stored(stream)])
        other.recorder.insert_events([stored(theirs)])
        assert Reader(other).go_on().read == [theirs]
        assert reader.go_on().read == []
        assert (recorder.safe_position(0), other.recorder.safe_position(0)) == (0, 1)


def test_one_transaction_over_two_schemas_holds_both(
    database_url: str, recorder: LogRecorder, writer: Writer, reader: Reader
) -> None:
    with another_log(database_url) as other:
        here, there, here_again = uuid4(), uuid4(), uuid4()
        theirs = Writer(writer.conn, other.database.schema)
        writer.append(here)
        theirs.append(there)
        writer.append(here_again)
        for log in (recorder, other.recorder):
            log.insert_events([stored(uuid4())])
            assert log.safe_position(0) == 0
        writer.conn.commit()
        assert reader.go_on().read[:2] == [here, here_again]
        assert Reader(other).go_on().read[0] == there


@pytest.mark.parametrize("wrap", [2**31, 2**32, 2**33 + 2**31, 2**33])
def test_floors_hold_where_the_low_half_of_a_position_wraps(
    recorder: LogRecorder, writer: Writer, conn: Connection[TupleRow], schema: str, wrap: int
) -> None:
    conn.execute(f"ALTER SEQUENCE {schema}.log_position RESTART {wrap - 2}".encode())
    recorder.insert_events([stored(uuid4())])
    writer.append(uuid4())
    for _ in range(5):
        recorder.insert_events([stored(uuid4())])
    assert recorder.max_notification_id() == wrap + 4
    assert recorder.safe_position(0) == wrap - 2
    writer.conn.commit()
    assert recorder.safe_position(0) == wrap + 4
    writer.append(uuid4())  # and a floor beyond it
    recorder.insert_events([stored(uuid4())])
    assert recorder.safe_position(0) == wrap + 4
    writer.conn.commit()
    assert recorder.safe_position(0) == wrap + 6


@pytest.mark.parametrize("how", [Writer.append, Writer.copy])
def test_a_backend_ended_mid_way_lets_the_tail_go_on_over_its_gap(
    recorder: LogRecorder,
    writer: Writer,
    reader: Reader,
    conn: Connection[TupleRow],
    how: Callable[..., None],
) -> None:
    late = uuid4()
    how(writer, uuid4(), uuid4())
    recorder.insert_events([stored(late)])
    assert reader.go_on().read == []
    end(conn, writer.conn.info.backend_pid)
    assert reader.go_on().read == [late]


def test_a_copy_holds_the_tail_while_its_rows_still_come(
    recorder: LogRecorder, writer: Writer, reader: Reader, conn: Connection[TupleRow]
) -> None:
    slow, late = uuid4(), uuid4()
    statement = f"COPY {writer.schema}.events (stream_id, version, topic, state) FROM STDIN"
    with writer.conn.cursor() as cursor:
        with cursor.copy(statement.encode()) as copy:
            await_floor(conn, writer.conn.info.backend_pid)
            recorder.insert_events([stored(late)])
            assert reader.go_on().read == []
            copy.write_row((slow, 1, "t", b""))
        assert reader.go_on().read == []  # all rows are there, and it is not committed
    writer.conn.commit()
    assert reader.go_on().read == [late, slow]


def test_a_reader_within_one_snapshot_would_miss_what_the_floors_let_it_read(
    database_url: str, recorder: LogRecorder, writer: Writer, reader: Reader
) -> None:
    """Why the reader is in autocommit: head and floors are of now, rows of the snapshot."""
    slow = uuid4()
    writer.append(slow)
    with psycopg.connect(database_url) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        wrong = Writer(conn, writer.schema)
        wrong.do("SELECT 1")
        writer.conn.commit()
        assert wrong.do("SELECT {s}.safe_position(0)") == [(1,)]
        assert wrong.do("SELECT stream_id FROM {s}.events WHERE position <= 1") == []
    assert reader.go_on().read == [slow]


def test_a_reader_whose_connection_is_ended_between_batches_reads_on(
    recorder: LogRecorder, log: Log, conn: Connection[TupleRow]
) -> None:
    positions = [recorder.insert_events([stored(uuid4())])[0] for _ in range(5)]
    read = []
    for batch in log.tail(0, limit=2):
        read += [event.id for event in batch]
        with log.database.connection() as pooled:
            pid = pooled.info.backend_pid
        end(conn, pid)
    assert read == positions


@pytest.mark.slow
@pytest.mark.fault
def test_a_reader_goes_on_at_its_place_when_the_server_was_killed_under_a_writer(
    private_postgres: RunningServer,
) -> None:
    migrate(private_postgres.url, "credit")
    database = Database(private_postgres.url, schema="credit")
    recorder = LogRecorder(database)
    reader = Reader(Log(recorder))
    early, never, late, later = (uuid4() for _ in range(4))
    try:
        recorder.insert_events([stored(early)])
        with closing(psycopg.connect(private_postgres.url)) as conn:
            Writer(conn, "credit").append(never)
            recorder.insert_events([stored(late)])
            assert reader.go_on().read == [early]
            private_postgres.kill()
            private_postgres.start()
        assert reader.go_on().read == [early, late]
        recorder.insert_events([stored(later)])
        assert reader.go_on().read == [early, late, later]
    finally:
        database.close()


def end(conn: Connection[TupleRow], pid: int) -> None:
    """End a backend, and wait until it is gone, and its floor with it."""
    conn.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))


def await_floor(conn: Connection[TupleRow], pid: int) -> None:
    """Wait until a backend that was told to copy has begun."""
    locks = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = %s"
    deadline = time.monotonic() + 10
    while not conn.execute(locks.encode(), (pid,)).rowcount:
        assert time.monotonic() < deadline


ENDINGS = {"commit": 70, "roll back": 15, "savepoint": 10, "killed": 5}


class Crowd:
    """Writers of every kind at once; remembers what was committed."""

    def __init__(self, url: str, schema: str, *, seconds: float) -> None:
        self._url = url
        self._schema = schema
        self._until = time.monotonic() + seconds
        self._lock = threading.Lock()
        self.committed: set[UUID] = set()
        self.ends: Counter[str] = Counter()

    def write(self, seed: int) -> None:
        """Append until time is up; the first transaction ends in the way of its number."""
        random = Random(seed)
        ending: str | None = list(ENDINGS)[seed]
        while time.monotonic() < self._until:
            with psycopg.connect(self._url) as conn, suppress(psycopg.OperationalError):
                while time.monotonic() < self._until:
                    first, ending = ending, None
                    self._transaction(random, Writer(conn, self._schema), first)

    def _transaction(self, random: Random, writer: Writer, ending: str | None) -> None:
        kept = [uuid4() for _ in range(random.randint(1, 4))]
        random.choice([writer.append, writer.copy])(*kept)
        ending = ending or random.choices(list(ENDINGS), list(ENDINGS.values()))[0]
        if ending == "savepoint":
            writer.do("SAVEPOINT here")
            writer.append(uuid4())
            writer.do("ROLLBACK TO here")
        time.sleep(random.choice([0, 0, 0.001, 0.02]))
        with self._lock:
            self.ends[ending] += 1
        if ending == "killed":
            writer.do("SELECT pg_terminate_backend(pg_backend_pid())")
        elif ending == "roll back":
            writer.conn.rollback()
        else:
            writer.conn.commit()
            with self._lock:
                self.committed.update(kept)


@pytest.mark.slow
def test_nothing_is_missed_among_appends_copies_roll_backs_and_killed_backends_at_once(
    database_url: str, schema: str, recorder: LogRecorder, writer: Writer, reader: Reader
) -> None:
    crowd = Crowd(database_url, schema, seconds=1.5)
    with ThreadPoolExecutor(len(ENDINGS)) as pool:
        writing = [pool.submit(crowd.write, seed) for seed in range(len(ENDINGS))]
        while not all(done.done() for done in writing):
            reader.go_on()
        for done in writing:
            done.result()
    # Whatever the crowd did: here the control is late for certain.
    slow, late = uuid4(), uuid4()
    writer.append(slow)
    recorder.insert_events([stored(late)])
    reader.go_on()
    writer.conn.commit()
    reader.go_on()
    assert set(crowd.ends) == set(ENDINGS)
    assert len(reader.read) == len(crowd.committed) + 2 > 20
    assert set(reader.read) == {*crowd.committed, slow, late}
    assert slow not in reader.naively
